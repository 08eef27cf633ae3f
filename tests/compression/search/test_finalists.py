"""Finalists: the costly attacks test the best candidates and ``keep``, nobody else, and a finalist wins the round."""

from collections import Counter
from dataclasses import dataclass, field, replace
from typing import ClassVar

import numpy as np
import pytest
import torch
from test_select import evaluation
from tiny_search import (
    ATTACKS,
    BRANCHES,
    PLAN,
    RECIPE,
    SPEC,
    SPLIT,
    TASK,
    attackers,
    facts,
    mlp,
    proposals,
    trained,
    trial,
)

from safecompress.attacks import (
    Access,
    Confidence,
    Entropy,
    Gap,
    JointLira,
    Lira,
    Loss,
    Neural,
    Target,
    capabilities_of,
)
from safecompress.compression.job import Job
from safecompress.compression.phases import RunPhases
from safecompress.compression.run_folder import PhaseTimer
from safecompress.compression.search import (
    KEEP,
    ParetoKnee,
    Plan,
    RandomChoice,
    RunStore,
    SafestAbove,
    SerialExecutor,
    TmScore,
    candidate_name,
    choose_among,
    compare_to_keep,
    finalists,
)
from safecompress.errors import AttackError, UsageError
from safecompress.export import ServedModel, TaskInfo
from safecompress.metrics.measurement import Levels
from safecompress.models import ModelSpec
from safecompress.progress import Silent
from safecompress.seeding import derive
from safecompress.spec import SafetySpec, at_most
from safecompress.training import TrainingState
from said import says


def leading(selector, count, *evaluations, seed=0):
    return finalists(evaluations, selector, count, generator=np.random.default_rng(seed))


FIVE = [evaluation(name, accuracy) for name, accuracy in zip("vwxyz", (0.5, 0.9, 0.7, 0.8, 0.6), strict=True)]
"""TM-scores 1.0, 1.8, 1.4, 1.6, 1.2."""


# --- who they are


@pytest.mark.parametrize(
    ("count", "expected"), [(1, [1]), (2, [1, 3]), (3, [1, 2, 3]), (4, [1, 2, 3, 4]), (5, [0, 1, 2, 3, 4])]
)
def test_the_best_by_hand_in_order_of_place(count, expected):
    assert leading(TmScore(), count, *FIVE) == expected


def test_more_finalists_than_candidates_are_all():
    assert leading(TmScore(), 9, *FIVE) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(("accuracy", "expected"), [(0.1, [1, 2, 3]), (0.85, [1, 2, 3]), (0.95, [1, 2, 3])])
def test_keep_is_a_finalist_beside_the_best_or_among_them(accuracy, expected):
    """In place 2, whether it is the worst, the second or the best of all."""
    candidates = [*FIVE[:2], evaluation(KEEP, accuracy), FIVE[3]]
    assert leading(TmScore(), 2, *candidates) == (expected if accuracy < 0.8 else [1, 2])


def test_who_has_no_numbers_is_no_finalist():
    candidates = FIVE[0], evaluation("b", 0.99, broken="a"), evaluation(KEEP, 0.99, broken="a"), FIVE[2]
    assert leading(TmScore(), 3, *candidates) == [0, 3]


def test_without_any_numbers_there_is_no_finalist():
    with pytest.raises(AttackError, match=r"No candidate .*a: ValueError: no"):
        leading(TmScore(), 2, evaluation("x", 0.9, broken="a"), evaluation(KEEP, 0.9, broken="a"))


@pytest.mark.parametrize("selector", [TmScore(), RandomChoice(), SafestAbove(0.65), SafestAbove(0.99), ParetoKnee()])
@pytest.mark.parametrize("count", [1, 2, 4])
def test_every_selector_finds_finalists(selector, count):
    found = leading(selector, count, *FIVE, evaluation(KEEP, 0.1, 0.9), seed=1)
    assert len(found) in (count, count + 1)
    assert found == sorted(set(found))
    assert 5 in found


def test_a_random_selector_draws_its_finalists_by_the_generator():
    drawn = [tuple(leading(RandomChoice(), 2, *FIVE, seed=seed)) for seed in range(200)]
    assert drawn == [tuple(leading(RandomChoice(), 2, *FIVE, seed=seed)) for seed in range(200)]
    counts = Counter(drawn)
    assert len(counts) == 10  # every pair of five
    assert sum((count - 20) ** 2 / 20 for count in counts.values()) < 27.9  # chi-square, 9 degrees of freedom, 0.999


