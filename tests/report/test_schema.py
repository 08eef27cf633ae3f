"""report.json's schema says what the dataclass has, holds of every report, and refuses what is none."""

import copy
import json
from dataclasses import fields

import pytest
from sample_reports import HOSTILE, hostile_report, renamed_report, report, whole_report

from safecompress.report import Report
from safecompress.report.model import SCHEMA_VERSION
from safecompress.report.schema import load_schema, schema_text

jsonschema = pytest.importorskip("jsonschema")


def faults(value):
    checker = jsonschema.Draft202012Validator(load_schema())
    return [error.json_path for error in checker.iter_errors(value)]


@pytest.fixture(scope="module")
def whole():
    return json.loads(json.dumps(whole_report().to_json()))


def test_it_is_a_schema_of_this_version():
    schema = load_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    assert schema["$id"] == f"urn:safecompress:report:{SCHEMA_VERSION}"
    assert schema["properties"]["schema_version"] == {"const": SCHEMA_VERSION}
    assert json.loads(schema_text()) == schema


def test_its_fields_are_the_reports_fields():
    schema, names = load_schema(), [field.name for field in fields(Report)]
    assert list(schema["properties"]) == names
    assert schema["required"] == names
    assert schema["additionalProperties"] is False


def test_every_definition_is_used():
    text = schema_text()
    for name in load_schema()["$defs"]:
        assert f'"#/$defs/{name}"' in text


def test_reports_are_what_it_says(whole):
    assert faults(whole) == []
    assert faults(json.loads(json.dumps(report().to_json()))) == []
    assert faults(json.loads(json.dumps(report(search={}).to_json()))) == []
    assert faults(json.loads(json.dumps(renamed_report(HOSTILE).to_json()))) == []


def test_what_lacks_its_parts_is_refused():
    broken = json.loads(json.dumps(hostile_report().to_json()))
    assert "$.split" in faults(broken)  # it has parts and no name


@pytest.mark.parametrize(
    ("where", "value", "fault"),
    [
        (("verdict",), "SAFE", "$.verdict"),
        (("exit_code",), 2, "$.exit_code"),
        (("schema_version",), 2, "$.schema_version"),
        (("unheard_of",), 1, "$"),
        (("findings", 0, "bound"), "0.75", "$.findings[0].bound"),
        (("findings", 0, "measurement", "low"), None, "$.findings[0].measurement"),
        (("measurements", "accuracy", "direction"), "up", "$.measurements.accuracy.direction"),
        (("exposure", "roc", "artifact", "loss", 0, "tpr"), 1.5, "$.exposure.roc.artifact.loss[0].tpr"),
        (("exposure", "worst_case", "num_rows"), 3, "$.exposure.worst_case"),
        (("exposure", "scores"), [0.1, 0.2], "$.exposure"),
        (("search", "rounds", 0, "candidates", 0, "scores"), [0.1], "$.search.rounds[0].candidates[0]"),
        (("search", "layers", 0, "end"), 2, "$.search.layers[0].end"),
        (("speed", "path"), "/home/me", "$.speed"),
        (("split", "parts", "train", "rows"), -1, "$.split.parts.train.rows"),
    ],
)
def test_a_slip_is_found_where_it_is(where, value, fault, whole):
    slipped = copy.deepcopy(whole)
    *path, last = where
    at = slipped
    for step in path:
        at = at[step]
    at[last] = value
    assert fault in faults(slipped) or any(found.startswith(fault) for found in faults(slipped))


@pytest.mark.parametrize("name", [field.name for field in fields(Report)])
def test_no_field_may_be_missing(name, whole):
    assert faults({key: value for key, value in whole.items() if key != name}) == ["$"]
