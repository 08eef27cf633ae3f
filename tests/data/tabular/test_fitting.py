"""What stands in for missing cells comes from train rows alone, and rows are known again whatever stands in."""

from pathlib import Path

import numpy as np
import pytest
import torch

from safecompress.data import DataSplit, make_split, read_csv, standardise
from safecompress.data.sketches import sketches
from safecompress.data.tabular.fitting import ASIDE, limits_of
from safecompress.errors import DataError


@pytest.fixture
def holes(tmp_path: Path):
    """300 people; one age in five and one town in seven is missing."""
    random = np.random.default_rng(0)
    rows = ["age,town,weight,ill"]
    for row in range(300):
        age = "" if row % 5 == 0 else random.integers(20, 80)
        town = "NA" if row % 7 == 0 else random.choice(["Oslo", "Rome", "Rome", "Bern"])
        rows.append(f"{age},{town},{random.normal(70, 10):.1f},{row % 2}")
    path = tmp_path / "people.csv"
    path.write_text("\n".join(rows) + "\n")
    return read_csv(path, label="ill")


def test_by_hand(tmp_path: Path):
    path = tmp_path / "t.csv"
    path.write_text("a,b,y\n1,x,0\n?,,1\n3,z,0\n10,z,1\n99,x,0\n,x,1\n")
    data = read_csv(path, label="y")
    assert data.features[1].tolist() == [0, 1, 0, 0, 1]  # a, a missing, b = x, b = z, b missing
    split = DataSplit.from_indices(data, {"train": [0, 1, 2, 3], "test": [4, 5]})
    assert split.dataset.features.tolist() == [
        [1, 0, 1, 0, 0],
        [3, 1, 0, 1, 1],  # the median of 1, 3, 10; z, of which train has two
        [3, 0, 0, 1, 0],
        [10, 0, 0, 1, 0],
        [99, 0, 1, 0, 0],
        [3, 1, 1, 0, 0],
    ]
    assert split.dataset.table.is_fitted
    assert data.features[1].tolist() == [0, 1, 0, 0, 1]


def test_no_other_row_moves_what_stands_in(holes):
    split = make_split(holes, seed=0)
    table = split.dataset.table
    others = np.setdiff1d(np.arange(300), split.indices["train"])
    stored = holes.stored.clone()
    known = others[stored[others, 1].numpy() == 0]
    stored[known, 0] += 1000
    import dataclasses

    moved = DataSplit.from_indices(dataclasses.replace(holes, stored=stored), split.indices)
    assert moved.dataset.table == table
    train = holes.stored[torch.tensor(split.indices["train"])]
    assert table.columns[0].fill == (float(train[train[:, 1] == 0, 0].median()),) or len(train) % 2 == 0


def test_rows_are_known_again_in_another_split(holes):
    first, second = make_split(holes, seed=0), make_split(holes, seed=1)
    assert first.dataset.table != second.dataset.table
    digests = [{d for part in ("train", "test", "population", "validation", "nonmember_fit", "nonmember_select",
                               "nonmember_verdict") for d in split.row_digests(part, b"key")}
               for split in (first, second)]  # fmt: skip
    assert digests[0] == digests[1]
    rows = np.arange(300)
    assert (sketches(first.dataset, rows) == sketches(second.dataset, rows)).all()


def test_tables_without_holes_stay_as_they_are(tmp_path: Path):
    path = tmp_path / "t.csv"
    path.write_text("a,b,y\n" + "".join(f"{row * 0.5},{'uvw'[row % 3]},{row % 2}\n" for row in range(60)))
    data = read_csv(path, label="y")
    split = make_split(data, seed=0)
    assert split.dataset.stored is data.stored
    assert split.dataset.table.columns[1] == data.table.columns[1]
    scaled, _ = standardise(split)
    assert scaled.dataset.table is None


def test_limits_are_nobodys_own_value():
    values = np.arange(1000, dtype=np.float32) / 7
    low, high = limits_of(values)
    assert (low, high) == (0, 150)  # outward from 10 / 7 and 989 / 7 to tens, the second digit of the width 140
    assert (values < low).sum() <= ASIDE
    assert (values > high).sum() <= ASIDE
    outlier = np.append(values, np.float32(1e6))
    assert limits_of(outlier)[1] < 200
    assert limits_of(values[: 4 * ASIDE - 1]) == (None, None)
    assert limits_of(np.full(50, 3, np.float32)) == (3, 3)


def test_a_column_without_a_value_in_train_is_named(tmp_path: Path):
    path = tmp_path / "t.csv"
    path.write_text("a,b,y\n,1,0\n,2,1\n3,3,0\n4,4,1\n")
    with pytest.raises(DataError, match="'a' has no value in any train row"):
        DataSplit.from_indices(read_csv(path, label="y"), {"train": [0, 1], "test": [2, 3]})
