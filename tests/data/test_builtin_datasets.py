"""The built-in datasets and the names they are made by."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from safecompress.data import DATASETS, digits, location30, row_keys
from safecompress.errors import DataError, UsageError

LOCATION30 = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "location30"


def test_digits_are_scaled_flat_rows_or_images() -> None:
    flat, image = digits(), digits(image=True)
    assert (flat.num_rows, flat.input_shape, image.input_shape) == (1797, (64,), (1, 8, 8))
    assert flat.class_names == tuple("0123456789")
    assert (flat.features.min(), flat.features.max()) == (0, 1)
    assert torch.equal(flat.features, image.features.reshape(1797, 64))
    assert flat.labels[:10].tolist() == list(range(10))


@pytest.mark.skipif(not (LOCATION30 / "location30.npz").is_file(), reason=f"no location30.npz in {LOCATION30}")
def test_location30_as_published() -> None:
    data = location30(LOCATION30)
    assert (data.num_rows, data.input_shape, data.num_classes) == (5010, (446,), 30)
    assert data.class_names[7] == "location 7"
    assert data.features.unique().tolist() == [0, 1]
    assert data.features.sum(1).mean() == pytest.approx(53.7, abs=0.05)
    assert sorted(torch.bincount(data.labels).tolist())[::29] == [97, 308]
    assert len(set(row_keys(data))) == 5010


def pack(folder: Path, **changes: object) -> Path:
    rows = np.arange(60)
    bits = (rows[:, None] >> np.arange(11)) & 1
    arrays = {"x_packed": np.packbits(bits.astype(np.uint8), axis=1), "y": (rows % 30).astype(np.uint8)}
    kept = {name: array for name, array in {**arrays, "n_features": 11, **changes}.items() if array is not None}
    np.savez(folder / "location30.npz", **kept)
    return folder


def test_location30_unpacks_the_bits_it_is_given(tmp_path: Path) -> None:
    data = location30(str(pack(tmp_path)))
    assert data.input_shape == (11,)
    assert data.features[37].tolist() == [1, 0, 1, 0, 0, 1, 0, 0, 0, 0, 0]
    assert data.labels[37] == 7


def test_a_location30_that_is_absent_or_another_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"expected in .*location30\.npz") as caught:
        location30(tmp_path)
    assert str(tmp_path) in str(caught.value)
    assert "Nothing is downloaded" in str(caught.value)
    with pytest.raises(DataError, match="no array 'n_features'"):
        location30(pack(tmp_path, n_features=None))
    with pytest.raises(DataError, match="n_features = 17"):
        location30(pack(tmp_path, n_features=17))
    with pytest.raises(DataError, match="float64 of shape"):
        location30(pack(tmp_path, x_packed=np.zeros((60, 2))))


def test_datasets_are_made_by_name(tmp_path: Path) -> None:
    assert {
        "digits", "location30", "adult", "cifar10", "cifar100", "tiny_imagenet", "image_folder", "npz", "csv"
    } <= set(DATASETS.builtins)  # fmt: skip
    assert DATASETS.make("digits").input_shape == (64,)
    assert DATASETS.make({"name": "digits", "image": True}).input_shape == (1, 8, 8)
    (tmp_path / "t.csv").write_text("a,b\n1,x\n2,y\n")
    assert DATASETS.make({"name": "csv", "path": str(tmp_path / "t.csv"), "label": "b"}).class_names == ("x", "y")
    with pytest.raises(UsageError, match="mean 'digits'"):
        DATASETS.make("digit")
