"""Augmentation: what each does to an image, whose draws they are, and that nothing but training ever sees it."""

import importlib
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import stats
from torch import nn

import safecompress as sc
from safecompress.attacks import controls
from safecompress.data import AuditData, Dataset, digits
from safecompress.digests import digest_tensors
from safecompress.errors import UsageError
from safecompress.models import Resnet
from safecompress.seeding import seeded
from safecompress.sparsity import AllocateErk, Start, find_maskable, initial_pattern
from safecompress.training import (
    AUGMENTATIONS,
    Recipe,
    TrainingState,
    TrainingTask,
    dense_gradient,
    predict_logits,
    train,
    train_many,
)
from safecompress.training.augment import Crop, Cutout, Flip, augmented
from safecompress.training.dp_sgd import DpSgd, train_privately
from safecompress.training.objectives.distill import Distillation
from safecompress.training.objectives.mixing import Mixup
from whole_runs import SIZES

ALL = ("flip", {"name": "crop", "padding": 2}, {"name": "cutout", "size": 3})
with seeded(0, "images"):
    IMAGES = torch.randn(30, 3, 8, 8)
    LABELS = torch.randint(3, (30,))


def lots(seed=0):
    return torch.Generator().manual_seed(seed)


# --- what each does


def test_flip_mirrors_whole_rows_with_its_probability():
    images = torch.arange(400 * 2 * 3 * 5.0).reshape(400, 2, 3, 5)
    copy = images.clone()
    made = Flip()(images, lots())
    is_flipped = (made == images.flip(3)).flatten(1).all(1)
    is_kept = (made == images).flatten(1).all(1)
    assert torch.equal(is_flipped, ~is_kept) and torch.equal(images, copy)
    assert stats.binomtest(int(is_flipped.sum()), 400).pvalue > 0.001
    assert torch.equal(Flip(1)(images, lots()), images.flip(3)) and torch.equal(Flip(0)(images, lots()), images)


def test_crop_is_a_window_of_the_padded_image_and_every_shift_comes_as_often():
    images = torch.arange(1.0, 1 + 900 * 2 * 4 * 5).reshape(900, 2, 4, 5)
    made = Crop(1)(images, lots())
    padded = torch.nn.functional.pad(images, (1, 1, 1, 1))
    counts = np.zeros((3, 3))
    for row in range(900):
        fits = [
            (y, x) for y in range(3) for x in range(3) if torch.equal(made[row], padded[row, :, y : y + 4, x : x + 5])
        ]
        assert len(fits) == 1
        counts[fits[0]] += 1
    assert stats.chisquare(counts.ravel()).pvalue > 0.001


def test_cutout_clears_a_square_with_its_middle_anywhere():
    images = torch.ones(600, 2, 6, 7)
    made = Cutout(3)(images, lots())
    middles = np.zeros((6, 7))
    for row in made:
        assert torch.equal(row[0], row[1])
        rows, columns = (row[0] == 0).any(1).nonzero().flatten(), (row[0] == 0).any(0).nonzero().flatten()
        assert int((row[0] == 0).sum()) == len(rows) * len(columns) and len(rows) <= 3 and len(columns) <= 3
        ends = [(found[0] + 1 if found[0] or len(found) == 3 else found[-1] - 1) for found in (rows, columns)]
        middles[int(ends[0]), int(ends[1])] += 1
    assert (middles > 0).all() and stats.chisquare(middles.ravel()).pvalue > 0.001
    assert torch.equal(Cutout(40)(images, lots()), torch.zeros_like(images))


def test_an_even_square_has_its_size():
    cut = Cutout(4)(torch.ones(50, 1, 20, 20), lots()) == 0
    assert cut.flatten(1).sum(1).max() == 16


