"""How well cheap tests ranked the candidates, on AUCs that were written by hand."""

from dataclasses import dataclass, field, replace
from typing import ClassVar

import numpy as np
import pytest
from test_select import evaluation
from tiny_search import PLAN, RECIPE, SPLIT, mlp

from safecompress.attacks import Access, Lira, Loss
from safecompress.attacks.private import PrivateFolder
from safecompress.deploy import TaskInfo
from safecompress.job import Job
from safecompress.models import ModelSpec
from safecompress.ranking import FEWEST, NUM_SHADOWS, rank_candidates
from safecompress.search import Candidate, Choice, RoundResult
from safecompress.sparsity import AllocateErk, Start, find_maskable, initial_pattern
from safecompress.spec import SafetySpec, at_most
from safecompress.training import TrainingState

TESTS = (Loss(),)
"""What every candidate met."""


@dataclass(frozen=True)
class Written:
    """An attack of the verdict whose AUC on a model is .5 + caught / 40, for pools of 20 members.

    How many are caught is written on the model's first bias, and ``more`` are added; fewer than none breaks it.
    ``seen`` are the rows that it scored.
    """

    name: str = "written"
    tier: int = 1
    more: int = 0
    seen: list = field(default_factory=list, compare=False, repr=False)
    threshold: ClassVar[float | None] = None
    access: ClassVar[Access] = Access.SCORES

    def fit(self, target, audit, *, generator):
        return self

    def score(self, target, audit):
        bias = next(bias for name, bias in target.model.named_parameters() if name.endswith("bias"))
        caught = self.more + round(bias[0].item())
        if caught < 0:
            raise ValueError("this candidate breaks it")
        self.seen.append(audit.digest)
        return np.where(audit.is_member & (np.cumsum(audit.is_member) <= caught), 1.0, 0.0)


def job(*attacks, tests=TESTS):
    spec = SafetySpec(attacks, [at_most("density", 0.9)], access="scores")
    model_spec, task = ModelSpec("mlp", {"hidden": (8,)}, (6,), 3), TaskInfo(3, SPLIT.dataset.class_names, (6,))
    return Job("tiny", mlp(), model_spec, SPLIT, SPLIT, task, spec, RECIPE, RECIPE, replace(PLAN, attacks=tests), 0)


def candidate(branch, caught):
    """A candidate of 6 steps on whose first bias stands how many members are caught."""
    model = mlp()
    pattern = initial_pattern(find_maskable(model), 0.5, allocation=AllocateErk(), start=Start.SCRATCH, seed=0)
    pattern.apply_(model)
    next(bias for name, bias in model.named_parameters() if name.endswith("bias")).data[0] = caught
    return Candidate(f"r1/{branch}", "r1", 0, branch, pattern, TrainingState.capture(6, model), dict(pattern.masks))


def round_of(cheap, caught, broken=()):
    """A round whose candidates have these AUCs by the loss."""
    branches = [f"b{number}" for number in range(len(cheap))]
    evaluations = []
    for branch, auc in zip(branches, cheap, strict=True):
        one = evaluation(branch, 0.8, auc=auc, broken="a" if branch in broken else ())
        figures = {name.replace("a.auc", "loss.auc"): figure for name, figure in one.measurements.items()}
        evaluations.append(replace(one, measurements=figures))
    candidates = [candidate(branch, number) for branch, number in zip(branches, caught, strict=True)]
    return RoundResult(4, tuple(evaluations), Choice(0, ("",) * len(cheap)), candidates[0]), candidates


def ranked(cheap, caught, *attacks, broken=(), **options):
    result, candidates = round_of(cheap, caught, broken)
    return rank_candidates(job(*(attacks or (Written(),)), **options), result, candidates, store=None, run=map)


def test_every_figure_by_hand():
    """Cheap .60 .50 .70 .55; by the verdict's attack .55 .70 .80 .60.

    Of six pairs (1,2) (1,3) (1,4) (2,3) (2,4) (3,4) the orders agree in (1,3), (2,3), (3,4) and disagree in (1,2),
    (1,4), (2,4): tau 0. The safest by the cheap tests (b1) leaks .70, the safest of all (b0) .55.
    """
    ranking = ranked([0.60, 0.50, 0.70, 0.55], [2, 8, 12, 4])
    assert ranking.round == 4
    assert ranking.cheap == {"b0": 0.60, "b1": 0.50, "b2": 0.70, "b3": 0.55}
    assert ranking.verdict == {"written": pytest.approx({"b0": 0.55, "b1": 0.70, "b2": 0.80, "b3": 0.60})}
    assert ranking.tau == {"written": pytest.approx(0.0)}
    assert ranking.regret == {"written": pytest.approx(0.15)}


@pytest.mark.parametrize(
    ("cheap", "caught", "tau", "regret"),
    [
        ([0.5, 0.6, 0.7], [2, 4, 6], 1.0, 0.0),
        ([0.5, 0.6, 0.7], [6, 4, 2], -1.0, 0.1),
        ([0.5, 0.6, 0.7], [4, 2, 6], 1 / 3, 0.05),
        ([0.5, 0.5, 0.7], [4, 2, 6], 2 / np.sqrt(2 * 3), 0.05),  # tau-b: one pair tied in one of the two
        ([0.6, 0.6, 0.6], [2, 4, 6], None, 0.0),
        ([0.5, 0.6, 0.7], [4, 4, 4], None, 0.0),
    ],
)
def test_correlation_and_regret_by_hand(cheap, caught, tau, regret):
    """Of candidates that tie as the safest by the cheap tests, the first counts."""
    ranking = ranked(cheap, caught)
    assert ranking.tau["written"] == (None if tau is None else pytest.approx(tau))
    assert ranking.regret["written"] == pytest.approx(regret)


