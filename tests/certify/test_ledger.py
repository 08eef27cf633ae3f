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
from safecompress.certify import Ledger, chain, judged_parts
from safecompress.data import Dataset, DataSplit, row_keys
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


def opened(ledger, artifact, spec="spec", split=SPLIT, alpha=0.05):
    return ledger.open(split, artifact_digest=artifact, spec_digest=spec, alpha=alpha).number


def test_each_new_question_is_the_next_opening(ledger):
    assert [opened(ledger, artifact) for artifact in ("a", "b", "c")] == [1, 2, 3]
    assert opened(ledger, "a", spec="another spec") == 4


def test_the_same_question_is_the_old_opening(ledger):
    assert [opened(ledger, artifact) for artifact in ("a", "b", "a", "b", "a")] == [1, 2, 1, 2, 1]
    assert len(ledger.path.read_text().splitlines()) == 2


def test_the_number_is_known_beforehand_without_an_opening(ledger):
    for artifact in ("a", "b"):
        number = ledger.number_for(SPLIT, artifact_digest=artifact, spec_digest="spec", alpha=0.05)
        assert ledger.number_for(SPLIT, artifact_digest=None, spec_digest="spec", alpha=0.05) == number
        assert ledger.number_for(SPLIT, artifact_digest=artifact, spec_digest="spec", alpha=0.05) == opened(
            ledger, artifact
        )
        assert ledger.number_for(SPLIT, artifact_digest=artifact, spec_digest="spec", alpha=0.05) == number


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


# --- altered rows

TABLE = np.random.default_rng(0).normal(size=(400, 10)) @ np.random.default_rng(1).normal(size=(10, 10))
PEOPLE = np.concatenate([np.exp(TABLE[:, :3] / 3), TABLE[:, 3:6], TABLE[:, 6:] > 1], axis=1)
TURN = np.random.default_rng(2).permutation(10)
PARTS = {"train": (0, 80), "member_verdict": (0, 80), "nonmember_verdict": (80, 160)}
WAYS = {
    "1e-6 more in one column": lambda table: table + 1e-6 * (np.arange(10) == 4),
    "1e-6 more in all": lambda table: table + 1e-6,
    "three digits": lambda table: np.round(table, 3),
    "another unit": lambda table: table * np.geomspace(0.01, 100, 10),
    "a logarithm": lambda table: np.concatenate([np.log(table[:, :3]), table[:, 3:]], axis=1),
    "a constant column": lambda table: np.concatenate([table, np.ones((len(table), 1))], axis=1),
    "other places of the columns": lambda table: table[:, TURN],
    "all at once": lambda table: np.concatenate([3 * np.round(table + 1e-6, 3)[:, TURN], table[:, :1] * 0], axis=1),
}


def people(table=PEOPLE, start=0, order=None):
    """Eighty members and eighty others of ``table`` from row ``start`` on; its rows are stored in ``order``."""
    order = np.arange(len(table)) if order is None else order
    place = np.argsort(order)
    indices = {name: place[start + low : start + high] for name, (low, high) in PARTS.items()}
    return DataSplit.from_indices(Dataset.from_arrays(table[order], order % 2), indices)


@pytest.mark.parametrize("way", WAYS)
def test_altered_rows_are_the_same_people(ledger, way):
    assert opened(ledger, "a", split=people()) == 1
    assert opened(ledger, "b", split=people(WAYS[way](PEOPLE))) == 2
    backwards = people(WAYS[way](PEOPLE), order=np.arange(400)[::-1])
    assert opened(ledger, "c", split=backwards) == 3
    assert opened(ledger, "d", split=people()) == 4


def test_other_labels_are_the_same_people(ledger):
    assert opened(ledger, "a", split=people()) == 1
    split = people()
    turned = Dataset.from_arrays(PEOPLE, 1 - split.dataset.labels.numpy())
    assert opened(ledger, "b", split=DataSplit(turned, split.indices)) == 2


def test_other_people_of_one_table_are_other_people(ledger):
    """Altered or not: a first use of the second half, whatever was done with the first."""
    assert opened(ledger, "a", split=people()) == 1
    assert opened(ledger, "b", split=people(start=200)) == 1
    for number, way in enumerate(WAYS.values(), 2):
        assert opened(ledger, f"c{number}", split=people(way(PEOPLE), start=200)) == number
    assert opened(ledger, "d", split=people()) == 2


def test_a_row_or_two_alike_make_no_second_use(ledger):
    """Of 160 rows, sixteen must be known again: a chance likeness of one stranger is none of all."""
    assert opened(ledger, "a", split=people()) == 1
    for shared, number in ((15, 1), (16, 2)):
        table = WAYS["another unit"](PEOPLE)
        split = people(table, start=200)
        indices = {**split.indices, "nonmember_verdict": np.r_[80 : 80 + shared, 280 : 360 - shared]}
        fresh = Ledger(ledger.path)
        number_of = fresh.number_for(
            DataSplit.from_indices(split.dataset, indices), artifact_digest=None, spec_digest="spec", alpha=0.05
        )
        assert number_of == number


# --- alpha


def test_the_first_opening_fixes_alpha(ledger):
    assert opened(ledger, "a", alpha=0.04) == 1
    before = ledger.path.read_bytes()
    for ask in (ledger.open, ledger.number_for):
        with pytest.raises(SpecError, match=r"alpha 0\.05.*fixed alpha 0\.04.*alpha = 0\.04 or less"):
            ask(SPLIT, artifact_digest="b", spec_digest="spec", alpha=0.05)
    assert ledger.path.read_bytes() == before
    assert opened(ledger, "b", alpha=0.04) == 2


