"""The page on attacks says what the code is: names, options, reference sets, checks; and its examples run."""

import importlib
import inspect
import json
import re
import sys
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from safecompress.attacks import ATTACKS, Access, Lira, Loss, Target, capabilities_of, simulate_attacker
from safecompress.attacks.reference import LEAST, REFERENCE, STANDS_FOR, siblings_of
from safecompress.auditing.audited_model import AuditedModel
from safecompress.auditing.whole_model import look_at_whole
from safecompress.certify.health import (
    DECISIVE,
    LARGEST_GAP,
    LARGEST_TIE,
    SHARED_ALPHA,
    HealthCase,
    examine_health,
)
from safecompress.compression.search import Plan
from safecompress.config import parse_config
from safecompress.config.options import parameters_of, plain
from safecompress.config.tables import SafetyShape
from safecompress.data import AuditData, Dataset, DataSplit
from safecompress.metrics.measurement import Levels
from safecompress.spec import SafetySpec, at_most
from safecompress.spec.spec import SHADOW_MODES
from safecompress.testing import check_attack
from safecompress.testing.fakes import fake_target, noise_audit
from whole_runs import run_code

PAGE = (Path(__file__).parents[2] / "docs" / "attacks.md").read_text(encoding="utf-8")
NAMES = sorted(ATTACKS.builtins)
SIGNALS = re.compile(r"`(\w+_(?:N|NC|NH))`")


class Shift(torch.nn.Module):
    """Subtracts a number from every feature."""

    def __init__(self, by):
        super().__init__()
        self.by = by

    def forward(self, features):
        return features - self.by


# --- reading the page


def part(title: str, level: int = 2) -> str:
    """What stands under a heading, up to the next of its level or above."""
    body = re.search(rf"^{'#' * level} {re.escape(title)}\n(.*?)(?=^#{{2,{level}}} |\Z)", PAGE, flags=re.S | re.M)
    assert body, f"the page has no heading {title!r}"
    return body[1]


def tables(text: str) -> list[list[list[str]]]:
    """The bodies of all tables in ``text``, each a list of rows of cells."""
    found = re.findall(r"(?:^\|.*\|\n)+", text, flags=re.M)
    cells = [[[c.strip() for c in line.strip("|").split(" | ")] for line in table.splitlines()] for table in found]
    return [rows[2:] for rows in cells]


def blocks(language: str) -> list[str]:
    """Examples in order. Those that are files say so in their first line."""
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, flags=re.S | re.M)


def file_of(name: str) -> str:
    """The example that is the file ``name``."""
    (body,) = [block for kind in ("python", "toml") for block in blocks(kind) if block.startswith(f"# {name}\n")]
    return body


