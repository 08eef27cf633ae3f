"""The loop itself, over functions that only write down when they were called."""

import pytest

from safecompress.compression.search import Search, Selection, SerialExecutor
from safecompress.errors import AttackError


class Diary:
    """A search whose models are strings; candidate ``n`` of round ``r`` wins where ``winners[r] == n``."""

    def __init__(self, winners):
        self.winners, self.lines = winners, []

    def write(self, *line):
        self.lines.append(line)

    def train(self, parent, number):
        self.write("train", parent, number)
        return f"{parent}>t{number}"

    def propose(self, trained, number):
        self.write("propose", trained, number)
        return ["a", "b"]

    def simulate(self, trained, number):
        self.write("simulate", trained, number)
        return f"attackers of {trained}"

    def try_out(self, trained, attackers, proposal):
        self.write("try", trained, attackers, proposal)
        return f"{trained}>{proposal}"

    def deepen(self, attackers, evaluations, number):
        self.write("deepen", attackers, evaluations, number)
        return [f"{evaluation}!" for evaluation in evaluations]

    def select(self, evaluations, number):
        self.write("select", evaluations, number)
        return Selection(self.winners[number], ("", ""))

    def adopt(self, evaluation):
        self.write("adopt", evaluation)
        return evaluation

    def search(self, executor=None):
        parts = self.train, self.propose, self.simulate, self.try_out, self.deepen, self.select, self.adopt
        return Search(len(self.winners), *parts, executor or SerialExecutor())


def test_the_order_of_calls_and_who_goes_on():
    diary = Diary([1, 0])
    results = list(diary.search().rounds("s"))
    assert diary.lines == [
        ("train", "s", 0),
        ("propose", "s>t0", 0),
        ("simulate", "s>t0", 0),
        ("try", "s>t0", "attackers of s>t0", "a"),
        ("try", "s>t0", "attackers of s>t0", "b"),
        ("deepen", "attackers of s>t0", ("s>t0>a", "s>t0>b"), 0),
        ("select", ("s>t0>a!", "s>t0>b!"), 0),
        ("adopt", "s>t0>b!"),
        ("train", "s>t0>b!", 1),
        ("propose", "s>t0>b!>t1", 1),
        ("simulate", "s>t0>b!>t1", 1),
        ("try", "s>t0>b!>t1", "attackers of s>t0>b!>t1", "a"),
        ("try", "s>t0>b!>t1", "attackers of s>t0>b!>t1", "b"),
        ("deepen", "attackers of s>t0>b!>t1", ("s>t0>b!>t1>a", "s>t0>b!>t1>b"), 1),
        ("select", ("s>t0>b!>t1>a!", "s>t0>b!>t1>b!"), 1),
        ("adopt", "s>t0>b!>t1>a!"),
    ]
    assert [(r.number, r.choice.index, r.winner) for r in results] == [(0, 1, "s>t0>b!"), (1, 0, "s>t0>b!>t1>a!")]
    assert results[1].evaluations == ("s>t0>b!>t1>a!", "s>t0>b!>t1>b!")


def test_a_resumed_search_goes_on_with_the_same_round():
    whole, resumed = Diary([1, 0, 1]), Diary([1, 0, 1])
    results = list(whole.search().rounds("s"))
    again = list(resumed.search().rounds(results[0].winner, first=1))
    assert [r.winner for r in again] == [r.winner for r in results[1:]]
    assert resumed.lines == whole.lines[8:]


@pytest.mark.parametrize(("num_rounds", "first"), [(0, 0), (2, 2)])
def test_nothing_left_to_do_is_no_round(num_rounds, first):
    diary = Diary([0] * num_rounds)
    assert list(diary.search().rounds("s", first=first)) == []
    assert diary.lines == []


def test_rounds_are_run_when_they_are_asked_for():
    """A caller that saves after each round has saved the one before when the next begins."""
    diary = Diary([0, 0])
    rounds = diary.search().rounds("s")
    next(rounds)
    assert sum(line[0] == "train" for line in diary.lines) == 1


def test_trials_run_in_the_executor():
    class Backwards:
        def map(self, fn, items):
            return iter([fn(item) for item in reversed(list(items))][::-1])

    diary = Diary([0])
    (result,) = diary.search(Backwards()).rounds("s")
    assert [line[3] for line in diary.lines if line[0] == "try"] == ["b", "a"]
    assert result.evaluations == ("s>t0>a!", "s>t0>b!")


def test_an_error_of_the_selector_ends_the_search():
    diary = Diary([0])
    diary.select = lambda evaluations, number: (_ for _ in ()).throw(AttackError("all broken"))
    with pytest.raises(AttackError, match="all broken"):
        list(diary.search().rounds("s"))
