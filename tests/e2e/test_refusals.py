"""What cannot be done is refused in words, with the right exit code and before any training; what diverges is said."""

import errno
import os
from pathlib import Path

import numpy as np
import pytest

from safecompress.data import digits
from safecompress.metrics import stats
from whole_runs import BY_LOSS, contents, digests_of, report_of, run_cli, write_spec

pytestmark = pytest.mark.slow


def write_digits(path, change=lambda features, labels: None):
    data = digits()
    features, labels = data.features.numpy().copy(), data.labels.numpy().copy()
    change(features, labels)
    np.savez(path, x=features, y=labels)


def trained_nothing(run):
    return not any(run.rglob("*.safetensors"))


def one_paragraph(ended, kind):
    """The error's text; it is the last thing said, and no traceback stands before it."""
    assert "Traceback" not in ended.err
    assert "fault of safecompress" not in ended.err
    assert ended.out == ""
    _, found, text = ended.err.partition(f"{kind}: ")
    assert found, ended.err
    assert len(text) > 40
    assert text.count("\n") <= 1 + text.count("\n  - ")
    return text


# --- data ---


def nan(features, labels):
    features[3, 7] = np.nan


def unknown_label(features, labels):
    labels[11] = 12


def negative_label(features, labels):
    labels[:2] = -1


def no_nines(features, labels):
    labels[labels == 9] = 8


TEN = [str(digit) for digit in range(10)]


@pytest.mark.parametrize(
    ("change", "options", "words"),
    [
        (nan, {}, "1 row (3) hold NaN or infinity, in 1 column (7)"),
        (unknown_label, {"class_names": TEN}, "class name, but 1 row (11)"),
        (negative_label, {}, "2 rows (0, 1)"),
        (no_nines, {"class_names": TEN}, "1 class (9) have none"),
        (lambda x, y: None, {"label": "lable"}, "array 'lable'"),
    ],
    ids=["nan", "unknown label", "negative label", "empty class", "no such array"],
)
def test_npz_rows_that_cannot_be_used(change, options, words, tmp_path):
    write_digits(tmp_path / "rows.npz", change)
    source = {"name": "npz", "path": "rows.npz", **options}
    spec = write_spec(tmp_path / "spec.toml", data={"source": source})
    ended = run_cli("compress", spec, "--out", tmp_path / "run")
    assert ended.code == 2
    assert words in one_paragraph(ended, "DataError")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (
            ["a,b,label", "1,2,x", "3,inf,y", "4,5,x"],
            "'b' mixes numbers with infinity, or numbers above 3.4e38: 1 line (3)",
        ),
        (["a,b,label", "1,2,x", "3,4"], "needs 3 cells, as the header has, but 1 line (3)"),
        (["a,b,label", "1,2,x", "3,4,x"], "two at least"),
        (["a,b", "1,2"], "no column 'label'"),
        (["a,b,label", "1,2,", "3,4,x", "5,6,y"], "has no class in 1 line (2)"),
    ],
    ids=["infinite", "ragged", "one class", "no label", "empty label"],
)
def test_csv_tables_that_cannot_be_used(rows, words, tmp_path):
    path = tmp_path / "people.csv"
    path.write_text("\n".join(rows) + "\n")
    spec = write_spec(tmp_path / "spec.toml", data={"source": {"name": "csv", "path": "people.csv", "label": "label"}})
    ended = run_cli("compress", spec, "--out", tmp_path / "run")
    assert ended.code == 2
    assert ended.err.startswith(f"DataError: {path}: ")
    assert words in ended.err
    assert "Traceback" not in ended.err


