"""Health controls of whole runs are made once, and quickly: most of a tiny run, and equal jobs make equal ones.

What is kept is filed under everything that its making reads: for a control its classes and weights as they begin, its
rows, its recipe and its seed; for blind scores the pools and the seed. Controls learn by `QUICK`. Tests of controls
themselves are marked ``own_controls`` and make theirs, as the product does.
"""

import contextlib
import hashlib
import os
from dataclasses import replace

import numpy as np
import torch

from safecompress.attacks import controls
from safecompress.certify.health import examine
from safecompress.digests import digest_tensors

PRODUCT = controls.RECIPE
QUICK = replace(PRODUCT, batch_size=1000, learning_rate=1e-2)
"""How controls and their shadows are trained: a step an epoch. The control of TINY knows its 300 members by heart after
80 steps, and by the product's recipe after 1,600."""


class Kept:
    """Makes things once. Those kept lie in ``folder``, which all processes of a session share."""

    def __init__(self):
        self.folder, self.is_on = None, False
        self._overfit, self._blind = controls._overfit_, examine.blind_scores
        controls._overfit_, examine.blind_scores = self.overfit, self.blind

    @contextlib.contextmanager
    def during(self, is_on):
        before, self.is_on = (self.is_on, controls.RECIPE), is_on
        controls.RECIPE = QUICK if is_on else PRODUCT
        try:
            yield
        finally:
            self.is_on, controls.RECIPE = before

    def overfit(self, networks, course, max_epochs):
        """In the place of the training of controls."""

        def make():
            epochs, accuracy = self._overfit(networks, course, max_epochs)
            return epochs, accuracy, [network.state_dict() for network in networks]

        rows = {"features": course.features, "labels": course.labels}
        reads = [digest_tensors(rows), course.recipe.digest(), course.seed, max_epochs]
        for network in networks:
            classes = [f"{type(module).__module__}.{type(module).__qualname__}" for module in network.modules()]
            reads += [classes, repr(network), digest_tensors(network.state_dict())]
        epochs, accuracy, states = self._keep(reads, make)
        for network, state in zip(networks, states, strict=True):
            network.load_state_dict(state)
            network.eval()
        return epochs, accuracy

    def blind(self, fit, verdict, *, seed):
        """In the place of `blind_scores`."""
        pools = {
            f"{pool} {name}": getattr(one, name)
            for pool, one in (("fit", fit), ("verdict", verdict))
            for name in ("features", "labels")
        }
        members = [one.is_member.tolist() for one in (fit, verdict)]
        make = lambda: torch.from_numpy(self._blind(fit, verdict, seed=seed))  # noqa: E731
        return np.asarray(self._keep(["blind", digest_tensors(pools), members, seed], make))

    def _keep(self, reads, make):
        if not self.is_on:
            return make()
        path = self.folder / f"{hashlib.sha256(repr(reads).encode()).hexdigest()}.pt"
        if not path.exists():
            part = path.with_suffix(f".{os.getpid()}")
            torch.save(make(), part)
            part.rename(path)
        return torch.load(path, weights_only=True)
