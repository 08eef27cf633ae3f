"""The reference of names: all that a spec can name, with its options, from the registries."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from words import page, summary, table, toml

from safecompress.attacks import ATTACKS, Access, capabilities_of
from safecompress.compression.search.select import SELECTORS
from safecompress.config.options import parameters_of
from safecompress.data import DATASETS
from safecompress.loggers.parse import LOGGERS
from safecompress.models import MODELS
from safecompress.registry import Registry
from safecompress.sparsity import ALLOCATIONS, DROP_RULES, GROW_RULES, SCHEDULES, SHAPES
from safecompress.studies.comparison.spec import SearchOptions
from safecompress.studies.methods import METHODS
from safecompress.training import AUGMENTATIONS, OBJECTIVES

SECTIONS: tuple[tuple[str, Registry[Any], str], ...] = (
    ("Data sets", DATASETS, "`[data] source`. Which files each expects: [data](../data.md)."),
    (
        "Networks",
        MODELS,
        "`[model] name`; the options are keys beside it. Sizes of input and output come from the data.",
    ),
    ("Attacks", ATTACKS, "`[safety] attacks` and `[search] attacks`. How each works: [attacks](../attacks.md)."),
    ("Objectives", OBJECTIVES, "`[recipe] objective`, or the third part of a branch: [objectives](../objectives.md)."),
    ("Augmentations", AUGMENTATIONS, "`[recipe] augment`, for images: [training](../training.md#augmentation)."),
    ("Drop rules", DROP_RULES, "The first part of a branch, `magnitude+random`: which weights a layer gives up."),
    ("Grow rules", GROW_RULES, "The second part of a branch: where they grow again."),
    ("Allocations", ALLOCATIONS, "`[compress] allocation`: how much of each layer is kept at first."),
    ("Shapes", SHAPES, "`[compress] shape`: which weights live and die together: [what ships](../deploy.md)."),
    ("Schedules", SCHEDULES, "`[search] schedule`: the share of weights that move, over training."),
    ("Selectors", SELECTORS, "`[search] selector`: how one candidate of a round is chosen."),
    ("Methods", METHODS, "`[compare] methods`. Each with its source: [baselines](../baselines.md)."),
    ("Loggers", LOGGERS, "`--log KIND:TARGET`: [trainers and logs](../integrations.md#watching-a-run)."),
)
REQUIRED = "required"
NOT_OPTIONS = {"Networks": ("input_shape", "num_classes"), "Loggers": ("target", "settings")}


def names_page() -> str:
    """The page. Plug-ins bring more names; those that come with the package are told."""
    blocks = [
        "All that a spec can name. A name alone takes the defaults; a table gives options: "
        '`{ name = "lira", num_shadows = 64 }`. Plug-ins add names through entry points, and `safecompress list` shows '
        "every name that is installed, and where it comes from."
    ]
    for title, registry, words in SECTIONS:
        blocks += [f"## {title}", words, _names(title, registry)]
    blocks += [
        "## Extras",
        "What is heavy is installed on demand, in the folder of the repository: "
        '`pip install -c constraints.txt ".[deploy]"`. What lacks a package names it.',
        _extras(),
    ]
    return page("Names", *blocks)


def _extras() -> str:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = {name: needs for name, needs in project["optional-dependencies"].items() if name != "dev"}
    rows = [(f"`{name}`", ", ".join(f"`{need}`" for need in needs)) for name, needs in sorted(extras.items())]
    return table(("extra", "brings"), rows)


def _names(title: str, registry: Registry[Any]) -> str:
    is_attack = registry is ATTACKS
    header = ("name", "what it is", *(("needs", "tier") if is_attack else ()), "options and their defaults")
    rows = []
    for name, factory in sorted(registry.builtins.items()):
        more = _access(factory()) if is_attack else ()
        rows.append((f"`{name}`", summary(factory), *more, _options(factory, NOT_OPTIONS.get(title, ()))))
    return table(header, rows)


def _access(attack: Any) -> tuple[str, str]:
    return f"`{Access(attack.access).name.lower()}`", str(capabilities_of(attack).tier)


def _options(factory: Any, reserved: tuple[str, ...]) -> str:
    told = []
    for name, default in options_of(factory, reserved).items():
        if default == REQUIRED:
            told.append(f"`{name}` (required)")
        else:
            told.append(f"`{name}`" if default is None else f"`{name} = {default}`")
    return ", ".join(told) or "-"


def options_of(factory: Any, reserved: tuple[str, ...]) -> dict[str, str | None]:
    """The options of ``factory``, each with its default as TOML has it; None where there is none to write."""
    known, _ = parameters_of(factory, reserved)
    if "plan" in known:  # a method that searches: its table gives the plan's parts
        return dict.fromkeys(("objective", *SearchOptions.model_fields))
    options: dict[str, str | None] = {}
    for name, parameter in known.items():
        if parameter.default is parameter.empty:
            options[name] = REQUIRED
        elif parameter.default is None or repr(parameter.default).startswith("<"):
            options[name] = None
        else:
            options[name] = toml(parameter.default)
    return options
