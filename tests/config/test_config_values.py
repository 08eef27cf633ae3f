"""What a spec becomes: values, digests, the resolved text, and paths."""

from __future__ import annotations

import copy
import pickle
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import pytest
import tomli_w

from safecompress.attacks import ATTACKS, Access, Gap, Loss, Neural
from safecompress.compression.search.arm import Arms
from safecompress.compression.search.branch import ARM_BRANCHES, DEFAULT_BRANCHES, Branch
from safecompress.compression.search.plan import Plan
from safecompress.compression.search.select import SELECTORS, ParetoKnee, RandomChoice, TmScore
from safecompress.config import Config, load_config, parse_config
from safecompress.data import PARTS
from safecompress.errors import DataError, UsageError
from safecompress.export import Packing
from safecompress.sparsity import (
    AllocateUniform,
    Blocks,
    ConstantSchedule,
    CosineSchedule,
    DropThreshold,
    GrowRandom,
    Start,
)
from safecompress.spec import at_most, within
from safecompress.training import Recipe

EXAMPLE = Path(__file__).parents[2] / "examples" / "digits.toml"
SMALL = """
name = "small"
[data]
source = "digits"
[model]
name = "mlp"
[safety]
attacks = ["gap"]
[[require]]
metric = "accuracy"
at_least = 0.8
"""
FULL = """
name = "Full_1.0-b"
seed = 7
[data]
source = { name = "csv", path = "rows/people.csv", label = "y", group = "person", ignore = ["id"] }
normalise = "standard"
train = 300
member_fit = 60
population = 0
[model]
name = "mlp"
hidden = [32, 16]
dropout = 0.1
weights = "dense.safetensors"
[recipe]
epochs = 12
optimizer = "adamw"
learning_rate = 0.01
milestones = [0.25]
[dense_recipe]
epochs = 20
[compress]
density = 0.05
allocation = "uniform"
shape = { name = "block", width = 8 }
start = "dense"
include = ["body.*"]
exclude = ["head*"]
[search]
method = "rewiring"
rounds = 3
branches = ["set+random", "keep"]
selector = { name = "tm_score", power = 2 }
attacks = ["loss", { name = "neural", epochs = 5 }]
finalists = 4
rank = false
refit = "candidate"
schedule = { name = "constant", fraction = 0.2 }
stop = 0.5
recovery = 0.125
[deploy]
shrink = true
precision = "int8"
format = "onnx"
[safety]
alpha = 0.1
access = "scores"
shadows = "full pipeline"
attacks = ["gap", { name = "neural", epochs = 50 }]
[[require]]
metric = "neural.tpr@fpr=0.01"
at_most = 0.1
[[require]]
metric = "accuracy"
within = 0.02
of = "dense"
[[require]]
metric = "artifact.size_bytes"
at_most = 5000
"""


def parse(text: str, base: Path = Path("/specs"), **options: Any) -> Config:
    return parse_config(text, base=base, source="spec.toml", **options)


def test_the_example_loads() -> None:
    config, written = load_config(EXAMPLE), tomllib.loads(EXAMPLE.read_text(encoding="utf-8"))
    assert (config.name, config.seed, config.path) == (written["name"], written["seed"], EXAMPLE.absolute())
    assert config.recipe == Recipe(**written["recipe"])
    assert config.plan.density == written["compress"]["density"]
    search = written["search"]
    arms = Arms(shares=search["shares"], lengths=search["lengths"], repeats=search["evidence"]["repeats"])
    assert config.plan.arms == arms
    listed = [attack if isinstance(attack, str) else attack["name"] for attack in written["safety"]["attacks"]]
    assert [attack.name for attack in config.spec.attacks] == listed
    assert [requirement.metric for requirement in config.spec.requirements] == [r["metric"] for r in written["require"]]
    assert config.model is not None
    assert (config.model.name, config.model.options["hidden"]) == (written["model"]["name"], written["model"]["hidden"])
    assert config.load_dataset().num_rows == 1797


def test_what_is_not_said_is_the_products_own_default() -> None:
    config = parse(SMALL)
    assert (config.seed, config.plan, config.recipe) == (0, Plan(arms=Arms()), Recipe())
    assert config.plan.branches == ARM_BRANCHES
    rewiring = parse(SMALL + '[search]\nmethod = "rewiring"\n').plan
    assert (rewiring, rewiring.branches) == (Plan(), DEFAULT_BRANCHES)
    assert config.spec.alpha == 0.05
    assert (config.spec.access, config.spec.shadows) == (Access.WEIGHTS, "final pattern")
    assert (config.plan.finalists, config.plan.rank) == (2, True)
    assert config.path is None


