"""Runs that compare arms: what they leave, that a killed one ends in the same digests, that an audit agrees."""

import json
import shutil
import tomllib

import pytest
import tomli_w

from safecompress.compression.arms import trial
from safecompress.config import load_config
from safecompress.workflows import arms as arms_workflow
from whole_runs import SIZES, digests_of, report_of, run_cli, tiny

pytestmark = pytest.mark.slow

ARMS = {
    "data": {name: size // 2 for name, size in SIZES.items()},
    "recipe": {"epochs": 6},
    "search": {"method": "folds", "shares": [1.0, 0.5], "lengths": [1.0], "rounds": 2, "evidence": {"repeats": 6}},
    "safety": {"attacks": ["loss", {"name": "lira", "num_shadows": 6}], "access": "scores"},
    "require": [{"metric": "lira.auc", "at_most": 0.9}, {"metric": "accuracy", "at_least": 0.3}],
}


def spec_of(folder, **search):
    spec = {**ARMS, "search": {**ARMS["search"], **search}}
    tables = tiny(**spec)
    del tables["search"]["branches"]  # those of rewiring
    path = folder / "arms.toml"
    path.write_text(tomli_w.dumps(tables))
    return path


class Crash(BaseException):
    """The process dies."""


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("arms")
    ended = run_cli("compress", spec_of(folder), "--out", folder / "run", "--quiet")
    assert ended.code in (0, 1, 3), ended.err
    return folder / "run"


def test_the_report_tells_every_arm_and_why_one_ships(finished):
    report = report_of(finished)
    arms = report["search"]["arms"]
    assert [(arm["share"], arm["length"]) for arm in arms] == [(1.0, 1.0), (0.5, 1.0)]
    chosen = [arm for arm in arms if arm["state"] == "chosen"]
    assert len(chosen) == 1 and chosen[0]["reason"].startswith("chosen: ")
    judged = [arm for arm in arms if arm["evidence"]]
    assert judged and all(arm["evidence"]["repeats"] == 6 for arm in judged)
    assert all(
        0 <= arm["evidence"]["figures"]["auc"]["value"] <= arm["evidence"]["figures"]["auc"]["limit"] <= 1
        for arm in judged
    )
    assert "taught by sub-models of their own rows" in report["shadows"]
    page, text = (finished / "report.html").read_text(), (finished / "report.md").read_text()
    assert "How it was chosen, arm by arm" in page and "## Arms" in text
    assert {arm["name"] for arm in arms} == {"share 1", "share 0.5"}
    assert all(arm["name"] in page and arm["reason"].split(" (")[0] in text for arm in arms)


def test_an_audit_of_the_file_trains_its_shadows_as_the_arm_was(finished):
    ended = run_cli("audit", finished / "artifact.safetensors", "--spec", finished / "spec.toml", "--quiet")
    assert ended.code in (0, 1, 3) and "trained in another way" not in ended.err, ended.err
    spec = finished.parent / "other.toml"
    spec.write_text((finished / "spec.toml").read_text().replace("number = 5", "number = 4"))
    refused = run_cli("audit", finished / "artifact.safetensors", "--spec", spec, "--quiet")
    assert refused.code == 3 and "recipe.objective" in refused.err


@pytest.mark.parametrize("phase", ["folds", "second arm", "evidence"])
def test_killed_anywhere_it_ends_in_the_same_digests(finished, tmp_path, monkeypatch, phase):
    spec, folder = spec_of(tmp_path), tmp_path / "run"

    def die(*_, **__):
        raise Crash

    with monkeypatch.context() as patch:
        if phase == "folds":
            patch.setattr(arms_workflow, "ArmTrial", die)
        elif phase == "evidence":
            patch.setattr(arms_workflow, "gather_evidence", die)
        else:
            whole, done = trial.train_unattended, []
            patch.setattr(
                trial, "train_unattended", lambda *a, **k: die() if done else done.append(1) or whole(*a, **k)
            )
        with pytest.raises(Crash):
            run_cli("compress", spec, "--out", folder, "--quiet")
    assert run_cli("compress", spec, "--out", folder, "--quiet").code in (0, 1, 3)
    assert digests_of(folder) == digests_of(finished)


def test_the_front_has_a_spec_for_each_arm_that_none_beats(tmp_path):
    spec = spec_of(tmp_path, goal="front", evidence={"repeats": 0})
    ended = run_cli("compress", spec, "--out", tmp_path / "run", "--quiet")
    assert ended.code in (0, 1, 3), ended.err
    on_front = [arm for arm in report_of(tmp_path / "run")["search"]["arms"] if arm["on_front"]]
    written = sorted((tmp_path / "run" / "front").glob("*/spec.toml"))
    assert len(written) == len(on_front) > 0
    for path in written:
        search = tomllib.loads(path.read_text())["search"]
        assert len(search["shares"]) == len(search["lengths"]) == 1 and search["goal"] == "spec"
        assert len(load_config(path).plan.each_arm) == 1


def test_a_dry_run_counts_the_steps_of_every_phase(tmp_path):
    ended = run_cli("compress", spec_of(tmp_path), "--dry-run", "--json")
    phases = {phase["phase"]: phase["steps"] for phase in json.loads(ended.out)["phases"]}
    per_epoch, fold = -(-225 // 32), -(-135 // 32)
    assert phases["folds"] == 5 * 6 * fold
    assert phases["arms"] == 2 * 6 * per_epoch
    assert phases["repeats"] == 6 * (phases["folds"] + phases["arms"])
    assert phases["shadows"] == 6 * (phases["folds"] + 6 * per_epoch)


@pytest.mark.parametrize(
    "search, message",
    [
        ({"folds": {"number": 40, "held_out": 2}}, "rows to learn from"),
        ({"lengths": [0.01], "rounds": 9}, "do not fit into"),
    ],
)
def test_what_cannot_be_trained_is_refused_before_any_training(tmp_path, search, message):
    ended = run_cli("compress", spec_of(tmp_path, **search), "--out", tmp_path / "run", "--quiet")
    assert ended.code == 2 and message in ended.err
    shutil.rmtree(tmp_path / "run", ignore_errors=True)


def test_an_objective_beside_folds_is_refused(tmp_path):
    spec = spec_of(tmp_path)
    spec.write_text(spec.read_text().replace("[recipe]", '[recipe]\nobjective = "distillation"'))
    ended = run_cli("compress", spec, "--out", tmp_path / "run", "--quiet")
    assert ended.code == 2 and "taught by their sub-models" in ended.err
