"""Signals by hand, against slow oracles in many digits, and at the ends where floating point saturates; on disk."""

from decimal import Decimal, getcontext

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.special import log_softmax, softmax
from scipy.stats import entropy

from safecompress.attacks import SignalCache, Signals, Target
from safecompress.attacks.private_cache import PrivateFolder
from safecompress.attacks.signals import modified_entropy
from safecompress.errors import AttackError
from safecompress.models import Mlp
from safecompress.seeding import seeded
from safecompress.testing.fakes import ConstantModel, noise_audit


def signals(logits, labels):
    return Signals(np.array(logits, dtype=np.float64), np.array(labels, dtype=np.int64))


def mentr(probs, label):
    with np.errstate(divide="ignore"):
        return modified_entropy(np.log(np.array([probs], dtype=np.float64)), np.array([label]))[0]


@pytest.mark.parametrize(
    ("probs", "label", "expected"),
    [([0.7, 0.2, 0.1], 0, 0.16216725), ([1 / 3] * 3, 1, 1.00271826), ([1.0, 0.0, 0.0], 0, 0.0)],
)
def test_modified_entropy_of_the_method(probs, label, expected):
    assert mentr(probs, label) == pytest.approx(expected, abs=5e-9)


def test_modified_entropy_of_a_certain_wrong_answer_is_large_and_finite():
    assert 1e4 < mentr([1.0, 0.0, 0.0], 1) < np.inf


def test_three_classes_by_hand():
    """Probabilities .7, .2, .1 and label 0."""
    given_row = signals(np.log([[0.7, 0.2, 0.1]]) + 5, [0])
    assert given_row.scaled_logit_N[0] == pytest.approx(np.log(0.7 / 0.3))
    assert given_row.loss_N[0] == pytest.approx(-np.log(0.7))
    assert given_row.top_margin_N[0] == pytest.approx(np.log(0.7 / 0.3))
    assert given_row.entropy_N[0] == pytest.approx(-(0.7 * np.log(0.7) + 0.2 * np.log(0.2) + 0.1 * np.log(0.1)))
    assert given_row.modified_entropy_N[0] == pytest.approx(0.16216725, abs=5e-9)
    assert given_row.log_probs_NC[0] == pytest.approx(np.log([0.7, 0.2, 0.1]))
    assert given_row.is_correct_N.tolist() == [True]


def test_the_label_decides_where_it_should():
    rows = signals(np.log([[0.7, 0.2, 0.1]] * 3), [0, 1, 2])
    assert rows.scaled_logit_N == pytest.approx([np.log(0.7 / 0.3), np.log(0.2 / 0.8), np.log(0.1 / 0.9)])
    assert np.ptp(rows.top_margin_N) == np.ptp(rows.entropy_N) == 0
    assert (np.diff(rows.modified_entropy_N) > 0).all()
    assert rows.is_correct_N.tolist() == [True, False, False]


LOGITS = arrays(np.float64, (5, 4), elements=st.floats(-20, 20, width=32))
LABELS = arrays(np.int64, 5, elements=st.integers(0, 3))


@pytest.mark.slow
@given(LOGITS, LABELS)
def test_signals_agree_with_slow_formulas(logits, labels):
    found, probs, rows = signals(logits, labels), softmax(logits, axis=1), np.arange(5)
    right = probs[rows, labels]
    others = np.where(np.arange(4) == labels[:, None], 0.0, probs)
    assert found.log_probs_NC == pytest.approx(log_softmax(logits, axis=1), rel=1e-9, abs=1e-12)
    assert found.loss_N == pytest.approx(-log_softmax(logits, axis=1)[rows, labels], rel=1e-9, abs=1e-12)
    assert found.scaled_logit_N == pytest.approx(np.log(right) - np.log(others.sum(axis=1)), rel=1e-9, abs=1e-9)
    assert found.entropy_N == pytest.approx(entropy(probs, axis=1), rel=1e-9, abs=1e-12)
    top = probs.argmax(axis=1)
    not_top = np.where(np.arange(4) == top[:, None], 0.0, probs).sum(axis=1)
    assert found.top_margin_N == pytest.approx(np.log(probs.max(axis=1)) - np.log(not_top), rel=1e-9, abs=1e-9)


@pytest.mark.slow
@given(LOGITS, LABELS)
def test_modified_entropy_agrees_with_fifty_digits(logits, labels):
    for row, label, found in zip(logits, labels, signals(logits, labels).modified_entropy_N, strict=True):
        assert found == pytest.approx(float(slow_modified_entropy(row, int(label))), rel=1e-9)


def slow_modified_entropy(logits, label):
    getcontext().prec = 60
    powers = [Decimal(float(z)).exp() for z in logits]
    probs = [power / sum(powers) for power in powers]
    terms = [p * (1 - p).ln() for j, p in enumerate(probs) if j != label]
    return -(1 - probs[label]) * probs[label].ln() - sum(terms)


def test_logits_of_ten_thousand():
    rows = signals([[1e4, 0, -1e4], [1e4, 0, -1e4], [-1e4, 1e4, 1e4]], [0, 2, 0])
    assert rows.scaled_logit_N == pytest.approx([1e4, -2e4, -2e4 - np.log(2)])
    assert rows.loss_N == pytest.approx([0, 2e4, 2e4 + np.log(2)])
    assert rows.entropy_N == pytest.approx([0, 0, np.log(2)])
    assert rows.top_margin_N == pytest.approx([1e4, 1e4, 0], abs=1e-9)
    assert rows.modified_entropy_N[0] == 0
    assert rows.modified_entropy_N[1] > 2e4


