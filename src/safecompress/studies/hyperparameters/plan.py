"""A Tuning: the inputs of a search for settings, checked before anything is trained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from safecompress.attacks import ATTACKS, Attack
from safecompress.certify.companions import describe_attack
from safecompress.compression.job import Job
from safecompress.data import DataSplit, one_row_per_unit
from safecompress.digests import digest_json
from safecompress.errors import UsageError
from safecompress.metrics.catalogue import ACCURACY
from safecompress.spec import SafetySpec, at_least
from safecompress.studies.engine import check_shadows, check_single_version
from safecompress.studies.hyperparameters.sampler import Sampler
from safecompress.studies.hyperparameters.space import Space, TrialParams

DEFAULT_ATTACKS = ("gap", "loss", "confidence", "entropy", "modified_entropy", "neural")
"""The attacks on a trial unless the spec names others: they take seconds and no shadow models."""

SEALED = ("test", "member_verdict", "nonmember_verdict")
"""Parts that no trial is given."""


@dataclass(frozen=True, eq=False)
class Tuning:
    """The inputs of a search: a ``job`` whose settings are varied within ``space``, and the ``attacks`` on each trial.

    ``trials`` are drawn in batches of ``batch``, whatever the number of workers, so that results depend on neither
    timing nor machine. Every trial runs on ``threads`` threads.
    """

    job: Job
    space: Space
    attacks: tuple[Attack, ...]
    trials: int = 20
    batch: int = 4
    sampler: Sampler = "tpe"
    threads: int = 1

    def check(self) -> None:
        """Raise, before anything is trained, what would fail in every trial: UsageError and its kinds."""
        counts = {"trials": self.trials, "batch": self.batch, "threads": self.threads}
        for name, count in counts.items():
            if count < 1:
                raise UsageError(f"{name} must be at least 1, got {count}.")
        check_attacks(self.attacks, self.job.spec)
        for params in self.space.extremes():
            job = self.space.apply(params, self.job)
            try:
                job.check()
            except UsageError as error:
                raise UsageError(f"With {params}: {error}") from error
            has_reference, evidence = job.reference is not None, one_row_per_unit(job.raw)
            check_shadows(self.attacks, evidence, "select", job.seed, has_reference=has_reference)

    def sealed(self) -> Tuning:
        """The same without test and verdict rows, and without requirements: no figure of a trial depends on them."""
        spec, job = self.job.spec, self.job
        judged = SafetySpec(spec.attacks, [at_least(ACCURACY.name, 0.0)], alpha=spec.alpha, access=spec.access)
        return replace(self, job=replace(job, split=_without(job.split), raw=_without(job.raw), spec=judged))

    def digest(self, params: TrialParams) -> str:
        """Identifies the trial of ``params`` in one folder."""
        objective, branches = self.space.objectives[params.objective], self.space.branches[params.branches]
        return digest_json([params.density, params.learning_rate, repr(objective), repr(branches)])[:40]

    def identity(self, key: bytes) -> str:
        """What all trials of one folder share; rows enter it keyed with ``key``."""
        return digest_json(["tune", self.job.digest(key), list(map(describe_attack, self.attacks)), self.threads])


def check_attacks(attacks: Sequence[Attack], spec: SafetySpec) -> None:
    """Raise UsageError for no attack, one beyond the spec's access, and one that joins several versions."""
    if not attacks:
        raise UsageError("A search needs at least one attack.")
    beyond = [attack.name for attack in attacks if attack.access > spec.access]
    if beyond:
        raise UsageError(
            f"{', '.join(beyond)} needs more than the access of the spec, {spec.access.name.lower()}: leave it out, "
            "or raise [safety] access."
        )
    check_single_version(attacks, "a trial has one")


def default_attacks(spec: SafetySpec) -> tuple[Attack, ...]:
    """Those of DEFAULT_ATTACKS that the spec's access allows."""
    return tuple(attack for attack in map(ATTACKS.make, DEFAULT_ATTACKS) if attack.access <= spec.access)


def _without(split: DataSplit) -> DataSplit:
    """``split`` with the sealed parts empty: to read one of them is an error, not a slip."""
    nothing = np.empty(0, dtype=np.int64)
    return replace(split, indices={part: nothing if part in SEALED else rows for part, rows in split.indices.items()})
