"""The verdict: leaks fail, the untrained pass a loose bound, what is missing is an error, and nobody peeks."""

from dataclasses import dataclass, field, replace
from typing import ClassVar

import numpy as np
import pytest
import torch
from torch import nn

from safecompress import stats
from safecompress.attacks import Access, Loss, Neural, simulate_attacker
from safecompress.certify import certify
from safecompress.data import DataSplit
from safecompress.measure import Direction, Levels, Measurement
from safecompress.models import Mlp
from safecompress.seeding import derive, seeded
from safecompress.spec import SafetySpec, Verdict, at_least, at_most, within
from safecompress.testing.fakes import CollapsedAttack, ConstantModel, FailingAttack, MemorisingModel, noise_split

SPLIT = noise_split(120, other=120, num_features=6, num_classes=4)
LOOSE = at_most("loss.auc", 0.7)
SIMPLE = SafetySpec(["loss", "gap"], [LOOSE])


def untrained(seed=0):
    with seeded(seed, "net"):
        return Mlp((6,), 4, hidden=(8,))


def memorising(split=SPLIT):
    return MemorisingModel(*split.part("train"), 4)


def judged(shipped, dense=None, spec=SIMPLE, split=SPLIT, *, seed=0, opening=1, counted=()):
    return certify(shipped, dense, split, spec, seed=seed, opening=opening, counted=counted)


def verdicts(certification):
    return [str(finding.verdict) for finding in certification.findings.findings]


def test_a_model_that_knows_its_members_fails():
    spec = SafetySpec(["loss", "gap", "entropy", Neural(epochs=10)], [LOOSE, at_most("neural.auc", 0.7)])
    result = judged(memorising(), spec=spec)
    assert (result.findings.verdict, result.findings.exit_code) == (Verdict.FAIL, 1)
    assert verdicts(result) == ["FAIL", "FAIL"]
    assert result.measurements["loss.auc"].value > 0.99
    assert result.measurements["entropy.auc"].value > 0.99


@pytest.mark.parametrize("seed", range(3))
def test_a_model_that_was_never_trained_passes_a_loose_bound(seed):
    result = judged(untrained(seed))
    assert (result.findings.verdict, result.findings.exit_code) == (Verdict.PASS, 0)
    assert result.errors == {}
    assert not any(m.interval.low > 0.5 for name, m in result.measurements.items() if name.endswith(".auc"))


def test_a_bound_within_the_interval_decides_nothing():
    result = judged(untrained(), spec=SafetySpec(["loss"], [at_most("loss.auc", 0.51)]))
    assert (result.findings.verdict, result.findings.exit_code) == (Verdict.INCONCLUSIVE, 3)


def test_intervals_hold_at_the_openings_level():
    spec = SafetySpec(["loss"], [LOOSE, at_least("accuracy", 0.01)], alpha=0.08)
    for opening, alpha in ((1, 0.04), (3, 0.01)):
        result = judged(untrained(), spec=spec, opening=opening)
        assert (result.opening, result.levels) == (opening, Levels(alpha, 2))
        for name in ("loss.auc", "accuracy"):
            figure = result.measurements[name]
            assert figure.interval.confidence == pytest.approx(1 - alpha)
            assert figure.simultaneous.confidence == pytest.approx(1 - alpha / 2)


def test_accuracy_is_of_the_test_rows():
    model = MemorisingModel(*SPLIT.part("test"), 4)
    result = judged(model)
    assert result.measurements["accuracy"].value == 1.0
    assert result.measurements["accuracy"].num_samples == 120
    assert judged(memorising()).measurements["accuracy"].value < 0.5


def test_counted_figures_are_judged_as_they_are():
    spec = SafetySpec(["loss"], [at_most("artifact.size_bytes", 1000), at_most("density", 0.1)])
    counted = [
        Measurement.exact("artifact.size_bytes", 1000, Direction.LOWER),
        Measurement.exact("density", 0.2, Direction.LOWER),
    ]
    assert verdicts(judged(untrained(), spec=spec, counted=counted)) == ["PASS", "FAIL"]
    assert verdicts(judged(untrained(), spec=spec)) == ["ERROR", "ERROR"]


# --- compared with the dense model


COMPARING = SafetySpec(["loss", "gap"], [within(0.1, metric="accuracy"), within(0.1, metric="loss.auc")])


