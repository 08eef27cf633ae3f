"""Rows are known again by their sketches after changes that alter no person, and strangers share next to none."""

import numpy as np
import pytest
import torch

from safecompress.data import Dataset, DataSplit, digits
from safecompress.data.sketches import sketch_digests, sketches

N, RANDOM = 600, np.random.default_rng(0)


def people(num_rows=N, seed=0):
    """A table of people: amounts with long tails, counts, and yes or no, that go along with two hidden causes."""
    random = np.random.default_rng(seed)
    loads = np.random.default_rng(99).normal(size=(2, 14))
    drift = random.normal(size=(num_rows, 2)) @ loads + random.normal(size=(num_rows, 14))
    columns = [np.exp(drift[:, :4]), np.floor(2 * drift[:, 4:8]), drift[:, 8:] > np.linspace(-1.5, 2, 6)]
    return np.concatenate(columns, axis=1).astype(np.float32)


TABLE = people()
CHOSEN = RANDOM.permutation(N)[:200]
ORDER = RANDOM.permutation(N)
COLUMNS = RANDOM.permutation(TABLE.shape[1])


def dataset_of(table):
    return Dataset.from_arrays(table, np.arange(len(table)) % 2)


def tokens_of(tokens):
    return Dataset.from_tokens(tokens, np.arange(len(tokens)) % 2, vocab_size=500)


def share_known(keys, others):
    """The share of the rows with the keys ``others`` that have one of ``keys``."""
    is_known = [np.isin(others[:, band], keys[:, band]) & (others[:, band] > 0) for band in range(keys.shape[1])]
    return float(np.any(is_known, axis=0).mean())


KEYS = sketches(dataset_of(TABLE), CHOSEN)


# --- the same people


def reordered(table):
    return table[ORDER], np.argsort(ORDER)[CHOSEN]


def scaled(table):
    return table * np.geomspace(1e-3, 1e3, table.shape[1], dtype=np.float32)


CHANGES = {
    "1e-6 more in one column": lambda t: t + np.float32(1e-6) * (np.arange(t.shape[1]) == 0),
    "1e-6 more in all": lambda t: t + np.float32(1e-6),
    "noise of 1e-6": lambda t: t + np.random.default_rng(1).normal(0, 1e-6, t.shape),
    "three digits": lambda t: np.round(t, 3),
    "another unit": scaled,
    "a logarithm": lambda t: np.concatenate([np.log(t[:, :4]), t[:, 4:]], axis=1),
    "upside down": lambda t: t * np.where(np.arange(t.shape[1]) % 3, 1, -1),
    "a constant column": lambda t: np.concatenate([t, np.full((N, 1), 7.0)], axis=1),
    "a constant column in front": lambda t: np.concatenate([np.zeros((N, 1)), t], axis=1),
    "other places of the columns": lambda t: t[:, COLUMNS],
    "all of it": lambda t: np.concatenate([scaled(np.round(t + 1e-6, 3))[:, COLUMNS], np.ones((N, 1))], axis=1),
}


@pytest.mark.parametrize("change", CHANGES)
def test_the_same_people_are_known_again(change):
    assert share_known(KEYS, sketches(dataset_of(CHANGES[change](TABLE)), CHOSEN)) > 0.9


def test_the_order_of_rows_does_not_count():
    table, chosen = reordered(TABLE)
    assert share_known(KEYS, sketches(dataset_of(table), chosen)) > 0.99


def test_a_tenth_of_the_rows_less_leaves_some_known():
    kept = np.union1d(ORDER[: int(0.9 * N)], CHOSEN)
    assert share_known(KEYS, sketches(dataset_of(TABLE[kept]), np.searchsorted(kept, CHOSEN))) > 0.1


# --- strangers


def test_strangers_of_one_data_set_share_nothing():
    others = np.setdiff1d(np.arange(N), CHOSEN)
    assert share_known(KEYS, sketches(dataset_of(TABLE), others)) == 0
    assert (KEYS > 0).any(1).mean() > 0.9  # who has no key shares none either, and proves nothing


def test_strangers_of_another_data_set_share_next_to_nothing():
    for seed in (1, 2, 3):
        assert share_known(KEYS, sketches(dataset_of(people(seed=seed)), np.arange(N))) < 0.02


