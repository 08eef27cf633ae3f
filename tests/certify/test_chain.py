"""Lines of a ledger that are cut off, altered, moved or added are noticed; being killed locks nobody out."""

import json
import stat
from pathlib import Path

import pytest

from safecompress.certify import Ledger
from safecompress.certify.chain import ChainedFile
from safecompress.errors import ArtifactError
from safecompress.testing.fakes import noise_split
from said import says

SPLIT = noise_split(4, other=4)


def opened(path, artifact):
    return Ledger(path).open(SPLIT, artifact_digest=artifact, spec_digest="spec", alpha=0.05).number


@pytest.fixture
def path(tmp_path):
    """Of a ledger with three openings."""
    path = tmp_path / "openings.jsonl"
    assert [opened(path, artifact) for artifact in "abc"] == [1, 2, 3]
    return path


def lines_of(path):
    return path.read_bytes().splitlines(keepends=True)


def altered(line, **fields):
    return json.dumps({**json.loads(line), **fields}).encode() + b"\n"


WAYS = {
    "the last line is cut off": (lambda lines: lines[:-1], "1 line is missing"),
    "all but one are cut off": (lambda lines: lines[:1], "2 lines are missing"),
    "all are cut off": (lambda lines: [], "3 lines are missing"),
    "the first is cut off": (lambda lines: lines[1:], "before line 1"),
    "one in the middle is cut off": (lambda lines: [lines[0], lines[2]], "before line 2"),
    "two change places": (lambda lines: [lines[1], lines[0], lines[2]], "before line 1"),
    "the last two change places": (lambda lines: [lines[0], lines[2], lines[1]], "before line 2"),
    "the first is altered": (lambda lines: [altered(lines[0], rows=[]), *lines[1:]], "before line 2"),
    "the last is altered": (lambda lines: [*lines[:2], altered(lines[2], rows=[])], "not what it was"),
    "alpha is altered": (lambda lines: [*lines[:2], altered(lines[2], alpha=0.1)], "not what it was"),
    "a line is added": (lambda lines: [*lines, altered(lines[2], number=9)], "before line 4"),
    "a line is put in place of the last": (lambda lines: [*lines[:2], lines[1]], "before line 3"),
    "a line without a chain is added": (
        lambda lines: [*lines, b'{"number": 4, "artifact": "d", "spec": "s", "rows": []}\n'],
        "line 4 was added",
    ),
}


@pytest.mark.parametrize("way", WAYS)
def test_whatever_is_done_to_lines_is_noticed(path, way):
    change, said = WAYS[way]
    content = b"".join(change(lines_of(path)))
    path.write_bytes(content)
    for ask in ("open", "number_for"):
        with pytest.raises(ArtifactError) as caught:
            getattr(Ledger(path), ask)(SPLIT, artifact_digest="d", spec_digest="spec", alpha=0.05)
        assert says(str(caught.value), "openings.jsonl", said, "restore", "openings.head", "--ledger")
    assert path.read_bytes() == content


@pytest.mark.parametrize(
    "content", [None, b"", b"{}", b'{"lines": "many", "digest": ""}', b'{"lines": 1, "digest": "0"}']
)
def test_a_head_that_is_gone_or_broken_is_noticed(path, content):
    head = path.with_suffix(".head")
    head.unlink() if content is None else head.write_bytes(content)
    with pytest.raises(ArtifactError, match=r"restore openings\.jsonl and openings\.head together"):
        opened(path, "d")


def test_an_older_head_does_not_hide_lines(path):
    """Two lines more than the head knows: no crash leaves that."""
    head, before = path.with_suffix(".head"), path.with_suffix(".head").read_bytes()
    assert [opened(path, artifact) for artifact in "de"] == [4, 5]
    head.write_bytes(before)
    with pytest.raises(ArtifactError, match="does not know the lines after line 3"):
        opened(path, "f")


def test_the_head_is_for_its_owner_alone(path):
    assert stat.S_IMODE(path.with_suffix(".head").stat().st_mode) == 0o600


def test_an_editor_that_takes_the_last_newline_breaks_nothing(path):
    path.write_bytes(path.read_bytes().removesuffix(b"\n"))
    assert opened(path, "d") == 4
    assert opened(path, "a") == 1


# --- killed in the middle


class Killed(BaseException):
    """The process dies: nothing catches this."""


