"""What our training loop costs beside a plain hand-written one: same model, rows, batch order, optimizer and rates.

python benchmarks/throughput.py [--repeats 15] [--steps 1.0] [--encoder DIR]     # dense and at density 0.1

``--encoder`` is the folder of a pretrained BERT (config.json, model.safetensors).

A text model is one more `Case`: its network, and rows of token ids (N, L) int32 with labels.

One thread. Blocks of steps are run in turn (plain, ours dense, ours sparse, plain again as a control) and compared with
the plain block of the same turn, so that a busy machine slows all of them. CPU seconds are what is compared: another
process on the same core takes none of them.
"""

from __future__ import annotations

import argparse
import copy
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import save, table
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from safecompress.models import MODELS, ModelSpec
from safecompress.seeding import seeded
from safecompress.sparsity import AllocateErk, SparsityPattern, Start, find_maskable, initial_pattern
from safecompress.training import Course, Recipe, TrainingState, train
from safecompress.training.task import Loader

DENSITY = 0.1
RECIPE = Recipe(epochs=1000, batch_size=128, learning_rate=0.01)


@dataclass(frozen=True)
class Case:
    """A model, the rows that it trains on, and how many steps a block has: about a second on one core."""

    name: str
    model: Callable[[], nn.Module]
    rows: Callable[[], tuple[Tensor, Tensor]]
    steps: int


def mlp() -> nn.Module:
    """600-1024-512-256-100."""
    layers: list[nn.Module] = []
    for before, after in pairwise((600, 1024, 512, 256, 100)):
        layers += [nn.Linear(before, after), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def images(name: str, **options: Any) -> Callable[[], nn.Module]:
    """The built-in network for 3x32x32 and ten classes."""
    return lambda: MODELS.make({"name": name, "input_shape": (3, 32, 32), "num_classes": 10, **options})


def noise(count: int, shape: tuple[int, ...], classes: int) -> Callable[[], tuple[Tensor, Tensor]]:
    """Rows of nothing: what a step costs does not depend on them."""
    return lambda: (torch.randn(count, *shape), torch.randint(classes, (count,)))


def small_mlp() -> nn.Module:
    """So small that what is around a step shows most."""
    return nn.Sequential(nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 128), nn.ReLU(), nn.Linear(128, 10))


CASES = [
    Case("MLP 600-1024-512-256-100", mlp, noise(4096, (600,), 100), 64),
    Case("MLP 64-256-128-10, batch 128", small_mlp, noise(1024, (64,), 10), 400),
    Case("ResNet-8", images("resnet"), noise(1024, (3, 32, 32), 10), 8),
    Case(
        "VGG-small",
        images("vgg", widths=(32, 64, 128), depths=(2, 2, 2), hidden=(128,)),
        noise(1024, (3, 32, 32), 10),
        4,
    ),
    Case("VGG16-C", images("vgg"), noise(512, (3, 32, 32), 10), 2),
]


def encoder(folder: Path) -> Case:
    """A pretrained encoder of the BERT family as a classifier of texts of 32 tokens."""
    model = ModelSpec("transformer", {"folder": str(folder.resolve())}, (32,), 4)
    texts = torch.from_numpy(np.random.default_rng(0).integers(1000, 20_000, (512, 32), dtype=np.int32))
    return Case("MiniLM, 6 layers", model.build, lambda: (texts, torch.randint(4, (512,))), 2)


