"""One cell: what is measured, on which rows, and what a failure leaves."""

import json
from dataclasses import dataclass

import pytest
import torch
from tiny_comparison import Broken, Fresh, Halved, made_up, tiny_study

from safecompress.attacks import Lira
from safecompress.attacks.private_cache import PrivateFolder
from safecompress.auditing.shadow_training import FixedMaskShadowTrainer, shadow_rows
from safecompress.compression.search import Plan
from safecompress.errors import StorageError
from safecompress.export import ServedModel
from safecompress.storage import Seal
from safecompress.studies.comparison import Cell, CellResult, MethodEntry, cell
from safecompress.studies.comparison.cell import CellStudy, measure_cell, trainer_of
from safecompress.studies.engine.runner import run_item
from safecompress.studies.methods import Method, MethodShadowTrainer, TrainingCache
from safecompress.studies.methods.plain import Dense
from safecompress.studies.methods.sparse import SafeCompress, Static
from safecompress.testing.fakes import NanAttack
from safecompress.training import classified_right


def measured(tmp_path, method, density=0.5, seed=0, **options):
    study = tiny_study([method], **options)
    return study, measure_cell(study, Cell(type(method).__name__, density, seed), PrivateFolder(tmp_path))


def test_accuracy_and_attacks_are_of_the_models_own_rows(tmp_path):
    study, result = measured(tmp_path, Fresh())
    rows = study.rows(0)
    model = study.method_inputs(result.cell, rows, TrainingCache()).fresh()
    right = classified_right(ServedModel(model, rows.task), *rows.raw.part("test"))
    assert result.value("accuracy") == right.mean()
    members, others = (
        classified_right(model, *rows.raw.part(f"{side}_verdict")).mean() for side in ("member", "nonmember")
    )
    assert abs(result.value("gap.auc") - 0.5) == pytest.approx(abs(members - others) / 2)
    assert result.figures["gap.auc"]["num_samples"] == 60
    assert result.has_numbers and set(result.seconds) == {"make", "shadows", "attacks"}


def test_the_tm_score_by_hand(tmp_path):
    _, result = measured(tmp_path, Dense(), density=1.0)
    worst = max(result.value(f"{attack}.balanced_accuracy") for attack in ("gap", "loss"))
    assert result.tm_score == result.value("accuracy") / max(0.5, worst)
    assert result.worst_leak == max(result.value("gap.auc"), result.value("loss.auc"))


def test_kept_values_count_active_weights_and_biases(tmp_path):
    assert measured(tmp_path, Fresh())[1].num_kept == 6 * 8 + 8 + 8 * 3 + 3
    assert measured(tmp_path, Halved())[1].num_kept == 6 * 4 + 8 + 8 * 3 + 3
    assert measured(tmp_path, Halved())[1].num_bytes < measured(tmp_path, Fresh())[1].num_bytes


def test_normalised_rows_are_asked_raw(tmp_path):
    """The model reads scaled rows, the attackers give raw ones: both ways must agree."""
    study, result = measured(tmp_path, Dense(), density=1.0, normalise="standard")
    rows = study.rows(0)
    dense = study.method_inputs(result.cell, rows, TrainingCache(PrivateFolder(tmp_path)))
    right = classified_right(dense.network(dense.dense()), *rows.split.part("test"))
    assert result.value("accuracy") == right.mean()


def test_the_same_cell_twice_and_another_seed(tmp_path):
    first, again, other = (measured(tmp_path / str(n), Static(), seed=seed)[1] for n, seed in enumerate((0, 0, 1)))
    assert first.digest() == again.digest() != other.digest()


@pytest.mark.slow
def test_attacks_by_shadows_see_shadows_of_the_whole_method(tmp_path):
    _, result = measured(tmp_path, Static(), attacks=("lira",), num_shadows=4)
    assert result.shadows == "full pipeline" and result.has_numbers
    assert result.seconds["shadows"] > 0
    _, cheaper = measured(tmp_path, Static(), attacks=("lira",), num_shadows=4, shadows="final pattern")
    assert cheaper.shadows == "final pattern only"
    assert cheaper.value("lira.auc") != result.value("lira.auc")


@pytest.mark.slow
def test_lira_is_judged_by_the_larger_of_label_and_all_classes_with_the_same_shadows(tmp_path, monkeypatch):
    drawn, make = [], cell.trainer_of

    def counted(*arguments):
        trainer = make(*arguments)

        class Counting:
            mode, group_size, digest, build = trainer.mode, trainer.group_size, trainer.digest, trainer.build

            def __call__(self, rows, draws):
                drawn.extend(draw.number for draw in draws)
                return trainer(rows, draws)

        return Counting()

    monkeypatch.setattr(cell, "trainer_of", counted)
    _, result = measured(tmp_path, Static(), attacks=("loss", "lira"), num_shadows=4)
    assert sorted(drawn) == [0, 1, 2, 3]
    assert set(result.apart) == {"lira", "lira, signal = 'all'"}
    found = [figure["value"] for figure in result.apart.values()]
    assert found[0] != found[1] and result.value("lira.auc") == max(found)
    assert result.figures["lira.auc"]["high"] == max(figure["high"] for figure in result.apart.values())
    assert result.worst_leak == max(result.value("loss.auc"), *found)
    assert CellResult.from_json(json.loads(json.dumps(result.to_json()))) == result


