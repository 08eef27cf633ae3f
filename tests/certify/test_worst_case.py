"""The worst-off people: what was planted is chosen, chance makes nobody exposed, and a spec can bound the figure."""

import numpy as np
import pytest
import torch
from scipy.special import stdtrit

from asked_shadows import SayingShadows, said_by_shadows
from safecompress.attacks import Lira, Loss, Target
from safecompress.attacks.shadows import ShadowModels, ShadowRows, balanced_draws
from safecompress.certify import JudgedModels, certify, check_feasibility
from safecompress.certify.worst_case import measure_persons, worst_case, worst_of
from safecompress.data import AuditData
from safecompress.errors import SpecError
from safecompress.metrics import stats
from safecompress.metrics.catalogue import WORST_CASE, headlines, parse_name, strongest_attack
from safecompress.metrics.certifiers import MIN_EXPOSED, MIN_SHADOWS, RowCounts
from safecompress.metrics.measurement import Levels
from safecompress.spec import SafetySpec, Verdict, at_most, metrics_of, within
from safecompress.testing.fakes import ConstantModel, FakeTrainer, noise_split
from said import says


def members(count, others=0):
    return AuditData(
        torch.zeros(count + others, 2), torch.zeros(count + others).long(), np.arange(count + others) < count
    )


def test_exposed_rows_are_found_on_one_half_and_hold_on_the_other():
    phi, is_in = said_by_shadows(400, exposed=20, gap=4.0)
    worst = worst_of(phi, is_in, 0.05)
    assert (worst.num_rows, worst.num_eligible, worst.num_choosing, worst.num_scoring) == (20, 400, 8, 8)
    assert worst.worst[0] > 0.95 and worst.worst[1].low > 0.8
    assert 0.5 < worst.every[0] < 0.6


def test_the_rows_whose_loss_falls_most_are_chosen_not_those_that_were_easy_before():
    """A row that every model gets right has a gap in its logit, too, and little to lose."""
    phi, is_in = said_by_shadows(400, exposed=40, gap=3.0)
    phi[:, 20:40] += 8.0  # as sure as can be, with and without the row
    phi[:, :20] -= 3.0  # wrong until trained on
    phi[8:, 20:40] = 0.0  # would halve the figure if they were chosen by the first half
    assert worst_of(phi, is_in, 0.05).worst[0] > 0.9


def rare_draws(seed):
    """Members among the rows that shadows draw from, each in about a third of 8 shadows; rows differ in difficulty."""
    rng = np.random.default_rng(seed)
    is_in = balanced_draws(np.arange(250), 90, 8, rng)[:, :100]
    return rng.normal(size=100) * 3 + rng.normal(size=is_in.shape), is_in


def test_chance_makes_nobody_exposed():
    """The interval holds one half as often as it promises, within four standard errors."""
    alpha = 0.05
    held = [worst_of(*rare_draws(seed), alpha).worst for seed in range(300)]
    assert abs(np.mean([value for value, _ in held]) - 0.5) < 0.015
    covered = np.mean([interval.low <= 0.5 <= interval.high for _, interval in held])
    assert covered >= 1 - alpha - 4 * np.sqrt(alpha * (1 - alpha) / 300)


def test_rows_chosen_and_scored_by_the_same_shadows_would_look_exposed():
    phi, is_in = said_by_shadows(400)
    same = worst_of(np.concatenate([phi[:8], phi[:8]]), np.concatenate([is_in[:8], is_in[:8]]), 0.05)
    assert same.worst[1].low > 0.6


def test_both_halves_choose_and_both_score():
    """Only the first half of the shadows shows anything: each direction alone would say all, or nothing."""
    phi, is_in = said_by_shadows(400, exposed=20, gap=9.0)
    phi[8:] = said_by_shadows(400, seed=1)[0][8:]
    assert 0.4 < worst_of(phi, is_in, 0.05).worst[0] < 0.6
    swapped = worst_of(np.roll(phi, 8, axis=0), np.roll(is_in, 8, axis=0), 0.05)
    assert swapped.worst[0] == pytest.approx(worst_of(phi, is_in, 0.05).worst[0])


def test_the_share_of_a_row_is_counted_over_its_pairs():
    phi, is_in = said_by_shadows(60)
    worst = worst_of(phi, is_in, 0.05)
    by_hand = [stats.auc(phi[side, row], is_in[side, row]) for side in (slice(8), slice(8, 16)) for row in range(60)]
    assert worst.every[0] == pytest.approx(np.mean(by_hand))


