"""Whether work can be sent to worker processes, which import what it is made of: a notebook cannot be imported."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
from torch import Tensor, nn

from safecompress.errors import UsageError


def require_importable(fn: Callable[..., Any], work: list[Any]) -> None:
    """Raise UsageError for a class or function of a main module that a worker cannot import, such as a notebook's."""
    main = sys.modules.get("__main__")
    if getattr(main, "__spec__", None) is not None or getattr(main, "__file__", None) is not None:
        return  # a worker imports that module, or runs that file again under another name
    names = sorted({_name(thing) for thing in _made_of([fn, *work]) if thing.__module__ == "__main__"})
    if names:
        raise UsageError(
            f"{', '.join(names[:3])}: defined in a notebook, at a prompt or in python -c, which worker processes "
            "cannot import. Put it in a file beside (mynet.py) and import it from there; or leave out the executor: "
            "work in one process."
        )


def is_of_pickling(error: Exception) -> bool:
    """Whether ``error`` says that an object could not be sent."""
    words = str(error).lower()
    return type(error).__name__ == "PicklingError" or "pickle" in words or "get local object" in words


def _made_of(things: list[Any]) -> Iterator[Any]:
    """Classes and functions that ``things`` are made of, each once; arrays are not looked into."""
    waiting, seen = list(things), set()
    while waiting:
        thing = waiting.pop()
        if id(thing) in seen or isinstance(thing, Tensor | np.ndarray | str | bytes | int | float | None):
            continue
        seen.add(id(thing))
        if isinstance(thing, Mapping):
            waiting += [*thing.keys(), *thing.values()]
        elif isinstance(thing, list | tuple | set | frozenset):
            waiting += thing
        elif isinstance(thing, functools.partial):
            waiting += [thing.func, *thing.args, *thing.keywords.values()]
        elif isinstance(thing, type) or (callable(thing) and hasattr(thing, "__qualname__")):
            yield thing
            waiting += [owner] if (owner := getattr(thing, "__self__", None)) is not None else []
        else:
            yield type(thing)
            waiting += list(_attributes(thing).values())
            waiting += list(thing.modules()) if isinstance(thing, nn.Module) else []


def _attributes(thing: Any) -> dict[str, Any]:
    slots = [name for kind in type(thing).__mro__ for name in getattr(kind, "__slots__", ())]
    return {**getattr(thing, "__dict__", {}), **{name: getattr(thing, name, None) for name in slots}}


def _name(thing: Any) -> str:
    return str(thing.__qualname__)
