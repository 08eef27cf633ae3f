"""SAMIA reads scores, sensitivity and label as tokens; its noise is one draw, the same for every row."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from safecompress.attacks import Access, SignalCache, Target
from safecompress.attacks.membership.samia import FLOOR, MAX_TOKENS, FullNet, PaperNet, Samia
from safecompress.digests import digest_tensors
from safecompress.errors import AttackError, UsageError
from safecompress.metrics import stats
from safecompress.models import Mlp
from safecompress.seeding import seeded
from safecompress.testing.attacks import check_attack
from safecompress.testing.fakes import noise_audit

AUDIT, OTHER = noise_audit(40, 40, seed=0), noise_audit(20, 20, seed=1)
with seeded(0, "net"):
    TARGET = Target(Mlp((8,), 4, hidden=(12,)))

KINDS = pytest.mark.parametrize("attack", [Samia(epochs=2), Samia(epochs=2, inputs="paper")], ids=["full", "paper"])


def fitted(attack, audit=AUDIT, target=TARGET, seed=0):
    return attack.fit(target, audit, generator=np.random.default_rng(seed))


@pytest.mark.slow
def test_it_conforms_with_the_papers_inputs():
    check_attack(Samia(epochs=3, inputs="paper"))


def test_it_needs_the_scores_alone():
    assert (Samia().name, Samia().access, Samia().tier) == ("samia", Access.SCORES, 1)


# --- what it reads


def raw(columns, read):
    """Inputs as they were before standardisation."""
    return read.double().numpy() * columns.scale + columns.shift


def test_sensitivity_of_a_linear_model_by_hand():
    """Logits W x: the change under noise u is epsilon W u, the same for every row."""
    with seeded(0, "linear"):
        layer = nn.Linear(8, 4)
    target = Target(layer)
    attacker = fitted(Samia(epochs=1, epsilon=0.5, draws=3), target=target)
    moved = attacker.reader.noise @ layer.weight.T  # draws x classes
    expected = (moved - moved.mean(dim=1, keepdim=True)).abs().mean(dim=0).detach().numpy()
    order = np.argsort(-target.signals(AUDIT).logits_NC, axis=1)
    tokens, _ = attacker.reader.read(target, AUDIT)
    assert attacker.reader.noise.shape == (3, 8)
    assert np.allclose(raw(attacker.reader.columns[1], tokens[:, :, 1]), np.log(expected + FLOOR)[order], atol=1e-5)


@pytest.mark.parametrize("epsilon", [1e-3, 0.1])
def test_the_papers_tokens(epsilon):
    attacker = fitted(Samia(epochs=1, inputs="paper", epsilon=epsilon))
    (tokens,) = attacker.reader.read(TARGET, AUDIT)
    noise = attacker.reader.noise
    with torch.no_grad():
        clean = TARGET.model(AUDIT.features).softmax(dim=1)
        changes = [(TARGET.model(AUDIT.features + epsilon * one).softmax(dim=1) - clean).abs() for one in noise]
    columns = attacker.reader.columns
    assert noise.shape == (10, 8)
    assert np.allclose(raw(columns[0], tokens[:, :, 0]), clean, atol=1e-5)
    assert np.allclose(raw(columns[1], tokens[:, :, 1]), torch.stack(changes).mean(0) / epsilon, atol=1e-3)
    assert torch.equal(tokens[:, :, 2], nn.functional.one_hot(AUDIT.labels, 4).float())


def test_full_tokens_descend_and_keep_the_label():
    attacker = fitted(Samia(epochs=1))
    tokens, label = attacker.reader.read(TARGET, AUDIT)
    scores = raw(attacker.reader.columns[0], tokens[:, :, 0])
    assert (np.diff(scores, axis=1) <= 1e-6).all()
    signals = TARGET.signals(AUDIT)
    rows = np.arange(80)
    place = (signals.log_probs_NC > signals.log_probs_NC[rows, signals.labels_N][:, None]).sum(axis=1)
    assert np.array_equal(tokens[:, :, 2].argmax(dim=1).numpy(), place)
    assert torch.equal(label[:, 1:], nn.functional.one_hot(AUDIT.labels, 4).float())
    phi = signals.scaled_logit_N
    assert np.allclose(label[:, 0], (phi - phi.mean()) / phi.std(), atol=1e-5)


def test_many_classes_give_ten_tokens_and_the_paper_all():
    audit, target = noise_audit(20, 20, num_classes=40), Target(Mlp((8,), 40, hidden=()))
    for inputs, count in (("full", MAX_TOKENS), ("paper", 40)):
        tokens, *_ = fitted(Samia(epochs=1, inputs=inputs), audit, target).reader.read(target, audit)
        assert tokens.shape == (40, count, 3)


class Jagged(nn.Module):
    """Logits that tell nothing, and shake under noise for rows whose last entry is positive."""

    def __init__(self):
        super().__init__()
        self.size = nn.Parameter(torch.ones(()))

    def forward(self, features):
        shake = torch.frac(features[:, :4] * 64) * 0.02 * (features[:, -1:] > 0)
        return features[:, :4].round() * self.size + shake


@pytest.mark.slow
def test_a_leak_that_only_sensitivity_shows_is_found():
    def leaking(seed):
        audit = noise_audit(100, 100, seed=seed)
        features = audit.features.clone()
        features[:, -1] = torch.from_numpy(np.where(audit.is_member, 4.0, -4.0))
        # centres of the steps of `round` and of `frac`: the shake itself is the same for all
        features[:, :4] = features[:, :4].round() + 1 / 128
        return replace(audit, features=features)

    target, fit_pool, test_pool = Target(Jagged()), leaking(0), leaking(1)
    for attack in (Samia(epochs=15, epsilon=1e-3), Samia(epochs=15, epsilon=1e-3, inputs="paper")):
        scores = fitted(attack, fit_pool, target).score(target, test_pool)
        assert stats.auc(scores, test_pool.is_member) > 0.9


# --- noise


@pytest.mark.slow
@KINDS
def test_the_noise_is_the_same_for_all_rows_and_all_calls(attack):
    attacker = fitted(attack)
    scores = attacker.score(TARGET, OTHER)
    assert np.array_equal(scores, attacker.score(TARGET, OTHER))
    part = replace(OTHER, features=OTHER.features[5:9], labels=OTHER.labels[5:9], is_member=OTHER.is_member[5:9])
    assert np.allclose(attacker.score(TARGET, part), scores[5:9], atol=1e-4)
    first, other = fitted(attack, seed=0), fitted(attack, seed=1)
    assert torch.equal(attacker.reader.noise, first.reader.noise)
    assert not torch.equal(attacker.reader.noise, other.reader.noise)


def test_noisy_rows_stay_out_of_the_cache():
    cache = SignalCache(capacity=2)
    target = Target(TARGET.model, cache=cache)
    before = target.signals(OTHER), target.signals(AUDIT)
    fitted(Samia(epochs=1), target=target).score(target, OTHER)
    assert (target.signals(OTHER), target.signals(AUDIT)) == before


@KINDS
def test_the_same_generator_gives_the_same_attacker(attack):
    first, again = fitted(attack), fitted(attack)
    assert digest_tensors(first.net.state_dict()) == digest_tensors(again.net.state_dict())


# --- the nets


def test_the_net_has_the_papers_layers():
    encoder = PaperNet(30).encode
    assert (encoder.embed.in_features, encoder.embed.out_features) == (3, 64)
    assert len(encoder.attend.layers) == 3
    for layer in encoder.attend.layers:
        assert (layer.self_attn.num_heads, layer.linear1.out_features, layer.dropout.p) == (4, 128, 0.2)
    assert (encoder.dense.in_features, encoder.dense.out_features) == (64 * 30, 64)
    assert len(FullNet(10, 31).encode.attend.layers) == 1


def test_the_full_net_starts_from_the_scaled_logit():
    with seeded(0, "net"), torch.no_grad():
        net = FullNet(4, 5).eval()
        tokens, label = torch.randn(6, 4, 3), torch.randn(6, 5)
        corrected = net(tokens, label)
        net.weight.zero_()
        assert torch.allclose(corrected - net(tokens, label), label[:, 0], atol=1e-6)


# --- limits


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"draws": 0}, "draws=0"),
        ({"epsilon": 0.0}, r"epsilon=0\.0"),
        ({"epsilon": float("nan")}, "epsilon=nan"),
        ({"epochs": 0}, "samia.*epochs=0"),
        ({"inputs": "ful"}, r"samia attack's inputs:.*'full'\?"),
    ],
)
def test_options_that_cannot_work_are_refused(options, message):
    with pytest.raises(UsageError, match=message):
        Samia(**options)


def test_rows_of_indices_take_no_noise():
    audit = replace(AUDIT, features=torch.zeros(80, 5, dtype=torch.int64))
    with pytest.raises(AttackError, match=r"hold torch\.int64, not floats"):
        fitted(Samia(), audit)


def test_a_pool_that_is_too_small_names_the_attack():
    with pytest.raises(AttackError, match=r"too small.*samia"):
        fitted(Samia(), noise_audit(5, 5))


def test_noise_is_of_the_rows_own_precision():
    audit = replace(AUDIT, features=AUDIT.features.double())
    target = Target(Mlp((8,), 4, hidden=(12,)).double())
    assert fitted(Samia(epochs=1), audit, target).reader.noise.dtype is torch.float64
