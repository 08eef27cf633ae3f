"""The verdict: leaks fail, PASS takes sound evidence too, what is missing is an error, and nobody peeks."""

from dataclasses import dataclass, field, replace
from typing import ClassVar

import numpy as np
import pytest
import torch
from torch import nn

from safecompress.attacks import Access, Gap, Lira, Loss, Neural, Target, simulate_attacker
from safecompress.attacks.controls import fresh
from safecompress.attacks.membership.label_only import LabelOnly
from safecompress.attacks.shadows import ShadowModels, ShadowRows
from safecompress.certify import HealthCheck, JudgedModels, certify
from safecompress.data import DataSplit
from safecompress.metrics import stats
from safecompress.metrics.measurement import Direction, Levels, Measurement
from safecompress.models import Mlp
from safecompress.seeding import derive, derive_seed, seeded
from safecompress.spec import SafetySpec, Verdict, at_least, at_most, within
from safecompress.testing.fakes import CollapsedAttack, ConstantModel, FailingAttack, MemorisingModel, noise_split
from said import says

FEATURES = 20
SPLIT = noise_split(120, other=120, num_features=FEATURES, num_classes=4)
LOOSE = at_most("loss.auc", 0.7)
SIMPLE = SafetySpec(["loss", "gap"], [LOOSE])
LABELS = SafetySpec(
    [Gap(), LabelOnly(queries=16)], [at_most("gap.auc", 0.7), at_most("label_only.auc", 0.75)], access="labels"
)
"""The cheapest spec that can pass a model: it bounds the reference set of an attacker who sees labels only."""


@pytest.fixture
def unexamined(monkeypatch):
    """No control is trained and no health check made: for tests about something else."""
    monkeypatch.setattr("safecompress.certify.verdict.train_control", lambda *_, **__: None)
    monkeypatch.setattr("safecompress.certify.verdict.examine_health", lambda *_, **__: ())


def untrained(seed=0):
    with seeded(seed, "net"):
        return Mlp((FEATURES,), 4, hidden=(256,))


def memorising(split=SPLIT):
    return MemorisingModel(*split.part("train"), 4)


def judged(shipped, dense=None, spec=SIMPLE, split=SPLIT, *, seed=0, opening=1, counted=(), shadows=None):
    target = Target(shipped, access=spec.access, shadows=shadows)
    before = None if dense is None else Target(dense, access=spec.access)
    models = JudgedModels(target, before, counted=tuple(counted))
    return certify(models, split, spec, seed=seed, opening=opening)


def verdicts(certification):
    return [str(finding.verdict) for finding in certification.findings.findings]


def doubts(certification):
    return [(str(doubt.verdict), doubt.reason) for doubt in certification.findings.doubts]


# --- who pays


class Answers(nn.Module):
    """Says the class that the row's number names, for a list of classes."""

    def __init__(self, features, classes, num_classes):
        super().__init__()
        self.rows = nn.Parameter(features.clone(), requires_grad=False)
        self.classes, self.num_classes = torch.as_tensor(classes), num_classes

    def forward(self, features):
        nearest = torch.cdist(features, self.rows).argmin(dim=1)
        return torch.nn.functional.one_hot(self.classes[nearest], self.num_classes).float()


def test_who_pays_is_measured_class_by_class(unexamined):
    """The dense model is right everywhere; the shipped one calls 33 of the 55 rows of class 2 class 1."""
    split = noise_split(other=220, num_features=3)
    features, labels = split.part("test")
    called = labels.clone()
    called[(labels == 2).nonzero()[:33, 0]] = 1
    spec = SafetySpec(
        LABELS.attacks,
        [at_least("accuracy.worst_class", 0.5), within(0.1, metric="accuracy.worst_class"), at_least("agreement", 0.5)],
        access="labels",
    )
    result = judged(Answers(features, called, 4), Answers(features, labels, 4), spec=spec, split=split)
    found = {name: figure.value for name, figure in result.measurements.items()}
    assert (found["accuracy.worst_class"], found["accuracy.worst_class.drop"]) == (0.4, 0.6)
    assert found["agreement"] == found["accuracy"] == pytest.approx(187 / 220)
    assert verdicts(result) == ["INCONCLUSIVE", "FAIL", "PASS"]
    assert result.dense["accuracy.worst_class"].value == 1.0
    assert [(one.name, one.num_rows, one.accuracy, one.dense, one.drop) for one in result.who_pays] == [
        (name, 55, 0.4 if name == "2" else 1.0, 1.0, 0.6 if name == "2" else 0.0) for name in "0123"
    ]


