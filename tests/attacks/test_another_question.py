"""A question that is not membership runs through compress, compare and tune, with no word of it in the product."""

import numpy as np
import pytest
import torch
from tiny_comparison import Fresh, tiny_study
from tiny_tuning import job_of, tuning_of
from torch import nn
from toy_evasion import EVASION, Pgd

import safecompress as sc
from safecompress.attacks import MEMBERSHIP, Access, Loss, Tally, Target, simulate_attacker
from safecompress.certify import judged_parts
from safecompress.errors import AttackError
from safecompress.metrics.measurement import Levels
from safecompress.models import ModelSpec
from safecompress.spec import SafetySpec, at_most
from safecompress.studies.comparison import compare
from safecompress.studies.hyperparameters import tune
from safecompress.testing.fakes import noise_split

SPLIT = noise_split(40, other=40, num_features=6, num_classes=3)
MODEL = ModelSpec("mlp", {"hidden": (8,)}, (6,), 3)
RECIPE = sc.Recipe(epochs=20, batch_size=20, optimizer="adam", learning_rate=0.01)


def linear(scale):
    """Two classes by the sign of the first of two features."""
    model = nn.Linear(2, 2, bias=False)
    model.load_state_dict({"weight": torch.tensor([[scale, 0.0], [-scale, 0.0]])})
    return model


def result_of(pgd, model, rows):
    target = Target(model)
    attacker = simulate_attacker(pgd, target, rows, generator=np.random.default_rng(0))
    return attacker.test(target, rows, Levels())


def test_successes_are_counted_among_rows_that_were_right():
    features = torch.tensor([[0.05, 0.0], [0.5, 0.0], [-0.05, 0.0], [-0.5, 0.0], [0.05, 0.0]])
    rows = sc.data.AuditData(features, torch.tensor([0, 0, 1, 1, 1]), np.zeros(5, dtype=bool))  # the last is wrong
    result = result_of(Pgd(0.1), linear(1.0), rows)
    (rate,) = result.measurements
    assert (rate.name, rate.value, rate.num_samples) == ("pgd.success_rate", 0.5, 4)
    assert rate.interval.low < 0.5 < rate.interval.high < 1
    assert result.scores is None and result.epsilon is None


def test_a_model_that_is_right_of_nothing_gives_no_rate():
    rows = sc.data.AuditData(torch.tensor([[0.5, 0.0]]), torch.tensor([1]), np.zeros(1, dtype=bool))
    assert "No row counts" in result_of(Pgd(0.1), linear(1.0), rows).error


def test_a_tally_of_other_rows_is_an_error():
    class Short(Pgd):
        def fit(self, target, audit, *, generator):
            class Fitted:
                def tally(self, target, audit):
                    return Tally(np.ones(2, dtype=bool), np.ones(2, dtype=bool))

            return Fitted()

    rows = sc.data.AuditData(torch.zeros(3, 2), torch.tensor([0, 0, 1]), np.zeros(3, dtype=bool))
    assert "3 rows" in result_of(Short(), linear(1.0), rows).error
    with pytest.raises(AttackError):
        Tally(np.ones(2, dtype=bool), np.ones(3, dtype=bool))
    with pytest.raises(AttackError):
        Tally(np.ones(2), np.ones(2))


def test_the_change_of_a_rate_is_paired_by_row():
    hit, counted = np.array([1, 1, 0, 0], dtype=bool), np.array([1, 1, 1, 0], dtype=bool)
    before = Tally(np.array([1, 0, 0, 0], dtype=bool), np.ones(4, dtype=bool))
    (rise,) = EVASION.change("pgd", Tally(hit, counted), before, Levels())
    assert (rise.name, rise.num_samples) == ("pgd.success_rate.rise", 3) and rise.value == pytest.approx(1 / 3)
    with pytest.raises(AttackError):
        MEMBERSHIP.measure("pgd", before, Levels())


def test_a_bound_on_another_question_can_be_empty_too():
    """A success rate of at most 1 is one of every evasion."""
    for bound, bounded in ((1.0, set()), (0.4, {"pgd"})):
        assert SafetySpec([Pgd(0.3)], [at_most("pgd.success_rate", bound)]).bounded == bounded


def test_test_rows_that_judge_are_counted_by_the_ledger():
    spec = SafetySpec([Pgd(), Loss()], [at_most("pgd.success_rate", 0.9)])
    assert set(judged_parts(spec)) == {"test", "member_verdict", "nonmember_verdict"}


@pytest.mark.slow
def test_compress_measures_and_judges_it(tmp_path):
    spec = SafetySpec([Pgd(0.3), Loss()], [at_most("pgd.success_rate", 0.999), at_most("loss.auc", 0.95)])
    plan = sc.Plan(density=0.5, rounds=2)
    result = sc.compress(MODEL, SPLIT, spec=spec, recipe=RECIPE, plan=plan, out=tmp_path / "run")
    report = result.report
    rate = report.measurements["pgd.success_rate"]
    assert 0 < rate["value"] <= 1 and rate["num_samples"] <= SPLIT.size("test")
    assert "pgd.success_rate.rise" in report.measurements and "pgd.success_rate" in report.dense
    assert [finding["metric"] for finding in report.findings] == ["pgd.success_rate", "loss.auc"]
    assert all("pgd.success_rate" in c["metrics"] for r in report.rounds for c in r["candidates"])
    checked = {check["check"] for check in report.health if check["subject"] == "pgd"}
    assert checked == {"positive_control"}  # the others are of members against non-members
    page = (tmp_path / "run" / "report.html").read_text()
    assert "pgd.success_rate" in page


@pytest.mark.slow
def test_compare_and_tune_meet_it(tmp_path):
    study = tiny_study([Fresh()], attacks=(Pgd(0.3), Loss()), seeds=(0,))
    (cell,) = compare(study, tmp_path / "compared").results
    assert cell.error is None and 0 <= cell.figures["pgd.success_rate"]["value"] <= 1
    leak = max(cell.figures["loss.auc"]["value"], 0.5 + cell.figures["pgd.success_rate"]["value"] / 2)
    assert cell.worst_leak == pytest.approx(leak)
    assert cell.tm_score == pytest.approx(
        cell.figures["accuracy"]["value"]
        / max(cell.figures["loss.balanced_accuracy"]["value"], 0.5 + cell.figures["pgd.success_rate"]["value"] / 2, 0.5)
    )
    pytest.importorskip("optuna")
    found = tune(
        tuning_of(job_of(noise_split(20, other=20, num_features=6, num_classes=3)), attacks=(Pgd(0.3),)),
        tmp_path / "tuned",
    )
    assert all(trial.has_numbers and trial.worst_attack == "pgd" for trial in found.trials)
    assert Pgd().access == Access.WEIGHTS