@pytest.mark.parametrize(
    ("method", "mode", "kind"),
    [
        (Static(), "final pattern", FixedMaskShadowTrainer),
        (Static(), "full pipeline", MethodShadowTrainer),
        (SafeCompress(plan=Plan(rounds=1, branches=("keep+relax_loss",))), "final pattern", MethodShadowTrainer),
        (Dense(), "final pattern", MethodShadowTrainer),
        (Halved(), "final pattern", MethodShadowTrainer),
    ],
)
def test_only_a_search_whose_pattern_tells_all_is_shadowed_by_its_pattern(method, mode, kind):
    study = tiny_study([method])
    setting = study.method_inputs(Cell("", 0.5, 0), study.rows(0), TrainingCache())
    assert type(trainer_of(MethodEntry("it", method), method.make(setting), setting, mode)) is kind


def test_a_broken_attack_leaves_no_worst_and_no_tm_score(tmp_path):
    _, result = measured(tmp_path, Fresh(), attacks=("loss", NanAttack()))
    assert list(result.broken) == ["nan"] and "not finite" in result.broken["nan"]
    assert result.worst_leak is None and result.tm_score is None and not result.has_numbers
    assert 0 < result.value("loss.auc") < 1


@pytest.mark.parametrize(
    ("how", "text"),
    [
        ("error", "TrainingError: It diverged."),
        ("bug", "ZeroDivisionError: somebody's bug"),
        ("nan", "TrainingError: The weights of body.0.weight, body.0.bias, "),
    ],
)
def test_a_method_that_fails_leaves_its_reason(how, text, tmp_path):
    method = Broken(how)
    path = tmp_path / "cell.json"
    result = run_item(CellStudy(tiny_study([method])), tmp_path / "cache", Seal(b"k"), (Cell("Broken", 0.5, 0), path))
    assert result.error.startswith(text)
    assert not result.has_numbers and result.figures == {}
    assert CellResult.from_json(json.loads(path.read_text())["content"]) == result


@dataclass(frozen=True)
class FullDisk(Method):
    source = "nobody"

    def make(self, setting):
        raise StorageError("no room")


def test_a_disk_that_refuses_is_not_the_methods_fault(tmp_path):
    work = Cell("FullDisk", 0.5, 0), tmp_path / "cell.json"
    with pytest.raises(StorageError):
        run_item(CellStudy(tiny_study([FullDisk()])), tmp_path, Seal(b"k"), work)


def test_threads_are_as_before_afterwards(tmp_path):
    before = torch.get_num_threads()
    study = tiny_study([Broken()])
    object.__setattr__(study, "threads", before + 1)
    run_item(CellStudy(study), tmp_path, Seal(b"k"), (Cell("Broken", 0.5, 0), tmp_path / "cell.json"))
    assert torch.get_num_threads() == before


def test_a_result_survives_its_file_and_its_digest_leaves_out_seconds():
    result = made_up("a", 0.1, 3, 0.9, 0.6, seconds={"make": 1.0}, notes=("n",))
    slower = made_up("a", 0.1, 3, 0.9, 0.6, seconds={"make": 2.0}, notes=("n",))
    assert CellResult.from_json(json.loads(json.dumps(result.to_json()))) == result
    assert result.digest() == slower.digest() != made_up("a", 0.1, 3, 0.9, 0.61, notes=("n",)).digest()


def test_an_infinite_epsilon_is_no_number(tmp_path):
    result = measured(tmp_path, Fresh(epsilon=float("inf")))[1]
    assert result.epsilon is None and "infinite" in result.notes[0]
    assert measured(tmp_path, Fresh(epsilon=8.0))[1].epsilon == 8.0


def test_lira_options_reach_the_attack():
    study = tiny_study([Fresh()], attacks=("lira", "rmia"), num_shadows=6)
    assert [attack.num_shadows for attack in study.comparison.attackers] == [6, 6]
    given = tiny_study([Fresh()], attacks=(Lira(num_shadows=10),), num_shadows=6).comparison.attackers
    assert given == (Lira(num_shadows=10),)


@pytest.mark.parametrize(("method", "size"), [(Halved(), 150), (Fresh(), 180)])
def test_reference_rows_are_in_no_shadows_draw(method, size, monkeypatch, tmp_path):
    """Train, the non-members of fit and verdict, and the population only where the method does not train on it."""
    pools = []

    def kept(*args, **options):
        pools.append(shadow_rows(*args, **options))
        return pools[-1]

    monkeypatch.setattr(cell, "shadow_rows", kept)
    measured(tmp_path, method)
    assert [len(pool.labels) for pool in pools] == [size]
