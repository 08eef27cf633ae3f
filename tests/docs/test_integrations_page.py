"""The page on integrations: its code runs, its commands are read, its table names what is logged."""

import re
import shlex
import sys
import tomllib
from pathlib import Path

import pytest

import safecompress as sc
from safecompress.loggers import LOGGERS, Logger, figures_of, parse_log
from safecompress.progress import CandidateState, CandidateStatus, RoundStatus

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "integrations.md").read_text(encoding="utf-8")
NEEDS = {"huggingface": "transformers", "lightning": "lightning", "tensorboard": "tensorboard"}


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, flags=re.S | re.M)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_the_code_runs_in_its_order(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = {}
    assert len(blocks("python")) == 6
    for block in blocks("python"):
        for word, package in NEEDS.items():
            if word in block:
                pytest.importorskip(package)
        exec(block, names)
    kept = sc.Artifact.load(tmp_path / "small.safetensors")
    assert kept.density == pytest.approx(0.1, abs=1e-3)
    assert names["sparse"].num_steps == 200 and names["sparse"].num_rewires == 7
    names["Winners"]().stands(RoundStatus(2, 3, 10, (CandidateStatus("keep", CandidateState.WON, 0.5, 0.5, 1.0),)))


@pytest.mark.slow
def test_the_commands_name_logs_that_can_be_opened(tmp_path):
    from typer.testing import CliRunner

    from safecompress.cli.app import app
    from safecompress.cli.verbs import compress  # noqa: F401

    (block,) = blocks("sh")
    kinds = []
    for line in block.splitlines():
        words = shlex.split(line)
        assert words[:2] == ["safecompress", "compress"] and (ROOT / words[2]).is_file() and words[3] == "--log"
        kinds.append(words[4].partition(":")[0])
        pytest.importorskip(kinds[-1])
        assert isinstance(parse_log(words[4]), Logger)
    assert sorted(kinds) == sorted(LOGGERS.builtins)
    assert "--log" in CliRunner().invoke(app, ["compress", "--help"], env={"COLUMNS": "200"}).stdout


def test_the_table_names_the_figures_of_a_round():
    shown = set(re.findall(r"`(round/\w+)`", PAGE))
    round_ = RoundStatus(1, 1, 1, (CandidateStatus("keep", CandidateState.WON, 0.5, 0.5, 1.0),))
    assert shown == {name for name in figures_of(round_) if name.startswith("round/")}


def test_the_entry_point_is_the_group_that_is_read(tmp_path, monkeypatch):
    (block,) = blocks("toml")
    ((group, points),) = tomllib.loads(block)["project"]["entry-points"].items()
    assert group == LOGGERS.group
    code = "from safecompress.loggers import Logger\nclass CsvLogger(Logger):\n"
    code += "    def __init__(self, target, settings): self.target = target\n"
    code += "    def measured(self, step, figures): ...\n    def close(self, *, failed): ...\n"
    (tmp_path / "my_package.py").write_text(code)
    info = tmp_path / "my_package-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: my-package\nVersion: 1.0\n")
    lines = "".join(f"{name} = {value}\n" for name, value in points.items())
    (info / "entry_points.txt").write_text(f"[{group}]\n{lines}")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "my_package", raising=False)
    assert parse_log("csv:figures.csv").target == "figures.csv"
    sys.modules.pop("my_package")


@pytest.mark.parametrize("link", sorted(set(re.findall(r"\]\((\.\./[^)]+)\)", PAGE))))
def test_links_lead_somewhere(link):
    assert (ROOT / "docs" / link).resolve().is_file()
