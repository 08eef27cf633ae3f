"""Asking: the same answers lead to the same questions, and answers matter."""

import sys

import pytest
from tiny_tuning import SPACE

from safecompress.errors import UsageError
from safecompress.studies.hyperparameters.sampler import INSTALL, OptunaSampler

pytest.importorskip("optuna")


def asked(sampler, seed, answer, batches=8, batch=3):
    asker, choices = OptunaSampler(SPACE, sampler, seed), []
    for _ in range(batches):
        choices += (new := asker.ask(batch))
        asker.tell([answer(choice) for choice in new])
    return choices


def honest(choice):
    return choice.density, 0.5 + choice.density / 2


@pytest.mark.slow
@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_the_same_answers_lead_to_the_same_questions(sampler):
    assert asked(sampler, 0, honest) == asked(sampler, 0, honest)
    assert asked(sampler, 0, honest) != asked(sampler, 1, honest)


def test_other_answers_lead_to_other_questions_after_ten():
    there, back = asked("tpe", 0, honest), asked("tpe", 0, lambda choice: (1 - choice.density, choice.density))
    assert there[:10] == back[:10] and there != back


def test_random_asks_whatever_it_is_told():
    assert asked("random", 0, honest) == asked("random", 0, lambda choice: None)


def test_the_sampler_goes_where_both_figures_are_better():
    """Accuracy rises and leakage falls towards sparse: later questions lie lower than the first ten."""
    densities = [c.density for c in asked("tpe", 0, lambda c: (1 - c.density, 0.5 + c.density / 2), batches=14)]
    assert sum(densities[-12:]) / 12 < sum(densities[:10]) / 10 - 0.1


def test_trials_without_numbers_are_told_too():
    asker = OptunaSampler(SPACE, "tpe", 0)
    for _ in range(6):
        asker.ask(2)
        asker.tell([None, (0.5, 0.6)])
    assert 0.2 <= asker.ask(1)[0].density <= 0.8


def test_every_question_needs_its_answer():
    asker = OptunaSampler(SPACE, "random", 0)
    asker.ask(2)
    with pytest.raises(ValueError, match="shorter"):
        asker.tell([(0.5, 0.5)])


def test_a_longer_search_begins_as_the_shorter():
    assert asked("tpe", 0, honest, batches=8)[:15] == asked("tpe", 0, honest, batches=5)


def test_without_optuna_it_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(UsageError) as caught:
        OptunaSampler(SPACE, "tpe", 0)
    assert str(caught.value) == INSTALL and "pip install optuna" in INSTALL


def test_optunas_own_log_level_is_left_as_it_was():
    import optuna

    before = optuna.logging.get_verbosity()
    OptunaSampler(SPACE, "tpe", 0)
    assert optuna.logging.get_verbosity() == before
