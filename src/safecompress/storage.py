"""Files that are whole or absent: write beside, flush, rename. Tensors are safetensors; nothing here unpickles."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safecompress.errors import ArtifactError, StorageError

if TYPE_CHECKING:
    import torch


def write_bytes(path: Path, content: bytes, *, mode: int = 0o644) -> None:
    """Write ``content`` to ``path`` so that a reader sees the old file or the new one, never a part.

    Raises StorageError when the disk is full, the folder is missing or may not be written; ``path`` is then untouched.
    """
    temporary: Path | None = None
    with writing(path):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name[:64]}.", suffix=".part")
            temporary = Path(name)
            with os.fdopen(handle, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            temporary.chmod(mode)
            temporary.replace(path)
        finally:
            if temporary is not None:
                temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn what the system refuses while writing ``path`` into a StorageError that says what to do."""
    try:
        yield
    except OSError as error:
        raise StorageError(explain(error, path)) from error


def explain(os_error: OSError, path: Path) -> str:
    """One paragraph for a person: what the system refused, where, and what to do."""
    if os_error.errno in (errno.ENOSPC, errno.EDQUOT):
        return (
            f"No room left to write {path}. What was saved before is intact; free some space and run the same "
            "command again."
        )
    if os_error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return f"{path} may not be written ({os_error.strerror}). Choose another folder, or change its permissions."
    if os_error.errno in (errno.ENOTDIR, errno.EEXIST):
        return (
            f"{path} cannot be made: a file stands where a folder is needed. Choose another folder, or move that file."
        )
    return f"{path} could not be written ({os_error.strerror or os_error}). What was saved before is intact."


def write_json(path: Path, value: Any, *, mode: int = 0o644) -> None:
    """Write ``value`` as indented JSON, keys in their own order; NaN is refused rather than written as no-JSON."""
    write_bytes(path, (json.dumps(value, indent=2, allow_nan=False, ensure_ascii=False) + "\n").encode(), mode=mode)


def read_json(path: Path) -> Any:
    """The JSON in ``path``. Raises ArtifactError when it is missing or broken."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ArtifactError(f"{path} cannot be read ({error.strerror or error}). Check the path.") from error
    except ValueError as error:
        raise ArtifactError(f"{path} is not JSON ({error}). Delete it, and run again to make it anew.") from error


def write_tensors(path: Path, tensors: Mapping[str, torch.Tensor], metadata: Mapping[str, str] | None = None) -> None:
    """Write named tensors and string metadata as one safetensors file."""
    from safetensors.torch import save as dump_safetensors  # brings PyTorch along, which plain files do without

    contiguous = {name: tensor.detach().to("cpu").contiguous() for name, tensor in tensors.items()}
    write_bytes(path, dump_safetensors(contiguous, dict(metadata or {})))


def read_tensors(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """The tensors and the metadata of a safetensors file.

    Raises ArtifactError when the file is missing, truncated, or no safetensors file (a pickle, say, is refused unread).
    """
    from safetensors import SafetensorError
    from safetensors.torch import load as load_safetensors

    try:
        content = path.read_bytes()
    except OSError as error:
        raise ArtifactError(f"{path} cannot be read ({error.strerror or error}). Check the path.") from error
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
