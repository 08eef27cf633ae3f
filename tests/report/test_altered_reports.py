"""Edited reports: the exit code comes from the findings, a contradiction is an ERROR, and no edit ends in a traceback.

``SAFECOMPRESS_SOAK=N`` tries N edits in place of 150.
"""

import copy
import json
import os
import random

import pytest
from sample_reports import whole_report

from safecompress.cli._support.console import show_report
from safecompress.errors import ArtifactError
from safecompress.report import load_report, render_report, save_report
from safecompress.report.consistency import contradictions
from safecompress.report.schema import load_schema
from safecompress.report.validate import faults_in
from whole_runs import run_cli

NUM_EDITS = int(os.environ.get("SAFECOMPRESS_SOAK", "150"))

EXTREMES = (
    None, True, "", "x", "\x1b[2J", -1, 0, 2**70, 1e308, [], {}, [[]], {"a": {}}, "PASS", "9" * 5000, ["PASS"] * 3,
)  # fmt: skip


@pytest.fixture(scope="module")
def whole():
    return json.loads(json.dumps(whole_report().to_json()))


def saved(folder, data):
    folder.mkdir(exist_ok=True)
    (folder / "report.json").write_text(json.dumps(data))
    return folder


def places(value, path=()):
    yield path
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, one in inner:
        yield from places(one, (*path, key))


def edited(data, chance):
    """One to three random edits: a value replaced, taken out, or put in another place."""
    data = copy.deepcopy(data)
    for _ in range(chance.randint(1, 3)):
        where = chance.choice([path for path in places(data) if path])
        parent = data
        for key in where[:-1]:
            parent = parent[key]
        if chance.random() < 0.25:
            del parent[where[-1]]
        elif chance.random() < 0.3:
            other = data
            for key in chance.choice([*places(data)]):
                other = other[key]
            parent[where[-1]] = copy.deepcopy(other)
        else:
            parent[where[-1]] = chance.choice(EXTREMES)
    return data


def test_the_schema_is_read_as_jsonschema_reads_it(whole):
    jsonschema = pytest.importorskip("jsonschema")
    checker, chance = jsonschema.Draft202012Validator(load_schema()), random.Random(0)
    assert list(faults_in(whole, load_schema())) == []
    for _ in range(60):
        data = edited(whole, chance)
        assert bool(list(faults_in(data, load_schema()))) == (not checker.is_valid(data)), data


def test_reports_of_ours_contradict_nothing(whole, tmp_path):
    loaded = load_report(saved(tmp_path / "r", whole))
    assert contradictions(loaded) == ()
    assert loaded.to_json() == whole


def test_the_exit_code_is_not_believed(whole, tmp_path):
    assert whole["verdict"] != "PASS"
    for changes in (
        {"exit_code": 0},
        {"exit_code": 0, "verdict": "PASS"},
        {"exit_code": 1 if whole["exit_code"] != 1 else 3},
    ):
        ended = run_cli("report", saved(tmp_path / "r", {**whole, **changes}))
        assert ended.code == 3
        assert "contradicts itself" in " ".join(ended.out.split())
        assert "PASS: every requirement" not in ended.out
        page = (tmp_path / "r" / "report.html").read_text()
        assert "contradicts itself" in page
        assert json.loads(run_cli("report", tmp_path / "r", "--json").out)["verdict"] == "ERROR"


def test_a_health_check_that_does_not_hold_needs_its_doubt(whole, tmp_path):
    """Else a doubt that was taken out, verdict and exit code with it, would turn INCONCLUSIVE into PASS."""
    sound = next(number for number, check in enumerate(whole["health"]) if check["outcome"] == "PASS")
    broken = copy.deepcopy(whole)
    broken["health"][sound]["outcome"] = "ERROR"
    (said,) = contradictions(load_report(saved(tmp_path / "r", broken)))
    assert said.endswith("does not hold, and no doubt says so")


def turned(data):
    """All verdicts of a report that does not pass made PASS."""
    data = copy.deepcopy(data)
    for finding in data["findings"]:
        finding["verdict"] = "PASS"
    return {**data, "verdict": "PASS", "exit_code": 0, "errors": {}, "doubts": []}


def test_findings_that_their_figures_contradict_are_an_error(whole, tmp_path):
    loaded = load_report(saved(tmp_path / "r", turned(whole)))
    assert (loaded.verdict, loaded.exit_code) == ("ERROR", 3)
    others = copy.deepcopy(whole)
    metric = next(f["metric"] for f in others["findings"] if f["measurement"] and f["metric"] in others["measurements"])
    others["measurements"][metric]["value"] += 0.01
    assert any(
        f"on {metric} has other figures" in words for words in contradictions(load_report(saved(tmp_path, others)))
    )


def test_edited_reports_are_shown_or_refused_in_words(whole, tmp_path, capsys):
    chance, counts = random.Random(20), {"refused": 0, "an error": 0, "shown": 0}
    for number in range(NUM_EDITS):
        data = edited(whole, chance)
        try:
            loaded = load_report(saved(tmp_path / "r", data))
            render_report(loaded, tmp_path / "r")
            show_report(loaded, None)
        except ArtifactError:
            counts["refused"] += 1
            continue
        except Exception as error:
            pytest.fail(f"edit {number}: {type(error).__name__}: {error}")
        assert loaded.exit_code != 0 or data["verdict"] == "PASS"
        counts["an error" if loaded.verdict == "ERROR" else "shown"] += 1
        assert "\x1b[2J" not in capsys.readouterr().out
    print(counts)
    assert counts["refused"] > 0 and sum(counts.values()) == NUM_EDITS


@pytest.mark.parametrize(
    "text", ["[" * 100000, '{"a":' * 5000, "1e999", "NaN", '"\\ud800"', "", "\x00", "null", "[]", "9" * 10000]
)
def test_texts_that_are_no_report(text, tmp_path):
    (tmp_path / "report.json").write_text(text)
    ended = run_cli("report", tmp_path)
    assert ended.code == 3
    assert "Traceback" not in ended.err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["report.json"]


def test_saved_reports_load_as_they_were(tmp_path):
    save_report(whole_report(), tmp_path / "r")
    assert load_report(tmp_path / "r").verdict == whole_report().verdict
