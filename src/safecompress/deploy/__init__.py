"""The compressed model as a file: packed to about its entropy, whole or absent, and ready to predict."""

from safecompress.deploy.artifact import Artifact, TaskInfo
from safecompress.deploy.sizes import ByteCount, reference_size_bytes

__all__ = ["Artifact", "ByteCount", "TaskInfo", "reference_size_bytes"]