def test_without_a_dense_model_agreement_is_an_error_that_says_so(unexamined):
    spec = SafetySpec(
        LABELS.attacks, [at_least("agreement", 0.1), at_least("accuracy.worst_class", 0.0)], access="labels"
    )
    result = judged(untrained(), spec=spec, split=noise_split(other=220, num_features=FEATURES))
    assert verdicts(result) == ["ERROR", "PASS"]
    assert "dense model" in result.findings.findings[0].reason
    assert all(one.dense is None for one in result.who_pays)


# --- PASS, FAIL and what lies between


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2))
def test_a_model_that_was_never_trained_passes_a_loose_bound(seed):
    """All of it as it is: every requirement and check holds, but that it should know its members."""
    result = judged(untrained(seed), spec=LABELS)
    assert (verdicts(result), result.errors) == (["PASS", "PASS"], {})
    ((verdict, reason),) = doubts(result)
    assert verdict == "INCONCLUSIVE" and says(reason, "knows_members", "no better than chance")
    assert not any(m.interval.low > 0.5 for name, m in result.measurements.items() if name.endswith(".auc"))
    held = {(check.name, check.subject) for check in result.health if check.outcome is Verdict.PASS}
    assert held >= {("positive_control", "gap"), ("positive_control", "label_only"), ("blind_baseline", "data")}
    assert len(held) == len(result.health) - 1


@pytest.mark.slow
def test_a_model_that_knows_its_members_fails_whatever_casts_doubt():
    """Its class cannot be made anew, so there is no control, and its spec is below its access: FAIL all the same."""
    spec = SafetySpec(["loss", "gap", "entropy", Neural(epochs=10)], [LOOSE, at_most("neural.auc", 0.7)])
    result = judged(memorising(), spec=spec)
    assert (result.findings.verdict, result.findings.exit_code) == (Verdict.FAIL, 1)
    assert verdicts(result) == ["FAIL", "FAIL"]
    assert result.measurements["loss.auc"].value > 0.99
    assert result.measurements["entropy.auc"].value > 0.99
    assert any(says(reason, "positive_control of loss: ", "no control model") for _, reason in doubts(result))


def test_a_spec_below_its_access_passes_nothing(unexamined):
    """The evidence of a PASS at LABELS, for an attacker who is given WEIGHTS: every bound holds, and nothing passes."""
    spec = SafetySpec(LABELS.attacks, LABELS.requirements)
    result = judged(untrained(), spec=spec)
    assert verdicts(result) == ["PASS", "PASS"]
    assert (result.findings.verdict, result.findings.exit_code) == (Verdict.INCONCLUSIVE, 3)
    ((verdict, reason),) = doubts(result)
    assert verdict == "INCONCLUSIVE"
    assert says(reason, "WEIGHTS", "modified_entropy is not simulated", "neural is not simulated")
    assert judged(untrained(), spec=LABELS).findings.verdict is Verdict.PASS


def test_an_attack_that_is_reported_and_not_bounded_does_not_count(unexamined):
    result = judged(untrained(), spec=replace_requirements(LABELS, LABELS.requirements[:1]))
    ((_, reason),) = doubts(result)
    assert "bounds label_only" in reason
    assert result.bounded == {"gap"}


def test_a_bound_that_nothing_can_break_passes_nothing(unexamined):
    """The requirement itself holds, as it must, and the verdict says that it is none."""
    spec = replace_requirements(LABELS, [at_most("gap.auc", 1.0), LABELS.requirements[1]])
    result = judged(untrained(), spec=spec)
    assert verdicts(result) == ["PASS", "PASS"]
    assert (result.findings.verdict, result.bounded) == (Verdict.INCONCLUSIVE, {"label_only"})
    ((_, reason),) = doubts(result)
    assert says(reason, "gap.auc ≤ 1 can be broken by no outcome")


