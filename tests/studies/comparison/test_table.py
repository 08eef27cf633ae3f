"""The page: marks, words that claim no more than the seeds show, failures, and what might break Markdown."""

import pytest
from tiny_comparison import Fresh, Halved, compared_of, figure, made_up, tiny_study

from safecompress.compression.search import Plan
from safecompress.studies.comparison import MethodEntry, to_markdown
from safecompress.studies.comparison.difference import NOTHING, differences
from safecompress.studies.comparison.table import legend, summary_rows, words
from safecompress.studies.methods.plain import Dense
from safecompress.studies.methods.sparse import SafeCompress, Static
from said import says


def page_of(methods, results, **options):
    compared = compared_of(tiny_study(methods, densities=(0.1,), **options), results)
    return compared, to_markdown(compared)


def over_seeds(label, density, accuracies, aucs, **given):
    pairs = enumerate(zip(accuracies, aucs, strict=True))
    return [made_up(label, density, seed, accuracy, auc, **given) for seed, (accuracy, auc) in pairs]


DENSE = over_seeds("Dense", 1.0, (0.90, 0.92, 0.91), (0.70, 0.72, 0.71))


def test_marks_say_what_a_method_had_beyond_the_rows():
    methods = [Dense(), Halved(), Fresh(epsilon=8.0), SafeCompress(), Static()]
    results = [*DENSE]
    for label, given in {"Halved": {}, "Fresh": {"epsilon": 8.0}, "SafeCompress": {}}.items():
        results += over_seeds(label, 0.1, (0.9, 0.91, 0.92), (0.6, 0.6, 0.6), **given)
    results += over_seeds("Static", 0.1, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    compared, _ = page_of(methods, results, seeds=(0, 1, 2))
    assert [row[1] for row in summary_rows(compared)[1]] == [
        "Dense", "Halved †", "Fresh ε = 8", "SafeCompress §", "Static ‡",
    ]  # fmt: skip
    (line,) = legend(compared)
    assert all(mark in line for mark in ("† trains on reference rows", "§ tests", "ε trained", "‡ mean accuracy"))
    assert "✗" not in line


def test_epsilons_that_differ_are_shown_as_a_range():
    results = [made_up("Fresh", 0.1, seed, 0.9, 0.6, epsilon=epsilon) for seed, epsilon in ((0, 7.5), (1, 8.0))]
    compared, _ = page_of([Fresh()], results)
    assert summary_rows(compared)[1][0][1] == "Fresh ε = 7.5 to 8"


def test_without_a_dense_model_nobody_says_equal():
    _, page = page_of([Fresh()], over_seeds("Fresh", 0.1, (0.9, 0.9), (0.6, 0.6)))
    assert "plain `dense` model" in page


def test_means_have_an_interval_and_a_range():
    compared, _ = page_of([Dense()], DENSE, seeds=(0, 1, 2))
    header, ((density, label, accuracy, auc, *_), *_) = summary_rows(compared)
    assert header[:4] == ["density", "method", "accuracy", "worst AUC"]
    assert (density, label) == ("1", "Dense")
    assert accuracy == "0.910 ± 0.025 (0.900 to 0.920)"  # 4.3027 * .01 / sqrt(3) = .0248
    assert auc == "0.710 ± 0.025 (0.700 to 0.720)"


def test_a_null_result_is_said_in_words():
    results = [*DENSE, *over_seeds("SafeCompress", 0.1, (0.93, 0.90, 0.90), (0.71, 0.70, 0.73))]
    _, page = page_of([Dense(), SafeCompress()], results, seeds=(0, 1, 2))
    assert f"- SafeCompress − Dense, density 0.1: {NOTHING}." in page
    assert "An interval that holds zero does not show that two methods are equal." in page


def test_a_difference_beyond_noise_says_which_way_is_better():
    results = [*DENSE, *over_seeds("SafeCompress", 0.1, (0.80, 0.82, 0.815), (0.60, 0.62, 0.615))]
    compared, _ = page_of([Dense(), SafeCompress()], results, seeds=(0, 1, 2))
    told = words(compared, differences(compared))[-1]
    assert "accuracy -0.098 [-0.106, -0.091], worse" in told
    assert "worst AUC -0.098 [-0.106, -0.091], better" in told


def test_many_differences_become_tables_of_signs():
    """Ours beside 14 others: a row of marks for each, and not 15 lines of figures."""
    others = [f"other {number}" for number in range(14)]
    methods = [Dense(), SafeCompress(), *(MethodEntry(label, Static()) for label in others)]
    results = [*DENSE, *over_seeds("SafeCompress", 0.1, (0.80, 0.82, 0.815), (0.60, 0.62, 0.615))]
    for number, label in enumerate(others):
        accuracy, auc = (0.80, 0.80) if number < 2 else (0.95, 0.60 if number == 2 else 0.52)
        accuracies = (accuracy, accuracy + 0.02, accuracy + 0.015)
        results += over_seeds(label, 0.1, accuracies, (auc, auc + 0.022, auc + 0.013))
    compared, page = page_of(methods, results, seeds=(0, 1, 2))
    legend, *lines = words(compared, differences(compared))[-1].splitlines()
    assert "TM-score, worst AUC, accuracy" in legend
    rows = {line.split(" | ")[0].removeprefix("| "): line.removesuffix(" |").split(" | ")[1:] for line in lines if line}
    assert rows["density 0.1"] == ["beside SafeCompress", "beside Dense"]
    assert rows["Dense"] == ["− − +", ""]  # leaks more than SafeCompress, and is more accurate; beside itself nothing
    assert rows["SafeCompress"] == ["", "+ + −"]
    assert rows["other 0"] == ["− − ·", "− − −"]
    assert rows["other 2"] == ["+ · ·", "+ + +"]
    assert rows["other 13"] == ["+ + ·", "+ + +"]  # equal differences of 3 seeds have no interval
    assert "SafeCompress − other 5, density 0.1:" not in page  # its figures stand in the table of differences


def test_what_ignores_the_density_stands_at_each_beside_the_dense_model():
    others = [f"other {number}" for number in range(6)]
    methods = [
        Dense(),
        MethodEntry("early", Dense()),
        SafeCompress(),
        *(MethodEntry(label, Static()) for label in others),
    ]
    results = [*DENSE, *over_seeds("early", 1.0, (0.80, 0.82, 0.815), (0.70, 0.72, 0.715))]
    for density in (0.2, 0.1):
        for label in ("SafeCompress", *others):
            results += over_seeds(label, density, (0.9, 0.92, 0.91 + density / 100), (0.6, 0.62, 0.61))
    compared = compared_of(tiny_study(methods, densities=(0.2, 0.1), seeds=(0, 1, 2)), results)
    told = words(compared, differences(compared))[-1]
    assert [line.split(" | ")[0] for line in told.splitlines() if "density" in line] == [
        "| density 0.2",
        "| density 0.1",
    ]
    assert told.count("| early | ") == 2 and told.count("| Dense | ") == 2
    beside_dense = {line.split(" | ")[2] for line in told.splitlines() if line.startswith("| early")}
    assert len(beside_dense) == 1 and beside_dense.pop().startswith("− · −")


def test_each_pair_is_told_once():
    methods = [Dense(), Static(), SafeCompress(), MethodEntry("safecompress too", Static())]
    results = [*DENSE]
    for label in ("Static", "SafeCompress", "safecompress too"):
        results += over_seeds(label, 0.1, (0.9, 0.9, 0.9), (0.6, 0.6, 0.6))
    compared, _ = page_of(methods, results, seeds=(0, 1, 2))
    assert [one.name for one in differences(compared)] == [
        "SafeCompress − Dense, density 0.1",
        "SafeCompress − Static, density 0.1",
        "SafeCompress − safecompress too, density 0.1",
        "safecompress too − Dense, density 0.1",
        "safecompress too − Static, density 0.1",
        "Static − Dense, density 0.1",
    ]


@pytest.mark.parametrize(("seeds", "said"), [((0,), "seed says nothing"), ((0, 1), "2 seeds say next")])
def test_under_three_seeds_no_difference_is_told(seeds, said):
    results = [made_up("Dense", 1.0, seed, 0.9, 0.7) for seed in seeds]
    results += [made_up("SafeCompress", 0.1, seed, 0.5, 0.5) for seed in seeds]
    compared, page = page_of([Dense(), SafeCompress()], results, seeds=seeds)
    assert said in page
    assert "better" not in "".join(words(compared, differences(compared)))


def test_the_first_of_the_ranking_is_told_with_its_doubt():
    results = [*DENSE, *over_seeds("SafeCompress", 0.1, (0.93, 0.90, 0.90), (0.71, 0.70, 0.73))]
    compared, _ = page_of([Dense(), SafeCompress()], results, seeds=(0, 1, 2))
    first = words(compared, [])[0]
    assert says(first, "TM-score", " Dense at density 1") and NOTHING in first


def test_failures_stand_in_the_table_and_below_it():
    results = [
        *DENSE,
        made_up("Fresh", 0.1, 0, 0.9, 0.6),
        made_up("Fresh", 0.1, 1, 0.9, 0.6, error="TrainingError: diverged", figures={}, tm_score=None),
        made_up("Fresh", 0.1, 2, 0.9, 0.6, broken={"neural": "NaN"}, tm_score=None),
    ]
    compared, page = page_of([Dense(), Fresh()], results, seeds=(0, 1, 2))
    assert summary_rows(compared)[1][1][1] == "Fresh ✗"
    assert "- Fresh, density 0.1, seed 1: TrainingError" in page
    assert "- Fresh, density 0.1, seed 2: the attack" in page


def test_a_page_without_any_number():
    results = [made_up("Fresh", 0.1, seed, 0, 0, error="no", figures={}, tm_score=None) for seed in (0, 1)]
    compared, page = page_of([Fresh()], results)
    assert "has a TM-score" in page
    assert summary_rows(compared)[1][0][2:5] == ["-", "-", "-"]


def test_a_note_is_told_once_with_its_cells():
    results = over_seeds("Fresh", 0.1, (0.9, 0.9), (0.6, 0.6), notes=("stopped early",))
    _, page = page_of([Fresh()], results)
    assert "- Fresh: stopped early (density 0.1 seed 0, density 0.1 seed 1)" in page


@pytest.mark.parametrize("picture", ["compare.svg", None])
def test_a_picture_or_why_there_is_none(picture):
    compared, _ = page_of([Fresh()], over_seeds("Fresh", 0.1, (0.9, 0.9), (0.6, 0.6)))
    page = to_markdown(compared, picture=picture, missing=None if picture else "Install it.")
    assert ("![Accuracy against leakage](compare.svg)" in page) == (picture is not None)
    assert ("No picture: Install it." in page) == (picture is None)


def test_labels_cannot_break_the_page():
    label = "a | b <script> [x](y)"
    results = over_seeds(label, 0.1, (0.9, 0.9), (0.6, 0.6), notes=("n | m <b>",))
    _, page = page_of([MethodEntry(label, Fresh())], results)
    assert "<script>" not in page and "<b>" not in page and "[x](y)" not in page
    assert "| 0.1 | a \\| b &lt;script> [x]\\(y) |" in page


def test_what_runs_side_by_side_has_a_table_of_its_own():
    def beside(seed):
        return {"lira": figure(0.6), "lira, signal = 'all'": figure((0.5, 0.7, 0.9)[seed])}

    results = [made_up("Static", 0.1, seed, 0.9, 0.6, apart=beside(seed)) for seed in (0, 1, 2)]
    _, page = page_of([Static()], results, seeds=(0, 1, 2), attacks=("loss", "lira"))
    section = page.split("## Attacks that run side by side")[1].split("##")[0]
    header, _, line = [one for one in section.splitlines() if one.startswith("|")]
    assert [cell.strip() for cell in header.split("|")[1:-1]] == ["density", "method", "lira", "lira, signal = 'all'"]
    assert "0.600 (the same 3 times)" in line and "0.700 ±" in line
    assert "| lira | num_shadows = 8 | lira, signal = 'all' |" in page and "| loss | - | - |" in page
    _, plain = page_of([Static()], [made_up("Static", 0.1, seed, 0.9, 0.6) for seed in (0, 1, 2)], seeds=(0, 1, 2))
    assert "side by side" not in plain


def test_the_page_says_that_it_is_no_verdict_and_how_it_was_made():
    _, page = page_of([Dense(), Static()], [*DENSE, *over_seeds("Static", 0.1, (0.9, 0.9, 0.9), (0.6, 0.6, 0.6))])
    assert "**Exploratory: " in page
    assert "| Static | - | - | Mocanu et al. 2018" in page and "hidden=(8,)" in page and "| train | 90 |" in page


def test_only_options_that_were_changed_are_listed():
    plan = Plan(rounds=4, branches=("keep",))
    methods = [MethodEntry("ours", SafeCompress(plan=plan)), Fresh(epsilon=2.0)]
    _, page = page_of(methods, over_seeds("ours", 0.1, (0.9,), (0.6,)), attacks=("lira",), num_shadows=6)
    assert "| ours | rounds = 4, branches = ['keep'] |" in page
    assert "| Fresh | epsilon = 2.0 |" in page
    assert "| lira | num_shadows = 6 |" in page
