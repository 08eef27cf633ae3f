"""TrainingState: a copy, restored to the bit, through files, and known by its digest."""

import hashlib

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from safecompress.digests import digest_tensors
from safecompress.seeding import seeded
from safecompress.sparsity.pattern import Fill
from safecompress.storage import read_tensors, write_tensors
from safecompress.training import Recipe, TrainingState


def net(seed=0):
    with seeded(seed, "net"):
        return nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3))


def trained(optimizer_name="adam"):
    model = net()
    optimizer = Recipe(optimizer=optimizer_name, learning_rate=0.01).make_optimizer(model.parameters())
    with seeded(0, "rows"):
        for _ in range(5):
            optimizer.zero_grad()
            cross_entropy(model(torch.randn(8, 6)), torch.randint(0, 3, (8,))).backward()
            optimizer.step()
    return model, optimizer


def equal(a, b):
    return a.keys() == b.keys() and all(a[n].dtype == b[n].dtype and torch.equal(a[n], b[n]) for n in a)


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw"])
def test_a_state_goes_through_a_file_into_another_model_and_optimizer(name, tmp_path):
    model, optimizer = trained(name)
    state = TrainingState.capture(5, model, optimizer, {"0.weight": torch.rand(8, 6)})
    expected = {"sgd": {"momentum_buffer"}}.get(name, {"step", "exp_avg", "exp_avg_sq"})
    assert set(state.optimizer) == {f"{p}/{key}" for p, _ in model.named_parameters() for key in expected}
    write_tensors(tmp_path / "state.safetensors", state.to_tensors())
    again = TrainingState.from_tensors(5, read_tensors(tmp_path / "state.safetensors")[0])
    assert equal(again.model, state.model) and equal(again.optimizer, state.optimizer)
    assert equal(again.momentum, state.momentum)
    other = net(1)
    fresh = Recipe(optimizer=name).make_optimizer(other.parameters())
    again.resume_(other, fresh)
    assert equal(TrainingState.capture(5, other, fresh, state.momentum).to_tensors(), state.to_tensors())
    assert again.digest() == state.digest()


def test_a_capture_is_a_copy_and_restoring_too():
    model, optimizer = trained()
    momentum = {"0.weight": torch.ones(8, 6)}
    state = TrainingState.capture(5, model, optimizer, momentum)
    before = digest_tensors(state.to_tensors())
    for tensor in [*model.state_dict().values(), *momentum.values()]:
        tensor.zero_()
    for states in optimizer.state.values():
        states["exp_avg"].fill_(7)
    assert digest_tensors(state.to_tensors()) == before
    state.resume_(model, optimizer)
    model[0].weight.data.fill_(3)
    optimizer.state[model[0].weight]["exp_avg"].fill_(3)
    optimizer.state[model[0].weight]["step"].fill_(3)
    assert digest_tensors(state.to_tensors()) == before


def test_restoring_clears_what_the_optimizer_remembered():
    model, optimizer = trained()
    TrainingState.capture(0, net()).resume_(model, optimizer)
    assert len(optimizer.state) == 0
    assert equal(model.state_dict(), net().state_dict())


def test_a_tied_weight_goes_through_a_file(tmp_path):
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4))
    model[2].weight = model[0].weight
    state = TrainingState.capture(1, model)
    write_tensors(tmp_path / "tied.safetensors", state.to_tensors())
    assert equal(TrainingState.from_tensors(1, read_tensors(tmp_path / "tied.safetensors")[0]).model, state.model)


def test_the_digest_is_of_weights_and_buffers_only():
    model, optimizer = trained()
    state = TrainingState.capture(5, model, optimizer)
    assert TrainingState.capture(9, model).digest() == state.digest()
    model[1].running_mean[0] += 1e-3
    buffers = TrainingState.capture(5, model).digest()
    model[3].bias.data[2] = torch.nextafter(model[3].bias.data[2], torch.tensor(9.0))
    assert len({state.digest(), buffers, TrainingState.capture(5, model).digest()}) == 3


def test_a_digest_by_hand():
    tensors = {"b": torch.tensor([[1, 2]], dtype=torch.int16), "a": torch.tensor(0.5)}
    content = (
        b"a|torch.float32|()|"
        + np.float32(0.5).tobytes()
        + b"b|torch.int16|(1, 2)|"
        + np.array([1, 2], "<i2").tobytes()
    )
    assert digest_tensors(tensors) == hashlib.sha256(content).hexdigest()


def test_a_digest_sees_names_types_shapes_and_the_sign_of_zero():
    base = torch.zeros(2, 3)
    minus = base.clone()
    minus[0, 0] = -0.0
    variants = [
        {"w": base},
        {"v": base},
        {"w": base.double()},
        {"w": base.reshape(3, 2)},
        {"w": minus},
        {"w": base, "v": base[:0]},
        {"w": base.bool()},
        {},
    ]
    assert len({digest_tensors(tensors) for tensors in variants}) == len(variants)
    assert digest_tensors({"w": torch.arange(6.0).reshape(2, 3).t()}) == digest_tensors(
        {"w": torch.arange(6.0).reshape(2, 3).t().contiguous()}
    )


def test_an_average_is_what_is_restored_and_the_moving_weights_are_what_training_resumes():
    model, optimizer = trained()
    average = {name: tensor + 1 for name, tensor in model.state_dict().items()}
    state = TrainingState.capture(5, model, optimizer, average=average, scaler={"scale": torch.tensor(8.0)})
    again = TrainingState.from_tensors(5, state.to_tensors())
    tested, resumed = net(1), net(2)
    again.restore_(tested)
    again.resume_(resumed)
    assert equal(tested.state_dict(), average) and equal(resumed.state_dict(), model.state_dict())
    assert again.scaler["scale"] == 8 and again.digest() == digest_tensors(average)
    assert TrainingState.capture(5, model).moving == {}


def test_what_a_rewire_fills_goes_into_the_average_and_into_the_moving_weights():
    model, _ = trained()
    state = TrainingState.capture(5, model, average={name: tensor + 1 for name, tensor in model.state_dict().items()})
    filled = state.filled({"0.bias": Fill(np.array([2]), np.array([7.0]))})
    for weights, before in ((filled.model, state.model), (filled.moving, state.moving)):
        assert weights["0.bias"][2] == 7 and (weights["0.bias"] != before["0.bias"]).sum() == 1
