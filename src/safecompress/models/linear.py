"""Hidden linear layers with batch norm, as the papers' convolutional networks end in."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

from torch import nn


def hidden_layers(num_features: int, widths: Sequence[int], dropout: float) -> Iterator[nn.Module]:
    """For each of ``widths`` a linear layer with batch norm and ReLU, behind dropout where there is any."""
    for width_in, width in itertools.pairwise((num_features, *widths)):
        if dropout:
            yield nn.Dropout(dropout)
        yield from (nn.Linear(width_in, width), nn.BatchNorm1d(width), nn.ReLU())
