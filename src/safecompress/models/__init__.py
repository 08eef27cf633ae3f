"""Networks by name: classifiers whose last module is the linear layer that gives the logits."""

from safecompress.models.alexnet import Alexnet
from safecompress.models.cnn import SmallCnn
from safecompress.models.mlp import Mlp
from safecompress.models.resnet import Resnet
from safecompress.models.structure import MODELS, ModelSpec
from safecompress.models.tokenbag import TokenBag
from safecompress.models.transformer import Transformer
from safecompress.models.vgg import Vgg
from safecompress.models.zoo import Timm, Torchvision

__all__ = [
    "MODELS",
    "Alexnet",
    "Mlp",
    "ModelSpec",
    "Resnet",
    "SmallCnn",
    "Timm",
    "TokenBag",
    "Torchvision",
    "Transformer",
    "Vgg",
]
