"""The active engine: what the masked path ends in, to rounding; the same bits again and again; and where it is used."""

import copy
import gc
import weakref
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn.functional import kl_div, log_softmax

pytest.importorskip("numba")

from safecompress.digests import digest_tensors
from safecompress.errors import TrainingError, UsageError
from safecompress.seeding import seeded
from safecompress.sparsity import AllocateErk, SparsityPattern, Start, find_maskable, initial_pattern
from safecompress.training import LossTrace, Recipe, TrainingState, TrainingTask, Watch, engine_name, train
from safecompress.training.active.chain import read_chain
from safecompress.training.active.stepper import ActiveStepper
from safecompress.training.engines import ENGINE, chain_to_train
from safecompress.training.objectives.base import CrossEntropy, Objective
from safecompress.training.objectives.catalogue import OBJECTIVES

with seeded(0, "data"):
    FEATURES = torch.randn(45, 12)
    LABELS = (FEATURES @ torch.randn(12, 3)).argmax(1)
    TEACHER = torch.randn(45, 3)


class SoftTargets(Objective):
    """Learns the teacher's probabilities."""

    def __call__(self, logits_BC, batch):
        return kl_div(log_softmax(logits_BC, 1), batch.teacher_BC.softmax(1), reduction="batchmean")


class Draws(CrossEntropy):
    """Draws a random number after the forward pass."""

    def __call__(self, logits_BC, batch):
        return super().__call__(logits_BC, batch) * (1 + torch.rand(()))


class Own(nn.Module):
    """A user's own class; with ``is_odd`` its forward pass is no chain."""

    def __init__(self, is_odd=False):
        super().__init__()
        self.first, self.last, self.is_odd = nn.Linear(12, 8), nn.Linear(8, 3), is_odd

    def forward(self, rows):
        hidden = self.first(torch.flatten(rows, 1))
        return self.last(hidden + hidden.relu() if self.is_odd else hidden)


def mlp(*between, bias=True):
    with seeded(0, "net"):
        return nn.Sequential(
            nn.Flatten(),
            nn.Linear(12, 40, bias=bias),
            *copy.deepcopy(between or (nn.ReLU(),)),
            nn.Linear(40, 20),
            nn.ReLU(inplace=True),
            nn.Linear(20, 3, bias=bias),
        )


def pattern_of(model, density=0.25):
    return initial_pattern(find_maskable(model), density, allocation=AllocateErk(), start=Start.SCRATCH, seed=0)


def task_of(features=FEATURES, **recipe):
    fields = {"epochs": 20, "batch_size": 12, "learning_rate": 0.05, **recipe}
    return TrainingTask(features, LABELS, Recipe(**fields), seed=3, teacher=TEACHER)


def start_of(model):
    return TrainingState.capture(0, model)


@pytest.fixture
def by_engine(monkeypatch):
    """Trains by the engine that is named."""

    def trained(engine, model, task, until, state=None, **options):
        monkeypatch.setenv(ENGINE, engine)
        options = {"pattern": pattern_of(model), **options}
        return train(copy.deepcopy(model), state or start_of(model), task, until=until, **options)

    return trained


def furthest(one, other):
    assert list(one) == list(other)
    return max(float((one[name] - other[name]).abs().max()) for name in one)


def is_active(model, task, pattern=None, state=None, **options):
    reason = chain_to_train(
        model, state or start_of(model), task, pattern or pattern_of(model), **{"has_momentum": False, **options}
    )
    return not isinstance(reason, str)


def test_a_step_by_hand(by_engine):
    """Logits are zero, so the gradient of the logits is (-1/2, 1/2), and that of the weights its product with x."""
    model = nn.Sequential(nn.Linear(2, 2))
    nn.init.zeros_(model[0].weight), nn.init.zeros_(model[0].bias)
    task = TrainingTask(
        torch.tensor([[1.0, 2.0]]),
        torch.tensor([0]),
        Recipe(learning_rate=1.0, momentum=0, weight_decay=0, decay="constant"),
        0,
    )
    pattern = SparsityPattern({"0.weight": torch.tensor([[True, False], [False, False]])})
    state = by_engine("active", model, task, 1, pattern=pattern)
    assert is_active(model, task, pattern)
    assert state.model["0.weight"].tolist() == [[0.5, 0.0], [0.0, 0.0]]
    assert state.model["0.bias"].tolist() == [0.5, -0.5]


