"""The shipped suite passes every built-in rule and fails a deliberately broken rule of each kind."""

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import pytest

from safecompress.sparsity import (
    DROP_RULES,
    GROW_RULES,
    DropMagnitude,
    DropThreshold,
    GrowRandom,
)
from safecompress.testing import check_drop_rule, check_grow_rule


@pytest.mark.parametrize("name", DROP_RULES.names())
def test_built_in_drop_rules_conform(name):
    check_drop_rule(DROP_RULES.make(name), exact=name != "threshold")


@pytest.mark.slow
@pytest.mark.parametrize("name", GROW_RULES.names())
def test_built_in_grow_rules_conform(name):
    check_grow_rule(GROW_RULES.make(name))


def test_a_rule_that_drops_fewer_must_say_so():
    check_drop_rule(DropThreshold(0.5), exact=False)
    with pytest.raises(AssertionError, match="allowed: exactly 1"):
        check_drop_rule(DropThreshold(0.5))


# --- broken in what they return: each drops (or grows) the first `count` of its pool but for one fault


def first(pool, count):
    return pool[:count]


@dataclass(frozen=True)
class Rule:
    reads: ClassVar[frozenset[str]] = frozenset()
    pool: str = "active"

    def candidates(self, layer):
        return getattr(layer, self.pool)

    def __call__(self, layer, count, *, generator):
        return first(self.candidates(layer), count)


@dataclass(frozen=True)
class OtherPool(Rule):
    def __call__(self, layer, count, *, generator):
        other = layer.inactive if self.pool == "active" else layer.active
        return first(other if other.size >= count else self.candidates(layer), count)


@dataclass(frozen=True)
class PositionsNotIndices(Rule):
    def __call__(self, layer, count, *, generator):
        return np.arange(count)


@dataclass(frozen=True)
class OneTooFew(Rule):
    def __call__(self, layer, count, *, generator):
        return first(self.candidates(layer), count - 1 if count > 5 else count)


@dataclass(frozen=True)
class OneTooMany(Rule):
    def __call__(self, layer, count, *, generator):
        return first(self.candidates(layer), count + 1 if count else 0)


@dataclass(frozen=True)
class IgnoresZero(Rule):
    def __call__(self, layer, count, *, generator):
        return first(self.candidates(layer), max(count, 1))


@dataclass(frozen=True)
class ByThreshold(Rule):
    def __call__(self, layer, count, *, generator):
        pool = self.candidates(layer)
        if not count:
            return pool[:0]
        weight = np.abs(layer.weight[pool])
        return pool[weight <= np.sort(weight)[count - 1]]


@dataclass(frozen=True)
class WithReplacement(Rule):
    def __call__(self, layer, count, *, generator):
        pool = self.candidates(layer)
        return generator.choice(pool, count) if pool.size else pool


@dataclass(frozen=True)
class OwnChance(Rule):
    def __call__(self, layer, count, *, generator):
        return np.random.default_rng().permutation(self.candidates(layer))[:count]


@dataclass(frozen=True)
class ChangesWeights(Rule):
    def __call__(self, layer, count, *, generator):
        layer.weight[:] = 0
        return first(self.candidates(layer), count)


@dataclass(frozen=True)
class ShufflesThePool(Rule):
    def __call__(self, layer, count, *, generator):
        pool = self.candidates(layer)
        generator.shuffle(pool)
        return first(pool, count)


@dataclass(frozen=True)
class ReturnsAMask(Rule):
    def __call__(self, layer, count, *, generator):
        mask = np.zeros(layer.mask.size, dtype=bool)
        mask[first(self.candidates(layer), count)] = True
        return mask


@dataclass(frozen=True)
class ReturnsAList(Rule):
    def __call__(self, layer, count, *, generator):
        return first(self.candidates(layer), count).tolist()


@dataclass(frozen=True)
class FailsOnEmptyLayers(Rule):
    def __call__(self, layer, count, *, generator):
        layer.weight.max()
        return first(self.candidates(layer), count)


@dataclass(frozen=True)
class ReadsWhatItDoesNotName(Rule):
    def __call__(self, layer, count, *, generator):
        layer.signal("gradient")
        return first(self.candidates(layer), count)


@dataclass(frozen=True)
class ReadsBehindTheBack(Rule):
    def __call__(self, layer, count, *, generator):
        np.argsort(layer.momentum[layer.active])
        return first(self.candidates(layer), count)


