"""A Report: the evidence of one run as plain data: aggregates, digests and versions; no row, score or label."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

SCHEMA_VERSION = 4
"""What is written. Version 3 added ``exposure``, ``speed``, ``command`` and ``search.layers``; version 4 ``record``,
``who_pays``, and in ``findings`` what a bound means and who chose it."""

READABLE = (2, 3, SCHEMA_VERSION)
"""What is read: a report of an older version lacks what was added."""


@dataclass(frozen=True)
class Report:
    """The result of a run or an audit. Every field is JSON: dicts, lists, strings, numbers.

    ``measurements`` and ``dense`` are the verdict figures of the artifact and of the dense model, by metric. Seconds
    (``seconds``) lie outside all ``digests``. ``search`` says how the artifact was found (plan, recipe, rounds); it is
    empty for an artifact that was only audited. ``attacks`` are the verdict's attacks with all their options,
    ``access`` what the attacker is given, ``shadows`` how shadow models were trained. ``health`` are the checks of the
    attacks and of the data; ``doubts`` say, beside the findings, why the verdict cannot be PASS.
    ``dense_verdicts`` are what the same requirements say of the dense model; ``epsilon`` are lower limits on each
    attack's epsilon per sample. ``trained`` and ``trained_verdicts`` are those of the model before it was packed; empty
    where packing (removed units, rounded weights) changed nothing. ``exposure`` says whom the attacks find: ROCs on a
    grid, classes apart, the most exposed rows; no figure of it stands for fewer than twenty rows. ``speed`` is what
    `runtime.bench` measured, ``command`` the command that reproduces the report; both may be missing. ``record`` says
    what was judged when: date, data, rows, columns, where the weights come from, the spec. ``who_pays`` has the
    accuracy of each class on test rows, beside the dense model's.

    The JSON has a schema: ``report.schema.json`` beside this page, or ``safecompress report --schema``.
    """

    name: str
    version: str
    verdict: str
    exit_code: int
    claim: str
    findings: Sequence[Mapping[str, Any]]
    measurements: Mapping[str, Mapping[str, Any]]
    dense: Mapping[str, Mapping[str, Any]]
    tm_score: Mapping[str, float | None]
    errors: Mapping[str, str]
    ledger: Mapping[str, Any]
    prospects: Sequence[Mapping[str, Any]]
    artifact: Mapping[str, Any]
    search: Mapping[str, Any]
    split: Mapping[str, Any]
    digests: Mapping[str, Any]
    environment: Mapping[str, Any]
    seconds: Mapping[str, float]
    notes: Sequence[str] = field(default_factory=list)
    attacks: Mapping[str, str] = field(default_factory=dict)
    access: str = "WEIGHTS"
    shadows: str | None = None
    health: Sequence[Mapping[str, Any]] = ()
    doubts: Sequence[str] = ()
    dense_verdicts: Mapping[str, str] = field(default_factory=dict)
    epsilon: Mapping[str, float] = field(default_factory=dict)
    trained: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    trained_verdicts: Mapping[str, str] = field(default_factory=dict)
    exposure: Mapping[str, Any] = field(default_factory=dict)
    speed: Mapping[str, Any] | None = None
    command: str | None = None
    record: Mapping[str, Any] = field(default_factory=dict)
    who_pays: Sequence[Mapping[str, Any]] = ()
    schema_version: int = SCHEMA_VERSION

    @property
    def arms(self) -> Sequence[Mapping[str, Any]]:
        """The arms that were compared, the safest settings first."""
        arms: Sequence[Mapping[str, Any]] = self.search.get("arms", ())
        return arms

    @property
    def rounds(self) -> Sequence[Mapping[str, Any]]:
        """The rounds of the search, in order."""
        rounds: Sequence[Mapping[str, Any]] = self.search.get("rounds", ())
        return rounds

    def to_json(self) -> dict[str, Any]:
        """The report as a JSON object."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Report:
        """The report that `to_json` gave. Raises KeyError or TypeError for anything else."""
        return cls(**data)
