"""Members and non-members from two data sets, for the audit of a model that was trained elsewhere."""

from __future__ import annotations

import numpy as np

from safecompress.data.dataset import Dataset, row_keys
from safecompress.data.draw import unit_ids
from safecompress.data.joined import joined
from safecompress.data.sizes import PARTS
from safecompress.data.splits import DataSplit
from safecompress.errors import DataError
from safecompress.seeding import derive

_MEMBERS = {"member_fit": 1, "member_verdict": 1}
_OTHERS = {"nonmember_fit": 2, "nonmember_verdict": 2, "test": 1, "population": 1}
"""Parts and their shares of the rows."""

_FEWEST = 100
"""Members, and non-members, under which no verdict could say anything."""


def split_of(members: Dataset, others: Dataset, *, num_classes: int, seed: int) -> DataSplit:
    """A split for an audit: ``members`` are the model's train rows or a sample of them, ``others`` it never saw.

    Half of the members fit attackers, half judge; of the others a third each, a sixth is the test part (accuracy) and a
    sixth checks attacks on rows that nobody trained on. Rows of one group, and equal rows, stay together; a group of
    members is another one than a group of others, whatever its name. Labels are the model's class numbers, 0 to
    ``num_classes`` - 1. Raises DataError when the two do not go together, share a row, or have fewer than 100 rows.
    """
    few = [f"{data.num_rows} {which}" for which, data in (("members", members), ("non-members", others))
           if data.num_rows < _FEWEST]  # fmt: skip
    if few:
        raise DataError(f"An audit needs at least {_FEWEST} members and {_FEWEST} non-members; got {', '.join(few)}.")
    shared = len(set(row_keys(members)) & set(row_keys(others)))
    if shared:
        raise DataError(
            f"{shared} rows are members and non-members at once. Take out of the non-members what was trained on."
        )
    dataset = joined(members, others, tuple(map(str, range(num_classes))))
    indices = {part: np.empty(0, dtype=np.int64) for part in PARTS}
    units, count = unit_ids(dataset), members.num_rows
    indices["train"] = np.arange(count)
    for which, rows, shares in (("members", np.arange(count), _MEMBERS),
                                ("others", np.arange(count, dataset.num_rows), _OTHERS)):  # fmt: skip
        names = np.unique(units[rows])
        order = derive(seed, "pools", which).permutation(names)
        cuts = np.cumsum(list(shares.values()))[:-1] * len(order) // sum(shares.values())
        for part, drawn in zip(shares, np.split(order, cuts), strict=True):
            indices[part] = rows[np.isin(units[rows], drawn)]
    return DataSplit.from_indices(dataset, indices)
