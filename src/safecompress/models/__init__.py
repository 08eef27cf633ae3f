"""Networks by name: small classifiers whose last module is the linear layer that gives the logits."""

from safecompress.models.cnn import SmallCnn
from safecompress.models.mlp import Mlp
from safecompress.models.structure import MODELS, ModelSpec

__all__ = ["MODELS", "Mlp", "ModelSpec", "SmallCnn"]
