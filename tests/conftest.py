"""Fixtures of the tests that look at whole runs, and how long any test may take."""

import os
import shutil
import signal

os.environ.setdefault("OMP_NUM_THREADS", "1")  # workers run on one thread, and equal bits need equal counts

import pytest

from kept_controls import Kept
from patience import TEST_S, patience
from whole_runs import run_cli, write_spec

signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background would hear none, nor its commands


KEPT = Kept()


def pytest_collection_modifyitems(items):
    """Gives every test the same generous timeout, which `patience` scales."""
    for item in items:
        item.add_marker(pytest.mark.timeout(patience(TEST_S)))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item):
    """Whole runs have their health controls from `Kept`; tests of what a control is make their own."""
    with KEPT.during(item.get_closest_marker("own_controls") is None):
        return (yield)


@pytest.fixture(scope="session", autouse=True)
def kept_controls(tmp_path_factory):
    """All processes of this session share the folder."""
    home = tmp_path_factory.getbasetemp()
    KEPT.folder = home.parent if "PYTEST_XDIST_WORKER" in os.environ else home


@pytest.fixture(scope="session")
def finished_once(tmp_path_factory):
    """A finished run of TINY that nobody may change: the folder ``run``, ``spec.toml`` beside it, how it ended."""
    home = tmp_path_factory.mktemp("finished")
    spec = write_spec(home / "spec.toml")
    return home, run_cli("compress", spec, "--out", home / "run")


@pytest.fixture
def finished(finished_once, tmp_path):
    """A copy of it to work on: a folder with ``run``, ``spec.toml`` and the ledger."""
    shutil.copytree(finished_once[0], tmp_path / "finished")
    return tmp_path / "finished"
