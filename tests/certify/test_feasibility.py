"""What the verdict rows can certify, said before training: golden numbers, and requirements that cannot pass."""

import numpy as np
import pytest

from safecompress.attacks import MEMBERSHIP
from safecompress.certify import check_feasibility
from safecompress.data import DataSplit
from safecompress.errors import SpecError
from safecompress.metrics import stats
from safecompress.metrics.certifiers import RowCounts, rows_needed
from safecompress.metrics.measurement import Levels
from safecompress.spec import SafetySpec, at_least, at_most, within
from safecompress.testing.fakes import noise_split
from said import says

METRICS = tuple(metric.name for metric in MEMBERSHIP.metrics)

SPLIT = noise_split(300, other=200, num_features=2)
LEVELS = Levels(0.05)


def spec(*requirements):
    return SafetySpec(["loss", "gap"], requirements)


def one(requirement, split=SPLIT, levels=LEVELS, **options):
    (prospect,) = check_feasibility(spec(requirement), split, levels, **options)
    return prospect


def fault(requirement, split=SPLIT, levels=LEVELS, **options):
    with pytest.raises(SpecError) as caught:
        check_feasibility(spec(requirement), split, levels, **options)
    return str(caught.value)


def test_golden_auc():
    assert round(one(at_most("loss.auc", 0.6)).tightest, 4) == 0.5462


def test_a_bound_on_the_auc_that_is_too_tight_says_how_many_rows_it_takes():
    message = fault(at_most("loss.auc", 0.52))
    rows = stats.min_rows_for_auc(0.02, 0.05)
    assert "certified 0.5462" in message
    assert f" {rows} of each" in message
    assert 0.5 + stats.auc_half_width(rows, rows, 0.05) <= 0.52 < 0.5 + stats.auc_half_width(rows - 1, rows - 1, 0.05)


@pytest.mark.parametrize("bound", [0.5, 0.4])
def test_no_number_of_rows_certifies_an_auc_of_one_half(bound):
    assert "lie above 0.5" in fault(at_most("loss.auc", bound))


@pytest.mark.parametrize(("alpha", "needed"), [(0.05, 3688), (0.025, 4380)])
def test_tpr_at_a_low_fpr_needs_thousands_of_non_members(alpha, needed):
    message = fault(at_most("loss.tpr@fpr=0.001", 0.05), levels=Levels(alpha))
    assert says(message, f" {needed} non-members", "nonmember_verdict has 300")
    assert "cannot be required" in message


def test_tpr_at_one_percent_is_certified_from_368_on():
    needed = stats.min_non_members(0.01, 0.05)
    assert needed == 368
    few, enough = (noise_split(rows, other=8, num_features=2) for rows in (367, 368))
    assert " 368 non-members" in fault(at_most("loss.tpr@fpr=0.01", 0.5), few)
    assert one(at_most("loss.tpr@fpr=0.01", 0.5), enough).tightest == pytest.approx(1 - 0.0125 ** (1 / 368))


def test_a_tpr_bound_under_what_catching_nobody_gives():
    split = noise_split(400, other=8, num_features=2)
    assert "catches nobody" in fault(at_most("loss.tpr@fpr=0.01", 0.01), split)


def test_accuracy_that_no_outcome_reaches():
    tightest = stats.best_lower_limit(200, 0.05)
    assert one(at_least("accuracy", 0.9)).tightest == tightest
    rows = stats.min_trials_for_lower_bound(0.99, 0.05)
    message = fault(at_least("accuracy", 0.99))
    assert says(message, "200 test rows", f" {tightest:.4g};", f" {rows} rows")
    assert "certifies 1" in fault(at_least("accuracy", 1.0))


def test_density_under_what_the_plan_keeps():
    assert one(at_most("density", 0.1), density=0.1).tightest == 0.1
    assert one(at_most("density", 0.1)).tightest is None
    assert "keeps density 0.2; lower" in fault(at_most("density", 0.1), density=0.2)


@pytest.mark.parametrize("metric", ["loss.balanced_accuracy", "gap.advantage"])
def test_guessing_bounds_accuracy_and_advantage(metric):
    confusion = stats.Confusion(0, 300, 0, 300)  # the best that can happen: the attack calls nobody a member
    interval = stats.balanced_accuracy_interval if "accuracy" in metric else stats.advantage_interval
    assert one(at_most(metric, 0.9)).tightest == interval(confusion, 0.05).high
    assert "nobody a member" in fault(at_most(metric, 0.505 if "accuracy" in metric else 0.01))


