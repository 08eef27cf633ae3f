"""Canaries in a verdict: a model that learned them gives them away, one that never saw them none beyond chance."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch

from safecompress.attacks import Lira, Loss
from safecompress.attacks.shadows import ShadowOutputs, balanced_draws
from safecompress.certify import check_feasibility
from safecompress.certify.canaries import canary_scores, measure_canaries, planted_in
from safecompress.compression.job import check_canaries
from safecompress.data import AuditData, Dataset, SplitSizes, make_split, plant_canaries
from safecompress.errors import AttackError, SpecError, UsageError
from safecompress.metrics import stats
from safecompress.metrics.catalogue import CANARIES, parse_name
from safecompress.metrics.certifiers import RowCounts, num_false_alarms
from safecompress.metrics.measurement import Levels
from safecompress.spec import SafetySpec, Verdict, at_most, within
from said import says

SIZES = SplitSizes(60, 20, 15, 20, 10, 15, 20, 15, 20, 30)
DATA = Dataset.from_arrays(np.random.default_rng(0).normal(size=(400, 4)), np.arange(400) % 3)
PLAIN = make_split(DATA, SIZES, seed=0)
SPLIT = plant_canaries(PLAIN, 20, seed=0)
AUDIT = SPLIT.audit_canaries()
LIRA = Lira(num_shadows=16)
BOUND = at_most("lira.canaries", 0.5)
SPEC = SafetySpec([LIRA], [BOUND], canaries=20)


@dataclass(frozen=True)
class Answer:
    """What a model says of rows."""

    scaled_logit_N: np.ndarray


@dataclass(frozen=True)
class Saying:
    """A target that says ``phi_N`` of canaries and twins, and whose shadows say ``phi_KN``."""

    phi_N: np.ndarray
    phi_KN: np.ndarray
    is_in_KN: np.ndarray
    has_shadows = True

    @property
    def shadows(self):
        return self

    def outputs(self, audit, *, count):
        return ShadowOutputs(self.phi_KN[:count, None], self.is_in_KN[:count], self.is_in_KN[:count])

    def signals(self, audit):
        return Answer(self.phi_N)


def said(seed, *, gap_target=0.0, gap_shadows=3.0):
    """220 rows of unlike difficulty, each in one or two of 16 shadows, which know their own by ``gap_shadows``."""
    random = np.random.default_rng(seed)
    is_in = balanced_draws(np.arange(220), 20, 16, random)
    hard_N, spread_N = random.normal(-6, 2, 220), np.exp(random.normal(size=220) / 2)
    phi = hard_N + spread_N * (random.normal(size=(17, 220)))
    phi[0, :20] += gap_target
    phi[1:] += gap_shadows * is_in
    return Saying(phi[0], phi[1:], is_in)


def measured(target, levels=Levels(), attacks=(LIRA,), split=SPLIT):  # noqa: B008
    return measure_canaries(target, split, attacks, levels)


def test_a_model_that_never_saw_them_gives_none_away_beyond_chance():
    """Over 150 models: three in 201 on average, whatever shadows learn of the row and however rows differ."""
    found = np.array([measured(said(seed)).measurements["lira.canaries"].value for seed in range(150)])
    chance = 3 / 201
    error = found.std() / np.sqrt(len(found))
    assert abs(found.mean() - chance) < 4 * error
    assert found.max() <= 0.25


def test_a_bound_that_is_passable_is_passed_as_often_as_it_says_without_a_leak():
    rows, alpha = RowCounts(20, 200, 16), 0.05
    bound = CANARIES.certifier.passable(rows, alpha, 0.8)
    highs = [measured(said(seed)).measurements["lira.canaries"].interval.high for seed in range(100)]
    assert np.mean([high <= bound for high in highs]) > 0.8 - 4 * np.sqrt(0.8 * 0.2 / 100)
    assert bound == stats.clopper_pearson(1, 20, alpha).high  # 74 % find none, 20 % one


def test_canaries_that_the_model_knows_are_found_and_the_requirement_fails():
    persons = measured(said(0, gap_target=12.0))
    figure = persons.measurements["lira.canaries"]
    assert figure.value > 0.8 and figure.num_samples == 20
    (finding,) = SPEC.judge(persons.measurements).findings
    assert finding.verdict is Verdict.FAIL
    assert SPEC.judge(measured(said(1)).measurements).findings[0].verdict is Verdict.PASS


@pytest.mark.parametrize(
    ("num_above", "twins_between", "share"),
    [(0, 0, 0.0), (7, 0, 0.35), (20, 0, 1.0), (7, 2, 0.35), (7, 3, 0.0)],
)
def test_counts_by_hand(num_above, twins_between, share):
    """Shadows say the same of all rows, so the target's own words decide; three twins above are one too many."""
    phi = np.linspace(0, 1, 220)
    phi[:num_above] = 10 + phi[:num_above]
    phi[num_above:20] = -1
    phi[20 : 20 + twins_between] = 20
    shadows = np.tile(np.random.default_rng(0).normal(size=(16, 1)), (1, 220))
    target = Saying(phi, shadows, np.zeros((16, 220), dtype=bool))
    assert measured(target).measurements["lira.canaries"].value == pytest.approx(share)


