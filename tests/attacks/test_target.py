"""One forward pass for the same model and rows, a new one for any other; what a target grants."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from safecompress.attacks import ATTACKS, Access, Loss, SignalCache, Signals, Target, simulate_attacker
from safecompress.attacks.queries import vary
from safecompress.attacks.shadows import ShadowOutputs
from safecompress.errors import AttackError, UsageError
from safecompress.metrics.measurement import Levels
from safecompress.testing.fakes import ConstantModel, noise_audit


class Counting(nn.Module):
    """A linear model that counts its forward passes."""

    def __init__(self, seed=0):
        super().__init__()
        self.linear = nn.Linear(8, 4)
        with torch.no_grad():
            self.linear.weight.copy_(torch.from_numpy(np.random.default_rng(seed).normal(size=(4, 8))))
            self.linear.bias.zero_()
        self.calls = 0

    def forward(self, features):
        self.calls += 1
        return self.linear(features)


AUDIT, OTHER = noise_audit(30, 30, seed=0), noise_audit(30, 30, seed=1)


class NoiseShadows:
    """Every other shadow trained on a row; what they say is noise."""

    def outputs(self, audit, *, count, queries=1):
        phi = np.random.default_rng(0).normal(size=(count, queries, len(audit.labels)))
        is_in = (np.arange(count)[:, None] + np.arange(len(audit.labels))) % 2 == 0
        return ShadowOutputs(phi, is_in, phi[:, 0] > 0)


def released(model):
    """A target that any attack can be run on: with shadows, and with another version that has its own."""
    return Target(model, shadows=NoiseShadows(), versions={"dense": Target(Counting(seed=1), shadows=NoiseShadows())})


ASK_MORE = {"samia", "label_only"}
"""Attacks that ask the model about altered rows, too."""

SHORT = {name: {"epochs": 1} for name in ("neural", "samia")}
SHORT["whitebox"] = {"epochs": 1, "gradients": "last"}  # those of other layers take a backward pass for each row


@pytest.mark.slow
def test_all_attacks_share_one_forward_pass():
    target = released(Counting())
    for name in sorted(set(ATTACKS.names()) - ASK_MORE):
        attack = ATTACKS.make({"name": name, **SHORT.get(name, {})})
        attacker = simulate_attacker(attack, target, AUDIT, generator=np.random.default_rng(0))
        assert attacker.test(target, AUDIT, Levels()).error is None
    assert target.model.calls == target.versions["dense"].model.calls == 1


def test_equal_content_in_other_objects_is_known_again():
    cache, first, second = SignalCache(), Counting(), Counting()
    signals = Target(first, cache=cache).signals(AUDIT)
    copy = replace(AUDIT, features=AUDIT.features.clone(), labels=AUDIT.labels.clone())
    assert Target(second, cache=cache).signals(copy) is signals
    assert (first.calls, second.calls) == (1, 0)


@pytest.mark.parametrize("what", ["weights", "features", "labels", "order"])
def test_other_content_is_computed_anew(what):
    cache, audit = SignalCache(), AUDIT
    before = Target(Counting(), cache=cache).signals(AUDIT)
    model = Counting(seed=1 if what == "weights" else 0)
    if what == "features":
        features = AUDIT.features.clone()
        features[-1, -1] += 1e-3
        audit = replace(AUDIT, features=features)
    if what == "labels":
        audit = replace(AUDIT, labels=(AUDIT.labels + 1) % 4)
    if what == "order":
        audit = replace(AUDIT, features=AUDIT.features.flip(0), labels=AUDIT.labels.flip(0))
    after = Target(model, cache=cache).signals(audit)
    assert model.calls == 1
    assert not np.array_equal(before.scaled_logit_N, after.scaled_logit_N)


def test_buffers_are_content_too():
    """Batch norm's running mean is no parameter, but changes every answer."""
    cache = SignalCache()
    norms = [nn.Sequential(nn.BatchNorm1d(8), nn.Linear(8, 4)) for _ in range(2)]
    norms[1].load_state_dict(norms[0].state_dict())
    norms[1][0].running_mean += 1
    first, second = (Target(norm, cache=cache).signals(AUDIT) for norm in norms)
    assert not np.array_equal(first.logits_NC, second.logits_NC)


def test_the_cache_is_bounded_and_forgets_the_least_recent():
    cache = SignalCache(capacity=2)
    entry = Signals(np.zeros((1, 2)), np.zeros(1, dtype=np.int64))
    for name in ("a", "b"):
        assert cache.put((name, ""), entry) is entry
    assert cache.get(("a", "")) is entry
    cache.put(("c", ""), entry)
    assert [cache.get((name, "")) is entry for name in "abc"] == [True, False, True]


def test_two_targets_share_nothing_by_default():
    first, second = Counting(), Counting()
    Target(first).signals(AUDIT)
    Target(second).signals(AUDIT)
    assert (first.calls, second.calls) == (1, 1)


