"""Dead weights stay dead: to the sign bit, under every optimizer, over changes of pattern, equal to slow oracles."""

import copy

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from safecompress.errors import ModelError, UsageError
from safecompress.seeding import seeded
from safecompress.sparsity import AllocateErk, Masker, SparsityPattern, Start, find_maskable, initial_pattern

OPTIMIZERS = {
    "sgd-nesterov": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True, weight_decay=5e-4, foreach=True),
    "sgd-loop": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, weight_decay=5e-4, foreach=False),
    "adamw": lambda p: torch.optim.AdamW(p, lr=1e-2, weight_decay=1e-2),
    "adam-fused": lambda p: torch.optim.Adam(p, lr=1e-2, weight_decay=1e-4, fused=True),
    "rmsprop": lambda p: torch.optim.RMSprop(p, lr=1e-3, momentum=0.9, centered=True, weight_decay=1e-4),
    "amsgrad": lambda p: torch.optim.Adam(p, lr=1e-2, amsgrad=True),
}


def net(seed=0):
    with seeded(seed, "net"):
        return nn.Sequential(
            nn.Conv2d(1, 4, 3, padding=1),
            nn.BatchNorm2d(4),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(64, 16),
            nn.ReLU(),
            nn.Linear(16, 3),
        )


def pattern_of(model, density=0.2, seed=0):
    return initial_pattern(find_maskable(model), density, allocation=AllocateErk(), start=Start.SCRATCH, seed=seed)


def batch(step):
    with seeded(step, "batch"):
        return torch.randn(12, 1, 4, 4), torch.randint(0, 3, (12,))


def backward(model, step):
    x, y = batch(step)
    model.zero_grad()
    cross_entropy(model(x), y).backward()


def train(model, optimizer, steps):
    for step in steps:
        backward(model, step)
        optimizer.step()


def is_plus_zero(tensor):
    return bool((tensor == 0).all()) and not torch.signbit(tensor).any()


def parameter_shaped(optimizer, parameter):
    return {n: s for n, s in optimizer.state[parameter].items() if torch.is_tensor(s) and s.shape == parameter.shape}


def assert_inactive_is_plus_zero(model, optimizer, pattern):
    for parameter, mask in pattern.pairs(model):
        assert is_plus_zero(parameter.detach()[~mask])
        states = parameter_shaped(optimizer, parameter)
        assert states
        for name, state in states.items():
            assert is_plus_zero(state[~mask]), name


@pytest.mark.slow
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_fifty_steps_leave_inactive_weights_and_states_at_plus_zero(name):
    model = net()
    optimizer = OPTIMIZERS[name](model.parameters())
    pattern = pattern_of(model)
    before = {n: p.detach().clone() for n, p in model.named_parameters()}
    Masker(model, optimizer, pattern)
    train(model, optimizer, range(50))
    assert_inactive_is_plus_zero(model, optimizer, pattern)
    for parameter_name, parameter in model.named_parameters():
        mask = pattern.masks.get(parameter_name, torch.ones_like(parameter, dtype=torch.bool))
        moved = (parameter != before[parameter_name])[mask]
        assert moved.float().mean() > 0.8  # the rest trains (a unit that is dead for every row stays)


@pytest.mark.slow
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_training_equals_two_slow_oracles(name):
    """One masks gradients and weights one by one at each step; one lets dead gradients and moments be, and only zeroes
    the weights after each step: each optimizer here works element by element, so active weights cannot tell."""
    models = [net() for _ in range(3)]
    optimizers = [OPTIMIZERS[name](model.parameters()) for model in models]
    pattern = pattern_of(models[0])
    Masker(models[0], optimizers[0], pattern)
    for model in models[1:]:
        pattern.apply_(model)
    for step in range(30):
        train(models[0], optimizers[0], [step])
        for model, optimizer, is_masking_gradients in zip(models[1:], optimizers[1:], (True, False), strict=True):
            backward(model, step)
            if is_masking_gradients:
                for parameter, mask in pattern.pairs(model):
                    parameter.grad = torch.where(mask, parameter.grad, torch.zeros(()))
            optimizer.step()
            for parameter, mask in pattern.pairs(model):
                parameter.data = torch.where(mask, parameter.data, torch.zeros(()))
    fast, *slow = [dict(model.named_parameters()) for model in models]
    for oracle in slow:
        assert all(torch.equal(fast[n], oracle[n]) for n in fast)


