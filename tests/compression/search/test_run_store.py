"""What a store wrote it reads back to the bit; what is broken is said, and nothing is unpickled."""

import shutil

import numpy as np
import pytest
import torch
from tiny_search import tensors_equal

from safecompress.compression.search import Candidate, RunStore
from safecompress.errors import ArtifactError, StorageError
from safecompress.sparsity import SparsityPattern
from safecompress.storage import Seal, tensor_bytes
from safecompress.training import TrainingState

STATE = TrainingState(
    7,
    {
        "fc.weight": torch.randn(3, 4),
        "bn.num_batches_tracked": torch.tensor(7),
        "fc.bias": torch.tensor([-0.0, 1e-45, 3.0]),
    },
    {"fc.weight/momentum_buffer": torch.randn(3, 4), "fc.weight/step": torch.tensor(7.0)},
    {"fc.weight": torch.randn(3, 4)},
)
MASKS, FIRED = {"fc.weight": torch.rand(3, 4) < 0.5}, {"fc.weight": torch.rand(3, 4) < 0.7}
CANDIDATE = Candidate(
    "r1/magnitude+random",
    "r1",
    0,
    "magnitude+random",
    SparsityPattern(MASKS),
    STATE,
    {"fc.weight": torch.rand(3, 4) < 0.7},
)


@pytest.fixture
def store(tmp_path):
    return RunStore(tmp_path / "work")


def equal_states(first, second):
    groups = [(getattr(first, name), getattr(second, name)) for name in ("model", "optimizer", "momentum")]
    same_types = all(a[k].dtype == b[k].dtype and a[k].shape == b[k].shape for a, b in groups for k in a)
    return first.step == second.step and same_types and all(tensors_equal(a, b) for a, b in groups)


def test_a_state_comes_back(store):
    store.save_state("final", STATE)
    assert store.has("final")
    loaded = store.load_state("final")
    assert equal_states(loaded, STATE)
    assert np.signbit(loaded.model["fc.bias"][0].item())


def test_a_candidate_comes_back(store):
    store.save_candidate("candidates/x", CANDIDATE)
    loaded = store.load_candidate("candidates/x")
    for name in ("id", "parent", "round", "branch"):
        assert getattr(loaded, name) == getattr(CANDIDATE, name)
    assert equal_states(loaded.state, STATE)
    assert loaded.pattern.digest() == CANDIDATE.pattern.digest()
    assert all(mask.dtype == torch.bool for mask in (*loaded.pattern.masks.values(), *loaded.fired.values()))
    assert tensors_equal(loaded.fired, CANDIDATE.fired)


def test_the_first_candidate_has_no_parent(store):
    start = Candidate("start", None, -1, "start", SparsityPattern(MASKS), TrainingState(0, {}), MASKS)
    store.save_candidate("parent", start)
    loaded = store.load_candidate("parent")
    assert (loaded.parent, loaded.round, loaded.state.step) == (None, -1, 0)


def test_what_was_not_saved_is_none(store):
    assert not store.has("final")
    assert store.load_state("final") is None
    assert store.load_candidate("final") is None
    store.forget("final")


def test_saving_again_replaces_and_forgetting_removes(store):
    store.save_state("final", TrainingState(1, {}))
    store.save_state("final", TrainingState(2, {}))
    assert store.load_state("final").step == 2
    store.forget("final")
    assert not store.has("final")
    assert list(store.folder.iterdir()) == []


def broken_files(store):
    store.save_candidate("x", CANDIDATE)
    whole = store.path("x").read_bytes()
    yield "cut short", whole[:-5]
    yield "empty", b""
    yield "no safetensors", b"\x80\x04\x95 a pickle"
    yield "a header only", whole[:100]
    yield "the last bit turned", whole[:-1] + bytes([whole[-1] ^ 1])
    yield "without a seal", tensor_bytes({"model/w": torch.zeros(1)}, {"step": "1"})


def test_broken_files_are_missing(store):
    for what, content in broken_files(store):
        store.path("x").write_bytes(content)
        assert not store.has("x"), what
        assert store.load_state("x") is None, what
        assert store.load_candidate("x") is None, what
        with pytest.raises(StorageError, match="removed or altered while the run needed it"):
            store.kept_candidate("x")


def test_files_under_another_name_or_of_another_job_are_missing(store):
    store.save_state("dense", STATE)
    store.path("final").write_bytes(store.path("dense").read_bytes())
    assert not store.has("final")
    assert store.has("dense")
    assert RunStore(store.folder, key=b"another").load_state("dense") is None


def test_a_folder_that_was_removed_is_not_made_again(store):
    shutil.rmtree(store.folder)
    with pytest.raises(StorageError, match="was removed while the run needed it"):
        store.save_state("final", STATE)
    assert not store.folder.exists()


@pytest.mark.parametrize(
    ("tensors", "facts"),
    [
        ({}, {"made_by": "another program"}),
        ({}, {"step": "soon"}),
        ({"weights": torch.zeros(1)}, {"step": "1"}),
        ({"odd/x": torch.zeros(1)}, {"step": "1", "id": "a", "parent": "", "round": "0", "branch": "b"}),
        ({"state/odd/x": torch.zeros(1)}, {"step": "1", "id": "a", "parent": "", "round": "0", "branch": "b"}),
        ({}, {"step": "1", "id": "a", "parent": "", "round": "first", "branch": "b"}),
        ({}, {"step": "1", "id": "a", "round": "0", "branch": "b"}),
    ],
)
def test_sealed_files_of_something_else_are_errors(store, tensors, facts):
    Seal(b"unkeyed").write_tensors(store.path("x"), "x", tensors, facts)
    with pytest.raises(ArtifactError, match="hold what it"):
        store.load_candidate("x")


def test_a_state_without_its_step_is_an_error(store):
    Seal(b"unkeyed").write_tensors(store.path("x"), "x", {"model/w": torch.zeros(1)}, {})
    with pytest.raises(ArtifactError, match="'step'"):
        store.load_state("x")
