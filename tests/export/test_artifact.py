"""Artifact: what is saved is what is loaded, to the bit; and it predicts as the model did."""

from __future__ import annotations

import copy
import dataclasses
import errno
import functools
import os
import pickle
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from torch import nn

from safecompress.errors import ArtifactError, DataError, StorageError
from safecompress.export import Artifact, TaskInfo
from safecompress.export.pack import DTYPES, to_bytes
from safecompress.models import Mlp, ModelSpec
from safecompress.seeding import derive, seeded

MLP = ModelSpec("mlp", {"hidden": (12, 6)}, (8,), 3)
CNN = ModelSpec("cnn", {"channels": (4, 6)}, (1, 8, 8), 3)


def sparse_model(spec: ModelSpec, density: float) -> tuple[nn.Module, dict[str, torch.Tensor]]:
    """A model whose weight matrices are masked at random, with batch-norm statistics that are not the initial ones."""
    with seeded(0, spec.name, int(1000 * density)):
        model = spec.build().train()
        masks = {name: torch.rand(w.shape) < density for name, w in model.named_parameters() if w.dim() > 1}
        with torch.no_grad():
            for name, mask in masks.items():
                model.get_parameter(name)[~mask] = 0
            model(torch.rand(16, *spec.input_shape))
    return model.eval(), masks


def make_artifact(spec: ModelSpec = MLP, density: float = 0.25, **changes) -> Artifact:
    model, masks = sparse_model(spec, density)
    with seeded(0, "task"):
        shift, scale = torch.rand(spec.input_shape), torch.rand(spec.input_shape) + 0.5
    task = TaskInfo(spec.num_classes, ("a", "b", "ç"), spec.input_shape, shift, scale)
    fields = {
        "state": model.state_dict(),
        "masks": masks,
        "model_spec": spec,
        "task": task,
        "metadata": {"version": "1.0"},
    }
    return Artifact(**{**fields, **changes})


def assert_same_tensors(one, other):
    assert list(one) == list(other)
    for name in one:
        assert (one[name].dtype, one[name].shape) == (other[name].dtype, other[name].shape)
        assert to_bytes(one[name]).tobytes() == to_bytes(other[name]).tobytes()


def assert_same_artifacts(one: Artifact, other: Artifact):
    assert_same_tensors(one.state, other.state)
    assert_same_tensors(one.masks, other.masks)
    assert_same_tensors(one.task.tensors(), other.task.tensors())
    for left, right in ((one, other), (one.task, other.task)):
        plain = [
            {field.name: getattr(side, field.name) for field in dataclasses.fields(side)} for side in (left, right)
        ]
        for name in ("state", "masks", "task", "shift", "scale"):
            plain = [{key: value for key, value in side.items() if key != name} for side in plain]
        assert plain[0] == plain[1]
    assert one.digest() == other.digest()


TENSORS = st.builds(
    lambda dtype, shape, seed: torch.from_numpy(np.asarray(derive(seed).integers(0, 2, shape))).to(DTYPES[dtype]),
    st.sampled_from(sorted(DTYPES)),
    st.lists(st.integers(0, 5), max_size=3).map(tuple),
    st.integers(0, 50),
)


@pytest.mark.slow
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    state=st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), TENSORS, max_size=4),
    masked=st.booleans(),
    options=st.dictionaries(
        st.text(st.characters(exclude_categories=["Cs"])), st.floats(-1e300, 1e300) | st.integers()
    ),
    metadata=st.dictionaries(st.text(st.characters(exclude_categories=["Cs"]), max_size=5), st.just("x"), max_size=3),
    named=st.booleans(),
    transformed=st.booleans(),
)
def test_any_artifact_comes_back_as_it_was(tmp_path, state, masked, options, metadata, named, transformed):
    masks = {name: tensor != 0 for name, tensor in state.items()} if masked else {}
    shift = torch.tensor([0.5, -0.0]) if transformed else None
    task = TaskInfo(2, ("no", "yes") if named else (), (3, 2), shift, None)
    artifact = Artifact(state, masks, ModelSpec("from elsewhere", options, (3, 2), 2), task, metadata)
    size = artifact.save(tmp_path / "a.safetensors")
    assert (tmp_path / "a.safetensors").stat().st_size == size
    assert_same_artifacts(Artifact.load(str(tmp_path / "a.safetensors")), artifact)


