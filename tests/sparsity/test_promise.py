"""What SparseTraining promises of a loop that is not ours holds, or training stops and says why."""

import copy

import pytest
import torch
from test_sparse_training import INPUTS, LABELS, net, sgd, train
from torch import nn
from torch.nn.functional import cross_entropy

from safecompress.errors import TrainingError, UsageError
from safecompress.seeding import seeded
from safecompress.sparsity import SparseTraining, Start, find_maskable
from safecompress.sparsity.trained import are_trained
from safecompress.sparsity.watch import SAMPLE

OPTIONS = {"density": 0.2, "total_steps": 60, "every": 10}


def trained_net(steps=80):
    model = net()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(steps):
        optimizer.zero_grad()
        cross_entropy(model(INPUTS), LABELS).backward()
        optimizer.step()
    return model


def accuracy(model):
    return (model(INPUTS).argmax(1) == LABELS).float().mean().item()


def sparse_of(model, optimizer=None, **options):
    optimizer = optimizer or sgd(model.parameters())
    return optimizer, SparseTraining(model, optimizer, **{**OPTIONS, **options})


# --- where training begins


@pytest.mark.parametrize(
    "draw",
    [
        nn.init.kaiming_normal_,
        nn.init.xavier_uniform_,
        nn.init.orthogonal_,
        nn.init.zeros_,
        lambda weight: nn.init.constant_(weight, 0.1),
        lambda weight: nn.init.trunc_normal_(weight, std=0.02),
        lambda weight: nn.init.sparse_(weight, 0.9),
    ],
)
def test_no_fresh_weights_are_taken_for_trained_ones(draw):
    with seeded(0, "draws"):
        for rows, columns in [(2, 10), (10, 64), (64, 64), (48, 300)] * 5:
            weight = torch.empty(rows, columns)
            draw(weight)
            assert not are_trained({"weight": weight})


def test_training_shows_in_the_weights():
    assert not are_trained(find_maskable(net()))
    assert are_trained(find_maskable(trained_net()))
    assert not are_trained({}) and not are_trained({"weight": torch.full((4, 4), torch.nan)})


def test_the_callers_random_numbers_are_not_used():
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    are_trained(find_maskable(trained_net()))
    assert torch.equal(torch.rand(3), expected)


def test_trained_weights_are_kept_and_fresh_ones_drawn_unless_the_caller_says():
    model = trained_net()
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    _, sparse = sparse_of(model)
    assert sparse.start is Start.PRETRAINED
    for name, mask in sparse.pattern.masks.items():
        assert torch.equal(model.get_parameter(name), torch.where(mask, before[name], 0.0))
        assert before[name][mask].abs().min() >= before[name][~mask].abs().max()
    assert sparse_of(net())[1].start is Start.SCRATCH
    assert sparse_of(trained_net(), start="scratch")[1].start is Start.SCRATCH


def test_a_trained_model_keeps_what_it_learnt():
    dense = trained_net()
    assert accuracy(dense) > 0.97

    accuracies = {}
    for start in ("scratch", None):
        model = copy.deepcopy(dense)
        optimizer, sparse = sparse_of(model, density=0.4, start=start)
        train(model, optimizer, sparse, range(1))
        accuracies[start] = accuracy(model)
    assert accuracies[None] > 0.94 > accuracies["scratch"] + 0.05


# --- inactive weights stay zero


class Noisy(torch.optim.SGD):
    """Moves every weight at random, from its step number ``since`` on."""

    since = 1

    @torch.no_grad()
    def step(self, closure=None):
        self.since -= 1
        super().step()
        if self.since < 1:
            for parameter in self.param_groups[0]["params"]:
                parameter.add_(1e-4)


def test_muon_is_masked_after_its_steps():
    model = net()
    optimizer = torch.optim.Muon([p for p in model.parameters() if p.ndim == 2], lr=1e-2)
    _, sparse = sparse_of(model, optimizer)

    def watch(step):
        for parameter, mask in sparse.pattern.pairs(model):
            assert not parameter.detach()[~mask].any()
            assert not optimizer.state[parameter]["momentum_buffer"][~mask].any()

    train(model, optimizer, sparse, range(40), watch)
    assert sparse.num_rewires == 3 and accuracy(model) > 0.5


@pytest.mark.parametrize("name", ["LBFGS", "SOAP", "DistributedShampoo", "GaLoreAdamW"])
def test_optimizers_whose_state_mixes_weights_are_refused_by_name(name):
    model = net()
    before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    optimizer = type(name, (torch.optim.SGD,), {})(model.parameters(), lr=0.1)
    with pytest.raises(UsageError, match=f"{name} cannot train sparsely.*Muon"):
        sparse_of(model, optimizer)
    assert all(torch.equal(tensor, before[key]) for key, tensor in model.state_dict().items())


