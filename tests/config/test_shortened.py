"""Shortened versions of a spec: what they change, that they say so, and what they may not touch."""

from __future__ import annotations

from pathlib import Path

import pytest

from safecompress.cli._support.assignments import read_settings
from safecompress.config import parse_config
from safecompress.config.scale import changes, laid_over
from safecompress.errors import SpecError, UsageError

SPEC = """
name = "full"
[data]
source = "digits"
train = 600
[model]
name = "mlp"
hidden = [256, 128]
[recipe]
epochs = 300
[safety]
attacks = ["loss"]
[[require]]
metric = "loss.auc"
at_most = 0.6
[scale.small]
data = { train = 300 }
recipe = { epochs = 10, batch_size = 32 }
model = { name = "cnn", channels = [8] }
[[scale.small.require]]
metric = "loss.auc"
at_most = 0.7
"""


def parse(text: str = SPEC, **options: object):
    return parse_config(text, base=Path("/specs"), source="spec.toml", **options)


def test_without_a_scale_the_spec_stands_as_it_is() -> None:
    config = parse()
    assert (config.recipe.epochs, config.name, config.shortened, config.notes()) == (300, "full", (), [])


def test_a_version_is_laid_over_the_spec_and_says_what_it_changed() -> None:
    config = parse(scale="small")
    assert (config.recipe.epochs, config.recipe.batch_size, config.data.sizes["train"]) == (10, 32, 300)
    assert config.model is not None and config.model.name == "cnn" and "hidden" not in config.model.options
    assert config.name == "full-small" and config.spec.requirements[0].bound == 0.7
    assert {"recipe.epochs: 300 -> 10", "recipe.batch_size: default -> 32", "data.train: 600 -> 300"} <= {
        *config.shortened
    }
    (note,) = config.notes()
    assert note.startswith("A shortened run, not the spec at its full size") and "300 -> 10" in note


@pytest.mark.slow
def test_what_a_run_wrote_keeps_saying_that_it_was_shortened() -> None:
    config = parse(scale="small")
    again = parse(config.to_toml())
    assert again.notes() == config.notes() and again.digest() == config.digest()


def test_a_density_stands_for_the_specs_own() -> None:
    config = parse(settings={"compress.density": 0.2})
    assert (config.plan.density, config.name, config.notes()) == (0.2, "full", [])


@pytest.mark.parametrize(
    ("text", "scale", "said"),
    [
        (SPEC, "smal", "mean 'small'?"),
        (SPEC.partition("[scale")[0], "small", "has no [scale.NAME]"),
        (SPEC + '[scale.tiny]\nname = "other"\n', None, "[scale.tiny] name:"),
        (SPEC + "[scale.tiny]\nrecipe = { epochs = 0 }\n", "tiny", "epochs must lie"),
        ("scale = 3\n" + SPEC.partition("[scale")[0], None, "tables with names"),
    ],
)
def test_faults_of_a_version(text: str, scale: str | None, said: str) -> None:
    with pytest.raises(SpecError) as caught:
        parse(text, scale=scale)
    assert said in str(caught.value)


def test_laying_over_by_hand() -> None:
    base = {"a": {"name": "x", "p": 1, "q": {"r": 2}}, "b": [1]}
    assert laid_over(base, {"a": {"p": 3}}) == {"a": {"name": "x", "p": 3, "q": {"r": 2}}, "b": [1]}
    assert laid_over(base, {"a": {"name": "y"}, "b": [2, 3]}) == {"a": {"name": "y"}, "b": [2, 3]}
    assert [*changes(base, laid_over(base, {"a": {"q": {"r": 5}}}))] == [("a.q.r", "2", "5")]
    assert base == {"a": {"name": "x", "p": 1, "q": {"r": 2}}, "b": [1]}


def test_settings_stand_for_values_of_the_spec() -> None:
    config = parse(settings={"recipe.epochs": 7, "data.source.name": "digits", "data.source.image": True})
    assert config.recipe.epochs == 7 and config.data.options == {"image": True}
    assert read_settings(["a.b=3", "c=/some/where", 'd="x=y"', "e=[1, 2]"]) == {
        "a.b": 3,
        "c": "/some/where",
        "d": "x=y",
        "e": [1, 2],
    }
    with pytest.raises(UsageError, match="--set takes NAME=VALUE"):
        read_settings(["a..b=3"])
    with pytest.raises(SpecError, match="epoch"):
        parse(settings={"recipe.epoch": 7})
