"""What ``compress --dry-run`` prints: the data, the model, memory and time by phase, and what the rows can certify."""

from __future__ import annotations

from rich.table import Table

from safecompress.certify.feasibility import JOINT_CHANCE
from safecompress.cli._support.output import stdout_console
from safecompress.cli._support.shown import shown
from safecompress.workflows.estimate import Estimate


def show_estimate(name: str, cost: Estimate, workers: int) -> None:
    """Print the estimate of the run called ``name``."""
    console = stdout_console()
    parts = ", ".join(f"{part} {count:,}" for part, count in cost.rows.items() if count)
    shape = " x ".join(map(str, cost.input_shape))
    console.print(f"[bold]{shown(name)}[/]: rows of {shape}, {cost.num_classes} classes; {parts}.", highlight=False)
    console.print(
        f"Model: {cost.num_parameters:,} parameters, {cost.num_active:,} of {cost.num_maskable:,} weights kept.",
        highlight=False,
    )
    memory = ", ".join(f"{what} {_bytes(count)}" for what, count in cost.memory.items())
    console.print(f"Memory (one process of {workers}): {memory}.", highlight=False)
    table = Table(title="Phases, in time of this machine with nothing else to do", title_justify="left")
    table.add_column("phase")
    table.add_column("what")
    for header in ("steps", "time"):
        table.add_column(header, justify="right")
    for phase in cost.phases:
        steps = f"{phase.steps:,}" if phase.steps else "-"
        table.add_row(phase.name, phase.what, steps, _duration(phase.seconds))
    table.add_row("all", f"one step takes {cost.step_seconds * 1e3:.3g} ms", "", _duration(cost.seconds))
    console.print(table)
    limits = Table(title="What the verdict rows can certify at best", title_justify="left")
    for header in ("requirement", "tightest bound", "passed without a leak", "rows it takes", "because of"):
        limits.add_column(header)
    for prospect in cost.prospects:
        tightest = "-" if prospect.tightest is None else f"{prospect.tightest:.4g}"
        passable = "-" if prospect.passable is None else f"{prospect.passable:.3f}"
        needed = "-" if prospect.needed_rows is None else f"{prospect.needed_rows:,}"
        limits.add_row(shown(str(prospect.requirement)), tightest, passable, needed, shown(prospect.note))
    console.print(limits)
    console.print(
        f"Passed without a leak: by {JOINT_CHANCE:.0%} of models that leak nothing, all bounds on attacks together. "
        "Rows it takes: in each verdict pool, for the bound asked for to be passed so often."
    )
    console.print("Nothing was trained and nothing was written.")


def _bytes(count: int) -> str:
    value, unit = float(count), "B"
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1024 or unit == "GiB":
            break
        value /= 1024
    return f"{value:.3g} {unit}"


def _duration(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.2g} s" if seconds < 10 else f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