def test_one_in_a_hundred_of_many_rows_and_never_fewer_than_twenty():
    assert worst_of(*said_by_shadows(5000), 0.05).num_rows == 50
    assert worst_of(*said_by_shadows(40), 0.05).num_rows == MIN_EXPOSED
    assert worst_of(*said_by_shadows(38), 0.05) is None


def test_only_shadows_that_an_attack_asked_for_are_read():
    audit = members(60)
    assert worst_case(SayingShadows(*said_by_shadows(60, 16), num_used=16), audit, 0.05).num_choosing == 8
    few = SayingShadows(*said_by_shadows(60, 16), num_used=MIN_SHADOWS - 1)
    assert worst_case(few, audit, 0.05) is None
    without = SayingShadows(*said_by_shadows(60), num_used=0)
    without.has_shadows = False
    assert worst_case(without, audit, 0.05) is None


def test_people_who_were_not_trained_on_are_not_among_the_most_exposed():
    phi, is_in = said_by_shadows(200, exposed=200, gap=9.0)
    phi[:, :100] = said_by_shadows(100, seed=1)[0]  # of the members nothing shows
    worst = worst_case(SayingShadows(phi, is_in, num_used=16), members(100, 100), 0.05)
    assert worst.num_eligible == 100 and worst.worst[0] < 0.65


# --- as a requirement


SPLIT = noise_split(120, other=60, num_features=8, num_classes=4)
BOUND = at_most("lira.worst_case", 0.7)


