"""Clipping after masking, batches in parts, mixed precision, averaged weights, compiled models: each resumes in the
same bits, keeps inactive weights at zero, and does what it says."""

import dataclasses
from dataclasses import replace

import pytest
import torch
from torch import nn

import safecompress.training.amp as amp_page
from safecompress.digests import digest_tensors
from safecompress.errors import TrainingError, UsageError
from safecompress.seeding import seeded
from safecompress.sparsity import AllocateErk, SparsityPattern, Start, find_maskable, initial_pattern
from safecompress.training import (
    OBJECTIVES,
    CrossEntropy,
    LossTrace,
    Recipe,
    TrainingState,
    TrainingTask,
    Watch,
    dense_gradient,
    predict_logits,
    train,
    train_many,
)
from safecompress.training.amp import Amp
from safecompress.training.dp_sgd import DpSgd, train_privately
from safecompress.training.objectives.adversarial import AdversarialRegularisation
from safecompress.training.objectives.distill import Distillation
from safecompress.training.objectives.mixing import Mixup
from safecompress.training.recipe import LATER

with seeded(0, "data"):
    FEATURES = torch.randn(45, 10)
    LABELS = (FEATURES @ torch.randn(10, 3)).argmax(1)
    TEACHER = torch.randn(45, 3)
    REFERENCE = torch.randn(20, 10), torch.randint(3, (20,))

PLAIN = Recipe(epochs=6, batch_size=12, learning_rate=0.05)
DESCENT = Recipe(epochs=6, batch_size=12, learning_rate=1.0, momentum=0.0, weight_decay=0.0, decay="constant")
TOTAL = 24
NEW = {
    "clip_norm": {"clip_norm": 0.1},
    "micro_batches": {"micro_batches": 3},
    "bf16": {"amp": "bf16"},
    "fp16": {"amp": "fp16"},
    "average": {"average": 0.9},
    "all": {"clip_norm": 0.5, "micro_batches": 2, "amp": "bf16", "average": 0.9, "warmup": 0.2},
}


@pytest.fixture(autouse=True)
def fp16_without_a_gpu(monkeypatch):
    """The scaler's arithmetic is the same on a CPU; only its use is not."""
    monkeypatch.setattr(amp_page, "check_amp", lambda name, device: None)


def net(seed=0, norm=True, dropout=0.2):
    with seeded(seed, "net"):
        norms = [nn.BatchNorm1d(16)] if norm else []
        body = nn.Sequential(nn.Linear(10, 16), *norms, nn.ReLU(), nn.Dropout(dropout), nn.Linear(16, 8), nn.ReLU())
        return nn.Sequential(body, nn.Linear(8, 3))


def bare(seed=0):
    """Nothing that is drawn by lot or sees more than one row."""
    return net(seed, norm=False, dropout=0.0)


def pattern_of(model, density=0.3):
    return initial_pattern(find_maskable(model), density, allocation=AllocateErk(), start=Start.SCRATCH, seed=0)


def course(recipe=PLAIN, seed=0, **options):
    return TrainingTask(FEATURES, LABELS, recipe, seed, **options)


def run(recipe, make=net, until=TOTAL, start=None, **options):
    given = {key: options.pop(key) for key in ("teacher", "reference") if key in options}
    if "trace" in options:
        options["watch"] = Watch(trace=options.pop("trace"))
    state = start or TrainingState.capture(0, make())
    return train(make(9), state, course(recipe, **given), until=until, **options)


