"""A user's module made ready: for training (plain float32 weights, class scores) or for an audit as it stands."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from safecompress.errors import ModelError
from safecompress.networks.answers import SCRIPTED, changes_input
from safecompress.networks.class_scores import ClassScores, Reading, as_classifier, unwrapped
from safecompress.networks.plain_weights import copied, find_reparametrised, with_plain_weights


def read_for_training(model: nn.Module, features: Tensor, num_classes: int) -> Reading:
    """``model`` as a classifier that can be trained, with notes on what was done; a plain one comes back as it is.

    ``features`` (N, ...) are some rows. Reparametrised weights become parameters of their value, other precisions
    float32; then as in `as_classifier`. Raises ModelError, with the remedy, for a scripted or lazy module, and where
    `as_classifier` does.
    """
    network, notes = unwrapped(model), []
    if isinstance(network, torch.jit.ScriptModule):
        raise ModelError(SCRIPTED)
    if any(map(is_lazy, (*network.parameters(), *network.buffers()))):
        raise ModelError("The model has lazy layers without weights yet. Run one batch of the data through it first.")
    if found := find_reparametrised(network):
        network = with_plain_weights(network)[0]
        kinds = " and ".join(sorted({one.kind for one in found}))
        notes.append(
            f"{len(found)} weights of the model were computed by {kinds}; they are trained as plain parameters that "
            "begin with the values computed."
        )
    types = {p.dtype for p in (*network.parameters(), *network.buffers()) if p.is_floating_point()}
    if odd := types - {torch.float32}:
        network = copied(network).float()
        named = " and ".join(sorted(str(one).removeprefix("torch.") for one in odd))
        notes.append(f"The model's {named} weights are trained as float32. [deploy] precision says how they ship.")
    reading = as_classifier(network, features, num_classes)
    return Reading(reading.network, (*notes, *reading.notes))


def read_for_audit(model: nn.Module, features: Tensor, num_classes: int) -> Reading:
    """``model`` as a classifier with the weights and the precision that it has; raises as `as_classifier` does.

    One that works on its input in place is given copies.
    """
    network = unwrapped(model)
    if find_reparametrised(network):  # the values are the same, and copies of it can be made and drawn anew
        network = with_plain_weights(network)[0]
    reading = as_classifier(network, features, num_classes)
    if isinstance(reading.network, ClassScores) or not changes_input(network, features):
        return reading
    return Reading(ClassScores(network), (*reading.notes, COPIES))


COPIES = (
    "The model changes its input in place. It was given copies here; whoever asks it twice about one tensor asks about "
    "other rows the second time."
)
