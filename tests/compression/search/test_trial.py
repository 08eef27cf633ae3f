"""One trial: the cut keeps every layer's count, all branches see the same batches, and what comes back is small."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from tiny_search import (
    COURSE,
    PLAN,
    RECIPE,
    SPLIT,
    attackers,
    facts,
    mlp,
    proposals,
    tensors_equal,
    trained,
    trial,
    with_batch_norm,
)
from torch import nn

from safecompress.attacks import FailedAttacker, Loss, Target
from safecompress.compression.search import Candidate, candidate_name, keeps_momentum, parse_branches, propose
from safecompress.metrics import stats
from safecompress.seeding import derive
from safecompress.sparsity import Start, Units, find_maskable, view_layers
from safecompress.testing.fakes import FailingAttack
from safecompress.training import TrainingState, TrainingTask, classified_right, predict_logits, train


@pytest.fixture
def job(tmp_path):
    return trial(tmp_path)


def run_all(job):
    parent = trained(job)
    tested_by = attackers(job, parent)
    return parent, [job(parent, tested_by, proposal) for proposal in proposals(job, parent)]


def counts(pattern):
    return {name: int(mask.sum()) for name, mask in pattern.masks.items()}


def test_every_candidate_is_saved_with_the_counts_of_its_parent(job):
    parent, evaluations = run_all(job)
    _, end = PLAN.round_steps(0, COURSE.total_steps)
    assert [e.branch for e in evaluations] == [branch.name for branch in PLAN.branches]
    for evaluation in evaluations:
        candidate = job.store.load_candidate(candidate_name(evaluation.candidate))
        assert (candidate.id, candidate.parent) == (f"r1/{evaluation.branch}", "r1")
        assert (candidate.round, candidate.branch, candidate.state.step) == (0, evaluation.branch, end)
        assert counts(candidate.pattern) == counts(parent.pattern)
        for name, mask in candidate.pattern.masks.items():
            assert not candidate.state.model[name][~mask].any()
            assert torch.equal(candidate.fired[name], parent.fired[name] | mask)
            moved = int((mask & ~parent.pattern.masks[name]).sum())
            assert moved == int((~mask & parent.pattern.masks[name]).sum())
        moved = sum(int((m & ~parent.pattern.masks[n]).sum()) for n, m in candidate.pattern.masks.items())
        assert evaluation.num_moved == moved
        assert (moved == 0) == (evaluation.branch == "keep")


def test_keep_trains_on_as_if_there_had_been_no_round(job):
    """The candidate "keep" is what uninterrupted training of the pattern would have been."""
    _, evaluations = run_all(job)
    keep = job.store.load_candidate(candidate_name(evaluations[-1].candidate))
    parent = trained(trial(job.store.folder, plan=replace(PLAN, recovery=0.0)))
    assert parent.state.step == keep.state.step
    assert tensors_equal(parent.state.model, keep.state.model)
    assert tensors_equal(parent.state.optimizer, keep.state.optimizer)


class Watching(nn.Module):
    """Writes down the rows of every training batch; a copy writes into the same list."""

    def __init__(self, batches):
        super().__init__()
        self.net, self.batches = mlp(), batches

    def forward(self, features):
        if self.training:
            self.batches.append(features.numpy().tobytes())
        return self.net(features)

    def __deepcopy__(self, memo):
        copy = Watching(self.batches)
        copy.load_state_dict(self.state_dict())
        return copy


def test_all_branches_are_tuned_on_the_same_batches(tmp_path):
    job = trial(tmp_path, Watching([]))
    parent = trained(job)
    tested_by, work, seen = attackers(job, parent), proposals(job, parent), []
    for proposal in work:
        job.model.batches.clear()
        job(parent, tested_by, proposal)
        seen.append(list(job.model.batches))
    rewire, end = PLAN.round_steps(0, COURSE.total_steps)
    assert len(seen[0]) == end - rewire > 1
    assert all(batches == seen[0] for batches in seen)
    expected = [COURSE.features[rows] for epoch in range(3) for rows in COURSE.epoch_batches(epoch)][rewire:end]
    assert seen[0] == [batch.numpy().tobytes() for batch in expected]


@pytest.mark.slow
def test_a_trial_changes_neither_the_scratch_model_nor_its_parent(job):
    parent = trained(job)
    tested_by, work = attackers(job, parent), proposals(job, parent)
    before = [TrainingState.capture(0, job.model).digest(), parent.state.digest(), parent.pattern.digest()]
    optimizer = {name: tensor.clone() for name, tensor in parent.state.optimizer.items()}
    fired = {name: tensor.clone() for name, tensor in parent.fired.items()}
    first = [facts(job(parent, tested_by, proposal)) for proposal in work]
    assert [TrainingState.capture(0, job.model).digest(), parent.state.digest(), parent.pattern.digest()] == before
    assert tensors_equal(optimizer, parent.state.optimizer)
    assert tensors_equal(fired, parent.fired)
    backward = [facts(job(parent, tested_by, proposal)) for proposal in work[::-1]]
    assert first == backward[::-1]


def test_an_evaluation_holds_no_weights(job):
    """However many branches there are, one model at a time is in memory."""
    _, evaluations = run_all(job)
    for evaluation in evaluations:
        assert not list(tensors_in(evaluation))


def tensors_in(value):
    if isinstance(value, torch.Tensor | nn.Module | TrainingState):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from tensors_in(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from tensors_in(item)
    elif hasattr(value, "__dict__"):
        yield from tensors_in(vars(value))


def test_figures_are_those_of_the_saved_candidate(job):
    """Measured again by hand from what was saved: accuracy on validation, the attack on the selection pool."""
    parent, evaluations = run_all(job)
    tested_by = attackers(job, parent)[0]
    for evaluation in evaluations:
        candidate = job.store.load_candidate(candidate_name(evaluation.candidate))
        model = mlp()
        candidate.state.restore_(model)
        right = classified_right(model, *SPLIT.part("validation"))
        assert evaluation.accuracy == evaluation.measurements["accuracy"].value == right.mean()
        scores = tested_by.sign * Target(model).signals(SPLIT.audit("select")).scaled_logit_N
        assert np.array_equal(evaluation.results[0].scores, scores)
        is_member = SPLIT.audit("select").is_member
        assert evaluation.measurements["loss.auc"].value == stats.auc(scores, is_member)
        assert np.array_equal(evaluation.results[0].is_member, is_member)
        called = stats.confusion_at(scores, is_member, tested_by.threshold)
        assert evaluation.measurements["loss.advantage"].value == called.advantage


def test_seconds_name_what_was_done(job):
    _, evaluations = run_all(job)
    assert set(evaluations[0].seconds) == {"tune", "forward", "attack.loss", "attack.neural"}
    assert all(value >= 0 for value in evaluations[0].seconds.values())


def test_nothing_of_an_evaluation_prints_scores(job):
    _, evaluations = run_all(job)
    assert "array" not in repr(evaluations)
    assert "tensor" not in repr(job.store.load_candidate(candidate_name(evaluations[0].candidate)))


# --- who simulates


@pytest.mark.slow
def test_one_attacker_of_the_parent_tests_all_or_one_is_made_for_each(tmp_path):
    simulated = []

    class Spy(type(trial(tmp_path))):
        def simulate(self, attack, target, candidate_id):
            simulated.append((attack.name, target.digest, candidate_id))
            return super().simulate(attack, target, candidate_id)

    spy = Spy(**{name: getattr(trial(tmp_path), name) for name in trial(tmp_path).__dataclass_fields__})
    parent = trained(spy)
    tested_by, work = attackers(spy, parent), proposals(spy, parent)
    assert [(name, who) for name, _, who in simulated] == [("loss", "r1"), ("neural", "r1")]
    from_parent = [spy(parent, tested_by, proposal) for proposal in work]
    assert len(simulated) == 2
    refitted = [spy(parent, (), proposal) for proposal in work]
    assert [(name, who) for name, _, who in simulated[2:]] == [
        (name, f"r1/{branch.name}") for branch in PLAN.branches for name in ("loss", "neural")
    ]
    assert len({digest for _, digest, _ in simulated[2:]}) == len(PLAN.branches)
    assert [e.accuracy for e in from_parent] == [e.accuracy for e in refitted]
    neural = [[e.results[1].scores.tobytes() for e in evaluations] for evaluations in (from_parent, refitted)]
    assert neural[0] != neural[1]


def test_a_broken_attack_is_an_error_of_every_candidate(tmp_path):
    job = trial(tmp_path, attacks=(Loss(), FailingAttack()))
    parent, evaluations = run_all(job)
    assert isinstance(attackers(job, parent)[1], FailedAttacker)
    for evaluation in evaluations:
        assert evaluation.errors == {"failing": "RuntimeError: this attack always fails to fit"}
        assert "loss.auc" in evaluation.measurements
        assert evaluation.findings.errors == ("failing: RuntimeError: this attack always fails to fit",)


def test_attackers_never_see_the_pool_that_they_test_on(tmp_path):
    """Other selection rows: the same fitted attackers."""
    job = trial(tmp_path)
    parent = trained(job)
    before = attackers(job, parent)
    other = SPLIT.audit("verdict")
    after = attackers(replace(job, rows=replace(job.rows, select={"membership": other})), parent)
    assert [(a.sign, a.threshold) for a in before] == [(a.sign, a.threshold) for a in after]
    scores = [a[1].fitted.score(Target(job.model), other).tobytes() for a in (before, after)]
    assert scores[0] == scores[1]


# --- a cut that no tuning follows


@pytest.mark.slow
def test_without_recovery_batch_norm_is_estimated_anew(tmp_path):
    plan = replace(PLAN, recovery=0.0)
    job = trial(tmp_path, with_batch_norm(), plan)
    parent = trained(job)
    for proposal in proposals(job, parent):
        evaluation = job(parent, attackers(job, parent), proposal)
        candidate = job.store.load_candidate(candidate_name(evaluation.candidate))
        assert candidate.state.step == parent.state.step
        weights = {name: parent.state.model[name] for name in ("0.bias", "1.weight", "4.bias")}
        assert tensors_equal(weights, {name: candidate.state.model[name] for name in weights})
        rows = derive(0, "batch-norm", "r1").permutation(len(COURSE.labels))
        hidden = COURSE.features[rows] @ candidate.state.model["0.weight"].T + candidate.state.model["0.bias"]
        assert torch.allclose(candidate.state.model["1.running_mean"], hidden.mean(0), atol=1e-5)
        assert torch.allclose(candidate.state.model["1.running_var"], hidden.var(0), atol=1e-5)
        assert not torch.allclose(
            candidate.state.model["1.running_mean"], parent.state.model["1.running_mean"], atol=1e-3
        )


def test_with_recovery_batch_norm_follows_training(tmp_path):
    job = trial(tmp_path, with_batch_norm())
    parent = trained(job)
    keep = job(parent, attackers(job, parent), proposals(job, parent)[-1])
    candidate = job.store.load_candidate(candidate_name(keep.candidate))
    assert candidate.state.model["1.num_batches_tracked"] == candidate.state.step > parent.state.step


def test_without_recovery_dropped_weights_are_zero_and_grown_ones_too(tmp_path):
    job = trial(tmp_path, plan=replace(PLAN, recovery=0.0))
    parent = trained(job)
    evaluation = job(parent, (), proposals(job, parent)[0])
    candidate = job.store.load_candidate(candidate_name(evaluation.candidate))
    for name, mask in candidate.pattern.masks.items():
        both = mask & parent.pattern.masks[name]
        assert torch.equal(candidate.state.model[name][both], parent.state.model[name][both])
        assert not candidate.state.model[name][~both].any()


# --- small things


def test_only_momentum_growth_keeps_momentum():
    assert not keeps_momentum(PLAN)
    assert keeps_momentum(replace(PLAN, branches=parse_branches(["keep", "magnitude+momentum"])))


def test_momentum_is_kept_with_the_candidate(tmp_path):
    plan = replace(PLAN, branches=parse_branches(["magnitude+momentum", "keep"]))
    job = trial(tmp_path, plan=plan)
    parent = trained(job)
    evaluations = [job(parent, (), proposal) for proposal in proposals(job, parent)]
    for evaluation in evaluations:
        momentum = job.store.load_candidate(candidate_name(evaluation.candidate)).state.momentum
        assert momentum.keys() == parent.pattern.masks.keys()
        assert not tensors_equal(momentum, parent.state.momentum)
        assert all(torch.count_nonzero(average) > average.numel() / 2 for average in momentum.values())


def test_a_candidates_name_is_a_file_of_its_own_folder():
    assert candidate_name("r1/magnitude+random") == "candidates/r1_magnitude+random"
    assert candidate_name("r1/../../x") == "candidates/r1_.._.._x"


def test_the_courses_of_the_tests_are_what_they_say():
    assert TrainingTask(*SPLIT.part("train"), RECIPE, 0).total_steps == 18
    assert PLAN.round_steps(0, 18) == (3, 6)
    assert predict_logits(mlp(), COURSE.features).shape == (60, 3)


@pytest.mark.parametrize("recovery", [0.5, 0.0])
def test_recruited_units_begin_with_their_values_and_the_others_go_on(recovery, tmp_path):
    """Tuned or not: what is tested has the values of the rewiring, trained for as many steps as the round has left."""
    plan = replace(PLAN, shape=Units(), branches=parse_branches(["magnitude+random", "keep"]), recovery=recovery)
    job = trial(tmp_path, with_batch_norm(), plan=plan)
    weights = find_maskable(job.model)
    fold = plan.shape.fit(job.model, (6,), weights)
    pattern = fold.initial(weights, 0.5, allocation=plan.allocation, start=Start.SCRATCH, seed=0)
    until, end = plan.round_steps(0, COURSE.total_steps)
    state = train(job.model, TrainingState.capture(0, job.model), COURSE, until=until, pattern=pattern)
    parent = Candidate("r1", "start", 0, "trained", pattern, state, dict(pattern.masks))
    layers = view_layers(state.model, pattern.masks)
    moving, keep = propose(layers, plan.branches, 0.5, stream=partial(derive, 0, "rewire", 0), grouping=fold)
    assert moving.rewiring.num_moved and not keep.rewiring.num_moved and not keep.rewiring.values
    filled = state.filled(moving.rewiring.values)
    (rows,) = (moving.rewiring.values[name].places for name in ("0.bias",))
    assert len(rows) and not filled.model["0.bias"][rows].any() and state.model["0.bias"][rows].any()
    for name, fill in moving.rewiring.values.items():
        assert np.array_equal(filled.model[name].reshape(-1)[fill.places].numpy(), fill.numbers)
        for key, tensor in filled.optimizer.items():
            if key.startswith(f"{name}/") and tensor.shape == filled.model[name].shape:
                assert not tensor.reshape(-1)[fill.places].any() and tensor.any()
    tuned = job.tune(parent, moving)
    after = moving.rewiring.applied_to(pattern)
    assert tuned.pattern.digest() == after.digest() != pattern.digest()
    by_hand = train(job.model, filled, COURSE, until=end, pattern=after)
    names = ("0.weight", "0.bias", "4.weight") if recovery == 0 else list(by_hand.model)
    assert all(torch.equal(tuned.state.model[name], by_hand.model[name]) for name in names)
    assert not tensors_equal(state.filled(moving.rewiring.values).model, state.model)