def assert_inactive_are_zero(state, pattern):
    for weights in (state.model, state.moving):
        for name in weights.keys() & pattern.masks.keys():
            inactive = weights[name][~pattern.masks[name]]
            assert torch.equal(inactive, torch.zeros_like(inactive)) and not torch.signbit(inactive).any()
    for key, value in state.optimizer.items():
        mask = pattern.masks.get(key.rpartition("/")[0])
        if mask is not None and value.shape == mask.shape:
            assert not value[~mask].any()


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
@pytest.mark.parametrize("name", NEW)
def test_any_split_into_segments_ends_in_the_same_bits_and_inactive_weights_stay_zero(name, optimizer):
    rate = {} if optimizer == "sgd" else {"learning_rate": 0.01}
    recipe, pattern, ends = replace(PLAIN, optimizer=optimizer, **rate, **NEW[name]), pattern_of(net()), set()
    for cuts in ([], [3, 4, 17]):
        state = None
        for index, until in enumerate([*cuts, TOTAL]):
            torch.manual_seed(index)
            state = run(recipe, until=until, start=state, pattern=pattern, keep_momentum=True)
            state = TrainingState.from_tensors(state.step, state.to_tensors())
        assert_inactive_are_zero(state, pattern)
        assert all(value.isfinite().all() for value in state.momentum.values())
        ends.add(digest_tensors(state.to_tensors()))
    plain = run(replace(PLAIN, optimizer=optimizer, **rate), pattern=pattern, keep_momentum=True)
    assert len(ends) == 1 and digest_tensors(plain.to_tensors()) not in ends


def test_a_later_rewire_leaves_no_trace_of_a_dropped_weight():
    """The pattern changes between two segments, as in a search: weights, moments and the average are zero at once."""
    first = pattern_of(net())
    second = SparsityPattern({name: mask.flip(0) for name, mask in first.masks.items()})
    recipe = replace(PLAIN, average=0.9, clip_norm=1.0)
    half = run(recipe, until=11, pattern=first)
    assert_inactive_are_zero(run(recipe, until=11, start=half, pattern=second), second)
    whole = run(recipe, start=half, pattern=second)
    assert_inactive_are_zero(whole, second)
    grown = second.masks["1.weight"] & ~first.masks["1.weight"]
    assert torch.equal(whole.model["1.weight"][grown] != 0, whole.moving["1.weight"][grown] != 0)
    assert whole.model["1.weight"][grown].any()


# --- clipping


def moved(before, after):
    return torch.cat([(after.model[name] - before.model[name]).flatten() for name in before.model])


def test_a_step_is_as_long_as_the_clipping_length_and_no_other_way():
    """Plain descent at rate 1: the step is the gradient."""
    start = TrainingState.capture(0, bare())
    free = moved(start, run(DESCENT, bare, until=1, start=start))
    clipped = moved(start, run(replace(DESCENT, clip_norm=0.05), bare, until=1, start=start))
    loose = moved(start, run(replace(DESCENT, clip_norm=100.0), bare, until=1, start=start))
    assert free.norm() > 0.05 and clipped.norm().item() == pytest.approx(0.05, rel=1e-4)
    torch.testing.assert_close(clipped, free * (0.05 / free.norm()), atol=1e-6, rtol=1e-4)
    assert torch.equal(loose, free)


def test_inactive_weights_take_no_share_of_the_clipping_length():
    pattern = pattern_of(bare(), 0.1)
    start = run(DESCENT, bare, until=0, pattern=pattern)
    step = moved(start, run(replace(DESCENT, clip_norm=0.05), bare, until=1, start=start, pattern=pattern))
    assert step.norm().item() == pytest.approx(0.05, rel=1e-4)


def test_growth_reads_gradients_that_are_neither_masked_nor_clipped():
    pattern = pattern_of(bare())
    start = run(DESCENT, bare, until=0, pattern=pattern)
    dense = dense_gradient(bare(), start, course(replace(DESCENT, clip_norm=0.01)), pattern.masks)
    state = run(replace(DESCENT, clip_norm=0.01), bare, until=1, start=start, pattern=pattern, keep_momentum=True)
    for name, gradient in dense.items():
        assert gradient[~pattern.masks[name]].any()
        torch.testing.assert_close(state.momentum[name], 0.1 * gradient, atol=1e-7, rtol=1e-4)


# --- parts of a batch