CASES = {
    "sgd": (mlp(), {}),
    "plain sgd": (mlp(), {"momentum": 0, "weight_decay": 0, "decay": "cosine", "warmup": 0.1}),
    "heavy ball": (mlp(), {"nesterov": False}),
    "clipped": (mlp(), {"clip_norm": 0.1}),
    "adam": (mlp(), {"optimizer": "adam", "learning_rate": 0.01}),
    "adamw": (mlp(), {"optimizer": "adamw", "learning_rate": 0.01, "weight_decay": 0.1}),
    "no bias": (mlp(bias=False), {}),
    "dropout": (mlp(nn.ReLU(), nn.Dropout(0.4)), {}),
    "dropout alone": (mlp(nn.Dropout(0.4)), {}),
    "two activations": (mlp(nn.Tanh(), nn.ReLU()), {}),
    "gelu and dropout": (mlp(nn.GELU(), nn.Dropout(0.2)), {}),
    "silu in place": (mlp(nn.SiLU(inplace=True)), {}),
    "nothing between": (mlp(nn.Identity()), {}),
    "own class": (Own(), {}),
    "a relu at the end": (nn.Sequential(mlp(), nn.ReLU()), {}),
    "dropout at the end": (nn.Sequential(mlp(), nn.Dropout(0.2)), {}),
    "soft targets": (mlp(), {"objective": SoftTargets()}),
    "mixup": (mlp(nn.ReLU(), nn.Dropout(0.1)), {"objective": OBJECTIVES.make("mixup")}),
    "an objective that draws": (mlp(nn.ReLU(), nn.Dropout(0.1)), {"objective": Draws()}),
}


@pytest.mark.parametrize("name", CASES)
def test_the_masked_path_ends_in_the_same_weights_and_optimizer_state(name, by_engine):
    model, recipe = CASES[name]
    task, pattern = task_of(**recipe), pattern_of(model)
    assert is_active(model, task)
    masked, active = (by_engine(engine, model, task, 6) for engine in ("masked", "active"))
    assert furthest(masked.model, start_of(model).model) > 1e-3
    assert furthest(masked.model, active.model) < 1e-5
    if masked.optimizer:
        assert furthest(masked.optimizer, active.optimizer) < 1e-5
    for key, mask in pattern.masks.items():
        assert not active.model[key][~mask].count_nonzero()


def test_after_sixty_steps_logits_still_agree(by_engine):
    model, task = mlp(), task_of(optimizer="adam", learning_rate=1e-3)
    logits = []
    for engine in ("masked", "active"):
        model_then = copy.deepcopy(model)
        by_engine(engine, model, task, 60).restore_(model_then)
        logits.append(model_then(FEATURES).detach())
    assert (logits[0] - logits[1]).abs().max() < 0.005


def test_images_are_flattened_after_they_were_augmented(by_engine):
    model, task = mlp(), task_of(FEATURES.reshape(-1, 3, 2, 2), augment=["flip"])
    assert is_active(model, task)
    masked, active = (by_engine(engine, model, task, 6).model for engine in ("masked", "active"))
    assert furthest(masked, active) < 1e-5


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw"])
def test_any_split_into_segments_ends_in_the_same_bits(optimizer, by_engine):
    model = mlp(nn.ReLU(), nn.Dropout(0.3))
    task = task_of(optimizer=optimizer, learning_rate=0.01)
    whole = by_engine("active", model, task, 11)
    state = start_of(model)
    for until in (0, 1, 4, 11):
        state = by_engine("active", model, task, until, state)
        state = TrainingState.from_tensors(state.step, state.to_tensors())
    assert digest_tensors(state.to_tensors()) == digest_tensors(whole.to_tensors())


def test_the_given_state_is_not_changed(by_engine):
    model, task = mlp(), task_of(optimizer="adam")
    state = by_engine("active", model, task, 2)
    before = digest_tensors(state.to_tensors())
    by_engine("active", model, task, 5, state)
    assert digest_tensors(state.to_tensors()) == before


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize("engines", [("masked", "active"), ("active", "masked")])
def test_one_engine_goes_on_from_the_other_ones_state(engines, optimizer, by_engine):
    model, task = mlp(), task_of(optimizer=optimizer, learning_rate=0.01)
    state = by_engine(engines[0], model, task, 4)
    mixed = by_engine(engines[1], model, task, 8, state)
    assert furthest(mixed.model, by_engine("masked", model, task, 8).model) < 1e-5


def test_weights_outside_the_pattern_are_left_behind(by_engine):
    """A rewired model goes on from the state before: what was dropped is zero, and what was grown begins at zero."""
    model, task = mlp(), task_of(optimizer="adam", learning_rate=0.01)
    first, second = pattern_of(model), pattern_of(model, 0.2)
    ends = []
    for engine in ("masked", "active"):
        state = by_engine(engine, model, task, 3, pattern=first)
        ends.append(by_engine(engine, model, task, 6, state, pattern=second))
    assert furthest(ends[0].model, ends[1].model) < 1e-5
    assert furthest(ends[0].optimizer, ends[1].optimizer) < 1e-5


def test_divergence_raises_the_same_error_with_either_engine(by_engine):
    task = task_of(FEATURES * 1e30, learning_rate=1e10)
    for engine in ("masked", "active"):
        with pytest.raises(TrainingError, match="learning rate"):
            by_engine(engine, mlp(), task, 20)


def test_a_checkpoint_is_the_state_of_its_step(by_engine):
    model, task, kept = mlp(), task_of(optimizer="adam"), []
    by_engine("active", model, task, 40, watch=Watch(checkpoint=kept.append, checkpoint_every_s=0.0))
    assert [state.step for state in kept] == [32]
    assert digest_tensors(kept[0].to_tensors()) == digest_tensors(by_engine("active", model, task, 32).to_tensors())


