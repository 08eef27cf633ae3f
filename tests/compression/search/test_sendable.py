"""What workers cannot import or be sent is named, and the memory is not blamed for it."""

import functools
import multiprocessing
import sys
import types
from dataclasses import dataclass

import pytest
from torch import nn

from safecompress.compression.search import ProcessExecutor
from safecompress.compression.search.sendable import is_of_pickling, require_importable
from safecompress.errors import UsageError


@dataclass
class Work:
    model: object


def of_notebook(kind):
    """``kind``, as if it had been defined in the main module."""
    kind.__module__ = "__main__"
    return kind


class Net(nn.Module):
    def forward(self, x):
        return x


def step(item):
    return item


@pytest.fixture
def notebook(monkeypatch):
    main = types.ModuleType("__main__")
    main.__spec__ = None
    monkeypatch.setitem(sys.modules, "__main__", main)


@pytest.mark.parametrize(
    "work",
    [
        lambda net: [net()],
        lambda net: [Work(net())],
        lambda net: [{"models": [nn.Sequential(nn.Linear(2, 2), net())]}],
        lambda net: [functools.partial(step, net())],
    ],
    ids=["itself", "in a value", "within a network", "in a partial"],
)
def test_a_class_of_a_notebook_is_named(work, notebook):
    net = of_notebook(type("Net", (Net,), {}))
    with pytest.raises(UsageError, match=r"Net: defined in a notebook.*mynet\.py"):
        require_importable(step, work(net))


def test_classes_of_modules_and_of_scripts_are_sent(notebook, monkeypatch):
    require_importable(step, [Work(Net()), nn.Linear(2, 2), 3, None, "x"])
    sys.modules["__main__"].__file__ = "script.py"
    require_importable(step, [of_notebook(type("Net", (Net,), {}))()])


def test_a_script_without_its_guard_is_told_at_once(monkeypatch):
    """A worker imports the script, which makes an executor again."""
    monkeypatch.setattr(multiprocessing.current_process(), "_inheriting", True, raising=False)
    with pytest.raises(UsageError, match='if __name__ == "__main__":'):
        ProcessExecutor(2)


@pytest.mark.slow
def test_a_function_within_a_function_is_refused_with_the_reason(worker_pool):
    with pytest.raises(UsageError, match="at the top of a module"):
        list(worker_pool.map(lambda item: item, [1, 2]))
    assert list(worker_pool.map(abs, [-1, 2])) == [1, 2]


def test_errors_of_the_work_itself_are_no_errors_of_sending():
    assert not is_of_pickling(ValueError("the loss is NaN"))
    assert is_of_pickling(AttributeError("Can't get local object 'f.<locals>.Net'"))
    assert is_of_pickling(TypeError("cannot pickle 'generator' object"))