def test_killed_at_any_write_the_next_goes_on(tmp_path, monkeypatch):
    """Before the first file is in its place, the second, and so on: the count is what it would have been."""
    number, replace = 0, Path.replace
    while True:
        number += 1
        path, calls = tmp_path / str(number) / "openings.jsonl", []

        def strike(source, target, calls=calls, last=number):
            calls.append(target)
            if len(calls) == last:
                raise Killed
            return replace(source, target)

        with monkeypatch.context() as patched:
            patched.setattr(Path, "replace", strike)
            try:
                [opened(path, artifact) for artifact in "ab"]
                break
            except Killed:
                pass
        assert [opened(path, artifact) for artifact in "abc"] == [1, 2, 3]
        assert [opened(path, artifact) for artifact in "abc"] == [1, 2, 3]
        assert len(lines_of(path)) == 3
    assert number == 8  # three files are made, and each of two openings writes its line and the head


def test_a_head_one_line_behind_is_mended_once(path):
    head, before = path.with_suffix(".head"), path.with_suffix(".head").read_bytes()
    assert opened(path, "d") == 4
    after = head.read_bytes()
    head.write_bytes(before)
    Ledger(path).number_for(SPLIT, artifact_digest="a", spec_digest="spec", alpha=0.05)
    assert head.read_bytes() == after
    path.write_bytes(b"".join(lines_of(path)[:-1]))
    with pytest.raises(ArtifactError, match="1 line is missing"):
        opened(path, "e")


# --- ledgers of before there was a chain


@pytest.fixture
def old(tmp_path):
    """Three openings as an earlier version would have written them."""
    path, key = tmp_path / "openings.jsonl", b"k" * 32
    path.touch()
    path.with_suffix(".key").write_bytes(key)
    assert [opened(path, artifact) for artifact in "abc"] == [1, 2, 3]
    fields = ("number", "artifact", "spec", "rows")
    entries = [json.loads(line) for line in lines_of(path)]
    path.write_text("".join(json.dumps({name: entry[name] for name in fields}) + "\n" for entry in entries))
    path.with_suffix(".head").unlink()
    path.with_suffix(".key").write_bytes(key)
    return path


def test_a_ledger_that_was_chained_from_the_first_passes_for_no_old_one(path):
    """Without their digests, and without the head, its lines could be cut off one by one."""
    entries = [json.loads(line) for line in lines_of(path)]
    path.with_suffix(".head").unlink()
    for kept in range(4):
        path.write_text("".join(json.dumps({**e, "before": None}) + "\n" for e in entries[:kept]))
        with pytest.raises(ArtifactError, match="is not the ledger that was written"):
            opened(path, "d")


@pytest.mark.parametrize("key", [b"", b"x" * 31, b"x" * 40, b"x" * 10**6])
def test_a_key_that_is_none_is_said(path, key):
    path.with_suffix(".key").write_bytes(key)
    with pytest.raises(ArtifactError, match=r"openings\.key (is no key|cannot be read)"):
        opened(path, "d")


@pytest.mark.parametrize("line", [b"[" * 10000, b'{"number": 1e999}', b'{"number": Infinity}', b"9" * 9999, b"\xff"])
def test_lines_that_are_no_openings_are_said(path, line):
    path.write_bytes(b"".join([*lines_of(path), line + b"\n"]))
    with pytest.raises(ArtifactError, match="line 4, is no ledger entry"):
        opened(path, "d")


def test_an_old_ledger_goes_on_and_is_held_from_then_on(old):
    assert [opened(old, artifact) for artifact in "abcd"] == [1, 2, 3, 4]
    lines = lines_of(old)
    assert [b'"before"' in line for line in lines] == [False, False, False, True]
    assert [opened(old, artifact) for artifact in "abcde"] == [1, 2, 3, 4, 5]
    for change in (lambda lines: lines[1:], lambda lines: [altered(lines[0], rows=[]), *lines[1:]]):
        content = old.read_bytes()
        old.write_bytes(b"".join(change(lines_of(old))))
        with pytest.raises(ArtifactError, match="is not the ledger that was written"):
            opened(old, "f")
        old.write_bytes(content)


def test_an_old_ledger_survives_being_killed(old, monkeypatch):
    replace, calls = Path.replace, []

    def strike(source, target):
        calls.append(target)
        if len(calls) == 3:  # the head of the old lines and the new line are written, the new head is not
            raise Killed
        return replace(source, target)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "replace", strike)
        with pytest.raises(Killed):
            opened(old, "d")
    assert opened(old, "d") == 4
    assert opened(old, "e") == 5


def test_without_an_opening_a_fresh_ledger_is_no_broken_one(tmp_path):
    file = ChainedFile(tmp_path / "openings.jsonl")
    assert file.read(dict) == [] == file.read(dict)
    file.append({"what": 1})
    assert [entry["what"] for entry in file.read(dict)] == [1]
