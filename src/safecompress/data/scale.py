"""Standardisation: mean and spread of the train rows, applied to every row alike."""

from __future__ import annotations

from dataclasses import replace

import torch

from safecompress.data.scaler import Scaler
from safecompress.data.splits import DataSplit
from safecompress.errors import DataError


def standardise(split: DataSplit) -> tuple[DataSplit, Scaler]:
    """The same split over features scaled by the train rows, and the scaler; no other row influences it.

    Pixels stay as they are and are scaled where they are read; a split of other features holds a scaled copy,
    which no longer is what the schema of a table makes of its cells.

    Keyed digests are of content: a ledger that must know a row again takes them from the split that came in.
    Raises DataError for tokens.
    """
    if split.dataset.is_tokens:
        raise DataError(
            f"The rows of {split.dataset.name!r} are tokens, numbers of words, and have no mean or spread. Leave "
            'them as they are: normalise = "none".'
        )
    dataset = split.dataset
    if dataset.is_pixels:
        scaler = Scaler.fit_pixels(dataset.stored[torch.tensor(split.indices["train"])])
        return replace(split, dataset=replace(dataset, scaler=scaler)), scaler
    scaler = Scaler.fit(split.part("train")[0])
    return replace(split, dataset=replace(dataset, stored=scaler.apply(dataset.stored), table=None)), scaler
