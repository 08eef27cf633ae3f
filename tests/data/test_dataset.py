"""Datasets: generous in, strict out."""

from __future__ import annotations

import dataclasses
import pickle
import re

import numpy as np
import pytest
import torch
from torch.utils.data import IterableDataset, TensorDataset

from safecompress.data import Dataset, row_keys
from safecompress.errors import DataError

X = [[0.0, 1.0], [2.0, 3.0], [4.0, 5.0], [6.0, 7.0]]
Y = [0, 1, 0, 1]


@pytest.mark.parametrize(
    "features",
    [
        pytest.param(X, id="list"),
        pytest.param(np.array(X, dtype=np.int16), id="int16"),
        pytest.param(np.array(X, dtype=">f8"), id="big-endian"),
        pytest.param(np.array(X).T.copy().T, id="strided"),
        pytest.param([torch.tensor(row) for row in X], id="list of tensors"),
        pytest.param(torch.tensor(X, dtype=torch.float16), id="float16 tensor"),
        pytest.param(torch.tensor(X, requires_grad=True), id="with grad"),
    ],
)
def test_features_of_any_kind_become_float32(features: object) -> None:
    data = Dataset.from_arrays(features, Y)
    assert data.features.dtype == torch.float32
    assert data.features.tolist() == X
    assert not data.features.requires_grad


@pytest.mark.parametrize(
    ("labels", "indices", "names"),
    [
        (["dog", "cat", "dog", "bird"], [2, 1, 2, 0], ("bird", "cat", "dog")),
        (np.array(["b", "a", "b", "a"], dtype=object), [1, 0, 1, 0], ("a", "b")),
        (np.array([b"b", b"a", b"b", b"a"]), [1, 0, 1, 0], ("a", "b")),
        ([10, 2, 10, 2], [1, 0, 1, 0], ("2", "10")),
        (np.array([1.0, 2.0, 1.0, 2.0]), [0, 1, 0, 1], ("1", "2")),
        (torch.tensor([0, 1, 1, 0]), [0, 1, 1, 0], ("0", "1")),
        (np.array([0, 1, 1, 0], dtype=np.uint8), [0, 1, 1, 0], ("0", "1")),
        (np.array([False, True, True, False]), [0, 1, 1, 0], ("0", "1")),
    ],
)
def test_labels_of_any_kind_become_indices_in_sorted_order(labels: object, indices: list[int], names: tuple) -> None:
    data = Dataset.from_arrays(X, labels)
    assert data.labels.dtype == torch.int64
    assert (data.labels.tolist(), data.class_names) == (indices, names)


def test_class_names_given_keep_their_order_for_strings_and_name_integers() -> None:
    assert Dataset.from_arrays(X, ["a", "b", "a", "b"], class_names=["b", "a"]).labels.tolist() == [1, 0, 1, 0]
    named = Dataset.from_arrays(X, Y, class_names=["no", "yes"])
    assert (named.labels.tolist(), named.class_names) == (Y, ("no", "yes"))


def test_properties_and_a_repr_that_counts_but_shows_no_row() -> None:
    data = Dataset.from_arrays(np.full((4, 1, 2, 3), 77.25), Y, name="toy", groups=["p", "q", "p", "r"])
    assert (data.num_rows, data.num_classes, data.input_shape) == (4, 2, (1, 2, 3))
    assert repr(data) == "Dataset('toy', 4 rows of (1, 2, 3), 2 classes, 3 groups)"
    assert data.groups.tolist() == [0, 1, 0, 2]


def test_a_dataset_is_a_value_that_shares_no_memory_with_what_it_was_made_from() -> None:
    features, groups, tensor = np.array(X, dtype=np.float32), np.arange(4), torch.tensor(X)
    data, other = Dataset.from_arrays(features, Y, groups=groups), Dataset.from_arrays(tensor, Y)
    features[:], groups[:], tensor[:] = -1, -1, -1
    assert data.features.tolist() == other.features.tolist() == X
    assert data.groups.tolist() == [0, 1, 2, 3]
    with pytest.raises(dataclasses.FrozenInstanceError):
        data.name = "other"
    with pytest.raises(ValueError, match="read-only"):
        data.groups[0] = 5


