"""A static look at what ships: whether the attacks of a verdict see the whole of it. It judges no model.

N rows, F features of a row, L parameter tensors.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import chain

import numpy as np
import torch
from torch import Tensor, nn

from safecompress.attacks.lastlayer import gradient_norms, predict_with_hidden
from safecompress.auditing.audited_model import AuditedModel
from safecompress.auditing.behind_head import fault_behind_head, has_weights, spread_over
from safecompress.auditing.stored_rows import SoughtRows, find_rows, rows_to_compare
from safecompress.certify.health import HealthCheck
from safecompress.data import AuditData, DataSplit
from safecompress.networks import copied
from safecompress.runtime.asmodule import OnnxNetwork
from safecompress.spec import Verdict
from safecompress.training import evaluating

SUBJECT = "file"

FEW = 4
"""Rows that are read once for every tensor."""


def look_at_whole(subject: AuditedModel, split: DataSplit) -> tuple[HealthCheck, ...]:
    """Four checks of the file as an attacker with its weights holds it; a look that breaks is INCONCLUSIVE.

    Whether the forward pass reads every tensor; whether a tensor holds train rows; whether outputs are a function of
    what the head gives; whether the layers' gradients can be read.
    """
    verdict = split.audit("verdict")
    looks: Mapping[str, Callable[[], HealthCheck]] = {
        "unread_tensors": lambda: _look_for_unread(subject, verdict),
        "stored_rows": lambda: _look_for_rows(subject, split),
        "behind_head": lambda: _look_behind_head(subject, verdict),
        "layer_gradients": lambda: _look_for_gradients(subject, verdict),
    }
    return tuple(_attempt(name, look) for name, look in looks.items())


def _attempt(name: str, look: Callable[[], HealthCheck]) -> HealthCheck:
    try:
        return look()
    except Exception as error:  # a network of whatever author may refuse anything
        return _doubt(name, f"the file could not be looked at ({type(error).__name__}: {error}).")


def _doubt(name: str, detail: str, value: float | None = None) -> HealthCheck:
    return HealthCheck(name, SUBJECT, Verdict.INCONCLUSIVE, value, detail)


def _holds(name: str, detail: str, value: float | None = 0.0) -> HealthCheck:
    return HealthCheck(name, SUBJECT, Verdict.PASS, value, detail)


# --- tensors that nothing reads


def _look_for_unread(subject: AuditedModel, verdict: AuditData) -> HealthCheck:
    network = subject.network
    unread = network.unread if isinstance(network, OnnxNetwork) else unread_tensors(network, verdict.features)
    if not unread:
        return _holds("unread_tensors", "the forward pass reads every tensor.")
    seen = f"the forward pass does not read {_listed(unread)}: no attack sees what is in there"
    return _doubt("unread_tensors", f"{seen}. Leave it out of the file.", float(len(unread)))


def unread_tensors(network: nn.Module, samples: Tensor) -> tuple[str, ...]:
    """Names of tensors of the state whose content makes no difference to the outputs of ``samples`` (N, ...).

    Each that autograd does not trace is filled with NaN, or with zeros where it holds whole numbers. One that holds a
    single value holds nothing: bookkeeping, or a layer that is pruned away.
    """
    scratch = copied(network)
    for weight in scratch.parameters():
        weight.requires_grad_(weight.is_floating_point())
    device = next(chain(scratch.parameters(), scratch.buffers())).device
    ships = scratch.state_dict().keys()
    tensors = {name: tensor for name, tensor in _state(scratch) if name in ships and not _is_constant(tensor)}
    some = samples[spread_over(len(samples), FEW)].to(device)
    with torch.inference_mode(False), evaluating(scratch):
        traced = _in_the_graph(scratch, some)
        waiting = [name for name in tensors if name not in traced]
        with torch.no_grad():
            for portion in (some, samples.to(device)):
                waiting = [name for name in waiting if not _is_read(scratch, tensors[name], portion)]
    return tuple(waiting)


def _state(network: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Parameters and buffers by name, those that a state leaves out too."""
    yield from network.named_parameters()
    yield from network.named_buffers()


def _is_constant(tensor: Tensor) -> bool:
    return tensor.numel() < 2 or bool((tensor == tensor.flatten()[0]).all())


def _in_the_graph(network: nn.Module, samples: Tensor) -> set[str]:
    """The parameters that autograd traces from the outputs; of buffers it knows nothing."""
    weights = {name: weight for name, weight in network.named_parameters() if weight.requires_grad}
    with torch.enable_grad():
        outputs = network(samples)
        if not outputs.requires_grad or not weights:
            return set()
        found = torch.autograd.grad(outputs.sum(), list(weights.values()), allow_unused=True)
    return {name for name, gradient in zip(weights, found, strict=True) if gradient is not None}


def _is_read(network: nn.Module, tensor: Tensor, samples: Tensor) -> bool:
    """Whether outputs change with the tensor's content; a network that refuses it has read it."""
    before, kept = network(samples), tensor.clone()
    try:
        tensor.fill_(torch.nan if tensor.is_floating_point() else 0)
        return not torch.equal(network(samples), before)
    except Exception:
        return True
    finally:
        tensor.copy_(kept)


# --- tensors that hold train rows