def replace_requirements(spec, requirements):
    return SafetySpec(spec.attacks, requirements, spec.alpha, spec.access, spec.shadows)


# --- health


def check(name, outcome, subject="gap"):
    return HealthCheck(name, subject, outcome, 0.5, f"{name} was looked at.")


@pytest.mark.slow
@pytest.mark.parametrize("outcome", ["INCONCLUSIVE", "ERROR"])
def test_a_check_that_does_not_hold_is_a_doubt(outcome, monkeypatch):
    """Checks are made up: this is about what becomes of them."""
    checks = (check("sign", Verdict.PASS), check("ties", Verdict(outcome)), check("saturation", Verdict.PASS, "target"))
    monkeypatch.setattr("safecompress.certify.verdict.examine_health", lambda *_, **__: checks)
    result = judged(untrained(), spec=LABELS)
    assert verdicts(result) == ["PASS", "PASS"]
    assert str(result.findings.verdict) == outcome
    assert doubts(result) == [(outcome, "ties of gap: ties was looked at.")]
    assert result.health == checks


@pytest.mark.slow
def test_without_a_population_nobody_knows_what_the_attacks_find_in_nobody():
    indices = {**SPLIT.indices, "population": np.empty(0, dtype=np.int64)}
    result = judged(untrained(), spec=LABELS, split=DataSplit.from_indices(SPLIT.dataset, indices))
    assert result.findings.verdict is Verdict.INCONCLUSIVE
    assert {reason.partition(":")[0] for _, reason in doubts(result)} == {
        "negative_control of gap", "negative_control of label_only", "knows_members of target",
    }  # fmt: skip
    assert all("split a population" in reason for _, reason in doubts(result) if "negative" in reason)


def test_what_the_checks_are_given(monkeypatch):
    """The pools, the population as non-members, the target's own attackers and figures, and seeds of their own."""
    seen = {}
    monkeypatch.setattr("safecompress.certify.verdict.train_control", lambda *args, **kw: ("control", args, kw))

    def examine(case, **options):
        seen.update(case=case, **options)
        return ()

    monkeypatch.setattr("safecompress.certify.verdict.examine_health", examine)
    result = judged(untrained(), untrained(1), spec=LABELS, seed=3, opening=2)
    case = seen["case"]
    target, fit, verdict, unseen = case.target, case.fit, case.verdict, case.unseen
    attackers, results = case.attackers, case.results
    pools = [SPLIT.audit(pool).digest for pool in ("fit", "verdict")]
    assert [fit.digest, verdict.digest] == pools
    assert torch.equal(unseen.features, SPLIT.part("population")[0])
    assert not unseen.is_member.any()
    assert [attacker.attack.name for attacker in attackers] == [r.attack for r in results] == ["gap", "label_only"]
    assert results[0].measurements[0] == result.measurements["gap.auc"]
    assert (seen["levels"], seen["seed"]) == (LABELS.levels(2), derive_seed(3, "verdict", "health"))
    _, (model, *rows), options = case.control
    assert model is target
    assert ([pool.digest for pool in rows], options) == (pools, {"seed": derive_seed(3, "verdict", "control")})


# --- what is said beside the verdict


def test_access_and_what_is_bounded_come_from_the_spec(unexamined):
    result = judged(untrained(), spec=LABELS)
    assert (result.access, result.bounded, result.shadows) == (Access.LABELS, {"gap", "label_only"}, None)
    compared = judged(untrained(), untrained(1), COMPARING)
    assert (compared.access, compared.bounded) == (Access.WEIGHTS, frozenset())