@pytest.mark.slow
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_new_pattern_resurrects_nothing_and_starts_growth_at_zero(name):
    model = net()
    optimizer = OPTIMIZERS[name](model.parameters())
    old, new = pattern_of(model, seed=0), pattern_of(model, seed=1)
    masker = Masker(model, optimizer, old)
    train(model, optimizer, range(20))
    masker.assign_(new)
    assert masker.pattern is new
    assert_inactive_is_plus_zero(model, optimizer, new)
    for (parameter, mask), was in zip(new.pairs(model), old.masks.values(), strict=True):
        grown, kept = mask & ~was, mask & was
        assert grown.any() and (was & ~mask).any()
        assert is_plus_zero(parameter.detach()[grown])
        for state in parameter_shaped(optimizer, parameter).values():
            assert is_plus_zero(state[grown]) and state[kept].any()
    # momentum of what was dropped would show as soon as a step comes without any gradient
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    assert_inactive_is_plus_zero(model, optimizer, new)
    train(model, optimizer, range(20, 40))
    assert_inactive_is_plus_zero(model, optimizer, new)
    for (parameter, mask), was in zip(new.pairs(model), old.masks.values(), strict=True):
        assert parameter.detach()[mask & ~was].any()  # what was grown learns


def test_a_pattern_may_list_its_layers_in_another_order():
    """Files sort their names: a pattern that was read back must mean the same."""
    model, twin = net(), net()
    optimizer, twin_optimizer = (OPTIMIZERS["adamw"](m.parameters()) for m in (model, twin))
    old, new = pattern_of(model), pattern_of(model, seed=1)
    masker, twin_masker = Masker(model, optimizer, old), Masker(twin, twin_optimizer, old)
    masker.assign_(new)
    twin_masker.assign_(SparsityPattern(dict(reversed(list(new.masks.items())))))
    train(model, optimizer, range(5))
    train(twin, twin_optimizer, range(5))
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), twin.parameters(), strict=True))
    assert_inactive_is_plus_zero(twin, twin_optimizer, new)


def test_the_hook_returns_none_and_closures_still_work():
    model = net()
    optimizer = OPTIMIZERS["sgd-nesterov"](model.parameters())
    pattern = pattern_of(model)
    masker = Masker(model, optimizer, pattern)
    backward(model, 0)
    assert masker._before_step(optimizer, (), {}) is None  # anything else would replace the step's arguments
    calls = []

    def closure():
        calls.append(1)
        return torch.tensor(7.0)

    assert optimizer.step(closure) == 7.0 and calls == [1]


def line_with(optimizer=torch.optim.SGD, **options):
    """A 2x2 weight under a mask of its diagonal: gradients can be set by hand."""
    model = nn.Linear(2, 2, bias=False)
    made = optimizer(model.parameters(), lr=0.0, **options)
    return model, made, SparsityPattern({"weight": torch.eye(2, dtype=torch.bool)})


GRADIENTS = [[[1.0, 2.0], [3.0, 4.0]], [[-1.0, 0.0], [1.0, 2.0]], [[5.0, -2.0], [0.0, 0.0]]]


def by_hand(decay):
    average = torch.zeros(2, 2)
    for gradient in GRADIENTS:
        average = decay * average + (1 - decay) * torch.tensor(gradient)
    return average


