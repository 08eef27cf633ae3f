"""``data check`` and ``data list``: what a person and a program read, and every fault at once."""

import json
import re

import numpy as np
import pytest
import typer

from safecompress.cli._support.data_view import show_facts
from safecompress.cli.verbs.data import files_of
from safecompress.data import DATASETS, Dataset
from safecompress.data.facts import facts_of
from whole_runs import run_cli


def check(*arguments):
    return run_cli("data", "check", *arguments)


@pytest.fixture
def table(tmp_path):
    lines = [f"{n},{n % 7},{'yes' if n % 4 else 'no'}" for n in range(40)]
    path = tmp_path / "people.csv"
    path.write_text("\n".join(["1,b,sick", *lines]) + "\n")  # a column whose name is a number
    return path


def test_check_tells_what_was_counted():
    ended = check("digits")
    assert (ended.code, ended.err) == (0, "")
    for words in (
        r"rows +1,797", r"a row +64, numbers", r"classes +10, of 174 to 183 rows \(balance 1\.05\)", r"values +0 to 1",
        r"equal rows +0 in 0 sets", r"memory +0\.5 MiB", r"default split +train 600, member_fit 200",
        r"│ 3 +│ +183 │ 10\.18% │",
    ):  # fmt: skip
        assert re.search(words, ended.out), words


def test_check_for_programs_and_in_one_line():
    told = json.loads(check("digits", "--option", "image=true", "--json").out)
    assert (told["shape"], told["rows"]) == ([1, 8, 8], 1797)
    assert (
        check("digits", "-o", "image=true", "--quiet").out == "digits: 1,797 rows of 1 x 8 x 8 (images), 10 classes\n"
    )


def test_options_are_read_as_the_data_set_takes_them(table):
    """Text where text is taken, even if it looks like a number; lists as TOML has them."""
    told = json.loads(check("csv", "--root", table, "-o", "label=sick", "-o", 'ignore=["b"]', "--json").out)
    assert (told["shape"], told["classes"]) == ([1], {"no": 10, "yes": 30})
    told = json.loads(check("csv", "-o", f"path={table}", "-o", "label=sick", "-o", "group=1", "--json").out)
    assert (told["shape"], told["groups"]) == ([1], 40)
    assert json.loads(check("csv", "--root", table, "-o", 'label="b"', "--json").out)["balance"] == 6 / 5


@pytest.fixture
def export(tmp_path):
    """A spreadsheet's export with an identifier, a stray word and missing cells."""
    rows = [f"K{n};{n % 50 or ''};{'x' if n == 7 else n * 3};{'ja' if n % 3 else 'nein'}" for n in range(600)]
    path = tmp_path / "export.csv"
    path.write_bytes("\n".join(["Kunde;Größe;Zahl;krank", *rows]).encode("cp1252"))
    return path


def test_the_columns_of_a_table_are_shown_and_its_faults_listed_at_once(export):
    ended = check("csv", "--root", export, "-o", "label=krank")
    assert ended.code == 2
    assert re.search(r"│ Kunde +│ text +│ +600 │ +│ +2 \.\. 601 │ names or identifiers\?", ended.out)
    assert re.search(r"│ Größe +│ numeric +│ +49 │ +12 │ +2 \.\. 552 │ missing: the median of train", ended.out)
    assert re.search(r"│ Zahl +│ numeric +│ +600 │ +│ +9 \.\. 9 │ text among numbers", ended.out)
    assert "Read as cp1252 text, cells separated by semicolons." in ended.out
    assert ended.err.startswith(f"DataError: {export}: 2 faults\n")
    assert 'ignore = ["Kunde"]' in ended.err and "1 line (9)" in ended.err
    assert "K7" not in ended.out + ended.err
    options = ("-o", "label=krank", "-o", 'ignore=["Kunde"]', "-o", 'missing=["x"]', "--json")
    told = json.loads(check("csv", "--root", export, *options).out)
    assert told["shape"] == [4]
    assert [column["kind"] for column in told["columns"]] == ["ignored", "numeric", "numeric", "label"]


