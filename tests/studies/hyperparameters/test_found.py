"""What a search leaves: its front, its course, and a document of plain data."""

import json

import pytest
from tiny_tuning import found_of, made_up

from safecompress.studies.hyperparameters import TrialParams, TrialResult


def choice(density):
    return TrialParams(density, "relax_loss", "keep", 0.01)


SAFE, GOOD, BEATEN = made_up(choice(0.2), 0.6, 0.52), made_up(choice(0.4), 0.9, 0.6), made_up(choice(0.3), 0.8, 0.7)
FAILED = TrialResult(choice(0.5), error="TrainingError: it diverged")
LUCKY = made_up(choice(0.6), 0.99, 0.5, broken={"gap": "crashed"})


def test_the_front_is_by_rising_leak_and_knows_no_trial_without_numbers():
    assert found_of([GOOD, BEATEN, FAILED, SAFE, LUCKY]).front == (3, 0)


def test_of_equal_settings_the_first_is_on_the_front():
    assert found_of([BEATEN, GOOD, GOOD, SAFE, GOOD]).front == (3, 1)


def test_of_equal_figures_both_are():
    twin = made_up(choice(0.7), 0.9, 0.6)
    assert found_of([GOOD, twin]).front == (0, 1)


def test_leaks_under_guessing_are_equal():
    lucky, better = made_up(choice(0.2), 0.6, 0.45), made_up(choice(0.3), 0.7, 0.49)
    assert found_of([lucky, better]).front == (1,)


def test_the_hypervolume_after_each_trial():
    found = found_of([FAILED, BEATEN, GOOD, SAFE])
    assert found.hypervolumes == pytest.approx([0, 0.48, 0.72, (0.6 * 0.48 + 0.3 * 0.4) / 0.5])


def test_where_to_begin_is_the_highest_tm_score():
    assert SAFE.tm_score < GOOD.tm_score
    assert found_of([GOOD, SAFE]).likeliest == 2
    assert found_of([FAILED]).likeliest is None


@pytest.mark.parametrize(("trials", "code"), [([FAILED, SAFE], 0), ([FAILED, LUCKY], 3)])
def test_exit_codes(trials, code):
    assert found_of(trials).exit_code == code


def test_the_document_is_plain_data():
    found = found_of([GOOD, FAILED, SAFE])
    document = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert document["front"] == [3, 1] and document["trials"][1]["error"] == FAILED.error
    assert document["trials"][0]["choice"]["density"] == 0.4 and document["exit_code"] == 0