@pytest.mark.parametrize(
    ("sizes", "words"),
    [
        ({"test": 1000}, ["test 1000", "there are 1797"]),
        ({"member_fit": 300}, ["Member pools", "600 rows", "member_fit 300", "train has 450"]),
        ({"validation": 0}, ["no rows", "validation"]),
        ({"nonmember_verdict": 0, "member_verdict": 0}, ["no rows", "member_verdict, nonmember_verdict"]),
        ({"train": 6, "member_fit": 2, "member_select": 2, "member_verdict": 2}, ["classes (", "6 rows"]),
    ],
    ids=str,
)
def test_too_few_rows_for_a_part(sizes, words, tmp_path):
    """The message names the part and the counts."""
    spec = write_spec(tmp_path / "spec.toml", data=sizes)
    ended = run_cli("compress", spec, "--out", tmp_path / "run")
    assert ended.code == 2
    text = ended.err
    for word in words:
        assert word in text
    assert trained_nothing(tmp_path)
    assert "Traceback" not in text


# --- model ---


def test_a_network_for_images_does_not_fit_flat_rows(tmp_path):
    spec = tmp_path / "spec.toml"
    write_spec(spec)
    spec.write_text(spec.read_text().replace('name = "mlp"', 'name = "cnn"').replace("hidden = [\n    128,\n]", ""))
    ended = run_cli("compress", spec, "--out", tmp_path / "run")
    assert ended.code == 2
    assert "samples of shape (64,)" in one_paragraph(ended, "ModelError")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("factory", "words"),
    [
        ("narrow", "shape (64,) gave RuntimeError"),
        ("three_scores", "tensor of shape (16, 10)"),
        ("pair", "2 of them could be scores of 10 classes"),
        ("centred", "depends on the other rows of the call"),
        ("norms_only", "to be sparse"),
        ("complex_buffer", "can hold this"),
        ("not_a_module", "give a torch.nn.Module"),
        ("raises", "raised ZeroDivisionError:"),
        ("greedy", "argument: 'width'"),
        ("absent", "attribute 'absent'"),
    ],
)
def test_a_model_of_the_users_own_that_cannot_be_used(factory, words, tmp_path, odd_models):
    spec = write_spec(tmp_path / "spec.toml")
    ended = run_cli("compress", spec, "--out", tmp_path / "run", "--model", f"{odd_models}:{factory}")
    assert ended.code == 2
    assert words in ended.err
    one_paragraph(ended, "UsageError" if factory == "norms_only" else "ModelError")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("plainword", "--model takes package.module:factory, got 'plainword'"),
        ("no_such_package.at_all:make", "module named 'no_such_package'"),
        (":make", "--model takes package.module:factory, got ':make'"),
    ],
)
def test_a_model_that_cannot_be_found(name, words, tmp_path):
    ended = run_cli("compress", write_spec(tmp_path / "spec.toml"), "--out", tmp_path / "run", "--model", name)
    assert ended.code == 2
    assert words in one_paragraph(ended, "ModelError")


@pytest.fixture
def odd_models(tmp_path, monkeypatch):
    """A module whose factories make what cannot be used."""
    (tmp_path / "odd_models_for_test.py").write_text(
        """
import torch
from torch import nn

class Pair(nn.Module):
    def __init__(self):
        super().__init__()
        self.head = nn.Linear(64, 10)
    def forward(self, x):
        return self.head(x), 2 * self.head(x)

class Centred(Pair):
    def forward(self, x):
        return self.head(x - x.mean(0))

def narrow(num_classes):
    return nn.Linear(8, num_classes)

def three_scores(input_shape):
    return nn.Linear(*input_shape, 3)

def pair():
    return Pair()

def centred():
    return Centred()

def norms_only(input_shape, num_classes):
    return nn.Sequential(nn.LayerNorm(64), nn.AdaptiveAvgPool1d(10))

def complex_buffer(input_shape, num_classes):
    model = nn.Linear(*input_shape, num_classes)
    model.register_buffer("phase", torch.zeros(2, dtype=torch.complex64))
    return model

def not_a_module():
    return {}

def raises():
    1 / 0

def greedy(width):
    return nn.Linear(64, width)
"""
    )
    monkeypatch.syspath_prepend(tmp_path)
    return "odd_models_for_test"


