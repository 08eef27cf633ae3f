"""Files: whole or absent, private or published, sealed where they are read back, and never anything but files."""

from safecompress.storage.places import followed, one_file, open_regular, read_regular, real_path
from safecompress.storage.reading import parse_json, read_json, read_tensors
from safecompress.storage.sealed import Seal
from safecompress.storage.whole import (
    PRIVATE,
    PUBLISHED,
    explain,
    is_part,
    make_private_folder,
    sweep_parts,
    tensor_bytes,
    write_bytes,
    write_json,
    write_tensors,
    writing,
)

__all__ = [
    "PRIVATE",
    "PUBLISHED",
    "Seal",
    "explain",
    "followed",
    "is_part",
    "make_private_folder",
    "one_file",
    "open_regular",
    "parse_json",
    "read_json",
    "read_regular",
    "read_tensors",
    "real_path",
    "sweep_parts",
    "tensor_bytes",
    "write_bytes",
    "write_json",
    "write_tensors",
    "writing",
]
