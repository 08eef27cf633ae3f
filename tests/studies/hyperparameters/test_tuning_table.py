"""The page: it says that its figures chose, and shows what it must."""

import pytest
from test_found import BEATEN, FAILED, GOOD, LUCKY, SAFE, choice
from tiny_tuning import found_of, made_up

from safecompress.attacks import Gap, Lira, Neural
from safecompress.studies.hyperparameters import to_markdown


def lines(found, **options):
    return to_markdown(found, **options).splitlines()


def test_the_front_with_its_intervals_and_specs():
    page = lines(found_of([GOOD, BEATEN, SAFE]), files=["front-1.toml", "front-2.toml"])
    header = "point trial density objective branches accuracy|worst AUC|attack|TM-score|bytes|spec"
    start = page.index("| " + " | ".join(header.replace(" ", "|", 5).split("|")) + " |")
    figures = "0.600 [0.550, 0.650] | 0.520 [0.470, 0.570] | loss | 1.154 | 1,234"
    assert page[start + 2] == f"| 1 | 3 | 0.2 | relax_loss | keep | {figures} | front-1.toml |"
    assert page[start + 3].startswith("| 2 | 1 | 0.4 |") and page[start + 4] == ""


def test_it_says_that_these_figures_chose_and_what_to_do():
    page = to_markdown(found_of([GOOD, SAFE]), files=["front-1.toml", "front-2.toml"])
    assert "**These figures chose," in page and "picked from 2 trials" in page
    assert "test or verdict" in page
    assert "`safecompress compress front-2.toml`" in page
    assert "compress front" not in to_markdown(found_of([GOOD, SAFE]))


def test_neighbours_that_the_intervals_do_not_tell_apart_are_named():
    close = made_up(choice(0.5), 0.95, 0.65)
    assert "overlap in both figures for 2 and 3:" in to_markdown(found_of([SAFE, GOOD, close]))
    assert "overlap" not in to_markdown(found_of([SAFE, GOOD]))


def test_every_trial_and_what_failed():
    page = lines(found_of([GOOD, FAILED, LUCKY]))
    assert any(line.startswith("| 2 | 0.5 | relax_loss | keep | failed | - |") for line in page)
    assert "- trial 2: TrainingError: it diverged" in page
    assert any(line.startswith("- trial 3: the attack gap") for line in page)
    assert "What failed" not in to_markdown(found_of([GOOD]))


def test_the_hypervolume_is_shown_batch_by_batch():
    page = lines(found_of([BEATEN, FAILED, GOOD]))  # batches of two
    start = page.index("| trials | hypervolume |")
    assert page[start + 2 : start + 5] == ["| 2 | 0.4800 |", "| 3 | 0.7200 |", ""]
    assert any("trial 3 of 3." in line for line in page)


def test_how_it_was_made():
    page = to_markdown(found_of([GOOD], attacks=(Gap(), Neural(epochs=7), Lira()), sampler="random"))
    assert "drawn by at random" not in page and "drawn at random, 2" in page
    assert "Fixed: learning rate 0.01." in page and "| density | 0.2 to 0.8 |" in page
    beside = "neural (epochs = 7), lira, beside it lira, signal = 'all': the largest figure counts."
    assert f"gap, {beside}" in page
    assert "trials read: train 60." in page


def test_a_picture_or_why_there_is_none():
    assert "![Accuracy against leakage](search.svg)" in to_markdown(found_of([GOOD]), picture="search.svg")
    assert "picture: install" in to_markdown(found_of([GOOD]), missing="install it")


@pytest.mark.parametrize(("text", "shown"), [("a|b", "a\\|b"), ("<b>", "&lt;b>"), ("[x](y)", "[x]\\(y)")])
def test_what_an_error_says_cannot_break_the_page(text, shown):
    broken = made_up(choice(0.6), 0.9, 0.5, broken={"gap": text})
    assert f"gave no number ({shown})" in to_markdown(found_of([GOOD, broken]))
