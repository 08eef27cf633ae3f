"""Standardisation: fitted on train rows, applied to all."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from safecompress.data import Dataset, DataSplit, Scaler, digits, make_split, standardise
from safecompress.errors import DataError


def test_mean_and_population_deviation_by_hand() -> None:
    scaler = Scaler.fit(torch.tensor([[1.0, 10.0], [3.0, 30.0]]))
    assert (scaler.shift.tolist(), scaler.scale.tolist()) == ([2, 20], [1, 10])
    assert scaler.apply(torch.tensor([[4.0, 0.0]])).tolist() == [[2, -2]]


def test_a_constant_column_is_shifted_and_not_blown_up() -> None:
    features = torch.full((1000, 1), 0.1)  # 0.1 has no exact mean in floating point
    scaler = Scaler.fit(features)
    assert scaler.scale.tolist() == [1]
    assert scaler.apply(features).abs().max() < 1e-6
    assert Scaler.fit(torch.tensor([[1e-44], [2e-44], [2e-44]])).scale.min() > 0


def test_large_values_do_not_overflow() -> None:
    features = torch.tensor([[2e38], [3e38]])  # their sum is past the end of float32
    scaled = Scaler.fit(features).apply(features)
    assert scaled.flatten().tolist() == pytest.approx([-1, 1])


def test_identity_changes_nothing_for_any_shape() -> None:
    for shape in ((3, 2), (3, 1, 4, 4)):
        features = torch.randn(shape, generator=torch.Generator().manual_seed(0))
        assert torch.equal(Scaler.identity().apply(features), features)


def test_only_train_rows_count_and_all_rows_are_scaled_alike() -> None:
    features = np.array([[0.0], [2.0], [100.0], [-50.0]])
    split = DataSplit.from_indices(Dataset.from_arrays(features, [0, 1, 0, 1]), {"train": [0, 1], "test": [2]})
    scaled, scaler = standardise(split)
    assert (scaler.shift.tolist(), scaler.scale.tolist()) == ([1], [1])
    assert scaled.dataset.features.flatten().tolist() == [-1, 1, 99, -51]
    assert scaled.part("test")[0].tolist() == [[99]]
    assert split.dataset.features.flatten().tolist() == [0, 2, 100, -50]


def test_train_rows_of_a_real_split_have_mean_zero_and_deviation_one() -> None:
    scaled, _ = standardise(make_split(digits(image=True), seed=0))
    train = scaled.part("train")[0]
    assert train.mean().abs() < 1e-5 and train.std(correction=0).item() == pytest.approx(1, abs=1e-4)
    assert train.shape[1:] == (1, 8, 8)
    scaled.check()


def test_images_are_scaled_by_channel() -> None:
    pixels = torch.tensor([[[[0.0, 2.0]], [[10.0, 10.0]]], [[[4.0, 6.0]], [[10.0, 10.0]]]])  # 2 images, 2 channels, 1x2
    scaler = Scaler.fit(pixels)
    assert scaler.shift.tolist() == [[[3]], [[10]]] and scaler.scale.shape == (2, 1, 1)
    assert scaler.scale.flatten().tolist() == pytest.approx([5**0.5, 1])
    assert scaler.apply(pixels)[:, 1].tolist() == [[[0, 0]], [[0, 0]]]
    assert torch.allclose(scaler.apply(pixels)[0, 0], torch.tensor([[-3.0, -1.0]]) / 5**0.5)
    with pytest.raises(DataError, match="rows of shape"):
        scaler.apply(torch.zeros(2, 3, 1, 2))


def test_columns_are_scaled_each_for_itself() -> None:
    train = standardise(make_split(digits(), seed=0))[0].part("train")[0]
    deviation = train.std(0, correction=0)
    assert train.mean(0).abs().max() < 1e-5
    assert torch.allclose(deviation[deviation > 0], torch.ones(()), atol=1e-4)


def test_wrong_shapes_are_refused() -> None:
    with pytest.raises(DataError, match=r"shape \(2,\),.*shape \(3,\)"):
        Scaler.fit(torch.zeros(4, 2)).apply(torch.zeros(4, 3))
    with pytest.raises(DataError, match="needs rows"):
        Scaler.fit(torch.zeros(0, 2))


def test_tokens_have_no_mean() -> None:
    words = Dataset.from_tokens(np.arange(60).reshape(60, 1), np.arange(60) % 2, vocab_size=60)
    with pytest.raises(DataError, match="mean or spread"):
        standardise(make_split(words, seed=0))
