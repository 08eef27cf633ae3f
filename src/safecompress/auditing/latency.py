"""How long one sample takes: timed where a requirement asks for it."""

from __future__ import annotations

import numpy as np
import torch

from safecompress.auditing.audited_model import AuditedModel
from safecompress.metrics.catalogue import LATENCY
from safecompress.metrics.measurement import Levels, Measurement
from safecompress.runtime import load
from safecompress.runtime.measure import in_turns, median_interval
from safecompress.threads import fixed_threads

LATENCY_ROUNDS = 60
"""Blocks of calls whose medians the latency's interval is taken from."""


def latency(subject: AuditedModel, levels: Levels) -> Measurement:
    """Milliseconds that one sample takes on one thread of this machine: the median over blocks of calls.

    A file is asked by the engine that `runtime.load` would choose. Intervals are order statistics of the blocks'
    medians; they know of this machine's noise and of no other machine.
    """
    noise = np.random.default_rng(0).standard_normal((1, *subject.input_shape), dtype=np.float32)
    loadable = subject.path is not None and (subject.path.suffix == ".onnx" or _is_built_by_name(subject))
    with fixed_threads(1):
        if loadable and subject.path is not None:
            predictor = load(subject.path, batch_sizes=(1,), threads=1)
            (timing,) = in_turns({"": lambda: predictor.logits(noise)}, rounds=LATENCY_ROUNDS).values()
        else:
            sample = torch.from_numpy(noise)
            with torch.inference_mode():
                (timing,) = in_turns({"": lambda: subject.network(sample)}, rounds=LATENCY_ROUNDS).values()
    medians = timing.medians()
    alphas = (levels.alpha, levels.simultaneous_alpha)
    intervals = [median_interval(medians, 1e3, confidence=1 - alpha) for alpha in alphas]
    value = float(np.median(medians)) * 1e3
    return Measurement(LATENCY.name, value, intervals[0], intervals[1], len(medians), LATENCY.direction)


def _is_built_by_name(subject: AuditedModel) -> bool:
    return subject.artifact is not None and subject.artifact.model_spec is not None
