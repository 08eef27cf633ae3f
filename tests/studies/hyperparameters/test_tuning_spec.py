"""The TOML of a search: what it says, every fault at once, and the specs of its front."""

from pathlib import Path

import pytest
import tomli_w
from tiny_tuning import figure

from safecompress.attacks import Gap, Lira, Loss, Neural
from safecompress.compression.search import DEFAULT_BRANCHES, parse_branches
from safecompress.config import parse_config
from safecompress.errors import SpecError
from safecompress.studies.hyperparameters import Range, TrialParams, TrialResult, load_tuning, parse_tuning
from safecompress.training import CrossEntropy
from safecompress.training.objectives.relax import RelaxLoss
from said import says

GOOD = {
    "name": "x",
    "data": {"source": "digits"},
    "model": {"name": "mlp", "hidden": [16]},
    "recipe": {"epochs": 3, "learning_rate": 0.01},
    "compress": {"density": 0.3},
    "tune": {"trials": 5, "densities": [0.05, 0.5]},
    "safety": {"attacks": ["gap", "loss", "neural", "lira"]},
    "require": [{"metric": "loss.auc", "at_most": 0.6}],
}

SAFE, BOUND = {"attacks": ["gap"], "access": "labels"}, [{"metric": "gap.auc", "at_most": 0.6}]


def text_of(**changes):
    tables = {**GOOD, **changes}
    return tomli_w.dumps({key: value for key, value in tables.items() if value is not None})


def parsed(**changes):
    return parse_tuning(text_of(**changes), base=Path("/specs"), source="my.toml")


def tuned(**tune):
    return parsed(tune={"densities": [0.05, 0.5], **tune})


def faults_of(**changes):
    with pytest.raises(SpecError) as caught:
        parsed(**changes)
    heading, *faults = str(caught.value).split("\n")
    assert heading == f"my.toml: {len(faults)} fault{'s' if len(faults) != 1 else ''}"
    return [fault.removeprefix("  - ") for fault in faults]


def test_defaults():
    spec = tuned()
    assert (spec.trials, spec.batch, spec.sampler, spec.has_requirements) == (20, 4, "tpe", True)
    assert spec.space.densities == Range(0.05, 0.5) and spec.space.learning_rates == (0.01,)
    assert spec.space.objectives == {"cross_entropy": CrossEntropy()}
    assert [attack.name for attack in spec.attacks] == [
        "gap", "loss", "confidence", "entropy", "modified_entropy", "neural",
    ]  # fmt: skip
    assert list(spec.space.branches.values()) == [
        DEFAULT_BRANCHES,
        parse_branches(["magnitude+random", "threshold+random", "keep"]),
        parse_branches(["magnitude+gradient", "threshold+gradient", "keep"]),
    ]


def test_everything_written():
    spec = tuned(
        trials=9,
        densities=[0.1, 0.2, 0.4],
        objectives=["cross_entropy", {"name": "relax_loss", "target": 0.25}],
        branches=[["keep"], ["magnitude+random", "keep"]],
        learning_rates=[0.001, 0.1],
        sampler="random",
        batch=3,
        attacks=["gap", "lira", {"name": "neural", "epochs": 7}],
        num_shadows=6,
    )
    assert spec.space.densities == (0.1, 0.2, 0.4) and spec.space.learning_rates == Range(0.001, 0.1)
    assert spec.space.objectives == {"cross_entropy": CrossEntropy(), "relax_loss (target = 0.25)": RelaxLoss(0.25)}
    assert list(spec.space.branches) == ["keep", "magnitude+random, keep"]
    assert spec.attacks == (Gap(), Lira(num_shadows=6), Neural(epochs=7))
    assert (spec.trials, spec.batch, spec.sampler) == (9, 3, "random")


def test_what_tune_does_not_name_stays_as_the_rest_of_the_spec_has_it():
    spec = parsed(
        tune={"learning_rates": [0.001, 0.1]},
        recipe={"epochs": 3, "objective": "relax_loss"},
        search={"branches": ["set+random", "keep"]},
    )
    assert spec.space.densities == (0.3,) and spec.space.objectives == {"relax_loss": RelaxLoss()}
    assert list(spec.space.branches) == ["set+random, keep"]
    assert spec.space.varied == ("learning_rate",)


def test_without_rounds_branches_are_no_choice():
    assert len(parsed(search={"rounds": 0}).space.branches) == 1


