"""How well cheap tests ranked candidates: by hand on written figures, and once on a search on digits."""

from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import nn

from safecompress.attacks import Access, AttackResult, Lira
from safecompress.attacks.private_cache import PrivateFolder
from safecompress.auditing import proxy_check
from safecompress.auditing.proxy_check import NUM_SHADOWS, rank_candidates
from safecompress.auditing.shadow_training import shadow_rows
from safecompress.compression.job import Job
from safecompress.compression.phases import RunPhases
from safecompress.compression.run_folder import PhaseTimer
from safecompress.compression.search import Candidate, Evaluation, Plan, RoundResult, RunStore, SerialExecutor
from safecompress.compression.search.select import Selection
from safecompress.data import SplitSizes, digits, make_split
from safecompress.export import TaskInfo
from safecompress.metrics.measurement import Direction, Measurement
from safecompress.models import ModelSpec
from safecompress.progress import Silent
from safecompress.seeding import seeded
from safecompress.sparsity import SparsityPattern
from safecompress.spec import Findings, SafetySpec, at_most
from safecompress.testing.fakes import noise_split
from safecompress.training import Recipe, TrainingState

POOL = 20
SPLIT = noise_split(POOL, other=20, num_features=6, num_classes=3)


class Probe(nn.Module):
    """A linear net that carries what each written attack shall find on it: how many members, of 20."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(6, 3)
        self.found = nn.Parameter(torch.zeros(2))

    def forward(self, features):
        return self.linear(features)


@dataclass(frozen=True)
class Written:
    """Scores ``found[place]`` of the members 1 and all other rows 0: AUC 1/2 + found / 40. It fails below zero."""

    name: str = "written"
    place: int = 0
    tier: int = 1
    joins_versions: bool = False
    asked: list[Any] = field(default_factory=list, compare=False, repr=False)
    access: ClassVar[Access] = Access.SCORES
    threshold: ClassVar[float | None] = 0.5

    def fit(self, target, audit, *, generator):
        self.asked.append(audit.digest)
        return self

    def score(self, target, audit):
        self.asked.append(audit.digest)
        found = int(target.model.network.found[self.place])
        if found < 0:
            raise ValueError("written to fail")
        return (np.cumsum(audit.is_member) <= found).astype(float) * audit.is_member


@dataclass(frozen=True)
class WrittenWithShadows(Written):
    """The same, and asks its shadows."""

    num_shadows: int = 64
    name: str = "compares"
    tier: int = 2

    def score(self, target, audit):
        self.asked.append((self.num_shadows, target.shadows))
        return super().score(target, audit)


def job_of(verdict, cheap=("loss",), **plan):
    with seeded(0, "model"):
        model = Probe()
    spec = SafetySpec([*cheap, *verdict], [at_most(f"{cheap[0]}.auc", 0.9)])
    recipe = Recipe(epochs=4, batch_size=20)
    task = TaskInfo(3, (), (6,))
    return Job("written", model, None, SPLIT, SPLIT, task, spec, recipe, recipe, Plan(**plan), seed=0)


def tried(job, found, cheap, errors=()):
    """Candidates on which the attacks find ``found`` (by branch) and cheap tests measured ``cheap``."""
    candidates, evaluations = [], []
    masks = {"linear.weight": torch.ones(3, 6, dtype=torch.bool)}
    for number, (branch, counts) in enumerate(found.items()):
        state = job.model.state_dict() | {"found": torch.tensor(counts).float()}
        masks["linear.weight"] = torch.arange(18).view(3, 6) != number
        pattern = SparsityPattern(dict(masks))
        candidate = Candidate(f"r1/{branch}", "r1", 0, branch, pattern, TrainingState(6, state), dict(masks))
        candidates.append(candidate)
        aucs = cheap[branch] if isinstance(cheap[branch], dict) else {"loss": cheap[branch]}
        measured = {f"{name}.auc": Measurement.exact(f"{name}.auc", auc, Direction.LOWER) for name, auc in aucs.items()}
        results = (AttackResult("loss", Access.SCORES, error="broken" if branch in errors else None),)
        evaluations.append(Evaluation(candidate.id, branch, measured, results, Findings(()), 0, {}))
    choice = Selection(1, ("",) * len(candidates))
    return RoundResult(3, tuple(evaluations), choice, candidates[1]), candidates


def rank(job, *args, **options):
    result, candidates = tried(job, *args, **options)
    return rank_candidates(job, result, candidates, store=None, run=map)


FOUND = {"a": (8, 4), "b": (12, 4), "c": (16, 4), "d": (10, 4)}
CHEAP = {"a": 0.60, "b": 0.55, "c": 0.70, "d": 0.65}


def test_four_candidates_by_hand():
    """In the order of the cheap test, b a d c, the other has .80 .70 .75 .90: four pairs agree and two do not."""
    found = rank(job_of([Written()]), FOUND, CHEAP)
    assert (found.round, found.cheap) == (3, CHEAP)
    assert found.verdict == {"written": pytest.approx({"a": 0.70, "b": 0.80, "c": 0.90, "d": 0.75})}
    assert found.tau == {"written": pytest.approx(1 / 3)}
    assert found.regret == {"written": pytest.approx(0.80 - 0.70)}


def test_ties_count_as_kendalls_tau_b_has_it():
    """Three pairs, one tied on the cheap side: 2 / sqrt(2 x 3)."""
    found = rank(job_of([Written()]), {"a": (4, 0), "b": (8, 0), "c": (12, 0)}, {"a": 0.5, "b": 0.5, "c": 0.6})
    assert found.tau["written"] == pytest.approx(2 / np.sqrt(6))
    assert found.regret["written"] == 0


@pytest.mark.parametrize(
    ("cheap", "tau", "regret"),
    [({"a": 0.5, "b": 0.6, "c": 0.7}, 1, 0.0), ({"a": 0.7, "b": 0.6, "c": 0.5}, -1, 0.2)],
)
def test_perfect_and_inverted_order(cheap, tau, regret):
    found = rank(job_of([Written()]), {"a": (4, 0), "b": (8, 0), "c": (12, 0)}, cheap)
    assert found.tau["written"] == pytest.approx(tau)
    assert found.regret["written"] == pytest.approx(regret)


@pytest.mark.parametrize("constant", ["cheap", "verdict"])
def test_there_is_no_tau_where_one_side_does_not_vary(constant):
    cheap = dict.fromkeys("abc", 0.6) if constant == "cheap" else {"a": 0.5, "b": 0.6, "c": 0.7}
    counts = (4, 4, 4) if constant == "verdict" else (4, 8, 12)
    found = rank(job_of([Written()]), {name: (count, 0) for name, count in zip("abc", counts, strict=True)}, cheap)
    assert found.tau == {"written": None}
    assert found.regret["written"] == pytest.approx(0)


def test_the_worst_of_the_cheap_tests_counts():
    cheap = {"a": {"loss": 0.6, "gap": 0.5}, "b": {"loss": 0.5, "gap": 0.7}, "c": {"loss": 0.55, "gap": 0.55}}
    with_more = {branch: aucs | {"neural": 0.99} for branch, aucs in cheap.items()}
    found = rank(job_of([Written()], cheap=("loss", "gap")), {"a": (4, 0), "b": (8, 0), "c": (2, 0)}, with_more)
    assert found.cheap == {"a": 0.6, "b": 0.7, "c": 0.55}


def test_each_attack_has_its_own_figures():
    found = rank(job_of([Written(), Written("second", 1)]), FOUND | {"a": (8, 9)}, CHEAP)
    assert list(found.verdict) == list(found.tau) == list(found.regret) == ["written", "second"]
    assert found.verdict["second"]["a"] == pytest.approx(0.5 + 9 / 40)
    assert found.regret["second"] == 0


def test_a_candidate_with_a_broken_attack_is_left_out():
    found = rank(job_of([Written()]), FOUND, CHEAP, errors=("b",))
    assert list(found.cheap) == list(found.verdict["written"]) == ["a", "c", "d"]


@pytest.mark.parametrize(("branches", "errors"), [("ab", ""), ("abc", "c"), ("abcd", "ad")])
def test_fewer_than_three_say_nothing(branches, errors):
    attack = Written()
    job, found = job_of([attack]), {branch: FOUND[branch] for branch in branches}
    assert rank(job, found, CHEAP, errors=tuple(errors)) is None
    assert attack.asked == []


def test_an_attack_without_a_number_for_everyone_is_named_with_its_error():
    found = rank(job_of([Written(), Written("second", 1)]), FOUND | {"d": (10, -1)}, CHEAP)
    assert list(found.verdict) == list(found.tau) == list(found.regret) == ["written"]
    assert list(found.errors) == ["second"]
    assert "written to fail" in found.errors["second"]


@pytest.mark.parametrize(
    ("verdict", "plan"),
    [
        ([], {}),
        ([Written(tier=0)], {}),
        ([Written(joins_versions=True)], {}),
        ([Written()], {"attacks": (Written(tier=0),)}),
    ],
    ids=["none", "a cheap one", "one that joins versions", "one that every candidate met"],
)
def test_without_a_verdict_attack_of_its_own_there_is_nothing_to_rank_by(verdict, plan):
    assert rank(job_of(verdict, **plan), FOUND, CHEAP | {"a": {"loss": 0.6, "written": 0.6}}) is None


def test_only_fitting_and_selection_rows_are_asked_about():
    attack = Written()
    job = job_of([attack])
    rank(job, FOUND, CHEAP)
    assert attack.asked == [job.raw.audit("fit").digest, job.raw.audit("select").digest] * 4


def test_shadows_have_the_winners_pattern_and_the_candidates_age():
    attack, plain = WrittenWithShadows(), WrittenWithShadows(num_shadows=5, name="few")
    job = job_of([attack, plain])
    result, candidates = tried(job, FOUND, CHEAP)
    rank_candidates(job, result, candidates, store=None, run=map)
    (shadows,) = {asked[1] for asked in attack.asked + plain.asked if isinstance(asked, tuple)}
    assert shadows.rows.digest() == shadow_rows(job.raw, "select", job.seed).digest()
    assert shadows.trainer.pattern.digest() == candidates[1].pattern.digest()
    assert shadows.trainer.share == 6 / job.total_steps == 0.5
    assert shadows.mode == "final pattern only"
    assert {asked[0] for asked in attack.asked if isinstance(asked, tuple)} == {NUM_SHADOWS}
    assert {asked[0] for asked in plain.asked if isinstance(asked, tuple)} == {5}


def test_without_an_attack_by_shadows_there_are_none(monkeypatch):
    monkeypatch.setattr(proxy_check, "shadow_rows", None)
    assert rank(job_of([Written()]), FOUND, CHEAP).tau["written"] == pytest.approx(1 / 3)


# --- once in earnest


def digits_job():
    pools = {f"{side}_{pool}": 40 for side in ("member", "nonmember") for pool in ("fit", "select", "verdict")}
    raw = make_split(digits(), SplitSizes(train=120, validation=60, test=60, population=80, **pools), seed=0)
    spec = ModelSpec("mlp", {"hidden": (12,)}, (64,), 10)
    with seeded(0, "model"):
        model = spec.build()
    recipe = Recipe(epochs=8, batch_size=30, optimizer="adam", learning_rate=0.01, weight_decay=0.0)
    tests = SafetySpec(["loss", Lira(num_shadows=8)], [at_most("lira.auc", 0.9)])
    plan = Plan(density=0.3, rounds=1, branches=("magnitude+random", "set+random", "keep"))
    task = TaskInfo(10, raw.dataset.class_names, (64,))
    return Job("digits", model, spec, raw, raw, task, tests, recipe, recipe, plan, seed=0)


@pytest.mark.slow
def test_a_search_on_digits(tmp_path):
    job = digits_job()
    stages = RunPhases(job, RunStore(tmp_path / "run"), PhaseTimer(), Silent())
    dense = TrainingState.capture(0, job.model)
    (result,) = stages.search(SerialExecutor(), dense).rounds(stages.start(dense))
    candidates, store = stages.candidates(result), PrivateFolder(tmp_path / "cache")
    found = rank_candidates(job, result, candidates, store=store, run=map)
    branches = ["magnitude+random", "set+random", "keep"]
    assert found.cheap == {e.branch: e.measurements["loss.auc"].value for e in result.evaluations}
    assert list(found.verdict) == ["lira"]
    assert list(found.verdict["lira"]) == branches
    assert all(0.4 < auc < 1 for auc in found.verdict["lira"].values())
    assert found.regret["lira"] >= 0
    assert -1 <= found.tau["lira"] <= 1
    files = {file.name for file in (tmp_path / "cache").glob("*.safetensors")}
    assert len(files) == 8  # a group
    assert rank_candidates(job, result, candidates, store=store, run=map) == found
    assert {file.name for file in (tmp_path / "cache").glob("*.safetensors")} == files
    assert rank_candidates(replace(job, seed=1), result, candidates, store=store, run=map).verdict != found.verdict
