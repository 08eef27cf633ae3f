"""The compressed model as a file: packed to about its entropy, whole or absent, and ready to predict."""

from safecompress.deploy.artifact import Artifact
from safecompress.deploy.packing import Packing
from safecompress.deploy.served import Served
from safecompress.deploy.sizes import ByteCount, reference_size_bytes
from safecompress.deploy.task import TaskInfo

__all__ = ["Artifact", "ByteCount", "Packing", "Served", "TaskInfo", "reference_size_bytes"]
