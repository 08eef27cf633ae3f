"""One trial: its figures, what it never reads, and what happens when something breaks."""

import json
import math
from dataclasses import dataclass, field, replace

import numpy as np
import pytest
import torch
from tiny_tuning import RECIPE, SPACE, computed, job_of, made_up, spoiled_split, tuning_of

from safecompress.attacks import Access, Gap, Lira, Loss
from safecompress.attacks.private_cache import PrivateFolder
from safecompress.compression.search import Plan
from safecompress.errors import StorageError
from safecompress.sparsity import Start
from safecompress.storage import Seal
from safecompress.studies.engine.runner import run_item
from safecompress.studies.hyperparameters import Range, Space, TrialParams, TrialResult
from safecompress.studies.hyperparameters import trial as trial_page
from safecompress.studies.hyperparameters.trial import TrialStudy, measure
from safecompress.studies.methods import MethodInputs, TrainingCache
from safecompress.studies.methods.sparse import SafeCompress
from safecompress.testing.fakes import noise_split
from safecompress.training import CrossEntropy
from safecompress.training.objectives.distill import Distillation

CHOICE = TrialParams(0.5, "relax_loss", "magnitude+random, keep", 0.01)


def measured(choice=CHOICE, tuning=None):
    return measure(tuning or tuning_of(), choice, TrainingCache())


@pytest.mark.slow
def test_no_test_and_no_verdict_row_is_read():
    """They hold NaN here, and hold none elsewhere: the figures are finite, and the same."""
    clean = spoiled_split()
    assert clean.dataset.features.isnan().any()
    clean.dataset.features.nan_to_num_(7.0)
    found = measured()
    assert found == measured(tuning=tuning_of(job_of(clean)))
    assert found.has_numbers and found.attacks == ("gap", "loss")
    assert all(math.isfinite(figure[key]) for figure in found.figures.values() for key in ("value", "low", "high"))
    assert found.accuracy["num_samples"] == 20 and found.worst_auc["num_samples"] == 40


@pytest.mark.slow
def test_shadows_read_none_of_them_either():
    found = measured(tuning=tuning_of(attacks=(Loss(), Lira(num_shadows=16))))
    assert found.has_numbers and found.shadows == "final pattern only"
    assert found.figures["lira.auc"]["num_samples"] == 40
    assert set(found.apart) == {"lira", "lira, signal = 'all'"}
    assert found.figures["lira.auc"]["value"] == max(figure["value"] for figure in found.apart.values())
    assert measured().shadows is None


@pytest.mark.slow
def test_the_pattern_is_that_of_a_search_by_the_same_plan():
    """The published method's own page makes the same model from the same setting."""
    tuning = tuning_of()
    job = tuning.space.apply(CHOICE, tuning.job)
    setting = MethodInputs(job.split, job.task, job.model_spec, RECIPE, 0.5, job.seed)
    made = SafeCompress(job.plan, job.recipe.objective, attacks=("loss",)).make(setting)
    assert measured().pattern == made.pattern.digest()


@pytest.mark.slow
def test_every_part_of_the_setting_reaches_the_model():
    space = replace(SPACE, learning_rates=Range(0.001, 0.1))
    tuning = tuning_of(space=space)
    changes = [
        {},
        {"density": 0.25},
        {"objective": "cross_entropy"},
        {"learning_rate": 0.05},
        {"branches": "keep"},
    ]
    found = [measured(replace(CHOICE, **change), tuning) for change in changes]
    assert len({json.dumps(one.figures) + str(one.pattern) for one in found}) == len(changes)
    assert found[1].num_bytes < found[0].num_bytes


@pytest.mark.slow
def test_the_dense_model_and_its_teaching_are_kept_for_the_next_trial(tmp_path, monkeypatch):
    kept, keep = [], TrainingCache.keep

    def counted(self, name, tensors):
        kept.append(name)
        keep(self, name, tensors)

    monkeypatch.setattr(TrainingCache, "keep", counted)
    job = replace(job_of(), plan=Plan(rounds=1, start=Start.DENSE))
    space = Space(Range(0.2, 0.8), {"taught": Distillation(), "plain": CrossEntropy()}, SPACE.branches, (0.01,))
    shop = TrainingCache(PrivateFolder(tmp_path))
    for objective in ("taught", "plain", "taught"):
        tried = measure(tuning_of(job, space), TrialParams(0.5, objective, "keep", 0.01), shop)
        assert tried.has_numbers
    assert len(kept) == 1


