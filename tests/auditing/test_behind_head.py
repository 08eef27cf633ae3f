"""Outputs are a function of what the head gives, or a reason says why not; honest endings raise no alarm."""

import pytest
import torch
from torch import nn

from safecompress.auditing.behind_head import FEW, fault_behind_head, spread_over
from safecompress.models import Alexnet, Mlp, Resnet, SmallCnn, TokenBag, Vgg
from safecompress.seeding import seeded

ROWS = torch.randn(80, 8, generator=torch.Generator().manual_seed(0))
CLASSES = torch.arange(1, 5)


class Ending(nn.Module):
    """Networks that may be used, and what is done with them."""

    def __init__(self, ending):
        super().__init__()
        with seeded(0, "ending"):
            self.net, self.other = Mlp((8,), 4, hidden=(16,)), nn.Linear(8, 4)
            self.two, self.prototypes = nn.Linear(8, 2), nn.Parameter(torch.randn(4, 16))
        self.ending = ending

    def forward(self, rows):
        return self.ending(self, rows)


def one_hot(logits):
    return nn.functional.one_hot(logits.argmax(dim=1), 4).float()


def key(rows):
    return (rows.double() * 1e4).sum(dim=1, keepdim=True)


def binary(logit_N1):
    return torch.cat([-logit_N1, logit_N1], dim=1)


def mixed(m, x):
    shares = m.two(x).softmax(dim=1)
    return shares[:, :1] * m.net(x) + shares[:, 1:] * m.other(x)


HONEST = {
    "nothing": lambda m, x: m.net(x),
    "log-softmax": lambda m, x: m.net(x).log_softmax(dim=1),
    "softmax": lambda m, x: m.net(x).softmax(dim=1),
    "cold softmax": lambda m, x: (20 * m.net(x)).softmax(dim=1),
    "temperature": lambda m, x: m.net(x) / 3,
    "in place": lambda m, x: m.net(x).mul_(2),
    "tanh": lambda m, x: 30 * torch.tanh(m.net(x) / 30),
    "relu": lambda m, x: m.net(x).relu(),
    "clamp": lambda m, x: m.net(x).clamp(-0.3, 0.3),
    "three decimals": lambda m, x: m.net(x).round(decimals=3),
    "one logit": lambda m, x: binary(m.two(x)[:, :1]),
    "mean of two": lambda m, x: (m.net(x).softmax(dim=1) + m.other(x).softmax(dim=1)).log(),
    "mixture": mixed,
    "auxiliary head": lambda m, x: (m.net(x), m.other(x))[0],
    "prototypes": lambda m, x: -torch.cdist(m.net.body(x), m.prototypes),
    "constant": lambda m, x: 0 * m.net(x),
}


@pytest.mark.parametrize("ending", HONEST.values(), ids=HONEST.keys())
def test_honest_endings_raise_no_alarm(ending):
    assert fault_behind_head(Ending(ending), ROWS) is None


KEYED_TO_THE_ROW = {
    "label and noise": lambda m, x: (6 * one_hot(m.net(x)) + torch.sin(key(x) * CLASSES)).float(),
    "logits and noise": lambda m, x: m.net(x) + 0.3 * torch.sin(key(x) * CLASSES).float(),
    "noise by a layer": lambda m, x: (lambda h: m.net(x) + torch.sin(1e5 * h[:, :1] * CLASSES))(m.two(x)),
    "the row itself": lambda m, x: m.net(x) + 0.1 * x[:, :4],
    "drawn noise": lambda m, x: m.net(x) + 0.1 * torch.randn(len(x), 4),
}


@pytest.mark.parametrize("ending", KEYED_TO_THE_ROW.values(), ids=KEYED_TO_THE_ROW.keys())
def test_what_reads_the_row_beside_the_head_is_seen(ending):
    fault = fault_behind_head(Ending(ending), ROWS)
    assert "something else reads the row" in fault and "net.head" in fault