@pytest.mark.slow
@pytest.mark.parametrize(
    "objective", [CrossEntropy(), Mixup(), Distillation(), AdversarialRegularisation(start=0.1)], ids=repr
)
@pytest.mark.parametrize("parts", [2, 5])
def test_a_batch_in_parts_descends_as_the_whole_batch_does(objective, parts):
    """Eleven or twelve rows in parts that differ by a row: the sums are those of the whole batch, to rounding."""
    options = {"teacher": TEACHER, "reference": REFERENCE, "pattern": pattern_of(bare())}
    recipe = replace(PLAIN, objective=objective)
    traces = LossTrace(45, 6), LossTrace(45, 6)
    whole = run(recipe, bare, trace=traces[0], **options)
    cut = run(replace(recipe, micro_batches=parts), bare, trace=traces[1], **options)
    for name, value in whole.model.items():
        torch.testing.assert_close(cut.model[name], value, atol=2e-5, rtol=1e-4)
    torch.testing.assert_close(traces[1].to_tensor(), traces[0].to_tensor(), atol=1e-4, rtol=1e-3)


def test_the_gradient_for_growing_is_that_of_the_whole_batch_too():
    start = TrainingState.capture(0, bare())
    whole, cut = (
        dense_gradient(bare(), start, course(replace(PLAIN, micro_batches=parts)), pattern_of(bare()).masks)
        for parts in (1, 4)
    )
    for name, value in whole.items():
        torch.testing.assert_close(cut[name], value, atol=1e-7, rtol=1e-4)


def test_no_part_is_larger_than_asked():
    sizes = []

    class Watching(nn.Linear):
        def forward(self, x):
            sizes.append(len(x))
            return super().forward(x)

    with seeded(0):
        model = Watching(10, 3)
    train(model, TrainingState.capture(0, model), course(replace(PLAIN, micro_batches=5)), until=4)
    assert sizes == [2, 2, 3, 2, 3] + 3 * [2, 2, 2, 2, 3]


def test_batch_norm_sees_a_part_at_a_time():
    """What the docs say of it: its statistics are a part's, so the result is another one."""
    whole, cut = run(PLAIN, until=4), run(replace(PLAIN, micro_batches=3), until=4)
    assert int(whole.model["0.1.num_batches_tracked"]) == 4 and int(cut.model["0.1.num_batches_tracked"]) == 12
    assert not torch.allclose(whole.model["1.weight"], cut.model["1.weight"], atol=1e-5)


@pytest.mark.parametrize("name", ["relax_loss", "error_entropy", "error_uniform"])
def test_an_objective_that_is_no_mean_over_rows_is_not_computed_in_parts(name):
    with pytest.raises(UsageError, match=r"micro_batches .*mean over rows, got 2"):
        Recipe(objective=OBJECTIVES.make(name), micro_batches=2)
    with pytest.raises(UsageError, match="mean over rows"):
        course(Recipe(micro_batches=2)).towards(OBJECTIVES.make(name))


def test_every_other_objective_is_a_mean_over_rows():
    """By its own word, and by the numbers: half the rows and the other half make the whole."""
    for name in OBJECTIVES.builtins:
        objective = OBJECTIVES.make(name)
        recipe = replace(DESCENT, objective=objective)
        if not objective.is_mean or name == "mixup":
            continue
        given = {"teacher": TEACHER, "reference": REFERENCE}
        whole, cut = (
            run(one, bare, until=1, **given).model["1.weight"] for one in (recipe, replace(recipe, micro_batches=2))
        )
        torch.testing.assert_close(cut, whole, atol=1e-6, rtol=1e-5)


def test_more_parts_than_rows_are_refused():
    with pytest.raises(UsageError, match=r"11 rows.*12 parts \(1 ranks times 12"):
        run(replace(PLAIN, micro_batches=12))


# --- mixed precision


