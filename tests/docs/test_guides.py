"""Tutorial and guides: their commands and code run in an empty folder, with shorter training; their files are read."""

import contextlib
import io
import re
import shlex
import sys
from inspect import signature
from pathlib import Path

import pytest

from safecompress.config import parse_config
from safecompress.data import digits, read_csv
from safecompress.metrics.stats.planning import auc_half_width, min_non_members
from whole_runs import run_cli

DOCS = Path(__file__).parents[2] / "docs"
QUICK = [
    "recipe.epochs=6", "search.rounds=1", 'safety.access="labels"', "compress.density=0.3", "recipe.learning_rate=0.01",
    'safety.attacks=["gap", { name = "label_only", queries = 16 }]',
    'require=[{ metric = "gap.auc", at_most = 0.9 }, { metric = "label_only.auc", at_most = 0.9 }]',
]  # fmt: skip
"""What the tests change of a run: labels only, so that nothing trains shadow models."""


def page(name):
    return (DOCS / name).read_text(encoding="utf-8")


def blocks(name, *languages):
    found = re.findall(r"^```(\w+)\n(.*?)^```", page(name), flags=re.S | re.M)
    return [(language, text) for language, text in found if language in languages]


def commands(text):
    return [shlex.split(line, comments=True)[1:] for line in text.splitlines() if line.startswith("safecompress ")]


def follow(name, before=lambda words: words):
    """Every Python block and every command of a page, in order, in this folder; how each command ended."""
    ended = []
    for language, text in blocks(name, "python", "sh"):
        if language == "python":
            said = io.StringIO()
            with contextlib.redirect_stdout(said):
                exec(compile(text, name, "exec"), {"__name__": "page"})
            ended.append(said.getvalue())
        else:
            ended += [run_cli(*quickened(before(words))) for words in commands(text)]
    return ended


def quickened(words):
    return [*words, *(part for setting in QUICK for part in ("--set", setting))] if words[0] == "compress" else words


@pytest.mark.slow
def test_the_tutorial_is_followed_to_its_end(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    version, written, compressed, answers, refused = follow("tutorial.md")
    assert version.out.startswith("safecompress ")
    shown = [text for _, text in blocks("tutorial.md", "text")]
    assert (written.code, compressed.code, refused.code) == (0, 0, 2), compressed.err
    for line in shown[0].splitlines():
        assert line.removesuffix("...") in written.out
    assert "PASS: every requirement" in compressed.out and "PASS: every requirement" in shown[1]
    assert Path("runs/first/report.html").is_file()
    assert re.match(r"\[\d \d \d \d \d\] ", answers) and "`[0 1 2 3 4]`" in page("tutorial.md")
    assert digits().labels[:5].tolist() == [0, 1, 2, 3, 4]
    told = " ".join(refused.err.split())
    for part in " ".join(shown[2].split()).split("..."):
        assert part.strip() in told


@pytest.mark.slow
def test_a_model_of_ones_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setitem(sys.modules, "mynet", None)  # so that it is forgotten afterwards
    del sys.modules["mynet"]
    ((_, module), *_) = blocks("how-to/own-model.md", "python")
    assert module.startswith("# mynet.py\n")
    Path("mynet.py").write_text(module)
    as_run = {"mine.toml": "runs/mine/spec.toml"}  # the spec with the changes of the quick run

    def before(words):
        return [as_run.get(word, word) for word in words] if words[0] == "audit" else words

    _, written, compressed, audited, said = follow("how-to/own-model.md", before)
    assert (written.code, compressed.code, audited.code) == (0, 0, 0), compressed.err + audited.err
    assert re.match(r"(PASS|INCONCLUSIVE|FAIL) \d+ bytes\n", said)
    ((_, table),) = blocks("how-to/own-model.md", "toml")
    rest = 'name = "x"\ndata = { source = "digits" }\nmodel = { name = "mlp" }\n'
    rest += 'safety = { attacks = ["loss"] }\nrequire = [{ metric = "accuracy", at_least = 0.5 }]\n'
    assert parse_config(rest + table, base=tmp_path, source="page").plan.exclude == ("5.weight",)


def test_data_of_ones_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    _, checked, people, _, rows = follow("how-to/own-data.md")
    assert (checked.code, people.code, rows.code) == (0, 0, 0), checked.err + people.err + rows.err
    assert 'group = "patient"' in Path("people.toml").read_text()
    ((_, table),) = blocks("how-to/own-data.md", "toml")
    written = Path("people.toml").read_text()
    changed = re.sub(r"^\[data\]\n.*?(?=^\[)", lambda _: f"{table}\n", written, flags=re.S | re.M)
    assert parse_config(changed, base=tmp_path, source="page").data.sizes["nonmember_verdict"] == 100


def test_what_rows_can_tell():
    shown = re.findall(r"^\| ([\d,]+) \| 0\.5 ± (0\.\d+) \|", page("how-to/own-data.md"), flags=re.M)
    assert len(shown) == 3
    for rows, width in shown:
        number = int(rows.replace(",", ""))
        assert round(auc_half_width(number, number, 0.025), 2) == float(width)  # of a first opening: alpha / 2
    assert f"{min_non_members(0.001, 0.05, sides=1):,} or more" in page("explanation/low-fpr.md")


def test_the_first_pages_commands_exist(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    ((_, text),) = blocks("index.md", "sh")
    first, second = commands(text)
    assert run_cli(*first).code == 0
    assert second == ["compress", "first.toml"] and Path("first.toml").is_file()


@pytest.mark.parametrize("name", ["explanation/low-fpr.md", "explanation/memorisation.md", "explanation/safe.md"])
def test_no_block_goes_unread(name):
    assert not re.findall(r"^```", page(name), flags=re.M)


@pytest.mark.slow
def test_a_table_from_its_file_to_new_rows(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    _, checked, written, compressed, _, scored, as_json, said = follow("how-to/tables.md")
    assert (checked.code, written.code, compressed.code) == (2, 0, 0), written.err + compressed.err
    shown = [" ".join(text.split()) for _, text in blocks("how-to/tables.md", "text")]
    assert shown[0] in " ".join(checked.out.split())
    assert shown[1].removesuffix(".") in " ".join(checked.err.split())
    assert (scored.code, as_json.code, as_json.out) == (0, 0, "")
    assert re.fullmatch(r"line,class,p\(0\),p\(1\)\n2,[01],[\d.e-]+,[\d.e-]+\n", scored.out)
    assert re.fullmatch(r"\['[01]'\] \(1, 2\) \('0', '1'\)\n", said)
    named = re.findall(r"^\| `(\w+)` \|", page("how-to/tables.md"), flags=re.M)
    assert {*named} | {"path", "class_names"} == {*signature(read_csv).parameters}