@dataclass(frozen=True)
class RemembersCalls(Rule):
    calls: list = field(default_factory=list, compare=False, repr=False)

    def __call__(self, layer, count, *, generator):
        self.calls.append(count)
        return np.roll(self.candidates(layer), len(self.calls))[:count]


BROKEN_ANSWERS = {
    OtherPool: "which are not",
    PositionsNotIndices: "not positions among",
    OneTooFew: "allowed: exactly",
    OneTooMany: "allowed: exactly",
    IgnoresZero: "allowed: exactly 0",
    ByThreshold: "weights that tie make such a count drift",
    WithReplacement: "without replacement",
    OwnChance: "must come from the `generator`",
    ChangesWeights: "changed the layer's weight",
    ShufflesThePool: "changed the layer's",
    ReturnsAMask: "an array of bool",
    ReturnsAList: "returned list",
    FailsOnEmptyLayers: "raised ValueError",
    ReadsWhatItDoesNotName: "Name 'gradient' in the rule's `reads`",
    ReadsBehindTheBack: "is None",
    RemembersCalls: "remember nothing|changed",
}


@pytest.mark.parametrize("broken", BROKEN_ANSWERS, ids=lambda rule: rule.__name__)
def test_a_broken_drop_rule_fails(broken):
    with pytest.raises(AssertionError, match=BROKEN_ANSWERS[broken]):
        check_drop_rule(broken("active"))


@pytest.mark.parametrize("broken", BROKEN_ANSWERS, ids=lambda rule: rule.__name__)
def test_a_broken_grow_rule_fails(broken):
    with pytest.raises(AssertionError, match=BROKEN_ANSWERS[broken]):
        check_grow_rule(broken("inactive"))


@pytest.mark.parametrize("pool", ["active", "inactive"])
def test_the_rules_above_would_pass_without_their_fault(pool):
    (check_drop_rule if pool == "active" else check_grow_rule)(Rule(pool))


# --- broken as values


class PlainObject:
    reads: ClassVar[frozenset[str]] = frozenset()

    def __call__(self, layer, count, *, generator):
        return layer.active[:count]


@dataclass(unsafe_hash=True)
class Mutable:
    reads: ClassVar[frozenset[str]] = frozenset()

    def __call__(self, layer, count, *, generator):
        return layer.active[:count]


@dataclass(frozen=True, eq=False)
class ComparesByIdentity(Rule):
    __eq__ = object.__eq__
    __hash__ = object.__hash__


@dataclass(frozen=True, repr=False)
class PrintsItsAddress(Rule):
    __repr__ = object.__repr__


@dataclass(frozen=True)
class ReadsALooseList(Rule):
    reads = ["gradient"]  # noqa: RUF012


@dataclass(frozen=True)
class ReadsTheUnknown(Rule):
    reads: ClassVar[frozenset[str]] = frozenset({"hessian"})


@dataclass(frozen=True)
class HoldsAClosure(Rule):
    key: object = field(default_factory=lambda: lambda weight: weight, repr=False)


def local_rule():
    @dataclass(frozen=True)
    class Local(Rule):
        pass

    return Local()


def bare_function(layer, count, *, generator):
    return layer.active[:count]


bare_function.reads = frozenset()


@pytest.mark.parametrize("check", [check_drop_rule, check_grow_rule])
@pytest.mark.parametrize(
    ("make", "message"),
    [
        (PlainObject, "can be changed"),
        (Mutable, "can be changed"),
        (lambda: bare_function, "can be changed"),
        (ComparesByIdentity, "not equal it"),
        (PrintsItsAddress, "prints its address"),
        (ReadsALooseList, "reads .*frozenset"),
        (ReadsTheUnknown, r"\['fired', 'gap_gradient', 'gradient', 'momentum'\]"),
        (HoldsAClosure, "worker process"),
        (local_rule, "worker process"),
    ],
)
def test_a_rule_that_is_no_value_fails(check, make, message):
    with pytest.raises(AssertionError, match=message):
        check(make())


def test_a_probed_rule_is_left_as_it_was():
    rule = PlainObject()
    with pytest.raises(AssertionError):
        check_drop_rule(rule)
    assert vars(rule) == {}


def test_a_good_rule_of_the_other_kind_fails():
    with pytest.raises(AssertionError, match="1 active weights"):
        check_drop_rule(GrowRandom())
    with pytest.raises(AssertionError, match="1 inactive weights"):
        check_grow_rule(DropMagnitude())