def test_without_a_dense_model_a_comparison_is_an_error():
    result = judged(untrained(), spec=COMPARING)
    assert verdicts(result) == ["ERROR", "ERROR"]
    assert result.findings.findings[0].reason.startswith("accuracy.drop was not measured: it takes the dense model")
    assert result.dense == {}
    assert result.dense_tm_score is None


def test_the_same_model_has_lost_nothing():
    result = judged(untrained(), untrained(), COMPARING)
    assert result.findings.verdict is Verdict.PASS
    for name in ("accuracy.drop", "loss.auc.rise"):
        assert result.measurements[name].value == 0.0
    assert result.measurements["loss.auc.rise"].interval.high == 0.0
    assert result.dense["loss.auc"] == result.measurements["loss.auc"]


def test_changes_are_paired_on_the_same_rows():
    """accuracy.drop by McNemar's table of the two models' answers; auc.rise by paired DeLong of their scores."""
    shipped, dense = untrained(1), MemorisingModel(*SPLIT.part("test"), 4)
    result = judged(shipped, dense, COMPARING)
    features, labels = SPLIT.part("test")
    with torch.no_grad():
        now, before = ((m(features).argmax(1) == labels).numpy() for m in (shipped, dense))
    for level, limit in ((0.025, "interval"), (0.0125, "simultaneous")):
        expected = stats.accuracy_drop_interval(before, now, level)
        figure = result.measurements["accuracy.drop"]
        assert (figure.value, getattr(figure, limit)) == (expected.value, expected.interval)
    assert verdicts(result)[0] == "FAIL"


def test_a_model_that_leaks_more_than_the_dense_one_rises():
    result = judged(memorising(), untrained(), COMPARING)
    assert verdicts(result)[1] == "FAIL"
    rise = result.measurements["loss.auc.rise"]
    assert rise.value == pytest.approx(result.measurements["loss.auc"].value - result.dense["loss.auc"].value)
    assert judged(untrained(), memorising(), COMPARING).measurements["loss.auc.rise"].value == pytest.approx(
        -rise.value
    )


def test_other_figures_rise_by_the_difference_of_two_intervals_at_half_of_alpha():
    result = judged(memorising(), untrained(), COMPARING)
    rise = result.measurements["loss.balanced_accuracy.rise"]
    now, before = (figures["loss.balanced_accuracy"] for figures in (result.measurements, result.dense))
    assert rise.value == pytest.approx(now.value - before.value)
    assert rise.interval.confidence == pytest.approx(1 - 0.025)
    assert rise.interval.low < now.interval.low - before.interval.high
    assert rise.interval.high > now.interval.high - before.interval.low


# --- what breaks


@pytest.mark.parametrize("attack", [FailingAttack("fit"), FailingAttack("score"), CollapsedAttack()])
def test_a_broken_attack_is_never_a_pass(attack):
    result = judged(untrained(), untrained(), SafetySpec(["loss", attack], [LOOSE]))
    assert verdicts(result) == ["PASS"]
    assert (result.findings.verdict, result.findings.exit_code) == (Verdict.ERROR, 3)
    assert list(result.errors) == [attack.name]
    assert result.tm_score is None


@dataclass(frozen=True)
class OnlyOnTheArtifact:
    """Breaks on a model with a ``margin``."""

    threshold: ClassVar[float | None] = None
    name: str = field(default="picky", init=False)
    access: Access = field(default=Access.SCORES, init=False)

    def fit(self, target, audit, *, generator):
        if hasattr(target.model, "margin"):
            raise ValueError("not this one")
        return self

    def score(self, target, audit):
        return target.signals(audit).scaled_logit_N


def test_an_attack_that_breaks_on_the_dense_model_leaves_its_score_unmeasured():
    """The worst of the attacks that are left would flatter the dense model."""
    spec = SafetySpec(["loss", OnlyOnTheArtifact()], [LOOSE, within(0.5, metric="picky.auc")])
    result = judged(untrained(), memorising(), spec)
    assert verdicts(result) == ["PASS", "ERROR"]
    assert result.tm_score == pytest.approx(
        result.measurements["accuracy"].value
        / max(0.5, *(result.measurements[f"{name}.balanced_accuracy"].value for name in ("loss", "picky")))
    )
    assert result.dense_tm_score is None


def test_a_dense_model_that_gives_nan_is_no_crash():
    broken = ConstantModel([float("nan")] * 4)
    result = judged(untrained(), broken, COMPARING)
    assert verdicts(result)[1] == "ERROR"
    assert result.dense_tm_score is None


