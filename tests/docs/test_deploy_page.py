"""The page on what ships: its spec is read, its code runs, its words name what exists."""

import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from safecompress.config import parse_config
from safecompress.export import Packing
from safecompress.metrics.catalogue import OF_THE_TASK
from safecompress.sparsity import Units
from whole_runs import run_code

PAGE = (Path(__file__).parents[2] / "docs" / "deploy.md").read_text(encoding="utf-8")
REST = """
name = "page"
data = { source = "digits" }
model = { name = "mlp" }
safety = { attacks = ["loss"] }
require = [{ metric = "accuracy", at_least = 0.5 }]
"""


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, flags=re.S | re.M)


def test_the_spec_is_read_without_a_fault(tmp_path):
    (spec,) = blocks("toml")
    config = parse_config(REST + spec, base=tmp_path, source="deploy.md")
    assert config.packing == Packing(shrink=True, precision="int8") and config.plan.shape == Units()


@pytest.mark.slow
def test_the_code_runs_in_an_empty_folder(tmp_path):
    (code,) = blocks("python")
    assert run_code(code, tmp_path).startswith("(2, 10) ")


def test_options_and_metrics_exist():
    from safecompress.cli.app import app
    from safecompress.cli.verbs import audit, export, members  # noqa: F401

    verbs = ("audit", "members", "export")
    helps = [CliRunner().invoke(app, [verb, "--help"], env={"COLUMNS": "200"}).stdout for verb in verbs]
    told = " ".join(helps)
    for option in set(re.findall(r"--[a-z-]+", " ".join(blocks("sh")))):
        assert option in told, option
    assert {"artifact.size_bytes", "compression.ratio", "latency.p50_ms"} <= set(OF_THE_TASK)
    for metric in ("artifact.size_bytes", "compression.ratio", "latency.p50_ms"):
        assert f"`{metric}`" in PAGE