def test_a_dataset_travels_to_another_process() -> None:
    data = pickle.loads(pickle.dumps(Dataset.from_arrays(X, Y, groups=[1, 1, 2, 2])))
    assert (data.features.tolist(), data.labels.tolist(), data.groups.tolist()) == (X, Y, [1, 1, 2, 2])


def bad(features: object = X, labels: object = Y, **options: object) -> str:
    with pytest.raises(DataError) as caught:
        Dataset.from_arrays(features, labels, **options)
    return str(caught.value)


def test_features_that_are_not_finite_are_counted_with_rows_and_columns() -> None:
    features = np.zeros((20, 3))
    features[[3, 5, 7, 9, 11, 13], 2] = [np.nan, np.inf, -np.inf, np.nan, 1e39, np.nan]
    message = bad(features, [0, 1] * 10)
    assert "6 rows (first: 3, 5, 7, 9, 11)" in message
    assert "1 column (2)" in message


def test_labels_out_of_range() -> None:
    assert "0 .. 1" in bad(labels=[0, 1, 2, 5], class_names=["a", "b"])
    assert "2 rows (2, 3)" in bad(labels=[0, 1, 2, 5], class_names=["a", "b"])
    assert "1 row (1)" in bad(labels=[0, -1, 1, 1], class_names=["a", "b"])
    message = bad(labels=[0, -1, 1, -1])
    assert "2 rows (1, 3)" in message
    assert "negative" in message


def test_labels_that_are_no_classes() -> None:
    message = bad(labels=[0, 0.5, 1, np.nan])
    assert "2 rows (1, 3)" in message
    assert "whole number" in message
    assert "argmax(1)" in bad(labels=np.eye(4))
    assert "argmax(1)" in bad(labels=["a", None, "b", "a"])


def test_an_empty_class_is_named() -> None:
    assert "1 class (ghost)" in bad(labels=[0, 2, 0, 2], class_names=["a", "ghost", "b"])
    assert "1 class (ghost)" in bad(labels=["a", "b", "a", "b"], class_names=["a", "ghost", "b"])


def test_label_strings_outside_the_class_names_get_a_suggestion() -> None:
    message = bad(labels=["cat", "dgo", "dog", "cat"], class_names=["cat", "dog"])
    assert "mean 'dog'?" in message


def test_lengths_that_differ() -> None:
    assert "4 features, 3 labels" in bad(labels=[0, 1, 0])
    assert "4 labels, 2 groups" in bad(groups=[1, 2])


def test_too_few_rows_or_classes() -> None:
    assert "no rows" in bad([], [])
    assert "no rows" in bad(np.zeros((0, 3)), [])
    assert "at least 2 classes" in bad(labels=[1, 1, 1, 1])
    assert "at least 2 classes" in bad(labels=[0, 0, 0, 0], class_names=["a"])
    assert "must differ" in bad(class_names=["a", "a"])


def test_features_of_a_wrong_shape_or_kind() -> None:
    assert "reshape(-1, 1)" in bad([1.0, 2.0, 3.0, 4.0])
    assert "reshape(-1, 1)" in bad(3.0)
    assert "reshape(-1, 1)" in bad(np.zeros((4, 0)))
    assert "one shape" in bad([[1.0], [1.0, 2.0], [1.0], [1.0]])
    assert "one shape" in bad([torch.zeros(1), torch.zeros(2)])
    assert "real numbers" in bad([["a"], ["b"], ["c"], ["d"]])
    assert "real numbers" in bad(torch.zeros(4, 2, dtype=torch.complex64))


def test_groups_that_name_nobody() -> None:
    assert "integers or strings" in bad(groups=[1.0, 2.0, np.nan, 1.0])


