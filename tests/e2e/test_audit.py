"""``safecompress audit``: the run's own verdict again, other limits as another opening, and files that are refused."""

import shutil
import sys

import pytest
import torch

import safecompress as sc
from safecompress import Artifact
from safecompress.errors import ArtifactError
from safecompress.models import MODELS
from whole_runs import BY_LOSS, contents, report_of, run_cli, tiny, write_spec

pytestmark = pytest.mark.slow

WITHIN = {"metric": "accuracy", "within": 0.5, "of": "dense"}


def audit(finished, spec, out, *options):
    return run_cli("audit", finished / "run" / "artifact.safetensors", "--spec", spec, "--out", out, *options)


def limits(*more):
    return [*tiny()["require"], *more]


def test_the_runs_own_spec_gives_the_runs_own_verdict(finished, tmp_path):
    before = contents(finished)
    ended = audit(finished, finished / "run" / "spec.toml", tmp_path / "audit")
    ours, theirs = report_of(tmp_path / "audit"), report_of(finished / "run")
    assert (ended.code, ours["verdict"]) == (0, "PASS")
    for what in ("measurements", "dense", "findings", "ledger", "tm_score", "artifact", "prospects"):
        assert ours[what] == theirs[what], what
    for digest in ("artifact", "verdict"):
        assert ours["digests"][digest] == theirs["digests"][digest]
    assert (ours["name"], ours["search"], ours["notes"]) == ("tiny", {}, [])
    assert "PASS: every requirement" in ended.out
    assert {name: file[1] for name, file in contents(finished).items()} == {n: file[1] for n, file in before.items()}


def test_without_out_nothing_is_written(finished):
    before = contents(finished)
    ended = run_cli("audit", finished / "run" / "artifact.safetensors", "--spec", finished / "spec.toml")
    assert ended.code == 0
    assert "Report:" not in ended.out
    assert contents(finished) == before


def test_other_limits_are_another_opening_and_the_same_ones_are_not(finished, tmp_path):
    stricter = write_spec(finished / "stricter.toml", require=limits({"metric": "artifact.size_bytes", "at_most": 100}))
    openings = []
    for number, spec in enumerate([stricter, finished / "spec.toml", stricter]):
        ended = audit(finished, spec, tmp_path / str(number))
        openings.append((ended.code, report_of(tmp_path / str(number))["ledger"]["opening"]))
    assert openings == [(1, 2), (0, 1), (1, 2)]
    assert report_of(tmp_path / "0")["ledger"]["alpha"] == 0.05 / 4
    assert len((finished / "ledger.jsonl").read_text().splitlines()) == 2
    alone = audit(finished, stricter, tmp_path / "alone", "--ledger", tmp_path / "own.jsonl")
    assert (alone.code, report_of(tmp_path / "alone")["ledger"]["opening"]) == (1, 1)


def test_another_seed_of_the_attackers_is_another_opening(finished, tmp_path, monkeypatch):
    """Or an audit could be repeated until chance lets it pass. Without its health, which this is not about."""
    monkeypatch.setattr("safecompress.certify.verdict.train_control", lambda *_, **__: None)
    from safecompress.config import load_config
    from safecompress.workflows.loading import load_rows

    config = load_config(finished / "spec.toml")
    artifact, rows = finished / "run" / "artifact.safetensors", load_rows(config).raw
    openings = [
        sc.audit(artifact, rows, spec=config.spec, seed=seed, ledger=tmp_path / "book.jsonl").ledger["opening"]
        for seed in (0, 1, 0, 2)
    ]
    assert openings == [1, 2, 1, 3]


def test_an_audit_of_other_members_is_refused_where_the_run_proves_it_and_marked_where_nothing_does(finished, tmp_path):
    from safecompress.config import load_config
    from safecompress.workflows.loading import load_rows

    config = load_config(finished / "spec.toml")
    artifact, rows = finished / "run" / "artifact.safetensors", load_rows(config).raw
    other = sc.make_split(rows.dataset, sc.SplitSizes(**{part: rows.size(part) for part in rows.indices}), seed=99)
    with pytest.raises(ArtifactError, match="with other rows"):
        sc.audit(artifact, other, spec=config.spec)
    alone = shutil.copy(artifact, tmp_path / "alone.safetensors")
    unproved = sc.audit(alone, rows, spec=config.spec)
    assert (unproved.verdict, unproved.exit_code) == ("INCONCLUSIVE", 3)
    assert any("nothing proves that these members" in doubt for doubt in unproved.doubts)
    assert sc.audit(artifact, rows, spec=config.spec).verdict == "PASS"


def test_an_audit_may_use_attacks_that_the_search_never_saw(finished, tmp_path):
    spec = write_spec(
        finished / "more.toml",
        safety={"attacks": ["gap", {"name": "label_only", "queries": 16}, "loss", "entropy", "modified_entropy"]},
    )
    ended = audit(finished, spec, tmp_path / "audit")
    report = report_of(tmp_path / "audit")
    assert {"entropy.auc", "modified_entropy.auc"} <= set(report["measurements"])
    assert [finding["verdict"] for finding in report["findings"]] == ["PASS"] * 4
    # Scores are more than labels: for who is given them, these attacks are not enough.
    assert (ended.code, report["verdict"]) == (3, "INCONCLUSIVE")
    assert "no requirement bounds modified_entropy" in report["doubts"][0]