@pytest.mark.slow
@pytest.mark.parametrize("spec", [MLP, CNN], ids=lambda spec: spec.name)
@pytest.mark.parametrize("density", [0.0, 0.1, 1.0])
def test_the_loaded_model_predicts_as_the_original_to_the_bit(tmp_path, spec, density):
    model, masks = sparse_model(spec, density)
    artifact = make_artifact(spec, density)
    artifact.save(tmp_path / "a.safetensors")
    loaded = Artifact.load(tmp_path / "a.safetensors")
    raw = torch.rand(7, *spec.input_shape)
    with torch.no_grad():
        logits = model((raw - artifact.task.shift) / artifact.task.scale)
    assert torch.equal(loaded.predict(raw), logits.softmax(dim=1))
    assert torch.equal(loaded.predict(raw.numpy()), logits.softmax(dim=1))
    assert not loaded.build().training
    assert_same_tensors(dict(sorted(model.state_dict().items())), loaded.state)
    assert_same_tensors(dict(sorted(masks.items())), loaded.masks)


def test_batches_make_one_answer_in_order():
    artifact, raw = make_artifact(), torch.rand(10, 8)
    whole = artifact.predict(raw)
    assert whole.shape == (10, 3)
    assert torch.allclose(whole.sum(dim=1), torch.ones(10))
    assert torch.allclose(artifact.predict(raw, batch_size=3), whole, atol=1e-6)
    assert artifact.predict(raw[:0]).shape == (0, 3)


def test_without_a_transform_samples_go_in_as_they_are():
    artifact = make_artifact(task=TaskInfo(3, (), (8,)))
    raw = torch.randint(0, 17, (4, 8), dtype=torch.uint8)
    assert torch.equal(artifact.predict(raw), artifact.build()(raw.float()).softmax(1).detach())


@pytest.mark.parametrize("samples", [torch.rand(8), torch.rand(4, 9), torch.rand(2, 1, 8), torch.tensor(1.0)])
def test_samples_of_another_shape_are_refused(samples):
    with pytest.raises(DataError, match=r"samples of shape \(8,\)"):
        make_artifact().predict(samples)


def test_counts():
    artifact = make_artifact()
    active = sum(int(mask.sum()) for mask in artifact.masks.values())
    assert artifact.num_weights == 8 * 12 + 12 * 6 + 6 * 3
    assert artifact.num_active == active
    assert artifact.density == active / artifact.num_weights
    assert make_artifact(masks={}).density == 1.0


def test_later_training_does_not_reach_the_artifact():
    model, masks = sparse_model(MLP, 0.5)
    artifact = Artifact(model.state_dict(), masks, MLP, TaskInfo(3, (), (8,)))
    before = artifact.digest()
    built = artifact.build()
    for tensor in (*model.parameters(), *built.parameters(), *masks.values()):
        tensor.data.zero_()
    assert artifact.digest() == before


def test_building_draws_nothing_from_the_caller():
    before = torch.get_rng_state()
    make_artifact().predict(torch.rand(1, 8, generator=torch.Generator()))
    assert torch.equal(torch.get_rng_state(), before)


def test_an_artifact_survives_a_process_pool():
    artifact = make_artifact()
    assert_same_artifacts(pickle.loads(pickle.dumps(artifact)), artifact)
    assert_same_artifacts(copy.deepcopy(artifact), artifact)


# The file


def test_equal_content_gives_equal_bytes(tmp_path):
    first, second = make_artifact(), make_artifact()
    turned = make_artifact(state=dict(reversed(first.state.items())), masks=dict(reversed(first.masks.items())))
    contents = []
    for artifact in (first, second, turned, Artifact.load(saved(first, tmp_path))):
        contents.append(saved(artifact, tmp_path).read_bytes())
    assert len(set(contents)) == 1


