"""Augmentation: each time training sees an image it sees another variant of it; nothing else ever does.

Attacks, tests and teachers ask a model through one fixed transform (see attacks/queries.py): members that were queried
through the augmentation, beside non-members that were not, would give away the augmentation and not the membership.
"""

# B images of a batch, C channels, H height, W width.

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor
from torch.nn.functional import pad

from safecompress.errors import UsageError
from safecompress.ranges import require_whole, require_within
from safecompress.registry import Registry
from safecompress.seeding import derive_seed


@runtime_checkable  # what reads a spec checks options by their types
class Augmentation(Protocol):
    """A frozen value that makes variants of a batch of images; its ``repr`` is part of a run's identity.

    A row's variant depends on that row and on its own draws only (private training rests on that), and has the row's
    shape. All draws come from ``lots``, a generator on the CPU that is seeded for every step.
    """

    def __call__(self, images_BCHW: Tensor, lots: torch.Generator) -> Tensor:
        """Variants (B, C, H, W) of the images, which are left as they are."""
        ...


@dataclass(frozen=True)
class Flip:
    """Mirrors an image left to right, with ``probability``. Leave it out where sides mean something (digits, text)."""

    probability: float = 0.5

    def __post_init__(self) -> None:
        require_within(self, "probability", least=0, most=1, advice="It is the share of images that are mirrored.")

    def __call__(self, images_BCHW: Tensor, lots: torch.Generator) -> Tensor:
        """The images, some of them mirrored."""
        is_flipped_B = torch.rand(len(images_BCHW), generator=lots).to(images_BCHW.device) < self.probability
        return torch.where(is_flipped_B[:, None, None, None], images_BCHW.flip(3), images_BCHW)


@dataclass(frozen=True)
class Crop:
    """Shifts an image by up to ``padding`` pixels each way: padded with zeros, then cropped to its size at random.

    Zero is what the model reads: an average pixel of its channel where the data is standardised, else black. Padding 4
    is what CIFAR networks are trained with (He et al. 2016, section 4.2).
    """

    padding: int = 4

    def __post_init__(self) -> None:
        require_whole(self, "padding", least=1, advice="It is the farthest shift, in pixels.")

    def __call__(self, images_BCHW: Tensor, lots: torch.Generator) -> Tensor:
        """The images, shifted."""
        count, _, height, width = images_BCHW.shape
        shifts_2B = torch.randint(2 * self.padding + 1, (2, count), generator=lots).to(images_BCHW.device)
        windows = pad(images_BCHW, [self.padding] * 4).unfold(2, height, 1).unfold(3, width, 1)
        rows_B = torch.arange(count, device=images_BCHW.device)
        return windows[rows_B, :, shifts_2B[0], shifts_2B[1]]


@dataclass(frozen=True)
class Cutout:
    """Sets a square of ``size`` x ``size`` pixels to zero, its middle anywhere in the image (DeVries, Taylor 2017)."""

    size: int = 8

    def __post_init__(self) -> None:
        require_whole(self, "size", least=1, advice="It is the side of the square, in pixels.")

    def __call__(self, images_BCHW: Tensor, lots: torch.Generator) -> Tensor:
        """The images, each with a square missing; at an edge a part of it."""
        count, _, *sides = images_BCHW.shape
        middles = [torch.randint(side, (count, 1), generator=lots) for side in sides]
        firsts = [middle - self.size // 2 for middle in middles]
        inside_BH, inside_BW = (
            (torch.arange(side) >= first) & (torch.arange(side) < first + self.size)
            for side, first in zip(sides, firsts, strict=True)
        )
        is_cut_BHW = (inside_BH[:, :, None] & inside_BW[:, None, :]).to(images_BCHW.device)
        return images_BCHW.masked_fill(is_cut_BHW[:, None], 0.0)


AUGMENTATIONS: Registry[Augmentation] = Registry(
    "augmentation", "safecompress.augmentations", {"flip": Flip, "crop": Crop, "cutout": Cutout}
)


def augmented(images_BCHW: Tensor, augmentations: Sequence[Augmentation], seed: int, step: int) -> Tensor:
    """The images after all ``augmentations``, one after another; what is drawn depends on ``seed`` and ``step`` alone.

    The draws have a stream of their own, so that dropout and mixing draw the same with and without augmentation.
    """
    if not augmentations:
        return images_BCHW
    lots = torch.Generator().manual_seed(derive_seed(seed, "augment", step))
    for augmentation in augmentations:
        images_BCHW = augmentation(images_BCHW, lots)
    return images_BCHW


def check_images(features: Tensor, augmentations: Sequence[Augmentation]) -> None:
    """Raise UsageError when rows that are no images (N, C, H, W) are to be augmented."""
    if not augmentations:
        return
    if features.ndim != 4 or not features.is_floating_point():
        raise UsageError(
            f"The recipe augments images by {', '.join(map(repr, augmentations))}, and these rows are "
            f"{str(features.dtype).removeprefix('torch.')} of shape {tuple(features.shape[1:])}, not (channels, "
            "height, width) of real numbers. Take augment out of [recipe], or give the data its images' shape."
        )
