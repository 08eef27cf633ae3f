"""What is wrong with a spec: every fault at once, where it is, and what is allowed, in words of the product."""

from __future__ import annotations

import re
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safecompress.compression.search.select import SELECTORS, RandomChoice
from safecompress.config import load_config, parse_config
from safecompress.config.phrases import describe, show
from safecompress.config.tables import DataShape
from safecompress.data import DATASETS, PARTS
from safecompress.errors import SpecError, UsageError
from safecompress.models import MODELS
from safecompress.registry import Registry
from said import says

GOOD = {
    "": 'name = "x"\nseed = 0',
    "[data]": 'source = "digits"',
    "[model]": 'name = "mlp"',
    "[recipe]": "",
    "[dense_recipe]": "",
    "[compress]": "",
    "[search]": "",
    "[safety]": 'attacks = ["gap", "neural"]',
    "[[require]]": 'metric = "accuracy"\nat_least = 0.8',
}


def spec(changes: dict[str, str | None]) -> str:
    """The good spec with the body of some sections replaced, or the section left out (None)."""
    sections = {**GOOD, **changes}
    return "\n".join(f"{head}\n{body}" for head, body in sections.items() if body is not None)


def faults_of(text: str, **options: Any) -> list[str]:
    """The faults that the message lists; none of them may show the workings of the validator."""
    with pytest.raises(SpecError) as caught:
        parse_config(text, base=Path("/specs"), source="my.toml", **options)
    heading, *faults = str(caught.value).split("\n")
    assert heading == f"my.toml: {len(faults)} fault{'s' if len(faults) != 1 else ''}"
    assert not re.search(r"pydantic|input_value|type=|https?:|NoneType|validation error", str(caught.value))
    assert "\x1b" not in str(caught.value)
    assert all(fault.startswith("  - ") for fault in faults)
    return [fault.removeprefix("  - ") for fault in faults]


def fault_in(section: str, body: str | None, **options: Any) -> str:
    """The one fault of the good spec with the body of ``section`` replaced."""
    faults = faults_of(spec({section: body}), **options)
    assert len(faults) == 1, faults
    return faults[0]


def test_the_good_spec_is_good() -> None:
    assert parse_config(spec({}), base=Path(), source="my.toml").name == "x"


# --- one fault each --------------------------------------------------------------------------------------------------

