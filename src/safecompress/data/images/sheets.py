"""Sheets: 10 x 10 small images in one lossless picture, many of them in one .npz file."""

from __future__ import annotations

import io
import itertools
import warnings
from pathlib import Path

import numpy as np
import numpy.typing as npt

from safecompress.data.images.decode import FORMATS, Images, require_pillow
from safecompress.data.tabular.files import read_arrays
from safecompress.errors import DataError

SIDE, CHANNELS = 32, 3
MAX_BYTES = 2**30
"""Of the arrays in one file, unpacked; what claims more is refused before it is read."""


def read_sheets(path: Path, num_classes: int) -> tuple[Images, Images, npt.NDArray[np.bool_]]:
    """The images (N, 3, 32, 32), their labels (N,), and which of them the file marks as duplicates, in ``path``.

    ``blob`` holds the sheets, one picture after another, which ``off`` cuts; ``y`` the labels; ``dup``, where there is
    one, the marks. Raises DataError for what is otherwise, UsageError without Pillow.
    """
    pillow = require_pillow(f"{path} holds image sheets")
    arrays = read_arrays(path, ("blob", "off", "y"), optional=("dup",), limit=MAX_BYTES)
    marks = arrays.pop("dup", np.zeros(0, dtype=np.bool_))
    wrong = [name for name, array in arrays.items() if array.ndim != 1 or array.dtype.kind not in "iu"]
    if wrong or ((arrays["y"] < 0) | (arrays["y"] >= num_classes)).any():
        raise DataError(
            f"{path} must hold rows of whole numbers, labels y from 0 to {num_classes - 1} among them; "
            f"{wrong[0] if wrong else 'y'} is otherwise. Copy the file again."
        )
    content, ends, labels = arrays["blob"].tobytes(), arrays["off"].tolist(), arrays["y"]
    sheets: list[Images] = []
    for start, end in itertools.pairwise(ends):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                opened = pillow.open(io.BytesIO(content[start:end]), formats=FORMATS)
                is_sheet = opened.size == (10 * SIDE, 10 * SIDE)  # asked before memory is taken for it
                sheet = np.asarray(opened.convert("RGB") if is_sheet else ())
        except Exception as error:  # decoders raise errors of many kinds on bytes that are no image
            raise DataError(f"{path}: sheet {len(sheets)} is no image ({error}). Copy the file again.") from error
        if not is_sheet:
            raise DataError(f"{path}: sheet {len(sheets)} is {opened.size}, not 10 x 10 images of {SIDE} x {SIDE}.")
        tiles = sheet.reshape(10, SIDE, 10, SIDE, CHANNELS).transpose(0, 2, 4, 1, 3)
        sheets.append(tiles.reshape(100, CHANNELS, SIDE, SIDE))
    images: Images = np.concatenate(sheets) if sheets else np.empty((0, CHANNELS, SIDE, SIDE), np.uint8)
    if len(images) != len(labels):
        raise DataError(f"{path} holds {len(images)} images and {len(labels)} labels. Copy the file again.")
    if marks.dtype != np.bool_ or marks.shape not in ((0,), labels.shape):
        raise DataError(
            f"{path} must mark duplicates by one bool an image, dup {labels.shape}; got {marks.dtype} {marks.shape}."
        )
    return images, labels.astype(np.uint8), marks if len(marks) else np.zeros(len(labels), dtype=np.bool_)
