"""The whole comparison: resumed, grown, in workers, with methods that fail."""

import json
import stat
from collections import Counter
from dataclasses import replace

import pytest
from filelock import FileLock
from tiny_comparison import Broken, Fresh, Halved, tiny_study

from safecompress.errors import RunFolderError, UsageError
from safecompress.studies.comparison import CellResult, MethodEntry, compare
from safecompress.studies.engine import runner
from safecompress.studies.engine.runner import run_item
from safecompress.studies.methods import TrainingCache
from safecompress.studies.methods.plain import Dense
from safecompress.studies.methods.sparse import Static


@pytest.fixture
def made(monkeypatch):
    """The cells that were made, in order."""
    cells = []

    def counted(study, cache, seal, work):
        cells.append(work[0])
        return run_item(study, cache, seal, work)

    monkeypatch.setattr(runner, "run_item", counted)
    return cells


def cell_files(folder):
    return {path: path.read_bytes() for path in (folder / "cells").iterdir()}


@pytest.mark.slow
def test_a_second_run_makes_nothing_and_ends_the_same(made, tmp_path):
    study = tiny_study([Fresh(), Halved()])
    first = compare(study, tmp_path)
    assert len(made) == 4
    files, page = cell_files(tmp_path), (tmp_path / "compare.md").read_bytes()
    made.clear()
    assert compare(study, tmp_path).results == first.results
    assert made == [] and cell_files(tmp_path) == files
    assert (tmp_path / "compare.md").read_bytes() == page


@pytest.mark.slow
def test_only_the_cell_whose_file_is_gone_is_made_again(made, tmp_path):
    study = tiny_study([Fresh(), Halved()])
    compare(study, tmp_path)
    path = next(
        p for p, text in cell_files(tmp_path).items() if json.loads(text)["content"]["cell"]["label"] == "Halved"
    )
    lost = CellResult.from_json(json.loads(path.read_text())["content"])
    path.unlink()
    (tmp_path / "cells" / f".{path.name}.{0:016x}.part").write_text("half of a ce")  # as a killed process leaves it
    made.clear()
    compare(study, tmp_path)
    assert made == [lost.cell]
    assert CellResult.from_json(json.loads(path.read_text())["content"]).digest() == lost.digest()
    assert list((tmp_path / "cells").glob(".*")) == []


@pytest.mark.slow
def test_a_method_or_a_seed_more_makes_only_what_is_missing(made, tmp_path):
    compare(tiny_study([Fresh()]), tmp_path)
    made.clear()
    grown = compare(tiny_study([Fresh(), Halved()], seeds=(0, 1, 2)), tmp_path)
    assert Counter(cell.label for cell in made) == {"Fresh": 1, "Halved": 3}
    assert [str(result.cell) for result in grown.results][:3] == [f"Fresh, density 0.5, seed {s}" for s in (0, 1, 2)]


@pytest.mark.slow
def test_a_dense_method_is_made_once_a_seed_at_any_density(made, tmp_path):
    compare(tiny_study([Fresh(), MethodEntry("big", Fresh(dense=True))], densities=(0.5, 0.2, 0.1)), tmp_path)
    assert Counter((cell.label, cell.density) for cell in made if cell.label == "big") == {("big", 1.0): 2}
    assert [cell.label for cell in made[:2]] == ["big", "big"] and len(made) == 2 + 6


@pytest.mark.slow
def test_the_dense_model_of_a_seed_is_trained_once_for_all(monkeypatch, tmp_path):
    kept, keep = [], TrainingCache.keep

    def counted(self, name, tensors):
        kept.append(name)
        keep(self, name, tensors)

    monkeypatch.setattr(TrainingCache, "keep", counted)
    compare(tiny_study([Dense(), MethodEntry("again", Dense())], seeds=(0,)), tmp_path)
    assert len(kept) == 1


def test_two_workers_find_what_one_finds(tmp_path, worker_pool):
    study = tiny_study([Dense(), Static(), Fresh()], attacks=("loss", "lira"), num_shadows=4)
    alone = compare(study, tmp_path / "alone")
    together = compare(study, tmp_path / "together", executor=worker_pool)
    assert [r.digest() for r in alone.results] == [r.digest() for r in together.results]
    assert alone.exit_code == 0 and all(r.shadows == "full pipeline" for r in alone.results)