def test_a_shipped_model_that_gives_nan_is_an_error():
    result = judged(ConstantModel([float("nan")] * 4))
    assert result.findings.verdict is Verdict.ERROR
    assert set(result.errors) == {"loss", "gap"}


# --- fresh, and blind to the verdict rows


@dataclass(frozen=True)
class Spy:
    """Writes down the first draw of its generator and the rows that it was fitted and scored on."""

    seen: list = field(default_factory=list, compare=False, repr=False)
    threshold: ClassVar[float | None] = None
    name: str = field(default="spy", init=False)
    access: Access = field(default=Access.SCORES, init=False)

    def fit(self, target, audit, *, generator):
        self.seen.append(("fit", audit.digest, int(generator.integers(2**62))))
        return self

    def score(self, target, audit):
        self.seen.append(("score", audit.digest, None))
        return target.signals(audit).scaled_logit_N


def test_attackers_are_simulated_anew_with_seeds_of_their_own():
    spy = Spy()
    judged(untrained(), spec=SafetySpec([spy], [at_most("spy.auc", 0.7)]), seed=5)
    fits = [entry for entry in spy.seen if entry[0] == "fit"]
    expected = int(derive(5, "verdict", "spy").integers(2**62))
    assert fits == [("fit", SPLIT.audit("fit").digest, expected)]
    searched = {int(derive(5, "attack", "spy", candidate).integers(2**62)) for candidate in ("r1", "r1/keep")}
    assert expected not in searched


def test_the_selection_pool_is_not_read():
    spy = Spy()
    judged(untrained(), untrained(1), SafetySpec([spy], [at_most("spy.auc", 0.7)]))
    assert {digest for _, digest, _ in spy.seen} == {SPLIT.audit(pool).digest for pool in ("fit", "verdict")}


def with_other_verdict_rows():
    """The same split over features in which the verdict pools' rows are others."""
    features = SPLIT.dataset.features.clone()
    rows = np.concatenate([SPLIT.indices["member_verdict"], SPLIT.indices["nonmember_verdict"]])
    features[rows] = torch.from_numpy(np.random.default_rng(9).normal(size=(len(rows), 6)).astype(np.float32))
    return DataSplit.from_indices(replace(SPLIT.dataset, features=features), SPLIT.indices)


@pytest.mark.parametrize("attack", [Loss(), Neural(epochs=3)])
def test_verdict_rows_fit_nothing(attack, monkeypatch):
    """Other verdict rows: the same sign, the same threshold, the same scores for rows that did not change."""
    made = []

    def kept(*args, **options):
        made.append((simulate_attacker(*args, **options), args[1]))
        return made[-1][0]

    monkeypatch.setattr("safecompress.certify.verdict.simulate_attacker", kept)
    spec = SafetySpec([attack], [at_most(f"{attack.name}.auc", 0.9)])
    results = [judged(untrained(), spec=spec, split=split) for split in (SPLIT, with_other_verdict_rows())]
    assert results[0].measurements[f"{attack.name}.auc"] != results[1].measurements[f"{attack.name}.auc"]
    (first, target), (second, _) = made
    assert (first.sign, first.threshold) == (second.sign, second.threshold)
    scores = [attacker.fitted.score(target, SPLIT.audit("select")) for attacker in (first, second)]
    assert np.array_equal(*scores)


def test_the_same_seed_gives_the_same_verdict():
    spec = SafetySpec(["loss", Neural(epochs=3)], [LOOSE])
    first, again, other = (judged(memorising(), untrained(), spec, seed=seed) for seed in (0, 0, 1))
    assert first.measurements == again.measurements
    assert first.dense == again.dense
    assert first.measurements["loss.auc"] == other.measurements["loss.auc"]
    assert first.dense["neural.auc"] != other.dense["neural.auc"]


def test_tm_score_by_hand():
    result = judged(memorising(), untrained())
    worst = max(result.measurements[f"{name}.balanced_accuracy"].value for name in ("loss", "gap"))
    assert result.tm_score == pytest.approx(result.measurements["accuracy"].value / worst)
    worst = max(0.5, *(result.dense[f"{name}.balanced_accuracy"].value for name in ("loss", "gap")))
    assert result.dense_tm_score == pytest.approx(result.dense["accuracy"].value / worst)


def test_training_mode_and_weights_are_left_alone_in_value():
    model = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 4)).train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    judged(model)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
