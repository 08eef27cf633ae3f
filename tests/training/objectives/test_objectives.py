"""Every objective by name: finite wherever logits are, right gradients, teaching refusals, resumable, and it does to a
net that learns noise by heart what its paper says."""

import functools
import math

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from safecompress.errors import UsageError
from safecompress.metrics.stats.metrics import auc
from safecompress.models import Mlp
from safecompress.seeding import seeded
from safecompress.training import (
    OBJECTIVES,
    Batch,
    Recipe,
    TrainingState,
    TrainingTask,
    predict_logits,
    train,
    train_many,
)

NAMES = [name for name, factory in OBJECTIVES.builtins.items() if not factory.has_opponent]
MIXED = ("mixup",)
CLASSES = 3


def batch_of(labels, epoch=0, seed=0):
    """A batch as a training brings it, with a teacher, whatever the objective reads of it."""
    with seeded(seed, "batch"):
        features, teacher = torch.randn(len(labels), 4), 3 * torch.randn(len(labels), CLASSES)
    return Batch(features, torch.as_tensor(labels), epoch, 0.5, teacher)


def logits_for(labels, size, is_right):
    """Logits +size for one class and -size for the others: for the label, or for the class after it."""
    chosen = (torch.as_tensor(labels) + (0 if is_right else 1)) % CLASSES
    return torch.where(torch.nn.functional.one_hot(chosen, CLASSES).bool(), float(size), -float(size))


# --- what holds for all


@pytest.mark.parametrize("size", [0.0, 1.0, 30.0, 1e4])
@pytest.mark.parametrize("is_right", [True, False], ids=["no errors", "all wrong"])
@pytest.mark.parametrize("labels", [[0, 1, 2, 2, 1], [2]], ids=["five rows", "one row"])
@pytest.mark.parametrize("name", NAMES)
def test_loss_and_gradient_are_finite(name, labels, is_right, size):
    objective = OBJECTIVES.make(name)
    for epoch in (0, 1):
        logits = logits_for(labels, size, is_right).requires_grad_()
        torch.manual_seed(0)
        loss = objective(logits, objective.mix(batch_of(labels, epoch)))
        loss.backward()
        assert loss.shape == () and math.isfinite(loss.item())
        assert torch.isfinite(logits.grad).all()


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 2), *[st.floats(-1e4, 1e4, width=32)] * 3), min_size=1, max_size=6),
    st.integers(0, 1),
)
@example([(0, 1e4, 1e4, 1e4)], 1)
def test_finite_for_any_logits(name, rows, epoch):
    objective = OBJECTIVES.make(name)
    labels, logits = [row[0] for row in rows], torch.tensor([row[1:] for row in rows]).requires_grad_()
    torch.manual_seed(0)
    loss = objective(logits, objective.mix(batch_of(labels, epoch)))
    loss.backward()
    assert math.isfinite(loss.item()) and torch.isfinite(logits.grad).all()


def prepared(name, epoch=0, rows=6):
    """An objective, float64 logits with right and wrong rows, and the batch as the model sees it."""
    objective = OBJECTIVES.make(name)
    with seeded(3, "logits"):
        logits = 2 * torch.randn(rows, CLASSES, dtype=torch.float64)
        batch = objective.mix(batch_of([0, 1, 2, 2, 1, 0][:rows], epoch))
    wrong = (logits.argmax(1) != batch.labels_B).sum()
    assert 0 < wrong < rows
    return objective, logits, batch


@pytest.mark.parametrize("epoch", [0, 1])
@pytest.mark.parametrize("name", NAMES)
def test_gradients_are_those_of_the_loss(name, epoch):
    """With its default target the relaxed loss of these rows is above the target; test_relax has what is under it."""
    objective, logits, batch = prepared(name, epoch)
    assert torch.nn.functional.cross_entropy(logits, batch.labels_B) > 1
    assert torch.autograd.gradcheck(lambda z: objective(z, batch), logits.requires_grad_())