CASES = [
    # the top
    ("", "seed = 0", ["name: is missing. It names the run's folder"]),
    ("", "name = 3", ["name: takes text, got 3."]),
    ("", 'name = ""', ["name: cannot be used, got ''."]),
    ("", 'name = "x"\nseed = -1', ["seed: must be at least 0, got -1."]),
    ("", 'name = "x"\nseed = "1"', ["seed: takes a whole number, got '1'."]),
    ("", 'name = "x"\nseed = true', ["seed: takes a whole number, got true."]),
    ("", 'name = "x"\nseed = 1.0', ["seed: takes a whole number, got 1.0."]),
    ("", 'name = "x"\nseed = 9223372036854775808', ["seed: must be at most 9223372036854775807"]),
    ("", 'name = "x"\nsede = 1', ["sede: unknown key. Did you mean 'seed'? Allowed: compress, data"]),
    ("", 'name = "x"\n[serach]\nrounds = 1', ["[serach]: unknown table. Did you mean 'search'?"]),
    # data
    ("[data]", None, ['[data]: is missing. Say which data to use: source = "digits".']),
    ("[data]", "", ["[data] source: is missing."]),
    ("[data]", "source = 5", ["[data] source: takes text or a table, got 5."]),
    ("[data]", 'source = "digts"', ["[data] source: Unknown dataset 'digts'. Did you mean 'digits'?"]),
    ("[data]", 'source = { path = "x" }', ["[data] source: a table", "takes a name", ", ".join(DATASETS.names())]),
    ("[data]", "source = { name = 4 }", ["[data] source: a table", "takes a name, got 4."]),
    ("[data]", 'source = { name = "digits", imgae = true }', ["[data] source imgae", "no option", "mean 'image'?"]),
    ("[data]", 'source = { name = "digits", image = 1 }', ["[data] source image: takes true or false, got 1."]),
    ("[data]", 'source = { name = "csv", path = "x" }', ["[data] source: the dataset 'csv' needs the option 'label'"]),
    ("[data]", 'source = { name = "location30" }', ["[data] source: the dataset 'location30' needs", "'root', a path"]),
    ("[data]", 'source = { name = "npz", path = "a\\u0000" }', ["[data] source path: ", "control", r"'a\x00'"]),
    (
        "[data]",
        'source = { name = "csv", path = "x", label = "y", ignore = ["a", 1] }',
        ["[data] source ignore: takes a list of texts, got ['a', 1]."],
    ),
    (
        "[data]",
        'source = { name = "csv", path = "x", label = "y", class_names = [1] }',
        ["[data] source class_names: takes a list of texts, got [1]."],
    ),
    (
        "[data]",
        'source = "digits"\nnormalise = "std"',
        ["[data] normalise: takes one of 'none', 'standard', got 'std'."],
    ),
    ("[data]", 'source = "digits"\nnormalize = "none"', ["[data] normalize: unknown key. Did you mean 'normalise'?"]),
    ("[data]", 'source = "digits"\ntest = -1', ["[data] test: must be at least 0, got -1."]),
    ("[data]", 'source = "digits"\ntest = "10"', ["[data] test: takes a whole number, got '10'."]),
    ("[data]", 'source = "digits"\ntrain = 5\nmember_fit = 6', ["[data]: Member pools", "take 6 rows", "train has 5"]),
    ("[data]", 'source = "digits"\ntrain = 0', ["[data]: The train part needs rows"]),
    # model
    ("[model]", None, ['[model]: is missing. Say which network to train: name = "mlp".']),
    ("[model]", "hidden = [1]", [f"[model] name: is missing. Allowed: {', '.join(MODELS.names())}."]),
    ("[model]", "name = 1", ["[model] name: takes text, got 1."]),
    ("[model]", 'name = "mpl"', ["[model] name: Unknown model 'mpl'. Did you mean 'mlp'?"]),
    (
        "[model]",
        'name = "mlp"\nhiden = [3]',
        ["[model] hiden: the model 'mlp' has no option", "Did you mean 'hidden'?"],
    ),
    ("[model]", 'name = "mlp"\nhidden = 3', ["[model] hidden: takes a list of whole numbers, got 3."]),
    ("[model]", 'name = "mlp"\nhidden = [3.5]', ["[model] hidden: takes a list of whole numbers, got [3.5]."]),
    ("[model]", 'name = "mlp"\ndropout = nan', ["[model] dropout: takes finite numbers", "got nan."]),
    ("[model]", 'name = "mlp"\ndropout = 2020-01-01', ["[model] dropout: ", "got the date or time 2020-01-01."]),
    ("[model]", 'name = "mlp"\nnum_classes = 3', ["[model] num_classes: the model 'mlp' has no option 'num_classes'."]),
    ("[model]", 'name = "mlp"\nweights = 3', ["[model] weights: takes the path of a .safetensors file, got 3."]),
    ("[model]", 'name = "mlp"\nweights = ""', ["[model] weights: takes the path of a .safetensors file, got ''."]),
    ("[model]", 'name = "mlp"\nweights = "a\\nb"', ["[model] weights: takes the path", r"'a\nb'"]),
    # recipes
    ("[recipe]", 'epochs = "10"', ["[recipe] epochs: takes a whole number, got '10'."]),
    ("[recipe]", "epochs = 10.0", ["[recipe] epochs: takes a whole number, got 10.0."]),
    ("[recipe]", "epochs = 0", ["[recipe]: ", "epochs must lie in", "got 0"]),
    ("[recipe]", 'optimizer = "addam"', ["[recipe] optimizer: takes one of 'sgd', 'adam', 'adamw', got 'addam'."]),
    (
        "[recipe]",
        "lerning_rate = 1",
        ["[recipe] lerning_rate: the recipe has no option", "Did you mean 'learning_rate'?"],
    ),
    ("[recipe]", "milestones = [0.5, 2]", ["[recipe]: ", "milestones must lie in [0, 1], got 2.0"]),
    ("[recipe]", "nesterov = 1", ["[recipe] nesterov: takes true or false, got 1."]),
    (
        "[recipe]",
        'augment = "flip"',
        ["[recipe] augment: takes a list of names, or of tables with names, got 'flip'. Allowed: crop, cutout, flip."],
    ),
    ("[recipe]", 'augment = ["flop"]', ["[recipe] augment 1: Unknown augmentation 'flop'. Did you mean 'flip'?"]),
    (
        "[recipe]",
        'augment = ["flip", { name = "crop", padding = 0 }]',
        ["[recipe] augment 2: Crop: padding must be a whole number of at least 1, got 0."],
    ),
    ("[recipe]", "augment = [3]", ["[recipe] augment: takes a list of names, or of tables with names, got [3]."]),
    ("[dense_recipe]", "momentum = true", ["[dense_recipe] momentum: takes a number, got true."]),
    ("[dense_recipe]", "momentum = 3", ["[dense_recipe]: ", "momentum must lie in"]),
    # compress
    ("[compress]", "density = 0", ["[compress] density: must be above 0, got 0. It is the share of weights kept"]),
    ("[compress]", "density = 5", ["[compress] density: must be at most 1, got 5."]),
    ("[compress]", "density = nan", ["[compress] density: must be finite, got nan."]),
    ("[compress]", 'density = "0.1"', ["[compress] density: takes a number, got '0.1'."]),
    ("[compress]", 'allocation = "erkk"', ["[compress] allocation: Unknown allocation 'erkk'. Did you mean 'erk'?"]),
    ("[compress]", 'allocation = { name = "uniform", x = 1 }', ["[compress] allocation x: ", "It takes none."]),
    ("[compress]", 'shape = "blocks"', ["[compress] shape: Unknown shape 'blocks'. Did you mean 'block'?"]),
    ("[compress]", "shape = 4", ["[compress] shape: takes "]),
    ("[compress]", 'shape = { name = "block", width = 1 }', ["[compress] shape: Blocks: width must be a whole number"]),
    ("[compress]", 'shape = "unit"', ["[search]: The shape Units() cannot grow by GrowGradient()", "'random-unfired'"]),
    ("[compress]", 'start = "dens"', ["[compress] start: takes one of 'scratch', 'dense', 'pretrained', got 'dens'."]),
    ("[compress]", 'include = "body.*"', ["[compress] include: takes a list of texts, got 'body.*'."]),
    ("[compress]", "include = []", ["[compress] include: must list at least 1, got []."]),
    ("[compress]", "exclude = [1]", ["[compress] exclude 1: 1 does not belong in a list of texts."]),
    ("[compress]", "rounds = 1", ["[compress] rounds: unknown key. Allowed: allocation, density"]),
    # search
    ("[search]", "rounds = -1", ["[search] rounds: must be at least 0, got -1."]),
    ("[search]", "stop = 0", ["[search] stop: must be above 0, got 0."]),
    ("[search]", "recovery = 1", ["[search] recovery: must be below 1, got 1."]),
    ("[search]", 'refit = "both"', ["[search] refit: takes one of 'parent', 'candidate', got 'both'."]),
    ("[search]", 'selector = "tm_scor"', ["[search] selector: Unknown selector 'tm_scor'. Did you mean 'tm_score'?"]),
    ("[search]", 'selector = { name = "tm_score", powr = 2 }', ["[search] selector powr: ", "Did you mean 'power'?"]),
    (
        "[search]",
        'selector = { name = "tm_score", power = "2" }',
        ["[search] selector power: takes a number, got '2'."],
    ),
    ("[search]", 'selector = { name = "tm_score", power = -1 }', ["[search] selector: ", "at least 0, got -1.0"]),
    ("[search]", 'selector = "safest_above"', ["[search] selector: ", "needs the option 'accuracy', a number."]),
    (
        "[search]",
        'schedule = { name = "cosine", start = 4 }',
        ["[search] schedule: ", "start must lie in [0, 1], got 4"],
    ),
    ("[search]", "branches = []", ["[search] branches: must list at least 1, got []."]),
    ("[search]", 'branches = ["keep", "magnitud+random"]', ["[search] branches 2: ", "Did you mean 'magnitude'?"]),
    ("[search]", 'branches = ["magnitude+randm"]', ["[search] branches 1: ", "Did you mean 'random'?"]),
    ("[search]", 'branches = ["magnitude"]', ["[search] branches 1: A branch is 'keep' or a drop and a grow rule"]),
    ("[search]", 'branches = ["keep", "keep"]', ["[search] branches: 'keep' is listed twice."]),
    ("[search]", 'attacks = ["los"]', ["[search] attacks 1: Unknown attack 'los'. Did you mean 'loss'?"]),
    ("[search]", 'attacks = ["loss", 3]', ["[search] attacks 2: 3 does not belong in a list of texts or tables."]),
    ("[search]", "attacks = []", ["[search] attacks: must list at least 1, got []."]),
    (
        "[search]",
        "finalists = 0",
        ["[search] finalists: must be at least 1, got 0.", "how many candidates of a round meet the attacks"],
    ),
    ("[search]", "rank = 1", ["[search] rank: takes true or false, got 1."]),
    (
        "[search]",
        'attacks = ["gap", "lira"]',
        ["[search]: lira cannot test candidates", "Name them among the spec's attacks"],
    ),
    ("[search]", "finalists = 1.5", ["[search] finalists: takes a whole number, got 1.5."]),
    # safety
    ("[safety]", None, ["[safety]: is missing. Say which attacks to simulate"]),
    ("[safety]", "", ["[safety] attacks: is missing. List at least one of: ", "confidence, entropy, gap"]),
    ("[safety]", "attacks = []", ["[safety] attacks: must list at least 1, got []."]),
    ("[safety]", 'attacks = ["gap"]\nalpha = 0.5', ["[safety] alpha: must be at most 0.1, got 0.5."]),
    ("[safety]", 'attacks = ["gap"]\nalpha = 0', ["[safety] alpha: must be above 0, got 0."]),
    ("[safety]", 'attacks = ["gap", "gap"]', ["[safety] attacks: the attack 'gap' is listed twice."]),
    ("[safety]", 'attacks = ["nueral"]', ["[safety] attacks 1: Unknown attack 'nueral'. Did you mean 'neural'?"]),
    (
        "[safety]",
        'attacks = [{ name = "neural", epoch = 5 }]',
        ["[safety] attacks 1 epoch: ", "Did you mean 'epochs'? Allowed: batch_size, epochs, holdout"],
    ),
    ("[safety]", 'attacks = [{ name = "neural", holdout = 1 }]', ["[safety] attacks 1: ", "holdout in (0, 1)"]),
    ("[safety]", 'attacks = [{ name = "gap", access = 1 }]', ["[safety] attacks 1 access: ", "It takes none."]),
    (
        "[safety]",
        'attacks = ["gap"]\naccess = "file"',
        [
            "[safety] access: takes one of 'labels', 'scores', 'weights', got 'file'.",
            "a file on a device gives weights",
        ],
    ),
    ("[safety]", 'attacks = ["gap"]\naccess = 3', ["[safety] access: takes one of 'labels', ", "got 3."]),
    (
        "[safety]",
        'attacks = ["gap"]\nshadows = "full"',
        ["[safety] shadows: takes one of 'final pattern', 'full pipeline', got 'full'."],
    ),
    (
        "[safety]",
        'attacks = ["gap", "loss"]\naccess = "labels"',
        ["[safety]: ", "'loss' needs scores, and the spec's access is labels: leave it out, or raise access"],
    ),
    # requirements
    ("[[require]]", None, ["[[require]]: is missing. Say what must hold"]),
    ("[[require]]", "at_most = 1", ["[[require]] 1 metric: is missing."]),
    ("[[require]]", 'metric = "accuracy"', ["[[require]] 1: takes exactly one of at_most, at_least", "got none"]),
    (
        "[[require]]",
        'metric = "accuracy"\nat_least = 0.8\nwithin = 0.1',
        ["[[require]] 1: takes exactly one of", "got at_least and within."],
    ),
    ("[[require]]", 'metric = "accuracy"\nat_least = "0.8"', ["[[require]] 1 at_least: takes a number, got '0.8'."]),
    ("[[require]]", 'metric = "accuracy"\nat_least = inf', ["[[require]] 1 at_least: must be finite, got inf."]),
    ("[[require]]", 'metric = "accuracy"\nwithin = -0.1', ["[[require]] 1 within: must be at least 0, got -0.1."]),
    (
        "[[require]]",
        'metric = "accuracy"\nwithin = 0.1\nof = "last"',
        ["[[require]] 1 of: takes one of 'dense', got 'last'"],
    ),
    ("[[require]]", 'metric = "accuracy"\nat_least = 0.8\nof = "dense"', ["[[require]] 1: 'of' goes with within"]),
    (
        "[[require]]",
        'metric = "acuracy"\nat_least = 0.8',
        ["[[require]] 1 metric: nothing measures 'acuracy'", "'accuracy'?"],
    ),
    (
        "[[require]]",
        'metric = "acuracy"\nwithin = 0.8',
        ["[[require]] 1 metric: nothing measures 'acuracy'", "'accuracy'?"],
    ),
    ("[[require]]", 'metric = "neural.acu"\nat_most = 0.8', ["[[require]] 1 metric: ", "Did you mean 'neural.auc'?"]),
    (
        "[[require]]",
        'metric = "loss.auc"\nat_most = 0.8',
        ["[[require]] 1 metric: 'loss.auc' comes from the attack 'loss'"],
    ),
    (
        "[[require]]",
        'metric = "accuracy"\nat_most = 0.8',
        ["[[require]] 1: accuracy is better when higher", "at_least"],
    ),
    (
        "[[require]]",
        'metric = "neural.auc"\nat_least = 0.8',
        ["[[require]] 1: neural.auc is better when lower", "at_most"],
    ),
    (
        "[[require]]",
        'metric = "accuracy"\nat_least = 80',
        ["[[require]] 1: accuracy is a share, from 0 to 1, got at_least = 80"],
    ),
    ("[[require]]", 'metric = "neural.auc"\nat_most = -0.5', ["[[require]] 1: neural.auc is a share, from 0 to 1"]),
    ("[[require]]", 'metric = "neural.auc"\nwithin = 2', ["[[require]] 1: neural.auc.rise is a share, from -1 to 1"]),
    (
        "[[require]]",
        'metric = "artifact.size_bytes"\nat_most = 0.5',
        ["[[require]] 1: artifact.size_bytes counts bytes"],
    ),
    ("[[require]]", 'metric = "accuracy"\nmore_than = 1\nat_least = 0.8', ["[[require]] 1 more_than: unknown key."]),
]


