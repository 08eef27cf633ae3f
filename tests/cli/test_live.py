"""The live view as a terminal gets it: what is on it at each moment, in wide and narrow ones; plain lines elsewhere."""

import io
import re

import pytest
from rich.console import Console

from safecompress.cli._support.live import LiveView, PlainLines, table_of, watching
from safecompress.progress import CandidateState, CandidateStatus, RoundStatus

CANDIDATES = (
    CandidateStatus("magnitude+random", CandidateState.TESTED, 0.8123, 0.6, 1.3539),
    CandidateStatus("set+gradient", CandidateState.TRYING),
    CandidateStatus("threshold+random", CandidateState.BROKEN, 0.79),
    CandidateStatus("keep"),
)
ROUND = RoundStatus(3, 8, 1500, CANDIDATES)


def decided(standings=ROUND, number=3):
    won = CandidateStatus("keep", CandidateState.WON, 0.8, 0.5, 1.6)
    return RoundStatus(number, standings.rounds, standings.step, (*standings.candidates[:-1], won))


def terminal(width=100, height=30):
    return Console(file=io.StringIO(), force_terminal=True, width=width, height=height, color_system=None)


def shown(renderable, width=100, height=30):
    console = Console(file=io.StringIO(), width=width, height=height)
    console.print(renderable)
    return [line.rstrip() for line in console.file.getvalue().splitlines()]


def frame(view, **size):
    return "\n".join(shown(view, **size))


def test_a_round_is_a_table_with_empty_places_for_what_is_not_measured():
    title, header, *rows = shown(table_of(ROUND))
    assert title == "round 3 of 8, tested at step 1,500"
    assert header.split() == ["candidate", "state", "accuracy", "worst", "AUC", "TM-score"]
    assert [row.split() for row in rows] == [
        ["magnitude+random", "tested", "0.812", "0.600", "1.354"],
        ["set+gradient", "trying"],
        ["threshold+random", "broken", "0.790"],
        ["keep", "waiting"],
    ]


@pytest.mark.parametrize("width", [30, 40, 59])
def test_a_narrow_terminal_gets_fewer_columns_and_no_line_is_broken(width):
    lines = shown(table_of(ROUND, width=width), width=width)
    assert len(lines[-5:]) == 5 and all(len(line) <= width for line in lines)
    assert "accuracy" not in "".join(lines) and any("1.354" in line for line in lines[-5:])
    assert len(shown(table_of(ROUND, width=60), width=60)) == 6


def test_more_candidates_than_lines_are_counted_those_being_tried_and_the_best_are_shown():
    many = tuple(CandidateStatus(f"branch {i}", CandidateState.TESTED, 0.8, 0.5, 1 + i / 100) for i in range(20))
    many += (CandidateStatus("being tried", CandidateState.TRYING), CandidateStatus("not yet"))
    rows = shown(table_of(RoundStatus(1, 1, 1, many), height=10))[2:]
    assert [row.split("  ")[0] for row in rows] == ["branch 17", "branch 18", "branch 19", "being tried", "and 18 more"]


def test_the_view_has_the_bar_of_the_phase_and_the_round():
    view = LiveView(terminal())
    assert frame(view) == ""
    view.begin("dense", 200)
    view.advance(50)
    assert re.search(r"dense .* 50/200", frame(view))
    view.measured(50, {"dense/loss": 0.1234, "dense/rate": 0.1})
    assert "loss 0.123" in frame(view)
    view.begin("round 3 of 8", 10)
    assert "dense" not in frame(view) and "0.123" not in frame(view)
    view.stands(ROUND)
    bar, *table = frame(view).splitlines()
    assert "round 3 of 8" in bar and table == shown(table_of(ROUND))


def test_a_decided_round_stays_until_the_next_opens_and_the_last_until_another_phase():
    view = LiveView(terminal())
    view.begin("candidates", 4)
    view.stands(decided())
    view.begin("round 4 of 8", 10)
    assert re.search(r"keep +won +0\.800 +0\.500 +1\.600", frame(view))
    view.stands(RoundStatus(8, 8, 4000, CANDIDATES))
    assert "won" not in frame(view)
    view.stands(decided(number=8))
    assert "won" in frame(view)
    view.begin("final", 10)
    assert "candidate" not in frame(view)


def test_a_phase_of_one_step_shows_no_share():
    view = LiveView(terminal())
    view.begin("certify", 1)
    assert "certify" in frame(view) and "/1" not in frame(view) and "-:--:--" not in frame(view)
    view.advance()
    assert "certify" in frame(view)


@pytest.mark.parametrize("width", [30, 44, 59])
def test_the_bar_fits_a_narrow_terminal(width):
    view = LiveView(terminal(width))
    view.begin("round 3 of 8", 112)
    (line,) = frame(view, width=width).splitlines()
    assert "0/112" in line and len(line) <= width


def test_names_are_no_markup():
    view = LiveView(terminal())
    view.begin("[red]phase[/]", 3)
    view.stands(RoundStatus(1, 1, 1, (CandidateStatus("[bold]x[/]"),)))
    assert "[red]phase[/]" in frame(view) and "[bold]x[/]" in frame(view)


def test_on_a_terminal_lines_stay_above_the_view_which_leaves_no_trace():
    console = terminal()
    with watching(console) as watcher:
        assert isinstance(watcher, LiveView)
        watcher.begin("dense", 3)
        watcher.say("round 1: [keep] won")
        watcher.stands(ROUND)
    out = console.file.getvalue()
    assert "round 1: [keep] won" in out
    assert out.count("\x1b[?25l") == out.count("\x1b[?25h") == 1  # the cursor comes back
    assert out.rstrip().endswith("\x1b[2K")  # and the last thing is that the view's lines are erased


def test_the_cursor_comes_back_after_an_error_too():
    console = terminal()
    with pytest.raises(KeyboardInterrupt), watching(console):
        raise KeyboardInterrupt
    assert console.file.getvalue().count("\x1b[?25h") == 1


def test_elsewhere_there_are_plain_lines_on_standard_error(capsys):
    with watching() as watcher:
        assert isinstance(watcher, PlainLines)
        watcher.begin("dense", 3)
        watcher.advance(3)
        watcher.stands(ROUND)
        watcher.measured(1, {"dense/loss": 1.0})
        watcher.say("round 1: [keep] won " + "x" * 200)
    captured = capsys.readouterr()
    first, second = captured.err.splitlines()
    assert captured.out == ""
    assert re.fullmatch(r" +\d\.\d s  dense: 3 steps", first)
    assert second.endswith("round 1: [keep] won " + "x" * 200)


def test_a_terminal_that_cannot_move_its_cursor_gets_plain_lines(monkeypatch):
    monkeypatch.setenv("TERM", "dumb")
    with watching(Console(file=io.StringIO(), force_terminal=True)) as watcher:
        assert isinstance(watcher, PlainLines)
