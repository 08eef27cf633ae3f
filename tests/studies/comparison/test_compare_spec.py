"""The TOML of a comparison: what it says, and every fault at once."""

from pathlib import Path

import pytest

from safecompress.attacks import Lira, Loss
from safecompress.compression.search import Plan, RandomChoice, parse_branches
from safecompress.errors import SpecError
from safecompress.sparsity import Start
from safecompress.studies.comparison import load_comparison, parse_comparison
from safecompress.studies.methods.plain import Dense
from safecompress.studies.methods.sparse import SafeCompress, SparseEvolutionaryTraining, Static
from safecompress.training.objectives.relax import RelaxLoss

GOOD = {
    "": 'name = "x"',
    "[data]": 'source = "digits"',
    "[model]": 'name = "mlp"\nhidden = [16]',
    "[recipe]": "epochs = 3",
    "[compare]": 'methods = ["dense", "static"]',
}


def text_of(**changes):
    sections = {**GOOD, **{("" if head == "top" else f"[{head}]"): body for head, body in changes.items()}}
    return "\n".join(f"{head}\n{body}" for head, body in sections.items() if body is not None)


def parsed(**changes):
    return parse_comparison(text_of(**changes), base=Path("/specs"), source="my.toml")


def faults_of(**changes):
    with pytest.raises(SpecError) as caught:
        parsed(**changes)
    heading, *faults = str(caught.value).split("\n")
    assert heading == f"my.toml: {len(faults)} fault{'s' if len(faults) != 1 else ''}"
    return [fault.removeprefix("  - ") for fault in faults]


def test_defaults():
    comparison = parsed().comparison
    assert [(e.label, e.method) for e in comparison.entries] == [("dense", Dense()), ("static", Static())]
    assert (comparison.densities, comparison.seeds, comparison.shadows) == ((0.1,), (0, 1, 2), "full pipeline")
    assert [attack.name for attack in comparison.attackers] == [
        "gap", "loss", "confidence", "entropy", "modified_entropy", "neural", "whitebox", "lira",
    ]  # fmt: skip
    assert comparison.attackers[-1] == Lira(num_shadows=8)


def test_everything_written():
    ours = '{ name = "safecompress", label = "ours", rounds = 2, branches = ["keep", "magnitude+random"], '
    ours += 'selector = "random", objective = { name = "relax_loss", target = 0.25 } }'
    spec = parsed(
        compare="""
            methods = [
                { name = "set", rounds = 3 },
                OURS,
            ]
            densities = [0.2, 0.05]
            seeds = [7]
            num_shadows = 6
            attacks = ["loss", "lira", { name = "rmia", num_shadows = 10 }]
            shadows = "final pattern"
        """.replace("OURS", ours)
    )
    comparison = spec.comparison
    first, ours = comparison.entries
    assert (first.label, first.method) == (
        "set",
        SparseEvolutionaryTraining(plan=Plan(rounds=3, branches=("set+random",), selector=RandomChoice())),
    )
    plan = Plan(rounds=2, branches=parse_branches(["keep", "magnitude+random"]), selector=RandomChoice())
    assert (ours.label, ours.method) == ("ours", SafeCompress(plan=plan, objective=RelaxLoss(target=0.25)))
    assert (comparison.densities, comparison.seeds, comparison.shadows) == ((0.2, 0.05), (7,), "final pattern")
    assert comparison.attackers[:2] == (Loss(), Lira(num_shadows=6))
    assert comparison.attackers[2].num_shadows == 10
    assert spec.tables["compare"]["seeds"] == [7] and spec.recipe.epochs == 3


def test_the_study_has_the_specs_data_model_and_threads():
    study = parsed(data='source = "digits"\nnormalise = "standard"\ntest = 100').study(threads=2)
    assert study.dataset.num_rows == 1797 and study.model.options == {"hidden": (16,), "dropout": 0.0}
    assert (study.sizes, study.normalise, study.threads) == ({"test": 100}, "standard", 2)
    assert study.rows(0).raw.size("test") == 100


