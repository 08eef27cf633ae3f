"""Files of the user's own, on another scale and with groups: what ships reads raw rows, and predicts as trained."""

import csv

import numpy as np
import pytest
import torch

from safecompress import Artifact, Dataset
from safecompress.config import load_config
from safecompress.training import predict_logits
from safecompress.workflows.loading import load_rows
from whole_runs import report_of, run_cli, write_spec

pytestmark = pytest.mark.slow

SIZES = {
    "train": 240, "member_fit": 80, "member_select": 80, "member_verdict": 80, "validation": 60, "test": 120,
    "nonmember_fit": 80, "nonmember_select": 80, "nonmember_verdict": 80, "population": 60,
}  # fmt: skip
REQUIRE = [
    {"metric": "gap.auc", "at_most": 0.9},
    {"metric": "label_only.auc", "at_most": 0.9},
    {"metric": "accuracy", "at_least": 0.5},
]


def people(seed=0):
    """720 rows of 300 patients, none of them on the scale that a network likes; three classes, by a rule."""
    generator = np.random.default_rng(seed)
    shift, scale = np.array([170, 7e4, -0.001, 37]), np.array([20, 2e4, 0.002, 1])
    plain = generator.normal(size=(720, 4))
    classes = np.digitize(plain @ [1, -1, 0.5, 0.5], [-0.7, 0.7])
    return plain * scale + shift, classes, generator.integers(300, size=720)


def write_npz(folder):
    features, classes, patients = people()
    np.savez(folder / "people.npz", rows=features, kind=np.array(["low", "mid", "high"])[classes], patient=patients)
    options = {"features": "rows", "label": "kind", "group": "patient"}
    return {"name": "npz", "path": "people.npz", **options}


def write_csv(folder):
    features, classes, patients = people()
    with (folder / "people.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["patient", "height", "salary", "drift", "heat", "kind"])
        for row, label, patient in zip(features, classes, patients, strict=True):
            writer.writerow([f"p{patient}", *map(repr, map(float, row)), ["low", "mid", "high"][label]])
    return {"name": "csv", "path": "people.csv", "label": "kind", "group": "patient"}


@pytest.fixture(params=[write_npz, write_csv], ids=["npz", "csv"], scope="module")
def run(request, tmp_path_factory):
    """A folder with data, spec and run."""
    home = tmp_path_factory.mktemp("people")
    source = request.param(home)
    data = {"source": source, "normalise": "standard", **SIZES}
    changes = {"data": data, "model": {"hidden": [256, 256]}, "recipe": {"epochs": 25}, "require": REQUIRE}
    spec = write_spec(home / "spec.toml", name="people", **changes)
    ended = run_cli("compress", spec, "--out", home / "run")
    assert ended.code == 0, ended.err
    return home


def test_the_artifact_predicts_of_raw_rows_what_its_network_says_in_training_space(run):
    rows = load_rows(load_config(run / "spec.toml"))
    artifact = Artifact.load(run / "run" / "artifact.safetensors")
    raw, labels = rows.raw.part("test")
    scaled, same_labels = rows.split.part("test")
    assert torch.equal(labels, same_labels)
    in_training = predict_logits(artifact.build(), scaled).softmax(1)
    served = artifact.predict(raw.numpy().astype(np.float64))
    assert torch.allclose(served, in_training, atol=1e-6)
    assert torch.equal(served.argmax(1), in_training.argmax(1))
    without = predict_logits(artifact.build(), raw).softmax(1)
    assert not torch.equal(without.argmax(1), served.argmax(1))  # the transform is no idle one
    patients = rows.raw.dataset.groups[rows.raw.indices["test"]]
    _, first = np.unique(patients, return_index=True)  # one row of each patient counts
    accuracy = (served.argmax(1) == labels)[np.sort(first)].double().mean().item()
    assert len(first) < len(labels)
    assert accuracy == report_of(run / "run")["measurements"]["accuracy"]["value"] > 0.6


def test_the_transform_comes_from_the_train_rows_alone(run):
    rows = load_rows(load_config(run / "spec.toml"))
    artifact = Artifact.load(run / "run" / "artifact.safetensors")
    train = rows.raw.part("train")[0].double()
    assert torch.allclose(artifact.task.shift.double(), train.mean(0))
    assert torch.allclose(artifact.task.scale.double(), train.std(0, correction=0))
    everyone = rows.raw.dataset.features.double()
    assert not torch.allclose(artifact.task.shift.double(), everyone.mean(0), rtol=1e-4)


def test_no_patient_straddles_two_parts(run):
    split = load_rows(load_config(run / "spec.toml")).raw
    parts = ("train", "validation", "test", "nonmember_fit", "nonmember_select", "nonmember_verdict")
    patients = {part: set(split.dataset.groups[split.indices[part]].tolist()) for part in parts}
    assert all(len(patients[part]) < split.size(part) for part in parts)  # there are groups to be torn
    for index, part in enumerate(parts):
        for other in parts[index + 1 :]:
            assert not patients[part] & patients[other]
    assert {name: part["rows"] for name, part in report_of(run / "run")["split"]["parts"].items()} == SIZES


def test_the_classes_keep_their_names(run):
    artifact = Artifact.load(run / "run" / "artifact.safetensors")
    assert artifact.task.class_names == ("high", "low", "mid")
    assert report_of(run / "run")["split"]["parts"]["train"]["classes"].keys() == {"high", "low", "mid"}


def test_the_written_spec_finds_the_data_from_the_run_folder(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    again = run_cli("compress", run / "run" / "spec.toml", "--out", run / "run")
    assert again.code == 0, again.err
    assert "dense:" not in again.err


def test_an_audit_judges_the_same_file_alike(run, tmp_path):
    ended = run_cli(
        "audit", run / "run" / "artifact.safetensors", "--spec", run / "spec.toml", "--out", tmp_path / "audit"
    )
    assert ended.code == 0
    ours, theirs = report_of(tmp_path / "audit"), report_of(run / "run")
    assert ours["digests"]["verdict"] == theirs["digests"]["verdict"]
    assert ours["dense"] == theirs["dense"]


def test_a_train_row_that_changed_makes_another_job(run):
    number = load_rows(load_config(run / "spec.toml")).raw.indices["train"][0]
    (file,) = [path for path in run.iterdir() if path.name in ("people.npz", "people.csv")]
    before = file.read_bytes()
    if file.suffix == ".npz":
        arrays = dict(np.load(file))
        arrays["rows"][number, 0] += 1
        np.savez(file, **arrays)
    else:
        lines = before.decode().splitlines(keepends=True)
        patient, height, rest = lines[1 + number].split(",", 2)
        lines[1 + number] = f"{patient},{float(height) + 1},{rest}"
        file.write_text("".join(lines))
    try:
        ended = run_cli("compress", run / "spec.toml", "--out", run / "run")
    finally:
        file.write_bytes(before)
    assert ended.code == 2
    assert "seed or version differ" in ended.err


def test_a_run_on_arrays_of_the_same_content_is_the_same(run):
    """The npz and the csv file hold the same numbers: the dataset does not depend on how they were stored."""
    features, classes, patients = people()
    kinds = [["high", "low", "mid"].index(["low", "mid", "high"][c]) for c in classes]
    arrays = Dataset.from_arrays(features, kinds, class_names=["high", "low", "mid"], groups=patients)
    loaded = load_config(run / "spec.toml").load_dataset()
    assert torch.equal(loaded.features, arrays.features)
    assert torch.equal(loaded.labels, arrays.labels)