@pytest.mark.parametrize(("section", "body", "words"), CASES, ids=[f"{case[0]}{case[1]}"[:70] for case in CASES])
def test_a_fault_says_where_it_is_and_what_is_allowed(section: str, body: str | None, words: list[str]) -> None:
    fault = fault_in(section, body)
    assert fault.startswith(words[0])
    assert all(word in fault for word in words)


@pytest.mark.parametrize("section", [section for section in GOOD if section not in ("", "[[require]]")])
def test_a_section_is_a_table(section: str) -> None:
    text = spec({"": f'name = "x"\n{section.strip("[]")} = 3', section: None})
    assert f"{section}: takes a table, got 3." in "\n".join(faults_of(text))


def test_require_takes_double_brackets() -> None:
    (fault,) = faults_of(spec({"[[require]]": None}) + '\n[require]\nmetric = "accuracy"\nat_least = 0.8')
    assert fault.startswith("[[require]]: takes a list")
    assert "table [[require]]" in fault


def test_requirements_that_are_no_tables_are_refused() -> None:
    text = spec({"": f"{GOOD['']}\nrequire = [3]", "[[require]]": None})
    (fault,) = faults_of(text)
    assert fault.startswith("[[require]] 1: 3 ")


def test_a_margin_is_on_a_metric_and_not_on_its_change() -> None:
    fault = fault_in("[[require]]", 'metric = "accuracy.drop"\nwithin = 0.1')
    assert fault.startswith("[[require]] 1 metric: ") and says(fault, "'accuracy.drop'", "'accuracy'?")