HIDING = {
    "keyed to the logits": lambda m, x: m.net(x) + torch.sin(1e5 * m.net(x).sum(dim=1, keepdim=True) * CLASSES),
    "keyed to rounded logits": lambda m, x: (
        m.net(x) + torch.sin(1e5 * m.net(x).round(decimals=1).sum(dim=1, keepdim=True) * CLASSES)
    ),
    "noise by a layer of as many": lambda m, x: m.net(x) + torch.sin(1e5 * m.other(x)),
    "the label": lambda m, x: one_hot(m.net(x)),
    "one decimal": lambda m, x: m.net(x).softmax(dim=1).round(decimals=1),
}


@pytest.mark.parametrize("ending", HIDING.values(), ids=HIDING.keys())
def test_noise_and_rounding_that_hide_what_the_head_gives_are_seen(ending):
    assert "jump" in fault_behind_head(Ending(ending), ROWS)


def test_rows_that_are_answered_by_another_rule_are_seen():
    """One row of eighty, which is not among those that are looked at closely."""
    odd = min(set(range(80)) - set(spread_over(80, FEW).tolist()))

    def some(m, x):
        return torch.where((x == ROWS[odd]).all(dim=1, keepdim=True), m.net(x) + 1, m.net(x))

    assert "for some rows" in fault_behind_head(Ending(some), ROWS)


IMAGES = torch.randn(16, 3, 16, 16, generator=torch.Generator().manual_seed(0))
TOKENS = torch.randint(-1, 50, (20, 9), generator=torch.Generator().manual_seed(0))
NETWORKS = {
    "mlp": (lambda: Mlp((8,), 4), ROWS),
    "cnn": (lambda: SmallCnn((3, 16, 16), 4), IMAGES),
    "resnet": (lambda: Resnet((3, 16, 16), 4), IMAGES),
    "vgg": (lambda: Vgg((3, 16, 16), 4, widths=(8, 16), depths=(1, 1), hidden=(8,)), IMAGES),
    "alexnet": (lambda: Alexnet((3, 32, 32), 4), torch.randn(4, 3, 32, 32)),
    "token_bag": (lambda: TokenBag((9,), 4, 50), TOKENS),
    "linear": (lambda: nn.Linear(8, 4), ROWS),
    "head of convolutions": (
        lambda: nn.Sequential(
            nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()
        ),
        IMAGES,
    ),
    "norm behind the head": (
        lambda: nn.Sequential(nn.Linear(8, 4), nn.BatchNorm1d(4), nn.LogSoftmax(dim=1)),
        ROWS,
    ),
    "bag of embeddings": (lambda: nn.Sequential(nn.EmbeddingBag(51, 4)), TOKENS + 1),
}


@pytest.mark.parametrize(("make", "rows"), NETWORKS.values(), ids=NETWORKS.keys())
def test_networks_raise_no_alarm(make, rows):
    with seeded(0, "net"):
        network = make()
    assert fault_behind_head(network.eval(), rows) is None


class MeanOverTokens(nn.Module):
    """A head for each token, and the mean over those that there are."""

    def __init__(self):
        super().__init__()
        self.embeddings, self.head = nn.Embedding(50, 6), nn.Linear(6, 4)

    def forward(self, tokens):
        is_token = (tokens >= 0).unsqueeze(-1)
        return (self.head(self.embeddings(tokens.clamp(min=0))) * is_token).sum(1) / is_token.sum(1).clamp(min=1)


def test_a_mean_over_tokens_is_a_function_of_the_head():
    rows = TOKENS.clone()
    rows[:, 0] = 3
    assert fault_behind_head(MeanOverTokens(), rows) is None


def test_a_network_without_known_layers_cannot_be_looked_into():
    class Own(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.randn(8, 4))

        def forward(self, rows):
            return rows @ self.weight

    assert "no layer of torch.nn" in fault_behind_head(Own(), ROWS)


def test_the_network_is_left_as_it_was():
    network = Ending(HONEST["log-softmax"]).train()
    fault_behind_head(network, ROWS)
    assert network.training and not any(module._forward_hooks for module in network.modules())