def test_bf16_is_for_forward_and_backward_only():
    """Layers compute in it; weights, their state, the objective and every test of the model stay in float32."""
    seen = []

    class Watching(CrossEntropy):
        def __call__(self, logits_BC, batch):
            seen.append(("objective", logits_BC.dtype))
            return super().__call__(logits_BC, batch)

    model = bare()
    model[0].register_forward_hook(lambda _, __, output: seen.append(("layer", output.dtype)))
    state = train(
        model, TrainingState.capture(0, model), course(replace(PLAIN, amp="bf16", objective=Watching())), until=3
    )
    assert set(seen) == {("layer", torch.bfloat16), ("objective", torch.float32)}
    assert {tensor.dtype for tensor in (*state.model.values(), *state.optimizer.values())} == {torch.float32}
    seen.clear()
    state.restore_(model)
    assert predict_logits(model, FEATURES).dtype == torch.float32 and seen == [("layer", torch.float32)]


@pytest.mark.parametrize("precision", ["none", "bf16", "fp16"])
def test_the_gradient_for_growing_is_taken_as_training_takes_it(precision):
    """In one step of plain descent at rate 1 the weights move by the gradient."""
    recipe = replace(DESCENT, amp=precision)
    start = replace(
        TrainingState.capture(0, bare()), scaler={"scale": torch.tensor(8.0), "growth_tracker": torch.tensor(0)}
    )
    gradient = dense_gradient(bare(), start, course(recipe), {"1.weight": torch.empty(0)})["1.weight"]
    after = run(recipe, bare, until=1, start=start)
    torch.testing.assert_close(start.model["1.weight"] - after.model["1.weight"], gradient, atol=1e-6, rtol=1e-4)


def test_fp16_scales_less_after_an_overflow_and_takes_no_step():
    """A scale that no gradient fits under is halved, step by step, until one does; weights wait for it."""
    start = TrainingState.capture(0, bare())
    high = replace(start, scaler={"scale": torch.tensor(2.0**40), "growth_tracker": torch.tensor(5)})
    pattern = pattern_of(bare())
    for optimizer, rate in (("sgd", 0.05), ("adam", 0.01)):
        for clip_norm in (0.0, 1.0):
            recipe = replace(PLAIN, amp="fp16", optimizer=optimizer, learning_rate=rate, clip_norm=clip_norm)
            state = run(recipe, bare, until=3, start=high, pattern=pattern, keep_momentum=True)
            assert state.scaler["scale"] == 2.0**37 and state.scaler["growth_tracker"] == 0
            masked = {name: value * pattern.masks.get(name, 1) for name, value in start.model.items()}
            assert digest_tensors({k: v + 0.0 for k, v in state.model.items()}) == digest_tensors(
                {k: v + 0.0 for k, v in masked.items()}
            )
            assert not any(value.any() for value in state.momentum.values())


def test_an_overflow_in_the_gradient_for_growing_lowers_the_scale_for_it():
    start = TrainingState.capture(0, bare())
    high = replace(start, scaler={"scale": torch.tensor(2.0**40), "growth_tracker": torch.tensor(0)})
    names = {"1.weight": torch.empty(0)}
    found = dense_gradient(bare(), high, course(replace(PLAIN, amp="fp16")), names)["1.weight"]
    expected = dense_gradient(bare(), start, course(), names)["1.weight"]
    torch.testing.assert_close(found, expected, atol=2e-3, rtol=2e-2)


def test_without_a_gpu_fp16_is_refused(monkeypatch):
    monkeypatch.undo()
    with pytest.raises(UsageError, match=r"amp = 'fp16' .* CUDA device,.* 'cpu'"):
        run(replace(PLAIN, amp="fp16"))


def test_divergence_in_mixed_precision_is_told():
    with pytest.raises(TrainingError, match="Training diverged"):
        run(replace(PLAIN, amp="bf16", learning_rate=1e30))


def test_without_mixed_precision_nothing_is_cast():
    assert Amp("none", torch.device("cpu")).forward(bare().double(), FEATURES.double()).dtype == torch.float64


