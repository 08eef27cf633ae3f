"""What training costs with active weights alone: steps, whole trainings, shadows, and the products that they rest on.

python benchmarks/active_weights.py                  # the Location-30 MLP on made rows; needs the extra "fast"
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from common import save, table
from scipy.sparse import csr_array
from torch import nn

from safecompress import sparsity
from safecompress.training import Recipe, TrainingState, TrainingTask, engine_name, train, train_many
from safecompress.training.active import kernels
from safecompress.training.active.stepper import ActiveStepper
from safecompress.training.engines import ENGINE, chain_to_train
from safecompress.training.loop import MaskedStepper

WIDTHS, BATCH = (446, 512, 256, 128, 30), 128
DENSITIES = (0.3, 0.2, 0.1, 0.05)
RECIPES = {"Adam": {"optimizer": "adam", "learning_rate": 1e-3}, "SGD Nesterov": {"learning_rate": 0.05}}


def mlp(*widths: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for before, after in pairwise(widths):
        layers += [nn.Linear(before, after), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def pattern_for(model: nn.Module, density: float) -> sparsity.SparsityPattern:
    return sparsity.initial_pattern(
        sparsity.find_maskable(model), density, allocation=sparsity.AllocateErk(), start=sparsity.Start.SCRATCH, seed=0
    )


def task_for(*widths: int, seed: int = 0, **recipe: Any) -> TrainingTask:
    generator = torch.Generator().manual_seed(seed)
    features = (torch.rand(1500, widths[0], generator=generator) < 0.3).float()
    labels = torch.randint(0, widths[-1], (1500,), generator=generator)
    return TrainingTask(features, labels, Recipe(**{"batch_size": BATCH, "weight_decay": 0.0, **recipe}), seed)


def paired(runs: Mapping[str, Callable[[int], None]], blocks: int, per_block: int = 1) -> dict[str, np.ndarray]:
    """Milliseconds of processor time of each of ``runs``, block by block in turn; the first block is dropped."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    for block in range(blocks + 1):
        for name, run in runs.items():
            began = time.process_time()
            for turn in range(per_block):
                run(block * per_block + turn)
            times[name].append((time.process_time() - began) / per_block * 1e3)
    return {name: np.array(found[1:]) for name, found in times.items()}


def ratio(times: Mapping[str, np.ndarray], of: str, to: str) -> dict[str, Any]:
    shares = times[of] / times[to]
    return {
        **{f"{name}_ms": float(np.median(found)) for name, found in times.items()},
        "ratio": float(np.median(shares)),
        "quartiles": np.percentile(shares, [25, 75]).tolist(),
    }


def words(found: Mapping[str, Any]) -> str:
    return "{:.2f} [{:.2f}, {:.2f}]".format(found["ratio"], *found["quartiles"])


def steps() -> list[dict[str, Any]]:
    """Blocks of twelve steps (an epoch), masked and active in turn."""
    results = []
    for name, recipe in RECIPES.items():
        for density in DENSITIES:
            model = mlp(*WIDTHS)
            pattern, task, state = (
                pattern_for(model, density),
                task_for(*WIDTHS, **recipe),
                TrainingState.capture(0, model),
            )
            chain = chain_to_train(model, state, task, pattern, has_momentum=False)
            runs = {
                "masked": MaskedStepper(model, state, task, pattern, False, None),
                "active": ActiveStepper(model, chain, state, task, pattern, None),
            }
            results.append({"optimizer": name, "density": density, **ratio(paired(runs, 40, 12), "masked", "active")})
            print(results[-1], flush=True)
    return results


def trainings() -> list[dict[str, Any]]:
    return [training(density) for density in (0.1, 0.05)]


def training(density: float) -> dict[str, Any]:
    """Whole calls of `train`, 60 steps, whatever they set up included; and how far their ends lie apart."""
    model = mlp(*WIDTHS)
    pattern, task = pattern_for(model, density), task_for(*WIDTHS, **RECIPES["Adam"])
    state, ends = TrainingState.capture(0, model), {}

    def by(engine: str) -> Callable[[int], None]:
        def run(_: int) -> None:
            os.environ[ENGINE] = engine
            ends[engine] = train(model, state, task, until=60, pattern=pattern)

        return run

    found = ratio(paired({engine: by(engine) for engine in ("masked", "active")}, 9), "masked", "active")
    logits = []
    for end in ends.values():
        end.restore_(model)
        logits.append(model(task.features).detach())
    found = {"density": density, **found, "logits": float((logits[0] - logits[1]).abs().max())}
    print(found, flush=True)
    return found


def shadows() -> list[dict[str, Any]]:
    os.environ[ENGINE] = "active"
    return [shadow(*widths) for widths in ((64, 32, 10), (64, 128, 64, 10), (64, 256, 128, 10), (446, 128, 30))]


def shadow(*widths: int) -> dict[str, Any]:
    """Eight models of one shape, 40 steps: stacked, and one after another by the active engine."""
    model = mlp(*widths)
    tasks = [task_for(*widths, seed=seed, **RECIPES["Adam"]) for seed in range(8)]
    states, pattern = [TrainingState.capture(0, mlp(*widths)) for _ in tasks], pattern_for(model, 0.1)
    runs: dict[str, Callable[[int], Any]] = {
        "stacked": lambda _: train_many(model, states, tasks, until=40, pattern=pattern),
        "active": lambda _: [
            train(model, state, task, until=40, pattern=pattern) for state, task in zip(states, tasks, strict=True)
        ],
    }
    count = sum(parameter.numel() for parameter in model.parameters())
    found = {"widths": widths, "weights": count, **ratio(paired(runs, 7), "stacked", "active")}
    print(found, flush=True)
    return found


