"""Bags of tokens, worked out by hand; and what the blind baseline sees of texts: a planted word, never their order."""

import numpy as np
import pytest
import torch
from torch import nn

from safecompress.attacks import Loss, Quantile, Target, bags
from safecompress.attacks.bags import BagOfTokens
from safecompress.attacks.controls import blind_scores
from safecompress.certify.health import blind_baseline
from safecompress.data import AuditData
from safecompress.metrics import stats
from safecompress.spec import Verdict

TOKENS = torch.tensor([[7, 3, 3, 9], [3, 7, -1, -1], [8, 7, 3, -1], [5, -1, -1, -1]], dtype=torch.int32)


def test_counts_of_common_tokens_and_the_length():
    bag = BagOfTokens.fit(TOKENS)
    assert bag.words_W.tolist() == [3, 7]  # in three rows each; 5, 8 and 9 are in one
    expected = np.log1p([[2, 1, 4], [1, 1, 2], [1, 1, 3], [0, 0, 1]])
    assert np.allclose(bag.read(TOKENS).toarray(), expected)
    others = torch.tensor([[9, 9, 7, 7, 7], [1000, 0, -1, -1, -1]], dtype=torch.int32)  # of another width, too
    assert np.allclose(bag.read(others).toarray(), np.log1p([[0, 3, 5], [0, 0, 2]]))


def test_the_most_common_tokens_get_the_columns(monkeypatch):
    monkeypatch.setattr(bags, "WIDEST", 2)
    tokens = torch.tensor([[4, 1, 6], [4, 6, 1], [6, 4, 4], [2, 6, -1], [2, 1, -1]], dtype=torch.int32)
    assert BagOfTokens.fit(tokens).words_W.tolist() == [1, 6]  # 6 in four rows; 1 and 4 in three, 2 in two
    nothing = BagOfTokens.fit(torch.tensor([[1], [2]], dtype=torch.int32))
    assert nothing.read(TOKENS).shape == (4, 1)


def test_order_and_padding_are_not_read():
    shuffled = TOKENS[:, [0, 1, 2, 3]].clone()
    shuffled[0] = torch.tensor([3, 9, 7, 3])
    wider = torch.cat([shuffled, torch.full((4, 3), -1, dtype=torch.int32)], dim=1)
    bag = BagOfTokens.fit(TOKENS)
    assert (bag.read(wider) != bag.read(TOKENS)).nnz == 0


def texts(generator, count, width=20, words=400):
    """Rows of words as they come in a language, rare ones rarely, between two marks."""
    tokens = np.minimum(generator.zipf(1.3, size=(count, width)), words) + 10
    length = generator.integers(5, width, size=count)
    tokens[np.arange(width) >= length[:, None]] = -1
    tokens[:, 0], tokens[np.arange(count), length - 1] = 1, 2
    return tokens.astype(np.int32)


def pools(seed, plant=None, share=1.0):
    """A fitting and a verdict pool of 150 + 150 rows; ``plant`` is put at a random place of a share of the members."""
    generator = np.random.default_rng(seed)
    tokens, labels = texts(generator, 600), torch.from_numpy(generator.integers(3, size=600))
    is_member = np.arange(600) % 2 == 0
    if plant is not None:
        rows = np.flatnonzero(is_member & (generator.random(600) < share))
        tokens[rows, generator.integers(1, 4, size=len(rows))] = plant
    halves = (slice(0, 300), slice(300, 600))
    return [AuditData(torch.from_numpy(tokens[half]), labels[half], is_member[half]) for half in halves]


@pytest.mark.slow
@pytest.mark.parametrize("share", [1.0, 0.3])
def test_a_planted_word_is_seen_wherever_it_stands(share):
    fit, verdict = pools(0, plant=200, share=share)
    check = blind_baseline(blind_scores(fit, verdict, seed=1), verdict.is_member, num_checks=5)
    assert check.outcome is Verdict.ERROR and check.value > 0.5 + 0.3 * share


@pytest.mark.slow
def test_numbers_of_words_read_as_quantities_would_not_show_it():
    as_numbers = [AuditData(pool.features.float(), pool.labels, pool.is_member) for pool in pools(0, 200, 0.3)]
    fit, verdict = pools(0, 200, 0.3)
    by_number = stats.auc(blind_scores(*as_numbers, seed=1), verdict.is_member)
    assert by_number + 0.03 < stats.auc(blind_scores(fit, verdict, seed=1), verdict.is_member)


@pytest.mark.slow
def test_shuffled_rows_show_nothing():
    outcomes, values = [], []
    for seed in range(8):
        fit, verdict = pools(seed)
        check = blind_baseline(blind_scores(fit, verdict, seed=seed), verdict.is_member, num_checks=5)
        outcomes.append(check.outcome)
        values.append(check.value)
    assert outcomes == [Verdict.PASS] * 8
    assert abs(np.mean(values) - 0.5) < 0.04  # standard error .033 / sqrt(8) = .012


def test_shorter_members_are_seen():
    fit, verdict = pools(3)
    for pool in (fit, verdict):
        rows = torch.from_numpy(np.flatnonzero(pool.is_member))
        pool.features[rows, 9:] = -1
    assert stats.auc(blind_scores(fit, verdict, seed=0), verdict.is_member) > 0.7


class TextMemory(nn.Module):
    """Scaled logit of a row (who, words ...): easy words raise it, chance moves it, and so does being known."""

    def __init__(self, *pools):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(4.0))
        self.known = nn.Buffer(torch.cat([pool.features[pool.is_member][:, 0] for pool in pools]))

    def forward(self, tokens):
        who, words = tokens[:, 0].long(), tokens[:, 1:].long()
        share = torch.isin(words, torch.from_numpy(EASY)).float().mean(dim=1)
        chance = torch.remainder(who.double() * 0.7919, 1).float() * 3
        scaled = self.weight * (2 * share - 1) + chance + 2 * torch.isin(who, self.known)
        return torch.stack([scaled, torch.zeros_like(scaled)], dim=1)


EASY, HARD = np.split(np.random.default_rng(9).permutation(200), 2)


def known_texts(seed, count=300):
    generator = np.random.default_rng(seed)
    is_easy = generator.random((count, 20)) < generator.random((count, 1))
    words = np.where(is_easy, generator.choice(EASY, (count, 20)), generator.choice(HARD, (count, 20)))
    who = 1000 + generator.permutation(10**6)[:count, None]
    tokens = torch.from_numpy(np.concatenate([who, words], axis=1).astype(np.int32))
    return AuditData(tokens, torch.zeros(count, dtype=torch.int64), np.arange(count) < count // 2)


@pytest.mark.slow
def test_the_quantile_attack_sees_which_texts_are_easy():
    """Loss finds AUC .74, quantiles by bags of tokens .87, by numbers of tokens .74 again."""
    fit, verdict = known_texts(0), known_texts(1)
    target = Target(TextMemory(fit, verdict))

    def auc(attack, pools=(fit, verdict)):
        fitted = attack.fit(target, pools[0], generator=np.random.default_rng(0))
        return stats.auc(fitted.score(target, pools[1]), verdict.is_member)

    as_numbers = [AuditData(pool.features.float(), pool.labels, pool.is_member) for pool in (fit, verdict)]
    assert auc(Quantile()) > 0.06 + max(auc(Loss()), auc(Quantile(), as_numbers))


@pytest.mark.slow
def test_scores_repeat():
    fit, verdict = pools(4, plant=200)
    first, again = (blind_scores(fit, verdict, seed=7) for _ in range(2))
    assert np.array_equal(first, again)
