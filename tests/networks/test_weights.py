"""Plain weights, fresh weights, and names of wrapped ones."""

import pytest
import torch
from foreign import (
    CLASSES,
    FEATURES,
    Attention,
    Mlp,
    OwnParameter,
    normed,
    old_weight_normed,
    pruned,
    spectral_normed,
    weight_normed,
)
from torch import nn

from safecompress.errors import ModelError, UsageError
from safecompress.networks import (
    ClassScores,
    FreshNetwork,
    copied,
    draw_anew_,
    find_reparametrised,
    fitted,
    read_for_training,
    undrawable,
    with_plain_weights,
)
from safecompress.seeding import seeded
from safecompress.sparsity import SparseTraining, find_maskable

ROWS = torch.randn(16, FEATURES, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("make", "kind", "names"),
    [
        (weight_normed, "WeightNorm", ["0.bias", "0.weight"]),
        (old_weight_normed, "weight_norm", ["0.bias", "0.weight"]),
        (spectral_normed, "SpectralNorm", ["0.bias", "0.weight"]),
        (pruned, "torch.nn.utils.prune", ["body.bias", "body.weight"]),
    ],
    ids=["weight_norm", "old weight_norm", "spectral_norm", "prune"],
)
def test_computed_weights_are_read_through(make, kind, names):
    model = make().eval()
    before, state = model(ROWS), dict(copied(model).state_dict())
    plain, found = with_plain_weights(model)
    assert kind in found[0].kind
    assert sorted(plain.state_dict())[:2] == names
    assert torch.allclose(plain(ROWS), before, atol=1e-6)
    assert state.keys() == model.state_dict().keys() != plain.state_dict().keys()  # the module itself is as it was
    reading = read_for_training(model, ROWS, CLASSES)
    assert "were computed by" in reading.notes[0] and not find_reparametrised(reading.network)


def test_the_remedy_is_code_that_works():
    for make in (weight_normed, old_weight_normed, pruned):
        model = make()
        exec(find_reparametrised(model)[0].remedy, {"torch": torch, "model": model})
        assert not find_reparametrised(model)


@pytest.mark.parametrize("make", [weight_normed, old_weight_normed, pruned])
def test_sparse_training_refuses_them_by_name(make):
    model = make()
    with pytest.raises(UsageError, match=r"computed by .*before the optimizer is made: torch\.nn\.utils\."):
        SparseTraining(model, torch.optim.SGD(model.parameters(), lr=0.1), density=0.5, total_steps=10, every=1)
    place = find_reparametrised(model)[0].place
    left = find_maskable(model, exclude=[f"{place}.*"])
    assert left and not any(name.startswith(f"{place}.") for name in left)