def test_every_row_and_every_step_has_draws_of_its_own():
    one_image = IMAGES[:1].expand(12, -1, -1, -1)
    for name in AUGMENTATIONS.builtins:
        made = augmented(one_image, [AUGMENTATIONS.make(name)], 0, 5)
        assert len(torch.unique(made, dim=0)) > 1
        again, later, other = (
            augmented(one_image, [AUGMENTATIONS.make(name)], *key) for key in ((0, 5), (0, 6), (1, 5))
        )
        assert torch.equal(made, again) and not torch.equal(made, later) and not torch.equal(made, other)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_the_layout_in_memory_decides_nothing(layout):
    made = augmented(IMAGES.contiguous(memory_format=layout), Recipe(augment=ALL).augmentations, 3, 4)
    assert torch.equal(made, augmented(IMAGES, Recipe(augment=ALL).augmentations, 3, 4))


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ({"name": "flip", "probability": 1.5}, r"Flip: probability .*\[0, 1\], got 1.5"),
        ({"name": "crop", "padding": 0}, "Crop: padding .* 1, got 0"),
        ({"name": "crop", "padding": 2.5}, "Crop: padding .* 1, got 2.5"),
        ({"name": "cutout", "size": True}, "Cutout: size .* 1, got True"),
        ("flop", "'flop'.*'flip'[?] Allowed: crop, cutout, flip"),
        ({"name": "crop", "pading": 1}, "augmentation 'crop' does not"),
    ],
)
def test_what_no_augmentation_is_is_refused(choice, message):
    with pytest.raises(UsageError, match=message):
        Recipe(augment=[choice])


def test_a_list_is_asked_for():
    with pytest.raises(UsageError, match=r"'flip'. Write \['flip'\]"):
        Recipe(augment="flip")


@pytest.mark.parametrize(
    ("features", "shape"),
    [
        (torch.randn(5, 10), r"float32 of shape \(10,\)"),
        (torch.ones(5, 12, dtype=torch.int32), r"int32 of shape \(12,\)"),
        (torch.ones(5, 3, 8, 8, dtype=torch.uint8), r"uint8 of shape \(3, 8, 8\)"),
    ],
)
def test_rows_that_are_no_images_are_refused(features, shape):
    with pytest.raises(UsageError, match=f"{shape}, not .channels, height, width. .* Take augment out of .recipe."):
        TrainingTask(features, LABELS[:5], Recipe(augment=ALL), 0)


def test_names_tables_and_objects_are_one_and_part_of_the_identity():
    named = Recipe(augment=["flip", {"name": "crop", "padding": 2}])
    assert named == Recipe(augment=(Flip(), Crop(2))) and hash(named) == hash(Recipe(augment=(Flip(), Crop(2))))
    assert named.digest() == Recipe(augment=(Flip(), Crop(2))).digest()
    digests = {Recipe(augment=a).digest() for a in ((), (Flip(),), (Flip(), Crop()), (Crop(), Flip()), (Flip(0.4),))}
    assert len(digests) == 5
    assert repr(named).endswith("objective=CrossEntropy(), augment=(Flip(probability=0.5), Crop(padding=2)))")


# --- in training


class Recording(nn.Module):
    """Keeps a copy of every batch that it is fed, by mode; drops by lot, so that draws from elsewhere would show."""

    fed: list[tuple[bool, torch.Tensor]]

    def __init__(self, channels=3, side=8, classes=3, width=16, dropout=0.2):
        super().__init__()
        self.body = nn.Sequential(
            nn.Flatten(), nn.Linear(channels * side * side, width), nn.ReLU(), nn.Dropout(dropout)
        )
        self.head = nn.Linear(width, classes)
        self.fed = []

    def __deepcopy__(self, memo):
        copied = type(self).__new__(type(self))
        memo[id(self)] = copied
        nn.Module.__init__(copied)
        copied.body, copied.head = (nn.Sequential(*self.body), self.head)
        copied.load_state_dict(self.state_dict())
        return copied

    def forward(self, x):
        self.fed.append((self.training, x.detach().clone()))
        return self.head(self.body(x))


