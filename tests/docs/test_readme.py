"""The README is short, its figures are measured; the code of the page on Python runs as it stands."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from safecompress import Plan
from whole_runs import run_code

ROOT = Path(__file__).parents[2]
README, PYTHON = ROOT / "README.md", ROOT / "docs" / "how-to" / "python.md"


def blocks(language, path=PYTHON):
    return re.findall(rf"^```{language}\n(.*?)^```", path.read_text(encoding="utf-8"), flags=re.S | re.M)


@pytest.mark.slow
@pytest.mark.parametrize("number", range(2))
def test_every_python_block_runs_in_an_empty_folder(number, tmp_path, monkeypatch):
    """With fewer shadows, epochs and rounds than it says, and without health, which no block is about."""
    monkeypatch.setattr("safecompress.certify.verdict.train_control", lambda *_, **__: None)
    monkeypatch.setattr("safecompress.certify.verdict.examine_health", lambda *_, **__: ())
    monkeypatch.setattr("safecompress.api.Plan", lambda arms: Plan(rounds=2, arms=replace(arms, repeats=0)))
    assert len(blocks("python")) == 2
    code = blocks("python")[number]
    brief = '"modified_entropy", sc.attacks.Neural(epochs=5), sc.attacks.WhiteBox(epochs=5)'
    shorter = code.replace("num_shadows=16", "num_shadows=4").replace("epochs=30", "epochs=3")
    shorter = shorter.replace("*attacks[:3]", brief)
    assert (shorter != code) == (brief in shorter) == ("sc.compress(" in code)
    run_code(shorter, tmp_path)


def test_it_is_short_enough_to_be_read():
    assert len(README.read_bytes()) <= 9000


def test_its_figures_are_those_of_the_benchmark():
    table = (ROOT / "benchmarks" / "results" / "folds-location30.md").read_text(encoding="utf-8")
    told = README.read_text(encoding="utf-8").partition("## What was measured")[2]
    figures = re.findall(r"(?<!\d)\.\d{3}(?: \[[^]]+\])?", told)
    assert len(figures) >= 5
    for figure in figures:
        assert figure.replace("[.", "[0.").replace(", .", ", 0.").replace(".", "0.", 1) in table, figure


def test_the_results_page_has_a_place_for_every_figure_that_the_readme_leaves_out():
    page = (ROOT / "docs" / "results.md").read_text(encoding="utf-8")
    table = (ROOT / "benchmarks" / "results" / "folds-location30.md").read_text(encoding="utf-8")
    for mark in ("cifar100-folds", "honest", "location30"):
        assert page.count(f"<!-- {mark} -->") == page.count(f"<!-- /{mark} -->") == 1
    shown = re.findall(r"\.\d{3} \[\.\d{3}, \.\d{3}\]", page.partition("### CIFAR-100")[0])
    assert len(shown) == 12
    assert all(re.sub(r"(?<!\d)\.", "0.", figure) in table for figure in shown)


@pytest.mark.slow
def test_every_verb_shown_exists():
    from typer.testing import CliRunner

    from safecompress.cli.app import app
    from safecompress.cli.main import register

    register()
    shown = verbs_in(ROOT / "docs" / "reference" / "index.md")
    assert shown == {
        "init",
        "compress",
        "audit",
        "bench",
        "report",
        "release",
        "members",
        "tune",
        "compare",
        "list",
        "data",
    }
    for verb in shown | verbs_in(README):
        assert CliRunner().invoke(app, [verb, "--help"]).exit_code == 0


def verbs_in(path):
    return {verb for block in blocks("sh", path) for verb in re.findall(r"^safecompress (\w+)", block, flags=re.M)}
