"""What the shell offers after TAB: spec files, artifacts, and the names that a spec knows."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path


def files_ending(*endings: str) -> Callable[[str], list[str]]:
    """A completion that offers folders, and files whose names end in one of ``endings``."""

    def complete(incomplete: str) -> list[str]:
        typed = Path(incomplete)
        folder = typed if incomplete.endswith("/") or not incomplete else typed.parent
        begun = "" if incomplete.endswith("/") else typed.name
        return sorted(_offers(folder, begun, endings))

    return complete


spec_files = files_ending(".toml")
artifacts = files_ending(".safetensors", ".onnx")


def dataset_names(incomplete: str) -> list[str]:
    """Data sets, and files of one's own."""
    from safecompress.data import DATASETS

    names = [name for name in DATASETS.names() if name.startswith(incomplete)]
    return names + files_ending(".csv", ".npz", ".jsonl", ".tsv", ".parquet")(incomplete)


def model_names(incomplete: str) -> list[str]:
    """Networks."""
    from safecompress.models import MODELS

    return [name for name in MODELS.names() if name.startswith(incomplete)]


def known_names(incomplete: str) -> list[str]:
    """All that a spec can name."""
    from safecompress.cli._support.names import all_kinds

    names = {one.name for kind in all_kinds() for one in kind.names}
    return sorted(name for name in names if name.startswith(incomplete))


def _offers(folder: Path, begun: str, endings: tuple[str, ...]) -> Iterable[str]:
    try:
        entries = [*folder.iterdir()]
    except OSError:
        return
    for entry in entries:
        if not entry.name.startswith(begun) or (entry.name.startswith(".") and not begun):
            continue
        if entry.is_dir():
            yield f"{entry}/"
        elif entry.name.endswith(endings):
            yield str(entry)
