"""Serial and process executors give the same bits; a lost worker's work is repeated once, and only once."""

import multiprocessing
import multiprocessing.util
import os
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from lost_workers import die_at_two, die_unless_marked, sleep_with_a_pool
from tiny_search import attackers, facts, mlp, proposals, tensors_equal, trained, trial, with_batch_norm

from patience import patience
from safecompress.compression.search import ProcessExecutor, SerialExecutor, candidate_name, use_one_thread
from safecompress.compression.search.executor import WorkerError
from safecompress.errors import UsageError


def square(number):
    return number * number


def slow_at_first(number):
    time.sleep(0.2 if number == 0 else 0.0)
    return number


def fail_at_two(number):
    if number == 2:
        raise ValueError("two")
    return number


def environment(_):
    return os.environ.get("OMP_NUM_THREADS"), torch.get_num_threads()


@pytest.mark.parametrize("executor", [SerialExecutor(), None], ids=["serial", "processes"])
def test_results_come_in_the_items_order(executor, worker_pool):
    executor = executor or worker_pool
    assert list(executor.map(square, range(7))) == [0, 1, 4, 9, 16, 25, 36]
    assert list(executor.map(slow_at_first, range(4))) == [0, 1, 2, 3]
    assert list(executor.map(square, [])) == []


def test_an_error_of_the_work_is_not_a_lost_worker(worker_pool):
    results = worker_pool.map(fail_at_two, range(4))
    assert [next(results), next(results)] == [0, 1]
    with pytest.raises(ValueError, match="two"):
        next(results)
    assert list(worker_pool.map(square, [3])) == [9]


def test_one_thread_means_one_thread():
    before = torch.get_num_threads()
    try:
        use_one_thread()
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("workers", [0, -1])
def test_a_pool_has_workers(workers):
    with pytest.raises(UsageError, match=f"at least 1, got {workers}"):
        ProcessExecutor(workers)


# --- the same bits


@pytest.mark.parametrize("make", [mlp, with_batch_norm])
def test_serial_and_two_processes_end_in_the_same_bits(make, tmp_path, worker_pool):
    """Five trials on two workers, so that a worker does more than one: a model sent to workers lies in memory that all
    of them share, and one that trained it in place would train it for all."""
    job = trial(tmp_path / "parent", make())
    parent = trained(job)
    tested_by, work = attackers(job, parent), proposals(job, parent)
    assert len(work) >= 4
    found = {}
    for name, executor in (("serial", SerialExecutor()), ("pool", worker_pool), ("again", worker_pool)):
        here = trial(tmp_path / name, job.model)
        evaluations = list(executor.map(partial(here, parent, tested_by), work))
        candidates = [here.store.load_candidate(candidate_name(e.candidate)).to_tensors() for e in evaluations]
        found[name] = [facts(e) for e in evaluations], candidates
    for name in ("pool", "again"):
        assert found[name][0] == found["serial"][0]
        assert all(map(tensors_equal, found[name][1], found["serial"][1]))
    assert len({tensors["state/model/" + w].numpy().tobytes() for tensors in found["pool"][1]
                for w in [next(n for n in job.model.state_dict() if n.endswith("weight"))]}) == len(work)  # fmt: skip


# --- lost workers


@pytest.mark.slow
def test_the_work_of_a_lost_worker_is_done_again(tmp_path):
    with ProcessExecutor(2) as executor:
        results = list(executor.map(partial(die_unless_marked, str(tmp_path)), range(5)))
        assert [number for number, _ in results] == [0, 1, 2, 3, 4]
        attempts = [path for path in tmp_path.iterdir() if path.name.startswith("begun-2-")]
        assert len(attempts) == 2
        assert list(executor.map(square, [4])) == [16]


@pytest.mark.slow
def test_workers_have_one_thread_and_the_caller_keeps_its_own_and_one_lost_again_and_again_is_an_error(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    with ProcessExecutor(1) as executor:
        assert list(executor.map(environment, range(2))) == [("1", 1)] * 2
        assert "OMP_NUM_THREADS" not in os.environ
        with pytest.raises(WorkerError, match=r"lost twice \(1 workers\).*fewer --workers") as caught:
            list(executor.map(die_at_two, range(5)))
        assert caught.value.exit_code == 3


def _is_alive(pid: int) -> bool:
    stat = Path(f"/proc/{pid}/stat")
    return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z"


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks at processes through /proc")
def test_workers_do_not_outlive_a_killed_parent() -> None:
    place = multiprocessing.util.get_temp_dir()  # of this process, whose sockets its children share
    context = torch.multiprocessing.get_context("spawn")
    pids: Any = context.Queue()
    parent = context.Process(target=sleep_with_a_pool, args=(pids,))
    parent.start()
    workers = pids.get(timeout=patience(30))
    parent.kill()
    parent.join()
    deadline = time.monotonic() + patience(10)
    while any(map(_is_alive, workers)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not [pid for pid in workers if _is_alive(pid)]
    assert Path(place).is_dir(), "the folder of another process was cleaned up"
