"""compress() and audit() from Python: what goes in stays as it was, what comes out holds together, slips are told."""

import json
import tempfile
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import safecompress as sc
from safecompress import attacks, data
from safecompress.attacks import Access
from safecompress.digests import digest_tensors
from safecompress.errors import (
    ArtifactError,
    AttackError,
    DataError,
    ModelError,
    RunFolderError,
    SpecError,
    TrainingError,
    UsageError,
)
from safecompress.progress import Silent
from safecompress.seeding import seeded
from safecompress.training import predict_logits
from whole_runs import SIZES, digests_of, report_of

pytestmark = pytest.mark.slow

RECIPE = sc.Recipe(epochs=12, batch_size=32, optimizer="adam", learning_rate=0.01, weight_decay=0.0)
PLAN = sc.Plan(rounds=2, density=0.2)
SPEC = sc.SafetySpec(
    attacks=["gap", attacks.LabelOnly(queries=16)],
    requirements=[
        sc.at_most("gap.auc", 0.75),
        sc.at_most("label_only.auc", 0.75),
        sc.at_least("accuracy", 0.6),
        sc.within(0.5, metric="accuracy"),
    ],
    access="labels",
)


@pytest.fixture(scope="module")
def split():
    return sc.make_split(data.digits(), sc.SplitSizes(**SIZES), seed=0)


def network(seed=0, dropout=0.2):
    """A module of nobody's registry, with batch norm and dropout."""
    with seeded(seed, "network"):
        return nn.Sequential(nn.Linear(64, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Dropout(dropout), nn.Linear(32, 10))


def compress(split, model=None, **changes):
    options = {"spec": SPEC, "recipe": RECIPE, "plan": PLAN}
    return sc.compress(network() if model is None else model, split, **{**options, **changes})


def digests(result):
    return {name: result.report.digests[name] for name in ("artifact", "pattern", "weights", "dense", "verdict")}


@pytest.fixture(scope="module")
def once(split):
    return compress(split)


# --- compress ---


def test_a_module_is_compressed_and_judged(once, split):
    assert (once.report.verdict, once.exit_code, once.report.exit_code) == ("PASS", 0, 0)
    assert [finding["metric"] for finding in once.report.findings] == [
        "gap.auc",
        "label_only.auc",
        "accuracy",
        "accuracy.drop",
    ]
    assert once.artifact.density == pytest.approx(0.2, abs=1e-3)
    assert once.artifact.model_spec is None
    features, labels = split.part("test")
    assert not once.model.training
    right = (predict_logits(once.model, features).argmax(1) == labels).double().mean().item()
    assert right == once.report.measurements["accuracy"]["value"] > 0.6
    for name, mask in once.artifact.masks.items():
        assert torch.equal(once.model.state_dict()[name] != 0, mask)
    assert once.report.search["plan"]["density"] == "0.2"


def test_what_is_given_is_left_as_it_was(once, split):
    model, threads = network(), torch.get_num_threads()
    model[1].eval()  # a mode of its own
    weights, modes = digest_tensors(model.state_dict()), [module.training for module in model.modules()]
    torch.manual_seed(5)
    np.random.seed(5)  # noqa: NPY002
    states = torch.get_rng_state(), np.random.get_state()[1].tolist()  # noqa: NPY002
    torch.set_num_threads(2)
    try:
        result = compress(split, model)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)
    assert digest_tensors(model.state_dict()) == weights
    assert [module.training for module in model.modules()] == modes
    assert all(parameter.grad is None for parameter in model.parameters())
    assert torch.equal(torch.get_rng_state(), states[0])
    assert np.random.get_state()[1].tolist() == states[1]  # noqa: NPY002
    assert digests(result) == digests(once)  # nor did their state matter
    assert result.report.environment["threads"] == 1


def test_threads_are_restored_after_an_error_too(split):
    before = torch.get_num_threads()
    with pytest.raises(UsageError, match="200 rounds do"):
        compress(split, plan=replace(PLAN, rounds=200), threads=2)
    assert torch.get_num_threads() == before