def test_paired_changes_have_no_foreseeable_limit():
    for metric, what in (("accuracy", "200 test rows"), ("loss.auc", "300 members and 300 non-members")):
        prospect = one(within(0.0, metric=metric))
        assert (prospect.tightest, prospect.fault) == (None, None)
        assert what in prospect.note


@pytest.mark.parametrize("metric", ["density", "artifact.size_bytes", "compression.ratio", "latency.p50_ms"])
def test_changes_that_no_verdict_measures_are_refused(metric):
    assert f"bound on {metric} itself" in fault(within(0.1, metric=metric))


def test_bytes_are_counted():
    assert one(at_most("artifact.size_bytes", 1)).note == "counted, not estimated"
    assert one(at_least("compression.ratio", 20)).note == "counted, not estimated"
    assert one(at_most("latency.p50_ms", 2)).note.startswith("timed")


def test_a_later_opening_certifies_less():
    tightest = [one(at_most("loss.auc", 0.9), levels=Levels(0.05 / 2**opening)).tightest for opening in (1, 2, 5)]
    assert tightest == sorted(tightest)
    assert tightest[0] > 0.5462


def test_all_faults_are_said_at_once():
    with pytest.raises(SpecError) as caught:
        check_feasibility(
            spec(
                at_most("loss.auc", 0.52), at_least("accuracy", 0.9), at_least("accuracy", 0.999),
                at_most("gap.tpr@fpr=0.001", 0.1), at_most("density", 0.01),
            ),
            SPLIT, LEVELS, density=0.1,
        )  # fmt: skip
    assert "4 faults" in str(caught.value)
    assert caught.value.exit_code == 2
    for named in ("loss.auc ≤ 0.52", "accuracy ≥ 0.999", "gap.tpr@fpr=0.001 ≤ 0.1", "density ≤ 0.01"):
        assert f"  - {named}" in str(caught.value)


def test_every_metric_of_a_spec_has_a_prospect():
    """In the spec's order, with a loose bound each."""
    large = noise_split(4500, other=220, num_features=2)
    uncompared = (
        "agreement.drop",
        "density.rise",
        "artifact.size_bytes.rise",
        "compression.ratio.drop",
        "latency.p50_ms.rise",
    )
    metrics = [metric for metric in spec(at_most("loss.auc", 1)).metrics if metric not in uncompared]
    higher = ("accuracy", "accuracy.worst_class", "agreement", "compression.ratio")
    requirements = [(at_least(m, 0.1) if m in higher else at_most(m, 0.99)) for m in metrics]
    prospects = check_feasibility(spec(*requirements), large, LEVELS)
    assert [p.requirement for p in prospects] == requirements
    assert all(p.note for p in prospects)
    assert {p.requirement.metric for p in prospects if p.tightest is not None} == {
        "accuracy", "accuracy.worst_class", "agreement",
        *(f"{attack}.{metric}" for attack in ("loss", "gap") for metric in METRICS),
    } - {"gap.auc"}  # how wide its interval is depends on how many answers are alike  # fmt: skip


def test_the_worst_class_is_certified_by_its_own_rows():
    """220 test rows of four classes are 55 of each."""
    split = noise_split(other=220)
    prospect = one(at_least("accuracy.worst_class", 0.5), split)
    assert prospect.tightest == stats.best_lower_limit(55, 0.05 / 4)
    assert says(prospect.note, "55 test rows", "of 4")
    needed = stats.min_trials_for_lower_bound(0.95, 0.05 / 4)
    assert says(fault(at_least("accuracy.worst_class", 0.95), split), "each class", f"at least {needed}")
    assert "no number of rows" in fault(at_least("accuracy.worst_class", 1.0), split)
    assert "55 test rows" in one(within(0.2, metric="accuracy.worst_class"), split).note
    few = noise_split(other=90)  # all four classes together: no second group
    for requirement in (at_least("accuracy.worst_class", 0.1), within(0.2, metric="accuracy.worst_class")):
        assert says(fault(requirement, few), "two groups", "more rows")


