"""Size and latency of a saved file, beside the dense network of the same shape."""

from __future__ import annotations

import copy
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from safecompress.errors import ArtifactError, UsageError
from safecompress.metrics.measurement import Interval
from safecompress.runtime.load import BATCH_SIZES, load
from safecompress.runtime.measure import Call, Timing, in_turns, median_interval
from safecompress.runtime.predictor import Floats, InputOutputSpec, Predictor

if TYPE_CHECKING:
    from torch import nn

    from safecompress.export import Artifact

ROUNDS = 51
NO_GAIN = 1.1  # times the dense speed: less is nothing that a user would notice


@dataclass(frozen=True, slots=True)
class Latency:
    """Milliseconds of one call of ``predict`` with ``batch_size`` rows.

    ``p50_ms`` is the median over rounds of the median within a round, its interval of 95 % an order-statistic one over
    rounds; ``p95_ms`` is of all calls.
    """

    engine: str
    batch_size: int
    p50_ms: float
    p50_interval_ms: Interval
    p95_ms: float
    num_calls: int

    @property
    def rows_per_s(self) -> float:
        """Throughput at the median."""
        return 1e3 * self.batch_size / self.p50_ms


@dataclass(frozen=True, slots=True)
class Speed:
    """One batch size: the file, and the dense network if there is one; the file is ``ratio`` times as fast.

    The ratio is the median of the rounds' ratios.
    """

    file: Latency
    dense: Latency | None = None
    ratio: float | None = None
    ratio_interval: Interval | None = None


@dataclass(frozen=True, slots=True)
class Size:
    """Bytes of the file; of an artifact also its payload, its reference size, their ratio, and the density."""

    file: int
    payload: int | None = None
    reference: float | None = None
    floor_ratio: float | None = None
    density: float | None = None


@dataclass(frozen=True, slots=True)
class Bench:
    """What a file weighs and how fast it answers on one thread; ``words`` say what the figures mean."""

    path: str
    size: Size
    load_ms: float
    why: str
    speeds: tuple[Speed, ...]
    words: tuple[str, ...]

    def speed_to_json(self) -> dict[str, Any]:
        """The times alone, as JSON values."""
        figures = self.to_json()
        return {name: figures[name] for name in SPEED}

    def to_json(self) -> dict[str, Any]:
        """The figures as JSON values."""
        size = self.size
        return {
            "path": self.path,
            "file_bytes": size.file,
            "payload_bytes": size.payload,
            "reference_bytes": size.reference,
            "floor_ratio": size.floor_ratio,
            "density": size.density,
            "load_ms": self.load_ms,
            "threads": 1,
            "why": self.why,
            "speeds": [_speed_to_json(speed) for speed in self.speeds],
            "words": list(self.words),
        }


SPEED = ("load_ms", "threads", "why", "speeds", "words")
"""What a report keeps of a bench: no path, and no bytes, which it has from elsewhere."""