def words(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def written(options: list[list[str]]) -> dict[str, str]:
    """Option -> default, from a table of options."""
    return {words(row[0])[0]: words(row[1])[0] for row in options}


# --- attacks


def test_every_built_in_attack_has_a_section_and_no_other_has():
    assert sorted(re.findall(r"^### (\w+)$", part("The attacks"), flags=re.M)) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_a_section_names_every_option_with_its_default(name):
    parameters, _ = parameters_of(ATTACKS.builtins[name], ())
    section = part(name, 3)
    defaults = {option: json.dumps(plain(parameter.default)) for option, parameter in parameters.items()}
    shown = tables(section)
    assert (written(shown[0]) if shown else {}) == defaults
    assert ("*Options:* none." in section) == (not defaults)


@pytest.mark.parametrize("name", NAMES)
def test_a_section_says_who_attacks_by_what_from_where_and_when(name):
    section = part(name, 3)
    for label in ("*The attacker* ", "*Score", "*Source:* ", "*Use it* "):
        assert section.count(label) == 1, label


@pytest.mark.parametrize("name", NAMES)
def test_a_section_cites_what_the_code_cites_and_owns_up_to_what_differs(name):
    factory = ATTACKS.builtins[name]
    doc = " ".join((inspect.getdoc(factory) or "").split())
    years = re.findall(r"\b20[012]\d\b", f"{doc} {inspect.getdoc(inspect.getmodule(factory))}")
    section = part(name, 3)
    assert set(re.findall(r"\b20[012]\d\b", doc)) <= set(re.findall(r"\b20[012]\d\b", section))
    assert set(re.findall(r"\b20[012]\d\b", section.split("*Source:* ")[1])) & set(years)
    assert ("*Differs from the paper" in section) == ("Differs from the paper" in doc)


def test_the_table_has_access_and_tier_of_every_attack_in_the_registrys_order():
    table = tables(part("The attacks").split("\n### ")[0])[0]
    shown = [(words(row[0])[0], row[1], row[2]) for row in table]
    made = [(name, ATTACKS.make(name)) for name in ATTACKS.builtins]
    assert shown == [(name, attack.access.name.lower(), str(capabilities_of(attack).tier)) for name, attack in made]


def test_the_table_counts_trainings_for_attacks_by_shadows_only():
    table = tables(part("The attacks").split("\n### ")[0])[0]
    trains = {words(row[0])[0] for row in table if "`num_shadows` trainings" in row[3]}
    assert trains == {name for name in NAMES if hasattr(ATTACKS.make(name), "num_shadows")}


# --- what a verdict rests on


def test_reference_sets_are_the_codes():
    rows = tables(part("What the attacker is given", 3))[0]
    assert {words(row[0])[0]: tuple(words(row[2])) for row in rows} == {
        access.name.lower(): names for access, names in REFERENCE.items()
    }
    assert [words(row[0])[0] for row in rows] == [access.name.lower() for access in Access]


def test_least_options_and_stand_ins_are_the_codes():
    (sentence,) = re.findall(r"^Least options: (.*?)\. `joint_lira` may stand", PAGE, flags=re.S | re.M)
    shown = {}
    for clause in sentence.replace("\n", " ").split(", "):
        names = [word for word in words(clause) if word in ATTACKS.builtins]
        rest = re.sub("|".join(f"`{name}`" for name in names), "", clause)
        options = {option: int(number) for number, option in re.findall(r"(\d+) `(\w+)`", rest)}
        options |= {option: int(number) for option, number in re.findall(r"`(\w+)` of (\d+)", rest)}
        shown |= dict.fromkeys(names, options)
    assert shown == {name: dict(least) for name, least in LEAST.items()}
    assert dict(STANDS_FOR) == {"lira": ("joint_lira",)}


def test_modes_of_shadows_are_the_codes_with_its_default_first():
    shown = [words(row[0])[0] for row in tables(part("Shadow models", 3))[0]]
    assert shown == [f'"{mode}"' for mode in SHADOW_MODES]
    assert SafetyShape().shadows == SHADOW_MODES[0]


def test_tiers_are_the_codes():
    rows = tables(part("Tiers", 3))[0]
    assert [row[0] for row in rows] == sorted({str(capabilities_of(ATTACKS.make(name)).tier) for name in NAMES})
    assert f"`finalists = {Plan().finalists}`" in rows[1][2]
    made = [ATTACKS.make(name) for name in ("gap", "neural", "lira")]
    assert Plan().tests(made) == ((made[0],), (made[1],))


@pytest.mark.slow
def test_every_health_check_that_a_verdict_makes_is_in_the_table_and_no_other():
    pools = [noise_audit(20, 20, seed=seed) for seed in (0, 1)]
    target = fake_target(*pools, num_classes=4, is_leaky=True)
    made = [Loss(), Lira(num_shadows=4)]
    attackers = [simulate_attacker(attack, target, pools[0], generator=np.random.default_rng(0)) for attack in made]
    results = [attacker.test(target, pools[1], Levels()) for attacker in attackers]
    rows = Dataset.from_arrays(np.arange(40.0).reshape(8, 5), np.arange(8) % 2)
    sides = ("member_fit", "member_verdict", "nonmember_fit", "nonmember_verdict")
    places = {side: [2 * place, 2 * place + 1] for place, side in enumerate(sides)}
    split = DataSplit.from_indices(rows, {"train": range(4), **places})
    case = HealthCase(target, *pools, None, attackers, results, split=split)
    checks = examine_health(case, levels=Levels(), seed=0)
    of_file = look_at_whole(AuditedModel.of_network(torch.nn.Linear(5, 2), (5,), 2), split)
    proofs = {"members", "training", "given_weights"}  # which need a file: tests/auditing
    named = {check.name for check in (*checks, *of_file)} | proofs
    assert {words(row[0])[0] for row in tables(part("Health checks", 3))[0]} == named


def test_figures_of_the_health_checks_are_the_codes():
    text, half = part("Health checks", 3), "at most half of the rows"
    assert LARGEST_TIE == 0.5 and text.count(half) == 2
    assert f"at most {LARGEST_GAP:g}, beyond noise" in text
    assert f"(paired DeLong, {DECISIVE:g})" in text
    assert f"raises an ERROR is {SHARED_ALPHA:g}." in text


def test_the_sibling_named_for_attacks_by_one_models_loss_is_the_codes():
    (sentence,) = re.findall(r"it is the sibling that (.*?) must not be under", part("loss", 3))
    named = {name for name in ATTACKS.names() if any(one.name == "loss" for one in siblings_of(ATTACKS.make(name)))}
    assert set(words(sentence)) == named


def test_every_signal_named_exists():
    target = fake_target(noise_audit(4, 4), noise_audit(4, 4, seed=1), num_classes=4, is_leaky=True)
    signals = target.signals(noise_audit(4, 4))
    named = set(SIGNALS.findall(tables(part("Write one"))[0][0][1]))
    assert len(named) == 10 and all(hasattr(signals, name) for name in named)
    outputs = target.shadows.outputs(noise_audit(4, 4), count=2, queries=3)
    shapes = {words(row[0])[0]: row[1] for row in tables(part("With shadow models", 3))[0]}
    sizes = {"K": 2, "Q": 3, "N": 8}
    for name, shape in shapes.items():
        assert getattr(outputs, name).shape == tuple(sizes[letter] for letter in re.findall(r"[KQN]", shape))


# --- the examples


def test_the_shortest_spec_bounds_the_reference_set_and_no_shorter_one_does(tmp_path):
    text = blocks("toml")[0]
    spec = parse_config(text, base=tmp_path, source="attacks.md").spec
    assert spec.missing_reference_attacks() == ()
    *_, last = (n for n in re.finditer(r"\[\[require\]\]\n.*?\n.*?\n", text))
    for table in re.findall(r"\[\[require\]\]\n.*\n.*\n", text):
        shorter = parse_config(text.replace(table, ""), base=tmp_path, source="attacks.md").spec
        assert shorter.missing_reference_attacks() or table == last[0]  # the last one bounds the accuracy
    assert "accuracy" in last[0]


def test_every_verb_and_option_shown_exists():
    from typer.main import get_command

    from safecompress.cli.app import app
    from safecompress.cli.main import register

    register()
    commands = get_command(app).commands
    shown = [line.split() for block in blocks("sh") for line in block.splitlines() if line.startswith("safecompress")]
    assert {line[1] for line in shown} == {"release", "compress", "audit", "list"}
    for _, verb, *rest in shown:
        known = {name for parameter in commands[verb].params for name in parameter.opts}
        assert {word for word in rest if word.startswith("--")} <= known


def test_every_link_leads_somewhere():
    anchors = {heading.lower().replace(" ", "-").replace(",", "") for heading in re.findall(r"^#+ (.*)$", PAGE, re.M)}
    links = re.findall(r"\]\(([^)]+)\)", PAGE)
    assert len(links) > len(NAMES)
    for link in links:
        if link.startswith("#"):
            assert link[1:] in anchors, link
        else:
            assert (Path(__file__).parents[2] / "docs" / link).is_file(), link


def test_figures_of_other_pages_are_named_with_their_source():
    """Every figure measured stands beside the benchmark that it is from."""
    for sentence in re.findall(r"[^.]*measured in[^.]*", PAGE):
        assert "benchmarks/results/" in sentence or "benchmarks/results/" in PAGE.split(sentence)[1][:90]


FILES = ("neighbours.py", "test_neighbours.py", "use.py", "calibrated.py", "pgd.py", "pyproject.toml")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with the page's files, on the path, where the plug-in is installed as ``pip install`` would."""
    for name in FILES:
        (tmp_path / name).write_text(file_of(name), encoding="utf-8")
        monkeypatch.delitem(sys.modules, name.removesuffix(".py"), raising=False)
    project = tomllib.loads(file_of("pyproject.toml"))["project"]
    info = tmp_path / f"{project['name']}-{project['version']}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n")
    points = [
        f"[{group}]\n" + "".join(f"{name} = {value}\n" for name, value in entries.items())
        for group, entries in project["entry-points"].items()
    ]
    (info / "entry_points.txt").write_text("\n".join(points))
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    for name in FILES:
        sys.modules.pop(name.removesuffix(".py"), None)