@pytest.mark.slow
def test_another_process_writes_the_same_bytes(tmp_path):
    path = saved(make_artifact(), tmp_path)
    again = "import sys; from safecompress.export import Artifact; Artifact.load(sys.argv[1]).save(sys.argv[2])"
    environment = {**os.environ, "PYTHONHASHSEED": "7", "OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, "-c", again, path, tmp_path / "b"], check=True, env=environment)
    assert (tmp_path / "b").read_bytes() == path.read_bytes()


def saved(artifact: Artifact, folder) -> os.PathLike:
    artifact.save(folder / "artifact.safetensors")
    return folder / "artifact.safetensors"


def test_the_file_is_plain_safetensors_with_its_name_version_and_digest(tmp_path):
    artifact = make_artifact()
    path = saved(artifact, tmp_path)
    assert int.from_bytes(path.read_bytes()[:8], "little") % 8 == 0  # the format asks for aligned data
    with safe_open(path, framework="pt") as file:
        assert file.metadata() == {"format": "safecompress-artifact", "version": "1", "digest": artifact.digest()}
        assert sorted(file.keys()) == ["payload", "structure"]
        assert {file.get_tensor(name).dtype for name in file.keys()} == {torch.uint8}  # noqa: SIM118 not a dict


def test_where_the_bytes_are(tmp_path):
    artifact = make_artifact()
    count = artifact.byte_count()
    assert count.file == artifact.save(tmp_path / "a")
    assert count.header == count.file - count.payload
    assert 0 < count.header <= 4096
    with safe_open(tmp_path / "a", framework="pt") as file:
        assert count.payload == file.get_tensor("payload").numel()


@pytest.mark.parametrize("density", [0.05, 0.1, 0.2])
def test_a_sparse_mlp_is_as_small_as_its_reference(density, record_property, capsys):
    spec = ModelSpec("mlp", {"hidden": (512, 256, 128)}, (446,), 30)
    model, masks = sparse_model(spec, density)
    artifact = Artifact(model.state_dict(), masks, spec, TaskInfo(30, (), (446,)))
    count = artifact.byte_count()
    with capsys.disabled():
        print(f"\n{artifact.num_weights} weights at density {density}: ratio {count.ratio:.3f}, header {count.header}")
    record_property("ratio", count.ratio)
    assert count.ratio <= 1.0
    assert count.header <= 4096


def test_incompressible_values_cost_at_most_two_percent_more_than_their_reference():
    mask = torch.rand(300, 1000, generator=torch.Generator().manual_seed(0)) < 0.1
    bits = torch.randint(-(1 << 31), 1 << 31, mask.shape, generator=torch.Generator().manual_seed(1))
    weight = torch.where(mask, bits.to(torch.int32).view(torch.float32), 0.0)
    count = Artifact({"weight": weight}, {"weight": mask}, None, TaskInfo(2, (), (4,))).byte_count()
    assert 1.0 <= count.ratio <= 1.02


def test_a_disk_that_refuses_leaves_what_was_there(tmp_path, monkeypatch):
    path = saved(make_artifact(), tmp_path)
    before = path.read_bytes()

    def full(_):
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError, match="No room left"):
        make_artifact(density=0.5).save(path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


# The digest


def change_weight(artifact: Artifact) -> Artifact:
    state = {**artifact.state, "head.bias": -artifact.state["head.bias"]}
    return dataclasses.replace(artifact, state=state)


def change_mask(artifact: Artifact) -> Artifact:
    mask = artifact.masks["head.weight"] | True
    return dataclasses.replace(artifact, masks={**artifact.masks, "head.weight": mask})


CHANGES = {
    "weight": change_weight,
    "mask": change_mask,
    "no mask": lambda a: dataclasses.replace(a, masks={}),
    "zero's sign": lambda a: dataclasses.replace(a, state={**a.state, "z": torch.tensor(-0.0)}),
    "zero": lambda a: dataclasses.replace(a, state={**a.state, "z": torch.tensor(0.0)}),
    "name": lambda a: dataclasses.replace(a, state={**a.state, "y": torch.tensor(0.0)}),
    "shape": lambda a: dataclasses.replace(a, state={**a.state, "z": torch.zeros(1)}),
    "type": lambda a: dataclasses.replace(a, state={**a.state, "z": torch.tensor(0, dtype=torch.int32)}),
    "model": lambda a: dataclasses.replace(a, model_spec=ModelSpec("mlp", {"hidden": (12, 7)}, (8,), 3)),
    "no model": lambda a: dataclasses.replace(a, model_spec=None),
    "class names": lambda a: dataclasses.replace(a, task=dataclasses.replace(a.task, class_names=("a", "b", "c"))),
    "no shift": lambda a: dataclasses.replace(a, task=dataclasses.replace(a.task, shift=None)),
    "shift": lambda a: dataclasses.replace(a, task=dataclasses.replace(a.task, shift=a.task.shift + 1)),
    "scale for shift": lambda a: dataclasses.replace(
        a, task=dataclasses.replace(a.task, shift=a.task.scale, scale=None)
    ),
    "scale": lambda a: dataclasses.replace(a, task=dataclasses.replace(a.task, shift=None, scale=a.task.scale)),
    "only scale": lambda a: dataclasses.replace(
        a, task=dataclasses.replace(a.task, shift=None, scale=a.task.scale * 2)
    ),
}


def test_every_change_of_content_changes_the_digest():
    artifact = make_artifact()
    digests = {name: change(artifact).digest() for name, change in CHANGES.items()}
    same = {"no shift", "scale"}
    distinct = {digest for name, digest in digests.items() if name not in same}
    assert len({artifact.digest()} | distinct | {digests["scale"]}) == len(CHANGES)


def test_the_digest_knows_which_tensor_a_mask_belongs_to():
    state, mask = {"a": torch.zeros(4), "b": torch.zeros(4)}, torch.tensor([True, False, True, False])
    one, other = (Artifact(state, {name: mask}, None, TaskInfo(2, (), (4,))) for name in "ab")
    assert one.digest() != other.digest()


def test_the_digest_leaves_metadata_and_compression_out(monkeypatch, tmp_path):
    artifact = make_artifact()
    assert dataclasses.replace(artifact, metadata={"version": "2.0"}).digest() == artifact.digest()
    monkeypatch.setattr("safecompress.export.pack.LEVEL", 1)
    monkeypatch.setattr("safecompress.export.container.LEVEL", 1)
    assert Artifact.load(saved(artifact, tmp_path)).digest() == artifact.digest()


# Parts that do not go together


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"masks": {"nowhere": torch.ones(1, dtype=torch.bool)}}, "mask.*'nowhere'"),
        ({"masks": {"head.weight": torch.ones(3, 6)}}, r"mask of 'head.weight'.* shape \(3, 6\)"),
        ({"masks": {"head.bias": torch.zeros(3, dtype=torch.bool)}}, "3 of.* masked .*'head.bias'"),
        ({"state": {"extra": "text"}, "masks": {}}, "'extra' of.* a str"),
        ({"state": {"z": torch.ones(2, dtype=torch.complex64)}, "masks": {}}, "cannot be packed"),
        ({"task": TaskInfo(4, (), (8,))}, "3 classes, the task"),
        ({"task": TaskInfo(3, (), (9,))}, r"the task \(9,\)"),
        ({"metadata": {"seed": 3}}, "Metadata maps text"),
    ],
)
def test_parts_that_do_not_go_together_are_refused(changes, said):
    with pytest.raises(ArtifactError, match=said):
        make_artifact(**changes)