def test_the_dense_model_is_judged_by_the_same_requirements_as_far_as_it_has_figures(unexamined):
    """Counted figures and changes are the artifact's own, and no finding on the dense model."""
    requirements = [LOOSE, within(0.9, metric="accuracy"), at_most("density", 0.5), at_least("accuracy", 0.01)]
    counted = [Measurement.exact("density", 0.2, Direction.LOWER)]
    result = judged(untrained(), memorising(), SafetySpec(["loss"], requirements), counted=counted)
    found = {str(finding.requirement): str(finding.verdict) for finding in result.dense_findings.findings}
    assert found == {"loss.auc ≤ 0.7": "FAIL", "accuracy ≥ 0.01": "PASS"}
    assert verdicts(result) == ["PASS", "PASS", "PASS", "PASS"]
    assert judged(untrained()).dense_findings.findings == ()


@dataclass(frozen=True)
class FreshWeights:
    """Shadows that were never trained; ``asked`` counts them."""

    network: nn.Module = field(repr=False)
    mode: str = field(default="final pattern only", init=False)
    group_size: int = field(default=1, init=False)

    def digest(self):
        return "fresh"

    def build(self):
        return fresh(self.network, 0)

    def __call__(self, rows, draws):
        return [fresh(self.network, 1 + draw.number).state_dict() for draw in draws]


