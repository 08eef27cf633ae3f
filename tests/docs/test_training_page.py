"""The page on training says what the code is: augmentations, decays, who follows what; and its examples are code."""

import inspect
import json
import re
from pathlib import Path
from typing import get_args

from safecompress.config import parse_config
from safecompress.config.options import parameters_of, plain
from safecompress.training import AUGMENTATIONS, Recipe
from safecompress.training.dp_sgd import _NOT_PRIVATE
from safecompress.training.rates import DecayName
from safecompress.training.recipe import LATER

PAGE = (Path(__file__).parents[2] / "docs" / "training.md").read_text(encoding="utf-8")


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, flags=re.S | re.M)


def rows(first):
    """The cells of the table whose head begins with ``first``."""
    table = PAGE[PAGE.index(f"| {first} |") :].split("\n\n")[0].splitlines()
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table]


def test_every_augmentation_is_there_with_its_options_and_source():
    shown = {row[0].strip("`"): row for row in rows("name")[2:]}
    assert list(shown) == list(AUGMENTATIONS.builtins)
    for name, (_, options, what) in shown.items():
        known, _ = parameters_of(AUGMENTATIONS.builtins[name], ())
        assert dict(re.findall(r"`(\w+) = (.*?)`", options)) == {
            key: json.dumps(plain(parameter.default)) for key, parameter in known.items()
        }
        assert all(year in inspect.getdoc(AUGMENTATIONS.builtins[name]) for year in re.findall(r"20\d\d", what))


def test_every_decay_is_there():
    assert [row[0].strip('`"') for row in rows("`decay`")[2:]] == list(get_args(DecayName))


def test_spec_and_code_say_the_same(tmp_path):
    names = {}
    exec(blocks("python")[0], names)
    spec = (
        'name = "x"\n[data]\nsource = "digits"\n[model]\nname = "mlp"\n[safety]\nattacks = ["loss"]\n'
        + blocks("toml")[0]
    )
    spec += '[[require]]\nmetric = "accuracy"\nat_least = 0.5\n'
    config = parse_config(spec, base=tmp_path, source="training.md")
    assert config.recipe == names["recipe"] == config.dense_recipe
    assert names["recipe"] != Recipe(epochs=100, decay="cosine")
    exec(blocks("python")[1], names)
    assert callable(names["train_together"])


def test_the_table_of_who_follows_what_names_every_option_and_agrees_with_the_code():
    head, _, *body = rows("trained by")
    columns = [name.strip() for cell in head[1:] for name in cell.split(",")]
    assert set(LATER) <= set(columns)
    together = {"train": body[0], "many": body[1], "private": body[2]}
    for name in LATER:
        place = next(place for place, cell in enumerate(head) if name in [part.strip() for part in cell.split(",")])
        assert together["train"][place] == "yes"
        assert (together["private"][place] == "refused") == (name in _NOT_PRIVATE)
        changed = {"augment": ["flip"], "amp": "bf16", "micro_batches": 2, "compiled": True}.get(name, 0.5)
        assert (together["many"][place] == "yes") == Recipe(**{name: changed}).is_stackable