def test_a_change_of_a_listed_metric_can_be_required() -> None:
    body = 'metric = "neural.auc.rise"\nat_most = -0.1'
    assert str(parse_config(spec({"[[require]]": body}), base=Path(), source="").spec.requirements[0]) == (
        "neural.auc.rise ≤ -0.1"
    )


def test_a_given_model_makes_no_other_fault_pass() -> None:
    assert fault_in("[model]", 'name = "mpl"', model_given=True).startswith("[model] name: ")


def test_the_parts_of_a_split_are_the_keys_of_data() -> None:
    assert {*DataShape.model_fields} == {"source", "normalise", *PARTS}


# --- many faults at once ---------------------------------------------------------------------------------------------

MANY = spec(
    {
        "": 'name = "../x"\nseed = -1',
        "[data]": 'source = "digts"\ntest = "10"',
        "[model]": 'name = "mlp"\nhiden = [3]\ndropout = "no"',
        "[recipe]": 'epochs = "10"\nbatch_size = 0\nmomentum = 7',
        "[compress]": 'density = 2\nallocation = "erkk"',
        "[search]": 'rounds = -1\nselector = { name = "tm_score", powr = 2 }\nbranches = ["mag+random", "keep", "x"]',
        "[safety]": 'alpha = 1\nattacks = ["nueral", "gap"]',
        "[[require]]": 'metric = "neural.auc"\nat_most = 0.6\n[[require]]\nmetric = "gap.auc"\n[[require]]\nfoo = 1',
    }
)