@pytest.mark.parametrize(("attack", "words"), [(Lira(num_shadows=4), "final pattern only"), (Loss(), None)])
def test_how_shadows_were_trained_is_said_where_an_attack_asked_for_any(attack, words, unexamined):
    dataset = SPLIT.dataset
    rows = ShadowRows(dataset.features, dataset.labels, np.arange(dataset.num_rows), dataset.num_rows // 2, 0)
    shadows = ShadowModels(rows, FreshWeights(untrained()))
    spec = SafetySpec([attack], [at_most(f"{attack.name}.auc", 0.9)])
    assert judged(untrained(), spec=spec, shadows=shadows).shadows == words


def test_a_bound_within_the_interval_decides_nothing(unexamined):
    result = judged(untrained(), spec=SafetySpec(["gap"], [at_most("gap.auc", 0.501)], access="labels"))
    assert verdicts(result) == ["INCONCLUSIVE"]
    assert (result.findings.verdict, result.findings.exit_code) == (Verdict.INCONCLUSIVE, 3)


def test_intervals_hold_at_the_openings_level(unexamined):
    spec = SafetySpec(["loss"], [LOOSE, at_least("accuracy", 0.01)], alpha=0.08)
    for opening, alpha in ((1, 0.04), (3, 0.01)):
        result = judged(untrained(), spec=spec, opening=opening)
        assert (result.opening, result.levels) == (opening, Levels(alpha, 2))
        for name in ("loss.auc", "accuracy"):
            figure = result.measurements[name]
            assert figure.interval.confidence == pytest.approx(1 - alpha)
            assert figure.simultaneous.confidence == pytest.approx(1 - alpha / 2)


def test_accuracy_is_of_the_test_rows(unexamined):
    model = MemorisingModel(*SPLIT.part("test"), 4)
    result = judged(model)
    assert result.measurements["accuracy"].value == 1.0
    assert result.measurements["accuracy"].num_samples == 120
    assert judged(memorising()).measurements["accuracy"].value < 0.5


def test_counted_figures_are_judged_as_they_are(unexamined):
    spec = SafetySpec(["loss"], [at_most("artifact.size_bytes", 1000), at_most("density", 0.1)])
    counted = [
        Measurement.exact("artifact.size_bytes", 1000, Direction.LOWER),
        Measurement.exact("density", 0.2, Direction.LOWER),
    ]
    assert verdicts(judged(untrained(), spec=spec, counted=counted)) == ["PASS", "FAIL"]
    assert verdicts(judged(untrained(), spec=spec)) == ["ERROR", "ERROR"]


# --- compared with the dense model


COMPARING = SafetySpec(["loss", "gap"], [within(0.1, metric="accuracy"), within(0.1, metric="loss.auc")])


def test_without_a_dense_model_a_comparison_is_an_error(unexamined):
    result = judged(untrained(), spec=COMPARING)
    assert verdicts(result) == ["ERROR", "ERROR"]
    assert result.findings.findings[0].reason.startswith("accuracy.drop was not measured")
    assert result.dense == {}
    assert result.dense_tm_score is None


def test_the_same_model_has_lost_nothing(unexamined):
    result = judged(untrained(), untrained(), COMPARING)
    assert verdicts(result) == ["PASS", "PASS"]
    for name in ("accuracy.drop", "loss.auc.rise"):
        assert result.measurements[name].value == 0.0
    assert result.measurements["loss.auc.rise"].interval.high == 0.0
    assert result.dense["loss.auc"] == result.measurements["loss.auc"]


def test_changes_are_paired_on_the_same_rows(unexamined):
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


def test_a_model_that_leaks_more_than_the_dense_one_rises(unexamined):
    result = judged(memorising(), untrained(), COMPARING)
    assert verdicts(result)[1] == "FAIL"
    rise = result.measurements["loss.auc.rise"]
    assert rise.value == pytest.approx(result.measurements["loss.auc"].value - result.dense["loss.auc"].value)
    assert judged(untrained(), memorising(), COMPARING).measurements["loss.auc.rise"].value == pytest.approx(
        -rise.value
    )


def test_other_figures_rise_by_the_difference_of_two_intervals_at_half_of_alpha(unexamined):
    result = judged(memorising(), untrained(), COMPARING)
    rise = result.measurements["loss.balanced_accuracy.rise"]
    now, before = (figures["loss.balanced_accuracy"] for figures in (result.measurements, result.dense))
    assert rise.value == pytest.approx(now.value - before.value)
    assert rise.interval.confidence == pytest.approx(1 - 0.025)
    assert rise.interval.low < now.interval.low - before.interval.high
    assert rise.interval.high > now.interval.high - before.interval.low


@dataclass(frozen=True)
class Joining:
    """Reads the loss, and says that it joins what all versions of a model give away."""

    joins_versions: ClassVar[bool] = True
    threshold: ClassVar[float | None] = None
    name: str = field(default="joining", init=False)
    access: Access = field(default=Access.SCORES, init=False)

    def fit(self, target, audit, *, generator):
        return self

    def score(self, target, audit):
        return target.signals(audit).scaled_logit_N


def test_an_attack_that_joins_versions_is_not_made_on_the_dense_model_alone(unexamined):
    spec = SafetySpec(["loss", Joining()], [LOOSE, at_most("joining.auc", 0.7), within(0.9, metric="joining.auc")])
    result = judged(untrained(), memorising(), spec)
    assert verdicts(result) == ["PASS", "PASS", "ERROR"]
    assert {name.partition(".")[0] for name in result.dense} == {"accuracy", "loss"}
    assert result.dense_errors == {}
    assert result.dense_tm_score == pytest.approx(
        result.dense["accuracy"].value / result.dense["loss.balanced_accuracy"].value
    )


# --- what breaks


@pytest.mark.parametrize("attack", [FailingAttack("fit"), FailingAttack("score"), CollapsedAttack()])
def test_a_broken_attack_is_never_a_pass(attack, unexamined):
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


def test_an_attack_that_breaks_on_the_dense_model_leaves_its_score_unmeasured(unexamined):
    """The worst of the attacks that are left would flatter the dense model."""
    spec = SafetySpec(["loss", OnlyOnTheArtifact()], [LOOSE, within(0.5, metric="picky.auc")])
    result = judged(untrained(), memorising(), spec)
    assert verdicts(result) == ["PASS", "ERROR"]
    assert result.tm_score == pytest.approx(
        result.measurements["accuracy"].value
        / max(0.5, *(result.measurements[f"{name}.balanced_accuracy"].value for name in ("loss", "picky")))
    )
    assert result.dense_tm_score is None


def test_a_dense_model_that_gives_nan_is_no_crash(unexamined):
    broken = ConstantModel([float("nan")] * 4)
    result = judged(untrained(), broken, COMPARING)
    assert verdicts(result)[1] == "ERROR"
    assert result.dense_tm_score is None


def test_a_shipped_model_that_gives_nan_is_an_error():
    """Of its health, too: checks that cannot be made are no crash."""
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


def test_attackers_are_simulated_anew_with_seeds_of_their_own(unexamined):
    spy = Spy()
    judged(untrained(), spec=SafetySpec([spy], [at_most("spy.auc", 0.7)]), seed=5)
    fits = [entry for entry in spy.seen if entry[0] == "fit"]
    expected = int(derive(5, "verdict", "spy").integers(2**62))
    assert fits == [("fit", SPLIT.audit("fit").digest, expected)]
    searched = {int(derive(5, "attack", "spy", candidate).integers(2**62)) for candidate in ("r1", "r1/keep")}
    assert expected not in searched


@dataclass(frozen=True)
class Reader(Spy):
    """Writes down the rows themselves."""

    def fit(self, target, audit, *, generator):
        self.seen.extend(row.tobytes() for row in audit.features.numpy())
        return self

    def score(self, target, audit):
        self.seen.extend(row.tobytes() for row in audit.features.numpy())
        return target.signals(audit).scaled_logit_N


def test_the_selection_pool_is_not_read():
    """Neither by the verdict nor by any check of health; pools are known by their rows, whatever their labels."""
    spy = Reader()
    judged(untrained(), untrained(1), SafetySpec([spy], [at_most("spy.auc", 0.7)]))
    rows = {part: {row.tobytes() for row in SPLIT.part(part)[0].numpy()} for part in SPLIT.indices}
    read = {part for part, content in rows.items() if content & set(spy.seen) and part != "train"}
    assert read == {"member_fit", "member_verdict", "nonmember_fit", "nonmember_verdict", "population"}


def with_other_verdict_rows():
    """The same split over features in which the verdict pools' rows are others."""
    features = SPLIT.dataset.features.clone()
    rows = np.concatenate([SPLIT.indices["member_verdict"], SPLIT.indices["nonmember_verdict"]])
    features[rows] = torch.from_numpy(np.random.default_rng(9).normal(size=(len(rows), FEATURES)).astype(np.float32))
    return DataSplit.from_indices(replace(SPLIT.dataset, stored=features), SPLIT.indices)


@pytest.mark.slow
@pytest.mark.parametrize("attack", [Loss(), Neural(epochs=3)])
def test_verdict_rows_fit_nothing(attack, monkeypatch, unexamined):
    """Other verdict rows: the same sign, the same threshold, the same scores for rows that did not change."""
    made = []

    def kept(*args, **options):
        made.append((simulate_attacker(*args, **options), args[1]))
        return made[-1][0]

    monkeypatch.setattr("safecompress.attacks.measure_model.simulate_attacker", kept)
    spec = SafetySpec([attack], [at_most(f"{attack.name}.auc", 0.9)])
    results = [judged(untrained(), spec=spec, split=split) for split in (SPLIT, with_other_verdict_rows())]
    assert results[0].measurements[f"{attack.name}.auc"] != results[1].measurements[f"{attack.name}.auc"]
    (first, target), (second, _) = made
    assert (first.sign, first.threshold) == (second.sign, second.threshold)
    scores = [attacker.fitted.score(target, SPLIT.audit("select")) for attacker in (first, second)]
    assert np.array_equal(*scores)


@pytest.mark.slow
def test_the_same_seed_gives_the_same_verdict(unexamined):
    spec = SafetySpec(["loss", Neural(epochs=3)], [LOOSE])
    first, again, other = (judged(memorising(), untrained(), spec, seed=seed) for seed in (0, 0, 1))
    assert first.measurements == again.measurements
    assert first.dense == again.dense
    assert first.measurements["loss.auc"] == other.measurements["loss.auc"]
    assert first.dense["neural.auc"] != other.dense["neural.auc"]


def test_tm_score_by_hand(unexamined):
    result = judged(memorising(), untrained())
    worst = max(result.measurements[f"{name}.balanced_accuracy"].value for name in ("loss", "gap"))
    assert result.tm_score == pytest.approx(result.measurements["accuracy"].value / worst)
    worst = max(0.5, *(result.dense[f"{name}.balanced_accuracy"].value for name in ("loss", "gap")))
    assert result.dense_tm_score == pytest.approx(result.dense["accuracy"].value / worst)


def test_training_mode_and_weights_are_left_alone_in_value(unexamined):
    model = nn.Sequential(nn.Linear(FEATURES, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 4)).train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    judged(model)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
