"""What each of two processes does in test_ranks.py: trainings that share batches, and what must be told on both."""

import sys
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from safecompress.errors import TrainingError, UsageError
from safecompress.seeding import seeded
from safecompress.sparsity import AllocateErk, SparsityPattern, Start, find_maskable, initial_pattern
from safecompress.storage import write_tensors
from safecompress.training import (
    OBJECTIVES,
    LossTrace,
    Recipe,
    TrainingState,
    TrainingTask,
    Watch,
    dense_gradient,
    sharing_batches,
    train,
)

with seeded(0, "data"):
    FEATURES = torch.randn(45, 10)
    LABELS = (FEATURES @ torch.randn(10, 3)).argmax(1)
    REFERENCE = torch.randn(20, 10), torch.randint(3, (20,))

PLAIN = Recipe(epochs=6, batch_size=12, learning_rate=0.05)
RECIPES = {
    "plain": PLAIN,
    "adamw": replace(PLAIN, optimizer="adamw", learning_rate=0.01, warmup=0.2, decay="linear"),
    "all": replace(PLAIN, clip_norm=0.3, micro_batches=2, average=0.9),
    "mixup": replace(PLAIN, objective=OBJECTIVES.make("mixup")),
    "adversarial": replace(PLAIN, objective=OBJECTIVES.make({"name": "adversarial", "start": 0.1})),
    "bf16": replace(PLAIN, amp="bf16"),
    "norm": PLAIN,
}
TOTAL = 24


def net(has_norm=False, seed=0):
    with seeded(seed, "net"):
        extra = [nn.BatchNorm1d(16), nn.Dropout(0.2)] if has_norm else []
        return nn.Sequential(nn.Linear(10, 16), nn.ReLU(), *extra, nn.Linear(16, 3))


def pattern_of(model):
    return initial_pattern(find_maskable(model), 0.4, allocation=AllocateErk(), start=Start.SCRATCH, seed=0)


def trained(name):
    """The state at the end, in two segments, the gradient that a rewire between them would read, and the first step."""
    recipe, has_norm = RECIPES[name], name == "norm"
    course = TrainingTask(FEATURES, LABELS, recipe, 0, reference=REFERENCE)
    pattern = pattern_of(net(has_norm))
    options = {"pattern": pattern, "keep_momentum": True}
    half = train(net(has_norm), TrainingState.capture(0, net(has_norm)), course, until=11, **options)
    gradient = dense_gradient(net(has_norm), half, course, pattern.masks)
    state = train(net(has_norm, 3), half, course, until=TOTAL, **options)
    first = train(net(has_norm), TrainingState.capture(0, net(has_norm)), course, until=1, **options).model
    state_of_first = {f"first/{key}": value for key, value in first.items()}
    return {**state.to_tensors(), **state_of_first, **{f"gradient/{key}": value for key, value in gradient.items()}}


def told(what):
    """The words of the error that ``what()`` raises."""
    try:
        what()
    except (TrainingError, UsageError) as error:
        return f"{type(error).__name__}: {error}"
    return "nothing"


def main(rank, folder):
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    start, course = TrainingState.capture(0, net()), TrainingTask(FEATURES, LABELS, PLAIN, 0)
    with sharing_batches() as ranks:
        assert (ranks.rank, ranks.count) == (rank, 2)
        for name in RECIPES:
            write_tensors(folder / f"{name}-{rank}.safetensors", trained(name), {})
        masks = pattern_of(net()).masks
        odd = SparsityPattern({name: mask.flip(rank) for name, mask in masks.items()})
        errors = {
            "weights": told(lambda: train(net(), TrainingState.capture(0, net(seed=rank)), course, until=3)),
            "pattern": told(lambda: train(net(), start, course, until=0, pattern=odd)),
            "diverged": told(
                lambda: train(net(), start, course.__class__(FEATURES * 1e30, LABELS, PLAIN, 0), until=TOTAL)
            ),
            "small": told(lambda: train(net(), start, replace(course, recipe=replace(PLAIN, batch_size=1)), until=3)),
            "trace": told(lambda: train(net(), start, course, until=3, watch=Watch(trace=LossTrace(45, 6)))),
            "relax": told(lambda: train(net(), start, course.towards(OBJECTIVES.make("relax_loss")), until=3)),
        }
    alone = train(net(), start, course, until=3)  # after it each process is on its own again
    write_tensors(folder / f"told-{rank}.safetensors", alone.model, errors)


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