def test_scores_are_the_targets_lead_over_shadows_without_the_row_in_their_deviations():
    """By a slow implementation, where all rows vary alike: then the shrunken variance is nearly the known one."""
    target = said(3)
    even = np.random.default_rng(1).normal(size=(16, 220))
    scores = canary_scores(Saying(target.phi_N, even, target.is_in_KN), AUDIT, 16)
    by_hand = []
    for row in range(220):
        out = even[~target.is_in_KN[:, row], row]
        by_hand.append((target.phi_N[row] - out.mean()) / np.sqrt(1 + 1 / len(out)))
    assert np.corrcoef(scores, by_hand)[0, 1] > 0.98
    assert np.polyfit(by_hand, scores, 1)[0] == pytest.approx(1, abs=0.1)


def test_the_interval_is_over_canaries_and_wider_for_fail():
    figure = measured(said(0, gap_target=12.0), Levels(0.05, 5)).measurements["lira.canaries"]
    hits = round(20 * figure.value)
    near, far = (stats.clopper_pearson(hits, 20, alpha) for alpha in (0.05, 0.01))
    assert (figure.interval, figure.simultaneous) == (near, far)


def test_only_attacks_by_shadow_models_are_asked_and_nothing_without_canaries():
    assert set(measured(said(0), attacks=[Loss(), LIRA]).measurements) == {"lira.canaries"}
    assert measured(None, split=PLAIN).measurements == {} and planted_in(PLAIN) is None
    planted = planted_in(SPLIT)
    assert (planted.num_canaries, planted.num_twins, planted.num_train) == (20, 200, 80)


def test_a_figure_that_is_missing_is_an_error():
    class Broken(Saying):
        def outputs(self, audit, *, count):
            raise AttackError("no shadows")

    persons = measured(Broken(*vars(said(0)).values()))
    (finding,) = SPEC.judge({}, unmeasured=persons.unmeasured).findings
    assert (finding.verdict, finding.reason) == (Verdict.ERROR, "no shadows")


# --- in a spec


def test_a_spec_asks_for_twenty_or_none_and_for_an_attack_that_can_find_them():
    with pytest.raises(SpecError) as caught:
        SafetySpec(["loss"], [at_most("loss.auc", 0.6)], canaries=3)
    assert says(str(caught.value), "canaries is 3", "under 20", "lira")
    with pytest.raises(SpecError, match="none are planted: set canaries = 20"):
        SafetySpec([LIRA], [BOUND])
    with pytest.raises(SpecError, match=r"loss\.canaries"):
        SafetySpec(["loss", LIRA], [at_most("loss.canaries", 0.5)], canaries=20)


def test_the_digest_and_the_words_of_a_spec_without_canaries_are_the_old_ones():
    plain = SafetySpec([LIRA], [at_most("lira.auc", 0.6)])
    assert "canaries" not in repr(plain)
    assert SafetySpec([LIRA], [at_most("lira.auc", 0.6)], canaries=20).digest() != plain.digest()


def test_canaries_bound_no_attack():
    assert SPEC.bounded == frozenset()
    assert parse_name("lira.canaries").metric is CANARIES
    with pytest.raises(SpecError, match=r"lira\.canaries itself"):
        check_feasibility(SafetySpec([LIRA], [within(0.1, metric="lira.canaries")], canaries=20), SPLIT, Levels())


@pytest.mark.parametrize(("bound", "words"), [(0.1, "20 canaries and 200 twins"), (0.16, "plant more canaries")])
def test_a_bound_under_what_none_found_would_certify_is_refused(bound, words):
    spec = SafetySpec([LIRA], [at_most("lira.canaries", bound)], canaries=20)
    with pytest.raises(SpecError) as caught:
        check_feasibility(spec, SPLIT, Levels(0.05))
    assert words in str(caught.value) and "0.1684" in str(caught.value)


def test_what_so_many_canaries_can_certify_is_said():
    (feasibility,) = check_feasibility(SPEC, SPLIT, Levels(0.05))
    assert feasibility.tightest == pytest.approx(1 - 0.025 ** (1 / 20))
    assert feasibility.passable == pytest.approx(stats.clopper_pearson(1, 20, 0.05).high)
    assert "20 canaries and 200 twins" in str(feasibility)
    spec = SafetySpec([LIRA], [at_most("lira.canaries", 0.2)], canaries=20)
    assert " canaries)" in str(check_feasibility(spec, SPLIT, Levels(0.05))[0])


@pytest.mark.parametrize(("num_twins", "errors"), [(99, 0), (100, 1), (200, 2), (500, 5)])
def test_one_twin_in_a_hundred_may_lie_above(num_twins, errors):
    assert num_false_alarms(num_twins) == errors


@pytest.mark.parametrize(("split", "spec"), [(PLAIN, SPEC), (SPLIT, SafetySpec([LIRA], [at_most("lira.auc", 0.6)]))])
def test_split_and_spec_must_agree(split, spec):
    with pytest.raises(UsageError, match=r"plant_canaries\(split"):
        check_canaries(spec, split)
    check_canaries(SPEC, SPLIT)


def test_audit_rows_have_the_wrong_labels():
    assert isinstance(AUDIT, AuditData)
    rows = torch.from_numpy(np.concatenate([SPLIT.indices[part] for part in ("canaries", "canary_twins")]))
    assert (AUDIT.labels != DATA.labels[rows]).all() and torch.equal(AUDIT.features, DATA.features[rows])
