"""The reference of the spec file: every table and key, with what it takes, its default and what it says."""

from __future__ import annotations

import re
from dataclasses import MISSING, fields
from types import UnionType
from typing import Any, Union, get_args, get_origin

from pydantic.fields import FieldInfo
from words import about, code, page, table

from safecompress.attacks import MEMBERSHIP
from safecompress.compression.search.branch import DEFAULT_BRANCHES
from safecompress.config.options import parameters_of
from safecompress.config.phrases import describe
from safecompress.config.scale import SECTIONS
from safecompress.config.tables import (
    CompressShape,
    DataShape,
    DeployShape,
    EvidenceShape,
    FoldsShape,
    RequireShape,
    SafetyShape,
    SearchShape,
    SpecShape,
    StrictTable,
)
from safecompress.metrics.catalogue import CANARIES, OF_THE_TASK, WORST_CASE, direction_of
from safecompress.metrics.measurement import Direction
from safecompress.studies.comparison.plan import DEFAULT_ATTACKS
from safecompress.studies.comparison.spec import CompareShape
from safecompress.studies.hyperparameters.spec import TuneShape
from safecompress.training import Recipe

HEADER = ("key", "takes", "default", "what it says")
STRATEGIES = {
    "source": "data-sets", "allocation": "allocations", "shape": "shapes", "selector": "selectors",
    "schedule": "schedules", "branches": "drop-rules", "attacks": "attacks", "objective": "objectives",
    "augment": "augmentations", "methods": "methods", "objectives": "objectives",
}  # fmt: skip
"""Keys whose names are listed on another page, and where there."""

DEFAULTS = {("SearchShape", "branches"): [branch.name for branch in DEFAULT_BRANCHES]}
"""What a missing key stands for where its own table says None."""

_WRITTEN = re.compile(r"""\{ [^}]*\}|\[\[?[^]]+\]\]?|--\w+|\w+ = (?:"[^"]*"|\[[^]]*\]|[\d.]*\d)|"[^"]*"|'[^']'""")
"""What a description writes as a spec would: a table, a list, a heading, an option, ``key = value``, a text."""

LIMITS = {"gt": "above", "ge": "at least", "lt": "below", "le": "at most"}
UNBOUNDED = 2**53
"""A limit from here on is the format's, and not told."""


def spec_page() -> str:
    """The page."""
    return page(
        "The spec file",
        "A spec is one TOML file. It is data: it names things and cannot name code. Every fault in it is reported at "
        "once, with what is allowed. `safecompress init` writes a first one, and the run folder's `spec.toml` shows "
        "every value of a run, defaults included. What can be named stands under [names](names.md).",
        "## The whole file",
        _keys(SpecShape, sections=True),
        "## `[data]`",
        "Rows, and who they are. Sizes count rows; those that are left out are shares of all rows. "
        "More: [data](../data.md), [texts](../text.md).",
        _keys(DataShape),
        "## `[model]`",
        "`name` is a [network](names.md#networks), and every other key an option of it. `weights` is the path of a "
        "`.safetensors` file with trained dense weights, to be taken instead of training them. A network of your own "
        "is named on the command line ([how](../how-to/own-model.md)).",
        "## `[recipe]` and `[dense_recipe]`",
        "How the dense model, every candidate, the final model and every shadow are trained. `[dense_recipe]` changes "
        "the dense model's alone; it begins with `[recipe]`, without its objective. More: [training](../training.md).",
        _recipe(),
        "## `[compress]`",
        "How small, and which weights. More: [what ships](../deploy.md#making-it-small).",
        _keys(CompressShape),
        "## `[search]`",
        'How models are made, tested and chosen. With `method = "folds"` whole configurations (arms) are compared: '
        '`folds`, `shares`, `lengths`, `densities`, `goal` and `evidence` belong to it. With `method = "rewiring"` '
        "candidates are compared in every round: `rank` and `refit` belong to it. More: "
        "[why folds teach](../explanation/folds.md), [architecture](../architecture.md).",
        _keys(SearchShape),
        "### `folds` of `[search]`",
        _keys(FoldsShape),
        "### `evidence` of `[search]`",
        _keys(EvidenceShape),
        "## `[deploy]`",
        "What ships, and is judged. More: [what ships](../deploy.md).",
        _keys(DeployShape),
        "## `[safety]`",
        "Which attackers the verdict reckons with. More: [attacks](../attacks.md#what-a-verdict-rests-on).",
        _keys(SafetyShape),
        "## `[[require]]`",
        "One table for each thing that must hold, with exactly one of `at_most`, `at_least` and `within`.",
        _keys(RequireShape),
        "### What can be required",
        _metrics(),
        "## `[scale.NAME]`",
        "A shortened version of the spec, taken by `--scale NAME`: its tables are laid over the spec's own, key by "
        f"key. It may change {', '.join(f'`{name}`' for name in SECTIONS)}. The report says what was changed.",
        "## `[compare]`",
        "Of a spec for `safecompress compare`, which has `name`, `[data]`, `[model]` and `[recipe]` beside it. "
        "More: [comparing methods](../compare.md).",
        _keys(CompareShape),
        "## `[tune]`",
        "Of a spec for `safecompress tune`, beside the tables of a whole spec. "
        "More: [searching settings](../tuning.md).",
        _keys(TuneShape),
    )