def recording(seed=0, **sizes):
    with seeded(seed, "net"):
        return Recording(**sizes)


def conv_net(seed=0):
    with seeded(seed, "net"):
        return Resnet((3, 8, 8), 3, blocks=(1, 1), widths=(8, 8))


def course(objective=None, seed=0, **options):
    given = {} if objective is None else {"objective": objective}
    recipe = Recipe(epochs=4, batch_size=10, learning_rate=0.05, augment=ALL, **given)
    return TrainingTask(IMAGES, LABELS, recipe, seed, **options)


def pattern_of(model):
    return initial_pattern(find_maskable(model), 0.3, allocation=AllocateErk(), start=Start.SCRATCH, seed=0)


@pytest.mark.slow
@pytest.mark.parametrize("objective", [None, Mixup()], ids=["plain", "mixup"])
def test_any_split_into_segments_ends_in_the_same_bits(objective):
    pattern, ends = pattern_of(conv_net()), []
    for cuts in ([], [1, 5], [7]):
        state = TrainingState.capture(0, conv_net())
        for index, until in enumerate([*cuts, 12]):
            torch.manual_seed(index)
            state = train(conv_net(index), state, course(objective), until=until, pattern=pattern, keep_momentum=True)
        ends.append(digest_tensors(state.to_tensors()))
    assert len(set(ends)) == 1
    for name, mask in pattern.masks.items():
        assert torch.equal(state.model[name][~mask], torch.zeros(int((~mask).sum())))
        assert not torch.signbit(state.model[name][~mask]).any()


def test_training_feeds_the_variants_of_each_step_and_dropout_draws_as_without():
    model, ours = recording(), course()
    state = train(model, TrainingState.capture(0, model), ours, until=5)
    rows = [rows for epoch in (0, 1) for rows in ours.epoch_batches(epoch)]
    for step, (is_training, fed) in enumerate(model.fed):
        assert is_training
        assert torch.equal(fed, augmented(IMAGES[rows[step]], ours.recipe.augmentations, 0, step))
        assert not torch.equal(fed, IMAGES[rows[step]])
    model.fed.clear()
    dense_gradient(model, state, ours, {"head.weight": torch.empty(0)})
    train(model, state, ours, until=6)
    assert torch.equal(model.fed[0][1], model.fed[1][1])  # growth reads the gradient of the batch that comes next


def test_stacked_models_are_augmented_each_by_its_own_seed():
    courses = [course(seed=seed) for seed in range(2)]
    model = nn.Sequential(nn.Flatten(), nn.Linear(192, 8), nn.ReLU(), nn.Linear(8, 3))
    states = [TrainingState.capture(0, model)] * 2
    many = train_many(model, states, courses)
    for state, one in zip(many, courses, strict=True):
        alone = train(model, states[0], one, until=12)
        plain = train(
            model,
            states[0],
            TrainingTask(IMAGES, LABELS, Recipe(epochs=4, batch_size=10, learning_rate=0.05), one.seed),
            until=12,
        )
        for name, value in alone.model.items():
            torch.testing.assert_close(state.model[name], value, rtol=1e-4, atol=1e-5)
        assert not torch.allclose(state.model["1.weight"], plain.model["1.weight"], atol=1e-3)


def test_a_teachers_logits_stay_those_of_the_row():
    teacher = torch.randn(30, 3)
    ours, batches = course(Distillation(), teacher=teacher), []

    class Watching(Distillation):
        def __call__(self, logits_BC, batch):
            batches.append(batch)
            return super().__call__(logits_BC, batch)

    train(recording(), TrainingState.capture(0, recording()), ours.towards(Watching()), until=3)
    for batch, rows in zip(batches, ours.epoch_batches(0), strict=True):
        assert torch.equal(batch.teacher_BC, teacher[rows]) and torch.equal(batch.labels_B, LABELS[rows])


