"""Every look at verdict rows is written down first, counted by row, and tells a reader nothing of the rows."""

import hashlib
import json
import multiprocessing
import stat
import threading
import time

import numpy as np
import pytest

from patience import patience
from safecompress.attacks import Loss
from safecompress.certify import Ledger, judged_parts
from safecompress.certify import ledger as ledger_module
from safecompress.data import DataSplit, row_keys
from safecompress.errors import ArtifactError, SpecError, StorageError
from safecompress.spec import SafetySpec, at_least, at_most
from safecompress.testing.fakes import noise_split

SPLIT = noise_split(8, other=8)


def with_verdict_rows(members, non_members):
    """SPLIT with ``members`` of its train rows and ``non_members`` of its population as verdict pools."""
    indices = dict(SPLIT.indices)
    indices["member_fit"] = indices["member_select"] = ()
    indices["member_verdict"] = SPLIT.indices["train"][members]
    indices["nonmember_verdict"] = SPLIT.indices["population"][non_members]
    indices["population"] = ()
    return DataSplit.from_indices(SPLIT.dataset, indices)


@pytest.fixture
def ledger(tmp_path):
    return Ledger(tmp_path / "openings.jsonl")


def opened(ledger, artifact, spec="spec", split=SPLIT):
    return ledger.open(split, artifact_digest=artifact, spec_digest=spec).number


def test_each_new_question_is_the_next_opening(ledger):
    assert [opened(ledger, artifact) for artifact in ("a", "b", "c")] == [1, 2, 3]
    assert opened(ledger, "a", spec="another spec") == 4


def test_the_same_question_is_the_old_opening(ledger):
    assert [opened(ledger, artifact) for artifact in ("a", "b", "a", "b", "a")] == [1, 2, 1, 2, 1]
    assert len(ledger.path.read_text().splitlines()) == 2


def test_the_number_is_known_beforehand_without_an_opening(ledger):
    for artifact in ("a", "b"):
        number = ledger.number_for(SPLIT, artifact_digest=artifact, spec_digest="spec")
        assert ledger.number_for(SPLIT, artifact_digest=None, spec_digest="spec") == number
        assert ledger.number_for(SPLIT, artifact_digest=artifact, spec_digest="spec") == opened(ledger, artifact)
        assert ledger.number_for(SPLIT, artifact_digest=artifact, spec_digest="spec") == number


def test_one_shared_row_counts(ledger):
    """Another draw of the same data set does not start the count anew."""
    first = with_verdict_rows([0, 1], [0, 1])
    one_member, one_other, none = (with_verdict_rows(m, n) for m, n in (([1, 2], [2, 3]), ([3, 4], [1, 4]), ([5], [5])))
    assert opened(ledger, "a", split=first) == 1
    assert opened(ledger, "b", split=one_member) == 2
    assert opened(ledger, "c", split=one_other) == 2
    assert opened(ledger, "d", split=none) == 1
    assert opened(ledger, "e", split=first) == 4


def test_no_row_ever_spends_more_than_all(ledger):
    """Alpha / 2^number, summed over the openings that hold a row, stays under alpha for every row."""
    random, spent = np.random.default_rng(0), np.zeros(24)
    for artifact in range(12):
        members = random.permutation(24)[:3]
        number = opened(ledger, str(artifact), split=with_verdict_rows(members, [artifact % 8]))
        spent[members] += 0.5**number
    assert spent.max() <= 1
    assert (spent > 0.5).any()


def test_the_same_rows_in_another_order_or_place_are_the_same_rows(ledger):
    assert opened(ledger, "a") == 1
    turned = DataSplit(SPLIT.dataset, {**SPLIT.indices, "member_verdict": SPLIT.indices["member_verdict"][::-1].copy()})
    assert opened(ledger, "a", split=turned) == 1
    assert opened(ledger, "b", split=turned) == 2


def test_other_rows_and_another_ledger_start_at_one(ledger, tmp_path):
    assert opened(ledger, "a") == 1
    assert opened(ledger, "a", split=noise_split(8, other=8, seed=1)) == 1
    assert opened(Ledger(tmp_path / "other" / "openings.jsonl"), "b") == 1