def test_a_margin_on_the_dense_model_is_judged_with_its_weights_beside(finished, tmp_path):
    spec = write_spec(finished / "within.toml", require=limits(WITHIN))
    ended = audit(finished, spec, tmp_path / "audit")
    report = report_of(tmp_path / "audit")
    assert (ended.code, report["findings"][-1]["verdict"]) == (0, "PASS")
    accuracies = [report[model]["accuracy"]["value"] for model in ("dense", "measurements")]
    assert report["measurements"]["accuracy.drop"]["value"] == pytest.approx(accuracies[0] - accuracies[1])
    assert accuracies[0] != accuracies[1]


def test_a_margin_without_the_dense_weights_is_an_error(finished, tmp_path):
    moved = finished / "run" / "dense.safetensors"
    moved = moved.rename(tmp_path / "weights.safetensors")
    spec = write_spec(finished / "within.toml", require=limits(WITHIN))
    ended = audit(finished, spec, tmp_path / "without")
    assert (ended.code, report_of(tmp_path / "without")["verdict"]) == (3, "ERROR")
    assert [f["verdict"] for f in report_of(tmp_path / "without")["findings"]] == ["PASS"] * 4 + ["ERROR"]
    assert "No dense model" in report_of(tmp_path / "without")["notes"][0]
    assert "No dense model" in ended.out
    assert audit(finished, spec, tmp_path / "with", "--dense", moved).code == 0


def truncate(path):
    path.write_bytes(path.read_bytes()[:-200])


def flip_a_byte(path):
    content = bytearray(path.read_bytes())
    content[-300] ^= 1
    path.write_bytes(content)


def pickle_it(path):
    torch.save({"weights": torch.zeros(3)}, path)


def delete(path):
    path.unlink()


def make_folder(path):
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize("harm", [truncate, flip_a_byte, pickle_it, delete, make_folder])
def test_a_file_that_is_no_whole_artifact_is_refused(harm, finished, tmp_path):
    path = finished / "run" / "artifact.safetensors"
    harm(path)
    ended = audit(finished, finished / "spec.toml", tmp_path / "audit")
    is_file = path.is_file()
    assert ended.code == (3 if is_file else 2)
    assert ("ArtifactError: " if is_file else "UsageError: ") in ended.err
    assert str(path) in ended.err
    assert "Traceback" not in ended.err
    assert ended.out == ""
    assert not (tmp_path / "audit").exists()
    assert len((finished / "ledger.jsonl").read_text().splitlines()) == 1  # nothing was opened for it


def test_a_pickle_of_dense_weights_is_refused_unread(finished, tmp_path):
    torch.save({"weights": torch.zeros(3)}, tmp_path / "dense.pt")
    ended = audit(finished, finished / "spec.toml", tmp_path / "audit", "--dense", tmp_path / "dense.pt")
    assert ended.code == 3
    assert "(.pt, .pth) are never" in ended.err


@pytest.mark.parametrize(
    "change", [{"seed": 1}, {"data": {"train": 460}}, {"data": {"normalise": "standard"}}], ids=str
)
def test_rows_that_the_artifact_was_not_trained_on_are_refused(change, finished, tmp_path):
    spec = write_spec(finished / "other.toml", **change)
    ended = audit(finished, spec, tmp_path / "audit")
    assert ended.code == 3
    assert "another [data] table" in ended.err
    assert "members" in ended.err
    assert len((finished / "ledger.jsonl").read_text().splitlines()) == 1


def test_a_requirement_that_could_never_pass_is_refused(finished, tmp_path):
    spec = write_spec(finished / "impossible.toml", safety=BY_LOSS, require=[{"metric": "loss.auc", "at_most": 0.51}])
    ended = audit(finished, spec, tmp_path / "audit")
    assert ended.code == 2
    assert "could not certify" in ended.err
    assert len((finished / "ledger.jsonl").read_text().splitlines()) == 1


def test_the_report_of_a_run_is_not_overwritten(finished):
    before = contents(finished)
    ended = audit(finished, finished / "spec.toml", finished / "run")
    assert ended.code == 2
    assert "holds a run" in ended.err
    assert contents(finished) == before


# --- a network of the user's own ---

NETWORK = """
from torch import nn

class Residual(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.inner = nn.Sequential(nn.Linear(width, width), nn.BatchNorm1d(width), nn.ReLU(), nn.Dropout(0.1))

    def forward(self, x):
        return x + self.inner(x)

def make(input_shape, num_classes):
    return nn.Sequential(nn.Linear(*input_shape, 64), Residual(64), nn.Linear(64, num_classes))
"""