@pytest.mark.parametrize("name", NAMES)
def test_only_differences_of_logits_matter_and_no_order_of_rows(name):
    objective, logits, batch = prepared(name)
    loss = objective(logits, batch)
    shifted = objective(logits + torch.arange(6, dtype=torch.float64).unsqueeze(1), batch)
    assert shifted == pytest.approx(float(loss), abs=1e-12)
    order = [3, 1, 5, 0, 2, 4]
    partner = None if batch.partner_B is None else batch.partner_B[order]
    turned = Batch(
        batch.features[order], batch.labels_B[order], 0, 0.5, batch.teacher_BC[order], partner, share=batch.share
    )
    assert objective(logits[order], turned) == pytest.approx(float(loss), abs=1e-12)


@pytest.mark.parametrize("name", [name for name in NAMES if name not in MIXED])
def test_the_others_mix_nothing(name):
    batch = batch_of([0, 1])
    assert OBJECTIVES.make(name).mix(batch) is batch


@pytest.mark.parametrize("name", NAMES)
def test_the_same_name_makes_equal_values_and_other_options_others(name):
    assert OBJECTIVES.make(name) == OBJECTIVES.make(name)
    assert hash(OBJECTIVES.make(name)) == hash(OBJECTIVES.make(name))
    assert repr(OBJECTIVES.make(name)) == repr(OBJECTIVES.make(name))


def test_recipes_tell_all_objectives_and_their_options_apart():
    """A recipe's digest is of the objective's repr."""
    made = [OBJECTIVES.make(name) for name in NAMES]
    made += [OBJECTIVES.make({"name": name, option: 0.33}) for name, option in OPTIONS]
    assert len({Recipe(objective=objective).digest() for objective in made}) == len(NAMES) + len(OPTIONS)


OPTIONS = {
    ("label_smoothing", "amount"): (-0.1, 1.0, "plain cross entropy"),
    ("confidence_penalty", "weight"): (-0.1, math.inf, "surer"),
    ("thresholded_entropy", "weight"): (-1, math.nan, "surer"),
    ("thresholded_entropy", "threshold"): (-0.5, math.inf, "log C"),
    ("error_entropy", "weight"): (-0.08, math.nan, "surer"),
    ("error_uniform", "weight"): (-0.1, math.inf, "surer"),
    ("relax_loss", "target"): (-1.0, math.inf, "log C"),
    ("high_entropy_labels", "share"): (0.0, 1.0, "labels would say nothing"),
    ("high_entropy_labels", "entropy_weight"): (-0.01, math.nan, "surer"),
    ("mixup", "alpha"): (0.0, math.inf, "cross_entropy"),
    ("distillation", "temperature"): (0.0, 1e6, "softer"),
    ("distillation", "weight"): (-0.1, 1.1, "teacher alone"),
}


@pytest.mark.parametrize("name, option", OPTIONS)
def test_bad_options_are_refused_with_what_is_allowed_and_why(name, option):
    low, high, advice = OPTIONS[name, option]
    for value in (low, high, "much", True):
        with pytest.raises(UsageError) as refused:
            OBJECTIVES.make({"name": name, option: value})
        text = str(refused.value)
        assert text.startswith(f"{OBJECTIVES.builtins[name].__name__}: {option} must be a finite number")
        assert f"got {value!r}" in text and advice in text


# --- in training


def net(hidden=(64, 32), features=20, seed=0):
    with seeded(seed, "net"):
        return Mlp((features,), CLASSES, hidden=hidden)


@functools.cache
def noise(features=20, seed=0):
    """60 members and 60 others: features without a meaning, labels by lot."""
    with seeded(seed, "noise"):
        return torch.randn(120, features), torch.randint(0, CLASSES, (120,)), torch.randn(60, CLASSES)