def test_the_bare_constructor_is_as_strict() -> None:
    with pytest.raises(DataError, match="from_arrays, from_pixels and"):
        Dataset("x", torch.zeros(2, 2, dtype=torch.float64), torch.tensor([0, 1]), ("a", "b"))
    with pytest.raises(DataError, match="from_arrays converts"):
        Dataset("x", torch.zeros(2, 2), torch.tensor([0, 1]), ("a", "b"), np.zeros(2))
    with pytest.raises(DataError, match="NaN"):
        Dataset("x", torch.full((2, 2), torch.nan), torch.tensor([0, 1]), ("a", "b"))


def test_a_map_style_dataset_is_read_whole() -> None:
    data = Dataset.from_map_style(TensorDataset(torch.tensor(X), torch.tensor(Y)), name="torch")
    assert (data.name, data.features.tolist(), data.labels.tolist()) == ("torch", X, Y)
    pairs = [(np.array(row, dtype=np.uint8), label) for row, label in zip(X, "abab", strict=True)]
    named = Dataset.from_map_style(pairs, class_names=["b", "a"], groups=[1, 1, 2, 2])
    assert (named.features.tolist(), named.labels.tolist(), named.groups.tolist()) == (X, [1, 0, 1, 0], [1, 1, 2, 2])


def test_what_is_no_map_style_dataset() -> None:
    class Stream(IterableDataset):
        def __iter__(self):
            return iter([])

    with pytest.raises(DataError, match="has no length"):
        Dataset.from_map_style(Stream())
    with pytest.raises(DataError, match=r"2 rows \(1, 2\) gave"):
        Dataset.from_map_style([([1.0], 0), ([1.0], 0, 5), [1.0]])


def test_row_keys_are_equal_exactly_for_equal_features() -> None:
    features = [[0.0, 1.0], [-0.0, 1.0], [0.0, 1.0000001], [1.0, 0.0], [0.0, 1.0]]
    keys = row_keys(Dataset.from_arrays(features, [0, 1, 0, 1, 1]))
    assert [keys.index(key) for key in keys] == [0, 0, 2, 3, 0]
    images = np.arange(24).reshape(2, 3, 2, 2)
    assert row_keys(Dataset.from_arrays(images, [0, 1])) == row_keys(Dataset.from_arrays(images.reshape(2, 12), [1, 0]))


def test_texts_are_rows_of_tokens_that_nothing_is_added_to() -> None:
    data = Dataset.from_tokens(np.array([[5, 6, -1], [5, 6, 7], [0, -1, -1]]), ["a", "b", "a"], vocab_size=8)
    assert data.is_tokens and data.features.dtype == torch.int32 and data.input_shape == (3,)
    assert repr(data) == "Dataset('data', 3 rows of 3 tokens, 2 classes)"
    assert not Dataset.from_arrays([[1.0], [2.0]], [0, 1]).is_tokens
    assert len(set(row_keys(data))) == 3 and row_keys(data)[:1] == row_keys(dataclasses.replace(data, name="other"))[:1]


@pytest.mark.parametrize(
    ("tokens", "said"),
    [
        ([[1, 2], [-1, 3]], "1 row (1) are empty"),
        ([[1, -1, 2], [1, 2, 3]], "1 row (0) are empty"),
        ([[1, 9], [1, 2]], "1 row (0) hold others"),
        ([[1, -2], [1, 2]], "go from -2 to 2"),
        ([[0.5, 1], [1, 2]], "dtype float64"),
        ([1, 2], "shape (2,)"),
    ],
)
def test_tokens_that_are_none(tokens: list, said: str) -> None:
    with pytest.raises(DataError, match=re.escape(said)):
        Dataset.from_tokens(np.array(tokens), [0, 1], vocab_size=8)


def test_a_vocabulary_that_float32_cannot_hold_is_refused() -> None:
    with pytest.raises(DataError, match=re.escape("vocab_size of 1 .. 16777215")):
        Dataset.from_tokens(np.array([[1], [2]]), [0, 1], vocab_size=1 << 24)
