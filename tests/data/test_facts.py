"""Facts of a dataset, each against a count by hand."""

import json

import numpy as np
import pytest

from safecompress.data import Dataset, SplitSizes, digits
from safecompress.data.facts import Repeats, facts_of
from said import says


def rows(count, classes=2):
    """Rows that all differ, in classes of one size."""
    return np.arange(count * 3).reshape(count, 3) / (3 * count), np.arange(count) % classes


def test_counts_by_hand():
    x = np.array([[0.0, 1.5], [0, 1.5], [2, 3], [2, 3], [2, 3], [-4, 0]])
    data = Dataset.from_arrays(x, list("aabbaa"), name="six", groups=[1, 1, 2, 2, 3, 3])
    facts = facts_of(data)
    assert (facts.name, facts.kind, facts.rows, facts.shape) == ("six", "numbers", 6, (2,))
    assert (facts.classes, facts.balance, facts.groups) == ({"a": 4, "b": 2}, 2, 3)
    assert facts.repeats == Repeats(rows=5, sets=2, conflicting=1)
    assert (facts.values, facts.lengths, facts.vocab_size) == ((-4, 3), None, None)
    assert facts.memory == 6 * 2 * 4 + 6 * 8
    assert facts.split is None
    first, second = facts.notes
    assert says(first, " 30 rows", " 6.")
    assert says(second, "5 rows", "1 set ")


def test_tokens_have_lengths_and_no_range():
    tokens = np.array([[5, 6, -1], [7, -1, -1], [1, 2, 3], [5, 6, -1]])
    facts = facts_of(Dataset.from_tokens(tokens, [0, 1, 0, 1], vocab_size=9))
    assert (facts.kind, facts.values, facts.lengths, facts.vocab_size) == ("tokens", None, (1, 2, 3), 9)
    assert facts.repeats == Repeats(rows=2, sets=1, conflicting=1)


@pytest.mark.parametrize(
    ("shape", "top", "kind"),
    [
        ((3,), 1, "columns of 0 and 1"),
        ((3,), 2, "numbers"),
        ((1, 3), 1, "columns of 0 and 1"),
        ((1, 2, 2), 1, "images"),
    ],
)
def test_kinds(shape, top, kind):
    x = np.zeros((4, *shape))
    x[0] = top
    assert facts_of(Dataset.from_arrays(x, [0, 1, 0, 1])).kind == kind


def test_the_split_is_the_default_one_and_rare_classes_are_named():
    x, y = rows(300)
    y[:9] = 2  # 300 rows give train 90: 2.7 of these 9 are expected there
    facts = facts_of(Dataset.from_arrays(x, y, class_names=["a", "b", "rare"]))
    assert facts.split == SplitSizes.default(300).as_dict()
    (note,) = facts.notes
    assert says(note, "1 class ('rare')", " 5 rows", "train")
    y[:17] = 2
    assert facts_of(Dataset.from_arrays(x, y)).notes == ()


def test_values_that_are_large_get_a_word():
    x, y = rows(40)
    assert facts_of(Dataset.from_arrays(x * 10, y)).notes == ()
    (note,) = facts_of(Dataset.from_arrays(x * -2000, y)).notes
    assert says(note, " -1,983.33", 'normalise = "standard"')


def test_facts_become_json():
    told = json.loads(json.dumps(facts_of(digits(image=True)).to_json(), allow_nan=False))
    assert told["shape"] == [1, 8, 8]
    assert told["kind"] == "images"
    assert told["values"] == [0, 1]
    assert told["classes"]["0"] == 178
    assert told["balance"] == pytest.approx(183 / 174)
    assert told["repeats"] == {"rows": 0, "sets": 0, "conflicting": 0}
    assert told["split"]["train"] == 600
