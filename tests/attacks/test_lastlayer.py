"""Two factors from one forward pass are the last layer's gradient; where they are not, they are not claimed."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.func import functional_call
from torch.nn.functional import cross_entropy, linear, relu, relu_

from safecompress.attacks import Target
from safecompress.attacks.lastlayer import gradient_norms, logit_gradients, predict_with_hidden
from safecompress.attacks.membership.whitebox import gradient_factors
from safecompress.attacks.signals import Signals
from safecompress.errors import AttackError
from safecompress.models import Mlp
from safecompress.models.cnn import SmallCnn
from safecompress.seeding import seeded
from safecompress.testing.fakes import noise_audit

AUDIT = noise_audit(6, 6, num_features=8, num_classes=4)


def gradients_by_loop(model, features, labels):
    """Every row's loss gradient for every parameter: a full backward pass for each."""
    model.eval()
    names, weights = zip(*model.named_parameters(), strict=True)
    rows = []
    for row, label in zip(features, labels, strict=True):
        loss = cross_entropy(model(row[None]), label[None])
        rows.append(torch.autograd.grad(loss, weights, allow_unused=True, materialize_grads=True))
    return dict(zip(names, map(torch.stack, zip(*rows, strict=True)), strict=True))


def dyadic(seed=0):
    """A double-precision net of multiples of 1/8: what its last layer reads is exact in single precision."""
    random = np.random.default_rng(seed)
    model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4)).double()
    with torch.no_grad():
        for weight in model.parameters():
            weight.copy_(torch.from_numpy(random.integers(-8, 9, tuple(weight.shape)) / 8))
    features = torch.from_numpy(random.integers(-16, 17, (20, 8)) / 8)
    return model, features, torch.from_numpy(random.integers(0, 4, 20))


def net(seed=0):
    with seeded(seed, "net"):
        return Mlp((8,), 4, hidden=(16, 12))


# --- the claim


@pytest.mark.parametrize("seed", range(3))
def test_the_outer_product_is_the_last_layers_gradient(seed):
    model, features, labels = dyadic(seed)
    logits, hidden, _ = predict_with_hidden(model, features, batch_size=7)
    outer, inner = gradient_factors(Signals(logits.numpy(), labels.numpy(), hidden))
    expected = gradients_by_loop(model, features, labels)
    assert np.abs(outer[:, :, None] * inner[:, None, :] - expected["2.weight"].numpy()).max() < 1e-9
    assert np.abs(outer - expected["2.bias"].numpy()).max() < 1e-9
    norms = expected["2.weight"].flatten(1).norm(dim=1).numpy()
    assert np.allclose(np.linalg.norm(outer, axis=1) * np.linalg.norm(inner, axis=1), norms, rtol=1e-9, atol=0)
    assert norms.min() > 0


def test_a_gradient_by_hand():
    """Logits log 1, log 2, log 5: p = 1/8, 2/8, 5/8."""
    signals = Signals(np.log([[1.0, 2.0, 5.0]]), np.array([1]), np.array([[3.0, -4.0]], dtype=np.float32))
    outer, inner = gradient_factors(signals)
    assert np.allclose(outer, [[0.125, -0.75, 0.625]], atol=1e-15)
    assert np.linalg.norm(outer) * np.linalg.norm(inner) == pytest.approx(5 * np.sqrt(0.96875))


@given(st.integers(0, 3), st.floats(-60, 60), st.integers(0, 10**6))
@settings(max_examples=60, deadline=None)
def test_the_gradient_for_the_logits_sums_to_zero_and_never_saturates(label, lead, seed):
    logits = np.random.default_rng(seed).normal(size=(1, 4))
    logits[0, label] += lead
    signals = Signals(logits, np.array([label]))
    gradient = logit_gradients(signals)[0]
    others = np.delete(gradient, label)
    assert (others > 0).all()
    assert gradient[label] < 0
    assert gradient[label] == pytest.approx(-others.sum(), rel=1e-9)
    assert -gradient[label] == pytest.approx(-np.expm1(-signals.loss_N[0]), rel=1e-9)


# --- when it can be made


def hidden_of(model, features=AUDIT.features, **options):
    return predict_with_hidden(model, features, **options)[1]


def test_logits_are_those_of_a_plain_pass_and_hooks_are_gone():
    model = net().train()
    logits, hidden, _ = predict_with_hidden(model, AUDIT.features, batch_size=5)
    with torch.no_grad():
        assert torch.equal(logits, torch.cat([model(part) for part in AUDIT.features.split(5)]))
        assert np.array_equal(hidden, torch.cat([model.body(part) for part in AUDIT.features.split(5)]).numpy())
    assert model.training
    assert not any(module._forward_hooks for module in model.modules())


