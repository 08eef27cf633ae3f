"""load_config and parse_config: a TOML text in, one Config out, or one SpecError that lists every fault."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from safecompress.config.reading import SpecReader
from safecompress.config.scale import laid_over, nested, shortened
from safecompress.config.sections import (
    names_method,
    read_data,
    read_model,
    read_packing,
    read_plan,
    read_recipe,
    read_safety,
    usual_method,
)
from safecompress.config.tables import LimitsShape, SpecShape, read_table
from safecompress.config.text import Table, parse_toml, read_text
from safecompress.config.values import Config, Limits
from safecompress.errors import SpecError
from safecompress.training import CrossEntropy, Recipe


def load_config(
    path: str | Path,
    *,
    model_given: bool = False,
    scale: str | None = None,
    settings: Mapping[str, Any] | None = None,
) -> Config:
    """The spec in the file ``path``; ``model_given`` when a model comes from elsewhere and ``[model]`` may be absent.

    ``scale`` names one of the spec's shortened versions; ``settings`` stand for any of its values, by dotted name
    (``data.source.root``). Raises SpecError, with every fault at once, when the file cannot be read or says something
    wrong.
    """
    file = Path(path).absolute()
    text = read_text(file, source=str(path))
    options: dict[str, Any] = {"model_given": model_given, "scale": scale, "settings": settings}
    return replace(parse_config(text, base=file.parent, source=str(path), **options), path=file)


def parse_config(
    text: str,
    *,
    base: Path,
    source: str,
    model_given: bool = False,
    scale: str | None = None,
    settings: Mapping[str, Any] | None = None,
) -> Config:
    """The spec in ``text``. Relative paths in it count from ``base``; ``source`` is its name in messages.

    Raises SpecError as ``load_config`` does.
    """
    written, reading = parse_toml(text, source), SpecReader(base.absolute())
    tables, changed = shortened(written, scale, reading)
    for name, value in (settings or {}).items():
        tables = laid_over(tables, nested(name, value))
    shape = read_table(SpecShape, tables, "", reading)
    if "model" not in tables and not model_given:
        reading.note("[model]", f"is missing. {SpecShape.model_fields['model'].description}")
    data_table, model_table = section(tables, "data"), section(tables, "model")
    data = None if data_table is None else read_data(data_table, reading)
    model = None if model_table is None else read_model(model_table, reading)
    recipe = read_recipe(section(tables, "recipe") or {}, "[recipe]", reading, Recipe())
    plain = replace(recipe, objective=CrossEntropy())
    dense_recipe = read_recipe(section(tables, "dense_recipe") or {}, "[dense_recipe]", reading, plain)
    compress, search = section(tables, "compress") or {}, section(tables, "search") or {}
    plan = read_plan(compress, search, reading, default=usual_method(compress, search, model))
    packing = read_packing(section(tables, "deploy") or {}, reading)
    spec = read_safety(section(tables, "safety"), _sections(tables, "require"), reading)
    if reading.faults or shape is None or data is None or plan is None or spec is None:
        raise SpecError.from_faults(source, reading.faults)
    strategies = tuple(reading.strategies)
    name = f"{shape.name}-{scale}" if scale else shape.name
    parts = (name, shape.seed, data, model, recipe, dense_recipe, plan, spec)
    options: dict[str, Any] = {"packing": packing, "strategies": strategies, "names_method": names_method(search)}
    return Config(*parts, **options, shortened=(*shape.shortened, *changed))


def load_limits(path: str | Path) -> Limits:
    """Name, seed and safety spec of the spec in the file ``path``, which needs no data and no model.

    So a model that was trained elsewhere can be judged. All other sections of a whole spec are read over. Raises
    SpecError, with every fault at once.
    """
    file = Path(path).absolute()
    source = str(path)
    reading = SpecReader(file.parent)
    tables, _ = shortened(parse_toml(read_text(file, source=source), source), None, reading)
    shape = read_table(LimitsShape, tables, "", reading)
    spec = read_safety(section(tables, "safety"), _sections(tables, "require"), reading)
    if reading.faults or shape is None or spec is None:
        raise SpecError.from_faults(source, reading.faults)
    return Limits(shape.name, shape.seed, spec)


def section(tables: Table, key: str) -> Table | None:
    """The table called ``key``, or None when there is none: absent, or not a table, which is noted elsewhere."""
    table = tables.get(key)
    return table if isinstance(table, dict) else None


def _sections(tables: Table, key: str) -> list[Table]:
    """The tables in the list called ``key``."""
    listed = tables.get(key)
    return [table for table in listed if isinstance(table, dict)] if isinstance(listed, list) else []
