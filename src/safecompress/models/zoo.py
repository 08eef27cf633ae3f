"""Networks of torchvision and of timm by name, where those packages are installed."""

# N samples, H height, W width, C classes

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from safecompress.errors import ModelError, suggest
from safecompress.models.checks import require_classes, require_image


class Torchvision(nn.Module):
    """The torchvision classifier called ``architecture``, such as "resnet18", with fresh weights.

    ``forward`` maps images (N, 3, H, W) to logits (N, num_classes). Raises ModelError where torchvision cannot be
    imported, knows no such classifier, or the images have not 3 channels.
    """

    def __init__(self, input_shape: tuple[int, ...], num_classes: int, architecture: str) -> None:
        super().__init__()
        require_image("torchvision", input_shape)
        require_classes(num_classes)
        try:
            from torchvision import models
        except (ImportError, RuntimeError) as error:  # a build for another torch raises RuntimeError
            raise _absent("torchvision", error) from error
        known = models.list_models(module=models)
        if architecture not in known:
            raise ModelError(f"torchvision has no classifier {architecture!r}. {suggest(architecture, known)}")
        if input_shape[0] != 3:
            raise ModelError(f"torchvision's networks read 3 channels, and the data has {input_shape[0]}.")
        self.network: nn.Module = models.get_model(architecture, weights=None, num_classes=num_classes)

    def forward(self, inputs_NCHW: Tensor) -> Tensor:
        """Logits (N, C) of images (N, 3, H, W)."""
        logits_NC: Tensor = self.network(inputs_NCHW)
        return logits_NC


class Timm(nn.Module):
    """The timm classifier called ``architecture``, such as "mobilenetv3_small_100", with fresh weights.

    ``forward`` maps images (N, channels, H, W) to logits (N, num_classes). Raises ModelError where timm cannot be
    imported or knows no such classifier.
    """

    def __init__(self, input_shape: tuple[int, ...], num_classes: int, architecture: str) -> None:
        super().__init__()
        require_image("timm", input_shape)
        require_classes(num_classes)
        try:
            import timm
        except (ImportError, RuntimeError) as error:  # it imports torchvision, whose build may be for another torch
            raise _absent("timm", error) from error
        if not timm.is_model(architecture):
            raise ModelError(f"timm has no classifier {architecture!r}. {suggest(architecture, timm.list_models())}")
        options: dict[str, Any] = {"num_classes": num_classes, "in_chans": input_shape[0], "pretrained": False}
        self.network: nn.Module = timm.create_model(architecture, **options)

    def forward(self, inputs_NCHW: Tensor) -> Tensor:
        """Logits (N, C) of images (N, channels, H, W)."""
        logits_NC: Tensor = self.network(inputs_NCHW)
        return logits_NC


def _absent(package: str, error: Exception) -> ModelError:
    return ModelError(
        f"Models of {package} need that package, and it cannot be imported here ({error}). Install the {package} that "
        "goes with this PyTorch, or choose one of the package's own networks."
    )