def test_a_second_reader_of_the_file_goes_on(ledger):
    assert opened(ledger, "a") == 1
    assert opened(Ledger(ledger.path), "b") == 2
    assert opened(Ledger(ledger.path), "a") == 1


# --- what the files say


def test_files_are_for_their_owner_alone(ledger):
    opened(ledger, "a")
    opened(ledger, "b")
    for path in (ledger.path, ledger.path.with_suffix(".key")):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_no_row_can_be_recognised_without_the_key(ledger, tmp_path):
    """The digests of the rows in a ledger with another key have nothing in common with these."""
    opened(ledger, "a")
    text, key = ledger.path.read_text(), ledger.path.with_suffix(".key").read_bytes()
    assert key.hex() not in text
    features, labels = SPLIT.part("member_verdict")
    for row, label in zip(features.numpy(), labels.numpy(), strict=True):
        told = label.astype("<i8").tobytes() + row.astype("<f4").tobytes()
        for content in (row.astype("<f4").tobytes(), told):
            for algorithm in ("sha256", "blake2b", "sha1", "md5"):
                assert hashlib.new(algorithm, content).hexdigest()[:16] not in text
    assert not any(row.hex()[:16] in text for row in row_keys(SPLIT.dataset))
    other = Ledger(tmp_path / "other.jsonl")
    opened(other, "a")
    rows = [set(json.loads(path.read_text())["rows"]) for path in (ledger.path, other.path)]
    assert len(rows[0]) == len(rows[1]) == 16
    assert not rows[0] & rows[1]


def test_an_opening_prints_no_rows(ledger):
    opening = ledger.open(SPLIT, artifact_digest="a", spec_digest="s")
    assert repr(opening) == f"HoldoutUse(number=1, artifact='a', spec={opening.spec!r})"


# --- broken files


@pytest.mark.parametrize(
    "line",
    [
        b"not json",
        b"[]",
        b"{}",
        b'{"number": 1, "artifact": "a", "spec": "s"}',
        b'{"number": "first", "artifact": "a", "spec": "s", "rows": []}',
        b'{"number": 1, "artifact": "a", "spec": "s", "rows": 3}',
        b"\xff\xfe",
        b"",
    ],
)
def test_a_corrupt_line_stops_every_verdict(ledger, line):
    opened(ledger, "a")
    before = ledger.path.read_bytes()
    ledger.path.write_bytes(before + line + b"\n")
    for ask in (ledger.open, ledger.number_for):
        with pytest.raises(ArtifactError, match=r"openings\.jsonl, line 2.*restore"):
            ask(SPLIT, artifact_digest="b", spec_digest="spec")
    assert ledger.path.read_bytes() == before + line + b"\n"


def test_a_line_cut_short_is_corrupt(ledger):
    opened(ledger, "a")
    ledger.path.write_bytes(ledger.path.read_bytes()[:-20])
    with pytest.raises(ArtifactError, match="line 1"):
        opened(ledger, "b")


def test_a_lost_key_stops_every_verdict(ledger):
    """With a new key no row would be known again, and the count would start anew."""
    opened(ledger, "a")
    ledger.path.with_suffix(".key").unlink()
    for ask in (ledger.open, ledger.number_for):
        with pytest.raises(ArtifactError, match=r"openings\.key, is gone.*restore the key"):
            ask(SPLIT, artifact_digest="b", spec_digest="spec")
    assert not ledger.path.with_suffix(".key").exists()


def test_a_ledger_that_cannot_be_made_is_an_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError):
        opened(Ledger(tmp_path / "file" / "openings.jsonl"), "a")


# --- several at once


def open_in_process(path, artifact, barrier, numbers):
    split = noise_split(8, other=8)
    barrier.wait()
    numbers.put(
        [Ledger(path).open(split, artifact_digest=f"{artifact}{n}", spec_digest="spec").number for n in range(5)]
    )