def target(split, *, is_leaky, with_shadows=True):
    parts = [split.part(part) for part in ("train", "nonmember_verdict", "nonmember_fit")]
    features, labels = (torch.cat([part[i] for part in parts]) for i in (0, 1))
    rows = ShadowRows(features, labels, np.arange(len(labels)), len(labels) // 2, seed=0)
    trainer = FakeTrainer(4, 8, is_leaky)
    model = ConstantModel([0.0, 0.1, 0.2, 0.3])
    return Target(model, shadows=ShadowModels(rows, trainer) if with_shadows else None)


def judged(spec, **options):
    models = JudgedModels(target(SPLIT, **options), dense=target(SPLIT, is_leaky=True))
    return certify(models, SPLIT, spec, seed=0, opening=1)


@pytest.fixture(autouse=True)
def unexamined(monkeypatch):
    monkeypatch.setattr("safecompress.certify.verdict.train_control", lambda *_, **__: None)
    monkeypatch.setattr("safecompress.certify.verdict.examine_health", lambda *_, **__: ())


def test_a_spec_bounds_what_happens_to_the_most_exposed():
    certification = judged(SafetySpec([Lira(num_shadows=16)], [BOUND]), is_leaky=True)
    (finding,) = certification.findings.findings
    assert finding.verdict is Verdict.FAIL
    figure = certification.measurements["lira.worst_case"]
    assert (figure.value, figure.num_samples) == (pytest.approx(1.0), MIN_EXPOSED)
    assert certification.dense["lira.worst_case"].value == pytest.approx(1.0)
    assert [str(f.verdict) for f in certification.dense_findings.findings] == ["FAIL"]


def test_where_training_on_a_row_changes_nothing_the_requirement_holds():
    spec, quiet = SafetySpec([Lira(num_shadows=16)], [BOUND]), target(SPLIT, is_leaky=False)
    persons = measure_persons(quiet, SPLIT.audit("verdict"), spec.attacks, Levels())
    (finding,) = spec.judge(persons.measurements).findings
    assert finding.verdict is Verdict.PASS and finding.measurement.value == pytest.approx(0.5)


def test_the_interval_that_fails_is_the_wider_one():
    audit, levels = members(400), Levels(0.05, 5)
    shadows = SayingShadows(*said_by_shadows(400), num_used=16)
    (figure,) = measure_persons(shadows, audit, [Lira(num_shadows=16)], levels).measurements.values()
    near, far = (worst_of(*said_by_shadows(400), alpha).worst for alpha in (0.05, 0.01))
    assert (figure.value, figure.interval, figure.simultaneous) == (near[0], near[1], far[1])
    assert figure.simultaneous.low < figure.interval.low


@pytest.mark.parametrize("case", ["no shadows", "few shadows", "few members"])
def test_where_it_cannot_be_measured_it_is_an_error_that_says_why(case):
    shadows = 4 if case == "few shadows" else 16
    audit, attack = members(38 if case == "few members" else 60), Lira(num_shadows=shadows)
    subject = SayingShadows(*said_by_shadows(len(audit.labels), shadows), num_used=shadows)
    if case == "no shadows":
        subject = Target(ConstantModel([0.0, 1.0]))
    persons = measure_persons(subject, audit, [attack, Loss()], Levels())
    assert not persons.measurements
    spec = SafetySpec([attack], [BOUND])
    (finding,) = spec.judge({}, unmeasured=persons.unmeasured).findings
    assert finding.verdict is Verdict.ERROR
    expected = {"no shadows": "recipe", "few shadows": "num_shadows=4", "few members": "38 members"}[case]
    assert expected in finding.reason


def test_an_attack_that_broke_is_named_first():
    spec = SafetySpec([Lira()], [BOUND])
    (finding,) = spec.judge({}, {"lira": "crashed"}, unmeasured={"lira.worst_case": "few"}).findings
    assert (finding.verdict, finding.reason) == (Verdict.ERROR, "crashed")


def test_only_attacks_on_membership_by_shadows_have_the_figure():
    assert "lira.worst_case" in metrics_of(Lira()) and "lira.worst_case" in SafetySpec([Lira()], [BOUND]).metrics
    assert not [name for name in metrics_of(Loss()) if name.endswith(WORST_CASE.name)]
    with pytest.raises(SpecError, match=r"loss\.worst_case"):
        SafetySpec(["loss"], [at_most("loss.worst_case", 0.7)])


def test_a_bound_on_the_worst_case_bounds_no_attack_on_the_model_itself():
    """It asks shadows alone, so the reference set is not met by it."""
    spec = SafetySpec([Lira(num_shadows=16), "loss"], [BOUND, at_most("loss.auc", 0.7)], access="scores")
    assert spec.bounded == {"loss"}
    assert "no requirement bounds lira" in spec.missing_reference_attacks()


def test_selectors_and_scores_do_not_read_it():
    values = {"accuracy": 0.8, "loss.auc": 0.6, "loss.worst_case": 0.99}
    assert headlines(values) == {"loss": 0.6} and strongest_attack(values) == "loss"
    assert parse_name("lira.worst_case.rise").metric is WORST_CASE
    with pytest.raises(SpecError, match="nothing measures it"):
        check_feasibility(SafetySpec([Lira()], [within(0.1, metric="lira.worst_case")]), SPLIT, Levels())


# --- what rows and shadows can certify


def feasibility(bound, num_shadows=16, split=SPLIT):
    spec = SafetySpec([Lira(num_shadows=num_shadows)], [at_most("lira.worst_case", bound)])
    (prospect,) = check_feasibility(spec, split, Levels(0.05))
    return prospect


def test_the_tightest_bound_is_what_the_interval_gives_where_training_on_a_row_changes_nothing():
    tightest = feasibility(0.7).tightest
    squares = 40 * 9 / (12 * 16) + 0.5
    assert tightest == pytest.approx(0.5 - stdtrit(19, 0.025) * np.sqrt(squares) / 42)
    highs = [worst_of(*said_by_shadows(120, seed=seed), 0.05).worst[1].high for seed in range(40)]
    assert np.mean(highs) == pytest.approx(tightest, abs=0.02)
    assert feasibility(0.7, num_shadows=64).tightest < tightest < feasibility(0.7, num_shadows=8).tightest


@pytest.mark.parametrize(
    ("bound", "num_shadows", "rows", "words"),
    [(0.52, 16, 120, "loosen the bound"), (0.9, 7, 120, "7 shadow models"), (0.9, 16, 38, "38 members")],
)
def test_what_could_pass_only_by_luck_is_refused_before_any_training(bound, num_shadows, rows, words):
    with pytest.raises(SpecError) as caught:
        feasibility(bound, num_shadows, noise_split(rows, other=8, num_features=2))
    assert says(str(caught.value), f"lira.worst_case ≤ {bound:g}", words)


def test_rows_and_shadows_are_named_in_words():
    counts = RowCounts(200, 200, 16)
    assert WORST_CASE.certifier.describe(counts) == "200 members in the verdict pool and 16 shadow models"
    assert WORST_CASE.certifier.tightest(RowCounts(200, 200, 7), 0.05) == 1.0