def plain_block(model: nn.Module, features: Tensor, labels: Tensor, order: list[Tensor]) -> Callable[[], object]:
    """A loop as one writes it by hand: rows in memory, images with their channels last, as ours has them."""
    if features.ndim == 4:
        features = features.contiguous(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(
        model.parameters(), lr=RECIPE.learning_rate, momentum=0.9, nesterov=True, weight_decay=5e-4, foreach=True
    )

    def block() -> None:
        model.train()
        for rows in order:
            optimizer.zero_grad(set_to_none=True)
            cross_entropy(model(features[rows]), labels[rows]).backward()
            optimizer.step()

    return block


def our_block(model: nn.Module, course: Course, steps: int, pattern: SparsityPattern | None) -> Callable[[], object]:
    """`train` from where it stood, as a search calls it: a state in, a state out."""
    states = [TrainingState.capture(0, model)]

    def block() -> None:
        states[0] = train(model, states[0], course, until=states[0].step + steps, pattern=pattern)

    return block


def loader_block(course: Course, steps: int) -> Callable[[], object]:
    """Only the batches: rows taken out of memory and, where they are images, flipped and cropped."""
    if course.features.ndim == 4:
        course = replace(course, recipe=replace(course.recipe, augment=("flip", "crop")))
    loader = Loader(course, torch.device("cpu"))

    def block() -> None:
        for step in range(steps):
            loader.at(step)

    return block


def measure(case: Case, repeats: int, share: float) -> dict[str, Any]:
    """Seconds of every kind of block, by turns, and the ratios that they make."""
    with seeded(0, case.name):
        model, (features, labels) = case.model(), case.rows()
    course, steps = Course(features, labels, RECIPE, 0), max(2, round(case.steps * share))
    epochs = -(-steps // course.recipe.steps_per_epoch(len(labels)))
    order = [torch.from_numpy(rows) for epoch in range(epochs) for rows in course.epoch_batches(epoch)][:steps]
    pattern = initial_pattern(find_maskable(model), DENSITY, allocation=AllocateErk(), start=Start.SCRATCH, seed=0)
    blocks = {
        "plain": plain_block(copy.deepcopy(model), features, labels, order),
        "dense": our_block(copy.deepcopy(model), course, steps, None),
        "sparse": our_block(copy.deepcopy(model), course, steps, pattern),
        "control": plain_block(copy.deepcopy(model), features, labels, order),
        "batches": loader_block(course, steps),
    }
    for block in blocks.values():
        block()
    seconds: dict[str, list[float]] = {name: [] for name in blocks}
    for turn in range(repeats):
        names = list(blocks) if turn % 2 else list(reversed(blocks))  # nobody is always the first
        for name in names:
            began = time.process_time()
            blocks[name]()
            seconds[name].append(time.process_time() - began)
    times = {name: np.array(values) for name, values in seconds.items()}
    ratios = {
        "dense_over_plain": times["dense"] / times["plain"],
        "sparse_over_dense": times["sparse"] / times["dense"],
        "batches_over_plain": times["batches"] / times["plain"],
        "plain_over_plain": times["control"] / times["plain"],
    }
    rows = sum(len(batch) for batch in order)
    return {
        "case": case.name,
        "steps": steps,
        "rows_per_second_plain": rows / float(np.median(times["plain"])),
        **{name: float(np.median(values)) for name, values in ratios.items()},
        "quartiles": {name: np.percentile(values, [25, 75]).tolist() for name, values in ratios.items()},
    }


def main() -> None:
    torch.set_num_threads(1)
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--steps", type=float, default=1.0, help="share of the steps of a block, to be quick")
    parser.add_argument("--only", default="", help="cases whose name has this in it")
    parser.add_argument("--dry", action="store_true", help="print only")
    parser.add_argument("--encoder", type=Path, help="folder of a pretrained encoder, for texts")
    options = parser.parse_args()
    results = []
    for case in [*CASES, *([encoder(options.encoder)] if options.encoder else [])]:
        if options.only in case.name:
            results.append(measure(case, options.repeats, options.steps))
            print(results[-1], flush=True)
    if options.dry:
        return
    called = f"python benchmarks/throughput.py --repeats {options.repeats}{' --encoder DIR' * bool(options.encoder)}"
    save("throughput", called, results, page(results, options.repeats))


def page(results: list[dict[str, Any]], repeats: int) -> str:
    """The results as Markdown."""

    def cell(result: dict[str, Any], name: str) -> str:
        low, high = result["quartiles"][name]
        return f"{result[name]:.3f} [{low:.3f}, {high:.3f}]"

    kinds = ["dense_over_plain", "sparse_over_dense", "batches_over_plain", "plain_over_plain"]
    rows = [
        [r["case"], str(r["steps"]), f"{r['rows_per_second_plain']:,.0f}", *(cell(r, kind) for kind in kinds)]
        for r in results
    ]
    return (
        "# Our training loop beside a plain one\n\n"
        f"One thread, batch 128, SGD with Nesterov momentum; medians and quartiles of {repeats} interleaved turns, in "
        "CPU seconds of the process, on a machine that was busy with other work. A block of ours is one call of "
        "`train`: it loads a state, takes the steps, checks that all is finite, and captures a state. Making batches "
        "is what our loader alone takes, images flipped and cropped, as a share of a plain step. Targets: ours within "
        f"10 % of plain, density {DENSITY} within 5 % of dense.\n\n"
        + table(
            ["model", "steps a block", "plain, rows/s", "ours dense / plain", "ours sparse / ours dense",
             "making batches / plain", "plain / plain (control)"],
            rows,
        )
    )  # fmt: skip


if __name__ == "__main__":
    main()
