"""The health check that every shadow knows its own rows: by hand, on sound shadows, on interchanged ones."""

import numpy as np
import pytest

from safecompress.certify.health import own_rows
from safecompress.spec import Verdict

NO_LEAK = 0.45


def shadows(leak, *, num_shadows=16, num_rows=300, seed=0):
    """Scaled logits of shadows that are surer by ``leak`` of their own rows, in complementary pairs, and whose."""
    random = np.random.default_rng(seed)
    half = random.random((num_shadows // 2, num_rows)) < 0.5
    is_in = np.stack([half, ~half], axis=1).reshape(num_shadows, num_rows)
    hardness = random.normal(0, 3, num_rows)
    return hardness + random.normal(size=is_in.shape) + leak * is_in, is_in


def test_by_hand():
    """Two shadows, two rows, each surer of its own: the mean taken away, every own row is above every other."""
    check = own_rows(np.array([[5.0, 1.0], [4.0, 2.0]]), np.array([[True, False], [False, True]]), NO_LEAK)
    assert (check.name, check.subject, check.value, check.outcome) == ("own_rows", "shadows", 1.0, Verdict.PASS)


@pytest.mark.parametrize("leak", [0.0, 0.1, 0.3, 1.0, 3.0])
def test_sound_shadows_pass_whatever_they_leak(leak):
    for seed in range(10):
        scores, is_in = shadows(leak, seed=seed)
        assert own_rows(scores, is_in, NO_LEAK).outcome is Verdict.PASS


@pytest.mark.parametrize(("leak", "least"), [(0.3, 0.58), (1.0, 0.65)])
@pytest.mark.parametrize("how", ["pairs", "shuffled"])
def test_interchanged_shadows_are_an_error(leak, least, how):
    scores, is_in = shadows(leak)
    order = np.arange(16) ^ 1 if how == "pairs" else np.roll(np.arange(16), 2)
    check = own_rows(scores[order], is_in, least)
    assert check.outcome is Verdict.ERROR
    assert "rows that they trained on" in check.detail


def test_a_few_altered_shadows_among_sound_ones_are_an_error():
    scores, is_in = shadows(1.5, num_shadows=32)
    scores[::4] = scores[::4] * 0 + np.random.default_rng(1).normal(size=scores[::4].shape)
    check = own_rows(scores, is_in, NO_LEAK)
    assert check.outcome is Verdict.ERROR
    assert "of them know nothing" in check.detail


def test_one_shadow_settles_nothing():
    assert own_rows(np.zeros((1, 2)), np.array([[True, False]]), NO_LEAK).outcome is Verdict.INCONCLUSIVE