# --- the average


def test_the_average_by_hand():
    recipe, expected = replace(PLAIN, average=0.5), {k: v.clone() for k, v in net().state_dict().items()}
    state = None
    for step in range(6):
        state = run(recipe, until=step + 1, start=state)
        kept = min(0.5, (step + 1) / (step + 10))
        for name, value in state.moving.items():
            expected[name] = kept * expected[name] + (1 - kept) * value if value.is_floating_point() else value
    for name, value in expected.items():
        torch.testing.assert_close(state.model[name], value, atol=1e-6, rtol=1e-5)
    plain = run(PLAIN, until=6)
    assert digest_tensors(state.moving) == plain.digest() != state.digest()  # it changes nothing of the training


def test_growth_reads_the_gradient_at_the_moving_weights():
    state = run(replace(PLAIN, average=0.9), until=6)
    names = {"1.weight": torch.empty(0)}
    averaged = dense_gradient(net(), state, course(replace(PLAIN, average=0.9)), names)["1.weight"]
    assert torch.equal(averaged, dense_gradient(net(), run(PLAIN, until=6), course(), names)["1.weight"])


# --- compiled


@pytest.mark.slow
def test_a_compiled_model_trains_as_the_model_does(monkeypatch):
    calls, compile_ = [], torch.compile

    def remember(model):
        calls.append(model)
        return compile_(model, backend="eager")  # the traced graph, without a compiler behind it

    monkeypatch.setattr(torch, "compile", remember)
    pattern = pattern_of(net())
    compiled = run(replace(PLAIN, compiled=True), until=5, pattern=pattern)
    assert len(calls) == 1
    for name, value in run(PLAIN, until=5, pattern=pattern).model.items():
        torch.testing.assert_close(compiled.model[name], value, atol=1e-5, rtol=1e-4)
    assert_inactive_are_zero(compiled, pattern)


def test_a_model_that_adversaries_look_into_is_not_compiled():
    """A compiled graph does not call the hooks that were put on the model later."""
    with pytest.raises(UsageError, match=r"compiled.*AdversarialRegularisation"):
        Recipe(objective=AdversarialRegularisation(), compiled=True)


# --- who else reads recipes


@pytest.mark.parametrize("name", [*(name for name in NEW if name != "all"), "compiled"])
def test_stacked_and_private_training_refuse_what_they_would_not_do(name):
    recipe = replace(PLAIN, **NEW.get(name, {"compiled": True}))
    assert not recipe.is_stackable and PLAIN.is_stackable and replace(PLAIN, warmup=0.1, decay="linear").is_stackable
    model = nn.Sequential(nn.Linear(10, 3))
    start = TrainingState.capture(0, model)
    with pytest.raises(UsageError, match="without clip_norm, micro_batches, amp, average or compiled"):
        train_many(model, [start, start], [course(recipe), course(recipe)])
    with pytest.raises(UsageError, match=f"does not take {next(iter(NEW.get(name, {'compiled': 1})))} from a recipe"):
        train_privately(model, start, course(recipe), DpSgd(), data_independent=True)


def test_stacked_models_warm_up_as_one_does():
    recipe = replace(PLAIN, warmup=0.3, decay="linear")
    model = nn.Sequential(nn.Linear(10, 3))
    start = TrainingState.capture(0, model)
    (many, _) = train_many(model, [start, start], [course(recipe), course(recipe, seed=1)])
    alone = train(model, start, course(recipe), until=TOTAL)
    torch.testing.assert_close(many.model["0.weight"], alone.model["0.weight"], atol=1e-5, rtol=1e-4)


def test_every_later_field_is_tried_here_or_in_its_own_page():
    tried = {name for options in NEW.values() for name in options} | {"compiled", "warmup", "augment"}
    assert set(LATER) == tried and set(LATER) < {field.name for field in dataclasses.fields(Recipe)}
