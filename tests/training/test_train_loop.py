"""train(): any split into segments ends in the same bits; what diverges is said; the pattern holds."""

import functools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.functional import cross_entropy, one_hot

from safecompress.digests import digest_tensors
from safecompress.errors import ModelError, TrainingError, UsageError
from safecompress.progress import Silent
from safecompress.seeding import seeded
from safecompress.sparsity import AllocateErk, SparsityPattern, Start, find_maskable, initial_pattern
from safecompress.storage import read_tensors, write_tensors
from safecompress.training import Recipe, TrainingState, TrainingTask, Watch, dense_gradient, train


def net(seed=0):
    """Dropout and batch norm: the two that a careless resume breaks."""
    with seeded(seed, "net"):
        return nn.Sequential(
            nn.Linear(10, 16),
            nn.BatchNorm1d(16),
            nn.ReLU(),
            nn.Dropout(0.3),
            nn.Linear(16, 8),
            nn.ReLU(),
            nn.Linear(8, 3),
        )


with seeded(0, "data"):
    FEATURES = torch.randn(45, 10)
    LABELS = (FEATURES @ torch.randn(10, 3)).argmax(1)

RECIPES = {
    "sgd": Recipe(epochs=8, batch_size=12, learning_rate=0.05),
    "plain": Recipe(epochs=8, batch_size=12, learning_rate=0.05, momentum=0, decay="cosine"),
    "adam": Recipe(epochs=8, batch_size=12, learning_rate=0.01, optimizer="adam"),
    "adamw": Recipe(epochs=8, batch_size=12, learning_rate=0.01, optimizer="adamw", decay="cosine"),
}
TOTAL = 32


def course(name="sgd", seed=0):
    return TrainingTask(FEATURES, LABELS, RECIPES[name], seed)


def start(seed=0):
    return TrainingState.capture(0, net(seed))


def pattern_of(density=0.3):
    return initial_pattern(find_maskable(net()), density, allocation=AllocateErk(), start=Start.SCRATCH, seed=0)


@functools.cache
def uninterrupted(name, is_sparse):
    pattern = pattern_of() if is_sparse else None
    state = train(net(), start(), course(name), until=TOTAL, pattern=pattern, keep_momentum=is_sparse)
    return state.step, digest_tensors(state.to_tensors())


@pytest.mark.slow
@pytest.mark.parametrize("is_sparse", [False, True])
@pytest.mark.parametrize("name", RECIPES)
@settings(max_examples=8, deadline=None)
@given(cuts=st.lists(st.integers(0, TOTAL), max_size=4))
def test_any_split_into_segments_ends_in_the_same_bits(name, is_sparse, cuts):
    state = start()
    pattern = pattern_of() if is_sparse else None
    for index, until in enumerate([*sorted(cuts), TOTAL]):
        torch.manual_seed(index)  # neither the global generator nor what the scratch model held may matter
        state = train(net(index), state, course(name), until=until, pattern=pattern, keep_momentum=is_sparse)
        state = TrainingState.from_tensors(state.step, state.to_tensors())
    assert (state.step, digest_tensors(state.to_tensors())) == uninterrupted(name, is_sparse)


@pytest.mark.slow
@pytest.mark.parametrize("name", RECIPES)
def test_a_run_resumed_from_a_file_ends_in_the_same_bits(name, tmp_path):
    file = tmp_path / "state.safetensors"
    half = train(net(), start(), course(name), until=13, pattern=pattern_of(), keep_momentum=True)
    write_tensors(file, half.to_tensors(), {"step": "13"})
    tensors, metadata = read_tensors(file)
    again = TrainingState.from_tensors(int(metadata["step"]), tensors)
    whole = train(net(5), again, course(name), until=TOTAL, pattern=pattern_of(), keep_momentum=True)
    assert (whole.step, digest_tensors(whole.to_tensors())) == uninterrupted(name, True)


def test_the_seed_the_recipe_and_the_data_decide_the_weights():
    def digest(of=None, state=None):
        return train(net(), state or start(), of or course(), until=6).digest()

    others = [course(seed=1), course("adam"), TrainingTask(FEATURES.flip(0), LABELS.flip(0), RECIPES["sgd"], 0)]
    assert digest() == digest()
    assert len({digest(), *map(digest, others), digest(state=start(1))}) == 5


