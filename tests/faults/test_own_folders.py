"""A command writes into a new folder or one of its own; nothing of a user's is written over, moved or deleted."""

import os

import pytest

from safecompress.compression.run_folder import KEY, open_run_folder
from safecompress.errors import RunFolderError
from safecompress.studies.engine import open_study_folder
from whole_runs import contents, run_cli, write_spec

THEIRS = {
    "job.json": '{"name": "a job of theirs"}',
    "report.md": "# my report",
    "spec.toml": "name = 'theirs'",
    ".download.part": "half of something",
    "work/notes.txt": "mine",
    "notes.txt": "mine",
}


def run(path):
    return open_run_folder(path, "job", lambda key: "digest")


def study(path):
    return open_study_folder(path, "comparison", "mine")


@pytest.mark.parametrize("name", THEIRS)
@pytest.mark.parametrize("begin", [run, study])
def test_a_folder_with_anything_of_theirs_is_refused_untouched(tmp_path, name, begin):
    theirs = tmp_path / name
    theirs.parent.mkdir(exist_ok=True)
    theirs.write_text(THEIRS[name])
    before = contents(tmp_path)
    words = r"is not a folder that safecompress made, and holds|holds a run of compress"
    with pytest.raises(RunFolderError, match=words), begin(tmp_path):
        pass
    assert contents(tmp_path) == before
    assert not (tmp_path / ".lock").exists()


@pytest.mark.parametrize("begin", [run, study])
def test_a_new_an_empty_and_an_own_folder_are_taken(tmp_path, begin):
    (tmp_path / "empty").mkdir()
    for path in (tmp_path / "new", tmp_path / "empty", tmp_path / "new"):
        with begin(path):
            pass


def test_a_run_that_was_killed_before_its_key_was_drawn_goes_on(tmp_path):
    (tmp_path / ".lock").touch()
    (tmp_path / f".{KEY}.0123456789abcdef.part").write_bytes(b"half a ke")
    (tmp_path / "junit.xml").write_text("<testsuites/>")  # the gate's, which opens first
    with run(tmp_path):
        assert sorted(path.name for path in tmp_path.iterdir()) == [".lock", "job.json", "junit.xml", KEY, "work"]


def test_parts_of_others_stay_in_an_own_folder(tmp_path):
    with run(tmp_path / "run"):
        pass
    for name in (".download.part", "film.part", ".x.0123.part"):
        (tmp_path / "run" / name).write_text("theirs")
    ours = tmp_path / "run" / ".report.json.0123456789abcdef.part"
    ours.write_text("half")
    with run(tmp_path / "run"):
        names = {path.name for path in (tmp_path / "run").iterdir()}
    assert {".download.part", "film.part", ".x.0123.part"} <= names
    assert ours.name not in names


@pytest.mark.parametrize("length", [0, 31, 33, 5000])
def test_a_key_of_another_length_is_said(tmp_path, length):
    with run(tmp_path / "run"):
        pass
    (tmp_path / "run" / KEY).write_bytes(b"k" * length)
    with pytest.raises(RunFolderError, match=r"split\.key (holds|cannot be read)"), run(tmp_path / "run"):
        pass


@pytest.mark.parametrize("out", [["--out", "."], ["--out", ""], ["--out="]])
@pytest.mark.parametrize("verb", ["compress", "compare", "tune"])
def test_this_folder_with_a_spec_in_it_is_refused_before_training(tmp_path, monkeypatch, out, verb):
    monkeypatch.chdir(tmp_path)
    spec = write_spec(tmp_path / "spec.toml") if verb == "compress" else tmp_path / "spec.toml"
    if verb != "compress":
        body = (
            "[compare]\nmethods = ['dense']\n"
            if verb == "compare"
            else "[tune]\ntrials = 1\n[safety]\nattacks = ['loss']\n"
        )
        spec.write_text(f"name = 'x'\n[data]\nsource = 'digits'\n[model]\nname = 'mlp'\nhidden = [8]\n{body}")
    (tmp_path / "report.md").write_text("mine")
    before = contents(tmp_path)
    ended = run_cli(verb, "spec.toml", *out)
    assert ended.code == 2, ended.err
    assert "path is empty" in ended.err or "is not a folder that safecompress made" in ended.err
    assert contents(tmp_path) == before


def test_an_audit_writes_over_no_page_of_theirs(tmp_path):
    from safecompress.errors import UsageError
    from safecompress.report.files import require_own_pages

    require_own_pages(tmp_path / "new")
    require_own_pages(tmp_path)
    (tmp_path / "gate.xml").touch()
    require_own_pages(tmp_path)
    (tmp_path / "model_card.md").write_text("mine")
    with pytest.raises(UsageError, match=r"holds model_card\.md, and no report of safecompress"):
        require_own_pages(tmp_path)
    (tmp_path / "report.json").write_text('{"schema_version": 77}')
    with pytest.raises(UsageError, match="written over"):
        require_own_pages(tmp_path)


def test_where_a_folder_cannot_be_looked_into(tmp_path):
    (tmp_path / "closed").mkdir()
    (tmp_path / "closed").chmod(0)
    if os.access(tmp_path / "closed", os.R_OK):
        pytest.skip("the superuser looks into every folder")
    with pytest.raises(RunFolderError, match="cannot be read"), run(tmp_path / "closed"):
        pass


@pytest.mark.parametrize("option", ["--out", "--ledger", "--cache", "--released"])
def test_an_empty_path_is_not_this_folder_even_where_it_could_be(tmp_path, monkeypatch, option):
    """As a shell's variable that is not set: an empty folder would be taken, and filled."""
    spec, here = write_spec(tmp_path / "spec.toml"), tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    ended = run_cli("compress", spec, option, "")
    assert (ended.code, "path is empty" in ended.err) == (2, True)
    assert list(here.iterdir()) == []
