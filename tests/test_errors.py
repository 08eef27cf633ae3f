"""The error tree is the one that is drawn, with the exit codes that are drawn beside it."""

import inspect
import re

import pytest

from safecompress import errors
from safecompress.errors import SafeCompressError, SpecError, UsageError, suggest


def drawn_tree():
    """(name, parent, exit code or None) of each line of the tree in the module's docstring, in order."""
    stack, rows = [], []
    for line in inspect.getdoc(errors).splitlines():
        found = re.match(r"^([│├└─ ]*)(\w+Error)\b\s*(\d)?", line)
        if not found:
            continue
        depth = len(found[1]) // 4
        del stack[depth:]
        rows.append((found[2], stack[-1] if stack else "Exception", int(found[3]) if found[3] else None))
        stack.append(found[2])
    return rows


def test_the_tree_is_as_drawn():
    defined = {
        name: kind for name, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, SafeCompressError)
    }
    assert {(name, kind.__base__.__name__) for name, kind in defined.items()} == {row[:2] for row in drawn_tree()}
    for name, _, code in drawn_tree():
        assert code is None or defined[name].exit_code == code, name


def test_exit_codes_are_those_of_the_command_line():
    codes = {name: getattr(errors, name).exit_code for name, _, _ in drawn_tree()}
    assert set(codes.values()) == {2, 3}  # 0 and 1 are verdicts, never errors
    assert {name for name, code in codes.items() if code == 2} == {
        "UsageError",
        "SpecError",
        "DataError",
        "ModelError",
        "RunFolderError",
    }
    assert all(getattr(errors, name).exit_code == 2 for name, parent, _ in drawn_tree() if parent == "UsageError")


@pytest.mark.parametrize(
    ("faults", "text"),
    [
        (["no bound"], "spec.toml: 1 fault\n  - no bound"),
        (iter(["no bound", "unknown attack"]), "spec.toml: 2 faults\n  - no bound\n  - unknown attack"),
    ],
)
def test_all_faults_of_a_spec_are_listed_at_once(faults, text):
    error = SpecError.from_faults("spec.toml", faults)
    assert str(error) == text and isinstance(error, UsageError)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("magnitud", "Did you mean 'magnitude'? Allowed: magnitude, set, taylor."),
        ("xyz", "Allowed: magnitude, set, taylor."),
        ("", "Allowed: magnitude, set, taylor."),
    ],
)
def test_a_close_name_is_suggested_and_all_are_listed(name, text):
    assert suggest(name, ["taylor", "set", "magnitude"]) == text
