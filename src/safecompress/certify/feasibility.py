"""What the verdict rows can certify at best, worked out before anything is trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from safecompress.attacks import MEMBERSHIP, Access, capabilities_of
from safecompress.attacks.capabilities import Capabilities
from safecompress.certify.who_pays import NO_GROUPS, class_groups
from safecompress.data import DataSplit
from safecompress.errors import SpecError
from safecompress.metrics.catalogue import (
    AUC,
    CANARIES,
    DENSITY,
    LATENCY,
    WORST_CLASS,
    MetricName,
    parse_name,
)
from safecompress.metrics.certifiers import MOST_ROWS, Certifier, RowCounts, rows_needed
from safecompress.metrics.measurement import Levels
from safecompress.spec import Requirement, SafetySpec

JOINT_CHANCE = 0.8
"""The probability at which a model that leaks nothing should pass all requirements on attacks together."""


@dataclass(frozen=True, slots=True)
class Feasibility:
    """For one requirement the tightest bound that these rows could certify.

    ``tightest`` is the confidence limit of a model that leaks nothing (or makes no mistake); None for figures
    that are counted, or whose interval depends on the outcome. ``fault`` says why no outcome could pass but by luck: a
    model that leaks nothing would have to be measured to leak less than nothing.

    A model that leaks nothing is measured to leak a little about half of the time. With probability `JOINT_CHANCE` it
    passes every requirement on attacks, if each bound is ``passable`` or looser; for the bound that is asked for it
    would take ``needed_rows`` in each pool. Both are None for what has nothing to do with leaks, and for changes.
    """

    requirement: Requirement
    tightest: float | None
    note: str
    fault: str | None = None
    passable: float | None = None
    needed_rows: int | None = None

    def to_json(self) -> dict[str, object]:
        """As reports have it."""
        return {
            "requirement": str(self.requirement),
            "tightest": self.tightest,
            "passable": self.passable,
            "needed_rows": self.needed_rows,
            "note": self.note,
        }

    def __str__(self) -> str:
        words = [] if self.tightest is None else [f"the tightest certifiable is {self.tightest:.4g}"]
        if self.passable is not None:
            words.append(f"without a leak {JOINT_CHANCE:.0%} pass at {self.passable:.3f}, with all bounds on attacks")
            if self.passable > self.requirement.bound:
                needed = f"over {MOST_ROWS:,}" if self.needed_rows is None else f"{self.needed_rows:,}"
                rows = "canaries" if self._is_of_canaries() else "rows in each pool"
                words[-1] += f" (at {self.requirement.bound:g} it takes {needed} {rows})"
        return f"{self.requirement}: {'; '.join([*words, self.note])}"

    def _is_of_canaries(self) -> bool:
        name = parse_name(self.requirement.metric)
        return name is not None and name.metric is CANARIES


def check_feasibility(
    spec: SafetySpec, split: DataSplit, levels: Levels, *, density: float | None = None
) -> tuple[Feasibility, ...]:
    """The feasibility of every requirement. Raises SpecError, with all faults, when one could pass by luck only."""
    binary = {AUC.of(attack.name) for attack in spec.attacks if attack.access is Access.LABELS}
    asked = {attack.name: capabilities_of(attack) for attack in spec.attacks}
    at_best = [
        Feasibility(requirement, None, "the more answers are alike, the tighter")
        if requirement.metric in binary
        else _feasibility_of(requirement, split, asked, levels.alpha, density)
        for requirement in spec.requirements
    ]
    feasibilities = _with_chances(at_best, split, asked, levels.alpha)
    faults = [feasibility.fault for feasibility in feasibilities if feasibility.fault]
    if faults:
        raise SpecError.from_faults("The spec asks for what this data could not certify, except by luck", faults)
    return feasibilities


def _with_chances(
    feasibilities: Sequence[Feasibility], split: DataSplit, asked: Mapping[str, Capabilities], alpha: float
) -> tuple[Feasibility, ...]:
    """Each with the bound that a model without leaks passes: of m attacks' with probability 0.8^(1/m).

    That is exact for attacks that err independently; where they err together, more pass.
    """
    leaks = [_leak_of(feasibility, asked) for feasibility in feasibilities]
    chance = JOINT_CHANCE ** (1 / max(1, sum(leak is not None for leak in leaks)))
    found = []
    for feasibility, leak in zip(feasibilities, leaks, strict=True):
        if leak is None:
            found.append(feasibility)
            continue
        name, certifier = leak
        rows = _rows(name, split, asked)
        passable = certifier.passable(rows, alpha, chance)
        needed = rows_needed(certifier, feasibility.requirement.bound, rows, alpha, chance)
        found.append(replace(feasibility, passable=passable, needed_rows=needed))
    return tuple(found)


def _leak_of(feasibility: Feasibility, asked: Mapping[str, Capabilities]) -> tuple[MetricName, Certifier] | None:
    """The figure and its certifier, where it says how much of the training rows an attack finds."""
    name = parse_name(feasibility.requirement.metric)
    if name is None or name.attack is None or name.is_change or asked[name.attack].question.name != MEMBERSHIP.name:
        return None
    return None if name.metric.certifier is None else (name, name.metric.certifier)


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
        sizes = tuple(one.num_rows for one in class_groups(split, "test")) if name.metric is WORST_CLASS else ()
        return RowCounts(split.size("test"), groups=sizes)
    attack = asked[name.attack]
    if name.metric is CANARIES:
        return RowCounts(split.size("canaries"), split.size("canary_twins"), attack.num_shadows)
    return replace(attack.question.count_rows(split, "verdict"), shadows=attack.num_shadows)


def _of_change(
    requirement: Requirement, name: MetricName, split: DataSplit, asked: Mapping[str, Capabilities]
) -> Feasibility:
    if not name.metric.is_compared:
        plain = requirement.metric.rpartition(".")[0]
        unmeasured = f"{requirement}: nothing measures it; set a bound on {plain} itself"
        return Feasibility(requirement, None, "counted, and not compared with the dense model", unmeasured)
    assert name.metric.certifier is not None  # as every metric that is compared has
    rows = _rows(name, split, asked)
    what = "err" if name.attack is None else "leak"
    note = f"{name.metric.certifier.describe(rows)}; the more alike two models {what}, the tighter"
    has_none = name.metric is WORST_CLASS and len(rows.groups) < 2
    return Feasibility(requirement, None, note, f"{requirement}: {NO_GROUPS}" if has_none else None)


def _of_density(requirement: Requirement, density: float | None) -> Feasibility:
    fault = None
    if density is not None and requirement.bound < density:
        fault = f"{requirement}: the plan keeps density {density:g}; lower it, or raise the bound"
    return Feasibility(requirement, density, "counted, not estimated", fault)
