"""Whether rows that the model never saw have nearly equal rows in train, as several rows of one person are."""

from __future__ import annotations

from safecompress.certify.health.check import HealthCheck
from safecompress.data import DataSplit
from safecompress.data.near_rows import ADVICE, near_rows_of_split
from safecompress.spec import Verdict


def near_duplicates(split: DataSplit) -> HealthCheck:
    """How many of the rows outside train have a nearly equal row there, beyond chance; too many are INCONCLUSIVE.

    Such rows are half known to the model, so that they pass for members and members pass for them. Rows of one group,
    and equal rows, never stand on both sides of a split, so a column of groups mends it.
    """
    name, subject = "near_duplicates", "data"
    seen = near_rows_of_split(split)
    if seen is None:
        return HealthCheck(name, subject, Verdict.PASS, None, "there are too few rows to tell near from far.")
    words = f"{max(0.0, seen.share):.0%} of the rows outside train have a nearly equal row in it, beyond chance"
    if seen.are_many:
        return HealthCheck(name, subject, Verdict.INCONCLUSIVE, seen.share, f"{words}. {ADVICE}")
    return HealthCheck(name, subject, Verdict.PASS, seen.share, f"{words}.")
