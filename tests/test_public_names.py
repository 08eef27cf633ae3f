"""What ``import safecompress`` offers, and what it costs."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import safecompress

NAMES = [
    "Artifact",
    "Branch",
    "ClassScores",
    "CompressionResult",
    "DataSplit",
    "Dataset",
    "ModelSpec",
    "Packing",
    "Plan",
    "ProcessExecutor",
    "Recipe",
    "Report",
    "SafeCompressError",
    "SafetySpec",
    "SparseTraining",
    "SparsityPattern",
    "SplitSizes",
    "TaskInfo",
    "Verdict",
    "at_least",
    "at_most",
    "attacks",
    "audit",
    "compress",
    "data",
    "make_split",
    "models",
    "plant_canaries",
    "record_training",
    "sparsity",
    "within",
    "write_members",
]


def test_the_public_names():
    """Changing this list is changing the product: do it on purpose, and say so in the changes."""
    assert sorted(safecompress.__all__) == NAMES
    assert list(safecompress.__all__) == NAMES  # kept sorted, so that a reader finds a name


@pytest.mark.parametrize("name", NAMES)
def test_every_name_leads_to_what_it_says(name):
    thing = getattr(safecompress, name)
    assert getattr(thing, "__name__", "").removeprefix("safecompress.") == name
    assert thing.__doc__


def test_dir_lists_them():
    assert dir(safecompress) == sorted([*NAMES, "__version__"])


def test_a_wrong_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match=r"module 'safecompress'.*attribute 'comprss'"):
        safecompress.comprss  # noqa: B018


def in_a_fresh_interpreter(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def test_import_is_free():
    heavy = "{'torch', 'sklearn', 'scipy', 'numpy', 'pydantic', 'typer', 'rich', 'safetensors', 'filelock'}"
    assert in_a_fresh_interpreter(f"import sys, safecompress; print({heavy} & set(sys.modules))") == "set()"


def test_names_are_there_after_a_star_import_and_for_type_checkers():
    """The late imports in ``__init__`` and its imports for the checker name the same things."""
    names = {}
    exec("from safecompress import *", names)
    assert sorted(names.keys() - {"__builtins__"}) == NAMES
    tree = ast.parse(Path(safecompress.__file__).read_text(encoding="utf-8"))
    guarded = next(node for node in tree.body if isinstance(node, ast.If))
    assert sorted(alias.name for node in guarded.body for alias in node.names) == NAMES


def test_the_version_is_that_of_the_installed_package():
    from importlib.metadata import version

    assert version("safecompress") == safecompress.__version__