def test_a_trace_sees_the_losses(by_engine):
    traces = []
    for engine in ("masked", "active"):
        traces.append(LossTrace(45, 20))
        by_engine(engine, mlp(), task_of(), 8, watch=Watch(trace=traces[-1]))
    masked, active = (trace.to_tensor()[:, :2] for trace in traces)
    assert torch.allclose(masked, active, atol=1e-5) and masked.isfinite().all()


def test_the_global_generator_is_left_alone(by_engine):
    torch.manual_seed(3)
    before = torch.get_rng_state()
    by_engine("active", mlp(nn.Dropout(0.5)), task_of(), 2)
    assert torch.equal(torch.get_rng_state(), before)


class Loose(nn.Sequential):
    """Draws at random in its forward pass, outside of layers."""

    def forward(self, rows):
        return super().forward(rows if torch.rand(()) < 0.5 else -rows)


def hooked():
    model = mlp()
    model[1].register_forward_hook(lambda module, rows, out: out * 2)
    return model


def frozen():
    model = mlp()
    model[1].bias.requires_grad_(False)
    return model


def shared():
    layer = nn.Linear(12, 12)
    return nn.Sequential(layer, nn.ReLU(), layer, nn.Linear(12, 3))


UNSERVED = {
    "batch norm": (mlp(nn.BatchNorm1d(40)), {}),
    "a residual": (Own(is_odd=True), {}),
    "a random pass": (Loose(nn.Linear(12, 3)), {}),
    "hooks": (hooked(), {}),
    "a frozen bias": (frozen(), {}),
    "a shared layer": (shared(), {}),
    "an average": (mlp(), {"average": 0.9}),
    "parts": (mlp(), {"micro_batches": 2}),
    "an opponent": (mlp(), {"objective": OBJECTIVES.make("adversarial")}),
}


@pytest.mark.parametrize("name", UNSERVED)
def test_what_is_not_served_stays_on_the_masked_path(name):
    model, recipe = UNSERVED[name]
    assert not is_active(
        model, replace(task_of(), recipe=Recipe(batch_size=12, **recipe), reference=(FEATURES, LABELS))
    )


def test_momentum_growth_high_density_and_strange_states_stay_on_the_masked_path():
    model, task = mlp(), task_of()
    state = TrainingState(0, model.state_dict(), {"1.weight/momentum_buffer": torch.zeros(40, 12)})
    assert is_active(model, task)
    assert not is_active(model, task, has_momentum=True)
    assert not is_active(model, task, pattern_of(model, 0.9))
    assert not is_active(model, task, state=state)
    assert not is_active(nn.Sequential(*list(mlp())[1:]), task_of(FEATURES.reshape(-1, 1, 12)))
    assert chain_to_train(model, start_of(model), task, None, has_momentum=False)


def test_more_threads_ask_for_fewer_weights(monkeypatch):
    model, task = mlp(), task_of()
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    assert not is_active(model, task, pattern_of(model, 0.25)) and is_active(model, task, pattern_of(model, 0.15))


def test_the_engine_is_forced_by_the_environment(monkeypatch):
    model, task = mlp(), task_of()
    monkeypatch.delenv(ENGINE, raising=False)
    assert engine_name().startswith("active 2 (numba ") and is_active(model, task)
    monkeypatch.setenv(ENGINE, "masked")
    assert engine_name() == "masked" and not is_active(model, task)
    monkeypatch.setenv(ENGINE, "actve")
    with pytest.raises(UsageError, match="active"):
        engine_name()


def test_without_numba_training_is_masked_and_asking_for_more_is_an_error(monkeypatch):
    monkeypatch.setattr("safecompress.training.engines._numba_version", lambda: None)
    monkeypatch.delenv(ENGINE, raising=False)
    assert engine_name() == "masked"
    monkeypatch.setenv(ENGINE, "active")
    with pytest.raises(UsageError, match=r"pip install numba"):
        engine_name()


def test_train_takes_the_steps_of_the_active_engine(by_engine, monkeypatch):
    taken = []
    step = ActiveStepper.__call__
    monkeypatch.setattr(ActiveStepper, "__call__", lambda self, number: taken.append(number) or step(self, number))
    by_engine("masked", mlp(), task_of(), 3)
    by_engine("auto", mlp(), task_of(), 3)
    assert taken == [0, 1, 2]


def test_a_model_is_traced_once(monkeypatch):
    traced = []
    trace = torch.fx.Tracer.trace
    monkeypatch.setattr(torch.fx.Tracer, "trace", lambda *given: traced.append(1) or trace(*given))
    model, other = mlp(), mlp()
    first = read_chain(model)
    assert [name for name, _ in read_chain(model).layers] == [name for name, _ in first.layers]
    assert len(traced) == 1
    read_chain(other)
    assert len(traced) == 2
    model[1] = nn.Linear(12, 40)  # layers are looked up anew
    assert read_chain(model).layers[0][1] is model[1]
    seen = weakref.ref(model)
    del model, first
    gc.collect()
    assert seen() is None
