"""Runs a saved model file with the fastest engine that this machine has for it, chosen by timing.

Importing this room loads NumPy alone, and an ONNX file runs without PyTorch.
"""

from safecompress.runtime.load import ENGINES, load
from safecompress.runtime.predictor import Engine, InputOutputSpec, Predictor

__all__ = ["ENGINES", "Engine", "InputOutputSpec", "Predictor", "load"]
