"""Whether rows are a model's members is proved by its run folder or by a file beside it, or it is in doubt."""

import json
import stat

import numpy as np
import pytest
import torch

import safecompress as sc
from safecompress.auditing.audited_model import AuditedModel
from safecompress.auditing.members import check_members, write_members
from safecompress.data.sizes import PARTS
from safecompress.data.splits import DataSplit
from safecompress.errors import ArtifactError
from safecompress.spec import Verdict

ROWS = np.random.default_rng(0).normal(size=(120, 3)).astype(np.float32)
DATA = sc.Dataset.from_arrays(ROWS, np.arange(120) % 2)
INDICES = {
    "train": np.arange(60), "member_fit": np.arange(20), "member_verdict": np.arange(20, 60),
    "nonmember_fit": np.arange(60, 80), "nonmember_verdict": np.arange(80, 120),
}  # fmt: skip


def split_of(**changes):
    return DataSplit(DATA, {part: np.empty(0, dtype=np.int64) for part in PARTS} | INDICES | changes)


@pytest.fixture
def model(tmp_path):
    path = tmp_path / "model.safetensors"
    network = torch.nn.Linear(3, 2)
    sc.Artifact(network.state_dict(), {}, None, sc.TaskInfo(2, (), (3,))).save(path)
    return AuditedModel.of_artifact(path, model=network)


def test_members_that_nothing_proves_are_in_doubt(model):
    check = check_members(model, split_of(), model.path)
    assert (check.name, check.subject, check.outcome) == ("members", "data", Verdict.INCONCLUSIVE)
    assert "safecompress members FILE" in check.detail
    assert check_members(model, split_of(), None).outcome is Verdict.INCONCLUSIVE


def test_the_file_beside_the_model_proves_them(model):
    written = write_members(model.path, split_of())
    assert written.name == "model.members" and stat.S_IMODE(written.stat().st_mode) == 0o600
    assert check_members(model, split_of(), model.path).outcome is Verdict.PASS
    sample = {"train": np.arange(5, 55), "member_fit": np.arange(5, 20), "member_verdict": np.arange(20, 55)}
    assert check_members(model, split_of(**sample), model.path).outcome is Verdict.PASS


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"train": np.arange(30, 90)}, r"30 of 60 rows of train were not trained on"),
        ({"member_verdict": np.arange(40, 80)}, r"20 of 40 rows of member_verdict were not trained on"),
        ({"nonmember_verdict": np.arange(50, 90)}, r"10 of 40 rows of nonmember_verdict were trained on"),
    ],
)
def test_other_rows_are_refused(model, change, reason):
    write_members(model.path, split_of())
    with pytest.raises(ArtifactError, match=reason):
        check_members(model, split_of(**change), model.path)


def test_rows_under_another_label_are_other_rows(model):
    write_members(model.path, split_of())
    relabelled = sc.Dataset.from_arrays(ROWS, 1 - np.arange(120) % 2)
    with pytest.raises(ArtifactError, match="60 of 60 rows of train were not trained on"):
        check_members(model, DataSplit(relabelled, split_of().indices), model.path)


def test_a_file_that_belongs_to_another_model_or_is_broken_is_refused(model):
    written = write_members(model.path, split_of())
    model.path.write_bytes(model.path.read_bytes() + b" ")
    with pytest.raises(ArtifactError, match="another model"):
        check_members(model, split_of(), model.path)
    written.write_text(json.dumps({"rows": "all"}))
    with pytest.raises(ArtifactError, match="no file of members"):
        check_members(model, split_of(), model.path)


def test_the_file_can_be_read_by_nobody_without_its_key(model):
    """Rows are digests under a key that is drawn anew: two files of the same rows share none."""
    first = json.loads(write_members(model.path, split_of()).read_text())
    again = json.loads(write_members(model.path, split_of()).read_text())
    assert len(set(first["rows"])) == 60 and not set(first["rows"]) & set(again["rows"])