def _look_for_rows(subject: AuditedModel, split: DataSplit) -> HealthCheck:
    tensors = dict(all_tensors(subject.network))
    count = rows_to_compare(sum(tensor.numel() for tensor in tensors.values()))
    sides = [_rows_of(split, side, count) for side in ("member", "nonmember")]
    readings = [sides]
    if subject.artifact is not None and subject.artifact.task.tensors():
        readings.append([subject.artifact.task.prepare(samples) for samples in sides])
    sought = [[SoughtRows(samples) for samples in reading] for reading in readings]
    holds, seen = [], 0
    for name, tensor in tensors.items():
        match = next(filter(None, (find_rows(tensor, *reading) for reading in sought)), None)
        if match is not None:
            seen += match.members
            holds.append(
                f"{name!r} ({match.members} of {match.num_members} train rows, {match.others} of {match.num_others} "
                "others)"
            )
    if not holds:
        compared = f"{len(sides[0])} train rows and {len(sides[1])} others"
        return _holds("stored_rows", f"no tensor holds train rows ({compared} were looked for).")
    advice = "whoever has the file can read them. Take them out of the file."
    return _doubt("stored_rows", f"train rows lie in {', '.join(holds)}: {advice}", float(seen))


def _rows_of(split: DataSplit, side: str, count: int) -> Tensor:
    """At most ``count`` rows of one side, those of the verdict first."""
    parts = (f"{side}_verdict", f"{side}_fit", "train" if side == "member" else "population")
    samples = torch.cat([split.part(part, count)[0] for part in parts])
    return samples[:count]


def all_tensors(network: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Every tensor of the network by name: parameters, buffers, and those that its modules hold as plain values."""
    if isinstance(network, OnnxNetwork):
        yield from network.tensors.items()
        return
    yield from _state(network)
    for place, module in network.named_modules():
        for name, value in vars(module).items():
            if name not in ("_parameters", "_buffers", "_modules"):
                for tensor in _tensors_in(value):
                    yield f"{place}.{name}".lstrip("."), tensor


def _tensors_in(value: object) -> Iterable[Tensor]:
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, np.ndarray):
        return [torch.from_numpy(np.ascontiguousarray(value))] if value.dtype.kind in "fiub" else []
    if isinstance(value, Mapping):
        return [tensor for part in value.values() for tensor in _tensors_in(part)]
    if isinstance(value, list | tuple):
        return [tensor for part in value for tensor in _tensors_in(part)]
    return []


# --- what stands behind the head


def _look_behind_head(subject: AuditedModel, verdict: AuditData) -> HealthCheck:
    network = subject.network
    fault = network.fault_behind_head if isinstance(network, OnnxNetwork) else None
    if not isinstance(network, OnnxNetwork):
        fault = fault_behind_head(network, verdict.features.to(_device(network)))
    if fault is None:
        return _holds("behind_head", "outputs are a function of what the head gives.")
    return _doubt("behind_head", fault)


# --- gradients of all layers


def _look_for_gradients(subject: AuditedModel, verdict: AuditData) -> HealthCheck:
    """Whether rows have gradients, and those reach more than the head."""
    name, network = "layer_gradients", subject.network
    samples = spread_over(len(verdict.labels), FEW)
    features, labels = verdict.features[samples], verdict.labels[samples]
    try:
        norms_NL = gradient_norms(network, features, labels)
    except Exception as error:  # of the network's own, too
        reason = f"the gradients of its layers cannot be read, so that the white box reads the last one alone ({error})"
        return _doubt(name, reason)
    network = getattr(network, "differentiable", network)
    reached = int(norms_NL.any(axis=0).sum())
    behind = _of_head(network, features)
    before = [place for place, (key, _) in enumerate(network.named_parameters()) if key not in behind]
    logits = predict_with_hidden(network, features)[0]
    if before and not norms_NL[:, before].any() and not torch.equal(logits, logits[:1].expand_as(logits)):
        reason = "outputs differ from row to row, and no gradient reaches a layer before the head"
        return _doubt(name, f"{reason}: what comes before it is cut off from the answers, or hidden. {CUT}")
    return _holds(name, f"the gradients of {reached} of {norms_NL.shape[1]} tensors can be read.", float(reached))


CUT = "Audit the network without what cuts its gradients (rounding, argmax, detach)."


def _of_head(network: nn.Module, samples: Tensor) -> set[str]:
    """Names of the parameters of the layer with weights that is called last."""
    called: list[nn.Module] = []
    hooks = [
        layer.register_forward_hook(lambda layer, inputs, output: called.append(layer))
        for layer in network.modules()
        if has_weights(layer)
    ]
    try:
        with torch.no_grad(), evaluating(network):
            network(samples.to(_device(network)))
    finally:
        for hook in hooks:
            hook.remove()
    last = set(map(id, called[-1].parameters())) if called else set()
    return {name for name, weight in network.named_parameters() if id(weight) in last}


def _device(network: nn.Module) -> torch.device:
    return next(chain(network.parameters(), network.buffers())).device


def _listed(names: Iterable[str]) -> str:
    shown = [repr(name) for name in names]
    more = f" and {len(shown) - 4} more" if len(shown) > 4 else ""
    return ", ".join(shown[:4]) + more
