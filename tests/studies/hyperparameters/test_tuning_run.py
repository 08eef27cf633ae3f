"""The whole search: replayed after a kill, grown, in workers, with trials that fail."""

import json
from dataclasses import replace
from importlib.util import find_spec

import pytest
from filelock import FileLock
from tiny_tuning import SPACE, FakeTrials, computed, tuning_of

from safecompress.errors import RunFolderError, UsageError
from safecompress.studies.engine import runner
from safecompress.studies.hyperparameters import Space, TrialResult, tune

pytest.importorskip("optuna")


@pytest.fixture
def fake(monkeypatch):
    def installed(fate=computed):
        trials = FakeTrials(fate)
        monkeypatch.setattr(runner, "run_item", trials)
        return trials

    return installed


def trial_files(folder):
    return sorted((folder / "trials").iterdir())


def settings(found):
    return [tried.choice for tried in found.trials]


@pytest.mark.slow
def test_a_search_leaves_page_document_picture_and_its_trials(fake, tmp_path):
    fake()
    found = tune(tuning_of(trials=6), tmp_path)
    assert len(found.trials) == len(trial_files(tmp_path)) == 6 and found.exit_code == 0
    document = json.loads((tmp_path / "tune.json").read_text())
    assert document["front"] == [index + 1 for index in found.front] and len(document["hypervolume"]) == 6
    assert [one["trial"] for one in document["trials"]] == [1, 2, 3, 4, 5, 6]
    assert document["split"]["train"] == 60 and not {"test", "nonmember_verdict"} & document["split"].keys()
    assert {"optuna", "torch", "threads"} <= document["environment"].keys()
    assert (tmp_path / "tune.md").read_text().startswith("# Tuning: noise\n")
    assert (tmp_path / "tune.svg").exists() == (find_spec("matplotlib") is not None)


@pytest.mark.slow
@pytest.mark.parametrize("lost", [[0], [5, 11], [4, 6, 7, 8, 9, 10, 11], range(12)])
def test_a_killed_search_ends_as_one_that_was_never_killed(fake, tmp_path, lost):
    """Whichever trials a kill left: only the lost are made again, and all that follows is the same."""
    first = fake()
    whole = tune(tuning_of(trials=16, batch=3), tmp_path / "whole")
    second = fake()
    tune(tuning_of(trials=12, batch=3), tmp_path / "killed")
    sealed = tuning_of().sealed()
    for number in lost:
        path = tmp_path / "killed" / "trials" / f"{sealed.digest(settings(whole)[number])}.json"
        path.unlink()
    (tmp_path / "killed" / "trials" / ".half.x.part").write_text("{")
    second.choices.clear()
    resumed = tune(tuning_of(trials=16, batch=3), tmp_path / "killed")
    assert resumed.trials == whole.trials and resumed.hypervolumes == whole.hypervolumes
    assert second.choices == [c for n, c in enumerate(first.choices) if n in lost or n >= 12]
    documents = [(tmp_path / name / "tune.json").read_text() for name in ("killed", "whole")]
    assert documents[0] == documents[1]


@pytest.mark.slow
def test_a_second_run_tries_nothing(fake, tmp_path):
    trials = fake()
    before = tune(tuning_of(), tmp_path), (tmp_path / "tune.md").read_bytes()
    trials.choices.clear()
    after = tune(tuning_of(), tmp_path), (tmp_path / "tune.md").read_bytes()
    assert trials.choices == [] and before[0].trials == after[0].trials and before[1] == after[1]


@pytest.mark.slow
def test_a_setting_that_is_asked_for_again_is_not_tried_again(fake, tmp_path):
    trials = fake()
    few = Space((0.25, 0.5, 0.75), {"cross_entropy": SPACE.objectives["cross_entropy"]}, SPACE.branches, (0.01,))
    found = tune(tuning_of(space=few, trials=30, batch=4), tmp_path)
    assert len(trials.choices) == len(set(settings(found))) <= 6 < len(found.trials) == 30
    assert len({found.trials[index].choice for index in found.front}) == len(found.front)


