"""How shadows are trained: on which rows, from which weights, and as the target was."""

import copy
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import dropout

from safecompress.attacks.shadows import ShadowDraw, ShadowModels, ShadowRows
from safecompress.auditing import shadow_training
from safecompress.auditing.shadow_training import (
    GROUP,
    FixedMaskShadowTrainer,
    PipelineShadowTrainer,
    TrainingProvenance,
    shadow_rows,
)
from safecompress.compression.job import Job
from safecompress.compression.search import Plan
from safecompress.data import Dataset, DataSplit, SplitSizes, digits, make_split, row_keys, standardise
from safecompress.digests import digest_tensors
from safecompress.errors import UsageError
from safecompress.export import Artifact, ServedModel, TaskInfo
from safecompress.models import Mlp, ModelSpec
from safecompress.seeding import derive_seed, seeded
from safecompress.sparsity import AllocateErk, SparsityPattern, Start, find_maskable, initial_pattern, rescale_
from safecompress.spec import SafetySpec, at_most
from safecompress.testing.fakes import noise_split
from safecompress.training import Recipe, TrainingState, TrainingTask, predict_logits, train

# --- which rows


NOISE = noise_split(20, other=30, num_features=6, num_classes=3)


def parts_of(split, rows):
    """The parts that the rows of a pool of shadows come from."""
    keys = row_keys(split.dataset)
    owner = {keys[row]: part for part, indices in split.indices.items() if "member_" not in part for row in indices}
    owner |= {keys[row]: part for part in split.indices if part.startswith("non") for row in split.indices[part]}
    pool = Dataset.from_arrays(rows.features, rows.labels, class_names=split.dataset.class_names)
    return [owner[key] for key in row_keys(pool)]


@pytest.mark.parametrize(("pool", "other"), [("select", "verdict"), ("verdict", "select")])
def test_the_rows_of_one_pool_and_never_of_the_other(pool, other):
    found = parts_of(NOISE, shadow_rows(NOISE, pool, 0))
    count = {part: found.count(part) for part in set(found)}
    assert count == {"train": 60, "nonmember_fit": 20, f"nonmember_{pool}": 20, "population": 30}
    assert not {f"nonmember_{other}", "validation", "test"} & set(found)


def test_the_rows_are_raw_and_keep_their_labels():
    pool = shadow_rows(NOISE, "verdict", 0)
    assert torch.equal(pool.features[:60], NOISE.part("train")[0])
    assert torch.equal(pool.labels[60:80], NOISE.part("nonmember_fit")[1])


@pytest.mark.parametrize(("population", "size"), [(0, 60), (30, 60), (5, 60)])
def test_shadows_are_as_large_as_train(population, size):
    indices = dict(NOISE.indices) | {"population": NOISE.indices["population"][:population]}
    pool = shadow_rows(DataSplit(NOISE.dataset, indices), "verdict", 0)
    assert (pool.size, len(pool.labels)) == (size, 100 + population)


