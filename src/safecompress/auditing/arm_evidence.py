"""How much an arm leaks to strong attackers, before it is chosen: LiRA among repeats of it, on rows for choosing.

Every repeat trains the arm by its whole pipeline on the train rows without the members for choosing, and on a random
half of all rows for choosing. Each repeat is a target once, and the others are its shadow models. Halves are drawn
apart from one another: were they balanced, the others' rows would say which ones the target has. No row of the verdict
and no model of the verdict takes part.
"""

# R repeats, S rows for choosing, C classes.

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import t as student_t
from torch import Tensor

from safecompress.attacks.evidence import Ranking
from safecompress.attacks.membership import likelihood
from safecompress.attacks.private_cache import PrivateFolder
from safecompress.attacks.questions import MEMBERSHIP
from safecompress.attacks.shadows import OrderedMap
from safecompress.attacks.signals import Floats, Signals
from safecompress.auditing.shadow_training import fresh_network
from safecompress.compression.arms.choose import ArmEvidence, ExpectedFigure
from safecompress.compression.arms.train import train_unattended
from safecompress.compression.job import Job
from safecompress.data import DataSplit, unit_ids
from safecompress.digests import digest_json, digest_tensors
from safecompress.metrics import stats
from safecompress.metrics.measurement import Levels, Measurement
from safecompress.seeding import derive, derive_seed
from safecompress.training import predict_logits
from safecompress.training.dynamic import SparseState

Bools = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Repeat:
    """One repeat of several arms on the same rows and first weights; it is what a worker receives."""

    jobs: tuple[Job, ...]
    select: NDArray[np.int64] = field(repr=False)
    store: PrivateFolder | None = field(default=None, repr=False)

    def logits(self) -> list[Tensor]:
        """Of each arm, the logits (S, C) of the rows for choosing; kept by content, as are sub-models."""
        return [self._logits_of(job) for job in self.jobs]

    def _logits_of(self, job: Job) -> Tensor:
        name = self._name(job) if self.store is not None else ""
        kept = self.store.load(name) if self.store is not None else None
        if kept is not None:
            return kept["logits"]
        trained: SparseState = train_unattended(job, store=self.store)
        network = job.scratch()
        network.load_state_dict(trained.state.model)
        logits_SC = predict_logits(network, job.split.dataset.read(torch.tensor(self.select)))
        if self.store is not None:
            self.store.save(name, {"logits": logits_SC})
        return logits_SC

    def _name(self, job: Job) -> str:
        places = {part: torch.tensor(job.split.indices[part]) for part in ("train", "member_fit", "nonmember_fit")}
        rows = digest_tensors({**places, "select": torch.tensor(self.select)})
        return digest_json(["repeat of an arm", job.digest(b"repeat"), rows])


def gather_evidence(
    jobs: Sequence[Job], levels: Levels, *, repeats: int, store: PrivateFolder | None, run: OrderedMap
) -> list[ArmEvidence]:
    """The evidence on each arm; ``jobs`` train them alone, and differ in nothing else.

    ``run`` maps over repeats, in this process or in others; ``levels`` are the verdict's.
    """
    job = jobs[0]
    select = np.concatenate([job.split.indices[part] for part in ("member_select", "nonmember_select")])
    units = unit_ids(job.raw.dataset)[select]
    is_in_RS = np.stack([_half(units, derive(job.seed, "repeats", number)) for number in range(repeats)])
    work = [
        Repeat(tuple(_repeated(one, select, is_in_S, number) for one in jobs), select, store)
        for number, is_in_S in enumerate(is_in_RS)
    ]
    logits = list(run(Repeat.logits, work))
    _, first = np.unique(units, return_index=True)  # one row of each unit: intervals count independent draws
    labels = job.split.dataset.labels[torch.tensor(select)].numpy().astype(np.int64)
    return [
        _among_repeats(
            np.stack([one[place].double().numpy() for one in logits])[:, first],
            labels[first],
            is_in_RS[:, first],
            levels,
        )
        for place in range(len(jobs))
    ]


def _half(units_S: NDArray[np.int64], generator: np.random.Generator) -> Bools:
    """Half of the units (S,), at random."""
    each = generator.permutation(np.unique(units_S))
    return np.isin(units_S, each[: len(each) // 2])


def _repeated(job: Job, select: NDArray[np.int64], is_in_S: Bools, number: int) -> Job:
    """``job`` on other rows: what is in of the rows for choosing in the place of the members for choosing."""
    seed = derive_seed(job.seed, "repeat", number)
    kept = np.setdiff1d(job.split.indices["train"], select, assume_unique=True)
    train = derive(seed, "order").permutation(np.concatenate([kept, select[is_in_S]]))
    indices = {
        **job.split.indices,
        "train": train,
        "member_select": select[is_in_S],
        "nonmember_select": select[~is_in_S],
    }
    split, raw = DataSplit(job.split.dataset, indices), DataSplit(job.raw.dataset, indices)
    model = fresh_network(job, seed)
    return replace(job, model=model, split=split, raw=raw, seed=seed, dense=None, device="cpu")


def _among_repeats(logits_RSC: Floats, labels_S: NDArray[np.int64], is_in_RS: Bools, levels: Levels) -> ArmEvidence:
    """What LiRA finds of each repeat with the others as its shadow models."""
    signals = [Signals(logits_SC, labels_S) for logits_SC in logits_RSC]
    phi_RS = np.stack([one.scaled_logit_N for one in signals])
    classes_RSC = np.stack([one.centred_log_probs_NC for one in signals])
    found: dict[str, list[tuple[Measurement, ...]]] = {"label": [], "all classes": []}
    for target in range(len(signals)):
        others = np.arange(len(signals)) != target
        is_known_S = (is_in_RS[others].sum(0) >= 2) & ((~is_in_RS[others]).sum(0) >= 2)
        is_in_S, is_in_KS = is_in_RS[target, is_known_S], is_in_RS[others][:, is_known_S]
        by_label = likelihood.lira_online(
            phi_RS[target][None, is_known_S], phi_RS[others][:, None, is_known_S], is_in_KS
        )
        by_class = likelihood.lira_classes(
            classes_RSC[target][is_known_S], classes_RSC[others][:, is_known_S], is_in_KS
        )
        both = likelihood.sum_of_standard_scores(by_label, by_class)
        for name, scores in (("label", by_label), ("all classes", both)):
            ranking = Ranking(scores, is_in_S, stats.best_threshold(scores, is_in_S))
            found[name].append(MEMBERSHIP.measure("lira", ranking, levels))
    expected = {name: _expected(figures) for name, figures in found.items()}
    signal = max(expected, key=lambda name: expected[name]["auc"].value)
    return ArmEvidence(expected[signal], signal, len(signals))


def _expected(figures_R: Sequence[Sequence[Measurement]]) -> dict[str, ExpectedFigure]:
    """By metric, the mean over repeats and the limit to expect."""
    expected = {}
    for figures in zip(*figures_R, strict=True):
        values = np.array([figure.value for figure in figures])
        error = student_t.ppf(0.95, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values))
        limit = float(np.mean([figure.interval.high for figure in figures]) + error)
        _, _, metric = figures[0].name.partition(".")
        expected[metric] = ExpectedFigure(float(values.mean()), min(limit, 1.0))
    return expected