@pytest.mark.slow
def test_the_attacks_of_the_page_keep_the_contract(folder):
    importlib.import_module("test_neighbours").test_neighbours_keeps_the_contract()
    check_attack(importlib.import_module("calibrated").Calibrated())


def test_the_attack_by_shadows_finds_by_how_much_a_row_was_learnt(folder):
    pools = [noise_audit(20, 20, seed=seed) for seed in (0, 1)]
    target = fake_target(*pools, num_classes=4, is_leaky=True)  # knows members by a margin of 12, others not at all
    scores = importlib.import_module("calibrated").Calibrated(num_shadows=4).score(target, pools[1])
    np.testing.assert_allclose(scores, 12.0 * pools[1].is_member, atol=1e-4)


def test_the_attack_on_another_question_moves_rows_within_its_radius(folder):
    pgd = importlib.import_module("pgd").Pgd(radius=0.1)
    model = torch.nn.Linear(1, 2, bias=False)
    model.load_state_dict({"weight": torch.tensor([[-1.0], [1.0]])})
    head = torch.nn.Sequential(Shift(0.5), model)  # class 1 from a feature of 0.5 on
    rows = AuditData(torch.tensor([[0.45], [0.2], [0.55], [0.9]]), torch.tensor([0, 0, 1, 0]), np.zeros(4, dtype=bool))
    (rate,) = (
        simulate_attacker(pgd, Target(head), rows, generator=np.random.default_rng(0))
        .test(Target(head), rows, Levels())
        .measurements
    )
    assert (rate.name, rate.num_samples, rate.value) == ("pgd.success_rate", 3, pytest.approx(2 / 3))
    spec = SafetySpec([pgd], [at_most("pgd.success_rate", 0.4)])
    assert spec.missing_reference_attacks() != ()


