"""Scaling: a shift and a scale for features, fitted on rows or on pixels, and applied to every row alike."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from safecompress.errors import DataError


@dataclass(frozen=True, slots=True, eq=False)
class Scaler:
    """``(features - shift) / scale``; both float32 of the shape of one row, (C, 1, 1) for images, or scalars.

    ``scale`` is never 0.
    """

    shift: torch.Tensor = field(repr=False)
    scale: torch.Tensor = field(repr=False)

    @classmethod
    def fit(cls, features: Tensor) -> Scaler:
        """Mean and population standard deviation over the rows of ``features`` (N, ...); scale 1 for a constant column.

        Images (N, C, H, W) have one of each for a channel: values are of one kind, and a device has less to hold.
        Raises DataError when there are no rows.
        """
        _require_rows(features)
        exact = features.double()
        over = (0, 2, 3) if features.ndim == 4 else (0,)
        shift = exact.mean(over, keepdim=True)[0].float()
        scale = exact.std(over, correction=0, keepdim=True)[0].float()
        return cls._of(shift, scale)

    @classmethod
    def fit_pixels(cls, pixels: torch.Tensor) -> Scaler:
        """The same for ``pixels`` (N, C, H, W) uint8, read as values 0 .. 1: by counting, without a copy as floats.

        Raises DataError when there are no rows.
        """
        _require_rows(pixels)
        counts_CV = torch.stack([torch.bincount(pixels[:, c].flatten(), minlength=256) for c in range(pixels.shape[1])])
        values_V = torch.arange(256, dtype=torch.float32).div(255).double()
        shares_CV = counts_CV.double() / counts_CV.sum(1, keepdim=True)
        shift_C = (shares_CV * values_V).sum(1)
        scale_C = (shares_CV * (values_V - shift_C[:, None]) ** 2).sum(1).sqrt()
        scale_C[(counts_CV > 0).sum(1) == 1] = 0  # a constant channel, whatever its mean was rounded to
        return cls._of(shift_C.float()[:, None, None], scale_C.float()[:, None, None])

    @classmethod
    def identity(cls) -> Scaler:
        """The scaler that changes nothing, for rows of any shape."""
        return cls(torch.zeros(()), torch.ones(()))

    def apply(self, features: Tensor) -> torch.Tensor:
        """The scaled copy of ``features`` (N, ...). Raises DataError when its rows have another shape."""
        self._require_shape(features)
        return (features - self.shift) / self.scale

    def apply_(self, features: Tensor) -> torch.Tensor:
        """``features`` (N, ...), scaled in place. Raises DataError as ``apply`` does."""
        self._require_shape(features)
        return features.sub_(self.shift).div_(self.scale)

    def _require_shape(self, features: Tensor) -> None:
        wanted = (self.shift.shape[0], *features.shape[2:]) if self.shift.ndim == 3 else self.shift.shape
        if self.shift.ndim and (features.ndim != self.shift.ndim + 1 or features.shape[1:] != wanted):
            raise DataError(
                f"This scaler was fitted on rows of shape {tuple(self.shift.shape)}, but got rows of shape "
                f"{tuple(features.shape[1:])}. Give rows as the model was trained on, or fit a new scaler."
            )

    @classmethod
    def _of(cls, shift: torch.Tensor, scale: torch.Tensor) -> Scaler:
        return cls(shift, torch.where(scale == 0, torch.ones_like(scale), scale))


def _require_rows(features: Tensor) -> None:
    if len(features) == 0:
        raise DataError("A scaler needs rows to fit, but got none. Give the features of the train part.")
