"""What the verdict rows can certify at best, said before anything is trained."""

from __future__ import annotations

from dataclasses import dataclass

from safecompress import stats
from safecompress.attacks import Access
from safecompress.data import DataSplit
from safecompress.errors import SpecError
from safecompress.measure import Levels
from safecompress.spec import TASK_METRICS, Requirement, SafetySpec
from safecompress.spec.requirement import change_suffix

UNCOMPARED = tuple(metric + change_suffix(metric) for metric in TASK_METRICS if metric != "accuracy")
"""Changes of counted figures: a spec can name them, but a verdict does not measure them."""


@dataclass(frozen=True, slots=True)
class Prospect:
    """For one requirement the tightest bound that these rows could certify, and what more rows would need to be.

    ``tightest`` is the limit that a model which leaks nothing (or makes no mistake) would be given; None for figures
    that are counted, or whose interval depends on the outcome. ``fault`` says why no outcome could pass but by luck: a
    model that leaks nothing would have to be measured to leak less than nothing.
    """

    requirement: Requirement
    tightest: float | None
    note: str
    fault: str | None = None


def foresee(
    spec: SafetySpec, split: DataSplit, levels: Levels, *, density: float | None = None
) -> tuple[Prospect, ...]:
    """A prospect for every requirement. Raises SpecError, with all faults, when one could not pass but by luck."""
    binary = {f"{attack.name}.auc" for attack in spec.attacks if attack.access is Access.LABELS}
    prospects = tuple(
        Prospect(requirement, None, "the more answers are alike, the tighter")
        if requirement.metric in binary
        else _prospect(requirement, split, levels, density)
        for requirement in spec.requirements
    )
    faults = [prospect.fault for prospect in prospects if prospect.fault]
    if faults:
        raise SpecError.from_faults("The spec asks for what this data could not certify, except by luck", faults)
    return prospects


def _prospect(requirement: Requirement, split: DataSplit, levels: Levels, density: float | None) -> Prospect:
    metric, alpha = requirement.metric, levels.alpha
    if metric == "accuracy":
        return _of_accuracy(requirement, split.size("test"), alpha)
    if metric == "density":
        return _of_density(requirement, density)
    if metric == "accuracy.drop":
        return Prospect(
            requirement, None, f"{split.size('test')} test rows; the more alike two models err, the tighter"
        )
    if metric in UNCOMPARED:
        fault = f"{requirement}: nothing measures it; set a bound on {metric.rpartition('.')[0]} itself"
        return Prospect(requirement, None, "counted, and not compared with the dense model", fault)
    members, non_members = split.size("member_verdict"), split.size("nonmember_verdict")
    if metric.endswith(".rise"):
        return Prospect(
            requirement, None, f"{_pools(members, non_members)}; the more alike two models leak, the tighter"
        )
    if metric.endswith(".auc"):
        return _of_auc(requirement, members, non_members, alpha)
    if metric.endswith((".balanced_accuracy", ".advantage")):
        return _of_guessing(requirement, members, non_members, alpha)
    if ".tpr@fpr=" in metric:
        return _of_tpr(requirement, members, non_members, alpha)
    if metric == "latency.p50_ms":
        return Prospect(requirement, None, "timed on this machine")
    return Prospect(requirement, None, "counted, not estimated")


def _of_accuracy(requirement: Requirement, num_rows: int, alpha: float) -> Prospect:
    tightest, fault = stats.best_lower_limit(num_rows, alpha), None
    if requirement.bound > tightest:
        remedy = "no number of rows certifies 1"
        if requirement.bound < 1:
            remedy = f"give it at least {stats.min_trials_for_lower_bound(requirement.bound, alpha)} rows"
        fault = f"{requirement}: {num_rows} test rows, all right, certify only {tightest:.4g}; {remedy}"
    return Prospect(requirement, tightest, f"{num_rows} test rows", fault)


def _of_density(requirement: Requirement, density: float | None) -> Prospect:
    fault = None
    if density is not None and requirement.bound < density:
        fault = f"{requirement}: the plan keeps density {density:g}; lower it, or raise the bound"
    return Prospect(requirement, density, "counted, not estimated", fault)


def _of_auc(requirement: Requirement, members: int, non_members: int, alpha: float) -> Prospect:
    tightest, fault = 0.5 + stats.auc_half_width(members, non_members, alpha), None
    if requirement.bound < tightest:
        remedy = "the bound must lie above 0.5"
        if requirement.bound > 0.5:
            needed = stats.min_rows_for_auc(requirement.bound - 0.5, alpha)
            remedy = (
                f"it takes {needed} of each: set member_verdict and nonmember_verdict in [data], or loosen the bound"
            )
        fault = (
            f"{requirement}: a model that leaks nothing would be certified {tightest:.4g} "
            f"({_pools(members, non_members)}, alpha {alpha:g}, halved at each further opening); "
            f"{remedy}"
        )
    return Prospect(requirement, tightest, _pools(members, non_members), fault)


def _of_guessing(requirement: Requirement, members: int, non_members: int, alpha: float) -> Prospect:
    interval = stats.balanced_accuracy_interval
    if requirement.metric.endswith(".advantage"):
        interval = stats.advantage_interval
    tightest = interval(stats.Confusion(0, members, 0, non_members), alpha).high
    fault = None
    if requirement.bound < tightest:
        fault = (
            f"{requirement}: even an attack that calls nobody a member would be certified {tightest:.4g} "
            f"({_pools(members, non_members)}); use more verdict rows, or another bound"
        )
    return Prospect(requirement, tightest, _pools(members, non_members), fault)


def _of_tpr(requirement: Requirement, members: int, non_members: int, alpha: float) -> Prospect:
    fpr = float(requirement.metric.rpartition("=")[2])
    needed = stats.min_non_members(fpr, alpha)
    tightest, fault = stats.best_tpr_upper_limit(members, non_members, fpr, alpha), None
    if non_members < needed:
        fault = (
            f"{requirement}: a false positive rate of {fpr:g} is certified from {needed} non-members on, and "
            f"nonmember_verdict has {non_members}; the figure is reported, but cannot be required"
        )
    elif requirement.bound < tightest:
        fault = (
            f"{requirement}: even an attack that catches nobody would be certified {tightest:.4g} "
            f"({_pools(members, non_members)})"
        )
    return Prospect(requirement, tightest, _pools(members, non_members), fault)


def _pools(members: int, non_members: int) -> str:
    return f"{members} members and {non_members} non-members in the verdict pools"
