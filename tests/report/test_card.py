"""The model card: metadata that a hub reads, the verdict and its limits, and no name that breaks out."""

import re
from dataclasses import replace

import pytest
from sample_reports import HOSTILE, renamed_report, report, whole_report

from safecompress.report import save_report, to_card
from safecompress.report.files import CARD

yaml = pytest.importorskip("yaml")


def parts(card):
    """The metadata, and the text below."""
    empty, metadata, body = card.split("---\n", 2)
    assert empty == ""
    return yaml.safe_load(metadata), body


@pytest.mark.slow
def test_the_metadata_is_what_a_hub_reads():
    built = whole_report()
    metadata, _ = parts(to_card(built))
    assert metadata["library_name"] == "safecompress"
    assert metadata["pipeline_tag"] == "tabular-classification"
    assert {"membership-inference", "sparsity"} <= set(metadata["tags"])
    (model,) = metadata["model-index"]
    (result,) = model["results"]
    assert model["name"] == "digits"
    assert result["task"]["type"] == "tabular-classification"
    assert result["dataset"] == {"type": built.split["name"], "name": built.split["name"], "split": "test"}
    accuracy, *leaks = result["metrics"]
    assert (accuracy["type"], accuracy["value"]) == ("accuracy", pytest.approx(built.measurements["accuracy"]["value"]))
    assert [leak["name"] for leak in leaks] == [
        f"AUC of the attack {n} (0.5 is guessing)" for n in ("loss", "gap", "neural")
    ]
    assert [leak["value"] for leak in leaks] == pytest.approx(
        [built.measurements[f"{n}.auc"]["value"] for n in ("loss", "gap", "neural")], rel=1e-5
    )


def test_no_license_is_claimed_unless_one_is_given():
    assert "license" not in parts(to_card(report()))[0]
    assert parts(to_card(report(), license_id="apache-2.0"))[0]["license"] == "apache-2.0"
    assert parts(to_card(report(), license_id='x"\n- y: z'))[0]["license"] == 'x"�- y: z'


def test_images_are_told_from_tables():
    artifact = report().artifact
    photo = {**artifact, "model": {**artifact["model"], "input_shape": [3, 32, 32]}}
    assert parts(to_card(replace(report(), artifact=photo)))[0]["pipeline_tag"] == "image-classification"
    assert "pipeline_tag" not in parts(to_card(replace(report(), artifact={**artifact, "model": None})))[0]


@pytest.mark.parametrize("verdict", ["PASS", "FAIL", "INCONCLUSIVE", "ERROR"])
def test_verdict_requirements_and_limits_are_in_the_text(verdict):
    built = replace(report(), verdict=verdict, doubts=["ERROR: a doubt"])
    _, body = parts(to_card(built))
    assert f"**{verdict}**" in body
    assert "differential privacy" in body
    assert "What keeps the verdict from PASS:\n\n- ERROR: a doubt" in body
    for finding in built.findings:
        assert f"| {finding['requirement']} |" in body
    assert built.digests["artifact"] in body


def test_how_to_load_is_told_where_it_can_be_loaded():
    assert 'load("artifact.safetensors")' in to_card(report())
    assert 'load("artifact.onnx")' in to_card(replace(report(), artifact={**report().artifact, "format": "onnx"}))
    own = to_card(replace(report(), artifact={**report().artifact, "model": None}))
    assert "load(" not in own and "author's" in own


def test_without_an_accuracy_there_is_no_result_to_index():
    metadata, _ = parts(to_card(replace(report(), measurements={})))
    assert "model-index" not in metadata


def test_hostile_names_stay_strings_in_the_metadata_and_text_below():
    card = to_card(renamed_report(HOSTILE))
    metadata, body = parts(card)
    (model,) = metadata["model-index"]
    assert model["name"].startswith("a|b�c�# d�[31m </style>")
    assert set(metadata) == {"library_name", "pipeline_tag", "tags", "metrics", "model-index"}
    assert all(c.isprintable() or c == "\n" for c in card)
    outside = re.sub(r"```.*?```", "", body, flags=re.S)
    assert "<" not in outside and "](" not in outside
    assert body.count("```") == 2


def test_it_is_written_beside_the_report_and_no_readme_is_touched(tmp_path):
    (tmp_path / "README.md").write_text("mine")
    save_report(report(), tmp_path)
    assert (tmp_path / CARD).read_text() == to_card(report())
    assert (tmp_path / "README.md").read_text() == "mine"