@pytest.mark.slow
def test_dense_weights_that_are_given_are_used():
    weights = {name: torch.ones_like(tensor) * 0.1 for name, tensor in job_of().model.state_dict().items()}
    plan = Plan(rounds=1, start=Start.DENSE)
    given, none = (tuning_of(replace(job_of(), plan=plan, dense=dense)) for dense in (weights, None))
    assert measured(tuning=given).figures != measured(tuning=none).figures


@dataclass(frozen=True)
class Broken:
    """An attack that crashes."""

    name: str = field(default="broken", init=False)
    access: Access = field(default=Access.LABELS, init=False)

    def fit(self, target, audit, *, generator):
        raise ZeroDivisionError("somebody's bug")


def test_an_attack_that_breaks_leaves_a_trial_without_a_worst_figure():
    found = measured(tuning=tuning_of(attacks=(Loss(), Broken())))
    assert found.broken == {"broken": "ZeroDivisionError: somebody's bug"}
    assert not found.has_numbers and found.objectives is None and found.error is None


def test_training_that_diverges_is_a_trial_that_failed(tmp_path):
    space = Space(Range(0.2, 0.8), SPACE.objectives, SPACE.branches, (0.01, 1e30))
    tuning = tuning_of(job_of(recipe=replace(RECIPE, optimizer="sgd")), space)
    path = tmp_path / "trial.json"
    tried = run_item(TrialStudy(tuning), tmp_path / "cache", Seal(b"k"), (replace(CHOICE, learning_rate=1e30), path))
    assert tried.error.startswith("TrainingError: ") and "\n" not in tried.error
    assert not tried.has_numbers and tried.objectives is None
    assert TrialResult.from_json(json.loads(path.read_text())["content"]) == tried


@pytest.mark.slow
def test_a_trial_is_written_as_it_came_out(tmp_path):
    path, before = tmp_path / "trials" / "one.json", torch.get_num_threads()
    tried = run_item(TrialStudy(tuning_of()), tmp_path / "cache", Seal(b"k"), (CHOICE, path))
    assert TrialResult.from_json(json.loads(path.read_text())["content"]) == tried
    assert replace(tried, seconds=0.0) == measured() and tried.seconds > 0
    assert torch.get_num_threads() == before


NO_MEMORY = "DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes. Error code 12"


@pytest.mark.parametrize("error", [StorageError("full"), MemoryError(), RuntimeError(NO_MEMORY)])
def test_a_full_disk_and_a_full_memory_are_no_trials(error, monkeypatch, tmp_path):
    def refuse(*args):
        raise error

    monkeypatch.setattr(trial_page, "measure", refuse)
    with pytest.raises(type(error)):
        run_item(TrialStudy(tuning_of()), tmp_path, Seal(b"k"), (CHOICE, tmp_path / "t.json"))
    assert not (tmp_path / "t.json").exists()


def test_rows_of_one_unit_count_once_where_a_trial_is_measured():
    split = noise_split(20, other=20, num_features=6, num_classes=3)
    groups = np.arange(split.dataset.num_rows)
    for number, part in enumerate(("validation", "member_select", "nonmember_select")):
        groups[split.indices[part][:10]], groups[split.indices[part][10:]] = 1000 + number, 2000 + number
    grouped = replace(split, dataset=replace(split.dataset, groups=groups))
    found = measured(tuning=tuning_of(job_of(grouped)))
    assert found.accuracy["num_samples"] == 2 and found.worst_auc["num_samples"] == 4


def test_the_worst_attack_is_the_one_with_the_largest_auc():
    tried = made_up(CHOICE, 0.8, 0.6)
    assert (tried.worst_attack, tried.worst_auc["value"], tried.objectives) == ("loss", 0.6, (0.8, 0.6))
    assert tried.tm_score == pytest.approx(0.8 / 0.6)
    assert made_up(CHOICE, 0.8, 0.4).objectives == (0.8, 0.5)
    assert made_up(CHOICE, 0.8, 0.4).tm_score == pytest.approx(1.6)


def test_json_there_and_back():
    tried = replace(computed(CHOICE), notes=("n",), shadows="final pattern only")
    assert TrialResult.from_json(json.loads(json.dumps(tried.to_json()))) == tried
    with pytest.raises(KeyError):
        TrialResult.from_json({})


@pytest.mark.slow
def test_the_attacks_figures_do_not_hang_on_which_others_there_are():
    both, alone = measured(), measured(tuning=tuning_of(attacks=(Loss(),)))
    assert both.figures["loss.auc"] == alone.figures["loss.auc"]
    assert Gap().name + ".auc" not in alone.figures
