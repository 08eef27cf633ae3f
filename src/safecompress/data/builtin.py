"""Datasets that need no download: the digits of scikit-learn, and Location-30 from a file that the user has."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from safecompress.data.dataset import Dataset
from safecompress.data.tabular.files import read_arrays
from safecompress.errors import DataError


def digits(*, image: bool = False) -> Dataset:
    """1,797 handwritten digits in 10 classes, values 0 .. 1, rows of shape (64,), or (1, 8, 8) with ``image``.

    Files: none; they come with scikit-learn.

    Source: UCI "Optical Recognition of Handwritten Digits" (test part), as shipped with scikit-learn.
    """
    from sklearn.datasets import load_digits  # slow to import, and only this function needs it

    bunch = load_digits()
    shape = (1, 8, 8) if image else (64,)
    return Dataset.from_arrays((bunch.data / 16).reshape(-1, *shape), bunch.target, name="digits")


def location30(root: str | Path) -> Dataset:
    """Location-30: 5,010 people, 446 visited-or-not columns, 30 classes.

    Files: location30.npz in root.

    The file holds ``x_packed`` (N, 56) uint8, ``np.packbits`` along the features; ``n_features`` (); ``y``
    (N,) 0 .. 29. Raises DataError when the file or one of these arrays is missing or of another shape.
    Source: Shokri et al. 2017, "Membership Inference Attacks against Machine Learning Models" (Foursquare,
    Bangkok).
    """
    path = Path(root) / "location30.npz"
    if not path.is_file():
        raise DataError(
            f"Location-30 is expected in {path}, but there is no such file. Nothing is downloaded: put "
            "location30.npz (arrays x_packed, y and n_features) there, or give the folder that holds it as "
            "root."
        )
    arrays = read_arrays(path, ("x_packed", "y", "n_features"))
    packed, count = arrays["x_packed"], arrays["n_features"]
    fits = count.size == 1 and count.dtype.kind in "iu" and packed.ndim == 2 and packed.dtype == np.uint8
    if not fits or not 0 < int(count.item()) <= 8 * packed.shape[1]:
        raise DataError(
            f"{path} must hold x_packed, uint8 of shape (N, bytes), and n_features, one integer of at most "
            f"8 x bytes; got {packed.dtype} of shape {packed.shape} and n_features = {count}. Pack the "
            "bits with np.packbits(x, axis=1)."
        )
    features = np.unpackbits(packed, axis=1, count=int(count.item()))
    names = [f"location {index}" for index in range(30)]
    return Dataset.from_arrays(features, arrays["y"], name="location30", class_names=names)