def test_every_section_becomes_its_value() -> None:
    config = parse(FULL)
    assert config.data.sizes == {"train": 300, "member_fit": 60, "population": 0}
    assert config.data.normalise == "standard"
    assert config.model is not None
    assert config.model.options == {"hidden": [32, 16], "dropout": 0.1}
    assert config.recipe == Recipe(epochs=12, optimizer="adamw", learning_rate=0.01, milestones=(0.25,))
    assert config.dense_recipe == replace(config.recipe, epochs=20)
    assert config.plan == Plan(
        density=0.05,
        rounds=3,
        branches=(Branch.parse("set+random"), Branch.parse("keep")),
        selector=TmScore(power=2.0),
        attacks=(Loss(), Neural(epochs=5)),
        finalists=4,
        rank=False,
        refit="candidate",
        schedule=ConstantSchedule(0.2),
        allocation=AllocateUniform(),
        shape=Blocks(width=8),
        start=Start.DENSE,
        stop=0.5,
        recovery=0.125,
        include=("body.*",),
        exclude=("head*",),
    )
    assert config.packing == Packing(shrink=True, precision="int8", format="onnx")
    assert config.spec.attacks == (Gap(), Neural(epochs=50))
    assert config.spec.alpha == 0.1
    assert (config.spec.access, config.spec.shadows) == (Access.SCORES, "full pipeline")
    assert config.spec.requirements == (
        at_most("neural.tpr@fpr=0.01", 0.1),
        within(0.02, metric="accuracy"),
        at_most("artifact.size_bytes", 5000),
    )


def test_schedule_defaults_are_those_of_the_class() -> None:
    assert parse(SMALL + '[search]\nschedule = { name = "cosine", end = 0.1 }\n').plan.schedule == CosineSchedule(
        0.5, 0.1
    )


@pytest.mark.slow
def test_the_model_may_come_from_elsewhere() -> None:
    config = parse(SMALL.replace('[model]\nname = "mlp"', ""), model_given=True)
    assert config.model is None
    assert parse(config.to_toml(), model_given=True).digest() == config.digest()


@pytest.mark.slow
@pytest.mark.parametrize("text", [SMALL, FULL, EXAMPLE.read_text(encoding="utf-8")], ids=["small", "full", "example"])
def test_the_resolved_text_reads_back(text: str) -> None:
    config = parse(text)
    again = parse(config.to_toml(), Path("/elsewhere"))
    assert again.to_toml() == config.to_toml()
    assert (again.digest(), again.data_digest()) == (config.digest(), config.data_digest())
    assert (again.recipe, again.dense_recipe, again.spec) == (config.recipe, config.dense_recipe, config.spec)
    assert replace(again.plan, attacks=None) == replace(config.plan, attacks=None)


def test_the_resolved_text_says_every_default() -> None:
    text = parse(SMALL).to_toml()
    tables = tomllib.loads(text)
    assert text.startswith("# Every value of this run")
    assert tables["recipe"].keys() == tables["dense_recipe"].keys() == {field.name for field in fields(Recipe)}
    of_arms = {"method", "folds", "shares", "lengths", "goal", "evidence"}
    of_plan = {field.name for field in fields(Plan)} - {"arms", "rank", "refit", "start"}  # weights settle the start
    assert {*tables["compress"], *tables["search"]} == of_plan | of_arms
    assert tables["search"]["selector"] == {"name": "tm_score", "power": 1.0}
    assert tables["search"]["attacks"] == tables["safety"]["attacks"] == ["gap"]
    assert tables["model"] == {"name": "mlp", "hidden": [256, 128], "dropout": 0.0}
    assert (tables["search"]["finalists"], tables["search"]["method"]) == (2, "folds")
    assert tables["safety"] == {
        "attacks": ["gap"],
        "alpha": 0.05,
        "access": "weights",
        "shadows": "final pattern",
    }
    assert tables["data"] == {"source": {"name": "digits", "image": False}, "normalise": "none"}
    assert tables["require"] == [{"metric": "accuracy", "at_least": 0.8}]


def test_every_part_of_a_split_can_be_given_a_size() -> None:
    sizes = {part: 400 if part == "train" else 10 + number for number, part in enumerate(PARTS)}
    written = "\n".join(f"{part} = {count}" for part, count in sizes.items())
    assert parse(SMALL.replace('"digits"', '"digits"\n' + written)).data.sizes == sizes


