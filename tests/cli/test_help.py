"""What --help says of every verb and option is what was written: nothing is taken for markup, nothing is missing."""

import re

import pytest
import typer.main
from typer.testing import CliRunner

import safecompress.cli.main as program
from safecompress.cli.app import ORDER, app, plain
from whole_runs import run_cli


@pytest.fixture(scope="module")
def verbs():
    """Every verb with its command, verbs of verbs too."""
    program.register()
    found = {}

    def walk(group, path):
        for name, command in group.commands.items():
            if hasattr(command, "commands"):
                walk(command, (*path, name))
            else:
                found[*path, name] = command

    walk(typer.main.get_command(app), ())
    return found


def words(text):
    return re.sub(r"[│╭╰╮╯─]", " ", text).split()


@pytest.mark.slow
def test_every_text_is_shown_whole(verbs):
    missing = []
    for path, command in verbs.items():
        shown = " ".join(words(CliRunner().invoke(app, [*path, "--help"], env={"COLUMNS": "1000"}).stdout))
        for text in (command.help, *(parameter.help for parameter in command.params if getattr(parameter, "help", ""))):
            if " ".join(words(text.replace("\\[", "["))) not in shown:
                missing.append((path, text))
    assert missing == []


def test_every_verb_answers_in_json_and_says_what_its_options_are(verbs):
    assert {path[0] for path, command in verbs.items() if not command.hidden} == set(ORDER)
    for path, command in verbs.items():
        assert any("--json" in parameter.opts for parameter in command.params), path
        assert all(getattr(parameter, "help", None) for parameter in command.params), path


def test_the_first_page_tells_where_to_begin_and_how_it_ends():
    out = " ".join(words(run_cli("--help").out))
    assert "`safecompress init` writes" in out
    assert "Exit codes: 0 every requirement PASS, 1 any FAIL, 2 usage or spec error, 3 any ERROR or INCONCLUSIVE" in out
    assert tuple(re.findall(r"^│ ([a-z]+)  ", run_cli("--help").out, re.M)) == ORDER


def test_brackets_are_no_markup_and_paragraphs_flow():
    assert plain("One\nline.\n\nOf [safety] and [[require]].") == "One line.\n\nOf \\[safety] and \\[\\[require]]."
