"""What repeats of an arm say of one another: a leak that is there, and none where there is none."""

import numpy as np
import pytest

from safecompress.attacks.shadows import ShadowOutputs
from safecompress.attacks.signals import Signals
from safecompress.auditing.arm_evidence import _among_repeats, _expected
from safecompress.metrics.measurement import Direction, Interval, Levels, Measurement

N, C, R = 400, 5, 8


def outputs_of(gap: float, seed: int = 0) -> ShadowOutputs:
    """Repeats that say of each row what makes it hard, noise, and ``gap`` more of its label where they had it."""
    random = np.random.default_rng(seed)
    labels, hard = random.integers(0, C, N), random.normal(0, 2, N)
    is_in = np.stack([random.permutation(N) < N // 2 for _ in range(R)])
    signals = []
    for inside in is_in:
        logits = random.normal(0, 0.2, (N, C))
        logits[np.arange(N), labels] += hard + random.normal(0, 0.4, N) + gap * inside
        signals.append(Signals(logits, labels))
    phi = np.stack([one.scaled_logit_N for one in signals])[:, None]
    return ShadowOutputs(phi, is_in, np.ones((R, N), dtype=bool), signals)


def test_a_leak_is_found_and_its_limit_lies_above():
    """A gap of one deviation is an AUC of .76 to who knows each row's mean; seven repeats know it roughly."""
    auc = _among_repeats(outputs_of(0.5), Levels(0.05)).figures["auc"]
    assert 0.62 < auc.value < 0.8 and auc.value + 0.03 < auc.limit < auc.value + 0.12


@pytest.mark.parametrize("seed", range(3))
def test_where_nothing_leaks_nothing_is_found(seed):
    evidence = _among_repeats(outputs_of(0.0, seed), Levels(0.05))
    assert 0.46 < evidence.figures["auc"].value < 0.54
    assert evidence.num_repeats == R and evidence.signal in ("label", "all classes")


def test_the_limit_is_the_mean_limit_and_the_error_of_the_mean():
    """Values .6 and .7, each .05 under its limit: mean .65, limits .70, and t(1; .95) = 6.314 times .05 more."""

    def measured(value):
        interval = Interval(value - 0.05, value + 0.05, 0.95)
        return Measurement("lira.auc", value, interval, interval, 10, Direction.LOWER)

    auc = _expected([(measured(0.6),), (measured(0.7),)])["auc"]
    assert auc.value == pytest.approx(0.65) and auc.limit == 1.0
    auc = _expected([(measured(0.6),), (measured(0.61),), (measured(0.62),)])["auc"]
    assert auc.limit == pytest.approx(0.66 + 2.92 * 0.01 / 3**0.5, abs=1e-4)