# --- who of them wins


def chosen(indices, candidates, selector=None, seed=0):
    choice = choose_among(indices, candidates, selector or TmScore(), generator=np.random.default_rng(seed))
    assert len(choice.reasons) == len(candidates)
    return choice


def test_the_best_finalist_wins_and_reasons_stand_at_their_candidates():
    """Candidate 1 would win, but costly attacks saw it as leaky; candidate 0 was never a finalist."""
    deep = [FIVE[0], evaluation("w", 0.9, 0.9), FIVE[2], evaluation("y", 0.99, broken="a"), evaluation("z", 0.6)]
    choice = chosen([1, 2, 4], deep)
    assert choice.index == 2
    assert choice.reasons == (
        "out: no finalist",
        "lost: TM-score 1.0000, 0.4000 behind",
        "won: TM-score 1.4000",
        "out: broken attack a",
        "lost: TM-score 1.2000, 0.2000 behind",
    )


def test_no_other_than_a_finalist_wins_however_good():
    for seed in range(30):
        for selector in (TmScore(), RandomChoice(), ParetoKnee(), SafestAbove(0.85)):
            assert chosen([0, 4], FIVE, selector, seed).index in (0, 4)


def test_a_finalist_that_a_costly_attack_broke_on_is_out():
    deep = [evaluation("x", 0.9, broken="b", others=(0.5,)), evaluation(KEEP, 0.5, others=(0.5,))]
    choice = chosen([0, 1], deep)
    assert choice.index == 1 and says(choice.reasons[0], "out: ", " b")


def test_when_costly_attacks_broke_on_all_finalists_nobody_wins():
    """The cheap figures of the others are no substitute: they were not tested as the finalists were."""
    deep = [FIVE[1], evaluation("x", 0.9, broken="b", others=(0.5,))]
    with pytest.raises(AttackError, match="b: ValueError: no"):
        chosen([1], deep)


# --- which attacks are cheap


@dataclass(frozen=True)
class Untold:
    """An attack that does not say what it costs."""

    name: str = field(default="untold", init=False)
    access: Access = field(default=Access.SCORES, init=False)


@pytest.mark.parametrize(
    ("attack", "tier"), [(Loss(), 0), (Gap(), 0), (Untold(), 0), (Neural(), 1), (Lira(), 2)], ids=repr
)
def test_an_attack_says_what_it_costs(attack, tier):
    assert capabilities_of(attack).tier == tier


@pytest.mark.parametrize(
    ("own", "of_spec", "cheap", "costly"),
    [
        (None, ["gap", "neural", "loss", "lira"], ["gap", "loss"], ["neural"]),
        (None, ["neural", "lira"], ["loss"], ["neural"]),
        (None, ["lira"], ["loss"], []),
        (None, ["gap"], ["gap"], []),
        ((Entropy(), Neural()), ["gap"], ["entropy"], ["neural"]),
        ((Confidence(),), ["neural"], ["confidence"], []),
    ],
)
def test_who_meets_which_attack(own, of_spec, cheap, costly):
    """The spec's attacks stand in for a plan without its own, and the loss where no attack is cheap."""
    spec = SafetySpec(of_spec, [at_most("density", 0.5)])
    first, second = Plan(attacks=own).tests(spec.attacks)
    assert [[attack.name for attack in attacks] for attacks in (first, second)] == [cheap, costly]


def test_shadow_attacks_test_no_candidate():
    """Left out in silence, they would look as if they had chosen."""
    with pytest.raises(UsageError, match="lira, joint_lira cannot test"):
        Plan(attacks=(Loss(), Lira(), Neural(), JointLira()))


@pytest.mark.parametrize("count", [0, -1])
def test_a_round_has_a_finalist(count):
    with pytest.raises(UsageError, match=f"finalists must be at least 1, got {count}: one of them wins"):
        Plan(finalists=count)


# --- one trial


