"""State dicts of wrapped networks: prefixes of DataParallel, torch.compile and the like are taken off."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from safecompress.errors import ModelError

_WRAPPERS = ("module", "_orig_mod")
"""Steps in a name that DataParallel, DistributedDataParallel, AveragedModel and torch.compile put there."""

_COUNTERS = ("n_averaged",)
"""What a wrapper counts beside the network's own tensors."""


def fitted(weights: Mapping[str, Tensor], model: nn.Module, source: str) -> dict[str, Tensor]:
    """``weights`` by the names that ``model`` has: a prefix that all names share, or a wrapper's, is taken off.

    ``source`` says in an error what the weights are. Raises ModelError where they do not fit, with the first tensors.
    """
    own = model.state_dict()
    for candidate in _without_wrappers(weights):
        if not _faults(candidate, own):
            return dict(candidate)
    raise ModelError(fault_of_fit(weights, model, source))


def fault_of_fit(weights: Mapping[str, Tensor], model: nn.Module, source: str) -> str:
    """Why ``weights`` are not those of ``model``, in one sentence for each reason."""
    own = model.state_dict()
    prefixes = [prefix for prefix in (_shared_prefix(weights),) if prefix]
    closest = min(_without_wrappers(weights), key=lambda one: len(_faults(one, own)))
    wrong = _faults(closest, own)
    more = f" and {len(wrong) - 5} more" if len(wrong) > 5 else ""
    named = f" All names begin with {prefixes[0]!r}, and do not fit without it either." if prefixes else ""
    return (
        f"{source} do not fit the model: {', '.join(wrong[:5])}{more}.{named} Name the model that they were trained "
        "for, with the same sizes."
    )


def _faults(weights: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> list[str]:
    """Names that only one side has, and tensors of another shape."""
    wrong = [name for name in expected if name not in weights]
    wrong += [
        f"{name} is {tuple(weights[name].shape)} and should be {tuple(expected[name].shape)}"
        for name in expected
        if name in weights and weights[name].shape != expected[name].shape
    ]
    return wrong + [f"{name} is unknown" for name in weights if name not in expected]


def _without_wrappers(weights: Mapping[str, Tensor]) -> list[Mapping[str, Tensor]]:
    """The weights under each reading of their names, the plainest first."""
    readings = [weights]
    kept = {name: tensor for name, tensor in weights.items() if name not in _COUNTERS}
    unwrapped = {_unwrapped(name): tensor for name, tensor in kept.items()}
    if len(unwrapped) == len(kept) and unwrapped.keys() != weights.keys():
        readings.append(unwrapped)
    for reading in (kept, unwrapped):
        while prefix := _shared_prefix(reading):
            reading = {name.removeprefix(prefix): tensor for name, tensor in reading.items()}
            readings.append(reading)
    return readings


def _unwrapped(name: str) -> str:
    return ".".join(part for part in name.split(".") if part not in _WRAPPERS)


def _shared_prefix(weights: Mapping[str, Tensor]) -> str:
    """The first step that all names share, with its dot; "" where there is none."""
    steps = {name.partition(".")[0] if "." in name else "" for name in weights}
    return f"{steps.pop()}." if len(steps) == 1 and "" not in steps else ""