def test_all_faults_of_all_sections_come_in_one_message() -> None:
    faults = faults_of(MANY)
    assert [fault.split(": ")[0] for fault in faults] == [
        "name",
        "seed",
        "[data] test",
        "[data] source",
        "[model] hiden",
        "[model] dropout",
        "[recipe] epochs",
        "[recipe]",
        "[compress] density",
        "[search] rounds",
        "[compress] allocation",
        "[search] selector powr",
        "[search] branches 1",
        "[search] branches 3",
        "[safety] alpha",
        "[safety] attacks 1",
        "[[require]] 2",
        "[[require]] 3 metric",
        "[[require]] 3 foo",
        "[[require]] 3",
    ]
    recipe = faults[7]
    assert "batch_size" in recipe
    assert "momentum" in recipe


def test_a_metric_of_a_misspelt_attack_is_no_fault_of_its_own() -> None:
    changes = {"[safety]": 'attacks = ["nueral"]', "[[require]]": 'metric = "neural.auc"\nat_most = 0.6'}
    assert len(faults_of(spec(changes))) == 1
    assert len(faults_of(spec({**changes, "[safety]": "attacks = 3"}))) == 1
    changes["[[require]]"] = 'metric = "accurcy"\nat_least = 0.6'
    assert len(faults_of(spec(changes))) == 2


