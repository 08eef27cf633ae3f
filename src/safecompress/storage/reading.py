"""Reads JSON and tensors from files that may hold anything: with limits, without code, every fault in words."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safecompress.errors import ArtifactError
from safecompress.storage.places import read_regular

if TYPE_CHECKING:
    import torch

MAX_JSON_BYTES = 256 << 20
"""Of a file of JSON. A report has about 100 kB, a ledger line of 100,000 rows 10 MB."""

MAX_DEPTH = 64
"""Of lists and objects in one another. A report has 7."""


def parse_json(text: str | bytes, *, is_strict: bool = True) -> Any:
    """The value of a JSON text. Raises ValueError for anything else, and where it is nested deeper than `MAX_DEPTH`.

    NaN, infinite numbers and halves of characters are refused, unless ``is_strict`` is False, for data of others.
    """
    strictly: dict[str, Any] = {"parse_constant": _refuse_constant, "parse_float": _finite} if is_strict else {}
    try:
        value = json.loads(text, **strictly)
    except RecursionError:
        raise ValueError(_TOO_DEEP) from None
    _require_shallow(value)
    if is_strict and _HALF.search(text if isinstance(text, str) else text.decode("latin-1")):
        json.dumps(value, ensure_ascii=False).encode()  # UnicodeEncodeError, which is a ValueError
    return value


def read_json(path: Path) -> Any:
    """The JSON in ``path``. Raises ArtifactError when it is missing or broken."""
    try:
        content = read_regular(path, at_most=MAX_JSON_BYTES)
    except OSError as error:
        raise ArtifactError(f"{path} cannot be read ({error.strerror or error}). Check the path.") from error
    try:
        return parse_json(content.decode("utf-8"))
    except ValueError as error:
        raise ArtifactError(f"{path} is not JSON ({error}): it is truncated, altered or of another kind.") from error


def read_tensors(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """The tensors and the metadata of a safetensors file.

    Raises ArtifactError when the file is missing, truncated, or no safetensors file (a pickle, say, is refused unread).
    """
    try:
        content = read_regular(path)
    except OSError as error:
        raise ArtifactError(f"{path} cannot be read ({error.strerror or error}). Check the path.") from error
    return parse_tensors(content, path)


def parse_tensors(content: bytes, path: Path) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """What `read_tensors` returns and raises, of the bytes of the file at ``path``."""
    from safetensors import SafetensorError
    from safetensors.torch import load as load_safetensors  # brings PyTorch along, which plain files do without

    try:
        tensors = load_safetensors(content)
        header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    except KeyError as error:
        raise ArtifactError(
            f"{path} holds tensors of type {error}, which PyTorch lacks. Store them as float32, float16 or bfloat16."
        ) from error
    except (SafetensorError, ValueError, RuntimeError) as error:
        raise ArtifactError(
            f"{path} is not a whole safetensors file ({error}). It is truncated, altered or of another kind: "
            "make it anew. Pickled checkpoints (.pt, .pth) are never opened; convert them with safetensors first."
        ) from error
    return tensors, header.get("__metadata__") or {}


_HALF = re.compile(r"\\u[dD][89a-fA-F]")
"""An escape for half a character, which no text can hold alone."""

_TOO_DEEP = f"lists and objects are nested deeper than {MAX_DEPTH}"


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON number")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text[:20]} is too large for a number")
    return value


def _require_shallow(value: Any) -> None:
    level = [value]
    for _ in range(MAX_DEPTH + 1):
        level = [
            inner
            for one in level
            if isinstance(one, dict | list)
            for inner in (one.values() if isinstance(one, dict) else one)
            if isinstance(inner, dict | list)
        ]
        if not level:
            return
    raise ValueError(_TOO_DEEP)
