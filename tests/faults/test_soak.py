"""The long attack's page says what its figures say, and strikes hit the operation that they count to."""

import json
import os

import pytest
import soak
from soak_commands import Ended, at_operation, refuse


def test_the_page_is_made_of_the_figures():
    parts = json.loads((soak.RESULTS / "faults.json").read_text())["parts"]
    assert soak.page(parts) == (soak.RESULTS / "faults.md").read_text()
    known = {part.name: part.count for part in soak.PARTS}
    assert len(known) == len(soak.PARTS)
    for name, counts in parts.items():
        assert counts["whole"] == known[name]
        assert 0 < counts["tried"] <= counts["whole"]
        assert counts["tried"] == sum(counts[key] for key in soak.OUTCOMES)
        assert counts["fault"] == 0, name


def test_the_whole_attack_takes_an_hour_on_two_cores():
    assert sum(part.total_s for part in soak.PARTS) <= soak.WORKERS * 3600


@pytest.mark.parametrize(
    ("number", "ever_after", "left"), [(1, False, ["b", "c"]), (2, False, ["a", "c"]), (2, True, ["a"])]
)
def test_a_strike_hits_the_operation_that_it_counts_to(tmp_path, monkeypatch, number, ever_after, left):
    for name in ("open", "mkdir", "fsync", "replace", "rename", "unlink", "rmdir"):
        monkeypatch.setattr(os, name, getattr(os, name))  # what is patched is put back
    at_operation(number, refuse(28), ever_after=ever_after)
    for name in "abc":
        try:
            os.close(os.open(tmp_path / name, os.O_CREAT | os.O_WRONLY))
            os.close(os.open(tmp_path, os.O_RDONLY))  # opening to read is not counted
        except OSError as error:
            assert error.errno == 28
    assert sorted(path.name for path in tmp_path.iterdir()) == left


@pytest.mark.parametrize(
    ("ended", "is_clear"),
    [
        (Ended(0, ""), True), (Ended(3, "StorageError: no room"), True), (Ended(143, "Stopped."), True),
        (Ended(2, ""), False), (Ended(1, "Traceback (most"), False), (Ended(-9, ""), False), (Ended(70, "x"), False),
    ],
)  # fmt: skip
def test_an_end_is_clear_by_its_code_and_its_words(ended, is_clear):
    assert ended.is_clear == is_clear
