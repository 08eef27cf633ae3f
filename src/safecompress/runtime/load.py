"""Loads a model file and picks the fastest available engine by timing."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from safecompress.errors import UsageError, suggest
from safecompress.runtime.measure import Call, quickest
from safecompress.runtime.onnxfile import OnnxEngine
from safecompress.runtime.predictor import Engine, Floats, InputOutputSpec, Predictor

if TYPE_CHECKING:
    from torch import nn

    from safecompress.export import Artifact

ENGINES = ("auto", "csr", "onnxruntime", "torch")
BATCH_SIZES = (1, 64)


def load(
    path: str | Path,
    *,
    engine: str = "auto",
    batch_sizes: Sequence[int] = BATCH_SIZES,
    threads: int | None = None,
    model: nn.Module | None = None,
) -> Predictor:
    """The classifier in the file at ``path``: an artifact (``.safetensors``) or an ONNX model (``.onnx``).

    An artifact can be run by ``torch``; by ``csr``, its non-zero weights alone, if it is a chain of linear layers; and
    by ``onnxruntime``, dense, with the extra ``deploy``. ``auto`` times them on random samples for a few milliseconds
    at each of ``batch_sizes`` rows, and a call takes the engine that won at the largest of them that it reaches. It
    tries ``onnxruntime`` only where ``csr`` cannot serve: exporting takes seconds. An ONNX model is run by
    ``onnxruntime``, and PyTorch is not loaded.

    ``model`` is an instance of the network where the artifact holds one of the user's own class; a copy of it is used.
    ``threads`` are those of ONNX Runtime (None: all cores); PyTorch has a setting of its own, torch.set_num_threads.
    Raises UsageError for an engine that the file or this installation does not have, ArtifactError for a file that is
    missing, broken or no classifier.
    """
    path = Path(path)
    if engine not in ENGINES:
        raise UsageError(f"Unknown engine {engine!r}. {suggest(engine, ENGINES)}")
    if not batch_sizes or min(batch_sizes) < 1:
        raise UsageError(
            f"batch_sizes are whole numbers of at least 1, such as {BATCH_SIZES}; got {tuple(batch_sizes)}."
        )
    if path.suffix == ".onnx":
        if model is not None:
            raise UsageError(f"{path} brings its network along: leave the model out.")
        return _load_onnx(path, engine, threads)
    if path.suffix != ".safetensors":
        raise UsageError(f"{path} is neither an artifact (.safetensors) nor an ONNX model (.onnx).")
    from safecompress.export import Artifact

    return of_artifact(Artifact.load(path), engine=engine, batch_sizes=batch_sizes, threads=threads, model=model)


def of_artifact(
    artifact: Artifact,
    *,
    engine: str = "auto",
    batch_sizes: Sequence[int] = BATCH_SIZES,
    threads: int | None = None,
    model: nn.Module | None = None,
) -> Predictor:
    """``load`` for an artifact that is in memory. Loads PyTorch."""
    from safecompress.runtime.engines import offer
    from safecompress.runtime.network import facts_of

    facts = facts_of(artifact.task)
    network = artifact.build(None if model is None else copy.deepcopy(model))
    engines, notes = offer(network, artifact.task, engine, threads)
    if engine != "auto" and engine not in engines:
        raise UsageError(f"This artifact cannot be asked by {engine!r}: {notes[engine]}. Use 'auto' or 'torch'.")
    if engine != "auto":
        return _only(facts, engines[engine], *notes.values())
    return choose(facts, engines, list(notes.values()), sorted(set(batch_sizes)))


def choose(
    facts: InputOutputSpec, engines: Mapping[str, Engine], notes: Sequence[str], batch_sizes: Sequence[int]
) -> Predictor:
    """A Predictor that uses, at each of the rising ``batch_sizes``, whichever of ``engines`` is quickest there."""
    choices: list[tuple[int, Engine]] = []
    timings = []
    for num_rows in batch_sizes:
        samples_N = facts.random_samples(num_rows)
        taken = quickest({name: _asking(engine, samples_N) for name, engine in engines.items()}, block_s=0.003)
        chosen, *others = taken
        if not choices or choices[-1][1] is not engines[chosen]:
            choices.append((num_rows, engines[chosen]))
        figures = ", ".join(f"{name} {1e3 * taken[name]:.3g}" for name in others)
        timings.append(
            f"{num_rows} row{'s' * (num_rows > 1)}: {chosen} {1e3 * taken[chosen]:.3g} ms ({figures or 'alone'})"
        )
    return Predictor(facts, tuple(choices), "; ".join([*timings, *notes]))


def _load_onnx(path: Path, engine: str, threads: int | None) -> Predictor:
    if engine not in ("auto", OnnxEngine.name):
        raise UsageError(f"An ONNX file is asked by 'onnxruntime'; got engine={engine!r}. Load the artifact instead.")
    opened = OnnxEngine(path, threads=threads)
    return _only(opened.facts, opened, opened.note)


def _only(facts: InputOutputSpec, engine: Engine, *notes: str) -> Predictor:
    return Predictor(facts, ((1, engine),), "; ".join([f"{engine.name}: nothing else was tried", *filter(None, notes)]))


def _asking(engine: Engine, samples_N: Floats) -> Call:
    return lambda: engine.logits(samples_N)