def test_an_installed_attack_can_be_named_in_a_spec(folder):
    (line,) = re.findall(r"a spec may say `(attacks = .*?)`", PAGE)
    text = re.sub(r"^attacks = .*$", line, blocks("toml")[0], flags=re.M)
    head, first, *_ = re.split(r"(?=\[\[require\]\])", text)
    text = head + re.sub(r"metric = .*", 'metric = "neighbours.auc"', first)
    spec = parse_config(text, base=folder, source="spec.toml").spec
    assert spec.attacks == (importlib.import_module("neighbours").Neighbours(queries=8),)
    assert ATTACKS.origins()["neighbours"] == "neighbours"  # the package


@pytest.mark.slow
def test_the_attack_is_used_by_object_in_a_folder_of_ones_own(folder):
    verdict, figure = run_code((folder / "use.py").read_text(), folder).splitlines()
    assert f"print(result.report.verdict)  # {verdict}:" in file_of("use.py")
    assert "'num_samples': 400" in figure


def test_the_loss_traces_example_finds_the_rows_with_the_widest_traces():
    (example,) = re.findall(r"^```python\n(.*?)^```", part("Loss traces"), flags=re.S | re.M)
    names: dict[str, Any] = {}
    exec(example, names)
    exposure = names["trace"].iqr()
    assert sorted(exposure[names["most_exposed"]]) == sorted(exposure)[-10:]
    assert names["trace"].to_tensor().shape == (600, 8)