def test_the_input_is_of_the_layer_that_made_the_logits():
    class Heads(nn.Module):
        def __init__(self):
            super().__init__()
            self.auxiliary, self.head = nn.Linear(8, 4), nn.Linear(3, 4)

        def forward(self, features):
            self.auxiliary(features)
            return self.head(input=features[:, :3])

    assert np.array_equal(hidden_of(Heads()), AUDIT.features[:, :3].numpy())


class Wrapped(nn.Module):
    """A linear layer, and something done to what it reads or gives."""

    def __init__(self, behind):
        super().__init__()
        self.layer, self.other, self.behind = nn.Linear(8, 4), nn.Linear(8, 4), behind

    def forward(self, features):
        return self.behind(self, features)


def overwritten(model, features):
    read = features * 2
    logits = model.layer(read)
    read.zero_()
    return logits


def other_head_last(model, features):
    logits = model.layer(features)
    model.other(features)
    return logits


@pytest.mark.parametrize(
    "behind",
    [
        lambda m, x: m.layer(x) / 2,
        lambda m, x: m.layer(x).log_softmax(dim=1),
        lambda m, x: relu(m.layer(x)),
        lambda m, x: relu_(m.layer(x)),
        lambda m, x: m.layer(x).mul_(2),
        lambda m, x: m.layer(x).argmax(dim=1, keepdim=True).expand(-1, 4).float(),
    ],
    ids=["scaled", "softmax", "relu", "relu in place", "scaled in place", "hidden"],
)
def test_what_stands_behind_the_layer_hides_neither_what_it_reads_nor_what_it_gives(behind):
    model = Wrapped(behind)
    logits, hidden, inner = predict_with_hidden(model, AUDIT.features, batch_size=5)
    with torch.no_grad():
        assert torch.equal(logits, model(AUDIT.features))
        assert np.array_equal(inner, torch.cat([model.layer(part) for part in AUDIT.features.split(5)]).numpy())
    assert np.array_equal(hidden, AUDIT.features.numpy())


@pytest.mark.parametrize("behind", [overwritten, other_head_last], ids=["overwritten", "auxiliary"])
def test_the_layer_whose_output_the_logits_are_comes_first(behind):
    _, hidden, inner = predict_with_hidden(Wrapped(behind), AUDIT.features)
    assert inner is None
    assert np.array_equal(hidden, AUDIT.features.numpy() * (2 if behind is overwritten else 1))


def test_a_sequence_is_read_as_the_mean_over_its_places():
    model = Wrapped(lambda m, x: m.layer(torch.stack([x, 3 * x], dim=1)).sum(dim=1))
    _, hidden, inner = predict_with_hidden(model, AUDIT.features)
    assert inner is None
    assert np.allclose(hidden, 2 * AUDIT.features.numpy())


def test_nothing_is_claimed_without_a_layer_that_reads_rows():
    assert hidden_of(Wrapped(lambda m, x: linear(x, m.layer.weight))) is None
    assert hidden_of(Wrapped(lambda m, x: torch.stack([m.layer(row) for row in x]))) is None
    assert (
        hidden_of(Wrapped(lambda m, x: m.layer(x if len(x) == 5 else x.repeat(2, 1))[: len(x)]), batch_size=5) is None
    )


def test_what_the_layer_gives_is_given_for_all_rows_when_some_differ_from_it():
    """An activation that changes nothing for the rows of some batches."""
    model = Wrapped(lambda m, x: m.layer(x).clamp(-1e3, 1e3))
    rows = AUDIT.features.clone()
    assert predict_with_hidden(model, rows, batch_size=6)[2] is None
    rows[-1] *= 1e6
    _, hidden, inner = predict_with_hidden(model, rows, batch_size=6)
    assert np.array_equal(hidden, rows.numpy())
    assert inner.shape == (12, 4) and np.abs(inner).max() > 1e3


def test_a_batch_that_skips_the_layer_does_not_borrow_another_batchs_input():
    """Logits are 0 with the layer and without it."""
    model = Wrapped(lambda m, x: m.layer(x) if x[0, 0] > 0 else torch.zeros(len(x), 4))
    nn.init.zeros_(model.layer.weight)
    nn.init.zeros_(model.layer.bias)
    rows = AUDIT.features.abs()
    assert hidden_of(model, rows, batch_size=6).shape == (12, 8)
    assert hidden_of(model, torch.cat([rows[:6], -rows[6:]]), batch_size=6) is None


