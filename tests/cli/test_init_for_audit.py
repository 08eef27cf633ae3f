"""``init --for-audit``: a spec that an audit of a model from elsewhere can certify; what cannot be known is refused."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from safecompress.attacks import Access
from safecompress.config import load_limits
from safecompress.errors import SpecError
from safecompress.spec import SafetySpec, at_least, at_most, within
from safecompress.workflows.foreign_model import at_best, require_knowable
from whole_runs import run_cli


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save_file({"weight": torch.zeros(3, 2)}, tmp_path / "my model.safetensors")
    return tmp_path


def test_the_spec_bounds_all_that_a_verdict_without_the_training_needs(home):
    ended = run_cli("init", "--for-audit", "my model.safetensors", "--json")
    told = json.loads(ended.out)
    assert (ended.code, told["spec"], told["left_out"]) == (0, "my-model-audit.toml", [])
    assert "members" in told["next"][0] and "--model" in told["next"][1]
    limits = load_limits("my-model-audit.toml")
    assert limits.spec.access is Access.LABELS
    assert {str(requirement) for requirement in limits.spec.requirements} == {"gap.auc ≤ 0.6", "label_only.auc ≤ 0.6"}
    assert {requirement.chosen_by for requirement in limits.spec.requirements} == {"proposed by init"}
    assert limits.spec.missing_reference_attacks() == ()
    require_knowable(limits.spec, "x")
    Path("my model.members").write_text("")
    assert at_best(limits.spec, Path("my model.safetensors")) == []


def test_for_scores_and_weights_it_says_what_is_left_out(home):
    flags = ("--access", "weights", "--max-auc", "0.7", "--min-accuracy", "0.5")
    ended = run_cli("init", "x.toml", "--for-audit", "my model.safetensors", *flags, "--json")
    assert json.loads(ended.out)["left_out"] == ["lira"]
    limits = load_limits("x.toml")
    require_knowable(limits.spec, "x")
    assert [r.chosen_by for r in limits.spec.requirements] == ["set by the author of the spec"] * 4
    assert "INCONCLUSIVE at best" in Path("x.toml").read_text()
    reasons = at_best(limits.spec, Path("my model.safetensors"))
    assert len(reasons) == 2 and "my model.members" in reasons[0] and "lira is not simulated" in reasons[1]


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("nothing.onnx", "There is no file nothing.onnx"),
        ("model.pt", "Export the model to ONNX"),
        ("run/artifact.safetensors", "--spec run/spec.toml"),
    ],
)
def test_what_it_cannot_write_a_spec_for_is_refused(path, words, home):
    (home / "model.pt").write_bytes(b"")
    (home / "run").mkdir()
    for name in ("artifact.safetensors", "run.json"):
        (home / "run" / name).write_bytes(b"")
    from safecompress.compression.run_folder import IDENTITY

    (home / "run" / IDENTITY).write_text("{}")
    ended = run_cli("init", "--for-audit", path)
    assert ended.code == 2 and words in " ".join(ended.err.split())
    assert not list(home.glob("*.toml"))


def test_what_cannot_be_known_is_refused_with_every_fault_at_once():
    spec = SafetySpec(
        ["loss", "lira"],
        [at_most("loss.auc", 0.6), at_most("lira.auc", 0.6), within(0.1, metric="accuracy"),
         at_least("compression.ratio", 2)],
    )  # fmt: skip
    with pytest.raises(SpecError) as refused:
        require_knowable(spec, "limits.toml")
    text = str(refused.value)
    for words in ("the attack lira compares with shadow models", "accuracy.drop ≤ 0.1", "compression.ratio ≥ 2"):
        assert words in text
    assert "init --for-audit" in text and "loss.auc" not in text


def test_the_refusal_comes_before_any_row_is_read(home):
    np.savez("members.npz", x=np.zeros(1))
    Path("limits.toml").write_text(
        '[safety]\nattacks = ["lira"]\n[[require]]\nmetric = "lira.auc"\nat_most = 0.6\n', encoding="utf-8"
    )
    rows = ("--members", "nowhere.npz", "--non-members", "members.npz")
    ended = run_cli("audit", "my model.safetensors", "--spec", "limits.toml", *rows)
    assert ended.code == 2 and "cannot be known of a model from elsewhere" in " ".join(ended.err.split())
