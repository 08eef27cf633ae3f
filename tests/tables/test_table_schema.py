"""A schema is stored and comes back, and whatever else stands in its place is refused."""

import copy
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from safecompress.errors import DataError
from safecompress.tables import Column, TableSchema
from safecompress.tables.encode import encode, words_of

SCHEMA = TableSchema(
    (
        Column("age", "numeric", decimal=",", missing="fill", fill=(40.5,), low=18.0, high=80.0),
        Column("town", "categorical", ("Oslo", "Rome"), missing="fill", fill=(1.0,)),
        Column("seen", "date", date_style="day first", parts=("day", "second")),
        Column("remark", "text"),
    ),
    "ill",
    ("-",),
)
CELLS = {"age": ["12,5", "", 7], "town": ["Rome", "-", "Oslo"], "seen": ["2.1.1970", "2.1.1970 0:01", "1970-01-01"],
         "remark": ["a b", "", "B"]}  # fmt: skip


def test_cells_become_features_by_hand():
    features, encoded = encode(SCHEMA, CELLS)
    assert features.dtype == np.float32
    assert features[:, :7].tolist() == [
        #  age, missing, Oslo, Rome, missing, day, second
        [12.5, 0, 0, 1, 0, 1, 0],
        [40.5, 1, 0, 1, 1, 1, 60],
        [7, 0, 1, 0, 0, 0, 0],
    ]
    faults = {name: column.faults for name, column in encoded.items() if column.faults}
    assert faults == {"remark": {"is missing, as no cell of this column was in training": [1]}}
    assert (features[2, 7:] == words_of("b")).all()
    assert len(SCHEMA.features) == SCHEMA.num_features == features.shape[1]
    assert SCHEMA.features[:5] == ("age", "age is missing", "town = Oslo", "town = Rome", "town is missing")


def test_unfitted_columns_have_zeros_for_what_is_missing():
    bare = TableSchema(
        (Column("age", "numeric", missing="fill"), Column("town", "categorical", ("a",), missing="fill"))
    )
    assert not bare.is_fitted
    assert encode(bare, {"age": [None], "town": [float("nan")]})[0].tolist() == [[0, 1, 0, 1]]


@pytest.mark.parametrize(
    ("column", "cell", "words"),
    [
        (Column("a", "numeric"), "x", "no number"),
        (Column("a", "numeric"), "5%", "is in %"),
        (Column("a", "numeric", unit="$"), "€5", "is in €"),
        (Column("a", "numeric"), float("inf"), "infinite"),
        (Column("a", "categorical", ("b",)), "c", "no known category"),
        (Column("a", "date", date_style="iso", parts=("day",)), 5, "is a number"),
        (Column("a", "date", date_style="iso", parts=("day",)), "soon", "no such date"),
        (Column("a", "numeric"), None, "is missing"),
    ],
)
def test_what_cannot_be_read_is_named(column, cell, words):
    _, encoded = encode(TableSchema((column,)), {"a": [cell]})
    ((why, rows),) = encoded["a"].faults.items()
    assert words in why
    assert rows == [0]


@pytest.mark.parametrize(
    ("categories", "cell", "place"),
    [
        (("1", "2"), 1, 0),
        (("1", "2"), 2.0, 1),
        (("01", "02"), "2", 1),
        (("FALSE", "TRUE"), True, 1),
        (("FALSE", "TRUE"), np.bool_(False), 0),
        (("?", "a"), "?", 0),
        (("1.5", "2.5"), 2.5, 1),
    ],
)
def test_a_category_is_known_in_the_types_of_a_frame(categories, cell, place):
    features, encoded = encode(TableSchema((Column("a", "categorical", categories),)), {"a": [cell]})
    assert encoded["a"].faults == {}
    assert features[0].argmax() == place


def test_it_comes_back_from_json():
    assert TableSchema.from_json(json.loads(json.dumps(SCHEMA.to_json()))) == SCHEMA


@given(st.lists(st.floats(-1e30, 1e30), min_size=2, max_size=2).map(sorted), st.text(min_size=1, max_size=9))
def test_limits_and_names_come_back_to_the_bit(limits, name):
    schema = TableSchema((Column(name, "numeric", low=limits[0], high=limits[1]),))
    assert TableSchema.from_json(json.loads(json.dumps(schema.to_json()))) == schema


def hostile():
    good = SCHEMA.to_json()

    def changed(key, value, column=None):
        bad = copy.deepcopy(good)
        (bad if column is None else bad["columns"][column])[key] = value
        return bad

    yield from [None, [], "x", {}, {**good, "more": 1}]
    yield from [changed("version", 2), changed("columns", {}), changed("columns", []), changed("label", 1)]
    yield from [changed("missing_words", "x"), changed("columns", good["columns"][:1] * 2)]
    yield from [changed(key, value, 0) for key, value in [
        ("kind", "pickle"), ("kind", ["numeric"]), ("name", ""), ("name", "x" * 10_001), ("decimal", "x"), ("low", "1"),
        ("low", True), ("low", 1e300), ("high", 1.0), ("high", float("nan")), ("fill", [1, 2]), ("fill", ["1"]),
        ("fill", 1), ("missing", "ignore"), ("missing", "refuse"), ("categories", ["a"]), ("parts", ["day"]),
        ("code", "import os"),
    ]]  # fmt: skip
    yield from [changed(key, value, 1) for key, value in [
        ("categories", []), ("categories", ["a", "a"]), ("categories", [1]), ("categories", [*map(str, range(1001))]),
        ("fill", [2.0]), ("fill", [0.5]), ("fill", [-1.0]),
    ]]  # fmt: skip
    yield from [changed("date_style", "yesterday", 2), changed("parts", ["second", "day"], 2), changed("parts", [], 2)]


@pytest.mark.parametrize("stored", list(hostile()), ids=lambda stored: str(stored)[-40:])
def test_whatever_else_is_refused(stored):
    with pytest.raises(DataError):
        TableSchema.from_json(stored)