def test_without_out_nothing_is_left_on_disk(split, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    result = compress(split)
    assert list(tmp_path.iterdir()) == []
    (note,) = result.report.notes
    assert note.startswith("No ledger")


def test_with_out_the_run_is_kept_and_goes_on(split, tmp_path, once):
    first = compress(split, out=tmp_path / "run")
    assert digests(first) == digests(once)
    assert first.report.notes == []
    assert {"report.json", "report.md", "artifact.safetensors", "dense.safetensors"} <= {
        path.name for path in (tmp_path / "run").iterdir()
    }
    assert json.loads((tmp_path / "run" / "report.json").read_text()) == json.loads(json.dumps(first.report.to_json()))
    assert (tmp_path / "ledger.jsonl").exists()
    again = Recorder()
    second = compress(split, out=str(tmp_path / "run"), progress=again)
    assert digests(second) == digests(once)
    assert again.phases() == [("certify", 1)]
    with pytest.raises(RunFolderError, match="another job"):
        compress(split, network(dropout=0.3), out=tmp_path / "run")  # the same weights, another network


def test_density_overrides_the_plans_own(split):
    result = compress(split, density=0.4, plan=replace(PLAN, rounds=0))
    assert result.artifact.density == pytest.approx(0.4, abs=1e-3)


@pytest.fixture
def unexamined(monkeypatch):
    """Without a health control: each seed would train one of its own."""
    monkeypatch.setattr("safecompress.certify.verdict.train_control", lambda *_, **__: None)


def test_a_model_spec_takes_its_weights_from_the_seed(split, unexamined):
    spec = sc.ModelSpec("mlp", {"hidden": (32,)}, (64,), 10)
    results = [compress(split, spec, seed=seed) for seed in (0, 0, 1)]
    assert digests(results[0]) == digests(results[1])
    assert results[0].artifact.digest() != results[2].artifact.digest()
    assert results[0].artifact.model_spec == spec
    samples = split.part("test")[0]
    loaded = results[0].artifact.predict(samples)  # without the class at hand
    assert torch.equal(loaded, predict_logits(results[0].model, samples).softmax(1))


def test_the_command_line_and_python_do_the_same(finished_once):
    """A spec file is another way to write the same arguments."""
    run = finished_once[0] / "run"
    result = sc.compress(
        sc.ModelSpec("mlp", {"hidden": (128,), "dropout": 0.0}, (64,), 10),
        sc.make_split(data.digits(), sc.SplitSizes(**SIZES), seed=0),
        spec=sc.SafetySpec(
            ["gap", attacks.LabelOnly(queries=16)],
            [
                sc.at_most("gap.auc", 0.75),
                sc.at_most("label_only.auc", 0.75),
                sc.at_least("accuracy", 0.6),
                sc.at_most("artifact.size_bytes", 40000),
            ],
            access="labels",
        ),
        recipe=RECIPE,
        plan=sc.Plan(
            density=0.2,
            rounds=2,
            branches=tuple(map(sc.Branch.parse, ["magnitude+random", "magnitude+gradient", "keep"])),
        ),
    )
    assert {**digests(result), "verdict": ...} == {**digests_of(run), "verdict": ...}
    size = {"artifact.size_bytes": ..., "compression.ratio": ...}  # the file says of which spec it came
    assert {**result.report.measurements, **size} == {**report_of(run)["measurements"], **size}


def test_given_dense_weights_are_not_trained_again(split, once):
    with seeded(3):
        dense = {name: t + 0.01 if t.is_floating_point() else t for name, t in network().state_dict().items()}
    before, seen = digest_tensors(dense), Recorder()
    result = compress(split, dense=dense, progress=seen, plan=replace(PLAN, start="scratch"))
    assert "dense" not in dict(seen.phases())
    assert result.report.digests["dense"] == before == digest_tensors(dense)
    assert result.report.search["dense_recipe"] is None
    features, labels = split.part("test")
    model = network()
    model.load_state_dict(dense)
    right = (predict_logits(model, features).argmax(1) == labels).double().mean().item()
    assert result.report.dense["accuracy"]["value"] == right
    assert result.artifact.digest() == once.artifact.digest()  # a start from scratch does not depend on them


def test_a_start_from_dense_weights_depends_on_them(split, once):
    plan = replace(PLAN, start=sc.sparsity.Start.DENSE)
    results = [compress(split, plan=plan, dense_recipe=replace(RECIPE, epochs=epochs)) for epochs in (1, 2)]
    assert len({result.artifact.digest() for result in [*results, once]}) == 3


def test_without_rounds_the_first_pattern_stays(split):
    seen = Recorder()
    result = compress(split, plan=replace(PLAN, rounds=0), progress=seen)
    assert [phase for phase, _ in seen.phases()] == ["dense", "final", "certify"]
    assert result.report.rounds == []
    assert result.report.search["coverage"] == pytest.approx(0.2, abs=1e-3)


def test_a_random_selector_draws_by_its_seed(split, unexamined):
    from safecompress.compression.search import RandomChoice

    plan = replace(PLAN, rounds=3, selector=RandomChoice())
    results = [compress(split, plan=plan, seed=seed) for seed in (0, 0, 1)]
    winners = [[entry["winner"] for entry in result.report.rounds] for result in results]
    assert winners[0] == winners[1] != winners[2]
    reasons = {c["reason"] for entry in results[0].report.rounds for c in entry["candidates"]}
    assert reasons == {"drawn by lot", "not drawn"}
    assert all(sum(c["won"] for c in entry["candidates"]) == 1 for entry in results[0].report.rounds)


class Squares(torch.utils.data.Dataset):
    """Map-style: images of one channel, and labels as a tensor of no dimensions."""

    def __init__(self, count=600):
        generator = torch.Generator().manual_seed(0)
        self.images = torch.randn(count, 1, 4, 4, generator=generator)
        self.labels = (self.images.sum((1, 2, 3)) > 0).long()

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        return self.images[index], self.labels[index]


def test_a_map_style_dataset(tmp_path):
    split = sc.make_split(sc.Dataset.from_map_style(Squares(), class_names=["dark", "light"]), seed=0)
    model = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(64, 2))
    spec = sc.SafetySpec(["loss"], [sc.at_least("accuracy", 0.5)])
    result = sc.compress(model, split, spec=spec, recipe=replace(RECIPE, epochs=5), density=0.5, plan=PLAN)
    assert result.artifact.task.class_names == ("dark", "light")
    assert result.artifact.task.input_shape == (1, 4, 4)
    assert result.artifact.predict(Squares().images[:3], model=model).shape == (3, 2)


