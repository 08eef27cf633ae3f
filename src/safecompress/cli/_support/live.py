"""The live view: the bar of the phase that runs, and the candidates of the round as they are tried; or plain lines."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.live import Live
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

from safecompress.cli._support.shown import shown
from safecompress.progress import CandidateState, CandidateStatus, RoundStatus, Silent
from safecompress.progress import Progress as Watcher

STYLES = {
    CandidateState.WAITING: "dim",
    CandidateState.TRYING: "cyan",
    CandidateState.FINALIST: "bold",
    CandidateState.WON: "bold green",
    CandidateState.LOST: "dim",
    CandidateState.BROKEN: "magenta",
}
NARROW = 60
"""Columns of a terminal under which only branch, state and TM-score are shown."""

VERY_NARROW = 40
"""Columns under which no time is shown."""

_AROUND = 6
"""Lines of the view that are no candidate: bar, title, header, and room for the prompt."""


@contextlib.contextmanager
def watching(console: Console | None = None) -> Iterator[Watcher]:
    """A live view on a terminal, plain lines elsewhere; both on standard error."""
    console = console or Console(stderr=True)
    if not console.is_terminal or console.is_dumb_terminal:
        yield PlainLines()
        return
    view = LiveView(console)
    with Live(view, console=console, transient=True, refresh_per_second=8):
        yield view


class LiveView(Silent):
    """What a `rich.live.Live` shows; finished rounds stay above it as a line each."""

    def __init__(self, console: Console) -> None:
        self._console = console
        columns: list[ProgressColumn] = [SpinnerColumn(), TextColumn("{task.description}", markup=False)]
        columns += [BarColumn(bar_width=None), _Count()]
        if console.width >= NARROW:
            columns += [TextColumn("{task.fields[note]}", style="dim", markup=False), TimeElapsedColumn()]
        columns += [_Left()] if console.width >= VERY_NARROW else []
        self._bars = Progress(*columns, console=console, auto_refresh=False, expand=True)
        self._task: TaskID | None = None
        self._standings: RoundStatus | None = None

    def begin(self, phase: str, total: int) -> None:
        """Replace the bar. A phase of one step has no share that is done: its bar only moves."""
        if self._task is not None:
            self._bars.remove_task(self._task)
        last = self._standings
        if last is not None and last.winner is not None and last.number >= last.rounds:
            self._standings = None
        self._task = self._bars.add_task(phase, total=total if total > 1 else None, note="")

    def advance(self, steps: int = 1) -> None:
        """Move it."""
        if self._task is not None:
            self._bars.advance(self._task, steps)

    def say(self, line: str) -> None:
        """Print above the view."""
        self._console.print(shown(line), highlight=False)

    def stands(self, standings: RoundStatus) -> None:
        """Show the round; a decided one stays until the next opens or, after the last, another phase begins."""
        self._standings = standings

    def measured(self, step: int, figures: Mapping[str, float]) -> None:
        """Show the loss beside the bar."""
        loss = next((value for name, value in figures.items() if name.endswith("/loss")), None)
        if loss is not None and self._task is not None:
            self._bars.update(self._task, note=f"loss {loss:.3f}")

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        shown: list[RenderableType] = [self._bars] if self._task is not None else []
        if self._standings is not None:
            shown.append(table_of(self._standings, width=options.max_width, height=console.height))
        yield Group(*shown)


def table_of(standings: RoundStatus, *, width: int = 80, height: int = 25) -> Table:
    """The candidates of a round, in a terminal of ``width`` columns and ``height`` lines; what is too much is counted.

    Figures that are not measured yet are left empty.
    """
    title = f"round {standings.number} of {standings.rounds}, tested at step {standings.step:,}"
    if not standings.rounds:
        title = "arms, each trained to its end"
    table = Table(title=title, title_justify="left", title_style="bold", box=None, padding=(0, 2, 0, 0))
    is_wide = width >= NARROW
    table.add_column("candidate", no_wrap=True, overflow="ellipsis")
    table.add_column("state", no_wrap=True, min_width=len(CandidateState.FINALIST))
    for header in ("accuracy", "worst AUC") if is_wide else ():
        table.add_column(header, justify="right", no_wrap=True)
    table.add_column("TM-score", justify="right", no_wrap=True)
    shown = _most_telling(standings.candidates, max(1, height - _AROUND))
    for one in shown:
        figures = (one.accuracy, one.worst_auc, one.tm_score) if is_wide else (one.tm_score,)
        cells = ("" if figure is None else f"{figure:.3f}" for figure in figures)
        table.add_row(Text(one.branch), str(one.stage), *cells, style=STYLES.get(one.stage, ""))
    if len(shown) < len(standings.candidates):
        table.add_row(f"and {len(standings.candidates) - len(shown)} more", style="dim")
    return table


def _most_telling(candidates: tuple[CandidateStatus, ...], count: int) -> list[CandidateStatus]:
    """At most ``count`` of them in their order: those being tried first, then the best, then those that wait."""
    if len(candidates) <= count:
        return list(candidates)

    def rank(candidate: CandidateStatus) -> tuple[bool, bool, float]:
        return candidate.stage is not CandidateState.TRYING, candidate.tm_score is None, -(candidate.tm_score or 0.0)

    kept = {one.branch for one in sorted(candidates, key=rank)[:count]}
    return [one for one in candidates if one.branch in kept]


class _Count(MofNCompleteColumn):
    """Steps done of all; nothing where the phase is one step."""

    def render(self, task: Task) -> Text:
        return Text() if task.total is None else super().render(task)


class _Left(TimeRemainingColumn):
    """The time left; nothing where the phase is one step."""

    def render(self, task: Task) -> Text:
        return Text() if task.total is None else super().render(task)


class PlainLines(Silent):
    """A line per phase and per message, with the seconds since the start."""

    def __init__(self) -> None:
        self._console = Console(stderr=True, soft_wrap=True)
        self._began = time.monotonic()

    def begin(self, phase: str, total: int) -> None:
        """One line."""
        self.say(f"{phase}: {total} steps")

    def say(self, line: str) -> None:
        """One line."""
        self._console.print(f"{time.monotonic() - self._began:7.1f} s  {shown(line)}", highlight=False)