def test_a_caller_in_inference_mode_is_told_the_same():
    with torch.inference_mode():
        assert np.array_equal(hidden_of(Wrapped(lambda m, x: relu_(m.layer(x)))), AUDIT.features.numpy())
        assert np.array_equal(hidden_of(Wrapped(overwritten)), 2 * AUDIT.features.numpy())
        made_there = AUDIT.features + 0
        assert np.array_equal(hidden_of(nn.Linear(8, 4), made_there), AUDIT.features.numpy())


def test_a_layer_called_twice_gives_its_last_use():
    with seeded(0, "twice"):
        model = nn.Sequential(shared := nn.Linear(8, 8), nn.ReLU(), shared)
    logits, hidden, _ = predict_with_hidden(model, AUDIT.features)
    outer, inner = gradient_factors(Signals(logits.double().numpy(), AUDIT.labels.numpy(), hidden))
    apart = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 8))
    apart.load_state_dict({f"{n}.{part}": value for part, value in shared.state_dict().items() for n in (0, 2)})
    expected = gradients_by_loop(apart, AUDIT.features, AUDIT.labels)["2.weight"].numpy()
    assert np.allclose(outer[:, :, None] * inner[:, None, :], expected, atol=1e-6)


def test_dicts_and_tuples_inside_a_model():
    class Parts(nn.Module):
        def forward(self, parts):
            return {"joined": torch.cat([parts["left"], parts["right"]], dim=1)}, None

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.parts, self.head = Parts(), nn.Linear(8, 4)

        def forward(self, features):
            joined, _ = self.parts({"left": features[:, 4:], "right": features[:, :4]})
            return self.head(joined["joined"])

    assert np.array_equal(hidden_of(Model()), AUDIT.features.roll(4, dims=1).numpy())


def test_a_model_that_returns_no_tensor_is_refused():
    with pytest.raises(AttackError, match="returns a tuple"):
        hidden_of(Wrapped(lambda m, x: (m.layer(x), x)))


def test_a_model_without_a_linear_layer_is_read_as_one_with_a_bias():
    model = nn.Sequential(nn.Conv1d(1, 4, 8), nn.Flatten())
    signals = Target(model).signals(type(AUDIT)(AUDIT.features[:, None], AUDIT.labels, AUDIT.is_member))
    outer, inner = gradient_factors(signals)
    assert signals.hidden_NH is None
    assert np.array_equal(inner, np.ones((12, 1)))
    expected = gradients_by_loop(model, AUDIT.features[:, None], AUDIT.labels)["0.bias"].detach().numpy()
    assert np.allclose(outer * inner, expected, atol=1e-6)


# --- norms of all layers


def norms_by_loop(model, features, labels):
    found = gradients_by_loop(model, features, labels)
    return torch.stack([gradient.flatten(1).norm(dim=1) for gradient in found.values()], dim=1).detach().numpy()


def images(num_rows=6):
    return torch.from_numpy(np.random.default_rng(0).normal(size=(num_rows, 1, 8, 8)).astype(np.float32))


@pytest.mark.parametrize("batch_size", [1, 5, 64, None])
def test_norms_are_those_of_a_backward_pass_for_each_row(batch_size):
    model = net()
    found = gradient_norms(model, AUDIT.features, AUDIT.labels, batch_size=batch_size)
    assert found.shape == (12, 6)
    assert found.dtype == np.float64
    assert np.allclose(found, norms_by_loop(model, AUDIT.features, AUDIT.labels), rtol=1e-4, atol=1e-9)


def test_norms_of_a_cnn_with_batch_norm_and_dropout():
    model = SmallCnn((1, 8, 8), 4, channels=(4, 8), dropout=0.5).train()
    rows, labels = images(), torch.arange(6) % 4
    model(rows)  # running statistics other than 0 and 1
    state = {name: value.clone() for name, value in model.state_dict().items()}
    found = gradient_norms(model, rows, labels)
    assert model.training
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert np.allclose(found, norms_by_loop(model, rows, labels), rtol=1e-3, atol=1e-7)


def test_the_last_layers_norm_is_the_product_of_the_factors_norms():
    model = net()
    outer, inner = gradient_factors(Target(model).signals(AUDIT))
    norms = gradient_norms(model, AUDIT.features, AUDIT.labels)
    names = [name for name, _ in model.named_parameters()]
    products = np.linalg.norm(outer, axis=1) * np.linalg.norm(inner, axis=1)
    assert np.allclose(norms[:, names.index("head.weight")], products, rtol=1e-5)
    assert np.allclose(norms[:, names.index("head.bias")], np.linalg.norm(outer, axis=1), rtol=1e-5)


