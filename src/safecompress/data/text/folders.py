"""Which files of a folder hold one part of a text dataset."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from safecompress.data.images.class_folders import present
from safecompress.data.text.columnar import STATE
from safecompress.data.text.files import COMPRESSED, KINDS
from safecompress.errors import DataError

_ENDINGS = (*(kind + end for kind in KINDS for end in ("", *COMPRESSED)), ".parquet")
_SHARD = re.compile(r"(.+)-(\d{5})-of-(\d{5})\.parquet")


def find_part(root: Path, stems: Sequence[str], *, subfolders: Sequence[str] = (), called: str) -> list[Path]:
    """The files of one part, in order: the first of ``stems`` that ``root`` or one of its ``subfolders`` has.

    A stem is one file (``train.csv``, ``train.jsonl.xz``), Parquet in pieces (``train-00000-of-00002.parquet``), or the
    folder of a saved dataset (``train/state.json``). Raises DataError, naming what was looked for and what is there,
    when there is none, when a piece is missing, or when one stem stands for several files.
    """
    folders = [root, *(root / name for name in subfolders)]
    for folder in folders:
        for stem in stems:
            forms = _of_stem(folder, stem)
            if len(forms) > 1:
                raise DataError(
                    f"{folder} holds {stem!r} in several forms: {', '.join(forms)}. Keep one of them there, so that it "
                    "is clear which is read."
                )
            if forms:
                return next(iter(forms.values()))
    raise DataError(
        f"{called} is expected in {root} as {' or '.join(stems)} with one of the endings {', '.join(KINDS)} (perhaps "
        f"{' or '.join(COMPRESSED)} after it) or .parquet, or as a saved dataset; {present(root)}. Nothing is "
        "downloaded: put the files there."
    )


def _of_stem(folder: Path, stem: str) -> Mapping[str, list[Path]]:
    """Form -> its files."""
    forms = {stem + end: [folder / (stem + end)] for end in _ENDINGS if (folder / (stem + end)).is_file()}
    pieces = [path for path in folder.glob("*.parquet") if _piece(path) and _piece(path)[0] == stem]
    if pieces:
        forms[f"{stem}-*.parquet"] = _whole(folder, stem, sorted(pieces))
    if (folder / stem / STATE).is_file():
        forms[f"{stem}/{STATE}"] = [folder / stem]
    return forms


def _piece(path: Path) -> tuple[str, ...]:
    """Stem, number and count of a Parquet file in pieces; empty for another."""
    match = _SHARD.fullmatch(path.name)
    return match.groups() if match else ()


def _whole(folder: Path, stem: str, pieces: list[Path]) -> list[Path]:
    """The pieces, when all are there."""
    count = int(_piece(pieces[0])[2])
    wanted = [folder / f"{stem}-{number:05d}-of-{count:05d}.parquet" for number in range(count)]
    missing = [path.name for path in wanted if path not in pieces]
    if missing or len(pieces) != count:
        what = f"lacks {', '.join(missing[:3])}" if missing else "holds pieces of two datasets"
        raise DataError(f"{folder} {what}: copy all pieces of {stem!r}, and no others, there.")
    return wanted