@pytest.mark.slow
def test_two_processes_get_different_numbers(tmp_path):
    context = multiprocessing.get_context("spawn")
    barrier, numbers = context.Barrier(2), context.Queue()
    workers = [
        context.Process(target=open_in_process, args=(tmp_path / "openings.jsonl", name, barrier, numbers))
        for name in "ab"
    ]
    for worker in workers:
        worker.start()
    found = [numbers.get(timeout=patience(30)) for _ in workers]
    for worker in workers:
        worker.join()
    assert sorted(found[0] + found[1]) == list(range(1, 11))


@pytest.mark.slow
def test_the_key_is_made_once_though_two_want_it(ledger, monkeypatch):
    """One asks for its number while another opens: the slower must not put a second key in place of the first."""
    is_done, make = threading.Event(), ledger_module.secrets.token_bytes

    def slow_for_the_first(count):
        if threading.current_thread().name == "first":
            is_done.wait(1.0)
        return make(count)

    monkeypatch.setattr(ledger_module.secrets, "token_bytes", slow_for_the_first)
    first = threading.Thread(
        name="first", target=lambda: Ledger(ledger.path).number_for(SPLIT, artifact_digest=None, spec_digest="spec")
    )
    first.start()
    time.sleep(0.2)
    assert opened(ledger, "a") == 1
    is_done.set()
    first.join()
    assert opened(ledger, "b") == 2


def test_a_ledger_that_is_gone_while_its_key_is_there_is_no_fresh_start(ledger):
    ledger.open(SPLIT, artifact_digest="a", spec_digest="s")
    ledger.path.unlink()
    with pytest.raises(ArtifactError, match=r"gone.* key"):
        ledger.open(SPLIT, artifact_digest="b", spec_digest="s")


def test_other_fitting_rows_ask_anew(ledger):
    """Or an attacker could be drawn again and again until it is a weak one."""
    first = ledger.open(SPLIT, artifact_digest="a", spec_digest="s").number
    indices = dict(SPLIT.indices)
    indices["member_fit"] = indices["member_fit"][1:]
    assert ledger.open(DataSplit(SPLIT.dataset, indices), artifact_digest="a", spec_digest="s").number == first + 1
    assert ledger.open(SPLIT, artifact_digest="a", spec_digest="s").number == first


# --- rows of every part that judges


def with_pools(number):
    """SPLIT's test rows beside verdict pools that no other ``number`` shares."""
    rows = slice(2 * number, 2 * number + 2)
    return with_verdict_rows(rows, rows)


def use_number(ledger, number, parts):
    return ledger.open(with_pools(number), artifact_digest=f"a{number}", spec_digest="s", parts=parts).number


def test_test_rows_that_judge_are_counted(ledger):
    """Three splits that share their test rows alone are three looks at them, where a requirement reads the accuracy."""
    spec = SafetySpec([Loss()], [at_most("loss.auc", 0.9), at_least("accuracy", 0.5)])
    parts = judged_parts(spec)
    assert set(parts) == {"member_verdict", "nonmember_verdict", "test"}
    numbers = [
        ledger.open(with_pools(n), artifact_digest=f"a{n}", spec_digest="s", parts=parts).number for n in range(3)
    ]
    assert numbers == [1, 2, 3]


def test_test_rows_that_judge_nothing_are_not(ledger):
    parts = judged_parts(SafetySpec([Loss()], [at_most("loss.auc", 0.9), at_most("density", 0.5)]))
    numbers = [
        ledger.open(with_pools(n), artifact_digest=f"a{n}", spec_digest="s", parts=parts).number for n in range(3)
    ]
    assert numbers == [1, 1, 1]


def test_rows_that_can_certify_nothing_are_not_used(ledger):
    """The check runs before the line is written, with the number that the use would have."""

    def refuse(number):
        raise SpecError(f"use {number}")

    with pytest.raises(SpecError, match="use 1"):
        ledger.open(SPLIT, artifact_digest="a", spec_digest="s", check=refuse)
    assert opened(ledger, "b") == 1