def test_an_empty_spec_is_told_what_a_spec_has() -> None:
    faults = faults_of("")
    assert [fault.split(":")[0] for fault in faults] == ["name", "[data]", "[safety]", "[[require]]", "[model]"]


# --- specs that attack -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("section", "body"),
    [
        ("[model]", 'name = "os:system"'),
        ("[model]", 'name = "torch.nn.Linear"'),
        ("[data]", 'source = "mypkg.mod:fn"'),
        ("[data]", 'source = { name = "builtins:exec", path = "x" }'),
        ("[compress]", 'allocation = "os.system"'),
        ("[compress]", 'shape = "os.system"'),
        ("[search]", 'selector = "os:system"'),
        ("[search]", 'schedule = { name = "os:system" }'),
        ("[search]", 'branches = ["os:system+random"]'),
        ("[search]", 'attacks = ["os:system"]'),
        ("[safety]", 'attacks = [{ name = "os:system", command = "id" }]'),
    ],
)
def test_a_spec_cannot_name_code(section: str, body: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a spec loaded code")

    monkeypatch.setattr(EntryPoint, "load", refuse)
    monkeypatch.setattr("importlib.import_module", refuse)
    fault = fault_in(section, body)
    assert "Unknown" in fault
    assert "Allowed: " in fault


@pytest.mark.parametrize(
    "name", ["../x", "..", ".", ".x", "-rf", "a/b", "a\\\\b", "a b", "é", "x\\n", "x\\u0000", "\\u001b[31m", "x" * 101]
)
def test_a_name_that_is_no_plain_folder_is_refused(name: str) -> None:
    assert fault_in("", f'name = "{name}"').startswith("name: cannot be used, got ")


@pytest.mark.parametrize("name", ["x", "_x", "0", "Run_1.0-b", "x" * 100])
def test_a_plain_name_is_taken(name: str) -> None:
    assert parse_config(spec({"": f'name = "{name}"'}), base=Path(), source="").name == name


def test_control_characters_reach_no_terminal() -> None:
    for section, body in [
        ("", 'name = "x"\n"\\u001b[31mred" = 1'),
        ("[recipe]", '"\\u001b[31mred" = 1'),
        ("[compress]", '"a\\nb" = "\\u001b"'),
        ("[model]", 'name = "\\u001b[2J"'),
        ("[safety]", 'attacks = ["\\u001b[2J"]'),
        ("[[require]]", 'metric = "\\u001b[2J"\nat_most = 1'),
    ]:
        assert "\\x1b" in fault_in(section, body) or "a\\nb" in fault_in(section, body)


def test_lists_seven_deep_are_still_read() -> None:
    assert "a: unknown key." in "\n".join(faults_of("a = " + "[" * 7 + "]" * 7))


def test_huge_values_are_cut() -> None:
    assert len(fault_in("[search]", f'refit = "{"x" * 10_000}"')) < 250
    assert "too long to" in fault_in("", f'name = "x"\nseed = 0x{"f" * 6000}')
    assert "too long to" in fault_in("[model]", f'name = "mlp"\ndropout = 0x{"f" * 6000}')
    assert "up to 64 bits" in fault_in("[recipe]", f"epochs = {2**64}")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a = " + "1" * 5000, "number too long"),
        ("a = " + "[" * 5000, "brackets too deep"),
        ("a." * 5000 + "a = 1", "more than 8 deep"),
        ("a = " + "[" * 8 + "]" * 8, "more than 8 deep"),
    ],
)
def test_texts_that_would_break_a_reader(text: str, words: str) -> None:
    (fault,) = faults_of(text)
    assert words in fault


