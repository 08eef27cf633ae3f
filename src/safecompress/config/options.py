"""Options of what a registry names: their names, types and defaults come from the factory's own signature."""

from __future__ import annotations

import inspect
import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from enum import Enum
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ConfigDict, PydanticUserError, TypeAdapter, ValidationError

from safecompress.config.phrases import describe, has_control, is_path, show
from safecompress.config.reading import BuiltStrategy, SpecReader
from safecompress.config.tables import LARGEST, StrategyEntry, place
from safecompress.errors import UsageError, suggest
from safecompress.registry import Registry

T = TypeVar("T")
Parameters = Mapping[str, inspect.Parameter]
_STRICT = ConfigDict(arbitrary_types_allowed=True, allow_inf_nan=False)


def make_strategy(registry: Registry[T], entry: StrategyEntry, where: str, reading: SpecReader) -> T | None:
    """What ``entry``, a name or a table with one, stands for in ``registry``; None when a fault was noted."""
    name, options = split_choice(registry, entry, where, reading)
    factory = find_factory(registry, name, where, reading) if name is not None else None
    if name is None or factory is None:
        return None
    owner = f"the {registry.kind} {name!r}"
    written = read_options(factory, options, where, owner, reading)
    strategy = None if written is None else call(factory, written, where, owner, reading)
    if strategy is not None:
        reading.strategies.append(BuiltStrategy(strategy, {"name": name, **(written or {})}))
    return strategy


def split_choice(
    registry: Registry[T], strategy: StrategyEntry, where: str, reading: SpecReader
) -> tuple[str | None, Mapping[str, Any]]:
    """The name and the options of ``strategy``; the name is None, and a fault noted, when a table has none."""
    if isinstance(strategy, str):
        return strategy, {}
    name = strategy.get("name")
    if isinstance(name, str):
        return name, {key: value for key, value in strategy.items() if key != "name"}
    got = f", got {show(name)}" if "name" in strategy else ""
    reading.note(
        where, f"a table that stands for one {registry.kind} takes a name{got}. Allowed: {', '.join(registry.names())}."
    )
    return None, {}


def find_factory(registry: Registry[T], name: str, where: str, reading: SpecReader) -> Callable[..., T] | None:
    """The factory called ``name``, or None with a fault noted: no such name, or a plug-in that does not load."""
    try:
        return registry.factory(name)
    except UsageError as error:
        reading.note(where, str(error))
    except Exception as error:  # a plug-in runs its own code when it is loaded
        reading.note(where, f"the {registry.kind} {name!r} is of a plug-in that does not load ({error!r}).")
    return None


def read_options(
    factory: Callable[..., Any],
    options: Mapping[str, Any],
    where: str,
    owner: str,
    reading: SpecReader,
    reserved: Sequence[str] = ("name",),
) -> dict[str, Any] | None:
    """``options`` and the factory's defaults as TOML values, numbers in the type that the factory takes.

    None when a fault was noted: an option that is unknown, missing or of a wrong type. ``reserved`` are parameters
    that no option may set.
    """
    known, catches_all = parameters_of(factory, reserved)
    faults_before = len(reading.faults)
    for key, value in options.items():
        if key not in known and (key in reserved or not catches_all):
            allowed = suggest(key, known) if known else "It takes none."
            reading.note(place(where, key), f"{owner} has no option {show(key)}. {allowed}")
        elif fault := _mistyped(value, known.get(key)):
            reading.note(place(where, key), fault)
    for key, parameter in known.items():
        if parameter.default is parameter.empty and key not in options:
            reading.note(where, f"{owner} needs the option {key!r}, {describe(parameter.annotation)}.")
    if len(reading.faults) > faults_before:
        return None
    defaults = {key: parameter.default for key, parameter in known.items() if _is_plain(plain(parameter.default))}
    values = {key: plain(value) for key, value in convert(factory, options).items()}
    kept = {key: value if _is_plain(value) else options[key] for key, value in values.items()}
    return {key: plain(value) for key, value in {**defaults, **kept}.items()}


def call(
    factory: Callable[..., T], written: Mapping[str, Any], where: str, owner: str, reading: SpecReader
) -> T | None:
    """What the factory makes of the options ``written``, or None with its refusal noted."""
    try:
        return factory(**convert(factory, written))
    except UsageError as error:
        reading.note(where, str(error))
    except (TypeError, ValueError, ArithmeticError) as error:
        reading.note(where, f"{owner} cannot be made with these options: {error}")
    return None


def convert(factory: Callable[..., Any], written: Mapping[str, Any], base: Path | None = None) -> dict[str, Any]:
    """Options as the factory takes them: lists in its own kind of sequence, and paths counted from ``base``."""
    known, _ = parameters_of(factory, ())
    values = {key: _converted(value, known.get(key)) for key, value in written.items()}
    if base is None:
        return values
    paths = {key for key, value in values.items() if isinstance(value, str | Path) and _takes_path(known.get(key))}
    return {key: base / value if key in paths else value for key, value in values.items()}


def parameters_of(factory: Callable[..., Any], reserved: Iterable[str]) -> tuple[Parameters, bool]:
    """What can be set by keyword and is not ``reserved``, and whether the factory takes any keyword at all."""
    try:
        parameters = inspect.signature(factory, eval_str=True).parameters
    except NameError:  # a plug-in that imports its types for the checker only: its options go unchecked to it
        parameters = inspect.signature(factory).parameters
    kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    known = {name: p for name, p in parameters.items() if p.kind in kinds and name not in {*reserved}}
    return known, any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())


def _mistyped(value: Any, parameter: inspect.Parameter | None) -> str | None:
    """The fault when ``value`` is of a type that the parameter does not take, or no value that a spec may hold."""
    if not _is_plain(value):
        return f"takes finite numbers of up to 64 bits, text, true or false, and lists of those, got {show(value)}."
    if isinstance(value, str) and has_control(value) and _takes_path(parameter):
        return f"takes a path without control characters, got {show(value)}."
    try:
        _converted(value, parameter)
    except ValidationError:
        return f"takes {describe(parameter.annotation if parameter else Any)}, got {show(value)}."
    return None


def _converted(value: Any, parameter: inspect.Parameter | None) -> Any:
    """``value`` as its annotation has it. Raises ValidationError when it does not fit."""
    if parameter is None or parameter.annotation is parameter.empty or isinstance(parameter.annotation, str):
        return value
    try:
        adapter: TypeAdapter[Any] = TypeAdapter(parameter.annotation, config=_STRICT)
    except PydanticUserError:  # a plug-in's own kind of annotation
        return value
    converted = adapter.validate_json(json.dumps(value), strict=True)
    return tuple(converted) if isinstance(converted, Iterator) else converted


def _takes_path(parameter: inspect.Parameter | None) -> bool:
    return parameter is not None and is_path(parameter.annotation)


def plain(value: Any) -> Any:
    """``value`` as TOML has it: lists for sequences, text for paths and members of enumerations."""
    if isinstance(value, Enum):
        return plain(value.value)
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(item) for item in (sorted(value) if isinstance(value, set | frozenset) else value)]
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    return value


def _is_plain(value: Any) -> bool:
    """Whether a spec can hold ``value``."""
    if isinstance(value, list):
        return all(map(_is_plain, value))
    if isinstance(value, dict):
        return all(isinstance(key, str) and _is_plain(item) for key, item in value.items())
    if isinstance(value, float):
        return math.isfinite(value)
    return isinstance(value, str | bool) or (isinstance(value, int) and -LARGEST <= value <= LARGEST)
