"""``init``: a commented spec that runs, from flags alone or from answers; nothing is written over."""

import csv
import io
import json
import sys
import tomllib

import numpy as np
import pytest

from safecompress.attacks import Access
from safecompress.attacks.reference import REFERENCE
from safecompress.certify import Feasibility, check_feasibility
from safecompress.cli._support.template import Bound, propose_bound, propose_drop, propose_sizes, propose_worst_case
from safecompress.config import load_config, parse_config
from safecompress.data import SplitSizes, make_split
from safecompress.errors import SpecError
from safecompress.metrics.stats.planning import auc_half_width
from safecompress.spec import at_most
from whole_runs import report_of, run_cli


@pytest.fixture
def home(tmp_path, monkeypatch):
    """An empty folder to work in, with a table of people whose class two columns decide."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(600, 4))
    with (tmp_path / "my people.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["a", "b", "c", "d", 'illness "x"'])
        writer.writerows([*map("{:.4f}".format, row), "ill" if row[0] + row[1] > 0 else "well"] for row in rows)
    return tmp_path


PEOPLE = ("--data", "my people.csv", "--label", 'illness "x"')


def test_flags_alone_make_a_spec_that_loads(home):
    ended = run_cli("init", *PEOPLE)
    assert (ended.code, ended.err) == (0, "")
    assert ended.out.splitlines()[-1] == "Wrote my-people.toml. Next: safecompress compress my-people.toml"
    config = load_config("my-people.toml")
    assert config.name == "my-people"
    assert config.data.options["label"] == 'illness "x"'
    assert {r.metric for r in config.spec.requirements} == {
        *(f"{attack}.auc" for attack in REFERENCE[Access.WEIGHTS]), "accuracy.drop", "lira.worst_case",
    }  # fmt: skip
    assert config.spec.missing_reference_attacks() == ()  # a newcomer's first spec can pass
    text = (home / "my-people.toml").read_text()
    assert text.count("#") > 20 and max(map(len, text.splitlines())) <= 120


def test_the_bounds_are_such_as_the_rows_can_certify(home):
    """With room for the luck of the draw; a tighter one than any outcome certifies is refused, and nothing written."""
    run_cli("init", *PEOPLE)
    config = load_config("my-people.toml")
    split = make_split(config.load_dataset(), SplitSizes.resolve(600, **config.data.sizes), seed=0)
    prospects = [
        p for p in check_feasibility(config.spec, split, config.spec.levels(1)) if p.requirement.metric.endswith(".auc")
    ]
    assert len(prospects) == 4
    for prospect in prospects:
        assert prospect.tightest + 0.02 < prospect.requirement.bound == 0.6
    ended = run_cli("init", "tight.toml", *PEOPLE, "--max-auc", "0.51")
    assert ended.code == 2
    assert "SpecError" in ended.err and "could not certify" in ended.err
    assert not (home / "tight.toml").exists()


def prospects_at(tightest):
    return [Feasibility(at_most("lira.auc", 1.0), tightest, ""), Feasibility(at_most("gap.auc", 1.0), None, "")]


@pytest.mark.parametrize(
    ("tightest", "bound"),
    [(0.51, Bound(0.6, 0.6)), (0.6, Bound(0.6, 0.6)), (0.61, Bound(0.65, 0.6)), (0.64, Bound(0.7, 0.6)),
     (0.99, Bound(1.0, 0.6))],
)  # fmt: skip
def test_a_bound_is_proposed_for_what_it_means_and_loosened_only_where_rows_cannot_show_it(tightest, bound):
    assert propose_bound(prospects_at(tightest), ["lira.auc", "gap.auc"]) == bound
    assert bound.is_loosened == (tightest > 0.6)


def test_more_rows_never_make_a_proposal_laxer():
    for proposals in (
        [propose_worst_case(Access.WEIGHTS, rows, 0.025).value for rows in (40, 200, 1000, 5000)],
        [propose_drop(rows, 0.025).value for rows in (20, 100, 400, 10_000)],
    ):
        assert proposals == sorted(proposals, reverse=True)
    assert propose_drop(10_000, 0.025) == Bound(0.05, 0.05)
    assert propose_drop(80, 0.025) == Bound(0.07, 0.05)  # 2.24 sqrt(0.05 / 80) = 0.056, and a point for luck


def test_verdict_pools_grow_to_a_quarter_of_the_rows_where_the_bound_takes_it():
    assert propose_sizes(Bound(0.6, 0.6), 600, 0.025) == {} == propose_sizes(Bound(0.7), 600, 0.025)
    sizes = propose_sizes(Bound(0.65, 0.6), 600, 0.025)
    rows = sizes["member_verdict"]
    assert sizes == {"train": rows + 120, "member_verdict": rows, "nonmember_verdict": rows}
    assert auc_half_width(rows - 1, rows - 1, 0.025) <= 0.08 < auc_half_width(rows - 2, rows - 2, 0.025)
    assert propose_sizes(Bound(0.65, 0.6), 4 * rows - 1, 0.025) == {}


@pytest.mark.parametrize(
    ("access", "num_members", "bound"),
    [(Access.WEIGHTS, 200, Bound(0.8, 0.8)), (Access.SCORES, 5000, Bound(0.8, 0.8)), (Access.LABELS, 200, None),
     (Access.WEIGHTS, 39, None)],
    ids=["few", "many", "no shadows", "too few"],
)  # fmt: skip
def test_a_requirement_on_the_most_exposed_is_proposed_where_rows_can_certify_one(access, num_members, bound):
    assert propose_worst_case(access, num_members, 0.025) == bound


def test_what_each_bound_means_is_said_and_who_chose_it_is_kept(home):
    ended = run_cli("init", *PEOPLE, "--max-worst-case", "0.7")
    assert "every attack's AUC ≤ 0.6 means: an attacker who is shown two people" in ended.out
    assert "at most 60 times of 100 (guessing: 50)" in ended.out
    text = (home / "my-people.toml").read_text()
    (home / "edited.toml").write_text(text.replace("at_most = 0.6 ", "at_most = 0.62 ", 1))
    by_metric = {r.metric: r for r in load_config("edited.toml").spec.requirements}
    assert by_metric["modified_entropy.auc"].chosen_by == "edited (init proposed 0.6)"
    assert by_metric["lira.auc"].chosen_by == "proposed by init"
    assert by_metric["lira.worst_case"].chosen_by == "set by the author of the spec"  # a flag named it
    again = parse_config(load_config("edited.toml").to_toml(), base=home, source="x")
    assert [r.chosen_by for r in again.spec.requirements] == [r.chosen_by for r in by_metric.values()]
    assert again.digest() == load_config("edited.toml").digest()


def test_a_quick_spec_has_a_rough_version_and_a_full_one(home):
    ended = run_cli("init", *PEOPLE, "--quick")
    assert ended.out.splitlines()[-1].endswith("Next: safecompress compress my-people.toml --scale quick")
    assert "The full one: safecompress compress my-people.toml" in ended.out
    full, rough = load_config("my-people.toml"), load_config("my-people.toml", scale="quick")
    assert full.spec.rough is None and rough.spec.rough == "safecompress compress my-people.toml"
    assert full.spec.requirements == rough.spec.requirements and full.spec.digest() != rough.spec.digest()
    assert rough.recipe.epochs < full.recipe.epochs
    assert parse_config(rough.to_toml(), base=home, source="x").spec.rough == rough.spec.rough  # audits stay rough


def test_who_asks_for_a_bound_on_persons_gets_the_requirement(home):
    run_cli("init", *PEOPLE, "--max-worst-case", "0.8")
    bounds = {r.metric: r.bound for r in load_config("my-people.toml").spec.requirements}
    assert bounds["lira.worst_case"] == 0.8
    assert (home / "my-people.toml").read_text().count("lira.worst_case") == 1
    ended = run_cli("init", "other.toml", *PEOPLE, "--max-worst-case", "0.52")
    assert ended.code == 2 and "loosen the bound" in ended.err


@pytest.mark.slow
def test_what_init_writes_runs(home):
    """The whole way of a newcomer: a table, init, compress, a verdict."""
    flags = ("--access", "labels", "--epochs", "8", "--density", "0.3", "--max-bytes", "60000", "--min-accuracy", "0.6")
    assert run_cli("init", "quick.toml", *PEOPLE, *flags, "--quiet").out.splitlines() == [
        "Wrote quick.toml. Next: safecompress compress quick.toml"
    ]
    ended = run_cli("compress", "quick.toml", "--json", "--quiet")
    report = json.loads(ended.out)
    assert ended.code == report["exit_code"] and report == report_of(home / "runs" / "quick")
    verdicts = {finding["requirement"]: finding["verdict"] for finding in report["findings"]}
    assert len(verdicts) == 5 and "ERROR" not in verdicts.values()
    assert verdicts["artifact.size_bytes ≤ 60000"] == "PASS"
    assert report["artifact"]["density"] == pytest.approx(0.3, abs=0.01)


def test_json_says_what_was_written(home):
    ended = run_cli("init", *PEOPLE, "--json")
    told = json.loads(ended.out)
    assert told["spec"] == "my-people.toml"
    assert told["requirements"][0]["requirement"].startswith("modified_entropy.auc ≤ ")


def test_nothing_is_written_over(home):
    (home / "mine.toml").write_text("precious")
    ended = run_cli("init", "mine.toml", *PEOPLE)
    assert ended.code == 2 and "mine.toml exists" in ended.err
    assert (home / "mine.toml").read_text() == "precious"


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ([], "Say which data: --data people.csv --label"),
        (["--data", "nowhere.csv"], "file nowhere.csv"),
        (["--data", "digit"], "mean 'digits'?"),
        (["--data", "my people.csv"], "columns: a, b, c, d, illness"),
        (["--data", "my people.csv", "--label", "ilness"], "ilness"),
        ([*PEOPLE, "--model", "mpl"], "mean 'mlp'?"),
        ([*PEOPLE, "--model", "cnn"], "cnn"),
        ([*PEOPLE, "--access", "weight"], "mean 'weights'?"),
        ([*PEOPLE, "--option", "lable"], "--option takes key=value"),
        ([*PEOPLE, "--option", "ignored=['a']"], "option 'ignored'"),
        ([*PEOPLE, "--density", "0"], "density"),
        ([*PEOPLE, "--density", "1.5"], "--density"),
    ],
    ids=str,
)
def test_what_is_wrong_is_said_and_nothing_is_written(flags, words, home):
    ended = run_cli("init", *flags)
    assert ended.code == 2, ended.out + ended.err
    assert words in ended.err
    assert "Traceback" not in ended.err
    assert sorted(path.name for path in home.iterdir()) == ["my people.csv"]


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_person_is_asked_what_no_flag_says(home, monkeypatch):
    answers = ["my people.csv", 'illness "x"', "labels", "0.25", "", "0.9"]
    monkeypatch.setattr(sys, "stdin", Terminal("\n".join(answers) + "\n"))
    ended = run_cli("init", "asked.toml", "--json")
    assert ended.code == 0, ended.err
    for question in ("Your data", "The column of classes (a, b, c, d", "What an attacker", "Share of weights", "AUC"):
        assert question in ended.err
    assert json.loads(ended.out)["spec"] == "asked.toml"  # questions leave standard output alone
    tables = tomllib.loads((home / "asked.toml").read_text())
    assert tables["compress"]["density"] == 0.25
    assert tables["safety"]["access"] == "labels"
    assert {table.get("at_most") for table in tables["require"]} == {0.9, None}


@pytest.mark.parametrize("typed", ["", "my people.csv\n"], ids=["at once", "later"])
def test_who_leaves_in_the_middle_leaves_nothing(typed, home, monkeypatch):
    """An end of input at a question is no FAIL (1)."""
    monkeypatch.setattr(sys, "stdin", Terminal(typed))
    ended = run_cli("init")
    assert ended.code == 130
    assert "Traceback" not in ended.err
    assert sorted(path.name for path in home.iterdir()) == ["my people.csv"]


def test_yes_asks_nothing(home, monkeypatch):
    monkeypatch.setattr(sys, "stdin", Terminal(""))
    assert run_cli("init", *PEOPLE, "--yes").code == 0


@pytest.mark.slow
def test_a_data_set_by_name_and_a_folder_for_the_spec(home):
    np.savez(home / "rows.npz", x=np.random.default_rng(0).random((400, 1, 6, 6)), y=np.arange(400) % 4)
    ended = run_cli("init", "specs/images.toml", "--data", "rows.npz", "--access", "labels")
    assert ended.code == 2 and "no folder specs" in ended.err
    (home / "specs").mkdir()
    assert run_cli("init", "specs/images.toml", "--data", "rows.npz", "--access", "labels").code == 0
    config = load_config("specs/images.toml")
    assert config.data.options["path"] == "../rows.npz"
    assert config.model.name == "cnn"
    assert run_cli("init", "absolute.toml", "--data", home / "rows.npz", "--access", "labels").code == 0
    assert load_config("absolute.toml").data.options["path"] == str(home / "rows.npz")
    assert run_cli("init", "--data", "digits").code == 0
    assert load_config("digits.toml").data.source == "digits"


def test_a_hostile_column_is_a_value_and_nothing_else(home):
    name = 'y" }\nname = "other"\n[x] #'
    with (home / "odd.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["a", name])
        writer.writerows([index / 7, "yes" if index % 3 else "no"] for index in range(400))
    try:
        ended = run_cli("init", "--data", "odd.csv", "--label", name, "--access", "labels")
    except SpecError:
        raise AssertionError("an error left the command line") from None
    if ended.code == 0:
        assert load_config("odd.toml").data.options["label"] == name
        assert load_config("odd.toml").name == "odd"
    else:
        assert ended.code == 2 and not (home / "odd.toml").exists()