# --- digests ---------------------------------------------------------------------------------------------------------

RECIPE_CHANGES = {
    "epochs": 61,
    "batch_size": 64,
    "optimizer": "sgd",
    "learning_rate": 0.02,
    "momentum": 0.8,
    "nesterov": False,
    "weight_decay": 0.1,
    "decay": "cosine",
    "milestones": [0.3],
    "decay_factor": 0.2,
    "objective": "label_smoothing",
    "warmup": 0.1,
    "clip_norm": 1.0,
    "micro_batches": 2,
    "amp": "bf16",
    "average": 0.999,
    "compiled": True,
    "augment": ["flip", {"name": "crop", "padding": 2}],
}
CHANGES: dict[str, Any] = {
    "seed": 8,
    "data.source.name": "npz",
    "data.source.path": "rows/others.csv",
    "data.source.label": "z",
    "data.source.group": "family",
    "data.source.ignore": ["id", "name"],
    "data.source.categorical": ["town"],
    "data.source.numeric": ["age"],
    "data.source.date": ["born"],
    "data.source.text": ["remark"],
    "data.source.missing": ["-"],
    "data.normalise": "none",
    "data.train": 301,
    "data.member_fit": 61,
    "data.population": 1,
    "model.name": "cnn",
    "model.weights": "other.safetensors",
    "model.hidden": [16, 32],
    "model.dropout": 0.2,
    **{f"recipe.{key}": value for key, value in RECIPE_CHANGES.items()},
    **{f"dense_recipe.{key}": value for key, value in RECIPE_CHANGES.items()},
    "compress.density": 0.06,
    "compress.allocation": "erk",
    "compress.shape.name": "weight",
    "compress.shape.width": 4,
    "compress.start": "scratch",
    "compress.include": ["*"],
    "compress.exclude": [],
    "deploy.shrink": False,
    "deploy.precision": "float32",
    "deploy.format": "safetensors",
    "search.rounds": 4,
    "search.branches": ["keep", "set+random"],
    "search.selector.name": "random",
    "search.selector.power": 1,
    "search.attacks": ["loss"],
    "search.finalists": 3,
    "search.rank": True,
    "search.refit": "parent",
    "search.schedule.name": "cosine",
    "search.schedule.fraction": 0.3,
    "search.stop": 0.6,
    "search.recovery": 0.25,
    "safety.attacks": ["gap", {"name": "neural", "epochs": 51}],
    "safety.alpha": 0.05,
    "safety.access": "weights",
    "safety.shadows": "final pattern",
    "require": [{"metric": "accuracy", "at_least": 0.5}],
}
COMPANIONS: dict[str, Any] = {  # what has to change along, for the spec to stay one
    "data.source.name": {"data.source": {"name": "npz", "path": "rows/people.csv", "label": "y", "group": "person"}},
    "model.name": {"model": {"name": "cnn", "dropout": 0.1, "weights": "dense.safetensors"}},
    "compress.shape.name": {"compress.shape": "weight"},
    "search.selector.name": {"search.selector": "random"},
    "search.schedule.name": {"search.schedule": "cosine"},
}


def leaves(table: dict[str, Any], above: str = "") -> Iterator[str]:
    for key, value in table.items():
        yield from leaves(value, f"{above}{key}.") if isinstance(value, dict) else [above + key]


