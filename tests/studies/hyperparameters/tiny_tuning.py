"""A search that takes parts of a second: 60 train rows of noise; test and verdict rows hold NaN, so that whoever reads
one of them has figures that are not numbers."""

import math
from dataclasses import replace

import torch

from safecompress.attacks import Gap, Loss
from safecompress.compression.job import Job
from safecompress.compression.search import Plan, parse_branches
from safecompress.export import TaskInfo
from safecompress.models import ModelSpec
from safecompress.seeding import seeded
from safecompress.spec import SafetySpec, at_most
from safecompress.studies.hyperparameters import Range, Space, TrialResult, Tuning
from safecompress.studies.hyperparameters.result import StudyResult
from safecompress.testing.fakes import noise_split
from safecompress.training import CrossEntropy, Recipe
from safecompress.training.objectives.relax import RelaxLoss

MODEL = ModelSpec("mlp", {"hidden": (8,)}, (6,), 3)
RECIPE = Recipe(epochs=6, batch_size=20, optimizer="adam", learning_rate=0.01, weight_decay=0.0)
KEEP, RANDOM = parse_branches(["keep"]), parse_branches(["magnitude+random", "keep"])
SPACE = Space(
    Range(0.2, 0.8),
    {"cross_entropy": CrossEntropy(), "relax_loss": RelaxLoss()},
    {"keep": KEEP, "magnitude+random, keep": RANDOM},
    (0.01,),
)
ATTACKS = (Gap(), Loss())


def spoiled_split():
    """Noise whose test rows and non-members of the verdict hold NaN."""
    split = noise_split(20, other=20, num_features=6, num_classes=3)
    for part in ("test", "nonmember_verdict"):
        split.dataset.features[torch.tensor(split.indices[part])] = math.nan
    return split


def job_of(split=None, *, seed=0, recipe=RECIPE, spec=None, **given):
    split = spoiled_split() if split is None else split
    with seeded(seed, "model"):
        model = MODEL.build()
    return Job(
        name="noise",
        model=model,
        model_spec=MODEL,
        split=split,
        raw=split,
        task=TaskInfo(3, split.dataset.class_names, (6,)),
        spec=spec or SafetySpec([Loss()], [at_most("loss.auc", 0.9)]),
        recipe=recipe,
        dense_recipe=replace(recipe, objective=CrossEntropy()),
        plan=Plan(density=0.5, rounds=2, branches=RANDOM),
        seed=seed,
        **given,
    )


def tuning_of(job=None, space=SPACE, attacks=ATTACKS, **given):
    return Tuning(job or job_of(), space, attacks, **{"trials": 6, "batch": 2, **given})


def figure(value, half=0.05):
    return {"value": value, "low": value - half, "high": value + half, "confidence": 0.95, "num_samples": 40}


def made_up(choice, accuracy, auc, **given):
    """A trial with these figures; the gap attack lies under the loss attack."""
    figures = {"accuracy": figure(accuracy)}
    for name, value in {"gap": auc - 0.02, "loss": auc}.items():
        figures |= {f"{name}.auc": figure(value), f"{name}.balanced_accuracy": figure(value)}
    return TrialResult(choice, figures=figures, attacks=("gap", "loss"), num_bytes=1234, pattern="p", **given)


def computed(choice):
    """Figures that hang on the setting alone: what is denser is more accurate and leaks more."""
    return made_up(choice, 0.3 + 0.6 * choice.density, 0.5 + 0.3 * choice.density)


class FakeTrials:
    """Stands for `run_item`: figures in no time; ``choices`` are the settings that were tried, in order."""

    def __init__(self, fate=computed):
        self.choices, self.fate = [], fate

    def __call__(self, study, cache, seal, work):
        choice, path = work
        self.choices.append(choice)
        tried = self.fate(choice)
        seal.write_json(path, path.stem, tried.to_json())
        return tried


def found_of(trials, **given):
    facts = {"name": "made up", "environment": {"python": "3"}, "split": {"train": 60}}
    return StudyResult(tuning_of(**given), tuple(trials), **facts)