@pytest.mark.parametrize("is_clipping", [False, True])
def test_the_average_is_of_dense_gradients(is_clipping):
    model, optimizer, pattern = line_with()
    masker = Masker(model, optimizer, pattern, momentum_decay=0.75)
    for gradient in GRADIENTS:
        model.weight.grad = torch.tensor(gradient)
        if is_clipping:  # masking early, twice even, must neither feed the average again nor feed it masked gradients
            masker.mask_gradients_()
            masker.mask_gradients_()
        optimizer.step()
        assert model.weight.grad[0, 1] == model.weight.grad[1, 0] == 0
    assert torch.allclose(masker.momentum["weight"], by_hand(0.75))
    assert masker.momentum["weight"].tolist() == [[1.25 - 0.1875 + 0.140625, -0.21875], [0.609375, 0.9375]]


def test_the_average_goes_on_from_a_given_one_and_leaves_that_alone():
    model, optimizer, pattern = line_with()
    given = {"weight": torch.full((2, 2), 8.0)}
    masker = Masker(model, optimizer, pattern, momentum_decay=0.5, momentum=given)
    model.weight.grad = torch.tensor(GRADIENTS[0])
    optimizer.step()
    assert masker.momentum["weight"].tolist() == [[4.5, 5.0], [5.5, 6.0]]
    assert given["weight"].unique().tolist() == [8.0]


def test_no_average_is_kept_unless_asked_for():
    model, optimizer, pattern = line_with()
    masker = Masker(model, optimizer, pattern, momentum={"weight": torch.ones(2, 2)})
    model.weight.grad = torch.ones(2, 2)
    optimizer.step()
    assert masker.momentum == {}


def test_masking_before_clipping_clips_the_norm_of_what_is_active():
    model, optimizer, pattern = line_with()
    masker = Masker(model, optimizer, pattern)
    model.weight.grad = torch.tensor([[3.0, 100.0], [100.0, 4.0]])
    masker.mask_gradients_()
    assert nn.utils.clip_grad_norm_(model.parameters(), 1e9).item() == 5.0


def test_parameters_without_a_gradient_are_passed_over():
    model = nn.ModuleDict({"unused": nn.Linear(4, 4), "used": nn.Linear(4, 3)})
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    pattern = pattern_of(model, 0.5)
    masker = Masker(model, optimizer, pattern, momentum_decay=0.5)
    gradient = torch.autograd.grad(model["used"](torch.ones(2, 4)).square().sum(), model["used"].weight)[0]
    model["used"](torch.ones(2, 4)).square().sum().backward()
    unused = model["unused"].weight.detach().clone()
    optimizer.step()
    assert model["unused"].weight.grad is None and torch.equal(model["unused"].weight, unused)
    assert torch.allclose(masker.momentum["used.weight"], gradient / 2)  # the layer that is used keeps its average
    assert is_plus_zero(masker.momentum["unused.weight"])
    assert not model["used"].weight.grad[~pattern.masks["used.weight"]].any()


def test_an_optimizer_of_another_model_is_refused():
    model = net()
    elsewhere = OPTIMIZERS["adamw"](copy.deepcopy(model).parameters())
    with pytest.raises(UsageError, match=r"sparse parameters: 0.weight, 4.weight, 6.weight"):
        Masker(model, elsewhere, pattern_of(model))
    some = OPTIMIZERS["adamw"](model[6].parameters())
    with pytest.raises(UsageError, match=r"parameters: 0.weight, 4.weight\. Make it"):
        Masker(model, some, pattern_of(model))


def test_a_pattern_that_does_not_fit_is_refused_and_changes_nothing():
    model, optimizer, pattern = line_with()
    masker = Masker(model, optimizer, pattern)
    with pytest.raises(ModelError, match="shape"):
        masker.assign_(SparsityPattern({"weight": torch.zeros(3, 3, dtype=torch.bool)}))
    model.weight.grad = torch.ones(2, 2)
    optimizer.step()
    assert masker.pattern is pattern and model.weight.grad.tolist() == [[1.0, 0.0], [0.0, 1.0]]