@pytest.mark.slow
def test_a_method_that_fails_lets_the_others_go_on_and_is_tried_again(made, tmp_path):
    study = tiny_study([Broken(), Fresh()])
    compared = compare(study, tmp_path)
    assert compared.exit_code == 3
    assert [r.error for r in compared.results] == ["TrainingError: It diverged. Lower the rate."] * 2 + [None] * 2
    page = (tmp_path / "compare.md").read_text()
    assert "Broken ✗" in page and "- Broken, density 0.5, seed 1: TrainingError" in page
    made.clear()
    compare(study, tmp_path)
    assert Counter(cell.label for cell in made) == {"Broken": 2}


@pytest.mark.slow
def test_the_document_holds_every_cell_the_spec_and_no_row(tmp_path):
    study = tiny_study([Fresh()])
    compared = compare(study, tmp_path, name="n", spec_tables={"compare": {"methods": ["x"]}})
    document = json.loads((tmp_path / "compare.json").read_text())
    assert document["name"] == "n" and document["exit_code"] == 0
    assert document["spec"] == {"compare": {"methods": ["x"]}}
    assert [cell["digest"] for cell in document["cells"]] == [result.digest() for result in compared.results]
    assert document["split"]["parts"]["train"]["rows"] == 90
    assert {"torch", "numpy", "python", "safecompress", "machine", "threads"} <= set(document["environment"])
    assert "scores" not in (tmp_path / "compare.json").read_text()


@pytest.mark.slow
def test_what_is_private_is_readable_by_its_owner_only(tmp_path):
    compare(tiny_study([Dense()]), tmp_path)
    assert stat.S_IMODE((tmp_path / "cache").stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "study.key").stat().st_mode) == 0o600


@pytest.mark.slow
def test_a_cache_elsewhere_serves_another_folder(tmp_path):
    compare(tiny_study([Dense()]), tmp_path / "a", cache=tmp_path / "cache")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "cache").glob("*.safetensors")}
    compare(tiny_study([Dense()]), tmp_path / "b", cache=tmp_path / "cache")
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "cache").glob("*.safetensors")} == before
    assert len(before) == 2 and not (tmp_path / "b" / "cache").exists()


@pytest.mark.slow
def test_folders_that_cannot_be_used(tmp_path):
    study = tiny_study([Fresh()])
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "job.json").write_text("{}")
    with pytest.raises(RunFolderError, match="run of compress"):
        compare(study, tmp_path / "run")
    (tmp_path / "busy").mkdir()
    with FileLock(tmp_path / "busy" / ".lock"), pytest.raises(RunFolderError, match="Another process"):
        compare(study, tmp_path / "busy")
    compare(study, tmp_path / "bad")
    path = next(iter(cell_files(tmp_path / "bad")))
    path.write_text("{}")
    compare(study, tmp_path / "bad")  # made anew
    assert json.loads(path.read_text())["content"]["cell"]


def test_nothing_is_left_behind_by_what_is_refused(tmp_path):
    with pytest.raises(UsageError):
        compare(replace(tiny_study([Fresh()]), threads=0), tmp_path / "new")
    assert not (tmp_path / "new").exists()


@pytest.mark.slow
def test_who_watches_hears_of_every_cell(tmp_path):
    lines = []

    class Watcher:
        def begin(self, phase, total):
            lines.append(f"{phase} {total}")

        def advance(self, steps=1):
            lines.append("+")

        def say(self, line):
            lines.append(line)

    study = tiny_study([Fresh(), Broken()], seeds=(0,))
    compare(study, tmp_path, progress=Watcher())
    assert lines[0] == "cells 2" and lines.count("+") == 2
    assert lines[2].startswith("Fresh, density 0.5, seed 0: accuracy 0.")
    assert lines[4].startswith("Broken, density 0.5, seed 0: failed (TrainingError")
    lines.clear()
    compare(study, tmp_path, progress=Watcher())
    assert lines[:2] == ["1 of 2 cells are there already", "cells 1"]
