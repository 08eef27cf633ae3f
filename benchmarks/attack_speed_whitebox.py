"""What the white-box signals cost: the last layer's input beside a plain pass, and all gradients beside a loop.

python benchmarks/attack_speed_whitebox.py
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from common import save, table
from torch import nn
from torch.nn.functional import cross_entropy

from safecompress.attacks.lastlayer import gradient_norms, predict_with_hidden
from safecompress.attacks.membership.whitebox import gradient_factors
from safecompress.attacks.signals import Signals
from safecompress.models import Mlp
from safecompress.models.cnn import SmallCnn
from safecompress.training import predict_logits

BATCH, PAIRS, LOOP_ROWS = 256, 65, 64


def small_vgg(num_classes: int = 10) -> nn.Sequential:
    """Six convolutions on 32x32 colour images."""
    layers: list[nn.Module] = []
    before = 3
    for width, is_last in ((16, False), (16, True), (32, False), (32, True), (64, False), (64, True)):
        layers += [nn.Conv2d(before, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU()]
        layers += [nn.MaxPool2d(2)] if is_last else []
        before = width
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(64 * 16, 256), nn.ReLU(), nn.Linear(256, num_classes))


MODELS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...], float]] = {
    "MLP 446-512-256-128-30": (lambda: Mlp((446,), 30, hidden=(512, 256, 128)), (446,), 1.10),
    "small CNN, 1x8x8": (lambda: SmallCnn((1, 8, 8), 10), (1, 8, 8), 1.10),
    "small VGG, 3x32x32": (small_vgg, (3, 32, 32), 1.05),
}


def seconds(work: Callable[[], Any]) -> float:
    """Processor time of this one thread: other loads of the machine count less than on a clock."""
    began = time.process_time()
    work()
    return time.process_time() - began


def factor_norms(model: nn.Module, features: torch.Tensor, labels: torch.Tensor) -> np.ndarray:
    """Norms of the last layer's gradient from one forward pass."""
    logits, hidden = predict_with_hidden(model, features)
    outer, inner = gradient_factors(Signals(logits.double().numpy(), labels.numpy(), hidden))
    return np.linalg.norm(outer, axis=1) * np.linalg.norm(inner, axis=1)


def loop_norms(model: nn.Module, features: torch.Tensor, labels: torch.Tensor) -> np.ndarray:
    """Norms of every parameter's gradient by a full backward pass for each row."""
    weights = list(model.parameters())
    rows = []
    for row, label in zip(features, labels, strict=True):
        gradients = torch.autograd.grad(cross_entropy(model(row[None]), label[None]), weights)
        rows.append([float(gradient.norm()) for gradient in gradients])
    return np.array(rows)


def measure(name: str) -> dict[str, Any]:
    make, shape, target = MODELS[name]
    torch.manual_seed(0)
    model = make().eval()
    features, labels = torch.randn(BATCH, *shape), torch.randint(10, (BATCH,))
    few, few_labels = features[:LOOP_ROWS], labels[:LOOP_ROWS]
    with torch.inference_mode():
        assert torch.equal(predict_with_hidden(model, features)[0], predict_logits(model, features))
    looped = loop_norms(model, few, few_labels)
    weight = [name for name, _ in model.named_parameters()].index(
        [name for name, _ in model.named_parameters() if name.endswith("weight")][-1]
    )
    assert np.allclose(factor_norms(model, few, few_labels), looped[:, weight], rtol=1e-3)
    assert np.allclose(gradient_norms(model, few, few_labels), looped, rtol=1e-2, atol=1e-5)

    runs = {
        "plain": lambda: predict_logits(model, features),
        "hidden": lambda: predict_with_hidden(model, features),
        "control": lambda: predict_logits(model, features),
    }
    times = np.array([[seconds(work) for work in runs.values()] for _ in range(PAIRS)])[5:]
    plain, hidden, control = times.T
    loop, factors, norms = (
        float(np.median([seconds(lambda work=work: work(model, few, few_labels)) for _ in range(5)])) / LOOP_ROWS
        for work in (loop_norms, factor_norms, gradient_norms)
    )
    return {
        "model": name,
        "target": target,
        "plain_ms": float(np.median(plain)) * 1e3,
        "hidden_over_plain": float(np.median(hidden / plain)),
        "quartiles": np.percentile(hidden / plain, [25, 75]).tolist(),
        "control_over_plain": float(np.median(control / plain)),
        "control_quartiles": np.percentile(control / plain, [25, 75]).tolist(),
        "loop_ms_a_row": loop * 1e3,
        "factors_ms_a_row": factors * 1e3,
        "all_norms_ms_a_row": norms * 1e3,
    }


def main() -> None:
    torch.set_num_threads(1)
    results = []
    for name in MODELS:
        results.append(measure(name))
        print(results[-1], flush=True)
    pass_rows = [
        [r["model"], f"{r['plain_ms']:.1f}", "{:.3f} [{:.3f}, {:.3f}]".format(r["hidden_over_plain"], *r["quartiles"]),
         "{:.3f} [{:.3f}, {:.3f}]".format(r["control_over_plain"], *r["control_quartiles"]), f"{r['target']:.2f}"]
        for r in results
    ]  # fmt: skip
    loop_rows = [
        [r["model"], f"{r['loop_ms_a_row']:.2f}", f"{r['factors_ms_a_row']:.3f}",
         f"{r['loop_ms_a_row'] / r['factors_ms_a_row']:.0f}x", f"{r['all_norms_ms_a_row']:.2f}",
         f"{r['loop_ms_a_row'] / r['all_norms_ms_a_row']:.1f}x"]
        for r in results
    ]  # fmt: skip
    page = (
        "# What the white-box signals cost\n\nOne thread, processor time. Logits with the last layer's input beside "
        f"logits alone, {BATCH} rows: medians and quartiles of {PAIRS - 5} pairs; the logits are equal to the bit.\n\n"
        + table(["model", "plain pass, ms", "with hidden / plain", "plain / plain (control)", "target"], pass_rows)
        + f"\nGradients row by row, milliseconds a row over {LOOP_ROWS} rows: a loop of full backward passes, the last "
        "layer's gradient from its factors, the norms of all layers through vmap; the norms are "
        "equal. vmap pays where layers are many and small; wide linear layers are bound by memory.\n\n"
        + table(["model", "loop", "last layer", "gain", "all layers", "gain"], loop_rows)
    )
    save("speed-whitebox", "python benchmarks/attack_speed_whitebox.py", results, page)


if __name__ == "__main__":
    main()