def test_confident_rows_do_not_tie():
    """Past a margin of 37 the probability rounds to 1; the more certain row is still the more certain one."""
    margins = np.arange(20.0, 300.0, 5.0)
    rows = signals(np.stack([margins, np.zeros_like(margins), -np.ones_like(margins)], axis=1), [0] * len(margins))
    for rising in (rows.scaled_logit_N, rows.top_margin_N, -rows.loss_N, -rows.entropy_N, -rows.modified_entropy_N):
        assert (np.diff(rising) > 0).all()


def test_two_classes_and_the_largest_float32():
    largest = float(np.finfo(np.float32).max)
    rows = signals([[largest, -largest], [largest, -largest]], [0, 1])
    for values in (rows.scaled_logit_N, rows.loss_N, rows.entropy_N, rows.modified_entropy_N, rows.top_margin_N):
        assert np.isfinite(values).all()


@pytest.mark.parametrize("broken", [np.nan, np.inf, -np.inf])
def test_logits_that_are_no_numbers_are_an_error(broken):
    with pytest.raises(AttackError, match="numbers for 1 of 2"):
        signals([[0.0, 1.0], [broken, broken]], [0, 1])


def test_signals_print_neither_logits_nor_labels():
    assert repr(signals([[0.123, 4.567]], [1])) == "Signals()"


# --- kept on disk


KEY = ("target", "rows")


def on_disk(folder, capacity=64, max_bytes=None):
    return SignalCache(capacity, folder=PrivateFolder(folder, max_bytes=max_bytes))


def content(entry):
    parts = (entry.logits_NC, entry.labels_N, entry.hidden_NH)
    return [None if part is None else (str(part.dtype), part.shape, part.tobytes()) for part in parts]


def some_signals(seed=0, hidden=True):
    random = np.random.default_rng(seed)
    read = random.normal(size=(5, 7)).astype(np.float32) if hidden else None
    return Signals(random.normal(size=(5, 3)), random.integers(0, 3, 5), read)


@pytest.mark.parametrize("hidden", [True, False])
def test_another_cache_on_the_folder_finds_the_same_bits(tmp_path, hidden):
    entry = some_signals(hidden=hidden)
    assert on_disk(tmp_path).put(KEY, entry) is entry
    found = on_disk(tmp_path).get(KEY)
    assert content(found) == content(entry)
    assert np.array_equal(found.scaled_logit_N, entry.scaled_logit_N)


def test_only_the_same_target_and_rows_are_found(tmp_path):
    on_disk(tmp_path).put(KEY, some_signals())
    for other in (("rows", "target"), ("target", "row"), ("target rows", "")):
        assert on_disk(tmp_path).get(other) is None


def test_a_file_is_read_once(tmp_path):
    on_disk(tmp_path).put(KEY, some_signals())
    cache = on_disk(tmp_path)
    first = cache.get(KEY)
    for file in tmp_path.glob("*.safetensors"):
        file.write_bytes(b"")
    assert cache.get(KEY) is first


def test_what_memory_forgets_is_read_back(tmp_path):
    cache = on_disk(tmp_path, capacity=1)
    entries = {name: some_signals(seed) for seed, name in enumerate("abc")}
    for name, entry in entries.items():
        cache.put((name, ""), entry)
    assert [content(cache.get((name, ""))) for name in "abc"] == [content(entry) for entry in entries.values()]
    assert len(cache._entries) == 1


def test_the_folder_is_bounded(tmp_path):
    cache = on_disk(tmp_path, capacity=1, max_bytes=1)
    for seed, name in enumerate("abc"):
        cache.put((name, ""), some_signals(seed))
    assert len(list(tmp_path.glob("*.safetensors"))) == 1
    assert [cache.get((name, "")) is None for name in "abc"] == [True, True, False]


def test_without_a_folder_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    SignalCache().put(KEY, some_signals())
    assert list(tmp_path.iterdir()) == []


def test_logits_that_are_no_numbers_are_not_kept(tmp_path):
    target = Target(ConstantModel([0.0, float("nan")]), cache=on_disk(tmp_path))
    with pytest.raises(AttackError, match="not finite"):
        target.signals(noise_audit(3, 3))
    assert list(tmp_path.glob("*.safetensors")) == []


def test_logits_of_another_name_are_not_believed(tmp_path):
    folder = PrivateFolder(tmp_path)
    on_disk(tmp_path).put(KEY, some_signals())
    (file,) = tmp_path.glob("*.safetensors")
    folder.save("x", {"logits": torch.full((2, 3), torch.nan).double(), "labels": torch.zeros(2, dtype=torch.int64)})
    next(path for path in tmp_path.glob("*.safetensors") if path != file).replace(file)
    assert on_disk(tmp_path).get(KEY) is None


def test_a_broken_file_is_made_anew(tmp_path):
    on_disk(tmp_path).put(KEY, some_signals())
    (file,) = tmp_path.glob("*.safetensors")
    file.write_bytes(file.read_bytes()[:-1])
    assert on_disk(tmp_path).get(KEY) is None


def ask(folder):
    with seeded(0, "net"):
        target = Target(Mlp((8,), 4, hidden=(6,)), cache=on_disk(folder))
    audit = noise_audit(4, 4)
    return (target.digest, audit.digest), content(target.signals(audit))


def test_another_process_finds_the_signals_under_the_same_key(tmp_path, worker_pool):
    ((key, there),) = worker_pool.map(ask, [tmp_path])
    assert content(on_disk(tmp_path).get(key)) == there
    before = [(file.name, file.stat().st_mtime_ns) for file in tmp_path.iterdir()]
    assert ask(tmp_path) == (key, there)
    assert [(file.name, file.stat().st_mtime_ns) for file in tmp_path.iterdir()] == before