def test_halves_of_digits_are_strangers():
    data = digits()
    keys, half = sketches(data, np.arange(data.num_rows)), data.num_rows // 2
    for seed in range(3):
        rows = np.random.default_rng(seed).permutation(data.num_rows)
        assert share_known(keys[rows[:half]], keys[rows[half:]]) == 0


def test_a_key_that_another_row_has_is_none():
    """Copies are one person, who keeps the key; people whom the ranks hardly tell apart have none."""
    twice = np.concatenate([TABLE, TABLE])
    assert share_known(sketches(dataset_of(twice), CHOSEN), sketches(dataset_of(twice), N + CHOSEN)) > 0.9
    few = np.random.default_rng(0).integers(0, 2, (N, 2)).astype(np.float32)
    keys = sketches(dataset_of(few), np.arange(N))
    assert len(np.unique(keys[:, -1][keys[:, -1] > 0])) <= 4


# --- pictures and texts


def test_pictures_that_are_brighter_mirrored_or_noisy_are_known_again():
    random = np.random.default_rng(0)
    coarse = torch.from_numpy(random.normal(size=(400, 3, 5, 5))).float()
    smooth = torch.nn.functional.interpolate(coarse, size=(16, 16), mode="bilinear")
    pixels = ((smooth * 35 + 128).clamp(0, 255)).byte()
    chosen = np.arange(100)
    keys = sketches(Dataset.from_pixels(pixels, np.arange(400) % 2), chosen)
    noise = torch.from_numpy(random.integers(-1, 2, pixels.shape))
    for changed in (pixels.flip(3), (pixels * 0.9 + 10).byte(), (pixels + noise).clamp(0, 255).byte()):
        assert share_known(keys, sketches(Dataset.from_pixels(changed, np.arange(400) % 2), chosen)) > 0.4
    as_values = Dataset.from_arrays(pixels.float() / 127.5 - 1, np.arange(400) % 2)
    assert share_known(keys, sketches(as_values, chosen)) > 0.9
    assert share_known(keys, sketches(Dataset.from_pixels(pixels, np.arange(400) % 2), np.arange(100, 400))) == 0


def test_texts_with_another_token_or_end_are_known_again():
    random = np.random.default_rng(0)
    tokens = np.minimum(random.zipf(1.3, size=(400, 30)), 499) - 1
    tokens[np.arange(30) >= random.integers(10, 31, 400)[:, None]] = -1
    chosen = np.arange(100)
    keys = sketches(tokens_of(tokens), chosen)
    another, started = tokens.copy(), np.concatenate([np.full((400, 1), 499), tokens], axis=1)
    another[:, 5] = random.integers(0, 499, 400)
    for changed in (another, started, tokens[:, :25]):
        assert share_known(keys, sketches(tokens_of(changed), chosen)) > 0.6
    assert share_known(keys, sketches(tokens_of(tokens), np.arange(100, 400))) == 0


# --- large data sets, odd ones, digests


def test_of_a_large_data_set_some_rows_are_looked_at(monkeypatch):
    monkeypatch.setattr("safecompress.data.sketches.MOST_CELLS", 300 * TABLE.shape[1])
    keys = sketches(dataset_of(TABLE), CHOSEN)
    assert share_known(keys, sketches(dataset_of(scaled(TABLE)), CHOSEN)) > 0.9
    assert share_known(keys, sketches(dataset_of(TABLE), np.setdiff1d(np.arange(N), CHOSEN))) < 0.02


@pytest.mark.parametrize("table", [np.ones((20, 3)), np.ones((20, 1)), np.arange(2.0)[:, None], np.eye(4)])
def test_whatever_the_rows_are_they_have_keys_or_none(table):
    assert sketches(dataset_of(table), np.arange(2)).shape == (2, 4)


def test_digests_are_keyed_and_of_each_row():
    indices = {"train": [0, 1, 2, 3], "member_verdict": [0, 1], "nonmember_verdict": [4, 5, 6]}
    split, parts = DataSplit.from_indices(dataset_of(TABLE), indices), ("member_verdict", "nonmember_verdict")
    mine, again, other = (sketch_digests(split, parts, key) for key in (b"a" * 32, b"a" * 32, b"b" * 32))
    assert mine == again and len(mine) == 5 and all(mine)
    assert not frozenset().union(*mine) & frozenset().union(*other)
    assert all(len(digest) == 12 for digests in mine for digest in digests)
