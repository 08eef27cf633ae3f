"""Standardisation: mean and spread of the train rows, applied to every row alike."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import torch

from safecompress.data.splits import DataSplit
from safecompress.errors import DataError


@dataclass(frozen=True, slots=True, eq=False)
class Scaler:
    """``(features - shift) / scale``; both float32 of the shape of one row, (C, 1, 1) for images, or scalars.

    ``scale`` is never 0.
    """

    shift: torch.Tensor = field(repr=False)
    scale: torch.Tensor = field(repr=False)

    @classmethod
    def fit(cls, features: torch.Tensor) -> Scaler:
        """Mean and population standard deviation over the rows of ``features`` (N, ...); scale 1 for a constant column.

        Images (N, C, H, W) have one of each for a channel: pixels are of one kind, and a device has less to hold.
        Raises DataError when there are no rows.
        """
        if len(features) == 0:
            raise DataError("A scaler needs rows to fit, but got none. Give the features of the train part.")
        exact = features.double()
        over = (0, 2, 3) if features.ndim == 4 else (0,)
        shift = exact.mean(over, keepdim=True)[0].float()
        scale = exact.std(over, correction=0, keepdim=True)[0].float()
        return cls(shift, torch.where(scale == 0, torch.ones_like(scale), scale))

    @classmethod
    def identity(cls) -> Scaler:
        """The scaler that changes nothing, for rows of any shape."""
        return cls(torch.zeros(()), torch.ones(()))

    def apply(self, features: torch.Tensor) -> torch.Tensor:
        """The scaled copy of ``features`` (N, ...). Raises DataError when its rows have another shape."""
        wanted = (self.shift.shape[0], *features.shape[2:]) if self.shift.ndim == 3 else self.shift.shape
        if self.shift.ndim and (features.ndim != self.shift.ndim + 1 or features.shape[1:] != wanted):
            raise DataError(
                f"This scaler was fitted on rows of shape {tuple(self.shift.shape)}, but got rows of shape "
                f"{tuple(features.shape[1:])}. Give rows as the model was trained on, or fit a new scaler."
            )
        return (features - self.shift) / self.scale


def standardise(split: DataSplit) -> tuple[DataSplit, Scaler]:
    """The same split over features scaled by the train rows, and the scaler; no other row influences it.

    Keyed digests are of content: a ledger that must know a row again takes them from the split that came in.
    Raises DataError for tokens.
    """
    if split.dataset.is_tokens:
        raise DataError(
            f"The rows of {split.dataset.name!r} are tokens, numbers of words, and have no mean or spread. Leave "
            'them as they are: normalise = "none".'
        )
    scaler = Scaler.fit(split.part("train")[0])
    scaled = replace(split.dataset, features=scaler.apply(split.dataset.features))
    return replace(split, dataset=scaled), scaler