# --- what watches ---


@dataclass
class Recorder(Silent):
    """Everything that a Progress is told, in order."""

    told: list = field(default_factory=list)

    def begin(self, phase, total):
        self.told.append(("begin", phase, total))

    def advance(self, steps=1):
        self.told.append(("advance", steps))

    def say(self, line):
        self.told.append(("say", line))

    def phases(self):
        return [event[1:] for event in self.told if event[0] == "begin"]


def test_progress_is_told_in_order(split):
    seen = Recorder()
    compress(split, progress=seen)
    steps = 15 * 12  # batches an epoch
    search = steps * 3 // 4
    rounds = [search // 2 - round(0.25 * (search // 2)), search // 2 - round(0.25 * (search // 2))]
    told = [phase for phase, _ in seen.phases()]
    tests = ["candidates", "candidates"]  # all of them by the cheap attacks, finalists by the costly one
    assert told == ["dense", "round 1 of 2", *tests, "round 2 of 2", *tests, "final", "certify"]
    lengths = dict(seen.phases())
    assert (lengths["dense"], lengths["certify"]) == (steps, 1)
    candidates = [length for phase, length in seen.phases() if phase == "candidates"]
    assert (candidates[0], candidates[2]) == (5, 5)
    assert all(length in (2, 3) for length in candidates[1::2])  # two finalists, and keep
    assert (lengths["round 1 of 2"], lengths["final"]) == (rounds[0], steps - search)
    kinds = [event[0] for event in seen.told]
    first = kinds.index("begin")
    assert kinds[:first] == ["say"] * len(
        SPEC.requirements
    )  # what each requirement can hope for, before anything is trained
    phase = None
    left = 0
    for event in seen.told[first:]:
        if event[0] == "begin":
            assert left == 0, f"{phase} ended early"
            phase, left = event[1:]
        elif event[0] == "advance":
            left -= event[1]
            assert left >= 0, f"{phase} went past its length"
    assert (phase, left) == ("certify", 0)
    lines = [event[1] for event in seen.told if event[0] == "say"][len(SPEC.requirements) :]
    assert [line[:9] for line in lines] == ["round 1: ", "round 2: "]


# --- attacks that break ---


@dataclass(frozen=True)
class Broken:
    """Cannot be fitted, or gives scores that are no scores."""

    how: str
    name: str = "broken"
    access: Access = Access.SCORES
    threshold: float | None = None

    def fit(self, target, audit, *, generator):
        if self.how == "raises":
            raise ZeroDivisionError("in the attack")
        return self

    def score(self, target, audit):
        size = len(audit.is_member)
        return {
            "nan": np.full(size, np.nan),
            "constant": np.zeros(size),
            "short": np.arange(size - 1.0),
        }[self.how]


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("raises", "ZeroDivisionError:"),
        ("nan", "300 of 300 scores"),
        ("constant", "score for all 300"),
        ("short", "(299,), the audit has 300"),
    ],
)
def test_an_attack_that_breaks_is_an_error_and_never_a_pass(how, words, split):
    spec = sc.SafetySpec([attacks.Loss(), Broken(how)], [sc.at_most("loss.auc", 0.75), sc.at_most("broken.auc", 0.75)])
    result = compress(split, spec=spec, plan=replace(PLAN, rounds=1, attacks=(attacks.Gap(),)))
    assert (result.report.verdict, result.exit_code) == ("ERROR", 3)
    assert words in result.report.errors["broken"]
    assert [finding["verdict"] for finding in result.report.findings] == ["PASS", "ERROR"]
    assert words in result.report.findings[1]["reason"]
    with pytest.raises(AttackError, match="No candidate"):
        compress(split, spec=spec)  # here the search itself needs it


