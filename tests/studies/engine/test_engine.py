"""The engine alone, with a study that counts: what is kept, made again and refused; and what every study leaves."""

import json
import stat
from collections import Counter
from dataclasses import dataclass, replace

import pytest
from filelock import FileLock

from safecompress.attacks import ATTACKS, Gap, Lira, Loss
from safecompress.compression.run_folder import open_run_folder
from safecompress.compression.search import SerialExecutor
from safecompress.errors import RunFolderError, StorageError, UsageError
from safecompress.progress import Silent
from safecompress.studies.engine import (
    Measured,
    Runner,
    check_shadows,
    check_single_version,
    environment,
    give_num_shadows,
    open_study_folder,
    write_outputs,
)
from safecompress.testing.fakes import noise_split


@dataclass(frozen=True)
class Square(Measured):
    """A number and its square."""

    item: int
    square: int = 0


@dataclass(frozen=True)
class Squares:
    """Squares numbers; those in ``bad`` fail, and 13 finds the disk full."""

    bad: tuple[int, ...] = ()
    threads: int = 1

    noun = "number"

    def digest(self, item, key):
        return f"{item:040d}"

    def measure(self, item, store):
        if item == 13:
            raise StorageError("full")
        if item in self.bad:
            raise ValueError("no\n square")
        return Square(item, item**2, figures={"accuracy": {"value": 1.0}})

    def failed(self, item, error, seconds):
        assert seconds >= 0
        return Square(item, error=error)

    def read(self, data):
        return Square(**Square.fields_of(data))


class Heard(Silent):
    def __init__(self):
        self.lines = []

    def begin(self, phase, total):
        self.lines.append(f"{phase} {total}")

    def advance(self, steps=1):
        self.lines.append("+" * steps)

    def say(self, line):
        self.lines.append(line)


def run(path, items, study=None, executor=None):
    """The results of ``items``, and what was heard."""
    heard = Heard()
    with open_study_folder(path, "squares", "mine") as folder:
        runner = Runner(study or Squares(), folder, executor or SerialExecutor(), heard)
        runner.begin(items)
        return runner.results(items, lambda result: f"{result.item}: {result.square}"), heard.lines


def test_every_item_is_measured_once_and_results_come_in_order(tmp_path):
    results, lines = run(tmp_path, [3, 1, 3])
    assert [result.square for result in results] == [9, 1, 9]
    assert lines == ["numbers 2", "+", "3: 9", "+", "1: 1"]
    assert sorted(path.name for path in (tmp_path / "numbers").iterdir()) == [f"{n:040d}.json" for n in (1, 3)]
    assert stat.S_IMODE((tmp_path / "study.key").stat().st_mode) == 0o600


def test_what_is_there_is_read_and_what_failed_is_measured_again(tmp_path):
    first, _ = run(tmp_path, [1, 2], Squares(bad=(2,)))
    assert [result.error for result in first] == [None, "ValueError: no square"]
    second, lines = run(tmp_path, [1, 2, 3])
    assert [result.square for result in second] == [1, 4, 9]
    assert lines[:2] == ["1 of 3 numbers are there already", "numbers 2"]
    assert Counter(lines)["+"] == 2


def test_workers_measure_what_this_process_does(tmp_path, worker_pool):
    assert run(tmp_path / "a", [1, 2], executor=worker_pool)[0] == run(tmp_path / "b", [1, 2])[0]


def test_a_full_disk_is_no_result(tmp_path):
    with pytest.raises(StorageError):
        run(tmp_path, [13])
    assert not list(tmp_path.glob("numbers/*"))


@pytest.mark.parametrize("text", ["{}", '{"item": 1}', "[", json.dumps(replace(Square(4), square=16).to_json())])
def test_a_file_that_is_not_the_items_result_is_measured_anew(tmp_path, text):
    results, _ = run(tmp_path, [2])
    path = tmp_path / "numbers" / f"{2:040d}.json"
    written = path.read_bytes()
    path.write_text(text)
    assert run(tmp_path, [2])[0] == results
    assert path.read_bytes() == written


def test_the_result_of_another_item_is_not_taken(tmp_path):
    run(tmp_path, [2, 3])
    first, second = (tmp_path / "numbers" / f"{item:040d}.json" for item in (2, 3))
    written = second.read_bytes()
    second.write_bytes(first.read_bytes())
    run(tmp_path, [2, 3])
    assert second.read_bytes() == written