def test_a_masked_minus_zero_is_refused_before_it_can_change_the_model():
    artifact = make_artifact()
    weight = artifact.state["head.weight"].clone()
    weight[~artifact.masks["head.weight"]] *= -1.0
    with pytest.raises(ArtifactError, match=r"weight\[~mask\] = 0"):
        dataclasses.replace(artifact, state={**artifact.state, "head.weight": weight})


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ((1, (), (8,)), "at least 2 classes"),
        ((3, (), ()), "at least 1 feature"),
        ((3, (), (8, 0)), "at least 1 feature"),
        ((3, (), (3, 10**6, 10**6)), "more than 67108864 values"),
        ((3, ("a",), (8,)), "3 classes.*given 1 names"),
        ((3, (), (8,), torch.zeros(7)), r"shift of shape \(7,\)"),
        ((3, (), (8,), torch.zeros(2, 8)), "does not broadcast"),
        ((3, (), (8,), torch.tensor(float("nan"))), "shift.* finite"),
        ((3, (), (8,), torch.zeros(8, dtype=torch.float64)), "float32"),
        ((3, (), (8,), None, torch.zeros(8)), "scale no zeros"),
    ],
)
def test_a_task_that_makes_no_sense_is_refused(fields, said):
    with pytest.raises(ArtifactError, match=said):
        TaskInfo(*fields)


@pytest.mark.parametrize("shape", [(), (1,), (3,), (2, 1), (2, 3), (1, 1)])
def test_a_transform_may_broadcast(shape):
    task = TaskInfo(2, (), (2, 3), torch.full(shape, 1.0), torch.full(shape, 4.0))
    assert torch.equal(task.prepare(torch.full((5, 2, 3), 3.0)), torch.full((5, 2, 3), 0.5))