def test_init_shows_the_columns_and_refuses_alike(export, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    ended = run_cli("init", "--data", "export.csv", "--label", "krank", "--access", "labels", "--yes")
    assert (ended.code, [*tmp_path.glob("*.toml")]) == (2, [])
    assert "2 faults" in ended.err and "names or identifiers?" in ended.out
    options = ("-o", 'ignore=["Kunde"]', "-o", 'missing=["x"]', "--access", "labels", "--yes", "--json")
    told = json.loads(run_cli("init", "--data", "export.csv", "--label", "krank", *options).out)
    assert [column["name"] for column in told["columns"]] == ["Kunde", "Größe", "Zahl", "krank"]
    assert 'missing = [\n    "x",\n]' in (tmp_path / "export.toml").read_text()


def test_texts_have_lengths_instead_of_values(capsys):
    tokens = np.array([[5, 6, -1], [7, -1, -1], [1, 2, 3], [4, 8, -1]])
    show_facts(facts_of(Dataset.from_tokens(tokens, [0, 1, 0, 1], vocab_size=30_522, name="news")))
    shown = capsys.readouterr().out
    assert re.search(r"tokens a row +1 to 3, median 2; vocabulary 30,522", shown)
    assert re.search(r"a row +3, tokens", shown)
    assert not re.search(r"\bvalues\b", shown)


def test_many_classes_are_shown_by_their_ends(tmp_path):
    lines = [f"{n},c{n % 30 if n % 3 else 0}" for n in range(90)]
    (tmp_path / "t.csv").write_text("\n".join(["a,b", *lines]) + "\n")
    ended = check("csv", "--root", tmp_path / "t.csv", "-o", "label=b")
    assert "21 classes the 10 largest" in ended.out
    assert re.search(r"c0 +│ +30 │ 33\.33%", ended.out)
    assert "classes (first: 'c1', 'c10'" in " ".join(ended.out.split())


def test_every_fault_of_the_options_is_told_at_once(tmp_path):
    ended = check("cifar10", "-o", "par=x", "-o", "per_class=few", "-o", "part", "-o", "part=all", "-o", "part=test")
    assert ended.code == 2
    assert ended.err.startswith("UsageError: data check cifar10: 5 faults\n")
    for words in (
        "'par'. Did you mean 'part'?",
        "per_class: takes a whole number, got 'few'",
        "takes key=value, got 'part'",
        "'part' is given twice",
        "--root: say where the files of 'cifar10' lie: data_batch_1.bin",
    ):
        assert words in ended.err, words
    assert "read from no" in check("digits", "--root", tmp_path).err
    assert "--option root says" in check("cifar10", "--root", tmp_path, "-o", f"root={tmp_path}").err


def test_faults_of_the_files_end_with_two(tmp_path):
    pillow = pytest.importorskip("PIL.Image")
    (tmp_path / "cat").mkdir()
    pillow.new("RGB", (2, 2)).save(tmp_path / "cat" / "a.png")
    (tmp_path / "dog").mkdir()
    (tmp_path / ".hidden").write_text("")
    ended = check("image_folder", "--root", tmp_path)
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith(f"DataError: {tmp_path}: 2 faults\n")
    assert json.loads(check("image_folder", "--root", tmp_path, "--json").out)["exit_code"] == 2


def test_a_class_cannot_colour_the_terminal(tmp_path):
    lines = [f"{n},{'[red]x[/]' if n % 2 else chr(27) + '[31my'}" for n in range(40)]
    (tmp_path / "t.csv").write_text("\n".join(["a,b", *lines]) + "\n")
    ended = check("csv", "--root", tmp_path / "t.csv", "-o", "label=b")
    assert ended.code == 0
    assert "[red]x[/]" in ended.out
    assert "\x1b" not in ended.out


def test_an_unknown_name_gets_the_close_one():
    ended = check("cifar")
    assert ended.code == 2
    assert "mean 'cifar10'?" in ended.err


def test_list_names_every_data_set_and_its_files():
    told, shown = json.loads(run_cli("data", "list", "--json").out), run_cli("data", "list")
    assert list(told) == DATASETS.names()
    assert shown.code == 0
    for name, words in told.items():
        assert words["origin"] == "built in"
        assert words["summary"]
        assert words["files"], f"{name}: its documentation has no paragraph 'Files: ...'"
        assert re.search(rf"^{name}  ", shown.out, re.M)
        assert " ".join(words["files"].split()) in " ".join(shown.out.split())


def test_what_a_plug_in_does_not_say_is_not_made_up():
    def bare():
        pass

    def told():
        """One line.

        Files: a.txt and
        b.txt.

        More.
        """

    assert (files_of(bare), files_of(told)) == ("", "a.txt and b.txt.")


def test_help_names_both_verbs():
    from safecompress.cli.verbs.data import data

    assert isinstance(data, typer.Typer)
    ended = run_cli("data", "--help")
    assert ended.code == 0
    assert re.search(r"│ check ", ended.out)
    assert re.search(r"│ list ", ended.out)
    assert re.search(r"│ data ", run_cli("--help").out)
    assert "--option" in check("--help").out
