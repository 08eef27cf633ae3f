"""Does a weak attack choose another model than a strong one, and what does the choice cost?

Candidates are whole trainings at one density that differ in how they rewire. The weak attacker (confidence) and the
strong one (LiRA with shadows trained into each candidate's pattern) both look at the selection pool and name the safest
candidate; the verdict pool, with shadows drawn anew, says what each choice really leaks.

    python benchmarks/weak_and_strong.py --root DIR
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import common
import torch

from attacks import MODEL, RECIPE
from safecompress import api, stats
from safecompress.attacks import Attack, AttackResult, Confidence, Lira, Target, simulate_attacker
from safecompress.attacks.shadows import ShadowModels
from safecompress.data import DataSplit, location30, make_split
from safecompress.deploy import Served, TaskInfo
from safecompress.measure import Levels
from safecompress.search import Branch, Plan, ProcessExecutor
from safecompress.seeding import derive
from safecompress.shadowing import FinalPattern, shadow_rows
from safecompress.sparsity import SparsityPattern
from safecompress.spec import SafetySpec, at_most

BRANCHES = ("magnitude+random", "magnitude+gradient", "threshold+random", "threshold+gradient", "keep")
ATTACKS: tuple[Attack, ...] = (Confidence(), Lira(num_shadows=16))
DENSITY = 0.1


def candidate(split: DataSplit, seed: int, branch: str) -> tuple[str, dict[str, torch.Tensor], Mapping[str, Any]]:
    """The artifact's weights and masks after a whole training in which ``branch`` rewires every round."""
    torch.set_num_threads(1)
    plan = Plan(density=DENSITY, branches=(Branch.parse(branch),))
    spec = SafetySpec([Confidence()], [at_most("confidence.auc", 0.99)])
    result = api.compress(MODEL, split, spec=spec, recipe=RECIPE, plan=plan, seed=seed)
    return branch, dict(result.artifact.state), result.artifact.masks


def one_seed(split: DataSplit, seed: int, pool: ProcessExecutor) -> dict[str, Any]:
    """AUCs on the selection pool for every candidate, and on the verdict pool for the two that are picked."""
    task = TaskInfo(30, split.dataset.class_names, (446,))
    made = {branch: (state, masks) for branch, state, masks in pool.map(partial(candidate, split, seed), BRANCHES)}

    def attacked(branch: str, where: str) -> dict[str, AttackResult]:
        state, masks = made[branch]
        network = api.build(MODEL, seed)
        network.load_state_dict(state)
        trainer = FinalPattern.of(network, MODEL, task, RECIPE, pattern=SparsityPattern(masks))
        shadows = ShadowModels(shadow_rows(split, where, seed), trainer, run=pool.map)
        target = Target(Served(network, task), shadows=shadows)
        results = {}
        for attack in ATTACKS:
            generator = derive(seed, "weak and strong", where, attack.name)
            attacker = simulate_attacker(attack, target, split.audit("fit"), generator=generator)
            results[attack.name] = attacker.test(target, split.audit(where), Levels())
        return results

    found: dict[str, dict[str, float]] = {}
    for branch in BRANCHES:
        found[branch] = {name: _auc(result) for name, result in attacked(branch, "select").items()}
        print(seed, branch, found[branch], flush=True)
    picks = {name: min(found, key=lambda branch: found[branch][name]) for name in ("confidence", "lira")}
    ours, theirs = (attacked(picks[name], "verdict")["lira"] for name in ("confidence", "lira"))
    difference = stats.auc_difference(ours.scores, theirs.scores, ours.is_member, 0.05)  # type: ignore[arg-type]
    return {
        "seed": seed,
        "candidates": found,
        "picks": picks,
        "cost": {"auc": difference.value, "low": difference.interval.low, "high": difference.interval.high},
    }


def _auc(result: AttackResult) -> float:
    assert result.scores is not None and result.is_member is not None, result.error
    return stats.auc(result.scores, result.is_member)


def main(root: Path) -> None:
    """Three seeds, and a page."""
    dataset = location30(root)
    with ProcessExecutor(2) as pool:
        results = [one_seed(make_split(dataset, seed=seed), seed, pool) for seed in (0, 1, 2)]
    sections = []
    for result in results:
        columns = ("confidence", "lira")
        rows = [[b, *(f"{entry[c]:.3f}" for c in columns)] for b, entry in result["candidates"].items()]
        picks, cost = result["picks"], result["cost"]
        sections.append(
            f"## Seed {result['seed']}\n\n{common.table(['candidate', *columns], rows)}\n"
            f"The weak attack picks **{picks['confidence']}**, the strong one **{picks['lira']}**. By LiRA on the "
            f"verdict rows the weak attack's pick leaks {cost['auc']:+.3f} AUC [{cost['low']:+.3f}, "
            f"{cost['high']:+.3f}] more than the strong one's.\n"
        )
    advice = (
        "What to do about it: let the cheap tests thin the field and never decide it. Name attacks of tier 1 in the "
        "spec, so that finalists meet them; read the rank correlation that every report prints; where it is low, or "
        "where the candidates are few and final, judge each by LiRA on the selection pool before one is released, and "
        "certify the one chosen on verdict rows that neither choice has seen.\n"
    )
    page = (
        "# A weak attacker picks another candidate\n\n"
        "Location-30, density 0.1, AUCs on the selection rows; lower is safer.\n\n"
    )
    command = "python benchmarks/weak_and_strong.py --root DIR"
    common.save("weak-and-strong", command, results, page + "\n".join(sections) + "\n" + advice)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--root", type=Path, required=True)
    main(parser.parse_args().root)