def test_a_smaller_alpha_may_be_asked_and_fixes_nothing(ledger):
    assert [opened(ledger, "a"), opened(ledger, "b", alpha=0.01), opened(ledger, "c")] == [1, 2, 3]
    assert [json.loads(line)["alpha"] for line in ledger.path.read_text().splitlines()] == [0.05, 0.01, 0.05]


def test_the_same_question_may_be_asked_again(ledger):
    assert [opened(ledger, artifact) for artifact in "aba"] == [1, 2, 1]


def test_rows_keep_the_alpha_at_which_each_was_first_opened(ledger):
    """Rows that a second opening brought in were first opened at its alpha, whatever the first one had."""
    assert opened(ledger, "a", split=with_verdict_rows([0, 1], [0, 1])) == 1
    assert opened(ledger, "b", split=with_verdict_rows([1, 2], [1, 2]), alpha=0.02) == 2
    assert opened(ledger, "c", split=with_verdict_rows([0, 1], [0, 1])) == 3
    with pytest.raises(SpecError, match=r"fixed alpha 0\.02"):
        opened(ledger, "d", split=with_verdict_rows([2, 3], [3, 4]))
    with pytest.raises(SpecError, match=r"fixed alpha 0\.02"):
        opened(ledger, "d", split=with_verdict_rows([0, 2], [0, 1]))
    assert opened(ledger, "d", split=with_verdict_rows([5], [5]), alpha=0.1) == 1


def test_altered_rows_have_the_alpha_of_their_first_opening(ledger):
    assert opened(ledger, "a", split=people(), alpha=0.02) == 1
    with pytest.raises(SpecError, match=r"fixed alpha 0\.02"):
        opened(ledger, "b", split=people(PEOPLE + 1e-6))


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
    opening = ledger.open(SPLIT, artifact_digest="a", spec_digest="s", alpha=0.05)
    assert repr(opening) == f"HoldoutUse(number=1, artifact='a', spec={opening.spec!r}, alpha=0.05)"


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
            ask(SPLIT, artifact_digest="b", spec_digest="spec", alpha=0.05)
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
            ask(SPLIT, artifact_digest="b", spec_digest="spec", alpha=0.05)
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
        [
            Ledger(path).open(split, artifact_digest=f"{artifact}{n}", spec_digest="spec", alpha=0.05).number
            for n in range(5)
        ]
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
    is_done, make = threading.Event(), chain.secrets.token_bytes

    def slow_for_the_first(count):
        if threading.current_thread().name == "first":
            is_done.wait(1.0)
        return make(count)

    monkeypatch.setattr(chain.secrets, "token_bytes", slow_for_the_first)
    first = threading.Thread(
        name="first",
        target=lambda: Ledger(ledger.path).number_for(SPLIT, artifact_digest=None, spec_digest="spec", alpha=0.05),
    )
    first.start()
    time.sleep(0.2)
    assert opened(ledger, "a") == 1
    is_done.set()
    first.join()
    assert opened(ledger, "b") == 2


def test_a_ledger_that_is_gone_while_its_key_is_there_is_no_fresh_start(ledger):
    ledger.open(SPLIT, artifact_digest="a", spec_digest="s", alpha=0.05)
    ledger.path.unlink()
    with pytest.raises(ArtifactError, match=r"gone.* key"):
        ledger.open(SPLIT, artifact_digest="b", spec_digest="s", alpha=0.05)


def test_other_fitting_rows_ask_anew(ledger):
    """Or an attacker could be drawn again and again until it is a weak one."""
    first = ledger.open(SPLIT, artifact_digest="a", spec_digest="s", alpha=0.05).number
    indices = dict(SPLIT.indices)
    indices["member_fit"] = indices["member_fit"][1:]
    assert (
        ledger.open(DataSplit(SPLIT.dataset, indices), artifact_digest="a", spec_digest="s", alpha=0.05).number
        == first + 1
    )
    assert ledger.open(SPLIT, artifact_digest="a", spec_digest="s", alpha=0.05).number == first


# --- rows of every part that judges


def with_pools(number):
    """SPLIT's test rows beside verdict pools that no other ``number`` shares."""
    rows = slice(2 * number, 2 * number + 2)
    return with_verdict_rows(rows, rows)


def use_number(ledger, number, parts):
    return ledger.open(
        with_pools(number), artifact_digest=f"a{number}", spec_digest="s", alpha=0.05, parts=parts
    ).number


def test_test_rows_that_judge_are_counted(ledger):
    """Three splits that share their test rows alone are three looks at them, where a requirement reads the accuracy."""
    spec = SafetySpec([Loss()], [at_most("loss.auc", 0.9), at_least("accuracy", 0.5)])
    parts = judged_parts(spec)
    assert set(parts) == {"member_verdict", "nonmember_verdict", "test"}
    numbers = [
        ledger.open(with_pools(n), artifact_digest=f"a{n}", spec_digest="s", alpha=0.05, parts=parts).number
        for n in range(3)
    ]
    assert numbers == [1, 2, 3]


def test_test_rows_that_judge_nothing_are_not(ledger):
    parts = judged_parts(SafetySpec([Loss()], [at_most("loss.auc", 0.9), at_most("density", 0.5)]))
    numbers = [
        ledger.open(with_pools(n), artifact_digest=f"a{n}", spec_digest="s", alpha=0.05, parts=parts).number
        for n in range(3)
    ]
    assert numbers == [1, 1, 1]


def test_rows_that_can_certify_nothing_are_not_used(ledger):
    """The check runs before the line is written, with the number that the use would have."""

    def refuse(number):
        raise SpecError(f"use {number}")

    with pytest.raises(SpecError, match="use 1"):
        ledger.open(SPLIT, artifact_digest="a", spec_digest="s", alpha=0.05, check=refuse)
    assert opened(ledger, "b") == 1
