"""The objective as one more axis of a branch, in real stages: who teaches, what goes on, what is refused."""

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from safecompress.attacks.shadows import ShadowDraw
from safecompress.auditing.shadow_training import TrainingProvenance, shadow_rows
from safecompress.compression.job import Job
from safecompress.compression.phases import RunPhases
from safecompress.compression.run_folder import PhaseTimer
from safecompress.compression.search import Branch, Plan, RunStore, SerialExecutor
from safecompress.errors import ArtifactError, UsageError
from safecompress.export import TaskInfo
from safecompress.models import ModelSpec
from safecompress.progress import Silent
from safecompress.seeding import seeded
from safecompress.spec import SafetySpec, at_most
from safecompress.testing.fakes import noise_split
from safecompress.training import CrossEntropy, Objective, Recipe, TrainingState, predict_logits
from safecompress.training.objectives.distill import Distillation, SplitDistillation

SPLIT = noise_split(20, other=20, num_features=6, num_classes=3)
MODEL = ModelSpec("mlp", {"hidden": (8,)}, (6,), 3)
RECIPE = Recipe(epochs=6, batch_size=20, learning_rate=0.05)


@dataclass(frozen=True)
class Flat(Objective):
    """Wants all classes equally likely: whoever trains towards it forgets the labels."""

    pull: float = 1.0

    def __call__(self, logits_BC, batch):
        return -self.pull * logits_BC.log_softmax(1).mean()


@dataclass(frozen=True)
class Towards(Objective):
    """Cross entropy on reference rows: that they are there is all it needs."""

    needs: ClassVar[frozenset[str]] = frozenset({"reference"})

    def __call__(self, logits_BC, batch):
        return cross_entropy(logits_BC, batch.labels_B)


def job_of(*branches, split=SPLIT, recipe=RECIPE, dense_recipe=RECIPE, **plan):
    with seeded(0, "model"):
        model = MODEL.build()
    plan = Plan(**{"density": 0.5, "rounds": 2, "recovery": 0.5, "rank": False, "branches": branches, **plan})
    spec = SafetySpec(["loss"], [at_most("loss.auc", 0.9)], access="scores")
    task = TaskInfo(3, split.dataset.class_names, (6,))
    return Job("axis", model, MODEL, split, split, task, spec, recipe, dense_recipe, plan, seed=0)


def stages_of(job, folder):
    folder.mkdir(exist_ok=True)
    return RunPhases(job, RunStore(folder, job.objectives), PhaseTimer(), Silent())


def run(job, folder):
    stages = stages_of(job, folder)
    dense = stages.dense()
    winner = stages.start(dense)
    for result in stages.search(SerialExecutor(), dense).rounds(winner):
        winner = result.winner
        stages.keep(result)
    return stages, winner, stages.finish(winner, dense)


def spread(state):
    """How far apart the class scores of the training rows are."""
    network = MODEL.build()
    network.load_state_dict(state.model)
    return float(predict_logits(network, SPLIT.part("train")[0]).std(1).mean())


FLAT = Branch("flat", objective=Flat(4.0))


@pytest.mark.slow
def test_a_branch_trains_towards_its_objective_to_the_end(tmp_path):
    recipe = replace(RECIPE, epochs=40, optimizer="adam", learning_rate=0.02)
    _, plain, plainly = run(job_of("keep", recipe=recipe), tmp_path / "a")
    _, flat, flatly = run(job_of(FLAT, recipe=recipe), tmp_path / "b")
    assert (plain.objective, flat.objective) == (CrossEntropy(), Flat(4.0))
    assert spread(flatly) < 0.6 * spread(plainly)
    assert spread(flatly) < spread(flat.state)  # the last stretch goes on towards it


def test_a_branch_without_one_goes_on_as_its_parent_did(tmp_path):
    job = job_of(FLAT)
    stages = stages_of(job, tmp_path)
    dense = stages.dense()
    first = next(iter(stages.search(SerialExecutor(), dense).rounds(stages.start(dense))))
    stages.keep(first)
    assert stages.parent().objective == Flat(4.0)  # read back from the disk
    later = RunPhases(
        replace(job, plan=replace(job.plan, branches=("keep", FLAT))), stages.store, stages.timer, Silent()
    )
    (second,) = list(later.search(SerialExecutor(), dense).rounds(stages.parent(), first=1))
    candidates = later.candidates(second)
    assert [candidate.objective for candidate in candidates] == [Flat(4.0), Flat(4.0)]
    assert candidates[0].state.digest() == candidates[1].state.digest()


