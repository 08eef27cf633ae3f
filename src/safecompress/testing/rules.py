"""Does a drop or grow rule keep its contract? One call in a test of yours:

    def test_my_rule():
        check_drop_rule(DropMine(scale=2.0))

Each suite asks the rule for many counts on layers made to embarrass it (empty, full, all weights equal), and raises an
AssertionError that says what was promised, what came back, and what to do.
"""

from __future__ import annotations

from collections.abc import Iterator
from multiprocessing.reduction import ForkingPickler
from typing import Any

import numpy as np

from safecompress.errors import UsageError
from safecompress.sparsity import DropRule, GrowRule, LayerView
from safecompress.sparsity.layers import SIGNED
from safecompress.sparsity.topk import Indices

SIGNALS = frozenset({*SIGNED, "fired"})
"""What a rule may name in its ``reads``; weight and mask are always there."""

_ARRAYS = ("weight", "mask", *sorted(SIGNALS), "active", "inactive")


def check_drop_rule(rule: DropRule, *, exact: bool = True) -> None:
    """Raise AssertionError unless ``rule`` keeps the contract of a DropRule.

    ``exact=False`` is for a rule that says it may drop fewer than it was asked for (among the built-ins only
    `DropThreshold`).
    """
    _check_value(rule)
    for layer in _layers(rule.reads):
        for count in _counts(layer.active.size):
            _check_call(rule, layer, count, pool="active", at_least=count if exact else 0)


def check_grow_rule(rule: GrowRule) -> None:
    """Raise AssertionError unless ``rule`` keeps the contract of a GrowRule."""
    _check_value(rule)
    for layer in _layers(rule.reads):
        for count in _counts(layer.inactive.size):
            _check_call(rule, layer, count, pool="inactive", at_least=count)


def _check_value(rule: DropRule | GrowRule) -> None:
    """A rule is a value: frozen, printable, comparable, and fit to travel to a worker process."""
    advice = "Make the rule a frozen dataclass at the top level of a module, with its options as fields."
    reads = getattr(rule, "reads", None)
    assert isinstance(reads, frozenset) and reads <= SIGNALS, (
        f"{rule!r}: reads must be a frozenset of names from {sorted(SIGNALS)}, got {reads!r}. "
        "Write `reads: ClassVar[frozenset[str]] = frozenset()` if weight and mask are all that the rule needs."
    )
    assert not _takes_attributes(rule), f"{rule!r} can be changed after it was made. {advice}"
    assert " at 0x" not in repr(rule), (
        f"{rule!r} prints its address. The printed form names the rule's random stream and goes into reports, so it "
        f"must be the same in every process. {advice}"
    )
    try:
        hash(rule)
        copy = ForkingPickler.loads(ForkingPickler.dumps(rule))
    except Exception as error:
        raise AssertionError(f"{rule!r} cannot be hashed or sent to a worker process ({error}). {advice}") from error
    assert copy == rule and repr(copy) == repr(rule), (
        f"{rule!r} comes back from a worker process as {copy!r}, which does not equal it. {advice}"
    )


def _takes_attributes(rule: Any) -> bool:
    try:
        rule.probe_of_the_conformance_suite = 1
    except (AttributeError, TypeError):
        return False
    del rule.probe_of_the_conformance_suite
    return True


def _check_call(rule: DropRule | GrowRule, layer: LayerView, count: int, *, pool: str, at_least: int) -> None:
    """Ask twice with the same generator, and hold the answers against the contract."""
    call = f"{rule!r}, asked for {count} of the {getattr(layer, pool).size} {pool} weights of {layer.name!r},"
    before = _copies(layer)
    chosen, again = _ask(rule, layer, count, call), _ask(rule, layer, count, call)
    for name, array in _copies(layer).items():
        assert np.array_equal(array, before[name]), (
            f"{call} changed the layer's {name}. These arrays are the model's own memory: work on a copy."
        )
    allowed = before[pool]
    assert isinstance(chosen, np.ndarray) and chosen.ndim == 1 and np.issubdtype(chosen.dtype, np.integer), (
        f"{call} returned {_kind(chosen)}. Return flat indices: a one-dimensional integer array (np.flatnonzero makes "
        "one of a boolean mask)."
    )
    strangers = np.setdiff1d(chosen, allowed)
    assert not strangers.size, (
        f"{call} chose {strangers[:5].tolist()}, which are not {pool}. Return indices into the whole layer, "
        f"such as layer.{pool}[positions], not positions among the {pool}."
    )
    assert np.unique(chosen).size == chosen.size, f"{call} chose an index more than once. Draw without replacement."
    assert at_least <= chosen.size <= count, (
        f"{call} returned {chosen.size} indices; allowed: {_range(at_least, count)}. Choose by rank "
        "(np.argpartition), not by comparing with a threshold: weights that tie make such a count drift."
    )
    assert np.array_equal(chosen, again), (
        f"{call} answered differently the second time. All chance must come from the `generator` argument, and the "
        "rule must remember nothing between calls."
    )


def _ask(rule: DropRule | GrowRule, layer: LayerView, count: int, call: str) -> Indices:
    generator = np.random.default_rng(0)
    try:
        return rule(layer, count, generator=generator)
    except UsageError as error:
        raise AssertionError(f"{call} raised: {error}") from error
    except Exception as error:
        raise AssertionError(
            f"{call} raised {type(error).__name__}: {error}. Every layer and every count up to all must work, and an "
            f"array that `reads` does not name is None (it names {sorted(rule.reads) or 'none'})."
        ) from error


def _layers(reads: frozenset[str]) -> Iterator[LayerView]:
    """Layers by size, density and ties; only the arrays that ``reads`` names are there."""
    random = np.random.default_rng(8)
    for size in (0, 1, 2, 8, 60):
        for kept in (0.0, 0.3, 0.5, 1.0):
            mask = np.zeros(size, dtype=bool)
            mask[random.permutation(size)[: round(kept * size)]] = True
            fired = mask | (random.random(size) < 0.3)
            for ties, values in (("no ties", None), ("many ties", (-1, 0, 1)), ("all equal", (0.5,)), ("zeros", (0,))):
                drawn = [random.normal(size=size) if values is None else random.choice(values, size) for _ in range(4)]
                weight, gradient, momentum, gap = (array.astype(np.float32) for array in drawn)
                yield LayerView(
                    f"{size} weights, density {kept}, {ties}",
                    weight=np.where(mask, weight, np.float32(0)),
                    mask=mask,
                    gradient=gradient if "gradient" in reads else None,
                    momentum=momentum if "momentum" in reads else None,
                    fired=fired if "fired" in reads else None,
                    gap_gradient=gap if "gap_gradient" in reads else None,
                )


def _counts(most: int) -> list[int]:
    return sorted({0, min(1, most), most // 3, max(most - 1, 0), most})


def _copies(layer: LayerView) -> dict[str, np.ndarray]:
    arrays = {name: getattr(layer, name) for name in _ARRAYS}
    return {name: array.copy() for name, array in arrays.items() if array is not None}


def _kind(value: object) -> str:
    return f"an array of {value.dtype}, shape {value.shape}" if isinstance(value, np.ndarray) else type(value).__name__


def _range(low: int, high: int) -> str:
    return f"exactly {high}" if low == high else f"{low} to {high}"
