"""What a watched executor tells: how far each candidate has come, in order, whatever runs the work."""

import pytest
from test_select import evaluation

from safecompress.compression.search import Branch, Proposal, Selection, SerialExecutor, WatchedExecutor, watched_map
from safecompress.progress import CandidateState, Series, Silent
from safecompress.sparsity import Rewiring

FIGURES = {"magnitude+random": (0.8, 0.6), "set+random": (0.7, 0.5), "keep": (0.75, 0.55)}
NAMES = list(FIGURES)


class Seen(Silent):
    """Every event in order; a round as ``{branch: stage}``."""

    def __init__(self):
        self.told, self.rounds = [], []

    def begin(self, phase, total):
        self.told.append((phase, total))

    def advance(self, steps=1):
        self.told.append(steps)

    def stands(self, standings):
        self.rounds.append(standings)
        self.told.append({one.branch: str(one.stage) for one in standings.candidates})

    def measured(self, step, figures):
        self.told.append((step, figures))


class Pool(SerialExecutor):
    """It hands out all work at once, as a pool does, and says how many run together."""

    num_workers = 2

    def map(self, fn, items, /):
        return iter([fn(item) for item in items])


def tried(proposal):
    return evaluation(proposal.branch.name, *FIGURES[proposal.branch.name])


def proposals():
    return [Proposal(Branch.parse(name), Rewiring({})) for name in NAMES]


def stages(*values):
    return dict(zip(NAMES, values, strict=True))


def opened(executor):
    seen = Seen()
    watched = WatchedExecutor(executor, seen)
    watched.open(1, 4, 120, NAMES)
    return watched, seen


def test_one_after_another_each_candidate_waits_is_tried_and_tested():
    watched, seen = opened(SerialExecutor())
    list(watched.map(tried, proposals()))
    assert seen.told == [
        stages("waiting", "waiting", "waiting"),
        ("candidates", 3),
        stages("trying", "waiting", "waiting"),
        1,
        stages("tested", "waiting", "waiting"),
        stages("tested", "trying", "waiting"),
        1,
        stages("tested", "tested", "waiting"),
        stages("tested", "tested", "trying"),
        1,
        stages("tested", "tested", "tested"),
    ]
    assert {(one.number, one.rounds, one.step) for one in seen.rounds} == {(2, 4, 120)}


def test_in_a_pool_as_many_are_tried_as_it_has_workers():
    watched, seen = opened(Pool())
    list(watched.map(tried, proposals()))
    rounds = [event for event in seen.told if isinstance(event, dict)]
    assert rounds[1] == stages("trying", "trying", "waiting")
    assert rounds[3] == stages("tested", "trying", "trying")
    assert rounds[-1] == stages("tested", "tested", "tested")


def test_the_figures_are_the_evaluations_own():
    watched, seen = opened(SerialExecutor())
    list(watched.map(tried, proposals()))
    first = seen.rounds[2].candidates[0]  # after the first result
    assert (first.accuracy, first.worst_auc) == (0.8, 0.6) and first.tm_score == pytest.approx(0.8 / 0.6)
    assert [one.accuracy for one in seen.rounds[2].candidates[1:]] == [None, None]


def test_finalists_are_marked_meet_more_attacks_and_bring_new_figures():
    watched, seen = opened(SerialExecutor())
    evaluations = list(watched.map(tried, proposals()))
    seen.told.clear()
    deeper = evaluation("keep", 0.75, 0.55, others=(0.9,))
    assert (
        list(watched.map(lambda e: deeper if e.branch == "keep" else e, [evaluations[0], evaluations[2]]))[1] is deeper
    )
    assert [event for event in seen.told if isinstance(event, dict)] == [
        stages("finalist", "tested", "finalist"),
        stages("trying", "tested", "finalist"),
        stages("finalist", "tested", "finalist"),
        stages("finalist", "tested", "trying"),
        stages("finalist", "tested", "finalist"),
    ]
    assert seen.rounds[-1].candidates[2].worst_auc == 0.9


def test_the_end_of_a_round_names_its_winner_and_a_broken_attack():
    watched, seen = opened(SerialExecutor())
    evaluations = [*map(tried, proposals()[:2]), evaluation("keep", 0.75, broken=("a",))]
    assert all(standings.winner is None for standings in seen.rounds)
    watched.close(evaluations, Selection(1, ("", "", "")))
    assert seen.told[-1] == stages("lost", "won", "broken")
    assert seen.rounds[-1].winner.branch == "set+random"
    broken = seen.rounds[-1].candidates[2]
    assert (broken.stage, broken.accuracy, broken.worst_auc, broken.tm_score) == (
        CandidateState.BROKEN,
        0.75,
        None,
        None,
    )


def test_a_new_round_begins_with_nothing_measured():
    watched, seen = opened(SerialExecutor())
    list(watched.map(tried, proposals()))
    watched.open(2, 4, 240, NAMES[:2])
    assert [(one.branch, one.accuracy) for one in seen.rounds[-1].candidates] == [(name, None) for name in NAMES[:2]]


def test_results_come_as_the_consumer_asks():
    """A watched executor stays as lazy as the one beneath it: one candidate at a time."""
    done = []
    watched, _ = opened(SerialExecutor())
    results = watched.map(lambda proposal: done.append(proposal) or tried(proposal), proposals())
    next(results)
    assert len(done) == 1


def test_a_watched_map_moves_its_own_bar_and_lets_the_phase_around_it_go_on():
    seen = Seen()
    assert list(watched_map(SerialExecutor(), seen, "shadows", then="certify")(abs, [-1, -2])) == [1, 2]
    assert seen.told == [("shadows", 2), 1, 1, ("certify", 1)]
    assert list(watched_map(SerialExecutor(), seen, "shadows")(abs, [-3])) == [3]
    assert seen.told[4:] == [("shadows", 1), 1]
    assert list(watched_map(SerialExecutor(), seen, "shadows", size=len)(len, ["abc", "de"])) == [3, 2]
    assert seen.told[6:] == [("shadows", 5), 3, 2]


def test_a_series_puts_its_name_before_the_figures():
    seen = Seen()
    series = Series(seen, "dense")
    series.advance(2)
    series.measured(7, {"loss": 0.5})
    assert seen.told == [2, (7, {"dense/loss": 0.5})]