class OwnReset(nn.Module):
    """Begins with the same weights each time, by its own reset_parameters."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(4, 4))
        self.reset_parameters()

    def reset_parameters(self):
        with torch.no_grad():
            nn.init.eye_(self.weight)


def with_token():
    """A class token that begins with zeros, as in a vision transformer, and a table of places."""
    model = Mlp()
    model.token = nn.Parameter(torch.zeros(1, 1, 8))
    model.places = nn.Parameter(torch.randn(1, 5, 8) * 0.02 + 0.5)
    return model


@pytest.mark.parametrize(
    ("make", "left"),
    [
        (Mlp, ()),
        (Attention, ()),
        (normed, ()),
        (OwnReset, ()),
        (lambda: nn.LSTM(4, 4), ()),
        (lambda: nn.TransformerEncoderLayer(8, 2), ()),
        (OwnParameter, ("weight",)),
        (with_token, ("places",)),
        (lambda: ClassScores(OwnParameter()), ("weight",)),
    ],
    ids=["mlp", "attention", "batch norm", "own reset", "lstm", "transformer", "own parameter", "token", "within"],
)
def test_nothing_that_was_learned_is_left(make, left):
    model = make()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1.0)  # stands for training
    trained = {name: parameter.clone() for name, parameter in model.named_parameters()}
    assert undrawable(model) == left
    assert all(torch.equal(parameter, trained[name]) for name, parameter in model.named_parameters())
    with seeded(7, "fresh"):
        draw_anew_(model)
    kept = {name for name, parameter in model.named_parameters() if torch.equal(parameter, trained[name])}
    assert kept <= {"token"}  # what is one number everywhere says nothing of rows
    assert all(bool(parameter.isfinite().all()) for parameter in model.parameters())


def test_what_no_module_draws_gets_its_mean_and_deviation():
    model = with_token()
    before = model.places.clone()
    draw_anew_(model)
    assert not torch.equal(model.places, before)
    drawn = model.places.detach()
    assert abs(float(drawn.mean()) - 0.5) < 0.02 and 0.01 < float(drawn.std()) < 0.03


def test_frozen_modules_keep_their_weights():
    model = Mlp()
    model.body.requires_grad_(False)
    before = {name: parameter.clone() for name, parameter in model.named_parameters()}
    draw_anew_(model)
    kept = [name for name, parameter in model.named_parameters() if torch.equal(parameter, before[name])]
    assert kept == ["body.weight", "body.bias"]


def test_a_factory_draws_what_no_module_can():
    template = OwnParameter()
    fresh = FreshNetwork(template, OwnParameter)
    with seeded(1, "a"):
        first = fresh()
    with seeded(1, "a"):
        again = fresh()
    assert torch.equal(first.weight, again.weight) and not torch.equal(first.weight, template.weight)
    read = ClassScores(template)
    assert isinstance(FreshNetwork(read, OwnParameter)(), ClassScores)


@pytest.mark.parametrize(
    ("factory", "words"),
    [(dict, "gave a dict"), (lambda: 1 / 0, "ZeroDivisionError"), (Mlp, "What model_factory returns do not fit")],
    ids=["no module", "raises", "another network"],
)
def test_a_factory_of_something_else_is_refused(factory, words):
    with pytest.raises(ModelError, match=words):
        FreshNetwork(OwnParameter(), factory)()


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "model.", "module._orig_mod.", "net.module."])
def test_prefixes_that_all_names_share_are_taken_off(prefix):
    model = Mlp()
    weights = {prefix + name: tensor for name, tensor in model.state_dict().items()}
    assert fitted(weights, model, "The weights").keys() == model.state_dict().keys()


def test_wrappers_within_a_network_and_their_counters():
    model = nn.Sequential(Mlp(), nn.ReLU())
    names = {name: name.replace("0.", "0._orig_mod.", 1) for name in model.state_dict()}
    assert fitted({names[n]: t for n, t in model.state_dict().items()}, model, "x").keys() == names.keys()
    averaged = torch.optim.swa_utils.AveragedModel(model)
    assert fitted(averaged.state_dict(), model, "x").keys() == names.keys()


def test_a_network_whose_own_names_begin_alike_is_left_alone():
    model = nn.Sequential(Mlp())
    assert fitted(model.state_dict(), model, "x").keys() == model.state_dict().keys()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda state: {"module.x": torch.zeros(1)}, "begin with 'module.', and do not fit without it either"),
        (lambda state: state | {"more": torch.zeros(1)}, "more is unknown"),
        (lambda state: state | {"body.bias": torch.zeros(3)}, r"body.bias is \(3,\) and should be \(16,\)"),
        (lambda state: {}, "body.weight, body.bias, head.weight"),
    ],
    ids=["prefix", "unknown", "shape", "empty"],
)
def test_weights_of_another_network_are_refused_by_name(change, words):
    model = Mlp()
    with pytest.raises(ModelError, match=words):
        fitted(change(model.state_dict()), model, "The weights")


def test_a_module_that_keeps_part_of_a_graph_is_copied():
    model = Mlp()
    model.last = [{"hidden": model.body(ROWS)}]
    twin = copied(model)
    assert torch.equal(twin.last[0]["hidden"], model.last[0]["hidden"]) and twin.last[0]["hidden"].grad_fn is None
