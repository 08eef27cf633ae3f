"""The gradient of the gap between members and non-members: by hand, against slow forms, and what it leaves alone."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from safecompress.data import digits
from safecompress.errors import TrainingError, UsageError
from safecompress.seeding import derive, seeded
from safecompress.sparsity import DropLeak, DropRandomSmall, view_layers
from safecompress.training import gap_gradient

ONE = torch.ones(1, 1)


def net(*extra):
    with seeded(0, "net"):
        return nn.Sequential(nn.Linear(4, 6), *extra, nn.Tanh(), nn.Linear(6, 3)).double()


def rows(count, seed):
    with seeded(seed, "rows"):
        return torch.randn(count, 4, dtype=torch.float64), torch.randint(0, 3, (count,))


MEMBERS, NONMEMBERS = rows(7, 1), rows(5, 2)


@torch.no_grad()
def gap(model, members=MEMBERS, nonmembers=NONMEMBERS):
    model.eval()
    return (cross_entropy(model(nonmembers[0]), nonmembers[1]) - cross_entropy(model(members[0]), members[1])).item()


def test_two_weights_by_hand():
    model = nn.Linear(1, 2, bias=False)
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[0.0], [0.0]]))
    # both classes have probability 1/2: of the non-member (label 0) the loss has the gradient (-1/2, 1/2), of the
    # member (label 1) the opposite one
    found = gap_gradient(model, (ONE, torch.tensor([1])), (ONE, torch.tensor([0])), ["weight"])
    assert found["weight"].tolist() == [[-1.0], [1.0]]
    # a member of label 1 and a weight for it that is positive: without it the gap falls, so it is the one to drop
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[0.5], [0.5]]))
    (layer,) = view_layers(
        {"weight": model.weight},
        {"weight": torch.ones(2, 1, dtype=torch.bool)},
        gap_gradient=gap_gradient(model, (ONE, torch.tensor([1])), (ONE, torch.tensor([0])), ["weight"]),
    )
    assert (layer.weight * layer.gap_gradient).tolist() == [-0.5, 0.5]
    assert DropLeak()(layer, 2, generator=derive(0, "drop")).tolist() == [0, 1]


def test_it_is_the_slope_of_the_gap_at_every_weight():
    model = net()
    found = gap_gradient(model, MEMBERS, NONMEMBERS, ["0.weight", "2.weight"])
    for name, gradient in found.items():
        weight = dict(model.named_parameters())[name]
        for place in np.ndindex(*weight.shape):
            ends = []
            for step in (1e-5, -1e-5):
                with torch.no_grad():
                    weight[place] += step
                    ends.append(gap(model))
                    weight[place] -= step
            assert gradient[place].item() == pytest.approx((ends[0] - ends[1]) / 2e-5, abs=1e-8)


def test_batches_add_up_and_nothing_else_is_touched():
    model = net(nn.BatchNorm1d(6), nn.Dropout(0.5))
    model.train()
    model[0].weight.grad = torch.full_like(model[0].weight, 7.0)
    before, random = {k: v.clone() for k, v in model.state_dict().items()}, torch.get_rng_state()
    with torch.no_grad():  # as within the step of an optimizer
        whole = gap_gradient(model, MEMBERS, NONMEMBERS, ["0.weight"])
    parts = gap_gradient(model, MEMBERS, NONMEMBERS, ["0.weight"], batch_size=2)
    assert torch.allclose(whole["0.weight"], parts["0.weight"], atol=1e-14)
    assert torch.equal(torch.get_rng_state(), random)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert all(module.training for module in model.modules())
    assert bool((model[0].weight.grad == 7).all())


def test_what_plays_no_part_has_zeros():
    model = net()
    model.extra = nn.Linear(2, 2)
    model.forward = lambda x: model[2](model[1](model[0](x)))
    assert not gap_gradient(model, MEMBERS, NONMEMBERS, ["extra.weight"])["extra.weight"].any()


def test_empty_pools_and_diverged_weights_teach():
    nothing = (torch.empty(0, 4, dtype=torch.float64), torch.empty(0, dtype=torch.int64))
    with pytest.raises(UsageError, match="nonmember_rows has no rows"):
        gap_gradient(net(), MEMBERS, nothing, ["0.weight"])
    model = net()
    with torch.no_grad():
        model[0].weight[0, 0] = float("nan")
    with pytest.raises(TrainingError, match=r"not finite.*learning rate"):
        gap_gradient(model, MEMBERS, NONMEMBERS, ["2.weight"])


def overfitted(seed):
    """A network that knows 100 digits by heart, those digits, and 100 others."""
    data = digits()
    x, y = data.read(torch.arange(len(data.labels))).float() / 16, data.labels
    order = torch.from_numpy(derive(seed, "rows").permutation(len(y)))
    members, nonmembers = ((x[part], y[part]) for part in (order[:100], order[100:200]))
    with seeded(seed, "model"):
        model = nn.Sequential(nn.Linear(64, 48), nn.ReLU(), nn.Linear(48, 10))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(60):
        optimizer.zero_grad()
        cross_entropy(model(members[0]), members[1]).backward()
        optimizer.step()
    return model, members, nonmembers


def test_the_measured_gap_falls_by_more_than_where_small_weights_go_at_random():
    falls = []
    for seed in range(3):
        model, members, nonmembers = overfitted(seed)
        weights = {name: p for name, p in model.named_parameters() if p.ndim == 2}
        masks = {name: torch.ones_like(weight, dtype=torch.bool) for name, weight in weights.items()}
        gradient = gap_gradient(model, members, nonmembers, weights)
        layers = view_layers(weights, masks, gap_gradient=gradient)
        state, after = {name: tensor.clone() for name, tensor in model.state_dict().items()}, {}
        before = gap(model, members, nonmembers)
        for rule in (DropLeak(), DropRandomSmall()):
            model.load_state_dict(state)
            for layer in layers:
                off = rule(layer, layer.active.size // 5, generator=derive(seed, layer.name))
                with torch.no_grad():
                    weights[layer.name].view(-1)[torch.from_numpy(off)] = 0
            after[type(rule)] = gap(model, members, nonmembers)
        assert before > 0
        falls.append([before - after[DropLeak], before - after[DropRandomSmall]])
    by_leak, by_chance = np.array(falls).T
    assert (by_leak > 0).all(), falls
    assert (by_leak > by_chance).all(), falls