def course(objective, *, epochs, features=20, labels=None, seed=0):
    x, y, teacher = noise(features)
    recipe = Recipe(
        epochs=epochs, batch_size=30, learning_rate=0.1, decay="constant", weight_decay=0, objective=objective
    )
    return TrainingTask(x[:60], y[:60] if labels is None else labels, recipe, seed, teacher=teacher)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_run_resumed_at_step_ten_ends_in_the_same_bits(name):
    """Step ten begins an odd epoch, and what a step draws by lot does not depend on the steps before."""
    taught = course(OBJECTIVES.make(name), epochs=10)
    start = TrainingState.capture(0, net())
    whole = train(net(), start, taught, until=20)
    torch.manual_seed(99)
    half = train(net(seed=1), start, taught, until=10)
    assert half.digest() != whole.digest()
    assert train(net(seed=2), half, taught, until=20).digest() == whole.digest()


@pytest.mark.slow
def test_no_two_objectives_train_to_the_same_weights():
    """The threshold is set high: by default no row is that sure so early, and the hinge is cross entropy to the bit."""
    made = {name: OBJECTIVES.make(name) for name in NAMES}
    made["thresholded_entropy"] = OBJECTIVES.make({"name": "thresholded_entropy", "threshold": 1.09})
    start = TrainingState.capture(0, net())
    digests = {train(net(), start, course(one, epochs=10), until=20).digest() for one in made.values()}
    assert len(digests) == len(NAMES)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_models_trained_at_once_end_where_models_trained_alone_do(name):
    courses = [course(OBJECTIVES.make(name), epochs=12, seed=seed) for seed in range(3)]
    states = [TrainingState.capture(0, net(seed=seed)) for seed in range(3)]
    alone = [train(net(), state, one, until=24) for state, one in zip(states, courses, strict=True)]
    together = train_many(net(), states, courses, until=24)
    for a, b, before in zip(together, alone, states, strict=True):
        assert max(float((a.model[key] - b.model[key]).abs().max()) for key in a.model) < 1e-5
        assert max(float((a.model[key] - before.model[key]).abs().max()) for key in a.model) > 0.01


# --- what each is for: nets that learn noise by heart


class Learnt:
    """What a trained net says of members and others: probabilities, entropy in nats, loss."""

    def __init__(self, objective, *, hidden=(64, 32), features=20, epochs=80, labels=None):
        model, (x, y, _) = net(hidden, features), noise(features)
        taught = course(objective, epochs=epochs, features=features, labels=labels)
        state = train(model, TrainingState.capture(0, model), taught, until=taught.total_steps)
        state.restore_(model)
        p = predict_logits(model, x).double().softmax(1).numpy()
        labels = y.numpy()
        self.state, self.p_NC = state, p
        self.is_member_N, self.is_right_N = np.arange(120) < 60, p.argmax(1) == labels
        self.truth_N = p[np.arange(120), labels]
        self.loss_N, self.entropy_N = -np.log(self.truth_N), -(p * np.log(p)).sum(1)

    @property
    def auc(self):
        """Of the attack by loss."""
        return auc(-self.loss_N, self.is_member_N)

    @property
    def loss(self):
        return self.loss_N[self.is_member_N].mean()

    @property
    def entropy(self):
        return self.entropy_N[self.is_member_N].mean()

    @property
    def gap(self):
        """By how much the loss of others exceeds that of members."""
        return self.loss_N[~self.is_member_N].mean() - self.loss


@functools.cache
def learnt(name, **options):
    return Learnt(OBJECTIVES.make({"name": name, **options}))


def test_cross_entropy_learns_noise_by_heart():
    """What the others are compared with."""
    plain = learnt("cross_entropy")
    assert plain.loss < 0.01 and plain.entropy < 0.02 and plain.auc > 0.85 and plain.gap > 3


def test_label_smoothing_holds_members_at_the_smoothed_label():
    """Szegedy et al.: the largest logit does not run away from the others."""
    np.testing.assert_allclose(learnt("label_smoothing").truth_N[:60], 0.9 + 0.1 / 3, atol=0.01)
    assert learnt("label_smoothing").gap < learnt("cross_entropy").gap / 2


