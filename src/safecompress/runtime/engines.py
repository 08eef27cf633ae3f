"""Finds which inference engines can run a network on this machine, and why the others cannot. Loads PyTorch."""

from __future__ import annotations

import numpy as np
from torch import nn

from safecompress.errors import ArtifactError, UsageError
from safecompress.export import TaskInfo
from safecompress.runtime.chain import read_chain
from safecompress.runtime.network import TorchEngine, facts_of
from safecompress.runtime.onnxfile import OnnxEngine
from safecompress.runtime.predictor import Engine
from safecompress.runtime.sparse import CsrEngine

TOLERANCE = 1e-4  # largest difference from PyTorch's logits, as a share of the largest logit
COMPARED = ((1, 1.0), (2, 1.0), (5, 10.0), (33, 1.0))  # rows, and how large: what a chain must answer as PyTorch does


def offer(
    network: nn.Module, task: TaskInfo, wanted: str, threads: int | None
) -> tuple[dict[str, Engine], dict[str, str]]:
    """The engines for ``wanted`` (a name or ``auto``), by name; and remarks by name, such as why one is missing."""
    plain = TorchEngine(network, task)
    engines: dict[str, Engine] = {plain.name: plain} if wanted in ("auto", plain.name) else {}
    notes: dict[str, str] = {}
    if wanted in ("auto", CsrEngine.name):
        chain = offer_chain(network, task)
        if isinstance(chain, str):
            notes["csr"] = f"no csr, {chain}"
        else:
            engines["csr"], notes["csr"] = chain, f"csr by {chain.describe()}"
    if wanted == OnnxEngine.name or (wanted == "auto" and "csr" not in engines):
        try:
            engines[OnnxEngine.name] = onnx_engine(network, task, threads)
        except (UsageError, ArtifactError) as error:
            notes[OnnxEngine.name] = f"no onnxruntime, {str(error).rstrip('.')}"
    elif wanted == "auto":
        notes[OnnxEngine.name] = "onnxruntime not tried, as exporting takes seconds"
    return engines, notes


def offer_chain(network: nn.Module, task: TaskInfo) -> CsrEngine | str:
    """The chain engine of ``network``, or in words why it cannot serve."""
    layers = read_chain(network, task)
    if isinstance(layers, str):
        return layers
    engine = CsrEngine(layers, task)
    return engine if _agree(engine, TorchEngine(network, task), task) else "it computes more than its layers"


def onnx_engine(network: nn.Module, task: TaskInfo, threads: int | None) -> OnnxEngine:
    """``network`` in ONNX Runtime, dense, by way of memory. Raises UsageError without the extra ``deploy``."""
    from safecompress.export.onnx import to_onnx

    return OnnxEngine(to_onnx(network, task), threads=threads)


def _agree(engine: Engine, plain: Engine, task: TaskInfo) -> bool:
    facts = facts_of(task)
    for num_rows, size in COMPARED:
        samples_N = facts.random_samples(num_rows, size)
        got_NC, wanted_NC = engine.logits(samples_N), plain.logits(samples_N)
        if got_NC.shape != wanted_NC.shape:
            return False
        if not np.abs(got_NC - wanted_NC).max() <= TOLERANCE * np.abs(wanted_NC).max():
            return False
    return True