def test_text_that_is_not_unicode_is_refused(tmp_path):
    with pytest.raises(ArtifactError, match="not valid Unicode"):
        make_artifact(metadata={"host": "\udcff"}).save(tmp_path / "a")
    assert list(tmp_path.iterdir()) == []


def test_facts_beyond_what_a_reader_takes_are_refused(tmp_path):
    with pytest.raises(ArtifactError, match="Shorten its metadata"):
        make_artifact(metadata={"note": "x" * (5 << 20)}).save(tmp_path / "a")


def test_a_model_too_empty_to_be_believed_is_refused_before_it_is_written(tmp_path, monkeypatch):
    monkeypatch.setattr("safecompress.export.container.FREE_BYTES", 1000)
    empty = Artifact({"w": torch.zeros(1 << 20)}, {}, None, TaskInfo(2, (), (4,)))
    with pytest.raises(ArtifactError, match="nearly all zeros"):
        empty.save(tmp_path / "a")


# Building


class Custom(nn.Module):
    def __init__(self, width: int = 5) -> None:
        super().__init__()
        self.head = nn.Linear(8, 3, bias=width > 4)
        self.register_buffer("steps", torch.tensor(7))

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return self.head(inputs)


def test_a_network_of_the_users_own_class(tmp_path):
    model = Custom().eval()
    artifact = Artifact(model.state_dict(), {}, None, TaskInfo(3, (), (8,)))
    loaded = Artifact.load(saved(artifact, tmp_path))
    assert loaded.model_spec is None
    with pytest.raises(ArtifactError, match=r"pass it: artifact.build\(model\)"):
        loaded.build()
    fresh, raw = Custom().train(), torch.rand(4, 8)
    assert loaded.build(fresh) is fresh
    assert not fresh.training
    assert torch.equal(fresh(raw), model(raw))
    assert torch.equal(loaded.predict(raw, model=Custom()), model(raw).softmax(1).detach())


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (Custom(width=1), [r"in 1 tensors: 'head.bias' is float32 \(3,\) in the file and absent in the model\."]),
        (
            Custom().double(),
            [r"in 2 tensors: 'head.bias' is float32 \(3,\) in the file and float64 \(3,\) in the model"],
        ),
        (nn.Linear(8, 3), [r"in 5 tensors: 'bias' is absent in the file and", r"(in the model[;.].*){3}"]),
    ],
    ids=["absent", "type", "names"],
)
def test_a_model_that_does_not_fit_is_refused_with_the_first_differences(model, said):
    artifact = Artifact(Custom().state_dict(), {}, None, TaskInfo(3, (), (8,)))
    with pytest.raises(ArtifactError, match="fit the model") as refused:
        artifact.build(model)
    for words in said:
        refused.match(words)
    assert str(refused.value).count("in the file") <= 3


def test_an_unknown_model_is_readable_and_refused_on_building_only(tmp_path):
    spec = ModelSpec("resnet9000", {"depth": 9000}, (8,), 3)
    loaded = Artifact.load(saved(make_artifact(model_spec=spec), tmp_path))
    assert loaded.model_spec == spec
    with pytest.raises(ArtifactError, match="model 'resnet9000'"):
        loaded.build()
    assert torch.equal(loaded.predict(torch.ones(1, 8), model=MLP.build()), make_artifact().predict(torch.ones(1, 8)))


@pytest.mark.parametrize(
    "spec",
    [
        ModelSpec("mlp", {"hidden": (1 << 30, 1 << 30)}, (8,), 3),
        ModelSpec("mlp", {"hidden": (10**40,)}, (8,), 3),
        ModelSpec("mlp", {"hidden": (1,) * 100_000}, (8,), 3),
        ModelSpec("mlp", {"hidden": "huge"}, (8,), 3),
        ModelSpec("cnn", {}, (8,), 3),
    ],
    ids=["terabytes", "overflow", "deep", "text", "no image"],
)
def test_a_described_model_that_the_weights_do_not_fit_takes_no_memory(spec, monkeypatch):
    artifact, devices, start = make_artifact(model_spec=spec), set(), Mlp.__init__

    def watched(self, *arguments, **options):
        devices.add(torch.empty(0).device.type)
        start(self, *arguments, **options)

    functools.update_wrapper(watched, start)
    monkeypatch.setattr(Mlp, "__init__", watched)
    with pytest.raises(ArtifactError, match=r"fit the model|built here"):
        artifact.build()
    assert devices <= {"meta"}
