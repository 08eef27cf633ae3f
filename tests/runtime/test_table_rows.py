"""A file that was trained on a table scores new rows, from whatever holds them, as it scored the table's own."""

import datetime
import json
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

from safecompress.config.prepared import prepare_data
from safecompress.data import read_csv
from safecompress.errors import ArtifactError, DataError
from safecompress.export import Artifact, ServedModel, TaskInfo
from safecompress.models import ModelSpec
from safecompress.runtime import load
from safecompress.runtime.predictor import TableWarning
from safecompress.storage import write_bytes
from safecompress.tables import Column, TableSchema
from whole_runs import run_cli

HEADER = ["name", "age", "town", "paid", "seen", "ill"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A table of 200 people with missing cells, its prepared rows, and an artifact of a network for them."""
    folder, random = tmp_path_factory.mktemp("table"), np.random.default_rng(0)
    rows = []
    for row in range(200):
        seen = datetime.date(2020, 1, 1) + datetime.timedelta(days=int(random.integers(700)))
        age = "" if row % 9 == 0 else str(random.integers(20, 80))
        town = "NA" if row % 11 == 0 else str(random.choice(["Oslo", "Rome", "Bern"]))
        paid = f"{random.uniform(1000, 3000):,.2f}".translate(str.maketrans(",.", ".,"))
        rows.append([f"p{row}", age, town, paid, seen.strftime("%d.%m.%Y"), "yes" if row % 3 else "no"])
    path = folder / "people.csv"
    path.write_bytes("\n".join(";".join(row) for row in [HEADER, *rows]).encode("cp1252"))
    data = prepare_data(read_csv(path, label="ill", ignore=["name"]), {}, "standard", 0)
    spec = ModelSpec("mlp", {"hidden": (8,)}, data.task.input_shape, 2)
    artifact = Artifact(spec.fresh(0).state_dict(), {}, spec, data.task)
    artifact.save(folder / "a.safetensors")
    return path, rows, data, folder / "a.safetensors"


def of_rows(rows):
    return [dict(zip(HEADER, row, strict=True)) for row in rows]


def test_the_tables_own_rows_get_the_logits_of_the_run(trained):
    path, _, data, file = trained
    artifact, predictor = Artifact.load(file), load(file, engine="torch")
    assert artifact.task.table == data.raw.dataset.table
    train = data.raw.indices["train"]
    features, _ = data.raw.part("train")
    samples = predictor.rows(path).features[train]
    assert np.array_equal(samples, features.numpy())
    with torch.no_grad():
        wanted = ServedModel(artifact.build(), artifact.task)(features)
    assert np.array_equal(predictor.logits(samples), wanted.numpy())
    prediction = predictor.predict(path)
    assert prediction.warnings == ()
    assert prediction.places == tuple(range(2, 202))
    assert np.allclose(prediction.probabilities[train], wanted.softmax(1).numpy(), atol=1e-6)
    assert prediction.classes[int(train[0])] == data.raw.dataset.class_names[int(wanted[0].argmax())]


class Series(list):
    def to_list(self):
        return list(self)


class Frame:
    """As pandas and Polars have one: columns by name, in another order, and some more."""

    def __init__(self, rows, method="to_list"):
        self.columns = ["more", *reversed(HEADER)]
        self.rows, self.method = rows, method

    def __getitem__(self, name):
        return Series("" if name == "more" else row[HEADER.index(name)] for row in self.rows)


def test_rows_may_come_in_whatever_holds_them(trained):
    path, rows, _, file = trained
    predictor = load(file, engine="torch")
    wanted = predictor.rows(path).features[:5]
    typed = [[*row[:1], int(row[1]) if row[1] else float("nan"), None if row[2] == "NA" else row[2],
              float(row[3].replace(".", "").replace(",", ".")), datetime.datetime.strptime(row[4], "%d.%m.%Y"), ""]
             for row in rows[:5]]  # fmt: skip
    columns = dict(zip(HEADER, zip(*typed, strict=True), strict=True))
    for held in (of_rows(rows[:5]), of_rows(typed), Frame(rows[:5]), Frame(typed), columns, str(path)):
        assert np.array_equal(predictor.rows(held).features[:5], wanted), held
    assert len(predictor.predict(of_rows(rows[1:2])[0])) == 1


def test_what_cannot_be_scored_is_listed_by_column_and_row(trained, tmp_path: Path):
    _, rows, _, file = trained
    predictor = load(file, engine="torch")
    bad = of_rows(rows[1:4])
    bad[0]["town"], bad[1]["paid"], bad[2]["seen"] = "Secret", "much", ""
    with pytest.raises(DataError) as caught:
        predictor.predict(bad)
    message = str(caught.value)
    assert "3 faults" in message
    assert "'town' is of no known category: 1 row (0). Known: 'Bern', 'Oslo', 'Rome'" in message
    assert "'paid' is no number: 1 row (1)" in message
    assert "'seen' is missing" in message
    assert "Secret" not in message
    with pytest.raises(DataError, match=r"no column 'age'\. Did you mean 'Age'"):
        predictor.predict([{"Age" if name == "age" else name: cell for name, cell in bad[0].items()}])
    with pytest.raises(DataError, match="not equally long"):
        predictor.predict({name: [1] * (2 if name == "age" else 1) for name in HEADER})
    huge = of_rows(rows[1:2])
    huge[0]["age"] = 10**60
    with pytest.raises(DataError, match="too large for float32"):
        predictor.predict(huge)


def test_values_far_outside_are_scored_and_named(trained):
    _, rows, _, file = trained
    far = of_rows(rows[1:4])
    far[0]["age"], far[2]["seen"] = "900", "1.1.1950"
    with pytest.warns(TableWarning) as caught:
        prediction = load(file, engine="torch").predict(far)
    assert [str(warning.message) for warning in caught] == list(prediction.warnings)
    assert "'age' is far outside of what training saw" in prediction.warnings[0]
    assert "1 row (0)" in prediction.warnings[0]
    assert "1 row (2)" in prediction.warnings[1]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load(file, engine="torch").predict(of_rows(rows[:50]))


def test_a_file_that_knows_no_table_says_so(trained, tmp_path: Path):
    _, rows, data, _ = trained
    spec = ModelSpec("mlp", {"hidden": (8,)}, data.task.input_shape, 2)
    task = TaskInfo(2, ("no", "yes"), data.task.input_shape)
    Artifact(spec.fresh(0).state_dict(), {}, spec, task).save(tmp_path / "b.safetensors")
    with pytest.raises(DataError, match="not trained on a table"):
        load(tmp_path / "b.safetensors", engine="torch").predict(of_rows(rows[:1]))


def test_an_altered_schema_is_refused(trained, tmp_path: Path, monkeypatch):
    file = trained[3]
    artifact = Artifact.load(file)
    with pytest.raises(ArtifactError, match="features of a row"):
        TaskInfo(2, (), (3,), table=artifact.task.table)
    kept = TableSchema.to_json
    monkeypatch.setattr(TableSchema, "to_json", lambda self: kept(self) | {"missing_words": ["-"]})
    altered = artifact._encoded().content  # the digest is over the altered schema, too
    monkeypatch.undo()
    digest = artifact.digest().encode()
    other = Artifact.load(file)
    (tmp_path / "c.safetensors").write_bytes(altered)
    assert Artifact.load(tmp_path / "c.safetensors").digest().encode() != digest == other.digest().encode()
    place = altered.index(b'"digest":"') + len(b'"digest":"')
    (tmp_path / "c.safetensors").write_bytes(altered[:place] + digest + altered[place + len(digest) :])
    with pytest.raises(ArtifactError, match="does not match its digest"):
        Artifact.load(tmp_path / "c.safetensors")
    monkeypatch.setattr(TableSchema, "to_json", lambda self: kept(self) | {"code": "import os"})
    write_bytes(tmp_path / "d.safetensors", artifact._encoded().content)
    with pytest.raises(ArtifactError, match="describes its model or task wrongly"):
        Artifact.load(tmp_path / "d.safetensors")


@pytest.mark.slow
def test_an_onnx_file_carries_the_schema(trained, tmp_path: Path):
    onnx = pytest.importorskip("onnx")
    from safecompress.export.onnx import export_onnx

    path, rows, _, file = trained
    artifact = Artifact.load(file)
    export_onnx(artifact.build(), artifact.task, tmp_path / "a.onnx")
    predictor = load(tmp_path / "a.onnx")
    assert predictor.facts.table == artifact.task.table
    wanted = load(file, engine="torch").predict(path)
    got = predictor.predict(of_rows(rows))
    assert got.classes == wanted.classes
    assert np.allclose(got.probabilities, wanted.probabilities, atol=1e-4)
    model = onnx.load(tmp_path / "a.onnx")
    facts = json.loads(model.metadata_props[0].value)
    for wrong in ({**facts["table"], "columns": []}, TableSchema((Column("a", "numeric"),)).to_json()):
        model.metadata_props[0].value = json.dumps({**facts, "table": wrong})
        onnx.save(model, tmp_path / "b.onnx")
        with pytest.raises(ArtifactError, match="describes itself wrongly"):
            load(tmp_path / "b.onnx")


def test_the_command_writes_what_python_says(trained, tmp_path: Path):
    path, rows, _, file = trained
    wanted = load(file, engine="torch").predict(path)
    told = run_cli("predict", file, path)
    lines = told.out.splitlines()
    assert (told.code, lines[0]) == (0, "line,class,p(no),p(yes)")
    assert [line.split(",")[1] for line in lines[1:]] == wanted.classes
    assert run_cli("predict", file, path, "--format", "json", "--out", tmp_path / "o.json").out == ""
    answer = json.loads((tmp_path / "o.json").read_text())
    assert answer["rows"][0] == {
        "line": 2,
        "class": wanted.classes[0],
        "probabilities": answer["rows"][0]["probabilities"],
    }
    assert np.allclose([row["probabilities"] for row in answer["rows"]], wanted.probabilities, atol=1e-4)
    assert json.loads(run_cli("predict", file, path, "--json").out) == answer
    assert (tmp_path / "o.json").stat().st_mode & 0o777 == 0o600
    text = "\n".join(";".join(row) for row in [HEADER, [*rows[1][:2], "Paris", *rows[1][3:]]])
    (tmp_path / "bad.csv").write_text(text)
    ended = run_cli("predict", file, tmp_path / "bad.csv")
    assert (ended.code, ended.out) == (2, "")
    assert "1 line (2)" in ended.err
