"""Two data sets as one: what a model was trained on, and what it never saw."""

from __future__ import annotations

import numpy as np
import torch

from safecompress.data.dataset import Dataset
from safecompress.errors import DataError


def joined(members: Dataset, others: Dataset, class_names: tuple[str, ...] | None = None) -> Dataset:
    """The rows of ``members``, then those of ``others``; a class or a token keeps its number, a group its company.

    Without ``class_names`` the classes are those of both, by their names, those of ``members`` first; with them labels
    are numbers of these classes already. A group of members is another one than a group of others, whatever its name.
    A class may be missing on one side, or where ``class_names`` are given on both. Raises DataError where the two are
    rows of two kinds.
    """
    if members.input_shape != others.input_shape:
        raise DataError(
            f"Members have the shape {members.input_shape}, non-members {others.input_shape}. Both must be rows of one "
            "kind, drawn from the same source."
        )
    if (members.groups is None) != (others.groups is None):
        raise DataError("Either both files have a group column, or neither: rows of one group count as one draw.")
    if members.vocab_size != others.vocab_size:
        raise DataError(
            f"Members are texts of a vocabulary of {members.vocab_size}, non-members of {others.vocab_size}. Use one "
            "tokenizer for both."
        )
    groups = None
    if members.groups is not None and others.groups is not None:
        names, codes = np.unique(members.groups, return_inverse=True)  # any whole numbers name groups
        groups = np.concatenate([codes, len(names) + np.unique(others.groups, return_inverse=True)[1]])
    other_labels = others.labels
    if class_names is None:
        class_names = tuple(dict.fromkeys((*members.class_names, *others.class_names)))
        places = torch.tensor([class_names.index(name) for name in others.class_names])
        other_labels = places[others.labels]
    keep_stored = members.vocab_size is not None or (members.is_pixels and others.is_pixels)
    rows = [one.stored if keep_stored else one.features for one in (members, others)]
    return Dataset(
        f"{members.name} and {others.name}",
        torch.cat(rows),
        torch.cat([members.labels, other_labels]),
        class_names,
        groups,
        members.vocab_size,
        missing_classes=True,
    )
