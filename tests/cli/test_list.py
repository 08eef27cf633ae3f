"""``list`` and ``list NAME``: every plug-in group, the page of a name; and what is answered without PyTorch."""

import json
import subprocess
import sys
from importlib.metadata import EntryPoint

import pytest

from safecompress import registry
from safecompress.attacks import ATTACKS
from safecompress.attacks.membership.lira import Lira
from safecompress.cli._support import names
from safecompress.compression.search import SELECTORS
from safecompress.data import DATASETS
from safecompress.loggers.parse import LOGGERS
from safecompress.models import MODELS
from safecompress.sparsity import ALLOCATIONS, DROP_RULES, GROW_RULES, SCHEDULES, SHAPES
from safecompress.studies.methods import METHODS
from safecompress.training import AUGMENTATIONS, OBJECTIVES
from whole_runs import run_cli

REGISTRIES = (
    DATASETS, MODELS, ATTACKS, OBJECTIVES, AUGMENTATIONS, DROP_RULES, GROW_RULES, ALLOCATIONS, SHAPES, SCHEDULES,
    SELECTORS, METHODS, LOGGERS,
)  # fmt: skip


def test_every_group_is_there_with_all_that_is_built_in():
    told = json.loads(run_cli("list", "--json").out)
    assert told.keys() == {one.kind for one in REGISTRIES}
    for one in REGISTRIES:
        assert set(one.builtins) <= told[one.kind].keys()
        assert all(told[one.kind][name]["origin"] == "built in" for name in one.builtins)


def test_the_page_of_a_name_has_its_options_with_their_defaults():
    (lira,) = json.loads(run_cli("list", "lira", "--json").out)["found"]
    assert lira["options"]["num_shadows"] == str(Lira().num_shadows)
    assert lira["source"] == "safecompress.attacks.membership.lira.Lira"
    assert (lira["kind"], lira["page"], lira["group"]) == ("attack", "attacks.md", "safecompress.attacks")
    shown = run_cli("list", "lira").out
    assert "Carlini et al. 2022" in shown and "num_shadows" in shown and "docs/attacks.md" in shown


def test_one_name_of_several_kinds_has_a_page_for_each():
    found = json.loads(run_cli("list", "random", "--json").out)["found"]
    kinds = {one.kind for one in REGISTRIES if "random" in one.builtins}
    assert {one["kind"] for one in found} == kinds and len(kinds) > 1


def test_a_slip_in_a_name_is_a_usage_error_with_the_close_one():
    ended = run_cli("list", "lirra")
    assert ended.code == 2 and "Did you mean 'lira'?" in ended.err


class Plugged:
    """Finds nothing.

    It is here to be listed.
    """

    def __init__(self, depth: int, width: int = 3) -> None:
        """Not called."""


@pytest.mark.parametrize(
    ("value", "summary"), [("test_list:Plugged", "Finds nothing."), ("nowhere:X", "cannot be loaded")]
)
def test_a_plug_in_is_listed_with_what_it_says_of_itself_or_why_it_cannot(monkeypatch, value, summary):
    point = EntryPoint("plugged", value, "safecompress.attacks")
    monkeypatch.setattr(registry, "installed", lambda group: [point] if group == "safecompress.attacks" else [])
    monkeypatch.setitem(sys.modules, "test_list", sys.modules[__name__])
    (one,) = names.called("plugged")
    assert one.summary.startswith(summary) and one.source == value
    assert one.options == ({"depth": "required", "width": "3"} if value.startswith("test") else {})
    assert "lira" in {one.name for kind in names.all_kinds() for one in kind.names}


WITHOUT_PYTORCH = """
import sys
from safecompress.cli.main import main

codes = []
for words in (["list"], ["list", "lira"], ["compress", "nowhere.toml"], ["audit", "a.safetensors", "--spec", "b.toml"],
              ["compare", "nowhere.toml"], ["tune", "nowhere.toml"], ["report", "nowhere"], ["report", sys.argv[1]]):
    sys.argv = ["safecompress", *words]
    try:
        main()
        codes.append(0)
    except SystemExit as end:
        codes.append(end.code)
heavy = [name for name in ("torch", "sklearn", "scipy.special", "scipy.linalg") if name in sys.modules]
print("END", codes, heavy)
"""


@pytest.mark.slow
def test_what_needs_no_model_is_answered_without_pytorch(tmp_path):
    from sample_reports import whole_report

    from safecompress.report import save_report

    save_report(whole_report(), tmp_path / "run")
    command = [sys.executable, "-c", WITHOUT_PYTORCH, str(tmp_path / "run")]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    code = whole_report().exit_code
    assert ended.stdout.splitlines()[-1] == f"END {[0, 0, 2, 2, 2, 2, 2, code]} []", ended.stderr
