"""What a run would cost: counted as it will be done, measured by a few of its own steps, and without training it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import tomli_w
import torch
from torch import nn

from safecompress.compression.job import Job
from safecompress.compression.search import Plan
from safecompress.config import parse_config
from safecompress.errors import UsageError
from safecompress.training import Recipe
from safecompress.workflows.estimate import _activations, _share, estimate
from safecompress.workflows.loading import load_rows, make_job
from whole_runs import TINY, run_cli


def small_job(**changes: object) -> Job:
    """The job of a spec that takes half a second."""
    config = parse_config(tomli_w.dumps(TINY), base=Path(), source="tiny.toml")
    return replace(make_job(config, load_rows(config), None, "cpu"), **changes)


def test_steps_are_those_that_a_run_takes() -> None:
    recipe = Recipe(epochs=4, batch_size=50)
    job = small_job(recipe=recipe, dense_recipe=recipe, plan=Plan(rounds=2, recovery=0.5, density=0.2))
    found = estimate(job)
    total = 4 * -(-job.split.size("train") // 50)
    steps = {phase.name: phase.steps for phase in found.phases}
    rounds = [job.plan.round_steps(number, total) for number in range(2)]
    tuned = sum(end - begin for begin, end in rounds)
    assert steps["dense"] == total and steps["sparse"] == total - tuned
    assert steps["candidates"] == tuned * len(job.plan.branches)
    assert found.num_active == round(0.2 * found.num_maskable)
    assert found.step_seconds > 0 and all(phase.seconds >= 0 for phase in found.phases)
    json.dumps(found.to_json(), allow_nan=False)


def test_dense_weights_that_are_given_are_not_trained() -> None:
    job = small_job()
    job = replace(job, dense=job.model.state_dict())
    assert {phase.name: phase.steps for phase in estimate(job).phases}["dense"] == 0


def test_more_workers_share_candidates_in_whole_turns() -> None:
    assert _share(5, 1) == 1 and _share(5, 2) == 5 / 3 and _share(4, 8) == 4 and _share(0, 2) == 1


def test_activations_by_hand() -> None:
    model = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
    assert _activations(model, torch.ones(10, 4)) == 4 * (10 * 4 + 10 * 3)  # both layers' inputs; ReLU keeps its output


def test_what_a_run_would_refuse_is_refused() -> None:
    with pytest.raises(UsageError):
        estimate(small_job(plan=Plan(rounds=500)))


@pytest.mark.slow
def test_the_command_trains_and_writes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("tiny.toml").write_text(tomli_w.dumps({**TINY, "scale": {"half": {"recipe": {"epochs": 6}}}}))
    ended = run_cli("compress", "tiny.toml", "--dry-run", "--scale", "half", "--density", "0.1")
    assert ended.code == 0 and "tiny-half-0.1" in ended.out and "Nothing was trained" in ended.out
    assert "gap.auc" in ended.out and [path.name for path in tmp_path.iterdir()] == ["tiny.toml"]
    told = json.loads(run_cli("compress", "tiny.toml", "--dry-run", "--json").out)
    assert told["rows"]["train"] == 450 and {"dense", "sparse", "verdict"} <= {p["phase"] for p in told["phases"]}
    assert run_cli("compress", "tiny.toml", "--dry-run", "--scale", "third").code == 2