def test_the_dense_model_teaches(tmp_path):
    recipe = replace(RECIPE, objective=Distillation(temperature=1.0, weight=1.0))
    job = job_of("keep", recipe=recipe)
    trained, other = stages_of(job, tmp_path / "run").dense(), TrainingState.capture(0, MODEL.build())
    said = [job.teacher(state.model) for state in (trained, other)]
    assert not torch.equal(*said)
    network = MODEL.build()
    network.load_state_dict(trained.model)
    assert torch.equal(said[0], predict_logits(network, SPLIT.part("train")[0]))
    ends = [run(job, tmp_path / "run")[2].digest(), run(job_of("keep"), tmp_path / "plain")[2].digest()]
    assert ends[0] != ends[1]


@pytest.mark.slow
@pytest.mark.parametrize("objective", [Distillation(1.0, 1.0), SplitDistillation(num_models=3, held_out=1)], ids=repr)
def test_shadows_have_teachers_of_their_own(objective, tmp_path):
    recipe = replace(RECIPE, objective=objective)
    job = job_of("keep", recipe=recipe)
    _, winner, _ = run(job, tmp_path)
    rows = shadow_rows(SPLIT, "verdict", 0)
    draws = [ShadowDraw(number, np.flatnonzero(inside)) for number, inside in enumerate(rows.draws(2))]
    trainer = TrainingProvenance.of_job(job, winner.objective).trainer(winner.pattern, "final pattern")
    taught = [weights["network.body.0.weight"] for weights in trainer(rows, draws)]
    longer = replace(trainer, dense_recipe=replace(RECIPE, epochs=12))
    assert longer.digest() != trainer.digest()
    other = [weights["network.body.0.weight"] for weights in longer(rows, draws)]
    assert not torch.equal(taught[0], other[0])  # another teacher, another pupil


def test_reference_rows_are_the_population_and_no_shadow_draws_them():
    job = job_of("keep", recipe=replace(RECIPE, objective=Towards()))
    reference = job.sparse_task(None).reference
    assert torch.equal(reference[0], SPLIT.part("population")[0])
    assert TrainingProvenance.of_job(job).reference is not None
    with_them, without = (shadow_rows(SPLIT, "verdict", 0, has_reference=has) for has in (False, True))
    assert len(with_them.labels) - len(without.labels) == SPLIT.size("population") > 0


@pytest.mark.parametrize("where", ["recipe", "branch", "dense recipe"])
def test_an_objective_without_its_reference_rows_is_refused_before_training(where):
    indices = {**SPLIT.indices, "population": SPLIT.indices["population"][:0]}
    split = replace(SPLIT, indices=indices)
    needing = replace(RECIPE, objective=Towards())
    made = {
        "recipe": lambda: job_of("keep", split=split, recipe=needing),
        "branch": lambda: job_of(Branch("needy", objective=Towards()), split=split),
        "dense recipe": lambda: job_of("keep", split=split, dense_recipe=needing),
    }[where]()
    with pytest.raises(UsageError, match=r"Towards\(\): .*reference rows.*population = \.\.\."):
        made.check()
    replace(made, split=SPLIT, raw=SPLIT).check()


def test_the_dense_model_has_no_teacher():
    job = job_of("keep", dense_recipe=replace(RECIPE, objective=Distillation()))
    with pytest.raises(UsageError, match="is the teacher"):
        job.check()


def test_one_search_has_one_teacher():
    both = ("keep+distillation", "keep+split_distillation")
    with pytest.raises(UsageError, match=r"teacher.* 2:.*split 2.*5"):
        job_of(*both).check()
    job_of("keep", both[1]).check()


def test_the_teacher_is_asked_once_and_kept(tmp_path, monkeypatch):
    job = job_of("keep", recipe=replace(RECIPE, objective=SplitDistillation(num_models=2, held_out=1)))
    stages = stages_of(job, tmp_path)
    dense = stages.dense()
    first = stages.training_task(dense).teacher
    monkeypatch.setattr(Job, "teacher", None)
    again = stages_of(job, tmp_path).training_task(dense).teacher  # as after a kill
    assert torch.equal(first, again)
    assert first.shape == (SPLIT.size("train"), 3)


def test_other_objectives_are_other_jobs():
    jobs = [job_of("keep"), job_of("keep+label_smoothing"), job_of("keep", recipe=replace(RECIPE, objective=Flat()))]
    assert len({job.digest(b"key") for job in jobs}) == 3


def test_a_candidate_of_an_objective_that_nobody_knows_is_told_of(tmp_path):
    stages, winner, _ = run(job_of(FLAT), tmp_path)
    stages.store.save_candidate("flat", winner)
    assert stages.store.load_candidate("flat").objective == Flat(4.0)
    with pytest.raises(ArtifactError, match=r"flat\.safetensors .*Flat"):
        RunStore(tmp_path).load_candidate("flat")
