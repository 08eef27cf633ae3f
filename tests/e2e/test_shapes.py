"""Whole runs on digits in blocks and in units: what is kept; equal digests in a pool and after a crash; shadows."""

from contextlib import nullcontext
from dataclasses import replace

import pytest
import torch

import safecompress as sc
from safecompress.attacks.shadows import ShadowDraw
from safecompress.auditing.shadow_training import TrainingProvenance, shadow_rows
from safecompress.compression.job import Job
from safecompress.compression.search import RunStore, parse_branches
from safecompress.data import DATASETS, SplitSizes
from safecompress.export import TaskInfo
from safecompress.seeding import seeded
from safecompress.sparsity import Blocks, Start, Units
from safecompress.workflows import loading
from whole_runs import SIZES, digests_of, report_of, run_cli, write_spec

pytestmark = pytest.mark.slow

BRANCHES = ["magnitude+random", "threshold+random-unfired", "keep"]
SHAPES = {"block": {"name": "block", "width": 8}, "unit": "unit"}


def spec_of(path, shape, **changes):
    compress, search = {"density": 0.2, "shape": SHAPES[shape]}, {"rounds": 2, "branches": BRANCHES}
    return write_spec(path, recipe={"epochs": 6}, compress=compress, search=search, **changes)


def units_of(mask_of_rows, mask_of_columns):
    """Living units between two matrices; fails unless both masks are outer products."""
    for mask in (mask_of_rows, mask_of_columns):
        assert torch.equal(mask, mask.any(1)[:, None] & mask.any(0)[None, :])
    assert torch.equal(mask_of_rows.any(1), mask_of_columns.any(0))
    return int(mask_of_rows.any(1).sum())


@pytest.mark.parametrize("shape", SHAPES)
def test_a_run_keeps_its_shape_and_is_the_same_in_a_pool_and_after_a_crash(shape, tmp_path, monkeypatch, worker_pool):
    spec = spec_of(tmp_path / "spec.toml", shape)
    ended = run_cli("compress", spec, "--out", tmp_path / "run")
    assert ended.code in (0, 1, 3) and "Traceback" not in ended.err, ended.err
    digests, report = digests_of(tmp_path / "run"), report_of(tmp_path / "run")
    masks = sc.Artifact.load(tmp_path / "run" / "artifact.safetensors").masks
    body, head = masks["body.0.weight"], masks["head.weight"]
    if shape == "unit":
        assert units_of(body, head) == int(
            0.2 * 128
        )  # 64 inputs and 10 classes stay: the share of units is the density
    else:
        for mask in (body, head):
            blocks = mask.reshape(len(mask), -1, 8)
            assert torch.equal(blocks.all(2), blocks.any(2))
        assert abs(int(body.sum() + head.sum()) - round(0.2 * 74 * 128)) <= 4
    assert report["measurements"]["accuracy"]["value"] > 0.6

    with monkeypatch.context() as patched:
        patched.setattr(loading, "ProcessExecutor", lambda workers: nullcontext(worker_pool))
        run_cli("compress", spec, "--out", tmp_path / "pool", "--workers", 2)
    assert digests_of(tmp_path / "pool") == digests

    save, calls = RunStore.save_candidate, []

    def crash(store, name, candidate):
        calls.append(name)
        if len(calls) == 6:  # in the second round
            raise KeyboardInterrupt
        save(store, name, candidate)

    with monkeypatch.context() as patched:
        patched.setattr(RunStore, "save_candidate", crash)
        run_cli("compress", spec, "--out", tmp_path / "crashed")
    assert len(calls) == 6 and not (tmp_path / "crashed" / "report.json").exists()
    run_cli("compress", spec, "--out", tmp_path / "crashed")
    assert digests_of(tmp_path / "crashed") == digests