@pytest.fixture(scope="module")
def own_once(tmp_path_factory):
    """A package on the path, and a finished run of its network that nobody may change."""
    home = tmp_path_factory.mktemp("own")
    package = home / "packages" / "own_net_for_test"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "nets.py").write_text(NETWORK)
    (package / "others.py").write_text(NETWORK.replace("64", "60"))
    spec = write_spec(home / "own" / "spec.toml", require=limits(WITHIN))
    spec.write_text(spec.read_text().replace('[model]\nname = "mlp"\nhidden = [\n    128,\n]\n', ""))
    assert "[model]" not in spec.read_text()
    with pytest.MonkeyPatch.context() as patched:
        patched.syspath_prepend(home / "packages")
        ended = run_cli("compress", spec, "--out", home / "own" / "run", "--model", "own_net_for_test.nets:make")
        assert ended.code == 0, ended.err
        yield home / "own"
    for name in [name for name in sys.modules if name.startswith("own_net_for_test")]:
        del sys.modules[name]


@pytest.fixture
def own(own_once, tmp_path):
    """A copy of it to work on."""
    return shutil.copytree(own_once, tmp_path / "own")


def test_a_network_of_the_users_own_is_compressed_and_audited(own, tmp_path):
    """Its dense weights and its sparse ones stay apart: they are loaded into two instances."""
    ended = audit(own, own / "spec.toml", tmp_path / "audit", "--model", "own_net_for_test.nets:make")
    ours, theirs = report_of(tmp_path / "audit"), report_of(own / "run")
    assert ended.code == 0, ended.err
    for what in ("measurements", "dense", "findings", "ledger"):
        assert ours[what] == theirs[what], what
    assert ours["dense"]["accuracy"]["value"] != ours["measurements"]["accuracy"]["value"]
    assert Artifact.load(own / "run" / "artifact.safetensors").model_spec is None


def test_a_network_of_the_users_own_starts_from_the_seeds_weights(own):
    """Otherwise each start of the command would be another job, and none could go on."""
    spec, run = own / "spec.toml", own / "run"
    digests = report_of(run)["digests"]
    again = run_cli("compress", spec, "--out", run, "--model", "own_net_for_test.nets:make")
    assert again.code == 0, again.err
    assert "dense:" not in again.err
    assert report_of(run)["digests"] == digests


def test_the_written_spec_of_such_a_run_says_which_option_it_needs(own):
    text = (own / "run" / "spec.toml").read_text()
    assert text.startswith("# The model was made by --model own_net_for_test.nets:make")
    again = ("compress", own / "run" / "spec.toml", "--out", own / "run")
    assert run_cli(*again, "--model", "own_net_for_test.nets:make").code == 0
    without = run_cli(*again)
    assert without.code == 2
    assert "[model]: is missing" in without.err


def test_a_model_of_the_command_line_takes_the_place_of_the_specs(own, tmp_path):
    spec = write_spec(tmp_path / "spec.toml", require=limits(WITHIN))  # it has a [model]
    run_cli("compress", spec, "--out", tmp_path / "run", "--model", "own_net_for_test.nets:make")
    assert report_of(tmp_path / "run")["digests"]["artifact"] == report_of(own / "run")["digests"]["artifact"]
    assert "mlp" not in (tmp_path / "run" / "spec.toml").read_text()


def test_such_an_artifact_cannot_be_audited_without_saying_what_makes_its_network(own, tmp_path):
    ended = audit(own, own / "spec.toml", tmp_path / "audit")
    assert ended.code == 2
    assert "author's own class" in ended.err
    assert "--model" in ended.err


def test_another_network_is_refused(own, tmp_path):
    ended = audit(own, own / "spec.toml", tmp_path / "audit", "--model", "own_net_for_test.others:make")
    assert ended.code == 2
    assert "fit the model" in ended.err


def test_a_spec_cannot_name_code(tmp_path, monkeypatch):
    """It is refused, and the module that it names is not even imported."""
    (tmp_path / "code_for_test.py").write_text("raise SystemExit(77)")
    monkeypatch.syspath_prepend(tmp_path)
    spec = tmp_path / "spec.toml"
    write_spec(spec)
    for name in ("code_for_test:make", "code_for_test.make", "code_for_test"):
        spec.write_text(write_spec(spec).read_text().replace('name = "mlp"', f'name = "{name}"'))
        ended = run_cli("compress", spec, "--out", tmp_path / "run")
        assert ended.code == 2
        assert f"Unknown model '{name}'" in ended.err
        assert f"Allowed: {', '.join(MODELS.names())}." in ended.err
    assert "code_for_test" not in sys.modules


def test_an_audit_of_a_shortened_run_says_so(finished):
    spec = finished / "spec.toml"
    spec.write_text('shortened = ["recipe.epochs: 300 -> 12"]\n' + spec.read_text())
    ended = run_cli("audit", finished / "run" / "artifact.safetensors", "--spec", spec, "--json")
    assert "full size: recipe.epochs: 300 -> 12." in ended.out