@pytest.mark.parametrize("since", [1, 7])
def test_an_optimizer_that_moves_inactive_weights_is_stopped_and_named(since):
    model = net()
    optimizer = Noisy(model.parameters(), lr=0.1)
    optimizer.since = since
    _, sparse = sparse_of(model, optimizer)
    train(model, optimizer, sparse, range(since - 1))
    with pytest.raises(UsageError, match=r"inactive weights of '\d.weight' are not zero.*A step of Noisy moved them"):
        train(model, optimizer, sparse, range(1))
    assert sparse.num_steps == since - 1


def test_one_inactive_weight_of_one_layer_is_found_before_anything_is_kept():
    model = net()
    optimizer, sparse = sparse_of(model)
    train(model, optimizer, sparse, range(3))
    places = (~sparse.pattern.masks["0.weight"]).nonzero()
    assert len(places) > SAMPLE
    for row, column in places[::50].tolist():
        model[0].weight.data[row, column] = 1e-6  # .data: no version counter tells
        with pytest.raises(UsageError, match=r"^1 of \d+ inactive weights of '0\.weight'"):
            sparse.state_dict()
        model[0].weight.data[row, column] = 0.0
    sparse.state_dict()


@pytest.mark.parametrize("is_counted", [True, False])
def test_weights_that_are_loaded_underneath_are_found_in_the_next_step(is_counted):
    model, other = net(), net(1)
    optimizer, sparse = sparse_of(model)
    train(model, optimizer, sparse, range(5))
    if is_counted:
        model.load_state_dict(other.state_dict())
    else:
        for parameter, source in zip(model.parameters(), other.parameters(), strict=True):
            parameter.data.copy_(source.data)
    with pytest.raises(UsageError, match="load_state_dict" if is_counted else "A step of SGD"):
        train(model, optimizer, sparse, range(5, 6))


def test_weights_of_the_same_pattern_may_be_loaded():
    model = net()
    optimizer, sparse = sparse_of(model)
    train(model, optimizer, sparse, range(5))
    kept = copy.deepcopy(model.state_dict())
    train(model, optimizer, sparse, range(5, 8))
    model.load_state_dict(kept)
    train(model, optimizer, sparse, range(8, 12))
    assert sparse.num_steps == 12


def test_a_dense_optimizer_state_that_is_loaded_underneath_is_found():
    model, twin = net(), net()
    dense, (optimizer, sparse) = sgd(twin.parameters()), sparse_of(model)
    cross_entropy(twin(INPUTS), LABELS).backward()
    dense.step()
    optimizer.load_state_dict(dense.state_dict())
    with pytest.raises(UsageError, match="a state that was loaded from a dense training"):
        train(model, optimizer, sparse, range(1))


def test_weights_that_are_not_finite_are_a_divergence():
    model = net()
    optimizer, _ = sparse_of(model)
    model[0].weight.grad = torch.full((32, 20), torch.inf)
    with pytest.raises(TrainingError, match=r"diverged: '0\.weight'"):
        optimizer.step()


# --- steps are counted, and mean the same after a restart


def test_a_forgotten_step_is_said_in_the_second_step():
    model = net()
    optimizer, sparse = sparse_of(model)

    class Forgotten:
        def step(self):
            """Not called."""

    train(model, optimizer, Forgotten(), range(1))
    with pytest.raises(UsageError, match=r"without sparse\.step\(\).*automatic=True"):
        train(model, optimizer, Forgotten(), range(1, 2))
    sparse.step()
    train(model, optimizer, sparse, range(2, 4))
    assert sparse.num_steps == 3


def test_no_rewire_at_all_has_to_be_asked_for():
    model = net()
    optimizer, sparse = sparse_of(model, stop=0, every=100)
    train(model, optimizer, sparse, range(60))
    assert sparse.num_rewires == 0
    with pytest.raises(UsageError, match="No weight would ever move"):
        sparse_of(net(), every=100)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"every": 5}, "every was 10 and is 5"),
        ({"total_steps": 120}, "total_steps was 60 and is 120"),
        ({"stop": 1.0}, r"stop was 0\.75 and is 1\.0"),
        ({"grow": "random"}, r"grow was GrowGradient\(\) and is GrowRandom\(\)"),
        (
            {"seed": 4, "schedule": "constant"},
            r"seed was 0 and is 4; schedule was CosineSchedule.* is ConstantSchedule",
        ),
    ],
)
def test_a_state_is_resumed_by_its_own_schedule_alone(change, message):
    model = net()
    optimizer, sparse = sparse_of(model)
    train(model, optimizer, sparse, range(12))
    state = sparse.state_dict()
    sparse.detach()
    with pytest.raises(UsageError, match=f'{message}.*start="pretrained"'):
        sparse_of(model, state=state, **change)
    again, _ = sparse_of(model, state=state)[1], sparse_of(model, start="pretrained", **change)
    assert again.num_steps == 12


def test_a_state_of_an_earlier_version_says_nothing_of_its_schedule():
    model = net()
    _, sparse = sparse_of(model)
    state = {name: value for name, value in sparse.state_dict().items() if name != "settings"}
    assert sparse_of(model, state=state, every=5)[1].num_steps == 0