def bench(
    path: str | Path,
    *,
    dense_path: str | Path | None = None,
    rounds: int = ROUNDS,
    model: nn.Module | None = None,
) -> Bench:
    """Weigh and time the file at ``path`` with one thread, which it sets for PyTorch's part of the process.

    An artifact is compared with the network that its model spec names, float32 and dense, in ONNX Runtime (in PyTorch
    without the extra ``deploy``): with the weights in ``dense_path`` (safetensors), else with random ones, as fast as
    any. An ONNX file is compared with the ONNX file ``dense_path``, or with the dense network of the artifact beside
    it, as a run leaves them; else with nothing. ``load_ms`` is from the path to a chosen engine, libraries being loaded
    already. ``model`` is an instance of the network of an artifact of the user's own class. The two take turns in
    ``rounds`` rounds, and intervals are of the rounds' medians. Raises what ``load``
    raises, and UsageError for a ``dense_path`` that is no file or of the wrong kind.
    """
    path, dense_path = Path(path), None if dense_path is None else Path(dense_path)
    if dense_path is not None and not dense_path.is_file():
        raise UsageError(f"{dense_path} is no file. Name the dense weights, or leave --dense out.")
    if dense_path is not None and dense_path.suffix != path.suffix:
        raise UsageError(f"The dense network of a {path.suffix} file must be one as well; got {dense_path}.")
    if path.suffix != ".onnx":
        import torch

        torch.set_num_threads(1)
    load(path, threads=1, model=model)  # the first one also loads libraries
    begun = time.perf_counter()
    predictor = load(path, threads=1, model=model)
    load_ms = 1e3 * (time.perf_counter() - begun)
    if path.suffix == ".onnx":
        size, peer = Size(path.stat().st_size), _peer_of_onnx(path, dense_path, predictor.facts)
        words = ["An ONNX file is computed densely: zeros among its weights, if any, bring no speed."]
    else:
        from safecompress.export import Artifact

        artifact = Artifact.load(path)
        size, (peer, words) = _size_of(artifact, path), _dense_peer(artifact, dense_path, model)
    if peer is not None and peer.facts.input_shape != predictor.facts.input_shape:
        raise UsageError(
            f"{dense_path} reads samples of {peer.facts.input_shape}, {path} of {predictor.facts.input_shape}."
        )
    speeds = tuple(_speed(predictor, peer, batch_size, rounds) for batch_size in BATCH_SIZES)
    if path.suffix != ".onnx":
        words += _words(speeds, size.density, predictor.why)
    return Bench(str(path), size, load_ms, predictor.why, speeds, tuple(words))


def _size_of(artifact: Artifact, path: Path) -> Size:
    counted = artifact.byte_count()
    return Size(path.stat().st_size, counted.payload, counted.reference, counted.ratio, artifact.density)


def _dense_peer(
    artifact: Artifact, weights_path: Path | None, model: nn.Module | None = None
) -> tuple[Predictor | None, list[str]]:
    """The dense network, run by ONNX Runtime or else PyTorch, and remarks on it."""
    from safecompress.runtime.engines import onnx_engine
    from safecompress.runtime.network import TorchEngine, facts_of
    from safecompress.seeding import seeded

    if artifact.model_spec is None and model is None:
        return None, ["The artifact names no network, so that there is no dense one to compare it with."]
    task = artifact.task
    if model is not None:
        network = copy.deepcopy(model).eval()
    else:
        assert artifact.model_spec is not None  # or there is a model
        with seeded(0, "bench.dense"):
            network = artifact.model_spec.build().eval()
    if weights_path is not None:
        _fill(network, weights_path)
    facts = facts_of(task)
    try:
        return _single(facts, onnx_engine(network, task, threads=1)), []
    except (UsageError, ArtifactError) as error:
        return _single(facts, TorchEngine(network, task)), [f"The dense network is asked by PyTorch: {error}"]


def _peer_of_onnx(path: Path, dense_path: Path | None, facts: InputOutputSpec) -> Predictor | None:
    """What an ONNX file, which says ``facts`` of itself, is compared with."""
    if dense_path is not None:
        return load(dense_path, threads=1)
    source = path.with_suffix(".safetensors")
    if not source.is_file():
        return None
    try:
        from safecompress.export import Artifact
    except ImportError:  # an ONNX file is asked without PyTorch
        return None
    try:
        artifact = Artifact.load(source)
        artifact.build()  # refuses a network of sizes that the file does not have, before memory is taken for it
        peer = _dense_peer(artifact, None)[0]
    except ArtifactError:  # a file of the same name that is none, or of another's class
        return None
    return peer if peer is not None and peer.facts.input_shape == facts.input_shape else None


def _fill(network: Any, weights_path: Path) -> None:
    from safecompress.storage import read_tensors

    tensors, _ = read_tensors(weights_path)
    try:
        network.load_state_dict(tensors)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:300]
        raise UsageError(f"The weights in {weights_path} do not fit the network of the artifact: {reason}") from error


def _single(facts: InputOutputSpec, engine: Any) -> Predictor:
    return Predictor(facts, ((1, engine),), engine.name)