def test_the_worst_cheap_test_counts_and_a_costly_one_does_not():
    """Finalists carry figures of costly attacks too: who does not would look safer for it."""
    result, candidates = round_of([0.5, 0.6, 0.7], [2, 4, 6])
    others = [{"gap.auc": 0.65, "neural.auc": 0.9}, {"gap.auc": 0.55}, {"gap.auc": 0.9, "neural.auc": 0.99}]
    measured = [
        {**e.measurements, **{name: replace(e.measurements["loss.auc"], value=value) for name, value in other.items()}}
        for e, other in zip(result.evaluations, others, strict=True)
    ]
    evaluations = [replace(e, measurements=m) for e, m in zip(result.evaluations, measured, strict=True)]
    work = job(Written(), tests=(Loss(), Written(name="neural"), *SafetySpec(["gap"], [at_most("density", 1)]).attacks))
    ranking = rank_candidates(work, replace(result, evaluations=tuple(evaluations)), candidates, store=None, run=map)
    assert ranking.cheap == {"b0": 0.65, "b1": 0.6, "b2": 0.9}
    assert ranking.regret == {"written": pytest.approx(0.05)}


# --- who is ranked, by whom, on what


def test_attacks_that_every_candidate_met_do_not_rank_them_again():
    attacks = [Written("costly"), Written("everybody", tier=0), Loss()]
    assert ranked([0.5, 0.6, 0.7], [2, 4, 6], *attacks).verdict.keys() == {"costly"}


def test_an_attack_that_joins_versions_does_not_rank_one():
    @dataclass(frozen=True)
    class Joining(Written):
        joins_versions: ClassVar[bool] = True

    ranking = ranked([0.5, 0.6, 0.7], [2, 4, 6], Joining("joining"), Written("single"))
    assert ranking.verdict.keys() == {"single"}


def test_without_a_verdict_attack_there_is_no_ranking():
    assert ranked([0.5, 0.6, 0.7], [2, 4, 6], Loss()) is None


def test_too_few_candidates_are_no_ranking():
    assert FEWEST == 3
    assert ranked([0.5, 0.6], [2, 4]) is None
    assert ranked([0.5, 0.6, 0.7], [2, 4, 6], broken=["b1"]) is None


def test_who_broke_in_the_round_is_left_out():
    ranking = ranked([0.5, 0.6, 0.7, 0.8], [2, 4, 6, 8], broken=["b0"])
    assert ranking.cheap.keys() == ranking.verdict["written"].keys() == {"b1", "b2", "b3"}


def test_an_attack_that_breaks_on_one_candidate_ranks_nobody():
    """Less than the whole of them would be another question."""
    ranking = ranked([0.5, 0.6, 0.7], [2, -1, 6], Written(), Written("whole", more=3))
    assert ranking.verdict.keys() == ranking.tau.keys() == ranking.regret.keys() == {"whole"}


def test_only_selection_rows_are_tested_on():
    """No verdict row is opened: attackers are fitted on the fitting pool and tested on the selection pool."""
    attack = Written()
    ranked([0.5, 0.6, 0.7], [2, 4, 6], attack)
    assert set(attack.seen) == {SPLIT.audit(pool).digest for pool in ("fit", "select")}
    assert attack.seen.count(SPLIT.audit("select").digest) == 3


# --- shadows


@dataclass(frozen=True)
class Asking:
    """Asks for shadows, and writes down how many there were, how trained, and from which rows."""

    num_shadows: int = 64
    asked: list = field(default_factory=list, compare=False, repr=False)
    tier: ClassVar[int] = 2
    threshold: ClassVar[float | None] = None
    name: ClassVar[str] = "asking"
    access: ClassVar[Access] = Access.SCORES

    def fit(self, target, audit, *, generator):
        self.asked.append((self.num_shadows, target.shadows))
        return self

    def score(self, target, audit):
        return target.signals(audit).scaled_logit_N


def test_a_ranking_trains_few_shadows_of_its_own_for_all_candidates():
    """At most sixteen, into the winner's pattern and to its age, and never on the verdict's non-members."""
    attack = Asking()
    ranked([0.5, 0.6, 0.7], [2, 4, 6], attack)
    assert [count for count, _ in attack.asked] == [NUM_SHADOWS] * 3 == [16] * 3
    (shadows,) = {id(models): models for _, models in attack.asked}.values()
    assert shadows.trainer.share == pytest.approx(6 / 18)
    assert shadows.trainer.pattern.digest() == candidate("b0", 0).pattern.digest()
    rows = {row.tobytes() for row in shadows.rows.features.numpy()}
    assert not rows & {row.tobytes() for row in SPLIT.part("nonmember_verdict")[0].numpy()}
    assert rows >= {row.tobytes() for row in SPLIT.part("nonmember_select")[0].numpy()}


def test_an_attack_that_asks_for_fewer_shadows_is_given_fewer():
    attack = Asking(num_shadows=4)
    ranked([0.5, 0.6, 0.7], [2, 4, 6], attack)
    assert {count for count, _ in attack.asked} == {4}


def test_shadows_are_really_trained_and_kept(tmp_path):
    result, candidates = round_of([0.5, 0.6, 0.7], [2, 4, 6])
    store = PrivateFolder(tmp_path)
    first = rank_candidates(job(Lira(num_shadows=4)), result, candidates, store=store, run=map)
    assert set(first.verdict["lira"]) == {"b0", "b1", "b2"}
    assert len(list(tmp_path.glob("*.safetensors"))) >= 4
    assert rank_candidates(job(Lira(num_shadows=4)), result, candidates, store=store, run=None) == first