# --- files and syntax ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "start", "words"),
    [
        ('name = "x"\nseed 3\n', "line 2, column 6:", "Expected '='"),
        ("[data]\na = 1\n[data]\nb = 1\n", "line 3, column 6:", "Cannot declare"),
        ("[model\n", "line 1, column 7:", "Expected ']'"),
        ('\n\nname = "x', "line 3, the last", "nterminated string|Expected"),
        ("a = '\x1b'", "line 1, column ", r"not TOML.*character '\\x1b'"),
    ],
)
def test_a_syntax_fault_names_its_line(text: str, start: str, words: str) -> None:
    (fault,) = faults_of(text)
    assert fault.startswith(start)
    assert re.search(words, fault)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    for path, words in [
        (tmp_path / "none.toml", "none.toml: 1 fault\n  - cannot be read (No such file or directory). Check the path."),
        (tmp_path, "cannot be read (it is a folder, and no regular file)"),
        ("a\0b.toml", "cannot be read (embedded null byte)"),
        (tmp_path / ("x" * 300), "cannot be read (File name too long)"),
    ]:
        with pytest.raises(SpecError) as caught:
            load_config(path)
        assert words in str(caught.value)
        assert caught.value.exit_code == 2


def test_a_file_of_another_encoding_or_size(tmp_path: Path) -> None:
    path = tmp_path / "spec.toml"
    path.write_bytes(b'name = "x"\n# caf\xe9\n')
    with pytest.raises(SpecError, match="line 2: not UTF-8"):
        load_config(path)
    path.write_bytes(b"#" * (2 << 20))
    with pytest.raises(SpecError, match="larger than 1,048,576 bytes"):
        load_config(path)


def test_a_byte_order_mark_and_foreign_line_ends_are_no_fault(tmp_path: Path) -> None:
    path = tmp_path / "spec.toml"
    path.write_bytes(b"\xef\xbb\xbf" + spec({}).replace("\n", "\r\n").encode())
    assert load_config(path).name == "x"