def test_deepening_adds_the_costly_figures_and_changes_none_of_the_others(tmp_path):
    job = trial(tmp_path, attacks=ATTACKS[:1], costly=ATTACKS[1:])
    parent = trained(job)
    tested_by = attackers(job, parent)
    before = [job(parent, tested_by, proposal) for proposal in proposals(job, parent)[:2]]
    weights = TrainingState.capture(0, job.model).digest()
    after = [job.deepen(tested_by, one) for one in before]
    assert TrainingState.capture(0, job.model).digest() == weights
    for cheap, deep in zip(before, after, strict=True):
        assert [result.attack for result in cheap.results] == ["loss"]
        assert [result.attack for result in deep.results] == ["loss", "neural"]
        assert deep.results[0] is cheap.results[0]
        assert not any(name.startswith("neural") for name in cheap.measurements)
        assert {name: deep.measurements[name] for name in cheap.measurements} == cheap.measurements
        assert (deep.candidate, deep.branch, deep.num_moved) == (cheap.candidate, cheap.branch, cheap.num_moved)
        assert deep.seconds == {**cheap.seconds, "attack.neural": deep.seconds["attack.neural"]}
        model = mlp()
        job.store.load_candidate(candidate_name(deep.candidate)).state.restore_(model)
        measured = tested_by[1].test(Target(model), SPLIT.audit("select"), Levels(SPEC.alpha, 1))
        assert np.array_equal(deep.results[1].scores, measured.scores)
        assert deep.measurements["neural.auc"] == measured.measurements[0]


@pytest.mark.slow
def test_a_deepened_candidate_is_what_it_would_be_if_all_attacks_were_cheap(tmp_path):
    """Slow against fast: every attack on every candidate at once; whoever simulates the attackers."""
    shallow = trial(tmp_path / "a", attacks=ATTACKS[:1], costly=ATTACKS[1:])
    whole = trial(tmp_path / "b", attacks=ATTACKS)
    parent = trained(shallow)
    for tested_by in (attackers(shallow, parent), ()):
        for proposal in proposals(shallow, parent)[:2]:
            deep = shallow.deepen(tested_by, shallow(parent, tested_by, proposal))
            assert facts(deep) == facts(whole(parent, tested_by, proposal))


# --- whole rounds


@dataclass(frozen=True)
class Costly:
    """Tier 1, and finds nothing but noise; ``seen`` are the models and rows that it was fitted and scored on."""

    tier: ClassVar[int] = 1
    threshold: ClassVar[float | None] = None
    seen: list = field(default_factory=list, compare=False, repr=False)
    name: str = field(default="costly", init=False)
    access: Access = field(default=Access.SCORES, init=False)

    def fit(self, target, audit, *, generator):
        self.seen.append(("fit", target.digest, audit.digest))
        return self

    def score(self, target, audit):
        self.seen.append(("score", target.digest, audit.digest))
        return target.signals(audit).logits_NC[:, 0]


def search(tmp_path, attacks, **changes):
    """Rounds of a real job on noise: each result with the stages that it came from."""
    spec = SafetySpec(attacks, [at_most("loss.auc", 0.9)], access="scores")
    plan = replace(PLAN, **{"attacks": None, "branches": BRANCHES, **changes})
    task = TaskInfo(3, SPLIT.dataset.class_names, (6,))
    model_spec = ModelSpec("mlp", {"hidden": (8,)}, (6,), 3)
    job = Job("tiny", mlp(), model_spec, SPLIT, SPLIT, task, spec, RECIPE, RECIPE, plan, seed=0)
    tmp_path.mkdir(exist_ok=True)
    stages = RunPhases(job, RunStore(tmp_path), PhaseTimer(), Silent())
    dense = TrainingState.capture(0, job.model)
    for result in stages.search(SerialExecutor(), dense).rounds(stages.start(dense)):
        yield stages, result
        stages.keep(result)


def deepened(result):
    return [number for number, e in enumerate(result.evaluations) if "costly.auc" in e.measurements]