def _keys(shape: type[StrictTable], *, sections: bool = False) -> str:
    rows = [_key(shape, name, field, sections) for name, field in shape.model_fields.items()]
    if sections:
        rows.append(("[`scale`](#scalename)", "tables", "-", "Shortened versions of this spec."))
    return table(HEADER, rows)


def _key(shape: type[StrictTable], name: str, field: FieldInfo, sections: bool) -> tuple[str, str, str, str]:
    default = DEFAULTS.get((shape.__name__, name), field.get_default(call_default_factory=True))
    shown = "required" if field.is_required() else code(list(default) if default is DEFAULT_ATTACKS else default)
    key = f"`{name}`"
    if sections and "table" in describe(field.annotation):
        key = f"[`{name}`](#{'recipe-and-dense_recipe' if 'recipe' in name else name})"
        shown = "required" if field.is_required() else "-"
    return key, takes(field), shown, _says(name, field.description or "")


def _says(name: str, words: str) -> str:
    told = _WRITTEN.sub(lambda found: f"`{found[0]}`", re.sub(r"^It (?:is|says) ", "", words))
    names = f" [Names](names.md#{STRATEGIES[name]})." if name in STRATEGIES else ""
    return told[:1].upper() + told[1:] + names


def takes(field: FieldInfo) -> str:
    """What the key takes, with its limits: ``a number, above 0, at most 1``."""
    kind = describe(field.annotation).replace("one of ", "").replace("'", "`")
    marks = [*field.metadata, *_inner(field.annotation)]
    limits = [
        f"{words} {getattr(mark, limit):g}"
        for mark in marks
        for limit, words in LIMITS.items()
        if getattr(mark, limit, None) is not None and abs(getattr(mark, limit)) < UNBOUNDED
    ]
    return ", ".join([kind, *limits])


def _inner(annotation: Any) -> list[Any]:
    """The marks inside a union, such as those of ``Count | None``; not those of a list's items."""
    is_union = get_origin(annotation) in (Union, UnionType)
    return [mark for part in get_args(annotation) for mark in _marks(part)] if is_union else []


def _marks(annotation: Any) -> list[Any]:
    return [limit for mark in getattr(annotation, "__metadata__", ()) for limit in getattr(mark, "metadata", ())]


def _recipe() -> str:
    known, _ = parameters_of(Recipe, ())
    rows = []
    for field in fields(Recipe):
        is_named = field.name in STRATEGIES
        default = field.default if field.default is not MISSING else "cross_entropy"
        kind = "a name, or a table with one" if field.name == "objective" else describe(known[field.name].annotation)
        kind = "a list of names, or of tables with one" if field.name == "augment" else kind
        kind = kind.replace("one of ", "").replace("'", "`")
        names = f" [Names](names.md#{STRATEGIES[field.name]})." if is_named else ""
        rows.append((f"`{field.name}`", kind, code(default), about(field.name, Recipe.__doc__ or "") + "." + names))
    return table(HEADER, rows)


def _metrics() -> str:
    rows = [(f"`{name}`", _better(name)) for name in OF_THE_TASK]
    rows += [(f"`<attack>.{name}`", _better(f"loss.{name}")) for name in (metric.name for metric in MEMBERSHIP.metrics)]
    for name in (WORST_CASE.name, CANARIES.name):
        rows.append((f"`<attack by shadow models>.{name}`", _better(f"lira.{name}")))
    words = (
        "`<attack>` is the name of an attack that `[safety]` lists: `lira.auc`. With `within` the requirement is on "
        "the change from the dense model (`accuracy.drop`, `lira.auc.rise`), by a paired interval."
    )
    return words + "\n\n" + table(("metric", "better when"), rows)


def _better(metric: str) -> str:
    return "lower" if direction_of(metric) is Direction.LOWER else "higher"