def test_after_detach_nothing_is_masked():
    model, optimizer, pattern = line_with()
    masker = Masker(model, optimizer, pattern)
    kept = model.weight.detach().clone()
    masker.detach()
    assert torch.equal(model.weight, kept) and kept[0, 1] == kept[1, 0] == 0
    model.weight.grad = torch.ones(2, 2)
    optimizer.step()
    assert model.weight.grad.tolist() == [[1.0, 1.0], [1.0, 1.0]]


@pytest.mark.parametrize("is_fused", [False, True])
def test_a_step_skipped_for_infinite_gradients_leaves_the_average_clean(is_fused):
    """A gradient scaler skips the call of an ordinary optimizer; a fused one is called and skips by itself."""
    model, optimizer, pattern = line_with(torch.optim.Adam, fused=is_fused)
    masker = Masker(model, optimizer, pattern, momentum_decay=0.75)
    scaler = torch.amp.GradScaler("cpu", init_scale=4.0, growth_interval=1000)
    for gradient in [*GRADIENTS[:2], [[float("inf"), float("nan")], [0.0, 0.0]], GRADIENTS[2]]:
        optimizer.zero_grad()
        scaler.scale((model.weight * torch.tensor(gradient)).sum()).backward()
        scaler.step(optimizer)
        scaler.update()
    # the scale was 4, then 2: the average holds gradients at their own size
    assert torch.allclose(masker.momentum["weight"], by_hand(0.75))
    assert_inactive_is_plus_zero(model, optimizer, pattern)


def test_without_weight_decay_the_momentum_of_dead_weights_may_be_minus_zero_but_weights_are_not():
    """The first momentum of SGD is a copy of the masked gradient, whose zeros have signs. It moves nothing."""
    model = net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, nesterov=True)
    pattern = pattern_of(model)
    Masker(model, optimizer, pattern)
    train(model, optimizer, range(20))
    for parameter, mask in pattern.pairs(model):
        assert is_plus_zero(parameter.detach()[~mask])
        assert not optimizer.state[parameter]["momentum_buffer"][~mask].any()


# --- loops that are somebody else's: closures, clipping out of sight


@pytest.mark.parametrize("by_name", [False, True])
def test_gradients_that_a_closure_makes_are_masked(by_name):
    """Trainers run backward inside ``optimizer.step(closure)``: before the step there is nothing to mask yet."""
    model, pattern, optimizer = masked_by_hand()
    masker = Masker(model, optimizer, pattern)

    def closure():
        optimizer.zero_grad()
        loss = (model.weight * torch.arange(1.0, 9.0).reshape(2, 4)).sum()
        loss.backward()
        return loss

    for _ in range(3):
        loss = optimizer.step(closure=closure) if by_name else optimizer.step(closure)
        inactive = model.weight.detach()[~pattern.masks["weight"]]
        assert not inactive.any() and not torch.signbit(inactive).any()
    assert loss.requires_grad and model.weight.detach()[pattern.masks["weight"]].abs().min() > 0
    masker.detach()


def test_masked_early_what_clips_measures_active_weights_only_unless_told_otherwise():
    model, pattern, optimizer = masked_by_hand()
    masker = Masker(model, optimizer, pattern)
    dense = []
    masker.mask_early(unless=lambda: bool(dense))

    def norm():
        optimizer.zero_grad()
        for _ in range(2):  # two parts of a batch
            (model.weight * 3.0).sum().backward()
        return torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0).item()

    assert norm() == pytest.approx(6 * 4**0.5)  # 4 of 8 weights are active
    dense.append(True)
    assert norm() == pytest.approx(6 * 8**0.5)
    dense.clear()
    masker.detach()
    assert norm() == pytest.approx(6 * 8**0.5)


def masked_by_hand():
    model = nn.Linear(4, 2, bias=False)
    pattern = SparsityPattern({"weight": torch.tensor([[1, 0, 1, 0], [0, 1, 0, 1]], dtype=torch.bool)})
    return model, pattern, torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