def test_the_global_generators_are_left_alone():
    torch.manual_seed(3)
    before = torch.get_rng_state()
    train(net(), start(), course(), until=3)
    dense_gradient(net(), start(), course(), {"0.weight": torch.empty(0)})
    assert torch.equal(torch.get_rng_state(), before)


def test_the_given_state_is_not_changed():
    state = train(net(), start(), course("adam"), until=4, pattern=pattern_of(), keep_momentum=True)
    before = digest_tensors(state.to_tensors())
    train(net(), state, course("adam"), until=9, pattern=pattern_of(), keep_momentum=True)
    dense_gradient(net(), state, course("adam"), {"0.weight": torch.empty(0)})
    assert digest_tensors(state.to_tensors()) == before


def test_training_to_where_it_stands_changes_nothing_and_backwards_is_refused():
    state = train(net(), start(), course(), until=5)
    again = train(net(2), state, course(), until=5)
    assert again.step == 5 and digest_tensors(again.to_tensors()) == digest_tensors(state.to_tensors())
    with pytest.raises(UsageError, match="step 5, until=4 lies"):
        train(net(), state, course(), until=4)


@pytest.mark.slow
def test_it_learns():
    longer = TrainingTask(FEATURES, LABELS, Recipe(epochs=60, batch_size=12, learning_rate=0.01, optimizer="adam"), 0)
    state = train(net(), start(), longer, until=longer.total_steps, pattern=pattern_of(0.5))
    model = net()
    state.restore_(model)
    assert (model.eval()(FEATURES).argmax(1) == LABELS).float().mean() > 0.8


def test_one_step_by_hand():
    """w - lr (gradient + decay w) on the batch that the course names, at the rate of that step."""
    recipe = Recipe(epochs=2, batch_size=45, learning_rate=0.5, momentum=0, weight_decay=0.1, milestones=(0.5,))
    one = TrainingTask(FEATURES, LABELS, recipe, 0)
    model = nn.Linear(10, 3, bias=False)
    state = TrainingState.capture(0, model)
    for step, rate in enumerate((0.5, 0.05)):
        weight = state.model["weight"]
        probabilities = torch.softmax(FEATURES @ weight.T, 1)
        gradient = (probabilities - one_hot(LABELS, 3)).T @ FEATURES / 45
        state = train(model, state, one, until=step + 1)
        assert torch.allclose(state.model["weight"], weight - rate * (gradient + 0.1 * weight), atol=1e-6)


# --- the pattern


@pytest.mark.parametrize("name", RECIPES)
def test_inactive_weights_and_their_moments_stay_at_plus_zero(name):
    pattern = pattern_of(0.2)
    state = train(net(), start(), course(name), until=TOTAL, pattern=pattern)
    masked = {**state.model, **state.optimizer}
    seen = 0
    for layer, mask in pattern.masks.items():
        for key, tensor in masked.items():
            if (key == layer or key.startswith(f"{layer}/")) and tensor.shape == mask.shape:
                assert not tensor[~mask].any() and not torch.signbit(tensor[~mask]).any(), key
                seen += 1
        assert state.model[layer][mask].all()
    assert seen == 3 * {"plain": 1, "sgd": 2, "adam": 3, "adamw": 3}[name]


def test_a_new_pattern_between_segments_forgets_what_was_dropped():
    old, new = (
        pattern_of(),
        initial_pattern(find_maskable(net()), 0.3, allocation=AllocateErk(), start=Start.SCRATCH, seed=1),
    )
    half = train(net(), start(), course(), until=9, pattern=old)
    after = train(net(), half, course(), until=9, pattern=new)
    for layer, mask in new.masks.items():
        was = old.masks[layer]
        for tensor in (after.model[layer], after.optimizer[f"{layer}/momentum_buffer"]):
            assert not tensor[~mask].any() and not tensor[mask & ~was].any() and tensor[mask & was].any()


def test_the_average_is_kept_when_asked_and_holds_dense_gradients():
    pattern = pattern_of(0.2)
    assert train(net(), start(), course(), until=4, pattern=pattern).momentum == {}
    sparse = TrainingState.capture(0, net())
    model = net()
    pattern.apply_(model)
    sparse = TrainingState.capture(0, model)
    gradient = dense_gradient(net(), sparse, course(), pattern.masks)
    kept = train(net(), sparse, course(), until=1, pattern=pattern, keep_momentum=True).momentum
    assert kept.keys() == pattern.masks.keys()
    for layer, mask in pattern.masks.items():
        assert torch.allclose(kept[layer], 0.1 * gradient[layer], rtol=1e-5, atol=1e-9) and kept[layer][~mask].any()