@pytest.mark.slow
def test_confidence_penalty_raises_the_members_entropy():
    """Pereyra et al.; the more, the more it weighs."""
    levels = [learnt("cross_entropy"), learnt("confidence_penalty"), learnt("confidence_penalty", weight=0.5)]
    assert levels[0].entropy < levels[1].entropy / 1.5 and levels[1].entropy < 0.1 < 0.5 < levels[2].entropy
    assert levels[0].gap > levels[1].gap > 2 * levels[2].gap


@pytest.mark.slow
def test_thresholded_entropy_raises_it_to_the_threshold_and_not_much_further():
    """Rows come down to the threshold by the slow end of cross entropy; a penalty of that weight goes on to log C."""
    for threshold in (0.3, 0.5):
        entropy = learnt("thresholded_entropy", weight=2.0, threshold=threshold).entropy_N[:60]
        assert np.median(entropy) == pytest.approx(threshold, abs=0.1) and entropy.min() > threshold - 0.15
    assert learnt("confidence_penalty", weight=2.0).entropy > 0.9


@pytest.mark.parametrize("name", ["error_entropy", "error_uniform"])
def test_terms_on_errors_make_the_model_unsure_where_it_errs(name):
    """A net too small to learn all of it by heart: of rows it gets wrong it is less sure, by the right sign."""
    small = {"hidden": (6,), "features": 4, "epochs": 40}
    plain = Learnt(OBJECTIVES.make("cross_entropy"), **small)
    unsure = Learnt(OBJECTIVES.make({"name": name, "weight": 0.5}), **small)
    entropies = [one.entropy_N[:60][~one.is_right_N[:60]] for one in (plain, unsure)]
    assert min(map(len, entropies)) >= 10
    assert entropies[1].mean() > entropies[0].mean() + 0.03


def test_terms_on_errors_leave_what_is_learnt_by_heart_alone():
    """Without errors among the members they add nothing: no defence of a model that fits all of its rows."""
    assert learnt("error_entropy").loss < 0.01 and learnt("error_entropy").auc > 0.85


@pytest.mark.slow
def test_relax_loss_holds_the_members_loss_at_its_target_and_hides_them():
    """Chen et al.: losses of members come near the target and spread, and the attack by loss gets weaker."""
    plain = learnt("cross_entropy")
    for target in (0.5, 0.9):
        assert learnt("relax_loss", target=target).loss == pytest.approx(target, abs=0.1)
    relaxed = learnt("relax_loss", target=0.9)
    assert relaxed.auc < plain.auc - 0.02 and relaxed.gap < plain.gap / 10
    assert relaxed.loss_N[:60].var() > 5 * plain.loss_N[:60].var()


@pytest.mark.slow
def test_high_entropy_labels_give_members_that_entropy():
    """Chen and Pattabiraman: members and others are predicted with the like low confidence."""
    soft = learnt("high_entropy_labels", entropy_weight=0.0)
    np.testing.assert_allclose(soft.entropy_N[:60], 0.8 * math.log(3), atol=0.03)
    assert learnt("high_entropy_labels").entropy > soft.entropy
    assert soft.gap < learnt("cross_entropy").gap / 5


def test_mixup_keeps_members_from_being_learnt_to_the_end():
    """Zhang et al.: less certain of its own rows, and less wrong about others."""
    plain, mixed = learnt("cross_entropy"), learnt("mixup")
    assert mixed.entropy > 10 * plain.entropy and mixed.gap < 0.7 * plain.gap


@pytest.mark.slow
def test_distillation_from_the_teacher_alone_says_what_the_teacher_says_and_reads_no_label():
    teacher = noise()[2].double().softmax(1).numpy()
    student = learnt("distillation", weight=1.0)
    assert np.abs(student.p_NC[:60] - teacher).mean() < 0.02
    assert np.abs(learnt("distillation", weight=0.0).p_NC[:60] - teacher).mean() > 0.2
    objective = OBJECTIVES.make({"name": "distillation", "weight": 1.0})
    other = Learnt(objective, labels=(noise()[1][:60] + 1) % CLASSES)
    assert other.state.digest() == student.state.digest()
