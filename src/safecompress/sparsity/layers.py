"""Which parameters of a model can be sparse, and what a drop or grow rule sees of one of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import cached_property

import numpy as np
import torch
from torch import Tensor, nn

from safecompress.errors import UsageError
from safecompress.networks import find_reparametrised
from safecompress.sparsity.topk import Indices

_DENSE_MODULES = (
    nn.Embedding,
    nn.EmbeddingBag,
    nn.LayerNorm,
    nn.RMSNorm,
    nn.GroupNorm,
    nn.modules.batchnorm._BatchNorm,
)


def find_maskable(
    model: nn.Module, *, include: Sequence[str] = ("*",), exclude: Sequence[str] = ()
) -> dict[str, nn.Parameter]:
    """Parameters that can be sparse, by name: matrices and kernels (two dimensions or more) of no embedding or norm.

    Frozen parameters (no gradient) are left as they are.

    ``include`` and ``exclude`` are globs over parameter names (``classifier.*``). An embedding (and a weight tied to
    it, whichever of the two names it goes by) is taken when a glob other than ``*`` names it. Raises UsageError when
    a glob matches nothing or nothing is left to be sparse.
    """
    dense = {id(p) for m in model.modules() if isinstance(m, _DENSE_MODULES) for p in m.parameters(recurse=False)}
    explicit = [glob for glob in include if glob != "*"]
    _require_plain(model, include, exclude)
    matrices = {
        name: p for name, p in model.named_parameters() if p.ndim >= 2 and p.is_floating_point() and p.requires_grad
    }
    for glob in [*explicit, *exclude]:
        if not any(fnmatchcase(name, glob) for name in matrices):
            raise UsageError(f"The glob {glob!r} matches no weight. The model's weights: {', '.join(matrices)}.")

    def is_chosen(name: str, weight: nn.Parameter) -> bool:
        if any(fnmatchcase(name, glob) for glob in exclude):
            return False
        return any(fnmatchcase(name, glob) for glob in explicit) or ("*" in include and id(weight) not in dense)

    chosen = {name: parameter for name, parameter in matrices.items() if is_chosen(name, parameter)}
    if not chosen:
        raise UsageError(
            f"No weight of the model is left to be sparse (include={list(include)}, exclude={list(exclude)}). "
            f"Its weights: {', '.join(matrices) or 'none with two dimensions'}."
        )
    return chosen


def _require_plain(model: nn.Module, include: Sequence[str], exclude: Sequence[str]) -> None:
    """Raise UsageError for a chosen weight that is computed from others: zeros in those are no zeros in the weight."""
    for one in find_reparametrised(model):
        names = [f"{one.place}.{name}".lstrip(".") for name in one.stored]
        chosen = [name for name in names if any(fnmatchcase(name, glob) for glob in include)]
        if any(not any(fnmatchcase(name, glob) for glob in exclude) for name in chosen):
            raise UsageError(
                f"The weight {one.path!r} is computed by {one.kind} from {' and '.join(names)}: a mask on those would "
                f"not be one on the weight. Make it a plain parameter before the optimizer is made: {one.remedy}. Or "
                f"leave it out: exclude=[{names[0].rpartition('.')[0] + '.*'!r}]."
            )


SIGNED = ("gradient", "momentum", "gap_gradient")
"""Arrays of a view that have signs, the weights apart; of a block or a unit there are only their norms."""


@dataclass(frozen=True, eq=False)
class LayerView:
    """One parameter as flat arrays on the CPU, shape (n,) each; a rule reads some and returns indices into them.

    ``gradient`` is the dense gradient of the loss, ``momentum`` its moving average, ``fired`` marks weights that were
    ever active. ``gap_gradient`` is the gradient of the gap that membership attacks read: mean loss of non-members
    minus mean loss of members. Each is None unless a rule asked for it (its ``reads``).

    Where an entry is a block or a unit, its gradients and momentum are L2 norms, which have no sign: they are ``norms``
    by name, and the arrays themselves are None. A rule that needs no sign reads `magnitude`, which is there under every
    shape; one that reads the signs, by `signal`, is refused under blocks and units.
    """

    name: str
    weight: np.ndarray = field(repr=False)
    mask: np.ndarray = field(repr=False)
    gradient: np.ndarray | None = field(default=None, repr=False)
    momentum: np.ndarray | None = field(default=None, repr=False)
    fired: np.ndarray | None = field(default=None, repr=False)
    gap_gradient: np.ndarray | None = field(default=None, repr=False)
    norms: Mapping[str, np.ndarray] = field(default_factory=dict, repr=False)

    @cached_property
    def active(self) -> Indices:
        """Indices of the active weights, ascending."""
        return np.flatnonzero(self.mask)

    @cached_property
    def inactive(self) -> Indices:
        """Indices of the inactive weights, ascending."""
        return np.flatnonzero(~self.mask)

    @property
    def signed(self) -> dict[str, np.ndarray]:
        """The arrays with signs that were collected, the weights apart: those of `SIGNED`."""
        arrays = {name: getattr(self, name) for name in SIGNED}
        return {name: array for name, array in arrays.items() if array is not None}

    def signal(self, name: str) -> np.ndarray:
        """The array called ``name``, with its signs.

        Raises UsageError when it was not collected for this view, or when its entries are norms.
        """
        if name in self.norms:
            raise UsageError(
                f"A rule reads the sign of the {name} of {self.name!r}, and a block or unit has only its norm. Use the "
                f"shape 'weight', or a rule that reads layer.magnitude({name!r})."
            )
        values: np.ndarray | None = getattr(self, name)
        if values is None:
            raise UsageError(
                f"A rule reads the {name} of {self.name!r}, which was not collected. "
                f"Name {name!r} in the rule's `reads`, so that training collects it."
            )
        return values

    def magnitude(self, name: str) -> np.ndarray:
        """The size of the array called ``name``: absolute values, or of blocks and units the norms.

        Raises UsageError when it was not collected for this view.
        """
        return self.norms[name] if name in self.norms else np.abs(self.signal(name))


def flat_array(tensor: Tensor) -> np.ndarray:
    """``tensor`` as an array (n,) on the CPU, without a copy where that is possible; bfloat16 becomes float32."""
    flat = tensor.detach().cpu().reshape(-1)
    return np.asarray((flat.float() if flat.dtype is torch.bfloat16 else flat).numpy())


def view_layers(
    weights: Mapping[str, Tensor],
    masks: Mapping[str, Tensor],
    *,
    gradient: Mapping[str, Tensor] | None = None,
    momentum: Mapping[str, Tensor] | None = None,
    fired: Mapping[str, Tensor] | None = None,
    gap_gradient: Mapping[str, Tensor] | None = None,
) -> list[LayerView]:
    """A view of each masked parameter, in the masks' order. On the CPU the arrays share the tensors' memory."""

    def flat(tensors: Mapping[str, Tensor] | None, name: str) -> np.ndarray | None:
        return None if tensors is None else flat_array(tensors[name])

    return [
        LayerView(
            name,
            weight=flat_array(weights[name]),
            mask=flat_array(mask),
            gradient=flat(gradient, name),
            momentum=flat(momentum, name),
            fired=flat(fired, name),
            gap_gradient=flat(gap_gradient, name),
        )
        for name, mask in masks.items()
    ]
