"""Pictures kept as bytes are the same data set as their float values, at a quarter of the memory."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from safecompress.data import Dataset, DataSplit, Scaler, make_split, row_keys, standardise
from safecompress.data.facts import facts_of
from safecompress.data.pools import split_of
from safecompress.errors import DataError

GENERATOR = np.random.default_rng(0)
PIXELS = GENERATOR.integers(0, 256, (400, 3, 4, 5), dtype=np.uint8)
LABELS = np.arange(400) % 2
BYTES = Dataset.from_pixels(PIXELS, LABELS)
FLOATS = Dataset.from_arrays(PIXELS.astype(np.float32) / np.float32(255), LABELS)
KEY = b"secret"


def test_bytes_stay_bytes_and_are_read_as_values_from_0_to_1() -> None:
    assert BYTES.stored.dtype == torch.uint8 and BYTES.stored.nbytes * 4 == FLOATS.stored.nbytes
    assert torch.equal(BYTES.features, FLOATS.features)
    rows = torch.tensor([7, 3])
    assert torch.equal(BYTES.read(rows), FLOATS.features[rows])
    assert (BYTES.input_shape, BYTES.num_rows) == (FLOATS.input_shape, FLOATS.num_rows)
    assert torch.equal(torch.cat(list(BYTES.blocks())), FLOATS.features)


def test_it_is_a_copy_of_what_was_given() -> None:
    for mine in (PIXELS.copy(), torch.from_numpy(PIXELS.copy())):
        data = Dataset.from_pixels(mine, LABELS)
        mine[:] = 0
        assert torch.equal(data.stored, BYTES.stored)
    assert Dataset.from_pixels(PIXELS.transpose(0, 2, 3, 1).transpose(0, 3, 1, 2), LABELS).stored.is_contiguous()


def test_digests_and_splits_are_those_of_the_values() -> None:
    assert row_keys(BYTES) == row_keys(FLOATS)
    splits = [make_split(data, seed=3) for data in (BYTES, FLOATS)]
    assert splits[0].digest(KEY) == splits[1].digest(KEY)
    audits = [split.audit("verdict").digest for split in splits]
    assert audits[0] == audits[1]


def test_scaling_is_that_of_the_values_and_copies_nothing() -> None:
    (ours, scaler), (wanted, reference) = (standardise(make_split(data, seed=3)) for data in (BYTES, FLOATS))
    assert torch.equal(scaler.shift, reference.shift) and torch.equal(scaler.scale, reference.scale)
    assert ours.dataset.stored.data_ptr() == BYTES.stored.data_ptr()
    assert torch.equal(ours.dataset.features, wanted.dataset.features)
    assert torch.equal(ours.part("train", 9)[0], wanted.part("train")[0][:9])
    assert ours.digest(KEY) == wanted.digest(KEY)


def test_a_channel_of_one_value_is_shifted_and_not_blown_up() -> None:
    pixels = torch.from_numpy(PIXELS.copy())
    pixels[:, 1] = 25
    scaler = Scaler.fit_pixels(pixels)
    assert scaler.scale.flatten().tolist()[1] == 1
    assert scaler.apply(pixels.float() / 255)[:, 1].abs().max() < 1e-7
    with pytest.raises(DataError, match="needs rows"):
        Scaler.fit_pixels(pixels[:0])


def test_facts_of_bytes() -> None:
    ours, theirs = facts_of(BYTES), facts_of(FLOATS)
    assert (ours.values, ours.kind, ours.repeats) == (theirs.values, "images", theirs.repeats)
    assert ours.memory < theirs.memory / 2


def test_members_and_others_from_two_files_stay_bytes() -> None:
    members, others = (Dataset.from_pixels(PIXELS[half], LABELS[half]) for half in (slice(200), slice(200, 400)))
    split = split_of(members, others, num_classes=2, seed=0)
    assert split.dataset.is_pixels and torch.equal(split.dataset.features, BYTES.features)
    floats = Dataset.from_arrays(FLOATS.features[200:], LABELS[200:])
    assert torch.equal(split_of(members, floats, num_classes=2, seed=0).dataset.features, BYTES.features)


def test_a_split_by_hand_reads_them_too() -> None:
    split = DataSplit.from_indices(BYTES, {"train": [0, 1, 2], "test": [5]})
    assert torch.equal(split.part("test")[0], FLOATS.features[[5]])


def test_what_is_no_picture_is_refused() -> None:
    with pytest.raises(DataError, match="bytes of shape"):
        Dataset.from_pixels(PIXELS.astype(np.float32), LABELS)
    with pytest.raises(DataError, match="channels='last'"):
        Dataset.from_pixels(PIXELS[:, 0], LABELS)
    with pytest.raises(DataError, match="N, C, H, W"):
        replace(BYTES, stored=BYTES.stored.flatten(1))
    with pytest.raises(DataError, match="pixels are scaled"):
        replace(FLOATS, scaler=Scaler.identity())
    with pytest.raises(DataError, match="no rows"):
        Dataset.from_pixels(PIXELS[:0], LABELS[:0])