@pytest.mark.parametrize("path", ["hidden.weights", "body.*.weights"])
def test_a_glob_that_matches_no_weight_is_refused_before_training(path, tmp_path):
    spec = write_spec(tmp_path / "spec.toml", compress={"exclude": [path]})
    ended = run_cli("compress", spec, "--out", tmp_path / "run")
    assert ended.code == 2
    assert f"The glob {path!r} matches no weight" in one_paragraph(ended, "UsageError")
    assert "head.weight" in ended.err  # what there is
    assert trained_nothing(tmp_path)


def test_a_density_too_small_for_the_layers_is_refused_before_training(tmp_path):
    spec = write_spec(tmp_path / "spec.toml", compress={"density": 1e-4})
    ended = run_cli("compress", spec, "--out", tmp_path / "run")
    assert ended.code == 2
    assert "keeps 1 of 9472 weights" in one_paragraph(ended, "UsageError")
    assert trained_nothing(tmp_path)


def test_weights_of_another_network_are_refused_before_training(finished, tmp_path):
    spec = write_spec(finished / "other.toml", model={"hidden": [16], "weights": "run/dense.safetensors"})
    ended = run_cli("compress", spec, "--out", tmp_path / "run")
    assert ended.code == 2
    assert "fit the model: body.0.weight is (128, 64) and should be (16, 64)" in one_paragraph(ended, "ModelError")


def test_a_device_that_is_not_there_is_refused(tmp_path):
    ended = run_cli("compress", write_spec(tmp_path / "spec.toml"), "--out", tmp_path / "run", "--device", "gpu0")
    assert ended.code == 2
    assert "device 'gpu0'" in one_paragraph(ended, "UsageError")
    assert trained_nothing(tmp_path)


def test_more_rounds_than_steps_are_refused(tmp_path):
    spec = write_spec(tmp_path / "spec.toml", search={"rounds": 200})
    ended = run_cli("compress", spec, "--out", tmp_path / "run")
    assert ended.code == 2
    assert "fit into 135 steps" in one_paragraph(ended, "UsageError")


# --- requirements ---


def test_requirements_that_could_never_pass_are_refused_together_before_training(tmp_path):
    impossible = [
        {"metric": "loss.auc", "at_most": 0.51},
        {"metric": "accuracy", "at_least": 0.999},
        {"metric": "density", "at_most": 0.1},
        {"metric": "loss.tpr@fpr=0.001", "at_most": 0.5},
        {"metric": "artifact.size_bytes", "at_most": 40000},
    ]
    spec = write_spec(tmp_path / "spec.toml", safety=BY_LOSS, require=impossible)
    ended = run_cli("compress", spec, "--out", tmp_path / "run")
    assert ended.code == 2
    text = one_paragraph(ended, "SpecError")
    assert "4 faults" in text
    assert "(150 members and 150 non-members" in text
    assert "certify only 0.9783;" in text
    assert "plan keeps density 0.2" in text
    assert "nonmember_verdict has 150" in text
    assert trained_nothing(tmp_path)


def test_a_refused_job_leaves_its_folder_free_for_the_corrected_one(tmp_path):
    """Nobody should have to choose another --out because of a slip in the spec."""
    spec = write_spec(tmp_path / "spec.toml", safety=BY_LOSS, require=[{"metric": "loss.auc", "at_most": 0.51}])
    assert run_cli("compress", spec, "--out", tmp_path / "run").code == 2
    write_spec(spec)
    assert run_cli("compress", spec, "--out", tmp_path / "run").code == 0
    assert report_of(tmp_path / "run")["ledger"]["opening"] == 1


def test_a_second_opening_may_be_more_than_the_rows_can_bear(finished):
    """Every opening halves alpha; the bound that one opening could certify, a later one could not."""
    limit = 0.5 + stats.auc_half_width(150, 150, 0.025) + 0.001
    require = [{"metric": "loss.auc", "at_most": limit}]
    spec = write_spec(finished / "other.toml", compress={"density": 0.3}, safety=BY_LOSS, require=require)
    ended = run_cli("compress", spec, "--out", finished / "second")
    assert ended.code == 2
    assert "alpha 0.0125" in one_paragraph(ended, "SpecError")


# --- training ---