# --- audit ---


def test_audit_judges_as_the_run_did(split, tmp_path, once):
    model = network()
    result = compress(split, model, out=tmp_path / "run")
    artifact = tmp_path / "run" / "artifact.safetensors"
    dense = network()
    dense.load_state_dict(sc_weights(tmp_path / "run" / "dense.safetensors"))
    given = [digest_tensors(m.state_dict()) for m in (model, dense)]
    report = sc.audit(artifact, split, spec=SPEC, model=model, dense=dense, ledger=tmp_path / "ledger.jsonl")
    assert [digest_tensors(m.state_dict()) for m in (model, dense)] == given  # no weights were loaded into them
    assert report.digests == {name: result.report.digests[name] for name in ("artifact", "verdict", "dense")}
    assert report.findings == result.report.findings
    assert report.ledger == result.report.ledger == {"opening": 1, "alpha": 0.025}
    assert (report.exit_code, report.notes, report.name) == (0, [], "model")


def test_audit_without_the_dense_model_says_what_is_missing(split, tmp_path, once):
    once.artifact.save(tmp_path / "a.safetensors")
    report = sc.audit(tmp_path / "a.safetensors", split, spec=SPEC, model=network())
    assert (report.verdict, report.exit_code) == ("ERROR", 3)
    assert [finding["verdict"] for finding in report.findings] == ["PASS", "PASS", "PASS", "ERROR"]
    assert any("No dense model" in note for note in report.notes)
    assert any("nothing proves that these members" in doubt for doubt in report.doubts)
    assert any("No ledger" in note for note in report.notes)


