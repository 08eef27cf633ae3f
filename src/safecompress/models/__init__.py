"""Networks by name: small classifiers whose last module is the linear layer that gives the logits."""

from safecompress.models.cnn import SmallCnn
from safecompress.models.mlp import Mlp
from safecompress.models.resnet import Resnet
from safecompress.models.structure import MODELS, ModelSpec
from safecompress.models.vgg import Vgg

__all__ = ["MODELS", "Mlp", "ModelSpec", "Resnet", "SmallCnn", "Vgg"]
