"""Image files as pixels: opened with care, all of one size, one byte a value."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt

from safecompress.data.memory import require_memory
from safecompress.errors import DataError, UsageError, listing

Images = npt.NDArray[np.uint8]

FORMATS = ("PNG", "JPEG", "BMP", "WEBP")  # no other decoder is ever asked: some run programs
SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp")
MAX_PIXELS = 2**26
"""Of one image file, about 8,000 x 8,000: more is taken for a trap, and refused before memory is."""

_DEEP = ("I", "F")  # modes of more than eight bits a value begin with these


def read_images(
    files: Sequence[Path], root: Path, *, side: int | None = None, must_be: int | None = None, advice: str = ""
) -> Images:
    """The pixels of ``files``, all under ``root``: (N, 3, H, W) uint8, red, green, blue.

    With ``side`` the largest central square of each image is resized to ``side`` x ``side`` (bilinear, averaging);
    without it all must have one size, ``must_be`` x ``must_be`` if given. Alpha is dropped, grey is repeated, tags of
    orientation are not obeyed. Files are read one after another: on two busy cores two threads read images of 32 to 64
    pixels at .66 to .93 times the speed of one, and photographs at .96 times. Raises one DataError that names every
    kind of fault with its first files, and ends with ``advice`` where sizes differ; UsageError without Pillow.
    """
    pillow = require_pillow(f"{root} holds image files")
    images: Images | None = None
    sizes: dict[tuple[int, int], list[str]] = {}
    broken: list[str] = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of odd tags; what is too big is refused below
        for row, file in enumerate(files):
            try:
                pixels = _pixels(pillow, file, side)
            except Exception as error:  # decoders raise errors of many kinds on bytes that are no image
                broken.append(f"{shown(file, root)}: {reason(error, file)}")
                continue
            sizes.setdefault((pixels.shape[1], pixels.shape[0]), []).append(shown(file, root))
            if images is None:
                require_memory((len(files), *pixels.shape), str(root))
                images = np.empty((len(files), 3, *pixels.shape[:2]), dtype=np.uint8)
            if images.shape[2:] == pixels.shape[:2]:
                images[row] = pixels.transpose(2, 0, 1)
    faults = [f"no whole images: {listing('file', broken, 3)}. Copy them again, or delete them."] if broken else []
    odd = {size: names for size, names in sizes.items() if must_be is not None and size != (must_be, must_be)}
    if odd or (must_be is None and len(sizes) > 1):
        wanted = "one size" if must_be is None else f"{must_be} x {must_be} pixels"
        faults.append(f"images must have {wanted}, but {_of_each_size(odd or sizes)}. {advice}".rstrip())
    if faults or images is None:
        raise DataError.from_faults(str(root), faults or ["no image is there."])
    return images


def require_pillow(why: str) -> ModuleType:
    """Pillow's ``Image``. Raises UsageError, beginning with ``why``, when it is not installed."""
    try:
        from PIL import Image
    except ImportError as error:
        raise UsageError(
            f"{why}, and reading them needs Pillow, which is not installed. Install it: pip install pillow"
        ) from error
    module: ModuleType = Image
    return module


def shown(file: Path, root: Path) -> str:
    """The path from ``root`` as a message may repeat it: quoted, control characters escaped."""
    return repr(file.relative_to(root).as_posix())


def reason(error: Exception, file: Path) -> str:
    """Why ``file`` was refused, without the path that most decoders repeat."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    words = str(error).replace(repr(str(file)), "it").replace(str(file), "it")
    return repr(words)[1:-1] or type(error).__name__


def _pixels(pillow: ModuleType, file: Path, side: int | None) -> Images:
    """(H, W, 3). Raises whatever the decoder does, and ValueError for what is no image of bytes."""
    with pillow.open(file, formats=FORMATS) as image:
        width, height = image.size
        if width * height > MAX_PIXELS:
            raise ValueError(f"it claims {width} x {height} pixels, of which {MAX_PIXELS:,} are read at most")
        if image.mode.startswith(_DEEP):
            raise ValueError(f"its values have more than 8 bits (mode {image.mode})")
        if side is not None:
            image.draft("RGB", (2 * side, 2 * side))  # a JPEG much larger than that is decoded at a fraction
        image = image.convert("RGBA") if "transparency" in image.info else image
        image = image.convert("RGB")
        return np.asarray(image if side is None else _square(pillow, image, side))


def _square(pillow: ModuleType, image: Any, side: int) -> Any:
    width, height = image.size
    edge = min(width, height)
    left, top = (width - edge) / 2, (height - edge) / 2
    return image.resize((side, side), pillow.Resampling.BILINEAR, box=(left, top, left + edge, top + edge))


def _of_each_size(files_by_size: dict[tuple[int, int], list[str]]) -> str:
    """``97 are 64 x 64, 2 are 60 x 64 (first: ...)``, the commonest first."""
    by_count = sorted(files_by_size.items(), key=lambda item: -len(item[1]))
    sizes = [f"{len(names)} are {w} x {h} ({', '.join(names[:2])})" for (w, h), names in by_count[:4]]
    rest = sum(len(names) for _, names in by_count[4:])
    return ", ".join([*sizes, *([f"{rest} have {len(by_count) - 4} other sizes"] if rest else [])])
