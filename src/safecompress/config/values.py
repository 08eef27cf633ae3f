"""Config: all that one spec says, as the product's own values, and written back as TOML or as a digest."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import tomli_w

from safecompress.compression.search.plan import Plan
from safecompress.config.options import convert
from safecompress.config.reading import BuiltStrategy
from safecompress.config.write import identity_table, plan_tables, recipe_table, safety_tables
from safecompress.data import DATASETS, Dataset
from safecompress.export import Packing
from safecompress.models import MODELS, ModelSpec
from safecompress.registry import Registry
from safecompress.spec import SafetySpec
from safecompress.training import Recipe

HEADER = """\
# Every value of this run, defaults included. Relative paths count from this file's folder.
"""


@dataclass(frozen=True)
class DataConfig:
    """The dataset called ``source`` in DATASETS with its ``options`` as written, and what is done with its rows.

    ``sizes`` are the parts whose size the spec gives; ``base`` is the folder that relative paths count from.
    """

    source: str
    options: Mapping[str, Any] = field(hash=False)
    normalise: Literal["none", "standard"]
    sizes: Mapping[str, int] = field(hash=False)
    base: Path = field(repr=False, compare=False)

    def load(self) -> Dataset:
        """The rows. Raises DataError when they cannot be read or are not usable."""
        factory = DATASETS.factory(self.source)
        return factory(**convert(factory, self.options, self.base))

    def moved_to(self, folder: Path) -> DataConfig:
        """The same data, with relative paths counted from ``folder``."""
        return replace(self, options=_moved(DATASETS, self.source, self.options, self.base, folder), base=folder)

    def digest_table(self) -> dict[str, Any]:
        """What decides which rows are drawn: all but where the files lie."""
        located = convert(DATASETS.factory(self.source), self.options, self.base)
        options = {key: value for key, value in self.options.items() if not isinstance(located[key], Path)}
        return {"source": self.source, "options": options, "normalise": self.normalise, **self.sizes}

    def table(self) -> dict[str, Any]:
        """``[data]``."""
        source = {"name": self.source, **self.options} if self.options else self.source
        return {"source": source, "normalise": self.normalise, **self.sizes}


@dataclass(frozen=True)
class ModelConfig:
    """The network called ``name`` in MODELS with its ``options``, and the path of trained weights as written."""

    name: str
    options: Mapping[str, Any] = field(hash=False)
    written_weights: str | None = None
    base: Path = field(default=Path(), repr=False, compare=False)

    def spec(self, input_shape: tuple[int, ...], num_classes: int) -> ModelSpec:
        """The network for samples of ``input_shape`` and so many classes; files among its options are found."""
        converted = convert(MODELS.factory(self.name), self.options, self.base)
        options = {key: str(value) if isinstance(value, Path) else value for key, value in converted.items()}
        return ModelSpec(self.name, options, input_shape, num_classes)

    @property
    def weights(self) -> Path | None:
        """The file of trained dense weights to load instead of training, or None."""
        return None if self.written_weights is None else self.base / self.written_weights

    def moved_to(self, folder: Path) -> ModelConfig:
        """The same model, with a relative path of weights counted from ``folder``."""
        weights = None if self.weights is None else os.path.relpath(self.weights, folder)
        options = _moved(MODELS, self.name, self.options, self.base, folder)
        return replace(self, options=options, written_weights=weights, base=folder)

    def table(self) -> dict[str, Any]:
        """``[model]``."""
        weights = {} if self.written_weights is None else {"weights": self.written_weights}
        return {"name": self.name, **weights, **self.options}


@dataclass(frozen=True)
class Config:
    """What one spec says. ``model`` is None when the model comes from the command line; ``path`` when no file was read.

    ``shortened`` says, a line for each value, what a shortened version of the spec changed; ``names_method`` whether
    the spec itself says by which method models are compared. A changed copy
    (``dataclasses.replace``) has a digest and a TOML text of its own.
    """

    name: str
    seed: int
    data: DataConfig
    model: ModelConfig | None
    recipe: Recipe
    dense_recipe: Recipe
    plan: Plan
    spec: SafetySpec
    packing: Packing = Packing()
    path: Path | None = field(default=None, compare=False)
    strategies: tuple[BuiltStrategy, ...] = field(default=(), repr=False, compare=False)
    shortened: tuple[str, ...] = field(default=(), compare=False)
    names_method: bool = field(default=False, compare=False)

    def load_dataset(self) -> Dataset:
        """The rows that ``[data]`` names. Raises DataError when they cannot be read or are not usable."""
        return self.data.load()

    def tables(self) -> dict[str, Any]:
        """The spec with every default written out, as TOML values.

        Raises UsageError for a strategy that was put in by code and has no name a spec could give it.
        """
        return {
            "name": self.name,
            "seed": self.seed,
            "data": self.data.table(),
            **({} if self.model is None else {"model": self.model.table()}),
            "recipe": recipe_table(self.recipe, self.strategies),
            "dense_recipe": recipe_table(self.dense_recipe, self.strategies),
            **plan_tables(self.plan, self.spec, self.strategies),
            "deploy": asdict(self.packing),
            **safety_tables(self.spec, self.strategies),
        }

    def moved_to(self, folder: Path) -> Config:
        """The same spec as if it lay in ``folder``: relative paths are rewritten."""
        model = None if self.model is None else self.model.moved_to(folder)
        return replace(self, data=self.data.moved_to(folder), model=model)

    def to_toml(self) -> str:
        """The spec with every default written out; read from the same folder, it gives an equal digest."""
        tables = self.tables()
        requirements = tables.pop("require")
        if self.shortened:
            tables = {"shortened": list(self.shortened), **tables}
        blocks = [f"[[require]]\n{tomli_w.dumps(requirement)}" for requirement in requirements]
        return "\n".join([HEADER + tomli_w.dumps(tables), *blocks])

    def notes(self) -> list[str]:
        """What a report must say of the spec: that it was shortened, and how."""
        if not self.shortened:
            return []
        return [f"A shortened run, not the spec at its full size: {'; '.join(self.shortened)}."]

    def digest(self) -> str:
        """SHA-256 over every value that influences results: all but the run's name, and what `init` proposed.

        Paths enter as written, wherever the spec lies; what the files hold does not.
        """
        tables = {key: value for key, value in self.tables().items() if key != "name"}
        tables["require"] = [
            {key: value for key, value in table.items() if key != "proposed"} for table in tables["require"]
        ]
        tables["compress"] = {"start": "scratch", **tables["compress"]}  # as a start that is unset mostly ends
        for name, recipe in (("recipe", self.recipe), ("dense_recipe", self.dense_recipe)):
            tables[name] = identity_table(recipe, tables[name])
        return _digest(tables)

    def data_digest(self) -> str:
        """SHA-256 over seed, canaries and ``[data]`` without paths: equal for specs that split rows in the same way."""
        canaries = {"canaries": self.spec.canaries} if self.spec.canaries else {}
        return _digest({"seed": self.seed, "data": self.data.digest_table(), **canaries})


@dataclass(frozen=True)
class Limits:
    """What must hold of a model that was trained elsewhere: the safety spec, and the name and seed of its audit."""

    name: str
    seed: int
    spec: SafetySpec


def _digest(tables: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(tables, sort_keys=True, allow_nan=False).encode()).hexdigest()


def _moved(registry: Registry[Any], name: str, options: Mapping[str, Any], base: Path, folder: Path) -> dict[str, Any]:
    """``options`` of the factory called ``name``, with relative paths counted from ``folder`` instead of ``base``."""
    located = convert(registry.factory(name), options, base)
    return {
        key: os.path.relpath(located[key], folder) if isinstance(located[key], Path) else value
        for key, value in options.items()
    }
