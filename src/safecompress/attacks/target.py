"""A Target: a frozen model under attack, what access it grants, the signals it gives, and shadows of it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from enum import IntEnum

import numpy as np
from torch import nn

from safecompress.attacks.lastlayer import predict_with_hidden
from safecompress.attacks.queries import varied
from safecompress.attacks.shadows import ShadowModels
from safecompress.attacks.signals import SignalCache, Signals
from safecompress.data import AuditData
from safecompress.digests import digest_tensors
from safecompress.errors import AttackError, UsageError, suggest


class Access(IntEnum):
    """What an attacker is given. A file on a device grants WEIGHTS."""

    LABELS = 1
    SCORES = 2
    WEIGHTS = 3

    @classmethod
    def parse(cls, word: Access | str) -> Access:
        """The access called ``labels``, ``scores`` or ``weights``. Raises UsageError for another word."""
        if isinstance(word, Access):
            return word
        names = [access.name.lower() for access in cls]
        if word not in names:
            raise UsageError(f"Unknown access {word!r}: it says what an attacker is given. {suggest(str(word), names)}")
        return cls[word.upper()]


class Target:
    """A model in evaluation mode. Members and non-members are queried through the same single forward pass.

    ``shadows`` are models trained as this one was, for attacks that compare with them. ``versions`` are other released
    models of the same training rows (the dense one, earlier releases), by name, for attacks that combine several
    versions. ``transform`` names the input transform in front of the model, where its weights do not.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        access: Access = Access.WEIGHTS,
        cache: SignalCache | None = None,
        shadows: ShadowModels | None = None,
        versions: Mapping[str, Target] | None = None,
        transform: str = "",
    ) -> None:
        self.model = model.eval()
        self.access = access
        self.versions = dict(versions or {})
        # two networks may share weights and differ in what they do with them
        shape = hashlib.sha256(f"{type(model).__qualname__}|{model!r}|{transform}".encode()).hexdigest()
        self.digest = f"{digest_tensors(model.state_dict())}-{shape[:16]}"
        self._shadows = shadows
        self._cache = cache or SignalCache()

    @property
    def shadows(self) -> ShadowModels:
        """The target's shadow models. Raises AttackError when there are none."""
        if self._shadows is None:
            raise AttackError(
                "This attack compares the target with shadow models, and nothing here says how the target was trained. "
                "Give the recipe: in Python Target(model, shadows=...), on the command line the spec of the run."
            )
        return self._shadows

    @property
    def has_shadows(self) -> bool:
        """Whether shadow models can be had."""
        return self._shadows is not None

    def signals(self, audit: AuditData) -> Signals:
        """Signals of the audit's rows, computed once for all attacks. Raises AttackError for logits with NaN."""
        key = (self.digest, audit.digest)
        cached = self._cache.get(key)
        if cached is not None:
            return cached
        logits, hidden, inner = predict_with_hidden(self.model, audit.features)
        labels = audit.labels.numpy().astype(np.int64)
        return self._cache.put(key, Signals(logits.double().numpy(), labels, hidden, inner))

    def query(self, audit: AuditData, number: int) -> Signals:
        """Signals of the ``number``-th fixed variant of the rows (see queries.py); number 0 are the rows themselves."""
        return self.signals(varied(audit, number))