def test_a_spec_of_units_without_branches_is_told_which_work(tmp_path):
    spec = write_spec(tmp_path / "spec.toml", compress={"shape": "unit"})
    ended = run_cli("compress", spec, "--out", tmp_path / "run")
    assert ended.code == 2 and not (tmp_path / "run").exists()
    said = " ".join(ended.err.split())
    assert "Units() cannot grow" in said
    assert "'random' or 'random-unfired'" in said and 'branches = ["magnitude+random"' in said


@pytest.mark.parametrize(("shape", "start"), [(Blocks(), "scratch"), (Units(), "dense")], ids=str)
def test_the_api_takes_a_shape(shape, start, monkeypatch):
    """Without its health, which this is not about."""
    monkeypatch.setattr("safecompress.certify.verdict.train_control", lambda *_, **__: None)
    split = sc.make_split(DATASETS.make({"name": "digits", "image": True}), SplitSizes(**SIZES), seed=0)
    model = sc.ModelSpec("cnn", {"channels": (8, 12)}, (1, 8, 8), 10)
    plan = sc.Plan(density=0.3, rounds=2, branches=parse_branches(BRANCHES), shape=shape, rank=False)
    plan = replace(plan, start=Start(start))
    spec = sc.SafetySpec(["gap"], [sc.at_most("gap.auc", 0.9)], access="labels")
    recipe = sc.Recipe(epochs=3, optimizer="adam", learning_rate=0.01, weight_decay=0.0)
    masks = sc.compress(model, split, spec=spec, recipe=recipe, plan=plan).artifact.masks
    if shape == Units():
        rows, columns = masks["body.0.weight"], masks["body.4.weight"]
        assert torch.equal(rows.flatten(1).any(1), columns.any(0).flatten(1).any(1))
        assert columns.flatten(2).all(2).equal(columns.flatten(2).any(2))
    else:
        kernel = masks["body.4.weight"].reshape(12, -1, 4)  # 8 x 9 = 72 numbers a row; the first has 9 and no blocks
        assert torch.equal(kernel.all(2), kernel.any(2)) and not kernel.all()
    assert sum(int(mask.sum()) for mask in masks.values()) <= round(0.3 * sum(m.numel() for m in masks.values())) + 2


def test_shadows_of_the_whole_pipeline_have_the_shape_too():
    split = sc.make_split(DATASETS.make("digits"), SplitSizes(**SIZES), seed=0)
    model = sc.ModelSpec("mlp", {"hidden": (32,)}, (64,), 10)
    plan = sc.Plan(density=0.25, rounds=2, branches=parse_branches(["magnitude+random"]), shape=Units(), rank=False)
    with seeded(0, "model"):
        network = model.build()
    spec = sc.SafetySpec(["gap"], [sc.at_most("gap.auc", 0.9)], access="labels")
    recipe, task = sc.Recipe(epochs=2), TaskInfo(10, split.dataset.class_names, (64,))
    job = Job("shape", network, model, split, split, task, spec, recipe, recipe, plan, seed=0)
    rows = shadow_rows(split, "verdict", 0)
    draws = [ShadowDraw(number, torch.arange(number, 300 + number).numpy()) for number in range(2)]
    trainer = TrainingProvenance.of_job(job).trainer(sc.SparsityPattern({}), "full pipeline")
    shadows = trainer(rows, draws)
    for shadow in shadows:
        body, head = (shadow[f"network.{name}.weight"] != 0 for name in ("body.0", "head"))
        assert torch.equal(body.all(1), body.any(1)) and body.any(1).sum() == 8
        assert not head[:, ~body.any(1)].any()  # a unit that is silent on all rows may still be read by zeros
    assert not torch.equal(*(shadow["network.body.0.weight"] for shadow in shadows))
    blocks = replace(job, plan=replace(plan, shape=Blocks()))
    other = TrainingProvenance.of_job(blocks).trainer(sc.SparsityPattern({}), "full pipeline")
    assert other.digest() != trainer.digest()