def test_halves_of_files_are_cleared(tmp_path):
    run(tmp_path, [2])
    (tmp_path / "numbers" / ".x.json.0123456789abcdef.part").write_text("{")
    run(tmp_path, [2])
    assert not list(tmp_path.glob("numbers/.*"))


def opened(path, kind="squares", identity="a"):
    with open_study_folder(path, kind, "mine", lambda key: identity) as folder:
        return folder.key


def test_a_folder_belongs_to_the_first_study_that_finishes_something(tmp_path):
    key = opened(tmp_path)
    assert opened(tmp_path, identity="b") == opened(tmp_path, kind="cubes") == key  # nothing was finished
    (tmp_path / "cubes").mkdir()
    (tmp_path / "cubes" / "1.json").write_text("{}")
    with pytest.raises(RunFolderError, match="another kind of study \\(cubes\\)"):
        opened(tmp_path)
    with pytest.raises(RunFolderError, match="a run of another job \\('mine'\\)"):
        opened(tmp_path, kind="cubes", identity="b")
    assert opened(tmp_path, kind="cubes") == key


def test_a_study_and_a_run_refuse_each_others_folders(tmp_path):
    opened(tmp_path / "study")
    with (
        pytest.raises(RunFolderError, match="holds a study"),
        open_run_folder(tmp_path / "study", "n", lambda key: "d"),
    ):
        pass
    with open_run_folder(tmp_path / "run", "n", lambda key: "d"):
        pass
    with pytest.raises(RunFolderError, match="holds a run of compress"):
        opened(tmp_path / "run")


def test_a_folder_in_use_is_refused(tmp_path):
    opened(tmp_path)
    with FileLock(tmp_path / ".lock"), pytest.raises(RunFolderError, match="Another process"):
        opened(tmp_path)


def test_the_page_names_the_picture_or_says_why_there_is_none(tmp_path):
    def page(*, picture, missing):
        return f"{picture} {missing}"

    def leave(draw):
        heard = Heard()
        write_outputs(tmp_path, "x", page=page, document={"a": 1}, draw=draw, progress=heard)
        return (tmp_path / "x.md").read_text(), heard.lines

    def refuse(path):
        raise UsageError("nothing to draw")

    assert leave(lambda path: path.write_text("<svg/>")) == ("x.svg None", [])
    assert leave(refuse) == ("None nothing to draw", ["nothing to draw"])
    assert not (tmp_path / "x.svg").exists() and json.loads((tmp_path / "x.json").read_text()) == {"a": 1}


def test_the_environment_names_a_studys_own_packages():
    assert {"torch", "threads", "filelock"} <= environment(3, "filelock").keys() and environment(3)["threads"] == 3


def test_a_name_alone_gets_the_studys_shadows_if_its_attack_has_any():
    assert give_num_shadows("lira", 6) == {"name": "lira", "num_shadows": 6}
    assert [give_num_shadows(one, 6) for one in ("gap", "nonsense", {"name": "lira"})] == [
        "gap",
        "nonsense",
        {"name": "lira"},
    ]
    assert give_num_shadows(Loss(), 6) == Loss()


def test_attacks_that_join_versions_are_refused():
    check_single_version([Gap(), Lira()], "never")
    with pytest.raises(UsageError, match="joint_lira joins several versions of one model, and a trial has one"):
        check_single_version([Gap(), ATTACKS.make("joint_lira")], "a trial has one")


@pytest.mark.parametrize("purpose", ["select", "verdict"])
def test_too_few_shadows_are_refused_with_the_pools_parts(purpose):
    split = noise_split(20, other=40, num_features=6, num_classes=3)
    check_shadows([Gap()], split, purpose, 0, has_reference=False)
    with pytest.raises(UsageError, match=f"lira needs at least 2 shadow models.*nonmember_{purpose} and population"):
        check_shadows([Lira(num_shadows=4)], split, purpose, 0, has_reference=False)
    with pytest.raises(UsageError, match="lira needs at least 2 shadow models"):  # LiRA online runs beside it
        check_shadows([Lira(num_shadows=4, mode="offline")], split, purpose, 0, has_reference=False)