# --- plug-ins --------------------------------------------------------------------------------------------------------


def test_a_plug_in_that_does_not_load_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    point = EntryPoint("broken", "no_such_package_at_all:thing", SELECTORS.group)
    monkeypatch.setattr(Registry, "plugins", lambda self: {"broken": point} if self is SELECTORS else {})
    fault = fault_in("[search]", 'selector = "broken"')
    assert fault.startswith("[search] selector: ") and says(fault, "'broken'", "plug-in")
    assert "no_such_package_at_all" in fault


def test_a_plug_in_that_refuses_its_options_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    def picky(size: "Unknown" = 1) -> RandomChoice:  # type: ignore[name-defined]  # noqa: F821, UP037
        raise ValueError("size is odd")

    monkeypatch.setitem(SELECTORS.builtins, "picky", picky)  # type: ignore[index]
    fault = fault_in("[search]", 'selector = { name = "picky", size = 3 }')
    assert fault.startswith("[search] selector: ") and says(fault, "'picky'", "size is odd")


def test_the_shapes_of_the_data_are_no_options_of_a_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(MODELS.builtins, "open", lambda **options: options)  # type: ignore[index]
    fault = fault_in("[model]", 'name = "open"\ninput_shape = [3]\nwidth = 4')
    assert fault.startswith("[model] input_shape: ") and says(fault, "'open'", "'input_shape'", "none")


# --- words -----------------------------------------------------------------------------------------------------------


def test_types_in_words() -> None:
    assert describe(int | None) == "a whole number"
    assert describe(tuple[tuple[int, ...], ...]) == "a list of lists of whole numbers"
    assert describe(dict[str, int]) == "a table"
    assert describe(str | Path | None) == "a path"
    assert describe(list) == "a list of values"
    assert describe(Any) == "a value"


@pytest.mark.slow
@given(st.text(max_size=200))
def test_a_shown_value_is_short_and_printable(text: str) -> None:
    assert show(text).isprintable()
    assert len(show(text)) <= 70


@given(st.text(max_size=80))
def test_any_text_is_read_or_refused_with_a_usage_error(text: str) -> None:
    with pytest.raises(UsageError):
        parse_config(text, base=Path(), source="my.toml")


@pytest.mark.parametrize(
    "text, expected",
    [
        ('method = "fold"', "[search] method: takes one of 'folds', 'rewiring', got 'fold'."),
        ("shares = [1.5]", "[search]: CrossFit: share must be a finite number in [0, 1], got 1.5."),
        ("shares = [1.0, 1.0]", "[search]: shares names a value twice"),
        ("lengths = [0.0]", "[search]: lengths takes at least one number in (0, 100]"),
        ("densities = [0]", "[search] densities"),
        ("folds = { number = 3, held_out = 3 }", "[search]: CrossFit: held_out must lie in [1, folds - 1]"),
        ("folds = { numbr = 3 }", "[search] folds numbr: unknown key. Did you mean 'number'?"),
        ('folds = { rewiring = "set" }', "[search]: A rewiring is a drop and a grow rule"),
        ("evidence = { repeats = 4 }", "[search]: evidence repeats must be 0 or at least 6, got 4"),
        ("rank = true", '[search] rank: belongs to method = "rewiring".'),
        ('method = "rewiring"\nshares = [1.0]', '[search] shares: belongs to method = "folds".'),
        ('branches = ["keep"]', "[search]: The branches keep make no arm"),
        ('method = "folds"\n[compress]\nstart = "dense"', "[search]: Arms do not start from the dense model"),
    ],
)
def test_faults_of_arms(text, expected):
    spec = 'name = "x"\n[data]\nsource = "digits"\n[model]\nname = "mlp"\n[search]\n' + text
    spec += '\n[safety]\nattacks = ["gap"]\n[[require]]\nmetric = "accuracy"\nat_least = 0.8\n'
    with pytest.raises(SpecError) as caught:
        parse_config(spec, base=Path("/specs"), source="spec.toml")
    assert expected in str(caught.value)