@pytest.mark.slow
def test_the_rest_is_read_as_compress_reads_it():
    tables = {key: value for key, value in GOOD.items() if key != "tune"}
    tables["search"] = {"method": "rewiring", **tables.get("search", {})}
    config = parse_config(tomli_w.dumps(tables), base=Path("/specs"), source="my.toml")
    assert parsed().config.digest() == config.digest()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"tune": None}, "[tune]: is missing."),
        ({"model": None}, "[model]: is missing."),
        ({"tune": {"densities": [0.5, 0.05]}}, "[tune] densities: A range"),
        ({"tune": {"densities": [0.5, 0.1, 2.0]}}, "in (0, 1], got [2.0]"),
        ({"tune": {"trials": 0}}, "[tune] trials: must be"),
        ({"tune": {"tries": 1}}, "[tune] tries: unknown"),
        ({"tune": {"sampler": "grid"}}, "one of 'tpe', 'random', got 'grid'"),
        ({"tune": {"objectives": ["relax_los"]}}, "objectives 1: Unknown objective 'relax_los'."),
        ({"tune": {"objectives": ["mixup", "mixup"]}}, "[tune] objectives 2: mixup"),
        (
            {"tune": {"objectives": ["mixup", {"name": "mixup"}]}},
            "[tune] objectives 2: mixup",
        ),
        ({"tune": {"branches": [["keep"], ["keeps"]]}}, "[tune] branches 2 1:"),
        ({"tune": {"branches": [["keep"], ["keep"]]}}, "[tune] branches: lists"),
        ({"tune": {"branches": ["keep"]}}, "[tune] branches"),
        ({"tune": {"attacks": ["los"]}}, "attacks 1: Unknown attack 'los'"),
        ({"tune": {"attacks": ["joint_lira"]}}, "joint_lira joins several versions"),
        ({"tune": {"attacks": ["lira"], "num_shadows": 2}}, "[tune] num_shadows: must be"),
        ({"safety": SAFE, "tune": {"attacks": ["loss"]}, "require": BOUND}, "raise [safety] access"),
        ({"tune": {"branches": [["keep"]]}, "search": {"rounds": 0}}, "with [search] rounds = 0"),
        ({"tune": {}, "search": {"rounds": 0}}, "nothing to choose"),
        ({"require": [{"metric": "nonsense", "at_most": 0.5}]}, "nothing measures 'nonsense'"),
        ({"compare": {}}, "[compare]: unknown table."),
    ],
)
def test_faults(changes, words):
    assert any(words in fault for fault in faults_of(**changes)), faults_of(**changes)


def test_every_fault_at_once():
    tune = {"trials": 0, "densities": [2, 1], "objectives": ["x"]}
    found = faults_of(tune=tune, data={"source": "no"}, compress={"density": 7})
    assert len(found) == 5


TRIED = TrialResult(
    TrialParams(0.125, "relax_loss (target = 0.25)", "magnitude+random, keep", 0.02),
    figures={
        "accuracy": figure(0.871, 0.05),
        **{f"{name}.auc": figure(value, 0.04) for name, value in {"gap": 0.53, "loss": 0.581, "neural": 0.57}.items()},
    },
    attacks=("gap", "loss", "neural"),
)
TUNE = {
    "densities": [0.05, 0.5],
    "learning_rates": [0.01, 0.1],
    "objectives": ["cross_entropy", {"name": "relax_loss", "target": 0.25}],
    "branches": [["keep"], ["magnitude+random", "keep"]],
}


def front(folder=Path("/runs/x"), **changes):
    text = parsed(tune=TUNE, **changes).front_toml(2, 7, TRIED, folder)
    return text, parse_config(text, base=folder, source="front-2.toml")


def test_a_front_point_has_a_spec_that_compress_reads():
    text, config = front()
    assert config.name == "x-front-2" and config.seed == 0
    assert (config.plan.density, config.recipe.learning_rate, config.recipe.epochs) == (0.125, 0.02, 3)
    assert config.recipe.objective == RelaxLoss(0.25) and config.dense_recipe.objective == CrossEntropy()
    assert config.dense_recipe.learning_rate == 0.02
    assert config.plan.branches == parse_branches(["magnitude+random", "keep"])
    assert config.spec == parsed().config.spec
    first = text.splitlines()[0]
    assert says(first, "# ", " 2 ", "'x'", "trial 7", "density 0.125", "relax_loss (target = 0.25)")
    assert "they flatter it" in text and "BEFORE you certify" not in text


def test_relative_paths_count_from_where_the_spec_lies():
    data = {"source": {"name": "csv", "path": "people.csv", "label": "y"}}
    _, config = front(data=data)
    assert (config.data.base / config.data.options["path"]).resolve() == Path("/specs/people.csv")


def test_without_requirements_bounds_are_made_from_the_trials_figures():
    """By hand: limits at value + 2 half-widths, rounded outwards; lira was not met: the worst stands for it."""
    text, config = front(require=None)
    bounds = {requirement.metric: requirement.bound for requirement in config.spec.requirements}
    assert bounds == pytest.approx(
        {"gap.auc": 0.61, "loss.auc": 0.67, "neural.auc": 0.65, "lira.auc": 0.67, "accuracy": 0.77}
    )
    assert "had no [[require]]" in text and "BEFORE you certify" in text
    assert not parsed(require=None).has_requirements


def test_long_names_stay_names():
    spec = parsed(name="n" * 100, tune=TUNE)
    text = spec.front_toml(12, 1, TRIED, Path("/runs"))
    assert parse_config(text, base=Path("/runs"), source="f").name == "n" * 85 + "-front-12"


def test_the_example_can_be_read():
    spec = load_tuning(Path(__file__).parents[3] / "examples" / "tune-digits.toml")
    assert spec.trials == 12 and spec.space.varied == ("density", "objective", "branches", "learning_rate")
    assert Loss() in spec.attacks and not any(isinstance(attack, Lira) for attack in spec.attacks)
