"""Fixtures of the tests that look at whole runs, and how long any test may take."""

import functools
import gc
import importlib
import json
import os
import shutil
import signal
from contextlib import nullcontext
from dataclasses import asdict
from unittest.mock import patch

os.environ.setdefault("OMP_NUM_THREADS", "1")  # workers run on one thread, and equal bits need equal counts

import pytest
from filelock import FileLock
from hypothesis import HealthCheck, settings

from patience import TEST_S, patience
from whole_runs import Ended, run_cli, write_spec

gc.disable()  # until all tests are collected: of what is made by then, nothing is garbage, and a third was the search

signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background would hear none, nor its commands


settings.register_profile("busy", deadline=None, max_examples=50, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy")  # no example fails because other work takes the processor


@functools.cache
def kept():
    """Made where tests run, not where xdist only hands them out: it loads PyTorch."""
    from kept_controls import Kept
    from kept_translations import keep_translations

    # The first optimizer loads it, else. In a test of pytester that would be undone, and PyTorch takes it only once.
    importlib.import_module("torch._dynamo")
    keep_translations()
    return Kept()


def pytest_collection_modifyitems(items):
    """Gives every test the same generous timeout, which `patience` scales; whole runs and worker processes are slow."""
    for item in items:
        item.add_marker(pytest.mark.timeout(patience(TEST_S)))
        if {"finished_once", "worker_pool"} & set(item.fixturenames):
            item.add_marker(pytest.mark.slow)


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop():
    """From here on garbage is looked for, and not among what was collected."""
    gc.enable()
    gc.freeze()
    gc.set_threshold(10_000)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item):
    """Whole runs have their health controls from `Kept`; tests of what a control is make their own.

    A study paints its picture, and only tests of pictures have it rendered: a quarter of a tiny study.
    """
    from safecompress.report import picture

    is_rendered = item.get_closest_marker("rendered") is not None
    unrendered = patch.object(picture, "rendered", lambda figure, kind: f"<{kind}/>".encode())
    with kept().during(item.get_closest_marker("own_controls") is None), nullcontext() if is_rendered else unrendered:
        return (yield)


@pytest.fixture(scope="session", autouse=True)
def shared_folder(tmp_path_factory):
    """One folder for all processes of this session."""
    home = tmp_path_factory.getbasetemp()
    kept().folder = home.parent if "PYTEST_XDIST_WORKER" in os.environ else home
    return kept().folder


@pytest.fixture(scope="session")
def finished_once(shared_folder):
    """A finished run of TINY that nobody may change: the folder ``run``, ``spec.toml`` beside it, how it ended.

    The first process of the session that wants it makes it.
    """
    home, ended = shared_folder / "finished", shared_folder / "finished.json"
    with FileLock(shared_folder / "finished.lock"):
        if not ended.exists():
            spec = write_spec(home / "spec.toml")
            ended.write_text(json.dumps(asdict(run_cli("compress", spec, "--out", home / "run"))))
    return home, Ended(**json.loads(ended.read_text()))


@pytest.fixture(scope="session")
def worker_pool():
    """Two worker processes for all tests that do not lose one: each takes seconds to load PyTorch."""
    from safecompress.compression.search import ProcessExecutor

    with ProcessExecutor(2) as executor:
        list(executor.map(abs, [1, 2]))  # they start now, before a test changes the environment that they inherit
        yield executor


@pytest.fixture
def without_control(monkeypatch):
    """Verdicts without a positive control and its shadows, for tests that are about something else."""
    monkeypatch.setattr("safecompress.certify.verdict.train_control", lambda *_, **__: None)


@pytest.fixture
def finished(finished_once, tmp_path):
    """A copy of it to work on: a folder with ``run``, ``spec.toml`` and the ledger."""
    shutil.copytree(finished_once[0], tmp_path / "finished")
    return tmp_path / "finished"