def test_trials_in_a_worker_are_those_of_this_process(tmp_path, worker_pool):
    tuning = tuning_of(trials=2, batch=2)
    alone = tune(tuning, tmp_path / "alone")
    together = tune(tuning, tmp_path / "together", executor=worker_pool)

    def figures(found):
        return [replace(tried, seconds=0.0) for tried in found.trials]

    assert figures(alone) == figures(together) and all(tried.has_numbers for tried in alone.trials)


@pytest.mark.slow
def test_a_trial_that_fails_lets_the_others_go_on_and_is_tried_again(fake, tmp_path):
    trials = fake(lambda c: TrialResult(c, error="TrainingError: x") if c.density < 0.4 else computed(c))
    found = tune(tuning_of(trials=8), tmp_path)
    failed = [tried.choice for tried in found.trials if tried.error]
    assert 0 < len(failed) < 8 and found.exit_code == 0
    assert not {index for index in found.front if found.trials[index].error}
    trials.choices.clear()
    tune(tuning_of(trials=8), tmp_path)
    assert trials.choices == failed


def test_without_any_number_it_ends_in_3_and_says_why(fake, tmp_path):
    fake(lambda c: TrialResult(c, error="TrainingError: x"))
    found = tune(tuning_of(), tmp_path)
    assert found.exit_code == 3 and found.front == () and set(found.hypervolumes) == {0.0}
    page = (tmp_path / "tune.md").read_text()
    assert "No trial has numbers, so there is no front." in page and "- trial 1: TrainingError: x" in page
    assert not (tmp_path / "tune.svg").exists()


@pytest.mark.slow
def test_a_folder_of_another_search_is_refused(fake, tmp_path):
    fake()
    tune(tuning_of(), tmp_path)
    with pytest.raises(RunFolderError, match="another job"):
        tune(tuning_of(attacks=tuning_of().attacks[:1]), tmp_path)
    with FileLock(tmp_path / ".lock"), pytest.raises(RunFolderError, match="Another process"):
        tune(tuning_of(), tmp_path)


@pytest.mark.slow
def test_a_space_that_was_changed_goes_on_in_the_same_folder(fake, tmp_path):
    fake()
    tune(tuning_of(), tmp_path)
    narrow = replace(SPACE, objectives={"relax_loss": SPACE.objectives["relax_loss"]})
    found = tune(tuning_of(space=narrow), tmp_path)
    assert {choice.objective for choice in settings(found)} == {"relax_loss"}


@pytest.mark.slow
def test_files_that_are_no_trials_are_made_anew(fake, tmp_path):
    fake()
    tune(tuning_of(), tmp_path)
    first, second = trial_files(tmp_path)[:2]
    kept = first.read_bytes()
    for content in (b"{}", second.read_bytes(), kept[:-2], kept.replace(b"accuracy", b"accuracX")):
        first.write_bytes(content)
        assert len(tune(tuning_of(), tmp_path).trials) == 6
        assert first.read_bytes() == kept


@pytest.mark.slow
def test_specs_of_a_former_front_are_cleared_and_a_users_are_kept(fake, tmp_path):
    fake()
    tune(tuning_of(), tmp_path)
    for name in ("front-7.toml", "front-mine.toml"):
        (tmp_path / name).write_text("")
    tune(tuning_of(), tmp_path)
    assert [path.name for path in tmp_path.glob("front-*")] == ["front-mine.toml"]


def test_what_cannot_be_searched_leaves_no_folder(tmp_path):
    with pytest.raises(UsageError, match=r"trials.*least 1"):
        tune(tuning_of(trials=0), tmp_path / "new")
    assert not (tmp_path / "new").exists()


@pytest.mark.slow
def test_who_watches_hears_of_every_trial(fake, tmp_path):
    lines = []

    class Watcher:
        def begin(self, phase, total):
            lines.append(f"{phase} {total}")

        def advance(self, steps=1):
            lines.extend("+" * steps)

        def say(self, line):
            lines.append(line)

    fake(lambda c: TrialResult(c, error="E: x") if c.density < 0.4 else computed(c))
    tune(tuning_of(trials=5), tmp_path, progress=Watcher())
    assert lines[0] == "trials 5" and lines.count("+") == 5
    told = [line for line in lines if line.startswith("trial ")]
    assert [line.split(":")[0] for line in told] == [f"trial {n}" for n in range(1, 6)]
    assert any("failed (E: x)" in line for line in told) and any("worst AUC 0." in line for line in told)