@pytest.mark.parametrize("make_head", [lambda: nn.Linear(12, 4), lambda: nn.Conv1d(4, 4, 3)], ids=["linear", "none"])
def test_behind_a_wrapper_the_gradient_is_that_of_the_layers_output(make_head):
    """Whoever has the weights leaves the wrapper out, which answers nothing but the predicted class."""
    with seeded(0, "wrapped"):
        head = make_head()
        body = nn.Sequential(nn.Linear(8, 12), nn.ReLU(), *([] if head.weight.ndim == 2 else [nn.Unflatten(1, (4, 3))]))
        bare = nn.Sequential(body, head, nn.Flatten())
    wrapped = nn.Sequential(bare, Answer())
    found = gradient_norms(wrapped, AUDIT.features, AUDIT.labels)
    if isinstance(head, nn.Linear):
        assert np.allclose(found, gradient_norms(bare, AUDIT.features, AUDIT.labels), rtol=1e-5)
        assert (found > 0).all(axis=0).any()
    else:
        assert not found.any()


class Answer(nn.Module):
    """The predicted class, as logits."""

    def forward(self, logits):
        return nn.functional.one_hot(logits.argmax(dim=1), 4).float()


class Foreign(nn.Module):
    """Answers in a runtime of its own."""

    def __init__(self, network, differentiable):
        super().__init__()
        self.register_parameter("where", nn.Parameter(torch.zeros(0)))
        self.__dict__.update(network=network, differentiable=differentiable)

    def forward(self, rows):
        return self.network(rows).detach()


def test_a_runtime_has_the_gradients_of_the_network_that_it_runs():
    model = net()
    found = gradient_norms(Foreign(model, model), AUDIT.features, AUDIT.labels)
    assert np.array_equal(found, gradient_norms(model, AUDIT.features, AUDIT.labels))
    with pytest.raises(AttackError, match="a runtime of its own"):
        gradient_norms(Foreign(model, None), AUDIT.features, AUDIT.labels)


def test_certain_rows_do_not_round_to_nothing():
    """p_y = 1 - 9e-20: in single precision its part of the gradient is 0, and half of the norm is lost."""
    model = nn.Linear(8, 4)
    with torch.no_grad():
        model.weight.zero_()
        model.bias.copy_(torch.tensor([45.0, 0.0, 0.0, 0.0]))
    labels = torch.zeros(12, dtype=torch.int64)
    expected = np.sqrt(12) * np.exp(-45) * np.linalg.norm(AUDIT.features.numpy(), axis=1)
    assert np.allclose(gradient_norms(model, AUDIT.features, labels)[:, 0], expected, rtol=1e-4, atol=0)
    assert np.allclose(norms_by_loop(model, AUDIT.features, labels)[:, 0], expected / 2, rtol=1e-4, atol=0)


class Branches(nn.Module):
    """Asks for a value in Python, which vmap refuses."""

    def __init__(self):
        super().__init__()
        self.small, self.large, self.unused = nn.Linear(8, 4), nn.Linear(8, 4), nn.Linear(2, 2)

    def forward(self, features):
        return torch.stack([(self.small if row.sum().item() < 0 else self.large)(row) for row in features])


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.read, self.head = nn.GRU(2, 5, batch_first=True), nn.Linear(5, 4)

    def forward(self, features):
        return self.head(self.read(features.view(-1, 4, 2))[0][:, -1])


@pytest.mark.parametrize("make", [Branches, Recurrent])
def test_what_vmap_refuses_goes_row_by_row(make):
    with seeded(0, "model"):
        model = make()
    found = gradient_norms(model, AUDIT.features, AUDIT.labels)
    assert np.allclose(found, norms_by_loop(model, AUDIT.features, AUDIT.labels), rtol=1e-4, atol=1e-8)
    assert found.max() > 0


def test_frozen_parameters_have_norms_too():
    model, frozen = net(), net()
    for weight in frozen.body.parameters():
        weight.requires_grad_(False)
    assert np.array_equal(*(gradient_norms(m, AUDIT.features, AUDIT.labels) for m in (model, frozen)))


def test_a_row_without_a_gradient_is_named():
    alone = nn.Sequential(nn.Flatten(), nn.Linear(8, 4), nn.BatchNorm1d(4, track_running_stats=False))
    with pytest.raises(AttackError, match="more than 1 value"):
        gradient_norms(alone, AUDIT.features, AUDIT.labels)


def test_the_weights_are_left_without_gradients():
    model = net()
    gradient_norms(model, AUDIT.features, AUDIT.labels)
    assert all(weight.grad is None and weight.requires_grad for weight in model.parameters())
    assert functional_call(model, dict(model.named_parameters()), (AUDIT.features,)).shape == (12, 4)
