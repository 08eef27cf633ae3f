"""What the last linear layer reads, caught in the same forward pass that gives the logits; and gradients row by row.

With p the probabilities, y the label and h the layer's input, the gradient of the loss for the layer's weights is
(p - onehot(y)) h^T: p and h say all that a backward pass for every row would. All other layers need one.

N rows, B rows of a batch, C classes, H inputs, L parameter tensors.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from safecompress.attacks.signals import Floats, Signals
from safecompress.errors import AttackError
from safecompress.training import evaluating, predict_logits

GRADIENT_FLOATS = 2**22
"""How many numbers the gradients of one batch may hold (16 MB), where no batch size is given: more is slower again."""


def predict_with_hidden(
    model: nn.Module, features: Tensor, *, batch_size: int = 1024
) -> tuple[Tensor, NDArray[np.float32] | None]:
    """Logits (N, C) on the CPU, and the input (N, H) of the linear layer that made them.

    The second is None when the logits are not, as they are, the output of a linear layer over vectors: a model without
    one, or with anything behind it (a temperature, a softmax, an activation in place). A layer that is called several
    times gives the input of the last call, so that (p - onehot(y)) h^T is the gradient for that use of its weights.
    A model that answers in a runtime of its own may have ``with_hidden``, which gives both for a batch. Raises
    AttackError when the model returns something else than one tensor.
    """
    device = next(model.parameters()).device
    logits: list[Tensor] = []
    hidden: list[Tensor] = []
    if callable(with_hidden := getattr(model, "with_hidden", None)):  # a runtime that no hook reaches
        pairs = [with_hidden(batch) for batch in torch.split(features, batch_size)]
        is_whole = all(read is not None for _, read in pairs)
        return torch.cat([gave for gave, _ in pairs]), torch.cat([r for _, r in pairs]).numpy() if is_whole else None
    # version counters, which tell of changes in place, exist outside inference mode only
    with torch.inference_mode(False), torch.no_grad(), evaluating(model), _LastLinear(model) as last:
        for batch in torch.split(features, batch_size):
            last.call = None
            output = model(batch.to(device))
            if not isinstance(output, Tensor):
                raise AttackError(
                    f"The model returns a {type(output).__name__}; an attack needs logits, one tensor (N, classes). "
                    "Wrap it in a module that returns its logits alone."
                )
            logits.append(output.cpu())
            caught = last.input_behind(output)
            if caught is not None:
                hidden.append(caught.float().cpu())
    is_whole = len(hidden) == len(logits)
    return torch.cat(logits), torch.cat(hidden).numpy() if is_whole else None


class _LastLinear:
    """Remembers input and output of the linear layer that was called last; a context manager."""

    def __init__(self, model: nn.Module) -> None:
        self.call: tuple[Tensor, int, Tensor, int] | None = None
        self._layers = [module for module in model.modules() if isinstance(module, nn.Linear)]

    def __enter__(self) -> _LastLinear:
        self._hooks = [layer.register_forward_hook(self._catch, with_kwargs=True) for layer in self._layers]
        return self

    def __exit__(self, *_: object) -> None:
        for hook in self._hooks:
            hook.remove()

    def input_behind(self, logits: Tensor) -> Tensor | None:
        """What the layer read, if what it gave is what came out of the model, and neither was changed in place."""
        if self.call is None:
            return None
        read, read_version, gave, gave_version = self.call
        is_as_it_was = (_version(read), _version(gave)) == (read_version, gave_version)
        return read if is_as_it_was and torch.equal(gave, logits) else None

    def _catch(self, layer: nn.Module, inputs: tuple[Tensor, ...], named: dict[str, Any], output: Tensor) -> None:
        read = inputs[0] if inputs else named["input"]
        self.call = read, _version(read), output, _version(output)


def _version(tensor: Tensor) -> int:
    """How often a tensor was changed in place; one made in inference mode cannot be, outside of it."""
    return 0 if tensor.is_inference() else tensor._version


def logit_gradients(signals: Signals) -> Floats:
    """p - onehot(y) (N, C): the gradient of the cross entropy for the logits, exact where p_y rounds to 1."""
    rows = np.arange(len(signals.labels_N))
    gradients_NC = np.exp(signals.log_probs_NC)
    log_p_y = signals.log_probs_NC[rows, signals.labels_N]
    gradients_NC[rows, signals.labels_N] = np.expm1(log_p_y)
    return np.asarray(gradients_NC)


def gradient_norms(model: nn.Module, features: Tensor, labels: Tensor, *, batch_size: int | None = None) -> Floats:
    """The norm (N, L) of each row's loss gradient for every parameter tensor, in the order of ``named_parameters``.

    The model answers each row alone and in evaluation mode (batch norm with running statistics works, dropout rests).
    Rows are taken ``batch_size`` at a time, by default as many as have 16 MB of gradients, through vmap. What vmap
    refuses (control flow or in-place work that depends on values, recurrent layers, custom autograd functions without
    a vmap rule) goes row by row, to the same numbers. The gradient for the logits is taken in double precision and
    its length split off, so that rows of which the model is certain do not round to 0. Raises AttackError when a row
    alone has no gradient, as in batch norm without running statistics.
    """
    signals = Signals(predict_logits(model, features).double().numpy(), labels.numpy().astype(np.int64))
    gradients_NC = logit_gradients(signals)
    length_N = np.linalg.norm(gradients_NC, axis=1)
    units_NC = gradients_NC / np.maximum(length_N, np.finfo(np.float64).tiny)[:, None]
    weights = {name: weight.detach() for name, weight in model.named_parameters()}
    rows = batch_size or max(1, GRADIENT_FLOATS // max(1, sum(weight.numel() for weight in weights.values())))
    device = next(iter(weights.values())).device
    batches = zip(torch.split(features, rows), torch.split(torch.from_numpy(units_NC).float(), rows), strict=True)
    with torch.inference_mode(False), evaluating(model):
        pulled_NL = [
            _pulled_norms(model, weights, batch.to(device), units.to(device)).double().cpu().numpy()
            for batch, units in batches
        ]
    return np.asarray(np.concatenate(pulled_NL) * length_N[:, None])


def _pulled_norms(model: nn.Module, weights: dict[str, Tensor], batch: Tensor, units_BC: Tensor) -> Tensor:
    """Norms (B, L) of the gradients of <logits, units> of each row."""

    def along(weights: dict[str, Tensor], row: Tensor, unit_C: Tensor) -> Tensor:
        logits_C: Tensor = functional_call(model, weights, (row[None],))[0]
        return (logits_C * unit_C).sum()

    def norms(row: Tensor, unit_C: Tensor) -> Tensor:
        return torch.stack([gradient.norm() for gradient in grad(along)(weights, row, unit_C).values()])

    try:
        return vmap(norms)(batch, units_BC)
    except (RuntimeError, ValueError):  # vmap refuses, or the model does: one row alone tells which
        try:
            return torch.stack([norms(row, unit_C) for row, unit_C in zip(batch, units_BC, strict=True)])
        except (RuntimeError, ValueError) as error:
            raise AttackError(
                f"The model has no gradient for a row alone ({error}). Leave out the attack, or the option, that reads "
                "gradients; or make the model answer one row in evaluation mode with differentiable operations."
            ) from error
