"""The compressed model as a file: packed to about its entropy, written whole or not at all, and ready to predict."""

from safecompress.export.artifact import Artifact
from safecompress.export.packing import Packing
from safecompress.export.served import ServedModel
from safecompress.export.sizes import ByteCount, reference_size_bytes
from safecompress.export.task import TaskInfo

__all__ = ["Artifact", "ByteCount", "Packing", "ServedModel", "TaskInfo", "reference_size_bytes"]
