"""The page on objectives says what the code is: names, options, sources; and its examples run."""

import importlib
import inspect
import json
import re
import sys
import tomllib
from pathlib import Path

import pytest
import torch

from safecompress.config import parse_config
from safecompress.config.options import parameters_of, plain
from safecompress.training import OBJECTIVES, Batch, Recipe
from safecompress.training.objectives.relax import RelaxLoss

PAGE = (Path(__file__).parents[2] / "docs" / "objectives.md").read_text(encoding="utf-8")
ROWS = [
    [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
    for line in re.findall(r"^\| `.*\|$", PAGE, flags=re.M)
]


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, flags=re.S | re.M)


def test_the_table_has_every_objective_in_the_registrys_order_with_its_options_and_defaults():
    shown = {row[0].strip("`"): row[1] for row in ROWS}
    assert list(shown) == list(OBJECTIVES.builtins)
    for name, options in shown.items():
        known, _ = parameters_of(OBJECTIVES.builtins[name], ())
        assert dict(re.findall(r"`(\w+) = (.*?)`", options)) == {
            key: json.dumps(plain(parameter.default)) for key, parameter in known.items()
        }


def test_every_objective_has_a_line_that_says_when_to_use_it():
    assert re.findall(r"^- \*\*`(\w+)`\*\*", PAGE, flags=re.M) == list(OBJECTIVES.builtins)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0].strip("`"))
def test_a_source_is_the_one_that_the_code_cites(row):
    doc = " ".join((inspect.getdoc(OBJECTIVES.builtins[row[0].strip("`")]) or "").split())
    years = set(re.findall(r"20[012]\d", row[3]))
    assert years == set(re.findall(r"\b20[012]\d\b", doc))
    assert all(author in doc for author in re.findall(r"[A-Z][a-z]+", row[3]))


def test_the_spec_names_the_objective_that_the_code_shows(tmp_path):
    spec = (
        'name = "digits"\n[data]\nsource = "digits"\n[model]\nname = "mlp"\n[safety]\nattacks = ["loss"]\n'
        + blocks("toml")[0]
    )
    spec += '[[require]]\nmetric = "accuracy"\nat_least = 0.5\n'
    config = parse_config(spec, base=tmp_path, source="objectives.md")
    assert config.recipe.objective == RelaxLoss(target=0.5)
    assert repr(config.dense_recipe.objective) == "CrossEntropy()"
    names = {}
    exec(blocks("python")[0], names)
    assert names["recipe"] == Recipe(objective=RelaxLoss(target=0.5))


def test_the_example_is_an_objective_and_installed_it_has_a_name(tmp_path, monkeypatch):
    (project,) = [block for block in blocks("toml") if block.startswith("# pyproject.toml")]
    (tmp_path / "flooding.py").write_text(blocks("python")[1], encoding="utf-8")
    info = tmp_path / "flooding-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: flooding\nVersion: 1.0\n")
    ((group, points),) = tomllib.loads(project)["project"]["entry-points"].items()
    lines = "".join(f"{name} = {value}\n" for name, value in points.items())
    (info / "entry_points.txt").write_text(f"[{group}]\n{lines}")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "flooding", raising=False)
    made = OBJECTIVES.make({"name": "flooding", "level": 2.0})
    assert made == importlib.import_module("flooding").Flooding(2.0)
    assert Recipe(objective=made).digest() != Recipe().digest()
    logits = torch.zeros(2, 3)  # a loss of log 3 = 1.0986, as far above 2 as it is under it
    assert made(logits, Batch(logits, torch.tensor([0, 1]))).item() == pytest.approx(2.9013877, abs=1e-6)
    sys.modules.pop("flooding")