CASES = [
    ({"top": None}, ["name: is missing. It names the run's folder"]),
    ({"data": None}, ["[data]: is missing", "digits"]),
    ({"compare": None}, ["compare", "is missing. Say what to compare: methods ="]),
    ({"compar": "x = 1"}, ["[compar]: unknown table. Did you mean 'compare'?"]),
    ({"safety": 'attacks = ["gap"]'}, ["[safety]: a comparison takes its attacks and shadows from [compare], and"]),
    ({"[require]": 'metric = "accuracy"'}, ["[[require]]: a comparison judges nothing"]),
    ({"search": "rounds = 3"}, ["[search]: a comparison takes what a method searches by from its own table"]),
    ({"top": 'name = "x"\nseed = 1'}, ["seed: a comparison has several: list them in [compare] seeds."]),
    ({"model": 'name = "mlp"\nweights = "w.safetensors"'}, ["[model] weights: a comparison trains the dense model"]),
    ({"recipe": 'objective = "relax_loss"'}, ["[recipe] objective: belongs to a method"]),
    ({"recipe": "epoch = 1"}, ["[recipe] epoch: the recipe has no option 'epoch'. Did you mean 'epochs'?"]),
    ({"compare": ""}, ["[compare] methods: is missing. Each is a name, or a table"]),
    ({"compare": "methods = []"}, ["[compare] methods: must list at least 1"]),
    ({"compare": 'methods = "dense"'}, ["[compare] methods: takes a list of texts or tables, got 'dense'"]),
    ({"compare": "methods = [1]"}, ["[compare] methods 1: 1 does not belong in"]),
    ({"compare": 'methods = ["dens"]'}, ["[compare] methods 1: Unknown method 'dens'. Did you mean 'dense'?"]),
    ({"compare": 'methods = ["static", "static"]'}, ["[compare]: methods must be", "Give one of two equal methods"]),
    ({"compare": 'methods = [{ label = "x" }]'}, ["[compare] methods 1: a table that stands for one method"]),
    ({"compare": 'methods = [{ name = "dense", label = 3 }]'}, ["[compare] methods 1 label: takes text, got 3."]),
    ({"compare": 'methods = [{ name = "dense", label = "" }]'}, ["[compare] methods 1: A label takes 1 to 60"]),
    ({"compare": 'methods = [{ name = "dense", rounds = 3 }]'}, ["methods 1 rounds: the method 'dense' has no option"]),
    (
        {"compare": 'methods = [{ name = "static", rounds = 3 }]'},
        ["methods 1 rounds: the method 'static' has no option 'rounds'. Allowed: exclude, include, label,"],
    ),
    (
        {"compare": 'methods = [{ name = "set", branches = ["keep"] }]'},
        ["methods 1 branches: the method 'set' has no option 'branches'. Allowed: exclude, include,"],
    ),
    (
        {"compare": 'methods = [{ name = "safecompress", density = 0.1 }]'},
        ["methods 1 density: the method 'safecompress' has no option 'density'"],
    ),
    (
        {"compare": 'methods = [{ name = "safecompress", rounds = 0 }]'},
        ["methods 1 rounds: must be at least 1, got 0."],
    ),
    (
        {"compare": 'methods = [{ name = "safecompress", branches = ["magnitud+random"] }]'},
        ["[compare] methods 1 branches 1: Unknown drop rule 'magnitud'", "Did you mean 'magnitude'?"],
    ),
    (
        {"compare": 'methods = [{ name = "safecompress", selector = "rando" }]'},
        ["[compare] methods 1 selector: Unknown selector 'rando'. Did you mean 'random'?"],
    ),
    (
        {"compare": 'methods = [{ name = "safecompress", objective = "relax" }]'},
        ["[compare] methods 1 objective: Unknown objective 'relax'. Did you mean 'relax_loss'?"],
    ),
    ({"compare": 'methods = ["dense"]\nattacks = ["los"]'}, ["[compare] attacks 1: Unknown attack 'los'"]),
    (
        {"compare": 'methods = ["dense"]\nattacks = ["loss", "loss"]'},
        ["[compare] attacks: the attack 'loss' is listed"],
    ),
    ({"compare": 'methods = ["dense"]\nattacks = ["joint_lira"]'}, ["[compare]: joint_lira joins several versions"]),
    ({"compare": 'methods = ["dense"]\ndensities = [0]'}, ["[compare]: densities must lie in (0, 1]"]),
    (
        {"compare": 'methods = ["dense"]\ndensities = "all"'},
        ["[compare] densities: takes a list of numbers, got 'all'."],
    ),
    ({"compare": 'methods = ["dense"]\nseeds = [1, 1]'}, ["[compare]: seeds must be at least one and all different"]),
    ({"compare": 'methods = ["dense"]\nseeds = [-1]'}, ["[compare] seeds 1: -1 does not belong in a list"]),
    ({"compare": 'methods = ["dense"]\nnum_shadows = 2'}, ["[compare] num_shadows: must be at least 4, got 2."]),
    ({"compare": 'methods = ["dense"]\nshadows = "none"'}, ["[compare] shadows: takes one of 'final pattern', 'full"]),
    ({"compare": 'methods = ["dense"]\nseed = [1]'}, ["[compare] seed: unknown key. Did you mean 'seeds'?"]),
]


@pytest.mark.slow
@pytest.mark.parametrize(("changes", "words"), CASES, ids=[str(n) for n in range(len(CASES))])
def test_one_fault_each(changes, words):
    (fault,) = faults_of(**changes)
    for word in words:
        assert word in fault


def test_all_faults_at_once():
    faults = faults_of(
        data='source = "digts"',
        model='name = "mpl"',
        recipe="epochs = 0",
        compare='methods = ["dens", "statc"]\nattacks = ["los"]',
    )
    assert len(faults) == 6


def test_paths_count_from_the_specs_folder(tmp_path):
    (tmp_path / "spec.toml").write_text(text_of(data='source = { name = "csv", path = "rows.csv", label = "y" }'))
    rows = "\n".join(f"{n},{n % 2}" for n in range(40))
    (tmp_path / "rows.csv").write_text(f"a,y\n{rows}\n")
    assert load_comparison(tmp_path / "spec.toml").study().dataset.num_rows == 40


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(SpecError, match="cannot be read"):
        load_comparison(tmp_path / "none.toml")


def test_the_example_can_be_read_and_run():
    example = Path(__file__).parents[3] / "examples" / "compare-digits.toml"
    spec = load_comparison(example)
    assert [entry.label for entry in spec.comparison.entries] == ["dense", "static", "set", "safecompress"]
    spec.study().check()


def test_a_method_that_searches_may_begin_elsewhere_and_leave_layers_dense() -> None:
    methods = '[{ name = "static", start = "pretrained", exclude = ["head*"] }, { name = "set", include = ["body*"] }]'
    text = f'name = "x"\n[data]\nsource = "digits"\n[model]\nname = "mlp"\n[compare]\nmethods = {methods}\n'
    static, plain = (e.method for e in parse_comparison(text, base=Path(), source="x.toml").comparison.entries)
    assert (static.plan.start, static.plan.exclude, static.plan.rounds) == (Start.PRETRAINED, ("head*",), 0)
    assert (plain.plan.begins, plain.plan.include) == (Start.SCRATCH, ("body*",))
    with pytest.raises(SpecError, match="takes one of"):
        parse_comparison(text.replace('"pretrained"', '"anywhere"'), base=Path(), source="x.toml")