def _speed(predictor: Predictor, peer: Predictor | None, batch_size: int, rounds: int) -> Speed:
    samples_N = predictor.facts.random_samples(batch_size)
    timed = {"file": predictor} if peer is None else {"file": predictor, "dense": peer}
    timings = in_turns({name: _asking(one, samples_N) for name, one in timed.items()}, rounds=rounds)
    latencies = {
        name: _latency(one.engine_for(batch_size).name, batch_size, timings[name]) for name, one in timed.items()
    }
    if peer is None:
        return Speed(latencies["file"])
    ratios = [dense / file for dense, file in zip(timings["dense"].medians(), timings["file"].medians(), strict=True)]
    return Speed(latencies["file"], latencies["dense"], median(ratios), median_interval(ratios))


def _latency(engine: str, batch_size: int, timing: Timing) -> Latency:
    interval = median_interval(timing.medians(), scale=1e3)
    p50_ms = 1e3 * median(timing.medians())
    return Latency(engine, batch_size, p50_ms, interval, 1e3 * timing.quantile(0.95), timing.num_calls)


def _asking(predictor: Predictor, samples_N: Floats) -> Call:
    return lambda: predictor.predict(samples_N)


def _words(speeds: tuple[Speed, ...], density: float | None, why: str) -> list[str]:
    """Where zeros bring no speed, and what would."""
    slow = [speed for speed in speeds if (speed.file.engine != "csr" if speed.ratio is None else speed.ratio < NO_GAIN)]
    if density is None or density >= 1.0 or not slow:
        return []
    rows = " and ".join(f"{speed.file.batch_size} row{'s' * (speed.file.batch_size > 1)}" for speed in slow)
    if any("no csr" in part for part in why.split("; ")):
        reason = "there is no sparse kernel for this network, and dense ones multiply by zero as by any number"
    else:
        reason = "so many weights are left that sparse kernels are no faster than dense ones"
    return [
        f"With {rows}, zeros alone bring no speed here: {reason} (density {density:.3g}). The file is smaller all the "
        "same. Removing whole units or channels brings speed on any engine."
    ]


def quick_bench(path: Path) -> Bench | None:
    """A short `bench` for the end of a run; None where the file says not what to compare it with."""
    try:
        result = bench(path, rounds=11)
    except (ArtifactError, UsageError):
        return None
    return None if any(speed.dense is None or speed.ratio is None for speed in result.speeds) else result


def speed_line(bench_result: Bench) -> str:
    """Latency of a file beside the dense network, in one line."""
    parts = []
    for speed in bench_result.speeds:
        rows = "1 sample" if speed.file.batch_size == 1 else f"{speed.file.batch_size} samples"
        dense = "" if speed.dense is None else f", dense model {speed.dense.p50_ms:.3g} ms ({speed.dense.engine})"
        times = "" if speed.ratio is None else f": {speed.ratio:.2f} times as fast"
        parts.append(f"{rows} {speed.file.p50_ms:.3g} ms ({speed.file.engine}){dense}{times}")
    return "Latency on one thread here: " + "; ".join(parts)


def _speed_to_json(speed: Speed) -> dict[str, Any]:
    return {
        "batch_size": speed.file.batch_size,
        "file": _latency_to_json(speed.file),
        "dense": None if speed.dense is None else _latency_to_json(speed.dense),
        "ratio": speed.ratio,
        "ratio_interval": None if speed.ratio_interval is None else _limits(speed.ratio_interval),
    }


def _latency_to_json(latency: Latency) -> Mapping[str, Any]:
    return {
        "engine": latency.engine,
        "p50_ms": latency.p50_ms,
        "p50_interval_ms": _limits(latency.p50_interval_ms),
        "p95_ms": latency.p95_ms,
        "rows_per_s": latency.rows_per_s,
        "num_calls": latency.num_calls,
    }


def _limits(interval: Interval) -> list[float]:
    return [interval.low, interval.high]
