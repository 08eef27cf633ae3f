"""``safecompress bench ARTIFACT``: what a file weighs, and how fast it answers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from safecompress.cli._support.output import say_json, stdout_console
from safecompress.cli.app import app
from safecompress.cli.options import AS_JSON, artifact_argument, dense_option, model_factory_option

if TYPE_CHECKING:
    from rich.table import Table
    from torch import nn

    from safecompress.runtime.bench import Bench, Latency, Speed

ARTIFACT = artifact_argument("An artifact (.safetensors) or an ONNX model (.onnx).")
DENSE = dense_option("Dense weights to compare with.  (default: random ones in the network that the artifact names)")

MODEL = model_factory_option("What makes the network, where its class is your own.")


@app.command()
def bench(
    artifact: Path = ARTIFACT, dense: Path | None = DENSE, model: str | None = MODEL, as_json: bool = AS_JSON
) -> None:
    """Weigh and time a saved model on one thread, beside the dense network of the same shape. Exit code 0."""
    from safecompress.cli._support.shown import shown
    from safecompress.runtime.bench import bench as measure

    result = measure(artifact, dense_path=dense, model=_network(artifact, model))
    if as_json:
        say_json(result.to_json())
        return
    console = stdout_console()
    console.print(_table(result))
    for line in (_size_line(result), f"Loaded in {result.load_ms:.3g} ms. {result.why}.", *result.words):
        console.print(shown(line), highlight=False)


def _network(path: Path, factory: str | None) -> nn.Module | None:
    """An instance of the user's own class, where they say what makes it."""
    if factory is None:
        return None
    from safecompress.errors import UsageError
    from safecompress.export import Artifact
    from safecompress.workflows.export_file import network_of

    if path.suffix == ".onnx":
        raise UsageError(f"{path} brings its network along: leave --model out.")
    return network_of(Artifact.load(path), factory)


def _table(report: Bench) -> Table:
    from rich.table import Table

    from safecompress.cli._support.shown import shown

    table = Table(title=f"{shown(Path(report.path).name)}: one thread, milliseconds a call", title_justify="left")
    for header in ("rows", "model", "engine", "median", "its 95 % interval", "p95", "rows/s", "times as fast"):
        table.add_column(header, justify="left" if header in ("model", "engine") else "right")
    for speed in report.speeds:
        table.add_row(*_cells("file", speed.file), _ratio(speed))
        if speed.dense is not None:
            table.add_row(*_cells("dense", speed.dense), "1")
    return table


def _cells(factory: str, latency: Latency) -> tuple[str, ...]:
    low, high = (f"{limit:.3g}" for limit in (latency.p50_interval_ms.low, latency.p50_interval_ms.high))
    times = (f"{latency.p50_ms:.3g}", f"{low} to {high}", f"{latency.p95_ms:.3g}", f"{latency.rows_per_s:,.0f}")
    return str(latency.batch_size), factory, latency.engine, *times


def _ratio(speed: Speed) -> str:
    if speed.ratio is None or speed.ratio_interval is None:
        return "-"
    return f"{speed.ratio:.2f} ({speed.ratio_interval.low:.2f} to {speed.ratio_interval.high:.2f})"


def _size_line(report: Bench) -> str:
    size = report.size
    if size.payload is None or size.reference is None or size.floor_ratio is None or size.density is None:
        return f"{size.file:,} bytes."
    return (
        f"{size.file:,} bytes; density {size.density:.3g}; payload {size.payload:,} bytes, {size.floor_ratio:.3f} of "
        f"its reference size ({size.reference:,.0f})."
    )
