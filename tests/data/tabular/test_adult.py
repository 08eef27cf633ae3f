"""Adult from the UCI release or one table: the same rows, labels cleaned, columns alike in both parts."""

import lzma
from pathlib import Path

import pytest
import torch

from safecompress.data import adult
from safecompress.data.tabular.adult import COLUMNS
from safecompress.errors import DataError, UsageError

ADULT = Path(__file__).resolve().parents[3].parent / "shared" / "data" / "adult"
TRAIN = [
    "39, State-gov, 77516, Bachelors, 13, Divorced, Adm-clerical, Not-in-family, White, Male, 9, 0, 40, Cuba, <=50K",
    "50, ?, 83311, Bachelors, 13, Divorced, Sales, Husband, White, Male, 0, 0, 13, Cuba, >50K",
]
TEST = [
    "25, Private, 226802, 11th, 7, Never-married, Sales, Own-child, Black, Male, 0, 0, 40, Peru, <=50K.",
    "38, Private, 89814, HS-grad, 9, Divorced, Sales, Husband, White, Female, 0, 0, 50, Cuba, >50K.",
]


@pytest.fixture
def release(tmp_path):
    (tmp_path / "adult.data").write_text("\n".join(TRAIN) + "\n\n")
    (tmp_path / "adult.test").write_text("|1x3 Cross validator\n" + "\n".join(TEST) + "\n\n")
    return tmp_path


def as_table(folder, name="adult.csv", change=lambda text: text):
    rows = [f"{row}, train" for row in TRAIN] + [f"{row.removesuffix('.')}, test" for row in TEST]
    text = change("\n".join([",".join([*COLUMNS, "income", "split"]), *rows]) + "\n")
    (folder / name).write_bytes(lzma.compress(text.encode()) if name.endswith("xz") else text.encode())
    return folder


def test_rows_columns_and_labels(release):
    data = adult(release)
    assert (data.num_rows, data.class_names, data.labels.tolist()) == (2, ("<=50K", ">50K"), [0, 1])
    #                                age workclass: ? Private State-gov  fnlwgt
    assert data.features[0, :5].tolist() == [39, 0, 0, 1, 77516]
    assert data.features[1, :5].tolist() == [50, 1, 0, 0, 83311]


def test_a_row_looks_alike_in_every_part(release):
    train, test, both = (adult(release, part=part) for part in ("train", "test", "all"))
    assert torch.equal(both.features, torch.cat([train.features, test.features]))
    assert both.labels.tolist() == [0, 1, 0, 1]
    assert adult(release, ignore=["age", "sex"]).input_shape == (both.input_shape[0] - 3,)


@pytest.mark.parametrize("name", ["adult.csv", "adult.csv.xz"])
def test_both_layouts_are_one_data_set(name, release, tmp_path):
    (tmp_path / "table").mkdir()
    table = as_table(tmp_path / "table", name)
    for part in ("train", "test", "all"):
        assert torch.equal(adult(table, part=part).features, adult(release, part=part).features)
        assert torch.equal(adult(table, part=part).labels, adult(release, part=part).labels)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda text: text.replace("income", "pay", 1), r"no column 'income'"),
        (lambda text: text.replace(">50K", "lots"), "income 'lots'"),
        (lambda text: text.replace(", test", ", tset", 1), "split in line 4"),
        (lambda text: text.replace("39, ", "old, "), r"column 'age'.*1 line \(2\)"),
        (lambda text: text.replace("\n", ",x\n"), "of Adult: x"),
    ],
)
def test_tables_that_are_not_adult(change, words, tmp_path):
    with pytest.raises(DataError, match=words):
        adult(as_table(tmp_path, change=change))


def test_what_is_missing_or_unknown_is_named(release, tmp_path):
    (release / "adult.test").unlink()
    with pytest.raises(DataError, match=r"adult\.test and.* 1 name"):
        adult(release)
    with pytest.raises(UsageError, match="part 'val' is unknown"):
        adult(release, part="val")
    with pytest.raises(UsageError, match="ignore 'gender' is unknown"):
        adult(release, ignore=["gender"])
    with pytest.raises(UsageError, match="leaves no attribute"):
        adult(as_table(tmp_path), ignore=COLUMNS)


@pytest.mark.skipif(not (ADULT / "adult.csv.xz").is_file(), reason=f"no adult.csv.xz in {ADULT}")
def test_adult_as_published():
    data = adult(ADULT, part="all")
    assert (data.num_rows, data.input_shape) == (48842, (108,))
    assert torch.bincount(data.labels).tolist() == [48842 - 7841 - 3846, 7841 + 3846]