@pytest.mark.slow
@pytest.mark.parametrize("refit", ["parent", "candidate"])
@pytest.mark.parametrize("count", [1, 2])
def test_only_finalists_and_keep_meet_the_costly_attack(count, refit, tmp_path):
    attack, met = Costly(), []
    for stages, result in search(tmp_path, ["loss", attack], finalists=count, refit=refit):
        cheap = [replace(e, results=e.results[:1]) for e in result.evaluations]
        generator = derive(0, "finalists", result.number)
        expected = finalists(cheap, TmScore(), count, generator=generator)
        assert deepened(result) == expected
        assert result.evaluations[4].branch == KEEP
        assert 4 in expected  # the last branch of five
        assert result.selection.index in expected
        assert [r == "out: no finalist" for r in result.selection.reasons] == [n not in expected for n in range(5)]
        assert result.winner.branch == result.evaluations[result.selection.index].branch
        assert all("loss.auc" in e.measurements for e in result.evaluations)
        candidates = stages.candidates(result)
        met += [Target(ServedModel(loaded(candidates[n]), TASK)).digest for n in expected]
    fit_pool, pool = SPLIT.audit("fit").digest, SPLIT.audit("select").digest
    assert [digest for what, digest, rows in attack.seen if (what, rows) == ("score", pool)] == met
    fits = [(digest, rows) for what, digest, rows in attack.seen if what == "fit"]
    if refit == "candidate":
        assert fits == [(digest, fit_pool) for digest in met]
    else:
        assert [rows for _, rows in fits] == [fit_pool] * PLAN.rounds
        assert not {digest for digest, _ in fits} & set(met)  # the parent, before it was cut


def loaded(candidate):
    model = mlp()
    candidate.state.restore_(model)
    return model


@pytest.mark.slow
def test_without_a_costly_attack_all_are_finalists(tmp_path, monkeypatch):
    """However few were asked for: the choice is among all, and nobody is tested twice."""
    monkeypatch.setattr(
        "safecompress.compression.search.trial.Trial.deepen", lambda *_: pytest.fail("nothing to deepen")
    )
    for _, result in search(tmp_path, ["loss", "gap", "lira"], finalists=1):
        assert [len(e.results) for e in result.evaluations] == [2] * 5
        assert "out: no finalist" not in result.selection.reasons


@pytest.mark.slow
def test_as_many_finalists_as_candidates_are_all_attacks_on_all(tmp_path):
    """Slow against fast: the winner among few may differ from the one among all, but no figure does."""
    few, whole = (
        [result for _, result in search(tmp_path / str(count), ["loss", Costly()], finalists=count, rounds=1)]
        for count in (1, 5)
    )
    assert deepened(whole[0]) == [0, 1, 2, 3, 4]
    for number in deepened(few[0]):
        assert facts(few[0].evaluations[number]) == facts(whole[0].evaluations[number])


@pytest.mark.slow
def test_the_random_control_is_seeded_through_both_stages(tmp_path):
    runs = [
        [
            (deepened(result), result.selection)
            for _, result in search(tmp_path / str(run), ["loss", Costly()], **options)
        ]
        for run, options in enumerate([{"selector": RandomChoice()}, {"selector": RandomChoice()}])
    ]
    assert runs[0] == runs[1]
    drawn = derive(0, "finalists", 0)
    five = [evaluation(branch.name, 0.5) for branch in BRANCHES]
    assert runs[0][0][0] == finalists(five, RandomChoice(), PLAN.finalists, generator=drawn)


@pytest.mark.slow
def test_winner_and_keep_are_compared_by_every_attack(tmp_path):
    """Both are finalists, so both have all figures."""
    for _, result in search(tmp_path, ["loss", Costly()], finalists=1):
        compared = compare_to_keep(result.evaluations, result.selection)
        assert compared.keys() == (set() if result.winner.branch == KEEP else {"loss", "costly"})


def test_seconds_of_both_stages_are_counted_once(tmp_path):
    for stages, result in search(tmp_path, ["loss", Costly()], rounds=1):
        spent = sum(e.seconds.get("attack.costly", 0.0) for e in result.evaluations)
        assert stages.timer.seconds["attack.costly"] == pytest.approx(spent)
        spent = sum(e.seconds["attack.loss"] for e in result.evaluations)
        assert stages.timer.seconds["attack.loss"] == pytest.approx(spent)


def test_the_winner_goes_on_with_its_own_weights(tmp_path):
    """Who wins is read back from its trial, costly tests or not."""
    for stages, result in search(tmp_path, ["loss", Costly()], rounds=1):
        (winner,) = [
            c for c in stages.candidates(result) if c.id == result.evaluations[result.selection.index].candidate
        ]
        assert result.winner.id == winner.id
        assert all(torch.equal(t, winner.state.model[name]) for name, t in result.winner.state.model.items())