def test_private_training_augments_each_row_by_draws_of_its_own():
    pytest.importorskip("opacus")
    model = recording()
    one_image = TrainingTask(IMAGES[:1].expand(30, -1, -1, -1), LABELS, course().recipe, 0)
    quiet = DpSgd(epsilon=None, noise_multiplier=1.0, accountant="rdp")
    train_privately(model, TrainingState.capture(0, model), one_image, quiet, data_independent=True)
    assert len(torch.unique(model.fed[0][1], dim=0)) > len(model.fed[0][1]) / 2


# --- and nowhere else


def test_signals_of_an_attack_are_the_same_whatever_the_recipe_augments():
    """The same weights, asked after trainings with and without augmentation were told of."""
    weights = train(conv_net(), TrainingState.capture(0, conv_net()), course(), until=12)
    pool = AuditData(IMAGES, LABELS, np.arange(30) < 15)
    signals = []
    for recipe in (course().recipe, Recipe(epochs=4, batch_size=10)):
        model = conv_net(3)
        own = TrainingTask(IMAGES, LABELS, recipe, 0)
        train(model, weights, own, until=weights.step)  # a loop that has just worked with this recipe
        model.eval()
        signals.append(sc.attacks.Target(model).signals(pool).logits_NC)
    np.testing.assert_array_equal(signals[0], signals[1])
    conv = conv_net()
    weights.restore_(conv)
    np.testing.assert_allclose(signals[0], predict_logits(conv, IMAGES).numpy(), atol=1e-6)


@pytest.mark.slow
def test_in_a_whole_run_only_training_sees_what_is_not_a_row_of_the_data(monkeypatch):
    """Everything that is asked in evaluation mode (attacks, accuracy, controls) is a row of the data as it is."""
    by_mode = {True: [], False: []}

    def remember(self, x):
        if self.training and len(by_mode[True]) == 10:
            by_mode[False].clear()  # before training a probe of other rows shows what its outputs are
        if not self.training or len(by_mode[True]) < 20:  # an attack's control trains later, by a recipe of its own
            by_mode[self.training].append(x.detach().reshape(len(x), -1).clone())
        return self.head(self.body(x))

    monkeypatch.setattr(Recording, "forward", remember)
    monkeypatch.setattr(controls, "RECIPE", replace(controls.RECIPE, learning_rate=0.02))  # overfits in fewer epochs
    plain = digits()
    images = Dataset.from_arrays(plain.features.reshape(-1, 1, 8, 8).numpy(), plain.labels.numpy(), name="images")
    split = sc.make_split(images, sc.SplitSizes(**SIZES), seed=0)
    spec = sc.SafetySpec(
        attacks=["gap", "modified_entropy"],
        requirements=[sc.at_most(f"{name}.auc", 0.9) for name in ("gap", "modified_entropy")],
        access="scores",
    )
    recipe = sc.Recipe(epochs=2, batch_size=64, learning_rate=0.05, augment=["flip", {"name": "crop", "padding": 1}])
    plan = sc.Plan(rounds=1, density=0.3, branches=("magnitude+gradient", "keep"))
    scales = importlib.import_module("safecompress.certify.health.knows_members")
    monkeypatch.setattr(scales, "compare_scales", lambda *_: None)  # which asks about other rows
    sc.compress(recording(channels=1, classes=10, width=128, dropout=0.0), split, spec=spec, recipe=recipe, plan=plan)
    known = {row.numpy().tobytes() for row in images.features.reshape(len(images.features), -1)}

    def share_known(batches):
        rows = [row.numpy().tobytes() for batch in batches for row in batch]
        return np.mean([row in known or not any(row) for row in rows])

    assert len(by_mode[False]) > 20 and share_known(by_mode[False]) == 1.0
    assert len(by_mode[True]) == 20 and share_known(by_mode[True]) < 0.5