@pytest.mark.parametrize(("others", "size"), [(3, 42), (10, 46), (14, 49), (15, 50), (45, 60)])
def test_and_at_most_two_thirds_of_all(others, size):
    """With 60 rows in train and ``others`` beside it."""
    empty = np.empty(0, dtype=np.int64)
    beside = np.concatenate([NOISE.indices[part] for part in ("nonmember_fit", "nonmember_verdict", "population")])
    indices = dict(NOISE.indices) | {"nonmember_fit": empty, "nonmember_verdict": empty, "population": beside[:others]}
    pool = shadow_rows(DataSplit(NOISE.dataset, indices), "verdict", 0)
    assert pool.size == size == min(60, 2 * (60 + others) // 3)


def test_selection_and_verdict_draw_apart():
    draws = [shadow_rows(NOISE, pool, 0).draws(6)[:, :60] for pool in ("select", "verdict")]
    assert not np.array_equal(*draws)
    seeds = {shadow_rows(NOISE, pool, seed).seed for pool in ("select", "verdict") for seed in (0, 1)}
    assert len(seeds) == 4
    assert shadow_rows(NOISE, "verdict", 0).digest() == shadow_rows(NOISE, "verdict", 0).digest()


def test_rows_of_one_person_are_in_together():
    groups = np.arange(NOISE.dataset.num_rows)
    train = NOISE.indices["train"]
    groups[train[1::2]] = groups[train[::2]]
    split = DataSplit(replace(NOISE.dataset, groups=groups), NOISE.indices)
    draws = shadow_rows(split, "verdict", 0).draws(8)[:, :60]
    assert np.array_equal(draws[:, ::2], draws[:, 1::2])
    assert 0 < draws.mean() < 1


# --- into the final pattern


SPEC = ModelSpec("mlp", {"hidden": (8,)}, (6,), 3)
RECIPE = Recipe(epochs=4, batch_size=20, learning_rate=0.05)
LONG = replace(RECIPE, epochs=6, learning_rate=0.1)
TASK = TaskInfo(3, (), (6,), shift=torch.full((6,), 0.3), scale=torch.full((6,), 2.0))
ROWS = shadow_rows(NOISE, "verdict", 0)
TOTAL = RECIPE.total_steps(ROWS.size)


def template():
    with seeded(0, "model"):
        return SPEC.build()


PATTERN = initial_pattern(find_maskable(template()), 0.4, allocation=AllocateErk(), start=Start.SCRATCH, seed=0)


def trainer(spec=SPEC, model=None, **options):
    given = {"recipe": RECIPE, "pattern": PATTERN, "task": TASK} | options
    return FixedMaskShadowTrainer.of(
        template() if model is None else model, spec, given.pop("task"), given.pop("recipe"), **given
    )


def draws_of(rows, count):
    return [ShadowDraw(number, np.flatnonzero(line)) for number, line in enumerate(rows.draws(count))]


def by_hand(number, *, pattern=PATTERN, start=Start.SCRATCH, share=1.0, model=None):
    """One shadow, one step after another."""
    seed, inside = derive_seed(ROWS.seed, "shadow", number), torch.from_numpy(draws_of(ROWS, number + 1)[number].rows)
    x, y = (ROWS.features[inside] - 0.3) / 2.0, ROWS.labels[inside]
    if model is None:
        with seeded(seed, "model"):
            model = SPEC.build()
    if start is Start.DENSE:
        course = TrainingTask(x, y, LONG, seed)
        train(model, TrainingState.capture(0, model), course, until=course.total_steps).restore_(model)
    elif pattern is not None:
        rescale_(model, pattern)
    until = round(share * TOTAL)
    return train(model, TrainingState.capture(0, model), TrainingTask(x, y, RECIPE, seed), until=until, pattern=pattern)


def largest_difference(served, weights):
    assert served.keys() == {f"network.{name}" for name in weights}
    return max(float((served[f"network.{name}"] - weights[name]).abs().max()) for name in weights)


CASES = {
    "final pattern": {},
    "dense": {"pattern": None},
    "cut from dense": {"start": Start.DENSE},
    "half as old": {"share": 0.5},
    "not trained": {"share": 0.0},
}


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_a_shadow_is_trained_as_one_would_by_hand(case):
    """In a group and alone."""
    options = CASES[case]
    made = trainer(**options, dense_recipe=LONG if "start" in options else None)
    draws = draws_of(ROWS, 3)
    group = made(ROWS, draws)
    for number in range(3):
        weights = by_hand(number, **options).model
        assert largest_difference(group[number], weights) < 1e-5
        (alone,) = made(ROWS, draws[number : number + 1])
        assert largest_difference(alone, weights) == 0
    assert len({digest_tensors(weights) for weights in group}) == 3


def test_without_a_dense_recipe_the_dense_model_is_trained_by_the_sparse_one():
    given, assumed = (trainer(start=Start.DENSE, dense_recipe=recipe) for recipe in (RECIPE, None))
    first, second = (digest_tensors(made(ROWS, draws_of(ROWS, 1))[0]) for made in (given, assumed))
    assert first == second


@pytest.mark.parametrize("start", Start)
def test_the_pattern_is_kept_exactly(start):
    for weights in trainer(start=start)(ROWS, draws_of(ROWS, 3)):
        for name, mask in PATTERN.masks.items():
            assert weights[f"network.{name}"][~mask].numpy().tobytes() == bytes(4 * int((~mask).sum()))
            assert (weights[f"network.{name}"][mask] != 0).all()


def test_units_of_unequal_size_are_trained_one_after_another():
    """Then shadows differ in how many rows they have, and share no step."""
    pool = replace(ROWS, units=np.minimum(np.arange(len(ROWS.labels)), 60))
    draws = draws_of(pool, 3)
    assert len({len(draw.rows) for draw in draws}) > 1
    group = trainer()(pool, draws)
    alone = [trainer()(pool, [draw])[0] for draw in draws]
    assert [digest_tensors(weights) for weights in group] == [digest_tensors(weights) for weights in alone]


def test_served_shadows_read_raw_rows_as_the_artifact_does():
    asked = NOISE.audit("verdict")
    shadows = ShadowModels(ROWS, trainer())
    outputs = shadows.outputs(asked, count=2)
    for number in range(2):
        network = trainer().build()
        network.load_state_dict(shadows._load(number))
        state = {name.removeprefix("network."): tensor for name, tensor in network.state_dict().items()}
        artifact = Artifact(state, PATTERN.masks, SPEC, TASK)
        z = predict_logits(ServedModel(artifact.build(), artifact.task), asked.features).double().numpy()
        z_y = z[np.arange(40), asked.labels.numpy()]
        others = np.log(np.exp(z).sum(axis=1) - np.exp(z_y))
        assert outputs.scaled_logit_KQN[number, 0] == pytest.approx(z_y - others, abs=1e-5)
    assert np.array_equal(outputs.is_in_KN[:, 20:], ROWS.draws(2)[:, 80:100])
    members = [int(row) for row in NOISE.indices["member_verdict"]]
    places = [NOISE.indices["train"].tolist().index(row) for row in members]
    assert np.array_equal(outputs.is_in_KN[:, :20], ROWS.draws(2)[:, places])


@pytest.mark.slow
def test_shadows_know_their_own_rows_better():
    made = trainer(pattern=None, recipe=replace(RECIPE, epochs=60))
    outputs = ShadowModels(ROWS, made).outputs(NOISE.audit("verdict"), count=8)
    phi = outputs.scaled_logit_KQN[:, 0]
    assert phi[outputs.is_in_KN].mean() > phi[~outputs.is_in_KN].mean() + 0.3


def test_neither_rows_nor_the_template_are_changed():
    model = template().eval()
    before = digest_tensors(model.state_dict()), ROWS.digest()
    made = trainer(model=model)
    made(ROWS, draws_of(ROWS, 2))
    assert (digest_tensors(model.state_dict()), ROWS.digest()) == before
    assert not model.training
    assert digest_tensors(made.network.template.state_dict()) == before[0]


def test_the_global_generator_neither_matters_nor_moves():
    digests = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        state = torch.random.get_rng_state()
        digests.append([digest_tensors(weights) for weights in trainer()(ROWS, draws_of(ROWS, 2))])
        assert torch.equal(state, torch.random.get_rng_state())
    assert digests[0] == digests[1]


# --- networks of a class of one's own


class Own(nn.Module):
    """Layers that draw their weights, and a parameter that nobody knows how to draw."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(6, 5), nn.Linear(5, 3)
        self.offset = nn.Parameter(torch.full((3,), 0.25))

    def forward(self, features):
        return self.second(torch.relu(self.first(features))) + self.offset


class OwnDropout(Own):
    def forward(self, features):
        return self.second(dropout(torch.relu(self.first(features)), 0.5, self.training)) + self.offset


class OwnNorm(Own):
    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm1d(6)

    def forward(self, features):
        return super().forward(self.norm(features))


def own(kind=Own, seed=0):
    with seeded(seed, "own"):
        return kind()


def fresh_weights(model, seed):
    return trainer(None, model, pattern=None).network.fresh(seed).state_dict()


def test_the_users_own_layers_draw_new_weights_for_every_shadow():
    model = own()
    first, again, other = (fresh_weights(model, seed) for seed in (1, 1, 2))
    assert digest_tensors(first) == digest_tensors(again)
    for name in ("first.weight", "first.bias", "second.weight", "second.bias"):
        values = [weights[name] for weights in (first, other, model.state_dict())]
        assert not any(torch.equal(values[i], values[j]) for i, j in ((0, 1), (0, 2), (1, 2)))
        assert 0.3 < float(values[0].abs().max() / values[2].abs().max()) < 3
    assert torch.equal(first["offset"], model.offset)


def test_running_statistics_start_anew():
    model = own(OwnNorm)
    model.norm.running_mean += 5
    assert fresh_weights(model, 1)["norm.running_mean"].abs().max() == 0


def test_frozen_layers_keep_their_weights_as_the_target_does():
    model = own()
    model.first.requires_grad_(False)
    first, other = (fresh_weights(model, seed) for seed in (1, 2))
    assert torch.equal(first["first.weight"], model.first.weight)
    assert not torch.equal(first["second.weight"], other["second.weight"])
    made = trainer(None, model, pattern=None)
    assert made.group_size == 1
    for weights in made(ROWS, draws_of(ROWS, 2)):
        assert torch.equal(weights["network.first.weight"], model.first.weight)
        assert not torch.equal(weights["network.second.weight"], model.second.weight)


@pytest.mark.parametrize("kind", [Own, OwnDropout, OwnNorm])
def test_networks_of_ones_own_train_as_by_hand(kind):
    """Those that cannot share a step are trained one after another, whatever lies in them."""
    made = trainer(None, own(kind), pattern=None)
    assert made.group_size == (GROUP if kind is Own else 1)
    (weights,) = made(ROWS, draws_of(ROWS, 1))
    start = made.network.fresh(derive_seed(ROWS.seed, "shadow", 0))
    assert largest_difference(weights, by_hand(0, pattern=None, model=start).model) == 0
    network = made.build()
    network.load_state_dict(weights)
    assert torch.isfinite(predict_logits(network, ROWS.features)).all()


@pytest.mark.parametrize(("width", "expected"), [(100, GROUP), (20_000, 1)])
def test_small_nets_are_trained_in_groups_and_large_ones_alone(width, expected):
    spec = ModelSpec("mlp", {"hidden": (width,)}, (6,), 3)
    with seeded(0, "model"):
        assert trainer(spec, spec.build(), pattern=None).group_size == expected


@pytest.mark.parametrize(("width", "is_stacked"), [(100, True), (1_200, False)])
def test_groups_of_all_but_tiny_sparse_nets_are_trained_by_their_active_weights(width, is_stacked, monkeypatch):
    pytest.importorskip("numba")
    monkeypatch.setenv("SAFECOMPRESS_ENGINE", "active")
    stacked = []
    together = shadow_training.train_many
    monkeypatch.setattr(
        shadow_training, "train_many", lambda *given, **options: stacked.append(1) or together(*given, **options)
    )
    spec = ModelSpec("mlp", {"hidden": (width,)}, (6,), 3)
    model = spec.build()
    pattern = initial_pattern(find_maskable(model), 0.1, allocation=AllocateErk(), start=Start.SCRATCH, seed=0)
    trainer(spec, model, pattern=pattern, share=0.2)(ROWS, draws_of(ROWS, 2))
    assert bool(stacked) == is_stacked


def test_the_engine_is_in_the_digest(monkeypatch):
    pytest.importorskip("numba")
    digests = set()
    for engine in ("masked", "active"):
        monkeypatch.setenv("SAFECOMPRESS_ENGINE", engine)
        digests |= {trainer().digest(), JOB.digest(b"key")}
    assert len(digests) == 4


def weights_and_digest(made, number):
    (weights,) = made(ROWS, draws_of(ROWS, number + 1)[number:])
    return digest_tensors(weights), made.digest()


def test_every_process_makes_the_same_shadow(worker_pool):
    made = trainer(None, own(), pattern=None)
    here = [weights_and_digest(made, number) for number in range(2)]
    assert list(worker_pool.map(partial(weights_and_digest, made), range(2))) == here
    assert here[0][0] != here[1][0]


# --- what a kept shadow depends on


def moved():
    masks = {name: mask.clone() for name, mask in PATTERN.masks.items()}
    flat = masks["head.weight"].view(-1)
    flat[int(flat.nonzero()[0])] = False
    return SparsityPattern(masks)


def wide():
    spec = ModelSpec("mlp", {"hidden": (9,)}, (6,), 3)
    with seeded(0, "model"):
        return {"spec": spec, "model": spec.build(), "pattern": None}


DIFFERENT = {
    "recipe": {"recipe": replace(RECIPE, epochs=5)},
    "pattern": {"pattern": moved()},
    "no pattern": {"pattern": None},
    "shift": {"task": replace(TASK, shift=torch.full((6,), 0.4))},
    "scale": {"task": replace(TASK, scale=torch.full((6,), 3.0))},
    "no scale": {"task": replace(TASK, scale=None)},
    "width": wide(),
    "depth": {"spec": ModelSpec("mlp", {"hidden": (8, 8)}, (6,), 3)},
    "network of one's own": {"spec": None},
    "its weights": {"spec": None, "model": Mlp((6,), 3, hidden=(8,))},
    "start": {"start": Start.DENSE},
    "dense recipe": {"start": Start.DENSE, "dense_recipe": LONG},
    "share": {"share": 0.5},
}


def test_whatever_shadows_depend_on_is_in_the_digest():
    digests = {what: trainer(**options).digest() for what, options in DIFFERENT.items()}
    assert len({trainer().digest(), *digests.values()}) == len(digests) + 1
    assert trainer().digest() == trainer().digest()


def test_the_templates_weights_count_only_where_shadows_read_them():
    with seeded(1, "model"):
        other = SPEC.build()
    assert trainer(model=other).digest() == trainer().digest()


def test_modes_are_in_the_reports_words():
    lineage = TrainingProvenance(template(), SPEC, TASK, RECIPE, LONG)
    assert trainer().mode == lineage.trainer(PATTERN, "final pattern").mode == "final pattern only"
    assert trainer(pattern=None).mode == lineage.dense_trainer().mode == "dense"


def test_a_lineage_gives_the_trainers_of_its_models():
    lineage = TrainingProvenance(template(), SPEC, TASK, RECIPE, LONG, Start.DENSE)
    expected = trainer(start=Start.DENSE, dense_recipe=LONG, share=0.5)
    assert lineage.trainer(PATTERN, "final pattern", share=0.5).digest() == expected.digest()
    assert lineage.dense_trainer().digest() == trainer(pattern=None, recipe=LONG).digest()
    with pytest.raises(UsageError, match="Use shadows = 'final pattern'"):
        lineage.trainer(PATTERN, "full pipeline")


def test_the_lineage_of_a_job_is_how_the_job_trains():
    job = replace(JOB, plan=replace(JOB.plan, start=Start.DENSE))
    made = TrainingProvenance.of_job(job)
    own = TrainingProvenance(job.model, job.model_spec, job.task, job.recipe, job.dense_recipe, Start.DENSE)
    pattern = initial_pattern(find_maskable(job.model), 0.3, allocation=AllocateErk(), start=Start.SCRATCH, seed=0)
    assert made.digest() == own.digest()
    assert made.dense_trainer().digest() == own.dense_trainer().digest()
    trainers = [lineage.trainer(pattern, "final pattern").digest() for lineage in (made, own)]
    assert trainers[0] == trainers[1]
    assert made.trainer(pattern, "full pipeline").mode == "full pipeline"


@pytest.mark.parametrize(
    "changes", [{"recipe": LONG}, {"dense_recipe": RECIPE}, {"start": Start.DENSE}, {"model_spec": None}]
)
def test_the_digest_of_a_lineage_knows(changes):
    lineage = TrainingProvenance(template(), SPEC, TASK, RECIPE, LONG)
    assert replace(lineage, **changes).digest() != lineage.digest()


# --- through the full pipeline


POOLS = {f"{side}_{pool}": 30 for side in ("member", "nonmember") for pool in ("fit", "select", "verdict")}
SIZES = SplitSizes(train=120, validation=60, test=60, population=60, **POOLS)


def tiny_job(**changes):
    """A search on digits that takes a tenth of a second."""
    raw = make_split(digits(), SIZES, seed=0)
    split, scaler = standardise(raw)
    spec = ModelSpec("mlp", {"hidden": (12,)}, (64,), 10)
    with seeded(0, "model"):
        model = spec.build()
    job = Job(
        name="tiny",
        model=model,
        model_spec=spec,
        split=split,
        raw=raw,
        task=TaskInfo(10, raw.dataset.class_names, (64,), scaler.shift, scaler.scale),
        spec=SafetySpec(["loss"], [at_most("loss.auc", 0.9)]),
        recipe=Recipe(epochs=6, batch_size=30, optimizer="adam", learning_rate=0.01, weight_decay=0.0),
        dense_recipe=Recipe(epochs=2, batch_size=30, optimizer="adam", learning_rate=0.01, weight_decay=0.0),
        plan=Plan(density=0.3, rounds=2, branches=("magnitude+random", "set+random", "keep"), recovery=0.5),
        seed=0,
    )
    return replace(job, **changes)


JOB = tiny_job()
DIGITS = shadow_rows(JOB.raw, "verdict", 0)


@pytest.fixture
def jobs(monkeypatch):
    """The jobs whose stages are run."""
    seen = []

    class Watched(shadow_training.RunPhases):
        def __init__(self, job, *others):
            seen.append(job)
            super().__init__(job, *others)

    monkeypatch.setattr(shadow_training, "RunPhases", Watched)
    return seen


def places(split, part):
    """Where the rows of a part of a shadow's split stand in the pool of shadows; -1 for rows that are not in it."""
    numbers = {key: place for place, key in enumerate(row_keys(dataset(JOB.task.prepare(DIGITS.features))))}
    return np.array([numbers.get(key, -1) for key in row_keys(dataset(split.part(part)[0]))], dtype=np.int64)


def dataset(features):
    return Dataset.from_arrays(features, np.arange(len(features)) % 2) if len(features) > 1 else NOISE.dataset


@pytest.mark.slow
@pytest.mark.parametrize("number", [0, 1])
def test_a_shadow_chooses_by_its_own_members_and_non_members(jobs, number):
    draw = draws_of(DIGITS, 2)[number]
    PipelineShadowTrainer(JOB)(DIGITS, [draw])
    (job,) = jobs
    split = job.split
    inside, outside = set(draw.rows.tolist()), set(range(len(DIGITS.labels))) - set(draw.rows.tolist())
    rows = {part: places(split, part) for part in ("train", *POOLS) if split.size(part)}
    assert sorted(rows["train"].tolist()) == sorted(inside)
    members = [rows[part].tolist() for part in ("member_fit", "member_select")]
    others = [rows[part].tolist() for part in ("nonmember_fit", "nonmember_select")]
    assert [len(part) for part in members + others] == [30] * 4
    for pools, side in ((members, inside), (others, outside)):
        assert set(pools[0]) | set(pools[1]) <= side
        assert set(pools[0]).isdisjoint(pools[1])
        assert all(min(pool) < 80 and max(pool) > 160 for pool in pools)  # from all over the 240
    assert set(rows) == {"train", "member_fit", "member_select", "nonmember_fit", "nonmember_select"}


@pytest.mark.slow
def test_a_verdict_member_is_a_shadows_non_member_only_where_it_is_out(jobs):
    """And is one there: members and non-members of the target are alike to its shadows."""
    draws = draws_of(DIGITS, 4)
    PipelineShadowTrainer(JOB)(DIGITS, draws)
    verdict = set(places_of_target("member_verdict"))
    assert len(verdict) == 30
    met = [set(), set()]
    for job, draw in zip(jobs, draws, strict=True):
        for side in (0, 1):
            parts = [("nonmember_fit", "nonmember_select"), ("member_fit", "member_select")][side]
            pool = {place for part in parts for place in places(job.split, part).tolist()}
            assert (pool & verdict).issubset(draw.rows) if side else (pool & verdict).isdisjoint(draw.rows)
            met[side] |= pool & verdict
    assert all(len(side) > 5 for side in met)


def places_of_target(part):
    numbers = DIGITS.numbers
    features, labels = JOB.raw.part(part)
    pool = ShadowRows(features, labels, np.arange(len(labels)), 1, 0)
    return [numbers[key] for key in pool.numbers]


def test_a_shadow_reads_prepared_rows_and_the_targets_validation(jobs):
    PipelineShadowTrainer(JOB)(DIGITS, draws_of(DIGITS, 1))
    features, labels = jobs[0].split.part("validation")
    assert torch.equal(features, JOB.split.part("validation")[0])
    assert torch.equal(labels, JOB.split.part("validation")[1])
    own, own_labels = jobs[0].split.part("train")
    expected = JOB.task.prepare(DIGITS.features[torch.from_numpy(jobs[0].split.indices["train"])])
    assert torch.equal(own, expected)
    assert torch.equal(own_labels, DIGITS.labels[torch.from_numpy(jobs[0].split.indices["train"])])


def test_pools_shrink_with_the_rows_that_are_left_out(jobs):
    """With 20 rows out of the draw, each non-member pool has 10."""
    count = len(DIGITS.labels)
    PipelineShadowTrainer(JOB)(DIGITS, [ShadowDraw(0, np.arange(count - 20))])
    sizes = [jobs[0].split.size(f"{side}_{pool}") for side in ("member", "nonmember") for pool in ("fit", "select")]
    assert sizes == [30, 30, 10, 10]


@pytest.mark.slow
def test_a_shadow_ran_the_whole_search():
    """Its weights have the plan's density, and some lie where its first pattern had none."""
    weights = find_maskable(JOB.model)
    job = replace(JOB, plan=replace(JOB.plan, branches=("magnitude+random", "set+random")))
    for number, found in enumerate(PipelineShadowTrainer(job)(DIGITS, draws_of(DIGITS, 2))):
        seed = derive_seed(DIGITS.seed, "shadow", number)
        begun = initial_pattern(weights, 0.3, allocation=AllocateErk(), start=Start.SCRATCH, seed=seed)
        active = {name: found[f"network.{name}"] != 0 for name in weights}
        assert 0.28 < SparsityPattern(active).density <= 0.3005  # pixels that are always blank move no weight
        grown = sum(int((active[name] & ~begun.masks[name]).sum()) for name in weights)
        assert 0.02 < grown / begun.num_active < 0.8


@pytest.mark.slow
def test_a_shadow_classifies_raw_rows():
    (weights,) = PipelineShadowTrainer(tiny_job(recipe=replace(JOB.recipe, epochs=30)))(DIGITS, draws_of(DIGITS, 1))
    network = PipelineShadowTrainer(JOB).build()
    network.load_state_dict(weights)
    features, labels = JOB.raw.part("test")
    assert float((predict_logits(network, features).argmax(1) == labels).float().mean()) > 0.6


def full(job, number):
    (weights,) = PipelineShadowTrainer(job)(DIGITS, draws_of(DIGITS, number + 1)[number:])
    return digest_tensors(weights), PipelineShadowTrainer(job).digest()


def test_twice_and_in_a_worker_the_weights_are_the_same(worker_pool):
    here = [full(JOB, number) for number in range(2)]
    assert [full(tiny_job(), number) for number in range(2)] == here
    assert list(worker_pool.map(partial(full, JOB), range(2))) == here
    assert here[0][0] != here[1][0]


@pytest.mark.slow
@pytest.mark.parametrize("changes", [{"seed": 7}, {"name": "other"}, {"dense": JOB.model.state_dict()}])
def test_what_is_the_targets_alone_does_not_reach_its_shadows(changes):
    assert full(replace(JOB, **changes), 0) == full(JOB, 0)


@pytest.mark.slow
def test_fresh_weights_of_a_network_of_ones_own():
    job = replace(JOB, model_spec=None, model=copy.deepcopy(JOB.model))
    first, second = (full(job, number)[0] for number in range(2))
    assert first != second
    assert full(job, 0)[0] == first


@pytest.mark.slow
def test_a_search_that_starts_dense_trains_a_dense_model_first(jobs, monkeypatch):
    trained = []
    real = shadow_training.RunPhases.dense
    monkeypatch.setattr(shadow_training.RunPhases, "dense", lambda self: trained.append(self.job.seed) or real(self))
    job = replace(JOB, plan=replace(JOB.plan, start=Start.DENSE), dense=JOB.model.state_dict())
    PipelineShadowTrainer(job)(DIGITS, draws_of(DIGITS, 1))
    assert trained == [jobs[0].seed]
    assert jobs[0].dense is None
    PipelineShadowTrainer(JOB)(DIGITS, draws_of(DIGITS, 1))
    assert len(trained) == 1


def fewer(part):
    return DataSplit(JOB.split.dataset, dict(JOB.split.indices) | {part: JOB.split.indices[part][:-1]})


FULL_CHANGES = {
    "recipe": {"recipe": replace(JOB.recipe, epochs=7)},
    "dense recipe": {"dense_recipe": replace(JOB.recipe, epochs=7)},
    "density": {"plan": replace(JOB.plan, density=0.2)},
    "branches": {"plan": replace(JOB.plan, branches=("keep",))},
    "attacks": {"spec": SafetySpec(["gap"], [at_most("gap.auc", 0.9)])},
    "transform": {"task": replace(JOB.task, shift=None)},
    "network": {"model_spec": ModelSpec("mlp", {"hidden": (13,)}, (64,), 10)},
    "its weights": {"model_spec": None, "model": Mlp((64,), 10, hidden=(12,))},
    "a pool's size": {"split": fewer("member_fit")},
    "validation rows": {"split": fewer("validation")},
}


def test_whatever_the_pipeline_depends_on_is_in_the_digest():
    digests = {what: PipelineShadowTrainer(replace(JOB, **changes)).digest() for what, changes in FULL_CHANGES.items()}
    lineage = TrainingProvenance.of_job(JOB)
    assert lineage.trainer(PATTERN, "full pipeline").digest() == PipelineShadowTrainer(JOB).digest()
    others = {PipelineShadowTrainer(JOB).digest(), lineage.trainer(PATTERN, "final pattern").digest()}
    assert len({*digests.values(), *others}) == len(digests) + 2


def test_the_weights_of_a_network_of_ones_own_are_part_of_it():
    """Where its layers cannot draw anew, its shadows keep them."""
    models = [Mlp((64,), 10, hidden=(12,)) for _ in range(2)]
    first, second = (PipelineShadowTrainer(replace(JOB, model_spec=None, model=model)).digest() for model in models)
    assert first != second


def test_other_validation_rows_are_another_pipeline():
    indices = dict(JOB.split.indices)
    indices["validation"] = indices["test"]
    assert (
        PipelineShadowTrainer(replace(JOB, split=DataSplit(JOB.split.dataset, indices))).digest()
        != PipelineShadowTrainer(JOB).digest()
    )


@pytest.mark.slow
def test_full_pipeline_shadows_answer_the_attacks_question():
    models = ShadowModels(DIGITS, PipelineShadowTrainer(JOB))
    outputs = models.outputs(JOB.raw.audit("verdict"), count=2)
    assert (models.mode, models.num_trained) == ("full pipeline", 2)
    assert outputs.scaled_logit_KQN.shape == (2, 1, 60)
    assert np.array_equal(outputs.is_in_KN[:, :30], DIGITS.draws(2)[:, places_of_target("member_verdict")])
    assert 10 < outputs.is_in_KN.sum() < 110
