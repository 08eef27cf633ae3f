"""Weights that a run did not train itself: where they came from, and whether they know rows that nobody may have seen.

N rows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import ndtri
from torch import Tensor, nn

from safecompress.auditing.members import prove_unseen
from safecompress.certify.health import DECISIVE, LARGEST_GAP, HealthCheck
from safecompress.compression.job import Job
from safecompress.seeding import derive_seed
from safecompress.sparsity import Start
from safecompress.spec import Verdict
from safecompress.training import TrainingState, classified_right, predict_logits

ROWS = 2000
"""Most rows of each side that are asked about."""

HELD_OUT = ("validation", "nonmember_fit", "nonmember_select", "population")
"""Parts that no training may have seen; those that judge are left alone."""

DRAWS = 3
"""Fresh networks that a module must be far better than, to count as trained."""

LEARNED = 0.8
"""A module counts as trained when its loss on train rows is below this share of a fresh one's, and of chance."""

NAME, SUBJECT = "given_weights", "target"

Bools = NDArray[np.bool_]


def check_given_weights(job: Job, train_fresh: Callable[[], TrainingState]) -> tuple[HealthCheck, ...]:
    """Whether weights from elsewhere, which what ships is made of or compared with, have seen train rows alone.

    None where the run trains all weights itself. PASS where a file of members or a run folder proves it; else
    INCONCLUSIVE, whatever the access, and the weights are compared with those of ``train_fresh``, a dense model that
    was trained here, on rows that nobody may have seen. Raises ArtifactError where a file proves the contrary.
    """
    source = source_of(job)
    if source is None:
        return ()
    proof = None if job.weights_path is None else prove_unseen(job.weights_path, job.raw)
    if proof is not None:
        detail = f"{source} are not of this run; {proof} proves that they have seen no row outside train."
        return (HealthCheck(NAME, SUBJECT, Verdict.PASS, None, detail),)
    given = job.scratch()
    if job.dense is not None:
        given.load_state_dict(dict(job.dense))
    fresh = job.scratch()
    train_fresh().restore_(fresh)
    train, held_out = job.split.part("train", ROWS), _held_out(job)
    return (compare_knowledge(source, *(_rights([given, fresh], rows) for rows in (train, held_out))),)


def source_of(job: Job) -> str | None:
    """Where weights came from that this run did not train, in words; None where it trains all that matters."""
    if job.dense is not None and _reads_dense(job):
        where = "given in memory" if job.weights_path is None else f"from {job.weights_path.name}"
        return f"the dense weights, {where},"
    return "the weights of the module, which was trained before," if is_trained(job) else None


def is_trained(job: Job) -> bool:
    """Whether the user's own module has learned the train rows already."""
    if job.model_spec is not None:
        return False
    features, labels = job.split.part("train", ROWS)
    shares = torch.bincount(labels).double() / len(labels)
    chance = float(torch.special.entr(shares).sum())
    models = [job.fresh(derive_seed(job.seed, "fresh", number)) for number in range(DRAWS)]
    own, *others = (_loss(model.to(job.device), features, labels) for model in (job.scratch(), *models))
    return own < LEARNED * min(chance, *others)


def compare_knowledge(source: str, right_on_train: Sequence[Bools], right_outside: Sequence[Bools]) -> HealthCheck:
    """INCONCLUSIVE: nothing proves the ``source``; ``value`` is its lead over a fresh model on rows outside train.

    Each argument has the given model's answers and the fresh one's: whether each row (N,) is right.
    """
    (given_train, fresh_train), (given_out, fresh_out) = right_on_train, right_outside
    lead_N = given_out.astype(np.float64) - fresh_out
    value, reach = float(lead_N.mean()), -float(ndtri(DECISIVE / 2))
    noise = reach * float(lead_N.std(ddof=1)) / len(lead_N) ** 0.5
    seen = (
        f"{source} are right on {given_out.mean():.1%} of {len(lead_N)} rows outside train and "
        f"{given_train.mean():.1%} of train rows, a fresh model by this run's recipe on {fresh_out.mean():.1%} and "
        f"{fresh_train.mean():.1%}"
    )
    smaller_gap = given_train.mean() - given_out.mean() < fresh_train.mean() - fresh_out.mean()
    if value > LARGEST_GAP + noise and smaller_gap:
        detail = (
            f"{seen}: they know rows that no training may have seen, or began with weights that know more than these "
            "rows. Then nobody can tell members from others, and no figure says what leaks. Train the dense model in "
            "this run, or on train rows alone."
        )
    else:
        detail = (
            f"{seen}. No row outside train shows, but nothing proves what they were trained on. Train the dense model "
            "in this run; or write down its rows where it is trained (safecompress members dense.safetensors --rows "
            "TRAIN.npz) and give that file."
        )
    return HealthCheck(NAME, SUBJECT, Verdict.INCONCLUSIVE, value, detail)


def _reads_dense(job: Job) -> bool:
    """Whether what ships is made from the dense weights, or judged by them."""
    is_compared = any(requirement.is_change() for requirement in job.spec.requirements)
    return job.plan.start == Start.DENSE or job.asks_dense or is_compared


def _held_out(job: Job) -> tuple[Tensor, Tensor]:
    parts = [job.split.part(part, ROWS) for part in HELD_OUT]
    features, labels = (torch.cat(side) for side in zip(*parts, strict=True))
    return features[:ROWS], labels[:ROWS]


def _rights(models: Sequence[nn.Module], labelled: tuple[Tensor, Tensor]) -> list[Bools]:
    return [classified_right(model, *labelled) for model in models]


def _loss(model: nn.Module, features: Tensor, labels: Tensor) -> float:
    return float(nn.functional.cross_entropy(predict_logits(model, features).double(), labels))
