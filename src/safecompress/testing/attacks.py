"""Does an attack keep its contract? One call in a test of yours:

    def test_my_attack():
        check_attack(MyAttack(epochs=20))

The suite fits the attack on models whose leak is known (all of it, none of it) and raises an AssertionError that says
what was promised, what came back, and what to do.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from multiprocessing.reduction import ForkingPickler
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from safecompress.attacks import Access, Attack, FittedAttack, Target, capabilities_of, simulate_attacker
from safecompress.data import AuditData
from safecompress.metrics import stats
from safecompress.metrics.measurement import Levels
from safecompress.testing.fakes import fake_target, noise_audit

_CLASSES = 16
_ROWS = 10 * _CLASSES
"""Members, and as many non-members, of each pool."""

_ALPHA = 0.001
"""The chance that a sound attack which may read rows fails on the model that says nothing."""


def check_attack(attack: Attack, *, min_auc: float = 0.95) -> None:
    """Raise AssertionError unless ``attack`` keeps the contract of an Attack.

    ``min_auc`` is what it must reach against a model that memorised its members; lower it for an attack that reads
    something which that model does not leak, and say why.
    """
    _check_value(attack)
    fit_pool, test_pool = (noise_audit(_ROWS, _ROWS, num_classes=_CLASSES, seed=seed) for seed in (0, 1))
    leaky = fake_target(fit_pool, test_pool, num_classes=_CLASSES, is_leaky=True)
    _check_scores(attack, leaky, fit_pool, test_pool)
    _check_leaky(attack, leaky, fit_pool, test_pool, min_auc)
    _check_constant(attack, fit_pool, test_pool)


def _check_value(attack: Attack) -> None:
    """An attack is a value: frozen, named, printable, comparable, and fit to travel to a worker process."""
    advice = "Make the attack a frozen dataclass at the top level of a module, with its options as fields."
    name, access = getattr(attack, "name", None), getattr(attack, "access", None)
    assert isinstance(name, str) and name.isidentifier(), (
        f"{attack!r}: name must be an identifier, got {name!r}. It is the first part of its metrics' names, as in "
        "'loss.auc', so it may hold no dot."
    )
    assert isinstance(access, Access), f"{attack!r}: access must be an Access, such as Access.SCORES, got {access!r}."
    assert not _takes_attributes(attack), f"{attack!r} can be changed after it was made. {advice}"
    assert " at 0x" not in repr(attack), (
        f"{attack!r} prints its address. The printed form goes into the digest of a spec, so it must be the same in "
        f"every process. {advice}"
    )
    try:
        copy = ForkingPickler.loads(ForkingPickler.dumps(attack))
    except Exception as error:
        raise AssertionError(f"{attack!r} cannot be sent to a worker process ({error}). {advice}") from error
    assert copy == attack and repr(copy) == repr(attack), (
        f"{attack!r} comes back from a worker process as {copy!r}, which does not equal it. {advice}"
    )


def _takes_attributes(attack: Any) -> bool:
    try:
        attack.probe_of_the_conformance_suite = 1
    except (AttributeError, TypeError):
        return False
    del attack.probe_of_the_conformance_suite
    return True


def _check_scores(attack: Attack, target: Target, fit_pool: AuditData, test_pool: AuditData) -> None:
    """What ``score`` returns, and what it may not depend on."""
    before = [(_content(pool), pool) for pool in (fit_pool, test_pool)]
    weights = _content_of_model(target)
    with _global_chance(0):
        fitted = _fit(attack, target, fit_pool)
        scores = _score(attack, fitted, target, test_pool)
    threshold = getattr(fitted, "threshold", np.nan)
    assert threshold is None or (isinstance(threshold, float) and np.isfinite(threshold)), (
        f"{attack!r}: the fitted attack's threshold must be a finite float, or None to have sign and threshold found "
        f"on the fitting rows; got {threshold!r}."
    )
    for content, pool in before:
        assert _content(pool) == content, (
            f"{attack!r} changed the rows that it was given. They are shared by all attacks: work on a copy."
        )
    assert _content_of_model(target) == weights, f"{attack!r} changed the model under attack: work on a copy."

    with _global_chance(1):
        again = _score(attack, _fit(attack, target, fit_pool), target, test_pool)
    assert np.array_equal(scores, again), (
        f"{attack!r} scored differently when fitted a second time. All chance must come from the `generator` argument, "
        "and the attack must remember nothing between calls."
    )
    assert not target.shadows.num_used or capabilities_of(attack).tier == 2, (
        f"{attack!r} asks for shadow models and does not say so: give it the attribute tier = 2, or a search would try "
        "it on every candidate, which has none."
    )
    inverted = replace(test_pool, is_member=~test_pool.is_member)
    assert np.allclose(scores, _score(attack, fitted, target, inverted), rtol=1e-4, atol=1e-5), (
        f"{attack!r} scores rows otherwise when they are marked otherwise: `score` must not read audit.is_member."
    )
    order = np.random.default_rng(2).permutation(len(scores))
    shuffled = AuditData(test_pool.features[order], test_pool.labels[order], test_pool.is_member[order])
    assert np.allclose(scores[order], _score(attack, fitted, target, shuffled), rtol=1e-4, atol=1e-5), (
        f"{attack!r} scores rows otherwise in another order. A row's score may not depend on its place: members come "
        "first in an audit, so it would give them away."
    )


def _check_leaky(attack: Attack, target: Target, fit_pool: AuditData, test_pool: AuditData, min_auc: float) -> None:
    auc = _auc(attack, target, fit_pool, test_pool, "a model that memorised its members")
    assert auc >= min_auc, (
        f"{attack!r} has AUC {auc:.3f} against a model that is certain of its members and of nothing else; "
        f"{min_auc:g} is the least. An attack that misses this misses everything."
    )


def _check_constant(attack: Attack, fit_pool: AuditData, test_pool: AuditData) -> None:
    """What a model says about nobody cannot tell members apart: in both pools, both sides have the same labels."""
    target = fake_target(fit_pool, test_pool, num_classes=_CLASSES, is_leaky=False)
    scores = _oriented(attack, target, fit_pool, test_pool, "a model with the same answer for every row")
    auc = stats.auc(scores, test_pool.is_member)
    if attack.access <= Access.SCORES and not capabilities_of(attack).reads_rows:
        assert auc == 0.5, (
            f"{attack!r} has AUC {auc} against a model with the same answer for every row, where only 0.5 is honest. "
            "It reads something else than the model's answers and the label; if it is meant to, give it an attribute "
            "reads_rows = True."
        )
    interval = stats.auc_interval(scores, test_pool.is_member, _ALPHA)
    assert interval.low <= 0.5 <= interval.high, (
        f"{attack!r} has AUC {auc} [{interval.low:.3f}, {interval.high:.3f}] against a model with the same answer "
        "for every row: it finds members where nothing was said about anybody."
    )


def _auc(attack: Attack, target: Target, fit_pool: AuditData, test_pool: AuditData, what: str) -> float:
    """The AUC on the test pool."""
    return stats.auc(_oriented(attack, target, fit_pool, test_pool, what), test_pool.is_member)


def _oriented(
    attack: Attack, target: Target, fit_pool: AuditData, test_pool: AuditData, what: str
) -> NDArray[np.float64]:
    """Scores on the test pool as a verdict would see them; closer than one part in a million is one score."""
    attacker = simulate_attacker(attack, target, fit_pool, generator=np.random.default_rng(0))
    result = attacker.test(target, test_pool, Levels())
    assert result.error is None and result.scores is not None, (
        f"{attack!r} gave no number against {what}: {result.error}"
    )
    return np.round(result.scores, 6)


def _fit(attack: Attack, target: Target, audit: AuditData) -> FittedAttack:
    try:
        fitted = attack.fit(target, audit, generator=np.random.default_rng(0))
    except Exception as error:
        raise AssertionError(f"{attack!r} could not be fitted: {type(error).__name__}: {error}") from error
    assert isinstance(fitted, FittedAttack), (
        f"{attack!r} was fitted to a {type(fitted).__name__}, which has no threshold and score. This suite is for "
        "attacks on membership, which give a score for each row."
    )
    return fitted


def _score(attack: Attack, fitted: FittedAttack, target: Target, audit: AuditData) -> NDArray[np.float64]:
    try:
        scores = fitted.score(target, audit)
    except Exception as error:
        raise AssertionError(f"{attack!r} could not score: {type(error).__name__}: {error}") from error
    assert isinstance(scores, np.ndarray) and scores.shape == audit.is_member.shape and scores.dtype == np.float64, (
        f"{attack!r} must score {len(audit.is_member)} rows as a float64 array of that length, got "
        f"{getattr(scores, 'dtype', type(scores).__name__)} of shape {np.shape(scores)}."
    )
    assert np.isfinite(scores).all(), (
        f"{attack!r}: {(~np.isfinite(scores)).sum()} of {len(scores)} scores are not finite numbers."
    )
    return scores


@contextlib.contextmanager
def _global_chance(seed: int) -> Iterator[None]:
    """Another stream in the global generators of PyTorch and NumPy for a while: an attack must not notice."""
    before = np.random.get_state()  # noqa: NPY002
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        np.random.seed(seed)  # noqa: NPY002
        try:
            yield
        finally:
            np.random.set_state(before)  # noqa: NPY002


def _content(audit: AuditData) -> tuple[bytes, ...]:
    return audit.features.numpy().tobytes(), audit.labels.numpy().tobytes(), audit.is_member.tobytes()


def _content_of_model(target: Target) -> tuple[bytes, ...]:
    return tuple(tensor.detach().cpu().numpy().tobytes() for tensor in target.model.state_dict().values())
