"""Drop and grow rules: eight numbers by hand, properties under many ties, and slow oracles that sort."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from safecompress.errors import UsageError
from safecompress.seeding import derive
from safecompress.sparsity import (
    DROP_RULES,
    GROW_RULES,
    DropLeak,
    DropMagnitude,
    DropRandomSmall,
    DropSet,
    DropTaylor,
    DropThreshold,
    GrowGradient,
    GrowMomentum,
    GrowRandom,
    GrowRandomUnfired,
    GrowSmallestGradient,
    LayerView,
)
from safecompress.sparsity.topk import largest, smallest

# Eight weights, the gradient at each, its moving average, and where a weight was ever active.
#            index    0     1     2     3    4    5     6    7
WEIGHT = np.array([+5.0, -1.0, +3.0, -4.0, 0.0, 0.0, +2.0, 0.0], dtype=np.float32)
MASK = np.array([True, True, True, True, False, False, True, False])
GRADIENT = np.array([+0.1, +9.0, -0.2, +0.1, -0.7, +0.6, -4.0, +0.8], dtype=np.float32)
MOMENTUM = np.array([+9.0, +9.0, +9.0, +9.0, +0.2, -0.3, +9.0, 0.1], dtype=np.float32)
FIRED = np.array([True, True, True, True, True, False, True, False])
GAP = np.array([+9.0, +0.5, +1.0, -9.0, +5.0, -5.0, -1.0, +5.0], dtype=np.float32)
EIGHT = LayerView("eight", WEIGHT, MASK, gradient=GRADIENT, momentum=MOMENTUM, fired=FIRED, gap_gradient=GAP)


def ask(rule, layer, count, seed=0):
    return rule(layer, count, generator=derive(seed, "ask")).tolist()


@pytest.mark.parametrize(
    ("rule", "by_count"),
    [
        # |weight| of the active 0 1 2 3 6: 5 1 3 4 2
        (DropMagnitude(), [[], [1], [1, 6], [1, 2, 6], [1, 2, 3, 6], [0, 1, 2, 3, 6]]),
        # their mean is 3, and only 1 and 6 lie strictly under it (2 is at it)
        (DropThreshold(), [[], None, [1, 6], [1, 6], [1, 6], [1, 6]]),
        (DropThreshold(0.5), [[], [1], [1], [1], [1], [1]]),
        (DropThreshold(10), [[], None, None, None, None, [0, 1, 2, 3, 6]]),
        # three positive (6 2 0 by size), two negative (1 3); of n: round(n * 3/5) positive
        (DropSet(), [[], [6], [1, 6], [1, 2, 6], [1, 2, 3, 6], [0, 1, 2, 3, 6]]),
        # |weight x gradient|: .5 9 .6 .4 8
        (DropTaylor(), [[], [3], [0, 3], [0, 2, 3], [0, 2, 3, 6], [0, 1, 2, 3, 6]]),
        # the smaller half, three of five: 1 6 2; of 0 1 2 3 6 without them the gap changes by -45 +.5 -3 -36 +2
        (DropLeak(), [[], [2], [1, 2], [1, 2, 6], [1, 2, 3, 6], [0, 1, 2, 3, 6]]),
        (DropRandomSmall(), [[], None, None, [1, 2, 6], [1, 2, 3, 6], [0, 1, 2, 3, 6]]),
    ],
)
def test_drop_rules_on_eight_numbers(rule, by_count):
    for count, expected in enumerate(by_count):
        if expected is None:
            assert len(ask(rule, EIGHT, count)) == count
        else:
            assert ask(rule, EIGHT, count) == expected


@pytest.mark.parametrize(
    ("rule", "by_count"),
    [
        # inactive: 4 5 7
        (GrowRandom(), [[], None, None, [4, 5, 7]]),
        # 4 was active once; 5 and 7 never
        (GrowRandomUnfired(), [[], None, [5, 7], [4, 5, 7]]),
        (GrowGradient(), [[], [7], [4, 7], [4, 5, 7]]),
        (GrowSmallestGradient(), [[], [5], [4, 5], [4, 5, 7]]),
        (GrowMomentum(), [[], [5], [4, 5], [4, 5, 7]]),
    ],
)
def test_grow_rules_on_eight_numbers(rule, by_count):
    for count, expected in enumerate(by_count):
        if expected is None:
            assert len(ask(rule, EIGHT, count)) == count
        else:
            assert ask(rule, EIGHT, count) == expected


def test_by_lot_means_that_every_allowed_weight_gets_its_turn_and_no_other():
    def seen(rule, count):
        return {index for seed in range(60) for index in ask(rule, EIGHT, count, seed)}

    assert seen(GrowRandom(), 1) == {4, 5, 7}
    assert seen(GrowRandomUnfired(), 1) == {5, 7}
    assert seen(DropThreshold(), 1) == {1, 6}
    assert seen(DropRandomSmall(), 1) == {1, 2, 6}
    assert seen(DropThreshold(10), 2) == {0, 1, 2, 3, 6}


def test_random_growth_is_uniform():
    layer = LayerView("ten", weight=np.zeros(10), mask=np.zeros(10, dtype=bool))
    counts = np.bincount(np.concatenate([ask(GrowRandom(), layer, 3, seed) for seed in range(2000)]), minlength=10)
    # 2000 draws with probability .3: 600, standard deviation 20.5; five of them at either side
    assert counts.min() > 497 and counts.max() < 703


def test_set_shares_out_in_proportion_and_counts_a_zero_as_positive():
    weight = np.array([0.0, 0.0, 0.3, 0.4, -0.2, -0.1, -0.3, -0.4])
    layer = LayerView("signs", weight=weight, mask=np.ones(8, dtype=bool))
    assert ask(DropSet(), layer, 4) == [0, 1, 4, 5]
    assert ask(DropSet(), layer, 6) == [0, 1, 2, 4, 5, 6]
    one_sided = LayerView("positive", weight=np.abs(weight) + 1, mask=np.ones(8, dtype=bool))
    assert ask(DropSet(), one_sided, 3) == [0, 1, 5]
    assert ask(DropSet(), LayerView("negative", weight=-np.abs(weight) - 1, mask=np.ones(8, dtype=bool)), 3) == [
        0,
        1,
        5,
    ]


@st.composite
def layers(draw, ties=True):
    """Layers of which most scores tie (or, without ``ties``, where none do), of any density."""
    size = draw(st.integers(0, 40))
    values = st.integers(-2, 2) if ties else st.floats(-10, 10, allow_subnormal=False)
    column = st.lists(values, min_size=size, max_size=size, unique=not ties)
    weight, gradient, momentum, gap = (np.array(draw(column), dtype=float) for _ in range(4))
    mask = np.array(draw(st.lists(st.booleans(), min_size=size, max_size=size)), dtype=bool)
    fired = mask | np.array(draw(st.lists(st.booleans(), min_size=size, max_size=size)), dtype=bool)
    return LayerView("drawn", weight * mask, mask, gradient, momentum, fired, gap)


DROPS = [DROP_RULES.make(name) for name in DROP_RULES.names()]
GROWS = [GROW_RULES.make(name) for name in GROW_RULES.names()]


@pytest.mark.slow
@pytest.mark.parametrize("rule", DROPS, ids=repr)
@given(layer=layers(), share=st.floats(0, 1))
def test_a_drop_is_a_subset_of_the_active_of_the_exact_count(rule, layer, share):
    count = round(share * layer.active.size)
    dropped = ask(rule, layer, count)
    assert set(dropped) <= set(layer.active.tolist())
    assert len(set(dropped)) == len(dropped)
    if isinstance(rule, DropThreshold):
        under = np.abs(layer.weight[layer.active])
        under = int((under < under.mean()).sum()) if under.size else 0
        assert len(dropped) == min(count, under)
    else:
        assert len(dropped) == count


@pytest.mark.slow
@pytest.mark.parametrize("rule", GROWS, ids=repr)
@given(layer=layers(), share=st.floats(0, 1))
def test_growth_is_a_subset_of_the_inactive_of_the_exact_count(rule, layer, share):
    count = round(share * layer.inactive.size)
    grown = ask(rule, layer, count)
    assert set(grown) <= set(layer.inactive.tolist())
    assert len(set(grown)) == len(grown) == count


def by_sorting(pool, key, count):
    """The slow oracle: a stable sort of the pool."""
    return sorted(sorted(pool.tolist(), key=key)[:count])


@pytest.mark.slow
@given(layer=layers(), share=st.floats(0, 1))
def test_ranking_rules_equal_a_stable_sort(layer, share):
    num_dropped, num_grown = round(share * layer.active.size), round(share * layer.inactive.size)
    w, g, m = layer.weight, layer.gradient, layer.momentum
    for rule, key in ((DropMagnitude(), lambda i: abs(w[i])), (DropTaylor(), lambda i: (w[i] * g[i]) ** 2)):
        assert ask(rule, layer, num_dropped) == by_sorting(layer.active, key, num_dropped)
    for rule, key in (
        (GrowGradient(), lambda i: -abs(g[i])),
        (GrowMomentum(), lambda i: -abs(m[i])),
        (GrowSmallestGradient(), lambda i: abs(g[i])),
    ):
        assert ask(rule, layer, num_grown) == by_sorting(layer.inactive, key, num_grown)


@pytest.mark.slow
@given(layer=layers(), share=st.floats(0, 1))
def test_leak_equals_its_slow_form_and_its_control_draws_from_the_same_half(layer, share):
    count, w, gap = round(share * layer.active.size), layer.weight, layer.gap_gradient
    half = by_sorting(layer.active, lambda i: abs(w[i]), max(count, -(-layer.active.size // 2)))
    assert ask(DropLeak(), layer, count) == by_sorting(np.array(half, dtype=int), lambda i: -(w[i] * gap[i]), count)
    assert set(ask(DropRandomSmall(), layer, count)) <= set(half)


def test_of_equal_scores_the_first_weights_go():
    equal = LayerView("equal", np.full(6, 2.0), np.ones(6, dtype=bool), gap_gradient=np.full(6, 3.0))
    assert ask(DropLeak(), equal, 2) == [0, 1]
    spoiled = replace(equal, gap_gradient=np.array([1.0, np.nan, 2.0, 9.0, 9.0, 9.0]))
    assert ask(DropLeak(), spoiled, 2) == [0, 2]  # a score that is not a number comes last


@pytest.mark.slow
@given(layer=layers(ties=False), share=st.floats(0, 1))
def test_set_equals_its_slow_form(layer, share):
    count = round(share * layer.active.size)
    positive = sorted((layer.weight[i], i) for i in layer.active.tolist() if layer.weight[i] >= 0)
    negative = sorted((-layer.weight[i], i) for i in layer.active.tolist() if layer.weight[i] < 0)
    num_positive = round(count * len(positive) / max(1, layer.active.size))
    num_positive = max(num_positive, count - len(negative))
    expected = [i for _, i in positive[:num_positive] + negative[: count - num_positive]]
    assert ask(DropSet(), layer, count) == sorted(expected)


@pytest.mark.slow
@given(layer=layers(), share=st.floats(0, 1), seed=st.integers(0, 5))
def test_unfired_growth_takes_a_fired_weight_only_when_no_other_is_left(layer, share, seed):
    count = round(share * layer.inactive.size)
    grown = ask(GrowRandomUnfired(), layer, count, seed)
    never = [i for i in layer.inactive.tolist() if not layer.fired[i]]
    assert len(set(grown) & set(never)) == min(count, len(never))


@given(st.lists(st.sampled_from([-1.0, 0.0, 1.0, np.inf, -np.inf, np.nan]), max_size=12), st.integers(-1, 13))
@example([np.nan, 1.0, np.nan, np.inf], 3)
@example([0.0, 1.0, 0.0, 0.0], 2)
def test_exactly_k_whatever_the_scores(values, count):
    scores = np.array(values, dtype=float)
    order = sorted(range(len(values)), key=lambda i: (np.isnan(scores[i]), scores[i] if scores[i] == scores[i] else 0))
    assert smallest(scores, count).tolist() == sorted(order[: max(count, 0)])
    reverse = sorted(
        range(len(values)), key=lambda i: (np.isnan(scores[i]), -scores[i] if scores[i] == scores[i] else 0)
    )
    assert largest(scores, count).tolist() == sorted(reverse[: max(count, 0)])


def test_a_signal_that_was_not_collected_teaches():
    bare = LayerView("fc1.weight", weight=WEIGHT, mask=MASK)
    for rule, missing in (
        (DropTaylor(), "gradient"),
        (DropLeak(), "gap_gradient"),
        (GrowMomentum(), "momentum"),
        (GrowRandomUnfired(), "fired"),
    ):
        with pytest.raises(UsageError, match=f"the {missing} of 'fc1.weight', which was not collected"):
            ask(rule, bare, 1)


@pytest.mark.parametrize("scale", [0, -1.0, float("nan")])
def test_a_threshold_of_nothing_is_refused(scale):
    with pytest.raises(UsageError, match=r"scale.*above 0"):
        DropThreshold(scale)


def test_options_are_part_of_what_a_rule_prints_and_equals():
    assert DropThreshold(2) != DropThreshold() == DropThreshold(1.0)
    assert repr(DropThreshold(2.0)) == "DropThreshold(scale=2.0)"
    assert DROP_RULES.make({"name": "threshold", "scale": 2.0}) == DropThreshold(2.0)
