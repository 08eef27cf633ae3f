"""A small dense network with about as many weights as a sparse one keeps: what distillation compresses to."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import replace

from safecompress.errors import UsageError
from safecompress.models import MODELS, ModelSpec
from safecompress.sparsity import find_maskable
from safecompress.studies.methods.inputs import MethodInputs

WIDTHS = {"mlp": "hidden", "cnn": "channels", "resnet": "widths"}
"""The option of each network that holds the widths of its hidden layers."""

_ROUNDING = 1e-9
"""So that a factor which is meant to give a whole width and a half gives the next one, whatever its last bit."""


def small(setting: MethodInputs) -> ModelSpec:
    """The setting's network with hidden widths scaled by one factor, so that its weights are nearest to density x N.

    Weights are those that could be sparse: matrices and kernels, as for the density of a pattern. No width falls below
    1. Raises UsageError for a network whose widths are not known here, or that has none.
    """
    option = WIDTHS.get(setting.model.name)
    widths = _widths(setting.model, option) if option else ()
    if option is None or not widths:
        raise UsageError(
            f"Distillation needs a smaller network of the same kind, and the model {setting.model.name!r} "
            f"({setting.model.describe()}) has no widths that are known. Use one of "
            f"{', '.join(f'{name} ({key})' for name, key in WIDTHS.items())} with a hidden layer, or a method that "
            "prunes."
        )
    wanted = setting.density * count_weights(setting, setting.model)

    def scaled(factor: float) -> ModelSpec:
        narrower = tuple(max(1, int(width * factor + 0.5 + _ROUNDING)) for width in widths)
        return replace(setting.model, options={**setting.model.options, option: narrower})

    # widths change at these factors only, and weights never become fewer when one grows: bisect
    factors = sorted({0.0} | {(half + 0.5) / width for width in widths for half in range(width)})
    low, high = 0, len(factors) - 1
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if count_weights(setting, scaled(factors[middle])) <= wanted else (low, middle)
    candidates = [scaled(factors[low]), scaled(factors[high])]
    return min(candidates, key=lambda model: abs(count_weights(setting, model) - wanted))


def count_weights(setting: MethodInputs, model_spec: ModelSpec) -> int:
    """How many weights of ``model_spec`` could be sparse."""
    return sum(weight.numel() for weight in find_maskable(setting.fresh(model_spec=model_spec)).values())


def describe(setting: MethodInputs, model_spec: ModelSpec) -> str:
    """The note of a table: ``a dense mlp with hidden (48, 24, 12) and 23,520 weights``."""
    option = WIDTHS[model_spec.name]
    num_weights = count_weights(setting, model_spec)
    return f"a dense {model_spec.name} with {option} {model_spec.options[option]} and {num_weights:,} weights"


def _widths(model_spec: ModelSpec, option: str) -> Sequence[int]:
    if option in model_spec.options:
        return tuple(model_spec.options[option])
    return tuple(inspect.signature(MODELS.factory(model_spec.name)).parameters[option].default)