def test_a_target_is_in_evaluation_mode():
    model = nn.Sequential(nn.Dropout(0.5), nn.Linear(8, 4)).train()
    target = Target(model)
    assert not model.training
    assert np.array_equal(target.signals(AUDIT).logits_NC, Target(model).signals(AUDIT).logits_NC)


def test_members_and_non_members_go_through_one_pass_in_double_precision():
    model = Counting()
    logits = Target(model).signals(AUDIT).logits_NC
    assert logits.dtype == np.float64
    with torch.no_grad():
        assert np.array_equal(logits, model.linear(AUDIT.features).double().numpy())


def test_a_model_that_gives_nan_is_an_error_of_every_attack():
    model = ConstantModel([0.0, float("nan"), 0.0, 0.0])
    with pytest.raises(AttackError, match="60 of 60 rows"):
        Target(model).signals(AUDIT)
    for name in ATTACKS.names():
        target = released(model)
        attacker = simulate_attacker(ATTACKS.make(name), target, AUDIT, generator=np.random.default_rng(0))
        result = attacker.test(target, OTHER, Levels())
        assert "not finite numbers" in result.error
        assert result.measurements == ()


def test_access_levels_are_ordered_and_a_file_grants_all():
    assert Access.LABELS < Access.SCORES < Access.WEIGHTS
    assert Target(Counting()).access is Access.WEIGHTS


@pytest.mark.parametrize("granted", list(Access))
def test_an_attack_that_needs_more_than_is_granted_is_broken(granted):
    attacker = simulate_attacker(Loss(), Target(Counting(), access=granted), AUDIT, generator=np.random.default_rng(0))
    result = attacker.test(Target(Counting(), access=granted), AUDIT, Levels())
    if granted is Access.LABELS:
        assert "SCORES, the target grants" in result.error
    else:
        assert result.error is None


@pytest.mark.parametrize("word", ["labels", "scores", "weights"])
def test_access_is_read_from_its_word(word):
    assert Access.parse(word).name == word.upper()
    assert Access.parse(Access[word.upper()]) is Access[word.upper()]


def test_an_unknown_access_is_refused_with_its_close_match():
    with pytest.raises(UsageError, match=r"'weight'.*'weights'\? Allowed: labels, scores, weights"):
        Access.parse("weight")


# --- what tells targets apart


class Doubled(Counting):
    """The same weights, another answer."""

    def forward(self, features):
        return 2 * super().forward(features)


Namesake = type("Counting", (Doubled,), {"__qualname__": "Elsewhere.Counting"})


@pytest.mark.parametrize("other", [Doubled, Namesake], ids=["another name", "a namesake"])
def test_equal_weights_in_another_network_are_another_target(other):
    cache = SignalCache()
    first, second = (Target(model, cache=cache).signals(AUDIT) for model in (Counting(), other()))
    assert np.array_equal(2 * first.logits_NC, second.logits_NC)


def test_equal_weights_in_other_layers_are_another_target():
    linear = nn.Linear(8, 4)
    targets = [Target(nn.Sequential(linear, activation)) for activation in (nn.ReLU(), nn.Tanh(), nn.LeakyReLU(0.5))]
    assert len({target.digest for target in targets}) == 3


def test_the_transform_in_front_is_part_of_the_target():
    assert Target(Counting(), transform="a").digest != Target(Counting(), transform="b").digest
    assert Target(Counting(), transform="a").digest == Target(Counting(), transform="a").digest


def test_what_the_last_layer_reads_comes_with_the_signals():
    model = Counting()
    assert np.array_equal(Target(model).signals(AUDIT).hidden_NH, AUDIT.features.numpy())


# --- queries, shadows, versions


def test_query_zero_is_the_row_itself_and_costs_nothing_more():
    target = Target(Counting())
    assert target.query(AUDIT, 0) is target.signals(AUDIT)
    assert target.model.calls == 1


def test_a_query_asks_about_the_variant_once():
    target = Target(Counting())
    first = target.query(AUDIT, 2)
    assert target.query(AUDIT, 2) is first
    with torch.no_grad():
        expected = target.model.linear(vary(AUDIT.features, 2)).double().numpy()
    assert np.array_equal(first.logits_NC, expected)
    assert target.model.calls == 1
    assert not np.array_equal(target.query(AUDIT, 1).logits_NC, expected)


def test_a_target_without_shadows_says_what_to_do():
    target = Target(Counting())
    assert not target.has_shadows
    with pytest.raises(AttackError, match=r"Target\(model, shadows=\.\.\.\)"):
        _ = target.shadows
    shadows = NoiseShadows()
    assert Target(Counting(), shadows=shadows).has_shadows
    assert Target(Counting(), shadows=shadows).shadows is shadows


def test_versions_are_the_targets_own_mapping():
    given = {"dense": Target(Counting(seed=1))}
    target = Target(Counting(), versions=given)
    given.clear()
    assert list(target.versions) == ["dense"]
    assert Target(Counting()).versions == {}
