"""The page on reading a report: files, words and numbers that it names are those of the product; its code runs."""

import re
from pathlib import Path

import pytest

from safecompress.certify.exposure import MIN_ROWS, MIN_SIDE
from safecompress.metrics.certifiers import MIN_EXPOSED, num_exposed
from safecompress.report.files import JSON, RENDERED
from safecompress.report.model import READABLE, SCHEMA_VERSION
from safecompress.report.text import MEANING
from whole_runs import run_cli, run_code

PAGE = (Path(__file__).parents[2] / "docs" / "report.md").read_text(encoding="utf-8")
FLAT = " ".join(PAGE.split())


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, flags=re.S | re.M)


def test_the_files_are_those_that_a_run_leaves():
    assert set(re.findall(r"^\| `([\w.]+)` \|", PAGE, flags=re.M)) == {JSON, *RENDERED}


def test_verdicts_and_numbers_are_the_codes():
    assert all(f"{verdict}: " in FLAT for verdict in MEANING)
    assert (MIN_SIDE, MIN_ROWS) == (10, 20)
    assert "stands for ten members, ten others and twenty rows at least" in FLAT
    assert num_exposed(5000) == 50 and "one in a hundred" in FLAT
    assert MIN_EXPOSED == num_exposed(40) == 20 and "twenty at least" in FLAT
    assert f"`schema_version`, now {SCHEMA_VERSION}; reports of version {READABLE[0]} are read" in FLAT


def test_the_pictures_that_it_explains_are_on_the_page(finished_once):
    html = (finished_once[0] / "run" / "report.html").read_text()
    names = ("Accuracy against exposure", "Who would be found", "Who is most exposed", "What each layer keeps")
    for name in (*names, "round by round", "Size and speed", "Can the attackers be believed?", "How to have it again"):
        assert name.lower() in FLAT.lower() and name in html, name


def test_every_command_is_one(finished):
    for line in blocks("sh")[0].splitlines():
        words = line.partition("#")[0].split()[1:]
        ended = run_cli(*[word.replace("runs/digits", str(finished / "run")) for word in words])
        assert ended.code == 0, ended.err


@pytest.mark.slow
def test_the_code_runs_where_there_are_runs(finished):
    (finished / "runs").mkdir()
    (finished / "run").rename(finished / "runs" / "tiny")
    (code,) = blocks("python")
    assert run_code(code, finished).startswith("tiny PASS 0.")
