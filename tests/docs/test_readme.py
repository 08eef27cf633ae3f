"""The README's code runs as it stands."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from safecompress import Plan
from safecompress.config import parse_config
from whole_runs import run_code

README = Path(__file__).parents[2] / "README.md"


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README.read_text(encoding="utf-8"), flags=re.S | re.M)


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


def test_the_spec_is_read_without_a_fault(tmp_path):
    (spec,) = blocks("toml")
    config = parse_config(spec, base=tmp_path, source="README.md")
    required = [str(requirement) for requirement in config.spec.requirements]
    bounded = ["lira.auc ≤ 0.6", "whitebox.auc ≤ 0.6", "neural.auc ≤ 0.6", "modified_entropy.auc ≤ 0.6"]
    assert required == [*bounded, "accuracy.drop ≤ 0.02"]
    assert config.spec.missing_reference_attacks() == ()  # a newcomer's first spec can pass


@pytest.mark.slow
def test_every_verb_shown_exists():
    from typer.testing import CliRunner

    from safecompress.cli.app import app
    from safecompress.cli.main import register

    register()
    shown = {verb for block in blocks("sh") for verb in re.findall(r"^safecompress (\w+)", block, flags=re.M)}
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
    for verb in shown:
        assert CliRunner().invoke(app, [verb, "--help"]).exit_code == 0
