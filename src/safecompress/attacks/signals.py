"""Signals: what one forward pass reveals about rows, and a cache so that no attack computes it twice.

N rows, C classes. Logits come from the model as float32 and are used as float64.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import logsumexp

from safecompress.attacks.private_cache import PrivateFolder
from safecompress.errors import AttackError

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Signals:
    """Logits (N, C) and labels (N,) of the rows under attack, with the quantities that attacks derive from them.

    For attacks with access to the weights: ``hidden_NH`` is what the last linear layer reads, None when the model has
    no such layer; ``inner_NC`` is what it gives where something stands between it and the logits, else None. Raises
    AttackError when a logit is not a finite number.
    """

    logits_NC: Floats = field(repr=False)
    labels_N: NDArray[np.int64] = field(repr=False)
    hidden_NH: NDArray[np.float32] | None = field(default=None, repr=False)
    inner_NC: NDArray[np.float32] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        broken = int((~np.isfinite(self.logits_NC)).any(axis=1).sum())
        if broken:
            raise AttackError(
                f"The model gives logits that are not finite numbers for {broken} of {len(self.logits_NC)} rows. "
                "No attack can judge it: look for overflow in the model, or features on another scale than in training."
            )

    @cached_property
    def head(self) -> Signals | None:
        """The signals of what the last linear layer gives; None where the logits are just that."""
        if self.inner_NC is None or not np.isfinite(self.inner_NC).all():
            return None
        return Signals(self.inner_NC.astype(np.float64), self.labels_N, self.hidden_NH)

    @cached_property
    def scaled_logit_N(self) -> Floats:
        """phi = z_y - logsumexp of the other logits = log(p_y / (1 - p_y)); never saturates (Carlini et al. 2022)."""
        others = self.logits_NC.copy()
        rows = np.arange(len(others))
        others[rows, self.labels_N] = -np.inf
        return np.asarray(self.logits_NC[rows, self.labels_N] - logsumexp(others, axis=1))

    @cached_property
    def loss_N(self) -> Floats:
        """Cross entropy -log p_y = log(1 + exp(-phi)), exact where p_y rounds to 1."""
        return np.logaddexp(0.0, -self.scaled_logit_N)

    @cached_property
    def log_probs_NC(self) -> Floats:
        """log p; that of a nearly certain class is -(1 - p), not a rounded 0."""
        shifted = self.logits_NC - self.logits_NC.max(axis=1, keepdims=True)
        rest = np.exp(shifted)
        rest[np.arange(len(rest)), shifted.argmax(axis=1)] = 0.0
        return np.asarray(shifted - np.log1p(rest.sum(axis=1, keepdims=True)))

    @cached_property
    def centred_log_probs_NC(self) -> Floats:
        """log p less its mean over classes: where softened labels leave their mark on every class."""
        return np.asarray(self.log_probs_NC - self.log_probs_NC.mean(axis=1, keepdims=True))

    def at_temperature(self, temperature: float) -> Signals:
        """The signals of a model whose logits are divided by ``temperature``: above 1 its answers are less sure."""
        return self if temperature == 1 else replace(self, logits_NC=self.logits_NC / temperature)

    @cached_property
    def top_margin_N(self) -> Floats:
        """log(p_max / (1 - p_max)): orders rows as the largest probability does, without saturating."""
        ordered = np.sort(self.logits_NC, axis=1)
        return np.asarray(ordered[:, -1] - logsumexp(ordered[:, :-1], axis=1))

    @cached_property
    def entropy_N(self) -> Floats:
        """-sum p log p, in nats; 0 log 0 is 0."""
        return np.asarray(-(np.exp(self.log_probs_NC) * self.log_probs_NC).sum(axis=1))

    @cached_property
    def modified_entropy_N(self) -> Floats:
        """Mentr = -(1 - p_y) log p_y - sum over the other j of p_j log(1 - p_j) (Song & Mittal 2021, eq. 6)."""
        return modified_entropy(self.log_probs_NC, self.labels_N)

    @cached_property
    def is_correct_N(self) -> NDArray[np.bool_]:
        """Whether the largest logit is the label's."""
        return np.asarray(self.logits_NC.argmax(axis=1) == self.labels_N)


def modified_entropy(log_probs_NC: Floats, labels_N: NDArray[np.int64]) -> Floats:
    """Mentr in nats, at least 0, low for a confident right answer (Song & Mittal 2021, eq. 6); 0 log 0 is 0.

    1 - p and its log are taken from log p: where p rounds to 1, confident rows would otherwise all tie at 0.
    """
    rows = np.arange(len(labels_N))
    finite = np.maximum(log_probs_NC, np.finfo(np.float64).min)
    probs, rest = np.exp(finite), -np.expm1(finite)
    log_rest = np.where(
        probs < 0.5, np.log1p(-np.minimum(probs, 0.5)), np.log(np.maximum(rest, np.finfo(np.float64).tiny))
    )
    terms = -probs * log_rest
    terms[rows, labels_N] = -rest[rows, labels_N] * finite[rows, labels_N]
    return np.asarray(terms.sum(axis=1))


class SignalCache:
    """Signals by (target digest, rows digest), the most recent ones in memory.

    With a ``folder`` they are kept there too, for other processes and later runs.
    """

    def __init__(self, capacity: int = 64, *, folder: PrivateFolder | None = None) -> None:
        self._capacity = capacity
        self._folder = folder
        self._entries: OrderedDict[tuple[str, str], Signals] = OrderedDict()

    def get(self, key: tuple[str, str]) -> Signals | None:
        """The entry, or None."""
        if key not in self._entries and self._folder is not None:
            tensors = self._folder.load(_name(key))
            if tensors is not None:
                hidden, inner = (tensors[name].numpy() if name in tensors else None for name in ("hidden", "inner"))
                self._remember(key, Signals(tensors["logits"].numpy(), tensors["labels"].numpy(), hidden, inner))
        if key in self._entries:
            self._entries.move_to_end(key)
        return self._entries.get(key)

    def put(self, key: tuple[str, str], signals: Signals) -> Signals:
        """Keep ``signals`` under ``key`` and return them; the oldest entry goes when there is no room."""
        if self._folder is not None:
            arrays = {
                "logits": signals.logits_NC,
                "labels": signals.labels_N,
                "hidden": signals.hidden_NH,
                "inner": signals.inner_NC,
            }
            kept = {name: torch.from_numpy(array) for name, array in arrays.items() if array is not None}
            self._folder.save(_name(key), kept)
        return self._remember(key, signals)

    def _remember(self, key: tuple[str, str], signals: Signals) -> Signals:
        self._entries[key] = signals
        while len(self._entries) > self._capacity:
            self._entries.popitem(last=False)
        return signals


def _name(key: tuple[str, str]) -> str:
    return f"signals of {key[0]} on {key[1]}"
