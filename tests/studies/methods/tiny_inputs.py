"""A setting small enough for a test: 60 train rows of noise, a net of two layers, a few steps; test and verdict rows
hold NaN, so that whoever learns from one of them has weights that are not numbers."""

import math
from dataclasses import replace

import torch

from safecompress.attacks.private_cache import PrivateFolder
from safecompress.export import TaskInfo
from safecompress.models import ModelSpec
from safecompress.studies.methods import MethodInputs, TrainingCache, training_cache
from safecompress.testing.fakes import noise_split
from safecompress.training import Recipe, train

MODEL = ModelSpec("mlp", {"hidden": (8,)}, (6,), 3)
RECIPE = Recipe(epochs=6, batch_size=20, optimizer="adam", learning_rate=0.01, weight_decay=0.0)
NUM_WEIGHTS = 8 * 6 + 3 * 8
FORBIDDEN = ("test", "nonmember_verdict")


def split_of(*spoiled, population=True, validation=True):
    """Noise; the parts ``spoiled`` hold NaN."""
    split = noise_split(20, other=20, num_features=6, num_classes=3)
    for part in spoiled:
        split.dataset.features[rows_of(split, part)] = math.nan
    empty = {
        part: split.indices[part][:0]
        for part, has in (("population", population), ("validation", validation))
        if not has
    }
    return replace(split, indices={**split.indices, **empty})


def rows_of(split, part):
    return torch.tensor(split.indices[part])


def setting_of(split=None, *, density=0.5, seed=0, model=MODEL, recipe=RECIPE, store=None, task=None):
    split = split_of(*FORBIDDEN) if split is None else split
    task = TaskInfo(3, split.dataset.class_names, (6,)) if task is None else task
    shop = TrainingCache(None if store is None else PrivateFolder(store))
    return MethodInputs(split, task, model, recipe, density, seed, shop)


class Watched:
    """Stands for the `train` of the cache, and remembers what was asked for."""

    def __init__(self, monkeypatch):
        self.calls = []
        monkeypatch.setattr(training_cache, "train", self)

    def __call__(self, model, state, course, *, until, pattern=None):
        self.calls.append((state, course, until, pattern))
        return train(model, state, course, until=until, pattern=pattern)

    @property
    def courses(self):
        return [course for _, course, _, _ in self.calls]

    @property
    def patterns(self):
        return [pattern for _, _, _, pattern in self.calls]


def same_weights(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)
