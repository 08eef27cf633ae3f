"""What the last linear layer reads and gives, caught in the forward pass of the logits; and gradients row by row.

With p the probabilities, y the label and h the layer's input, the gradient of the loss for the layer's weights is
(p - onehot(y)) h^T: p and h say all that a backward pass for every row would. All other layers need one.

N rows, B rows of a batch, C classes, H inputs, L parameter tensors.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from safecompress.attacks.signals import Floats, Signals
from safecompress.errors import AttackError
from safecompress.training import evaluating

GRADIENT_FLOATS = 2**22
"""How many numbers the gradients of one batch may hold (16 MB), where no batch size is given: more is slower again."""

Rows = NDArray[np.float32] | None


def predict_with_hidden(model: nn.Module, features: Tensor, *, batch_size: int = 1024) -> tuple[Tensor, Rows, Rows]:
    """Logits (N, C) on the CPU, and input (N, H) and output (N, C) of the linear layer that makes them.

    That is the layer whose output the logits are. Where something stands behind it (a temperature, a softmax, a
    wrapper), it is the layer called last among those that give C numbers a row, or else the layer called last. The
    third is None where the logits are the layer's output as it is, and where it does not give C numbers a row. A layer
    that reads sequences is read as the mean over their places. The second is None for a model without a linear layer
    that reads rows. A layer that is called several times gives its last call, so that (p - onehot(y)) h^T is the
    gradient for that use of its weights. A model that answers in a runtime of its own may have ``with_hidden``, which
    gives the first two for a batch. Raises AttackError when the model returns something else than one tensor.
    """
    device = next(model.parameters()).device
    batches = torch.split(features, batch_size)
    if callable(with_hidden := getattr(model, "with_hidden", None)):  # a runtime that no hook reaches
        pairs = [with_hidden(batch) for batch in batches]
        return torch.cat([gave for gave, _ in pairs]), _joined([read for _, read in pairs]), None
    logits: list[Tensor] = []
    calls: list[HeadCall | None] = []
    # version counters, which tell of changes in place, exist outside inference mode only
    with torch.inference_mode(False), torch.no_grad(), evaluating(model), LinearCalls(model) as linear:
        for batch in batches:
            linear.forget(len(batch))
            output = model(batch.to(device))
            if not isinstance(output, Tensor):
                raise AttackError(
                    f"The model returns a {type(output).__name__}; an attack needs logits, one tensor (N, classes). "
                    "Wrap it in a module that returns its logits alone."
                )
            logits.append(output.cpu())
            calls.append(linear.head_of(output))
    hidden = _joined([None if call is None else call.hidden for call in calls])
    inner = None
    if any(call and not call.is_output for call in calls):
        inner = _joined([call.gave.float().cpu() if call and call.gives_logits else None for call in calls])
    return torch.cat(logits), hidden, inner


def _joined(parts: list[Tensor | None]) -> Rows:
    """The parts (B, K) as one array; None unless there is one for each batch, all of one width."""
    whole = [part for part in parts if part is not None]
    if len(whole) < len(parts) or len({part.shape[1:] for part in whole}) != 1:
        return None
    joined: NDArray[np.float32] = torch.cat(whole).numpy()
    return joined


@dataclass(frozen=True, eq=False)
class HeadCall:
    """One call of the ``layer`` that makes the logits: what it ``read`` and ``gave``.

    ``is_output`` says that the logits are what it gave, ``gives_logits`` that it gave as many numbers a row.
    """

    layer: nn.Linear
    read: Tensor
    gave: Tensor
    is_output: bool
    gives_logits: bool

    @property
    def hidden(self) -> Tensor:
        """What it read of each row (B, H), a sequence as the mean over its places."""
        return self.read.flatten(1, -2).mean(dim=1).float().cpu() if self.read.ndim > 2 else self.read.float().cpu()


class LinearCalls:
    """Remembers the calls of linear layers that may have made the logits; a context manager."""

    def __init__(self, model: nn.Module) -> None:
        self._layers = [module for module in model.modules() if isinstance(module, nn.Linear)]
        self.forget(0)

    def __enter__(self) -> LinearCalls:
        self._hooks = [layer.register_forward_hook(self._catch, with_kwargs=True) for layer in self._layers]
        return self

    def __exit__(self, *_: object) -> None:
        for hook in self._hooks:
            hook.remove()

    def forget(self, num_rows: int) -> None:
        """Begin another forward pass, of ``num_rows`` rows."""
        self._num_rows = num_rows
        self._on_rows: list[tuple[nn.Linear, Tensor, Tensor]] = []
        self._on_sequences: tuple[nn.Linear, Tensor, int, Tensor] | None = None

    def head_of(self, logits: Tensor) -> HeadCall | None:
        """The call that made ``logits`` (B, C), as far as it can be told; None where no layer read the rows."""
        found: HeadCall | None = None
        for layer, read, gave in self._on_rows:
            gives_logits = gave.shape == logits.shape
            is_output = gives_logits and torch.equal(gave, logits)
            if found is None or (is_output, gives_logits) >= (found.is_output, found.gives_logits):
                found = HeadCall(layer, read, gave, is_output, gives_logits)
        if found is not None or self._on_sequences is None:
            return found
        layer, read, version, gave = self._on_sequences
        return HeadCall(layer, read, gave, False, False) if _version(read) == version else None

    def _catch(self, layer: nn.Linear, inputs: tuple[Tensor, ...], named: dict[str, Any], output: Tensor) -> None:
        read = inputs[0] if inputs else named["input"]
        if len(read) != self._num_rows:
            return
        if read.ndim == 2:
            self._on_rows.append((layer, read.clone(), output.clone()))  # whatever is done to them in place
        elif read.ndim > 2:
            self._on_sequences = layer, read, _version(read), output  # the last alone, uncopied: sequences are large


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

    Where something stands behind the layer that gives the logits, the loss is that of the layer's output: whoever has
    the weights leaves the rest out. A model that answers in a runtime of its own may have ``differentiable``, a network
    with the same answers whose gradients are taken, or None.

    The model answers each row alone and in evaluation mode (batch norm with running statistics works, dropout rests).
    Rows are taken ``batch_size`` at a time, by default as many as have 16 MB of gradients, through vmap. What vmap
    refuses (control flow or in-place work that depends on values, recurrent layers, custom autograd functions without
    a vmap rule) goes row by row, to the same numbers. The gradient for the logits is taken in double precision and
    its length split off, so that rows of which the model is certain do not round to 0. Raises AttackError when a row
    alone has no gradient, as in batch norm without running statistics.
    """
    model = _differentiable(model)
    head, logits_NC = _logits_of_head(model, features)
    gradients_NC = logit_gradients(Signals(logits_NC, labels.numpy().astype(np.int64)))
    length_N = np.linalg.norm(gradients_NC, axis=1)
    units_NC = gradients_NC / np.maximum(length_N, np.finfo(np.float64).tiny)[:, None]
    weights = {name: weight.detach() for name, weight in model.named_parameters()}
    rows = batch_size or max(1, GRADIENT_FLOATS // max(1, sum(weight.numel() for weight in weights.values())))
    device = next(iter(weights.values())).device
    batches = zip(torch.split(features, rows), torch.split(torch.from_numpy(units_NC).float(), rows), strict=True)
    with torch.inference_mode(False), evaluating(model):
        pulled_NL = [
            _pulled_norms(_Logits(model, head), weights, batch.to(device), units.to(device)).double().cpu().numpy()
            for batch, units in batches
        ]
    longest = float(np.finfo(np.float32).max)  # rows of huge features overflow, and no times infinity is no number
    return np.asarray(np.nan_to_num(np.concatenate(pulled_NL), nan=longest, posinf=longest) * length_N[:, None])


def _differentiable(model: nn.Module) -> nn.Module:
    """The network whose gradients are the model's. Raises AttackError where there is none."""
    network: nn.Module | None = getattr(model, "differentiable", model)
    if network is None:
        raise AttackError(
            f"A {type(model).__name__} has no gradients: it answers in a runtime of its own, and the network that it "
            "was exported from is not known. Audit the artifact that it was exported from, or the file in its run "
            "folder."
        )
    return network


def _logits_of_head(model: nn.Module, features: Tensor) -> tuple[nn.Linear | None, Floats]:
    """The layer whose output is the logits where something stands behind it, else None; and those logits (N, C)."""
    logits, _, inner = predict_with_hidden(model, features)
    if inner is None:
        return None, logits.double().numpy()
    with torch.no_grad(), evaluating(model), LinearCalls(model) as linear:
        few = features[:2]  # batch norm without statistics refuses one row
        linear.forget(len(few))
        call = linear.head_of(model(few.to(next(model.parameters()).device)))
    return (None, logits.double().numpy()) if call is None else (call.layer, inner.astype(np.float64))


@dataclass(frozen=True, eq=False)
class _Logits:
    """The logits of ``model`` with given weights: its output, or what its ``head`` gives where there is one."""

    model: nn.Module
    head: nn.Linear | None

    def __call__(self, weights: dict[str, Tensor], samples: Tensor) -> Tensor:
        caught: list[Tensor] = []
        head, hook = self.head, None
        if head is not None:
            hook = head.register_forward_hook(lambda layer, inputs, output: caught.append(output.clone()))
        try:
            output: Tensor = functional_call(self.model, weights, (samples,))
        finally:
            if hook is not None:
                hook.remove()
        return caught[-1] if caught else output


def _pulled_norms(logits: _Logits, weights: dict[str, Tensor], batch: Tensor, units_BC: Tensor) -> Tensor:
    """Norms (B, L) of the gradients of <logits, units> of each row."""

    def along(weights: dict[str, Tensor], row: Tensor, unit_C: Tensor) -> Tensor:
        return (logits(weights, row[None])[0] * unit_C).sum()

    def norms(row: Tensor, unit_C: Tensor) -> Tensor:
        return torch.stack([gradient.norm() for gradient in grad(along)(weights, row, unit_C).values()])

    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="There is a performance drop")  # an operator without a rule
            return vmap(norms)(batch, units_BC)
    except (RuntimeError, ValueError):  # vmap refuses, or the model does: one row alone tells which
        try:
            return torch.stack([norms(row, unit_C) for row, unit_C in zip(batch, units_BC, strict=True)])
        except (RuntimeError, ValueError) as error:
            raise AttackError(
                f"The model has no gradient for a row alone ({error}). Leave out the attack, or the option, that reads "
                "gradients; or make the model answer one row in evaluation mode with differentiable operations."
            ) from error