def products() -> list[dict[str, Any]]:
    """The three products of the layer 446-512 by every way that was tried; an entry is missing where there is none."""
    results = []
    for density in (0.1, 0.05):
        for way, calls in ways(density).items():
            times = paired(calls, 15, 20)
            results.append({"density": density, "way": way, **{name: float(np.median(t)) for name, t in times.items()}})
            print(results[-1], flush=True)
    return results


def ways(density: float) -> dict[str, dict[str, Callable[[int], Any]]]:
    generator = torch.Generator().manual_seed(0)
    mask = torch.rand(512, 446, generator=generator) < density
    weights = torch.randn(512, 446, generator=generator) * mask
    x_FB, g_FB = torch.randn(446, BATCH), torch.randn(512, BATCH)
    x_BF, g_BF = x_FB.T.contiguous(), g_FB.T.contiguous()
    csr, transposed = weights.to_sparse_csr(), weights.T.contiguous().to_sparse_csr()
    own, own_T = csr_array(weights.numpy()), csr_array(weights.T.numpy())
    return {
        "dense": {
            "outputs": lambda _: x_BF @ weights.T,
            "inputs' gradient": lambda _: g_BF @ weights,
            "weights' gradient": lambda _: g_FB @ x_BF,
        },
        "torch CSR": {
            "outputs": lambda _: csr @ x_FB,
            "inputs' gradient": lambda _: transposed @ g_FB,
            "weights' gradient": lambda _: torch.sparse.sampled_addmm(csr, g_FB, x_BF, beta=0.0),
        },
        "torch CSR, reduce": {
            "outputs": lambda _: torch.sparse.mm(csr, x_FB, "sum"),
            "inputs' gradient": lambda _: torch.sparse.mm(transposed, g_FB, "sum"),
        },
        "SciPy CSR": {"outputs": lambda _: own @ x_FB.numpy(), "inputs' gradient": lambda _: own_T @ g_FB.numpy()},
        "Numba": numba_products(own, x_FB.numpy(), g_FB.numpy()),
    }


def numba_products(own: csr_array, x_FB: np.ndarray, g_FB: np.ndarray) -> dict[str, Callable[[int], Any]]:
    made, ranks = kernels.kernels_for(BATCH), csr_array((np.arange(own.nnz), own.indices, own.indptr), shape=own.shape)
    columns = ranks.tocsc()
    out, back = np.zeros_like(g_FB), np.zeros_like(x_FB)
    at, at_columns = (own.indptr, own.indices), (columns.indptr, columns.indices, columns.data.astype(np.int32))
    gradient, bias = np.zeros_like(own.data), np.zeros(len(g_FB), np.float32)
    return {
        "outputs": lambda _: made.outputs(*at, own.data, bias, x_FB, out, False),
        "inputs' gradient": lambda _: made.input_gradient(*at_columns, own.data, g_FB, back, False),
        "weights' gradient": lambda _: made.weight_gradient(*at, x_FB, g_FB, gradient, bias),
    }


def page(found: Mapping[str, list[dict[str, Any]]]) -> str:
    names = ("outputs", "inputs' gradient", "weights' gradient")
    return (
        f"# Training active weights alone\n\nMLP {'-'.join(map(str, WIDTHS))}, batch {BATCH}, one thread, ERK; "
        "processor time, medians and quartiles of paired blocks. Targets: 4 times as fast as a masked step at density "
        "0.1, 6 times at 0.05.\n\n## A step\n\n"
        + table(
            ["optimizer", "density", "masked, ms", "active, ms", "masked / active"],
            [
                [r["optimizer"], f"{r['density']:g}", f"{r['masked_ms']:.2f}", f"{r['active_ms']:.2f}", words(r)]
                for r in found["steps"]
            ],
        )
        + "\n## A call of train, 60 steps of Adam\n\n"
        + table(
            ["density", "masked, ms", "active, ms", "masked / active", "logits apart by"],
            [
                [f"{r['density']:g}", f"{r['masked_ms']:.0f}", f"{r['active_ms']:.0f}", words(r), f"{r['logits']:.1e}"]
                for r in found["trainings"]
            ],
        )
        + "\n## Eight small models, 40 steps of Adam, density 0.1\n\n"
        + table(
            ["shape", "weights", "stacked, ms", "active, ms", "stacked / active"],
            [
                [
                    "-".join(map(str, r["widths"])),
                    f"{r['weights']:,}",
                    f"{r['stacked_ms']:.0f}",
                    f"{r['active_ms']:.0f}",
                    words(r),
                ]
                for r in found["shadows"]
            ],
        )
        + "\n## The products of one layer, 446-512, in microseconds\n\n"
        + table(
            ["density", "way", *names],
            [
                [f"{r['density']:g}", r["way"], *(f"{r[name] * 1e3:.0f}" if name in r else "-" for name in names)]
                for r in found["products"]
            ],
        )
    )


if __name__ == "__main__":
    os.environ[ENGINE] = "active"
    torch.manual_seed(0)
    made = {one.__name__: one() for one in (steps, trainings, shadows, products)}
    save("active-weights", "python benchmarks/active_weights.py", {"engine": engine_name(), **made}, page(made))
