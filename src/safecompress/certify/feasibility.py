"""What the verdict rows can certify at best, worked out before anything is trained."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from safecompress.attacks import Access, capabilities_of
from safecompress.attacks.capabilities import Capabilities
from safecompress.data import DataSplit
from safecompress.errors import SpecError
from safecompress.metrics.catalogue import ACCURACY, AUC, DENSITY, LATENCY, MetricName, parse_name
from safecompress.metrics.certifiers import RowCounts
from safecompress.metrics.measurement import Levels
from safecompress.spec import Requirement, SafetySpec


@dataclass(frozen=True, slots=True)
class Feasibility:
    """For one requirement the tightest bound that these rows could certify.

    ``tightest`` is the confidence limit of a model that leaks nothing (or makes no mistake); None for figures
    that are counted, or whose interval depends on the outcome. ``fault`` says why no outcome could pass but by luck: a
    model that leaks nothing would have to be measured to leak less than nothing.
    """

    requirement: Requirement
    tightest: float | None
    note: str
    fault: str | None = None


def check_feasibility(
    spec: SafetySpec, split: DataSplit, levels: Levels, *, density: float | None = None
) -> tuple[Feasibility, ...]:
    """The feasibility of every requirement. Raises SpecError, with all faults, when one could pass by luck only."""
    binary = {AUC.of(attack.name) for attack in spec.attacks if attack.access is Access.LABELS}
    asked = {attack.name: capabilities_of(attack) for attack in spec.attacks}
    feasibilities = tuple(
        Feasibility(requirement, None, "the more answers are alike, the tighter")
        if requirement.metric in binary
        else _feasibility_of(requirement, split, asked, levels.alpha, density)
        for requirement in spec.requirements
    )
    faults = [feasibility.fault for feasibility in feasibilities if feasibility.fault]
    if faults:
        raise SpecError.from_faults("The spec asks for what this data could not certify, except by luck", faults)
    return feasibilities


def _feasibility_of(
    requirement: Requirement,
    split: DataSplit,
    asked: Mapping[str, Capabilities],
    alpha: float,
    density: float | None,
) -> Feasibility:
    name = parse_name(requirement.metric)
    if name is None:  # of a question that brings metrics of its own
        return Feasibility(requirement, None, "nothing is known of how rows certify it")
    if name.is_change:
        return _of_change(requirement, name, split, asked)
    if name.metric is DENSITY:
        return _of_density(requirement, density)
    certifier = name.metric.certifier
    if certifier is None:
        note = "timed on this machine" if name.metric is LATENCY else "counted, not estimated"
        return Feasibility(requirement, None, note)
    rows = _rows(name, split, asked)
    fault = certifier.fault(requirement.bound, rows, alpha)
    return Feasibility(
        requirement,
        certifier.tightest(rows, alpha),
        certifier.describe(rows),
        None if fault is None else f"{requirement}: {fault}",
    )


def _rows(name: MetricName, split: DataSplit, asked: Mapping[str, Capabilities]) -> RowCounts:
    """The rows that the verdict measures the figure on."""
    if name.attack is None:
        return RowCounts(split.size("test"))
    attack = asked[name.attack]
    return replace(attack.question.count_rows(split, "verdict"), shadows=attack.num_shadows)


def _of_change(
    requirement: Requirement, name: MetricName, split: DataSplit, asked: Mapping[str, Capabilities]
) -> Feasibility:
    if not name.metric.is_compared:
        plain = requirement.metric.rpartition(".")[0]
        fault = f"{requirement}: nothing measures it; set a bound on {plain} itself"
        return Feasibility(requirement, None, "counted, and not compared with the dense model", fault)
    assert name.metric.certifier is not None  # as every metric that is compared has
    rows = name.metric.certifier.describe(_rows(name, split, asked))
    what = "err" if name.metric is ACCURACY else "leak"
    return Feasibility(requirement, None, f"{rows}; the more alike two models {what}, the tighter")


def _of_density(requirement: Requirement, density: float | None) -> Feasibility:
    fault = None
    if density is not None and requirement.bound < density:
        fault = f"{requirement}: the plan keeps density {density:g}; lower it, or raise the bound"
    return Feasibility(requirement, density, "counted, not estimated", fault)
