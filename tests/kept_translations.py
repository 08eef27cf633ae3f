"""Exports to ONNX read the source of PyTorch's translations once a process: two thirds of exporting a small network.

They do not depend on what is exported, and the exporter changes none of them.
"""

import functools

import torch


def keep_translations():
    """Keep what the first export reads. Another version of PyTorch, which may keep it elsewhere, reads it each time."""
    export = torch.onnx.export

    @functools.wraps(export)
    def exported(*args, **kwargs):
        _keep()
        return export(*args, **kwargs)

    torch.onnx.export = exported


@functools.cache
def _keep():
    try:
        from torch.onnx._internal.exporter._registration import ONNXRegistry

        ONNXRegistry.from_torchlib = staticmethod(functools.cache(ONNXRegistry.from_torchlib))
    except (ImportError, AttributeError):
        pass
