"""Several rows of a person without a group column are seen, and clusters, columns of few values and real data are not.

The thresholds' measurements are in the docstring of MOST_NEAR.
"""

import numpy as np
import pytest
import torch
from sklearn.datasets import make_blobs

from safecompress.data import Dataset, digits, make_split
from safecompress.data.facts import facts_of
from safecompress.data.near_rows import MOST_NEAR, near_rows_of_data, near_rows_of_split


def visits(*, people=400, each=5, noise=0.3, share=1.0, columns=50, seed=0, grouped=False):
    """Rows of people, each a vector of its own plus the noise of a visit; a ``share`` of them has ``each`` rows."""
    rng = np.random.default_rng(seed)
    who = np.repeat(np.arange(people), np.where(rng.random(people) < share, each, 1))
    rows = rng.normal(size=(people, columns))[who] + noise * rng.normal(size=(len(who), columns))
    return Dataset.from_arrays(rows, who % 4, groups=who if grouped else None)


@pytest.mark.parametrize(
    ("options", "least"),
    [
        ({"noise": 0.05}, 0.6),
        ({"noise": 0.3}, 0.6),
        ({"noise": 0.5}, 0.6),
        ({"people": 1000, "each": 2, "noise": 0.3}, 0.22),
        ({"people": 1000, "each": 5, "share": 0.2, "noise": 0.3}, 0.3),
        ({"people": 100, "each": 20, "noise": 0.3}, 0.6),
    ],
    ids=["nearly equal", "alike", "half alike", "two rows", "a fifth of the people", "twenty rows"],
)
def test_several_rows_of_a_person_are_seen(options, least):
    for seed in (0, 1):
        data = visits(**options, seed=seed)
        for seen in (near_rows_of_data(data), near_rows_of_split(make_split(data, seed=seed))):
            assert seen.are_many and seen.share > least


def test_a_column_of_groups_keeps_them_on_one_side():
    data = visits(grouped=True)
    for seen in (near_rows_of_data(data), near_rows_of_split(make_split(data, seed=0))):
        assert not seen.are_many and seen.share < 0.05


def test_people_kept_apart_by_hand_raise_no_alarm():
    data = visits()
    by_people = {"train": np.arange(800), "nonmember_verdict": np.arange(800, 1400), "test": np.arange(1400, 2000)}
    split = make_split(data, seed=0).from_indices(data, by_people)
    assert near_rows_of_split(split).share < 0.05


def census(rows, seed):
    """Adult-like people: an age, hours, a weight, and categories of which some are rare."""
    rng = np.random.default_rng(seed)
    kinds = [np.eye(size)[rng.choice(size, rows, p=rng.dirichlet(np.full(size, 0.4)))] for size in (8, 16, 7, 14, 5, 2)]
    age, hours = rng.integers(17, 80, rows), rng.choice([20, 38, 40, 40, 40, 45, 60], rows)
    return np.column_stack([age, hours, rng.gamma(3, 60_000, rows).round(), *kinds])


def blobs(rows, columns, clusters, spread, seed, classes=None):
    points, labels = make_blobs(rows, columns, centers=clusters, cluster_std=spread, random_state=seed)
    return points, labels % (classes or clusters)


def halves(rows):
    return rows, np.arange(len(rows)) % 2


def random(seed):
    return np.random.default_rng(seed)


HONEST = {
    "four clusters": lambda seed: blobs(1500, 10, 4, 0.02, seed),
    "a tight cluster for each class": lambda seed: blobs(1500, 20, 30, 0.02, seed),
    "clusters inside classes": lambda seed: blobs(3000, 20, 60, 0.05, seed, classes=2),
    "one column": lambda seed: halves(random(seed).random((1000, 1))),
    "one column of whole numbers": lambda seed: halves(random(seed).integers(90, size=(1000, 1))),
    "heavy tails": lambda seed: halves(random(seed).standard_cauchy((2000, 10))),
    "rare words": lambda seed: halves(random(seed).poisson(0.05, (2000, 300))),
    "a census": lambda seed: halves(census(2000, seed)),
    "a constant": lambda seed: halves(np.column_stack([np.arange(500) % 2, np.ones(500)])),
}


@pytest.mark.parametrize("name", HONEST)
def test_data_of_strangers_raises_no_alarm(name):
    for seed in (0, 1, 2):
        seen = near_rows_of_data(Dataset.from_arrays(*HONEST[name](seed)))
        assert seen is None or seen.share < (MOST_NEAR if name == "a census" else 0.05)


def test_real_digits_raise_no_alarm():
    assert near_rows_of_data(digits()).share < 0.05
    assert near_rows_of_data(digits(image=True)).share < 0.05


def test_visits_in_a_census_are_seen():
    """A person comes back a year older, all else the same: columns of few values make steps everywhere, too."""
    people = np.repeat(census(500, 0), 4, axis=0)
    people[:, 0] += np.tile(np.arange(4), 500)
    assert near_rows_of_data(Dataset.from_arrays(people, np.arange(2000) // 4 % 2)).are_many


def test_pictures_of_one_scene_are_seen_and_others_are_not():
    rng = np.random.default_rng(0)
    scenes = rng.integers(0, 256, (1000, 3, 4, 4)).repeat(4, axis=2).repeat(4, axis=3).astype(np.float64)
    once = (scenes * rng.uniform(0.9, 1.0, (1000, 1, 1, 1))).astype(np.uint8)
    thrice = np.concatenate([(scenes * rng.uniform(0.9, 1.0, (1000, 1, 1, 1))).astype(np.uint8) for _ in range(3)])
    assert near_rows_of_data(Dataset.from_pixels(thrice, np.arange(3000) % 10)).are_many
    assert near_rows_of_data(Dataset.from_pixels(once, np.arange(1000) % 10)).share < 0.05


def test_texts_that_are_told_again_are_seen_and_others_are_not():
    rng = np.random.default_rng(0)
    words = np.sort((rng.pareto(1.0, (600, 40)) * 30).astype(np.int32) % 3000, axis=1)

    def told():
        return np.where(rng.random(words.shape) < 0.2, -1, words)

    def tidy(tokens):  # padding comes last
        return np.take_along_axis(tokens, np.argsort(tokens < 0, axis=1, kind="stable"), axis=1)

    thrice = tidy(np.concatenate([told(), told(), told()]))
    labels = np.arange(600) % 2
    assert near_rows_of_data(Dataset.from_tokens(thrice, np.tile(labels, 3), vocab_size=3000)).are_many
    assert near_rows_of_data(Dataset.from_tokens(tidy(told()), labels, vocab_size=3000)).share < 0.05


def test_few_rows_tell_nothing():
    assert near_rows_of_data(visits(people=30)) is None


def test_what_is_seen_does_not_depend_on_the_order_of_columns_or_their_units():
    data = visits(people=100)
    turned = Dataset.from_arrays(data.features.flip(1) * 1000 + 5, data.labels)
    assert near_rows_of_data(turned).share == pytest.approx(near_rows_of_data(data).share, abs=0.01)
    assert torch.equal(data.features, visits(people=100).features)


def test_data_check_says_it_before_any_training():
    facts = facts_of(visits())
    assert facts.near > 0.6 and facts.to_json()["near"] == facts.near
    (note,) = facts.notes
    assert f"{facts.near:.0%} of the rows" in note and "group in [data] source" in note
    assert not [note for note in facts_of(visits(grouped=True)).notes if "nearly" in note]
