"""A saved file, asked: the fastest engine that this machine has for it, chosen by the clock.

Importing this room loads NumPy alone, and an ONNX file is asked without PyTorch.
"""

from safecompress.runtime.load import ENGINES, load
from safecompress.runtime.predictor import Engine, InputOutputSpec, Predictor

__all__ = ["ENGINES", "Engine", "InputOutputSpec", "Predictor", "load"]