def test_a_pattern_of_another_model_is_refused():
    with pytest.raises(ModelError, match="no such parameter"):
        train(net(), start(), course(), until=2, pattern=SparsityPattern({"head.weight": torch.ones(3, 8) > 0}))


# --- divergence and checkpoints


class NotANumberFrom(nn.Module):
    """Gives NaN from its ``call``-th forward pass on."""

    def __init__(self, call):
        super().__init__()
        self.body, self.calls, self.call = nn.Linear(10, 3), 0, call

    def forward(self, x):
        self.calls += 1
        return self.body(x) * (float("nan") if self.calls > self.call else 1.0)


LONG = TrainingTask(FEATURES, LABELS, Recipe(epochs=40, batch_size=12, learning_rate=0.05), 0)


@pytest.mark.parametrize(
    ("bad_from", "until", "saved"), [(40, 100, [32]), (64, 100, [32, 64]), (0, 100, []), (70, 75, [32, 64])]
)
def test_a_loss_that_is_no_number_stops_training_and_makes_no_checkpoint(bad_from, until, saved):
    made = []
    model = NotANumberFrom(bad_from)
    with pytest.raises(TrainingError, match=r"became nan .*\(it is 0.05\)"):
        train(
            model,
            TrainingState.capture(0, model),
            LONG,
            until=until,
            watch=Watch(checkpoint=made.append, checkpoint_every_s=-1),
        )
    assert [state.step for state in made] == saved
    assert model.calls == min(until, -(-(bad_from + 1) // 32) * 32)  # it is noticed within 32 steps
    assert all(torch.isfinite(tensor).all() for state in made for tensor in state.to_tensors().values())


@pytest.mark.parametrize(("last_good", "until", "saved"), [(31, 100, []), (63, 64, [32]), (6, 7, [])])
def test_weights_that_overflow_are_never_returned_or_saved(last_good, until, saved):
    """The loss of the last step is still a number while its update is not."""
    made = []
    model = nn.Linear(10, 3)
    calls = iter(range(1, 1000))
    model.weight.register_hook(lambda gradient: gradient if next(calls) <= last_good else gradient * float("inf"))
    with pytest.raises(TrainingError, match="diverged"):
        train(
            model,
            TrainingState.capture(0, model),
            LONG,
            until=until,
            watch=Watch(checkpoint=made.append, checkpoint_every_s=-1),
        )
    assert [state.step for state in made] == saved


@pytest.mark.slow
def test_a_checkpoint_is_the_state_of_its_step_and_saving_changes_nothing():
    made = []

    def save(state):
        torch.rand(5)  # a callback that draws must not disturb training
        made.append(state)

    sparse = {"pattern": pattern_of(), "keep_momentum": True}
    last = train(net(), start(), LONG, until=100, watch=Watch(checkpoint=save, checkpoint_every_s=-1), **sparse)
    assert [state.step for state in made] == [32, 64, 96]
    for state in made:
        alone = train(net(), start(), LONG, until=state.step, **sparse)
        assert digest_tensors(alone.to_tensors()) == digest_tensors(state.to_tensors())
    quiet = train(net(), start(), LONG, until=100, **sparse)
    assert digest_tensors(quiet.to_tensors()) == digest_tensors(last.to_tensors())


def test_divergence_is_noticed_soon_even_if_nobody_saves():
    model = NotANumberFrom(40)
    with pytest.raises(TrainingError):
        train(model, TrainingState.capture(0, model), LONG, until=100)
    assert model.calls == 64


def test_no_checkpoint_before_its_time():
    made = []
    train(net(), start(), LONG, until=100, watch=Watch(checkpoint=made.append, checkpoint_every_s=3600))
    assert made == []


def test_a_watcher_hears_of_every_step():
    class Counting(Silent):
        steps = 0

        def advance(self, steps=1):
            self.steps += steps

    watcher = Counting()
    train(net(), train(net(), start(), course(), until=4), course(), until=11, watch=Watch(watcher))
    assert watcher.steps == 7


@pytest.mark.slow
def test_a_watcher_hears_the_mean_loss_of_the_steps_since_it_last_heard():
    class Hearing(Silent):
        def __init__(self):
            self.heard = []

        def measured(self, step, figures):
            assert list(figures) == ["loss"]
            self.heard.append((step, figures["loss"]))

    together, apart = Hearing(), Hearing()
    train(net(), start(), LONG, until=70, watch=Watch(together))
    assert [step for step, _ in together.heard] == [32, 64, 70]
    state = start()
    for until in range(1, 71):
        state = train(net(), state, LONG, until=until, watch=Watch(apart))
    losses = [loss for _, loss in apart.heard]
    means = [np.mean(losses[:32]), np.mean(losses[32:64]), np.mean(losses[64:])]
    assert [loss for _, loss in together.heard] == pytest.approx(means, rel=1e-5)


# --- batches and the dense gradient


@given(num_rows=st.integers(1, 90), batch_size=st.integers(1, 40), epoch=st.integers(0, 5), seed=st.integers(0, 3))
def test_an_epoch_covers_every_row_once_in_batches_of_almost_one_size(num_rows, batch_size, epoch, seed):
    made = TrainingTask(torch.zeros(num_rows, 1), torch.zeros(num_rows), Recipe(batch_size=batch_size), seed)
    batches = made.epoch_batches(epoch)
    sizes = [len(batch) for batch in batches]
    assert len(batches) == -(-num_rows // batch_size)
    assert max(sizes) - min(sizes) <= 1 and max(sizes) <= batch_size
    assert sorted(np.concatenate(batches).tolist()) == list(range(num_rows))


def test_orders_differ_by_epoch_and_seed():
    orders = {tuple(np.concatenate(course(seed=s).epoch_batches(e)).tolist()) for s in range(3) for e in range(3)}
    assert len(orders) == 9
    assert course().total_steps == TOTAL


@pytest.mark.parametrize("step", [0, 3, 4, 30])
def test_the_dense_gradient_is_that_of_the_step_that_comes_next(step):
    """Plain descent at rate r moves the weights by r times the gradient, so training one step on tells it."""
    recipe = Recipe(epochs=8, batch_size=12, learning_rate=0.5, momentum=0, weight_decay=0, decay="constant")
    plain = TrainingTask(FEATURES, LABELS, recipe, 0)
    state = train(net(), start(), plain, until=step)
    names = find_maskable(net())
    gradient = dense_gradient(net(3), state, plain, names)
    after = train(net(), state, plain, until=step + 1)
    assert gradient.keys() == names.keys()
    for name in names:
        assert torch.allclose(state.model[name] - 0.5 * gradient[name], after.model[name], atol=1e-7)


def test_the_dense_gradient_by_hand_reaches_inactive_weights():
    model = nn.Linear(10, 3, bias=False)
    mask = torch.rand(3, 10, generator=torch.Generator().manual_seed(0)) < 0.3
    SparsityPattern({"weight": mask}).apply_(model)
    state = TrainingState.capture(0, model)
    rows = course().epoch_batches(0)[0]
    x, y = FEATURES[rows], LABELS[rows]
    expected = (torch.softmax(x @ model.weight.detach().T, 1) - one_hot(y, 3)).T @ x / len(rows)
    gradient = dense_gradient(nn.Linear(10, 3, bias=False), state, course(), {"weight": mask})["weight"]
    assert torch.allclose(gradient, expected, atol=1e-6) and gradient[~mask].all()


def test_the_dense_gradient_equals_autograd_with_the_step_s_own_dropout():
    state = train(net(), start(), course(), until=6)
    model = net()
    state.restore_(model)
    rows = course().epoch_batches(1)[2]
    with seeded(0, "step", 6):
        loss = cross_entropy(model.train()(FEATURES[rows]), LABELS[rows])
    (expected,) = torch.autograd.grad(loss, [model[0].weight])
    assert torch.equal(dense_gradient(net(), state, course(), {"0.weight": model[0].weight})["0.weight"], expected)


def test_the_dense_gradient_of_a_diverged_state_is_an_error():
    model = nn.Linear(10, 3)
    model.weight.data.fill_(float("nan"))
    with pytest.raises(TrainingError, match="diverged"):
        dense_gradient(nn.Linear(10, 3), TrainingState.capture(0, model), course(), {"weight": model.weight})


def test_rows_do_not_reach_a_log():
    assert "tensor" not in repr(course()) and "tensor" not in repr(start())
