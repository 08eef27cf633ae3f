"""Names for strategies: the built-ins of a room and the entry points of installed plug-ins, found when asked for."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint, EntryPoints, entry_points
from pathlib import Path
from typing import Any, Generic, TypeVar

from safecompress.errors import UsageError, suggest

T = TypeVar("T")


@dataclass(frozen=True)
class Registry(Generic[T]):
    """What the name of a ``kind`` stands for. A plug-in that takes a built-in's name is refused, not preferred."""

    kind: str
    group: str
    builtins: Mapping[str, Callable[..., T]] = field(repr=False)

    def plugins(self) -> dict[str, EntryPoint]:
        """The entry points of this group, by name. Raises UsageError when two claim one name."""
        entry_points_by_name: dict[str, EntryPoint] = {}
        for point in installed(self.group):
            if point.name in self.builtins or point.name in entry_points_by_name:
                raise UsageError(
                    f"The {self.kind} name {point.name!r} is claimed twice (the second time by {point.value}). "
                    "Uninstall one of the two packages, or rename its entry point."
                )
            entry_points_by_name[point.name] = point
        return entry_points_by_name

    def names(self) -> list[str]:
        """All names, sorted."""
        return sorted([*self.builtins, *self.plugins()])

    def origins(self) -> dict[str, str]:
        """Where each name comes from: ``built in`` or the plug-in's package."""
        plugged = {name: point.dist.name if point.dist else point.value for name, point in self.plugins().items()}
        return dict(sorted({**dict.fromkeys(self.builtins, "built in"), **plugged}.items()))

    def describe(self) -> dict[str, tuple[str, str]]:
        """For each name its origin and the first line of its documentation."""
        documented = {name: (self.factory(name).__doc__ or "").strip().splitlines() for name in self.names()}
        return {name: (origin, (documented[name] or [""])[0]) for name, origin in self.origins().items()}

    def factory(self, name: str) -> Callable[..., T]:
        """What makes a ``name``. Raises UsageError with the close matches when the name is unknown."""
        if name in self.builtins:
            return self.builtins[name]
        plugins = self.plugins()
        if name not in plugins:
            raise UsageError(f"Unknown {self.kind} {name!r}. {suggest(name, [*self.builtins, *plugins])}")
        factory: Callable[..., T] = plugins[name].load()
        return factory

    def make(self, choice: T | str | Mapping[str, Any]) -> T:
        """One typed object from an object, a name, or a mapping ``{"name": ..., option: value}``.

        Raises UsageError for an unknown name, an unknown option, or an option of a wrong value.
        """
        if isinstance(choice, str | Mapping):
            options = {"name": choice} if isinstance(choice, str) else dict(choice)
            name = options.pop("name", None)
            if not isinstance(name, str):
                raise UsageError(f"A {self.kind} given as a table needs a name. Allowed: {', '.join(self.names())}.")
            factory = self.factory(name)
            try:
                return factory(**options)
            except TypeError as error:
                raise UsageError(f"The {self.kind} {name!r} does not take these options: {error}") from error
        return choice


def installed(group: str) -> list[EntryPoint]:
    """The entry points of ``group`` in all installed packages, those included that were installed a moment ago.

    Reading what every package declares takes tens of milliseconds, and one run asks many times. It is read again only
    when a folder in which packages are looked for has changed, or there are other such folders.
    """
    folders = tuple((folder, _changed_at(folder)) for folder in map(os.path.abspath, sys.path))
    return list(_of_group(group, folders))


Folders = tuple[tuple[str, int], ...]
"""Where packages are looked for, and when each of these folders last changed."""


@functools.lru_cache(maxsize=64)
def _of_group(group: str, folders: Folders) -> EntryPoints:
    points: EntryPoints = _of_all_groups(folders).select(group=group)
    return points


@functools.lru_cache(maxsize=1)
def _of_all_groups(folders: Folders) -> Any:
    return entry_points()  # of another class in each version of Python, and each has `select`


def _changed_at(searched: str) -> int:
    """When a file of a folder was last added or deleted, in nanoseconds; 0 where there is no such folder."""
    try:
        return Path(searched).stat().st_mtime_ns
    except OSError:
        return 0