def changed(tables: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    tables = copy.deepcopy(tables)
    for path, value in changes.items():
        *above, key = path.split(".")
        table = tables
        for name in above:
            table = table[name]
        assert table[key] != value
        table[key] = value
    return tables


ARMS = (
    SMALL
    + """
[search]
densities = [0.1, 0.05]
folds = { number = 4, held_out = 1, rewiring = "magnitude+random" }
shares = [1.0, 0.5]
lengths = [1.0, 3.0]
goal = "front"
evidence = { repeats = 6 }
"""
)
ARM_CHANGES: dict[str, Any] = {
    "search.densities": [0.1, 0.06],
    "search.folds.number": 5,
    "search.folds.held_out": 2,
    "search.folds.rewiring": "set+random",
    "search.shares": [1.0, 0.6],
    "search.lengths": [1.0, 2.0],
    "search.goal": "spec",
    "search.evidence.repeats": 8,
}


def test_arms_have_every_value_that_a_spec_gives() -> None:
    plan = parse(ARMS).plan
    assert plan.density == 0.1
    expected = Arms(4, 1, "magnitude+random", (1.0, 0.5), (1.0, 3.0), (0.1, 0.05), "front", 6)
    assert plan.arms == expected
    assert len(plan.each_arm) == 8
    assert parse(parse(ARMS).to_toml(), Path("/elsewhere")).plan.arms == expected


@pytest.mark.parametrize("path", ARM_CHANGES)
def test_every_value_of_arms_changes_the_digest(path: str) -> None:
    config = parse(ARMS)
    other = parse(tomli_w.dumps(changed(config.tables(), {path: ARM_CHANGES[path]})))
    assert other.digest() != config.digest()


def test_every_value_of_a_spec_has_a_change_below() -> None:
    assert {*leaves(parse(FULL).tables())} == {"name", "search.method", *CHANGES}


@pytest.mark.slow
@pytest.mark.parametrize("path", CHANGES)
def test_every_value_changes_the_digest(path: str) -> None:
    config = parse(FULL)
    other = parse(tomli_w.dumps(changed(config.tables(), COMPANIONS.get(path, {path: CHANGES[path]}))))
    assert other.digest() != config.digest()
    draws_other_rows = path.startswith(("seed", "data.")) and path != "data.source.path"
    assert (other.data_digest() != config.data_digest()) == draws_other_rows


@pytest.mark.slow
@pytest.mark.parametrize("other", ["density|at_most|0.81", "gap.auc|at_most|0.8", "density.rise|at_most|0.8"])
def test_metric_and_bound_of_a_requirement_change_the_digest(other: str) -> None:
    metric, word, bound = other.split("|")
    spec = SMALL.replace('"accuracy"\nat_least', '"density"\nat_most')
    new = spec.replace('"density"\nat_most = 0.8', f'"{metric}"\n{word} = {bound}')
    assert parse(new).digest() != parse(spec).digest()


def test_order_comments_place_and_name_do_not_change_the_digest() -> None:
    config = parse(FULL)
    tables = tomllib.loads(FULL)
    turned = {key: dict(reversed(value.items())) if isinstance(value, dict) else value for key, value in tables.items()}
    text = "# another comment\n" + tomli_w.dumps({**dict(reversed(turned.items())), "name": "other"})
    other = parse(text, Path("/home/else"))
    assert other.name == "other"
    assert (other.digest(), other.data_digest()) == (config.digest(), config.data_digest())


@pytest.mark.slow
def test_equal_values_written_otherwise_have_an_equal_digest() -> None:
    config = parse(FULL)
    for old, new in [
        ("power = 2", "power = 2.0"),
        ('allocation = "uniform"', 'allocation = { name = "uniform" }'),
        ('within = 0.02\nof = "dense"', "within = 0.02"),
        ('metric = "accuracy"\nwithin', 'metric = "accuracy.drop"\nat_most'),
        ('"block", width = 8', '"block",  width=8'),
        ("epochs = 5 }", "epochs = 5, patience = 10 }"),
        ("alpha = 0.1", "alpha = 1e-1"),
    ]:
        text = FULL.replace(old, new).replace('at_most = 0.02\nof = "dense"', "at_most = 0.02")
        assert text != FULL
        assert parse(text).digest() == config.digest(), new


@pytest.mark.slow
def test_a_changed_copy_has_a_digest_of_its_own() -> None:
    config = parse(FULL)
    denser = replace(config, plan=replace(config.plan, density=0.5, selector=ParetoKnee()))
    assert denser.digest() != config.digest()
    assert parse(denser.to_toml()).plan == denser.plan
    reseeded = replace(config, seed=99)
    assert parse(reseeded.to_toml()).seed == 99


def test_a_config_survives_a_process_border() -> None:
    config = parse(FULL)
    assert pickle.loads(pickle.dumps(config)).digest() == config.digest()


# --- strategies from plug-ins and from code --------------------------------------------------------------------------


@dataclass(frozen=True)
class Stranger:
    """A selector that no registry names."""

    def __call__(self, evaluations: Any, *, generator: Any) -> Any:
        raise NotImplementedError


@pytest.mark.slow
def test_a_factory_function_can_be_named_and_written_back(monkeypatch: pytest.MonkeyPatch) -> None:
    def squared(power: float = 2.0, *, table: Any = None) -> TmScore:
        return TmScore(power * 2)

    monkeypatch.setitem(SELECTORS.builtins, "squared", squared)  # type: ignore[index]
    config = parse(SMALL + '[search]\nselector = { name = "squared", power = 3 }\n')
    assert config.plan.selector == TmScore(6.0)
    assert config.tables()["search"]["selector"] == {"name": "squared", "power": 3.0}
    assert parse(config.to_toml()).digest() == config.digest()


def test_a_factory_that_takes_any_keyword_gets_them(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, Any] = {}

    def open_handed(**options: Any) -> RandomChoice:
        seen.update(options)
        return RandomChoice()

    monkeypatch.setitem(SELECTORS.builtins, "open", open_handed)  # type: ignore[index]
    config = parse(SMALL + '[search]\nselector = { name = "open", a = 1, b = ["x"] }\n')
    assert seen == {"a": 1, "b": ["x"]}
    assert config.tables()["search"]["selector"] == {"name": "open", "a": 1, "b": ["x"]}


@pytest.mark.slow
def test_what_a_spec_cannot_name_is_not_written_down() -> None:
    config = parse(SMALL)
    with pytest.raises(UsageError, match=r"Stranger.* has no name"):
        replace(config, plan=replace(config.plan, selector=Stranger())).to_toml()
    own = Branch("threshold+random", DropThreshold(scale=2.0), GrowRandom())
    with pytest.raises(UsageError, match=r"'threshold\+random' has rules"):
        replace(config, plan=replace(config.plan, branches=(own,))).digest()
    with pytest.raises(UsageError, match="'mine' has rules"):
        replace(config, plan=replace(config.plan, branches=(replace(own, name="mine"),))).digest()


@pytest.mark.slow
def test_every_built_in_attack_is_written_as_what_it_is() -> None:
    config = parse(SMALL)
    for name in ATTACKS.names():
        other = replace(config, spec=replace(config.spec, attacks=(ATTACKS.make(name),)))
        assert parse(other.to_toml()).spec == other.spec


# --- paths -----------------------------------------------------------------------------------------------------------

PEOPLE = "age,town,sick\n" + "".join(f"{20 + row},{'ab'[row % 2]},{row % 2}\n" for row in range(6))


def test_data_lies_beside_the_spec(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "rows").mkdir()
    (tmp_path / "rows" / "people.csv").write_text(PEOPLE, encoding="utf-8")
    spec = tmp_path / "spec.toml"
    source = '{ name = "csv", path = "rows/people.csv", label = "sick" }'
    spec.write_text(SMALL.replace('"digits"', source), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    config = load_config("spec.toml")
    monkeypatch.chdir("/")
    assert config.load_dataset().num_rows == 6
    assert config.data.options["path"] == "rows/people.csv"
    moved = parse(spec.read_text(encoding="utf-8"), Path("/nowhere"))
    assert moved.digest() == config.digest()
    with pytest.raises(DataError, match=r"/nowhere/rows/people\.csv"):
        moved.load_dataset()


def test_absolute_paths_stay_and_root_is_a_path_too(tmp_path: Path) -> None:
    for written, expected in ((str(tmp_path), str(tmp_path)), ("sub", "/specs/sub")):
        config = parse(SMALL.replace('"digits"', f'{{ name = "location30", root = "{written}" }}'))
        with pytest.raises(DataError, match=f"{expected}/location30.npz"):
            config.load_dataset()


def test_text_options_are_no_paths(tmp_path: Path) -> None:
    (tmp_path / "people.csv").write_text(PEOPLE, encoding="utf-8")
    source = '{ name = "csv", path = "people.csv", label = "sick", categorical = ["age"], class_names = ["0", "1"] }'
    dataset = parse(SMALL.replace('"digits"', source), tmp_path).load_dataset()
    assert dataset.input_shape == (6 + 2,)
    assert dataset.class_names == ("0", "1")


def test_weights_lie_beside_the_spec() -> None:
    model = parse(FULL, Path("/specs")).model
    assert model is not None
    assert (model.weights, model.written_weights) == (Path("/specs/dense.safetensors"), "dense.safetensors")


def test_a_relative_base_is_fixed_when_the_spec_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    model = parse(FULL, Path("sub")).model
    monkeypatch.chdir("/")
    assert model is not None
    assert model.weights == tmp_path / "sub" / "dense.safetensors"


def test_a_spec_moved_to_another_folder_finds_its_files_and_draws_the_same_rows(tmp_path: Path) -> None:
    home, run = tmp_path / "home", tmp_path / "runs" / "one"
    config = parse(FULL, home)
    moved = parse(config.moved_to(run).to_toml(), run)
    located = (moved.data.base / moved.data.options["path"]).resolve()
    assert located == (home / config.data.options["path"]).resolve()
    assert moved.data_digest() == config.data_digest()
    assert moved.model.weights.resolve() == config.model.weights.resolve()
