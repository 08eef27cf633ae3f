"""An ONNX file is opened and asked once in a process of its own, with limits of memory and time, before it is here.

A graph of a few hundred bytes can claim any memory, or count for ever: only running it tells.
"""

from __future__ import annotations

import functools
import hashlib
import subprocess
import sys
from pathlib import Path

from safecompress.errors import ArtifactError
from safecompress.storage import followed, read_regular

MAX_SECONDS = 60
"""Of processor time, to open the file and to answer two rows; and, four times as long, of the clock."""

FREE_BYTES, MAX_EXPANSION = 4 << 30, 16
"""Address space of the process, of which the runtime takes about one GiB, and more for each byte of the file."""

_CODE = """
import resource, sys
path, room, seconds = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
import numpy, onnxruntime
resource.setrlimit(resource.RLIMIT_AS, (room, room))
resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
options = onnxruntime.SessionOptions()
options.log_severity_level = 4
options.intra_op_num_threads = options.inter_op_num_threads = 1
try:
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    (value,) = session.get_inputs()
    kinds = {"tensor(float)": "float32", "tensor(double)": "float64", "tensor(float16)": "float16"}
    shape = [2, *[int(size) for size in value.shape[1:]]]
    if numpy.prod([float(size) for size in shape]) < 2**27:
        rows = numpy.zeros(shape, kinds[value.type])
        session.run(None, {value.name: rows})
except MemoryError:
    sys.exit(9)
except Exception as error:
    sys.exit(9 if "alloc" in str(error).lower() else 0)  # what else is wrong is said by whoever opens it
"""


def try_out(path: Path) -> None:
    """Raise ArtifactError where the file at ``path`` takes more memory or time than a classifier of its size does."""
    try:
        content = read_regular(path)
    except OSError as error:
        raise ArtifactError(f"{path} cannot be read ({error.strerror or error}). Check the path.") from error
    why = _fault(path, hashlib.sha256(content).hexdigest(), len(content))
    if why is not None:
        raise ArtifactError(f"{path} {why}. Of {len(content):,} bytes no classifier does: export it anew.")


@functools.lru_cache(maxsize=256)
def _fault(path: Path, digest: str, num_bytes: int) -> str | None:
    """What opening the file does that it should not; ``digest`` tells its contents apart."""
    room = FREE_BYTES + MAX_EXPANSION * num_bytes
    command = [sys.executable, "-I", "-c", _CODE, str(followed(path)), str(room), str(MAX_SECONDS)]
    try:
        ended = subprocess.run(command, capture_output=True, timeout=4 * MAX_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        return f"did not answer two rows within {4 * MAX_SECONDS} seconds"
    if ended.returncode in (0, 1):  # 1: the process could not begin, which says nothing of the file
        return None
    if ended.returncode == 9:
        return f"takes more than {room / 2**30:.1f} GiB of memory to open, or to answer two rows"
    return f"ended the process that opened it (signal {-ended.returncode}), or took over {MAX_SECONDS} seconds"
