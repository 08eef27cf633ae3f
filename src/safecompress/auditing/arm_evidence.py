"""How much an arm leaks to strong attackers, before it is chosen: LiRA among repeats of it, on rows for choosing.

Every repeat trains the arm by its whole pipeline on rows that are drawn as the verdict's shadow models are, but on the
pool "select". Each repeat is a target once, and the others are its shadow models. Draws are independent of one another:
were they balanced, the others' rows would say which ones the target has. No row of the verdict and no model of the
verdict takes part.
"""

# R repeats, N rows for choosing, C classes.

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as student_t

from safecompress.attacks.evidence import Ranking
from safecompress.attacks.membership import likelihood
from safecompress.attacks.private_cache import PrivateFolder
from safecompress.attacks.questions import MEMBERSHIP
from safecompress.attacks.shadows import OrderedMap, ShadowModels, ShadowOutputs
from safecompress.auditing.shadow_training import PipelineShadowTrainer, shadow_rows
from safecompress.compression.arms.choose import ArmEvidence, ExpectedFigure
from safecompress.compression.job import Job
from safecompress.data import one_row_per_unit
from safecompress.metrics import stats
from safecompress.metrics.measurement import Levels, Measurement

Bools = NDArray[np.bool_]


def gather_evidence(
    jobs: Sequence[Job], levels: Levels, *, repeats: int, store: PrivateFolder | None, run: OrderedMap
) -> list[ArmEvidence]:
    """The evidence on each arm; ``jobs`` train them alone, and differ in nothing else.

    ``run`` maps over repeats, in this process or in others; ``levels`` are the verdict's. ``store`` keeps repeats and
    their sub-models, which arms of one density share.
    """
    audit = one_row_per_unit(jobs[0].raw).audit("select")
    found = []
    for job in jobs:
        rows = shadow_rows(job.raw, "select", job.seed, has_reference=job.reference is not None).drawn_apart()
        models = ShadowModels(rows, PipelineShadowTrainer(job, store), store=store, run=run)
        found.append(_among_repeats(models.outputs(audit, count=repeats), levels))
    return found


def _among_repeats(outputs: ShadowOutputs, levels: Levels) -> ArmEvidence:
    """What LiRA finds of each repeat with the others as its shadow models."""
    phi_RN, is_in_RN = outputs.scaled_logit_KQN[:, 0], outputs.is_in_KN
    classes_RNC = np.stack([signals.centred_log_probs_NC for signals in outputs.signals_K])
    found: dict[str, list[tuple[Measurement, ...]]] = {"label": [], "all classes": []}
    for target in range(len(phi_RN)):
        others = np.arange(len(phi_RN)) != target
        known = _with_two_on_each_side(is_in_RN[others])
        is_in_N, is_in_KN = is_in_RN[target, known], is_in_RN[others][:, known]
        phi_KN, classes_KNC = phi_RN[others][:, known], classes_RNC[others][:, known]
        by_label = likelihood.lira_online(phi_RN[target][None, known], phi_KN[:, None], is_in_KN)
        by_class = likelihood.lira_classes(classes_RNC[target][known], classes_KNC, is_in_KN)
        both = likelihood.sum_of_standard_scores(by_label, by_class)
        for name, scores in (("label", by_label), ("all classes", both)):
            ranking = Ranking(scores, is_in_N, stats.best_threshold(scores, is_in_N))
            found[name].append(MEMBERSHIP.measure("lira", ranking, levels))
    expected = {name: _expected(figures) for name, figures in found.items()}
    signal = max(expected, key=lambda name: expected[name]["auc"].value)
    return ArmEvidence(expected[signal], signal, len(phi_RN))


def _with_two_on_each_side(is_in_KN: Bools) -> NDArray[np.int64]:
    """Places of the rows that two models at least trained on, and two did not."""
    return np.flatnonzero((is_in_KN.sum(axis=0) >= 2) & ((~is_in_KN).sum(axis=0) >= 2))


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