def test_unequal_pools_count_each_for_itself():
    indices = dict(SPLIT.indices)
    indices["nonmember_verdict"] = indices["nonmember_verdict"][:100]
    split = DataSplit.from_indices(SPLIT.dataset, indices)
    prospect = one(at_most("loss.auc", 0.9), split)
    assert prospect.tightest == 0.5 + stats.auc_half_width(300, 100, 0.05)
    assert says(prospect.note, "300 members", "100 non-members")


# --- what a model without a leak passes


HIGH = {
    "auc": lambda scores, is_member: stats.auc_interval(scores, is_member, 0.05).high,
    "balanced_accuracy": lambda scores, is_member: (
        stats.balanced_accuracy_interval(stats.confusion_at(scores, is_member, 0.0), 0.05).high
    ),
    "tpr@fpr=0.01": lambda scores, is_member: stats.tpr_at_fpr_interval(scores, is_member, 0.01, 0.05).high,
}


def share_that_pass(metric, bound, correlation, rows=300, repeats=150):
    """Of simulated models that leak nothing: the limits of four attacks are all within the bound."""
    random, is_member = np.random.default_rng(7), np.arange(2 * rows) < rows
    passed = 0
    for _ in range(repeats):
        own = np.sqrt(1 - correlation) * random.normal(size=(4, 2 * rows))
        scores = np.sqrt(correlation) * random.normal(size=2 * rows) + own
        passed += all(HIGH[metric](each, is_member) <= bound for each in scores)
    return passed / repeats


@pytest.mark.parametrize("metric", HIGH)
@pytest.mark.parametrize("correlation", [0.0, 0.8])
def test_four_in_five_models_without_a_leak_pass_all_bounds_at_passable(metric, correlation):
    """At the tightest certifiable bound hardly any of them does."""
    names, rows = ("loss", "confidence", "entropy", "modified_entropy"), 400
    made = SafetySpec(names, [at_most(f"{name}.{metric}", 0.9) for name in names])
    prospects = check_feasibility(made, noise_split(rows, other=8, num_features=2), LEVELS)
    (bound,) = {prospect.passable for prospect in prospects}
    (tightest,) = {prospect.tightest for prospect in prospects}
    assert share_that_pass(metric, bound, correlation, rows) >= 0.8 - 2 * np.sqrt(0.16 / 150)
    assert share_that_pass(metric, tightest, correlation, rows) < (0.5 if correlation else 0.2)


@pytest.mark.parametrize("metric", ["loss.auc", "loss.balanced_accuracy", "loss.advantage", "loss.tpr@fpr=0.01"])
def test_needed_rows_are_those_with_which_the_bound_is_passable(metric):
    bound = 0.12 if "advantage" in metric else 0.05 if "tpr" in metric else 0.56
    certifier = next(m.certifier for m in MEMBERSHIP.metrics if metric.endswith("." + m.name))
    count = rows_needed(certifier, bound, RowCounts(0), 0.05, 0.8)
    assert certifier.passable(RowCounts(count, count), 0.05, 0.8) <= bound
    assert certifier.passable(RowCounts(count - 1, count - 1), 0.05, 0.8) > bound
    assert rows_needed(certifier, -0.5, RowCounts(0), 0.05, 0.8) is None


def test_more_requirements_on_attacks_make_each_bound_looser_and_others_do_not():
    alone, with_accuracy, two = (
        check_feasibility(spec(*requirements), SPLIT, LEVELS)[0].passable
        for requirements in (
            [at_most("loss.auc", 0.7)],
            [at_most("loss.auc", 0.7), at_least("accuracy", 0.5), within(0.1, metric="loss.auc")],
            [at_most("loss.auc", 0.7), at_most("gap.auc", 0.7)],
        )
    )
    assert alone == with_accuracy < two
    others = check_feasibility(spec(at_least("accuracy", 0.5), within(0.1, metric="loss.auc")), SPLIT, LEVELS)
    assert [(p.passable, p.needed_rows) for p in others] == [(None, None)] * 2


def test_a_bound_tighter_than_passable_says_what_it_takes():
    prospect = one(at_most("loss.auc", 0.55))
    assert prospect.tightest < 0.55 < prospect.passable
    assert says(str(prospect), "80%", f"{prospect.passable:.3f}", f"{prospect.needed_rows} rows in each pool")
    assert "rows in each pool" not in str(one(at_most("loss.auc", 0.7)))