def test_audit_needs_an_instance_of_the_users_own_class(split, tmp_path, once):
    once.artifact.save(tmp_path / "a.safetensors")
    with pytest.raises(ArtifactError, match="the user's own"):
        sc.audit(tmp_path / "a.safetensors", split, spec=SPEC)
    with pytest.raises(ArtifactError, match="fit the model"):
        sc.audit(tmp_path / "a.safetensors", split, spec=SPEC, model=nn.Linear(64, 10))


def test_audit_of_other_data_is_refused(tmp_path, once):
    once.artifact.save(tmp_path / "a.safetensors")
    split = sc.make_split(data.digits(image=True), sc.SplitSizes(**SIZES), seed=0)
    with pytest.raises(ModelError, match=r"cannot read the data: features of shape \(1, 8, 8\)"):
        sc.audit(tmp_path / "a.safetensors", split, spec=SPEC, model=network())


def sc_weights(path):
    from safecompress.storage import read_tensors

    return read_tensors(path)[0]


# --- slips ---


@pytest.mark.parametrize(
    ("changes", "kind", "words"),
    [
        ({"density": 0.0}, UsageError, "density must lie"),
        ({"density": 1e-4}, UsageError, "keeps 0 of 2368 weights"),
        ({"spec": [sc.at_most("loss.auc", 0.7)]}, UsageError, "spec .*SafetySpec, got a list"),
        ({"model": nn.Linear}, UsageError, "model .*ModelSpec, got the class Linear"),
        ({"model": nn.Linear(3, 10)}, ModelError, "cannot read the"),
        ({"model": nn.Linear(64, 9)}, ModelError, r"outputs of shape \(16, 9\)"),
        ({"model": nn.LazyLinear(10)}, ModelError, "lazy layers .*one batch"),
        ({"model": sc.ModelSpec("mlp", {}, (1, 8, 8), 10)}, ModelError, r"shape \(1, 8, 8\),"),
        ({"dense": {"0.weight": torch.zeros(32, 64)}}, ModelError, "do not fit the model: 0.bias"),
        ({"threads": 0}, UsageError, "threads.*least 1"),
        ({"device": "warp"}, UsageError, "device 'warp'"),
        ({"recipe": replace(RECIPE, optimizer="sgd", learning_rate=1e9)}, TrainingError, "the learning rate"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_slips_are_told_by_errors_of_the_products_own(changes, kind, words, split):
    model = changes.pop("model", network())
    with pytest.raises(kind, match=words) as caught:
        compress(split, model, **changes)
    assert isinstance(caught.value, sc.SafeCompressError)
    assert len(str(caught.value).splitlines()) == 1


def test_a_dataset_in_place_of_a_split_is_told(split):
    with pytest.raises(UsageError, match=r"split .*DataSplit, got a Dataset.* make_split"):
        compress(split.dataset)
    with pytest.raises(UsageError, match=r"split.*DataSplit"):
        sc.audit("a.safetensors", split.dataset, spec=SPEC)


def test_a_split_without_the_pools_is_refused(split):
    parts = {name: rows for name, rows in split.indices.items() if name != "nonmember_select"}
    with pytest.raises(DataError, match=r"no rows.*: nonmember_select"):
        compress(sc.DataSplit.from_indices(split.dataset, parts))


def test_a_requirement_that_could_never_pass_is_refused_before_training(split, tmp_path):
    spec = sc.SafetySpec(["loss"], [sc.at_most("loss.auc", 0.51)])
    with pytest.raises(SpecError, match="could not certify"):
        compress(split, spec=spec, out=tmp_path / "run")
    assert not list(tmp_path.rglob("*.safetensors"))


def test_paths_may_be_text(split, tmp_path):
    plan = replace(PLAN, rounds=0)
    result = compress(split, plan=plan, out=str(tmp_path / "run"), ledger=str(tmp_path / "mine.jsonl"))
    assert (tmp_path / "mine.jsonl").exists()
    assert not Path("ledger.jsonl").exists()
    report = sc.audit(str(tmp_path / "run" / "artifact.safetensors"), split, spec=SPEC, model=network())
    assert report.digests["artifact"] == result.report.digests["artifact"]