def test_training_that_diverges_is_said_and_keeps_what_was_finished(tmp_path):
    recipe = {"optimizer": "sgd", "learning_rate": 1e9}
    sane = {"optimizer": "adam", "learning_rate": 0.01}
    spec = write_spec(tmp_path / "spec.toml", recipe=recipe, dense_recipe=sane)
    ended = run_cli("compress", spec, "--out", tmp_path / "run")
    assert ended.code == 3
    text = one_paragraph(ended, "TrainingError")
    assert "Training diverged;" in text
    assert "rate (it is 1e+09)" in text
    kept = contents(tmp_path / "run" / "work")
    assert "dense.safetensors" in kept
    again = run_cli("compress", spec, "--out", tmp_path / "run")
    assert again.code == 3
    assert "dense:" not in again.err  # the dense model is not trained again
    assert contents(tmp_path / "run" / "work")["dense.safetensors"] == kept["dense.safetensors"]


def test_a_run_that_diverged_from_the_start_leaves_its_folder_free(tmp_path):
    spec = write_spec(tmp_path / "spec.toml", recipe={"optimizer": "sgd", "learning_rate": 1e9})
    assert run_cli("compress", spec, "--out", tmp_path / "run").code == 3
    assert trained_nothing(tmp_path)
    write_spec(spec)
    assert run_cli("compress", spec, "--out", tmp_path / "run").code == 0


# --- folders ---


def test_a_file_where_the_folder_should_be(tmp_path):
    (tmp_path / "run").write_text("mine")
    ended = run_cli("compress", write_spec(tmp_path / "spec.toml"), "--out", tmp_path / "run")
    assert ended.code == 2
    assert "file stands where" in one_paragraph(ended, "RunFolderError")
    assert (tmp_path / "run").read_text() == "mine"


def test_a_folder_that_may_not_be_written(tmp_path, monkeypatch):
    make = Path.mkdir

    def refuse(path, *args, **kwargs):
        if path == tmp_path / "run":
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        make(path, *args, **kwargs)

    monkeypatch.setattr(Path, "mkdir", refuse)
    ended = run_cli("compress", write_spec(tmp_path / "spec.toml"), "--out", tmp_path / "run")
    assert ended.code == 2
    assert f"{tmp_path / 'run'} may not be written (Permission denied). Choose another folder" in ended.err
    one_paragraph(ended, "RunFolderError")


def test_a_ledger_that_cannot_be_written_is_told_before_training(tmp_path):
    (tmp_path / "file").write_text("")
    spec = write_spec(tmp_path / "spec.toml")
    ended = run_cli("compress", spec, "--out", tmp_path / "run", "--ledger", tmp_path / "file" / "ledger.jsonl")
    assert ended.code == 3
    assert "file stands where" in one_paragraph(ended, "StorageError")
    assert trained_nothing(tmp_path)


def test_a_broken_ledger_is_told_before_training(tmp_path):
    (tmp_path / "ledger.jsonl").write_text("what\n")
    ended = run_cli("compress", write_spec(tmp_path / "spec.toml"), "--out", tmp_path / "run")
    assert ended.code == 3
    assert "1, is no ledger" in one_paragraph(ended, "ArtifactError")
    assert trained_nothing(tmp_path)


def test_a_broken_file_of_the_work_is_made_anew(finished):
    run, spec = finished / "run", finished / "spec.toml"
    digests, broken = digests_of(run), run / "work" / "final.safetensors"
    whole = broken.read_bytes()
    broken.write_bytes(whole[:-100])
    assert run_cli("compress", spec, "--out", run).code == 0
    assert digests_of(run) == digests
    assert len(broken.read_bytes()) == len(whole)


def test_a_broken_artifact_of_a_run_is_made_anew(finished):
    run, spec = finished / "run", finished / "spec.toml"
    digests = digests_of(run)
    (run / "artifact.safetensors").write_bytes(b"broken")
    assert run_cli("compress", spec, "--out", run).code == 0
    assert digests_of(run) == digests
    assert report_of(run)["ledger"]["opening"] == 1
