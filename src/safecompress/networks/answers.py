"""Whether a network's answer for a row depends on that row alone: it is asked together, again, in another order, alone.

N rows.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from safecompress.networks.plain_weights import copied

ROWS = 16
"""Rows that are asked."""

SAME_CALL, SAME_ROW = 1e-4, 2e-3
"""How far answers may differ, as a share of the largest: of equal calls, and of equal rows among others.

Kernels sum in another order for one row than for many, which moves float32 by 1e-6.
"""

COARSE = 5e-2
"""The same for numbers in half precision or 8 bits, whose scale may depend on the batch."""


@dataclass(frozen=True, eq=False)
class _Asked:
    """A network in evaluation mode that is asked, without gradients, and its way to say that answers differ."""

    model: nn.Module
    features: Tensor
    is_coarse: bool

    def of(self, features: Tensor) -> Tensor:
        """The answers for ``features`` (N, ...), which it may do to as it likes."""
        answer: Tensor = self.model(features.clone())
        return answer.detach().cpu().double().clone()

    def differ(self, ours: Tensor, theirs: Tensor, tolerance: float) -> float | None:
        """The largest difference where it is more than ``tolerance``, else None."""
        if ours.shape != theirs.shape:
            return float("inf")
        scale = float(ours.nan_to_num().abs().max())
        apart = float((ours - theirs).abs().nan_to_num().max())
        limit = max(COARSE, tolerance) if self.is_coarse else tolerance
        return apart if apart > limit * scale else None


def fault_of_answers(model: nn.Module, features: Tensor, *, is_coarse: bool = False) -> str | None:
    """Why answers to ``features`` (N, ...) are not those that a device would give row by row, and what to do; or None.

    ``features`` are some rows as the model reads them, two at least; at most 16 are asked. ``is_coarse`` allows for
    numbers of 8 or 16 bits.
    """
    features = features[:ROWS]
    asked = _Asked(model, features, is_coarse)
    if changes_input(model, features):
        return IN_PLACE
    with _evaluating(model), torch.no_grad(), torch.random.fork_rng(devices=[]):
        together = asked.of(features)
        return _again(asked, together) or _in_company(asked, together)


def changes_input(model: nn.Module, features: Tensor) -> bool:
    """Whether a forward pass in evaluation mode changes the tensor that it is given, here ``features`` (N, ...)."""
    with _evaluating(model), torch.no_grad(), torch.random.fork_rng(devices=[]):
        given = features.clone()
        model(given)
        return not torch.equal(given, features)


IN_PLACE = (
    "The model changes the rows that it is given: its forward pass works in place on its input, so whoever asks twice "
    "asks about other rows. Write x = x - 3 in place of x -= 3 or x.sub_(3), leave inplace=True out of the first "
    "layer, or begin with x = x.clone()."
)


def _again(asked: _Asked, first: Tensor) -> str | None:
    """Whether the same call gives the same answers."""
    apart = asked.differ(first, asked.of(asked.features), SAME_CALL)
    if apart is None:
        return None
    seen = f"Asked twice about the same rows, the model gives answers that differ by {apart:.3g}"
    torch.manual_seed(0)
    drawn = asked.of(asked.features)
    torch.manual_seed(0)
    if asked.differ(drawn, asked.of(asked.features), SAME_CALL) is None:
        names = _named(asked.model, lambda module: isinstance(module, _DROPOUT) and module.training)
        left = f" ({names} stays in training mode)" if names else ""
        return (
            f"{seen}: it draws at random in evaluation mode{left}. Let dropout and noise rest there: "
            "F.dropout(x, p, training=self.training), or nn.Dropout."
        )
    return (
        f"{seen}, whatever the random numbers: they depend on the calls before. Keep nothing between two calls in "
        "evaluation mode (hidden states, running averages, counters), or begin each forward pass anew."
    )


def _in_company(asked: _Asked, together: Tensor) -> str | None:
    """Whether a row gets the same answer in another order, and alone."""
    advice = _advice(asked.model)
    order = asked.of(asked.features.flip(0)).flip(0)
    if (apart := asked.differ(together, order, SAME_ROW)) is not None:
        return f"Asked about the same rows in another order, the model's answers differ by {apart:.3g}. {advice}"
    try:
        alone = torch.cat([asked.of(row[None]) for row in asked.features])
    except Exception as error:  # the user's own code runs
        reason = (str(error) or repr(error)).splitlines()[0]
        return f"The model cannot answer for one row alone ({type(error).__name__}: {reason}). {advice}"
    apart = asked.differ(together, alone, SAME_ROW)
    if apart is None:
        return None
    return (
        f"The model's answer for a row depends on the other rows of the call: alone, answers differ by {apart:.3g} "
        f"from those in a batch of {len(together)}, so what is measured here is not what a device answers. {advice}"
    )


def fault_of_training(model: nn.Module, features: Tensor, labels: Tensor) -> str | None:
    """Why the model cannot take a training step on the rows ``features`` (N, ...) with ``labels`` (N,); or None."""
    scratch = copied(model).train()
    if isinstance(model, torch.jit.ScriptModule):
        return SCRIPTED
    try:
        with torch.random.fork_rng(devices=[]), torch.enable_grad(), torch.inference_mode(False):
            loss = nn.functional.cross_entropy(scratch(features.clone()), labels)
            if loss.requires_grad:
                torch.autograd.backward(loss)
    except Exception as error:  # the user's own code runs
        reason = (str(error) or repr(error)).splitlines()[0]
        rows = "one row" if len(features) == 1 else f"{len(features)} rows"
        return f"The model cannot train on a batch of {rows} ({type(error).__name__}: {reason}). " + (
            "Give the recipe a batch_size of 2 or more, or the model a norm that mixes no rows: batch norm takes its "
            "statistics from the batch."
            if len(features) == 1 and _batch_norms(scratch)
            else "It is called with features alone, in training mode, and its answer must lead back to its weights."
        )
    if not any(parameter.grad is not None for parameter in scratch.parameters()):
        return (
            "No gradient reaches a weight of the model, so that nothing can be trained. Leave out torch.no_grad() and "
            "detach() in its forward pass, and give its parameters requires_grad_()."
        )
    return None


SCRIPTED = (
    "A scripted module (torch.jit) can be audited, not trained: nothing can draw new weights in it. Give the module "
    "that it was scripted from, with the scripted one's weights: model.load_state_dict(scripted.state_dict())."
)

_DROPOUT = (nn.modules.dropout._DropoutNd,)


def _advice(model: nn.Module) -> str:
    norms = _batch_norms(model)
    if norms:
        return (
            f"The batch norm {norms} takes its statistics from the batch, in evaluation mode too. Keep running ones "
            "(track_running_stats=True, and eval() not overridden), or use GroupNorm or LayerNorm."
        )
    return (
        "Take no mean, maximum, sort or norm over dimension 0 (the rows) in the forward pass; statistics of the data "
        "belong into buffers."
    )


def _batch_norms(model: nn.Module) -> str:
    """Names of norms that read the batch, in the mode that the model is in."""
    return _named(
        model,
        lambda module: (
            isinstance(module, nn.modules.batchnorm._BatchNorm) and (module.training or module.running_mean is None)
        ),
    )


def _named(model: nn.Module, is_meant: Callable[[nn.Module], bool]) -> str:
    """Names of the modules that are meant, the first three, quoted."""
    names = [repr(name or "model") for name, module in model.named_modules() if is_meant(module)]
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


@contextlib.contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode for a while."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode
