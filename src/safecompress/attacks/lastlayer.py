"""What the last linear layer reads, caught in the same forward pass that gives the logits.

With p the probabilities, y the label and h the layer's input, the gradient of the loss for the layer's weights is
(p - onehot(y)) h^T: p and h say all that a backward pass for every row would. N rows, C classes, H inputs.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from safecompress.training import evaluating


@torch.inference_mode()
def predict_with_hidden(
    model: nn.Module, features: Tensor, *, batch_size: int = 1024
) -> tuple[Tensor, NDArray[np.float32] | None]:
    """Logits (N, C) on the CPU, and the input (N, H) of the linear layer that made them.

    The second is None when the logits are not, as they are, the output of a linear layer over vectors.
    """
    device = next(model.parameters()).device
    logits, hidden = [], []
    with evaluating(model), _LastLinear(model) as last:
        for batch in torch.split(features, batch_size):
            last.output = None
            logits.append(model(batch.to(device)))
            hidden.append(last.input if last.made(logits[-1]) else None)
    caught = [part for part in hidden if part is not None]
    is_whole = len(caught) == len(hidden)
    return torch.cat(logits).cpu(), torch.cat(caught).float().cpu().numpy() if is_whole else None


class _LastLinear:
    """Remembers input and output of the linear layer that was called last; a context manager."""

    def __init__(self, model: nn.Module) -> None:
        self.input: Tensor | None = None
        self.output: Tensor | None = None
        self._layers = [module for module in model.modules() if isinstance(module, nn.Linear)]

    def __enter__(self) -> _LastLinear:
        self._hooks = [layer.register_forward_hook(self._catch) for layer in self._layers]
        return self

    def __exit__(self, *_: object) -> None:
        for hook in self._hooks:
            hook.remove()

    def made(self, logits: Tensor) -> bool:
        """Whether the layer's output is what came out of the model."""
        return self.output is not None and self.output.ndim == 2 and torch.equal(self.output, logits)

    def _catch(self, layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        self.input, self.output = inputs[0], output
