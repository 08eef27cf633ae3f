"""Shadows that say what a test gives them, without any model."""

import numpy as np

from safecompress.attacks.shadows import balanced_draws


def said_by_shadows(num_rows, num_shadows=16, *, exposed=0, gap=0.0, seed=0):
    """What shadows would say of rows whose label is surer by ``gap`` once trained on, for the first ``exposed``."""
    rng = np.random.default_rng(seed)
    is_in = balanced_draws(np.arange(num_rows), num_rows // 2, num_shadows, rng)
    return rng.normal(size=is_in.shape) + gap * is_in * (np.arange(num_rows) < exposed), is_in


class SayingShadows:
    """A target whose shadows say what is given."""

    def __init__(self, phi, is_in, num_used):
        self.has_shadows, self.shadows, self.num_used = True, self, num_used
        self.scaled_logit_KQN, self.is_in_KN = phi[:, None], is_in

    def outputs(self, audit, *, count):
        assert count == self.num_used  # none is trained for the worst case
        return self
