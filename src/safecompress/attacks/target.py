"""A Target: a frozen model under attack, what access it grants, and the signals it gives."""

from __future__ import annotations

from enum import IntEnum

import numpy as np
from torch import nn

from safecompress.attacks.signals import SignalCache, Signals
from safecompress.data import AuditData
from safecompress.training import digest_tensors, predict_logits


class Access(IntEnum):
    """What an attacker is given. A file on a device grants WEIGHTS."""

    LABELS = 1
    SCORES = 2
    WEIGHTS = 3


class Target:
    """A model in evaluation mode. Members and non-members are queried through the same single forward pass."""

    def __init__(self, model: nn.Module, *, access: Access = Access.WEIGHTS, cache: SignalCache | None = None) -> None:
        self.model = model.eval()
        self.access = access
        self.digest = digest_tensors(model.state_dict())
        self._cache = cache or SignalCache()

    def signals(self, audit: AuditData) -> Signals:
        """Signals of the audit's rows, computed once for all attacks. Raises AttackError for logits with NaN."""
        key = (self.digest, audit.digest)
        cached = self._cache.get(key)
        if cached is not None:
            return cached
        logits = predict_logits(self.model, audit.features).double().numpy()
        return self._cache.put(key, Signals(logits, audit.labels.numpy().astype(np.int64)))
