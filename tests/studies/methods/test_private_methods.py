"""Differential privacy: what is spent and added up, noise that is not used twice, a student without members."""

import math
from dataclasses import replace
from importlib.util import find_spec

import pytest
import torch
from tiny_inputs import FORBIDDEN, RECIPE, Watched, rows_of, same_weights, setting_of, split_of

import safecompress.studies.methods.dp as room
from safecompress.errors import UsageError
from safecompress.export import TaskInfo
from safecompress.studies.methods.dp import DistilledPrivately, PrunedPrivately
from safecompress.training import CrossEntropy
from safecompress.training.dp_sgd import DpSgd, share_out
from safecompress.training.objectives.soft_labels import LabelSmoothing
from said import says

pytestmark = pytest.mark.skipif(find_spec("opacus") is None, reason="Opacus is not installed")


def pruned(**options):
    return PrunedPrivately(accountant="rdp", **options)  # it is the faster one


def distilled(**options):
    return DistilledPrivately(accountant="rdp", **options)


@pytest.fixture
def asked(monkeypatch):
    """What is trained privately; really trained."""
    calls = []
    original = room.train_privately

    def watched(model, state, course, privacy, *, data_independent, pattern=None):
        calls.append((state, course, privacy, data_independent, pattern))
        return original(model, state, course, privacy, data_independent=data_independent, pattern=pattern)

    monkeypatch.setattr(room, "train_privately", watched)
    return calls


@pytest.mark.slow
def test_one_accountant_adds_up_both_phases_of_pruned(asked):
    """N = 60: delta 1/600. Less noise than half of epsilon for each would take; the target is met within 0.01."""
    made = pruned(epsilon=6.0).make(setting_of())
    first, second = (call[2] for call in asked)
    assert first == second and (first.epsilon, first.delta) == (None, 1 / 600)
    from opacus import accountants

    by_hand = accountants.RDPAccountant()
    for _ in range(12):
        by_hand.step(noise_multiplier=first.noise_multiplier, sample_rate=1.0)
    assert made.epsilon == by_hand.get_epsilon(delta=1 / 600) and 5.98 < made.epsilon <= 6.0
    half, _ = share_out(DpSgd(3.0, delta=1 / 1200, accountant="rdp"), asked[0][1], 1)
    assert first.noise_multiplier < half.noise_multiplier
    (note,) = made.notes
    assert says(note, f"epsilon {made.epsilon:.2f} ", "delta 1.7e-03")


def test_the_second_phase_goes_on_from_the_first_under_the_mask_with_other_noise(asked):
    made = pruned().make(setting_of())
    (_, first, _, _, no_pattern), (state, second, _, _, pattern) = asked
    assert no_pattern is None and pattern.num_active == 36
    assert first.seed != second.seed  # noise and sampling come from it
    assert first.total_steps == second.total_steps == 6
    magnitude = {name: weight.abs() for name, weight in state.model.items()}
    assert all(magnitude[name][mask].min() >= magnitude[name][~mask].max() for name, mask in pattern.masks.items())
    assert not same_weights(dict(state.model), dict(made.weights))


def test_the_student_never_sees_a_member(monkeypatch):
    """Members hold NaN once the teacher is trained, and the student comes out the same."""
    method = distilled()
    kept, original = [], room._trained
    monkeypatch.setattr(room, "_trained", lambda *given: kept.append(original(*given)) or kept[-1])
    expected = method.make(setting_of())
    (teacher,) = kept
    monkeypatch.setattr(room, "_trained", lambda *given: teacher)
    made = method.make(setting_of(split_of(*FORBIDDEN, "train")))
    assert same_weights(dict(made.weights), dict(expected.weights)) and made.epsilon == expected.epsilon == teacher[1]


def test_distilled_spends_all_on_the_teacher(asked):
    made = distilled(epsilon=5.0).make(setting_of())
    assert [call[2] for call in asked] == [DpSgd(5.0, max_grad_norm=0.3, accountant="rdp")]
    assert 4.9 < made.epsilon <= 5.0 + 1e-9 and made.model.options["hidden"] == (4,)


def test_private_training_is_kept(asked, tmp_path):
    """Two densities share the first phase; the same density trains nothing again, and knows what was spent."""
    made = [pruned().make(setting_of(density=density, store=tmp_path)) for density in (0.5, 0.25, 0.5)]
    assert len(asked) == 3
    assert same_weights(dict(made[0].weights), dict(made[2].weights)) and made[0].epsilon == made[2].epsilon
    assert set(made[2].weights) == set(setting_of().fresh().state_dict())


@pytest.mark.slow
def test_other_rows_noise_or_epsilon_are_not_taken_for_the_kept(asked, tmp_path):
    pruned().make(setting_of(store=tmp_path))
    pruned(epsilon=7.0).make(setting_of(store=tmp_path))
    pruned().make(setting_of(store=tmp_path, seed=1))
    split = split_of(*FORBIDDEN)
    split.dataset.labels[rows_of(split, "train")[0]] = (split.part("train")[1][0] + 1) % 3
    pruned().make(setting_of(split, store=tmp_path))
    assert len(asked) == 8


@pytest.mark.slow
@pytest.mark.parametrize("transform", ["shift", "scale"])
@pytest.mark.parametrize("method", [pruned(), distilled()], ids=lambda one: type(one).__name__)
def test_scaling_learnt_from_the_rows_voids_the_guarantee(asked, method, transform):
    task = TaskInfo(3, ("0", "1", "2"), (6,), **{transform: torch.ones(6)})
    made = method.make(setting_of(task=task))
    assert says(made.notes[-1], "not a guarantee", "scaling")
    assert [call[3] for call in asked] == [False] * len(asked)
    method.make(setting_of())
    assert asked[-1][3] is True


def test_it_trains_in_large_batches_by_its_own_recipe(asked):
    """60 rows, batches of 2,048: all rows in each of 6 steps. Cross entropy, whatever the setting trains towards."""
    distilled().make(setting_of(recipe=replace(RECIPE, objective=LabelSmoothing())))
    recipe = asked[0][1].recipe
    assert (recipe.epochs, recipe.batch_size, recipe.optimizer, recipe.learning_rate) == (6, 2048, "sgd", 1.0)
    assert recipe.objective == CrossEntropy() and recipe.decay == "constant"


def test_without_opacus_nothing_is_trained(monkeypatch):
    watched = Watched(monkeypatch)
    monkeypatch.setitem(__import__("sys").modules, "opacus", None)
    for method in (pruned(), distilled()):
        with pytest.raises(UsageError, match=r"pip install opacus"):
            method.make(setting_of())
    assert watched.calls == []


@pytest.mark.slow
@pytest.mark.parametrize("method", [PrunedPrivately, DistilledPrivately])
@pytest.mark.parametrize("option", [{"epsilon": 0.0}, {"epsilon": math.nan}, {"max_grad_norm": -1.0}])
def test_bad_options_are_refused(method, option):
    with pytest.raises(UsageError, match="DP-SGD needs"):
        method(**option)
