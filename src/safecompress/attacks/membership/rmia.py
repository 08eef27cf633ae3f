"""RMIA and BASE: how much surer the target is of a row's label than shadows are on average. Few shadows will do."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from safecompress.attacks.membership import likelihood
from safecompress.attacks.membership.lira import (
    ComparesWithShadows,
    Mode,
    ShadowAnswers,
    phi_and_shadows,
    require_mode,
    require_num_shadows,
)
from safecompress.attacks.signals import Floats
from safecompress.attacks.target import Access, Target
from safecompress.data import AuditData
from safecompress.errors import AttackError, UsageError


@dataclass(frozen=True)
class Rmia(ComparesWithShadows):
    """The robust attack (Zarifzadeh, Liu, Shokri 2024), scored by the ratio of p_y to its mean over shadows.

    ``mode``: online averages shadows with and without the row, both sides weighing the same; offline stands in for the
    former by ``a`` (see ``likelihood.log_ratio_offline``). Scoring raises AttackError for rows without a shadow on a
    side that the mode reads. ``temperature`` divides the logits of target and shadows: at 2 the ratio is as strong as
    LiRA's on plain training, at 1 it is the paper's.

    Differs from the paper: the score is log ratio(x), not the share of rows z with ratio(x) / ratio(z) > gamma. With
    one set of z for all rows that share only rises with ratio(x), so the order, and with it the ROC, is the same but
    for the ties that few z make; ``likelihood.rmia_scores`` gives the share itself.
    """

    num_shadows: int = 16
    mode: Mode = "online"
    a: float = 0.3
    temperature: float = 1.0
    name: str = field(default="rmia", init=False)
    access: Access = field(default=Access.SCORES, init=False)
    tier: int = field(default=2, init=False)

    def __post_init__(self) -> None:
        require_num_shadows(self.name, self.num_shadows, 2)
        require_mode(self.name, self.mode)
        if not 0 < self.temperature < math.inf:
            raise UsageError(f"rmia has temperature={self.temperature}. Give a finite number above 0: 1, or 2.")
        if not 0 <= self.a <= 1:
            raise UsageError(
                f"rmia has a={self.a}. Give a number in [0, 1]: 0 where models are sure of all rows that they trained "
                "on, 1 where training on a row changes nothing."
            )

    def answers(self, target: Target, audit: AuditData) -> ShadowAnswers:
        """phi of the target (N,) and of shadows (K, N)."""
        return phi_and_shadows(target, audit, self.num_shadows, temperature=self.temperature)

    def rate(self, answers: ShadowAnswers) -> Floats:
        """log ratio(x)."""
        if self.mode == "online":
            return likelihood.log_ratio_online(answers.target, answers.shadows, answers.is_in_KN)
        return likelihood.log_ratio_offline(answers.target, answers.shadows, answers.is_in_KN, a=self.a)


@dataclass(frozen=True)
class Base(ComparesWithShadows):
    """The Bayes-optimal attack's simplest form (Lassila et al. 2025): log p_y less the log of its mean over references.

    Every shadow is a reference, whoever it trained on; where each row is in half of them this orders rows as RMIA
    online does. Scoring raises AttackError when some rows are in shadows and others in none: the mean would be higher
    for the former, for a reason that has nothing to do with the target.
    """

    num_shadows: int = 16
    name: str = field(default="base", init=False)
    access: Access = field(default=Access.SCORES, init=False)
    tier: int = field(default=2, init=False)

    def __post_init__(self) -> None:
        require_num_shadows(self.name, self.num_shadows, 2)

    def answers(self, target: Target, audit: AuditData) -> ShadowAnswers:
        """phi of the target (N,) and of shadows (K, N)."""
        answers = phi_and_shadows(target, audit, self.num_shadows)
        num_outside = int(np.count_nonzero(~answers.is_in_KN.any(axis=0)))
        num_rows = len(answers.target)
        if 0 < num_outside < num_rows:
            raise AttackError(
                f"base: {num_outside} of {num_rows} rows are in none of the {self.num_shadows} shadows, unlike the "
                "others, so their references differ. Draw shadows from rows that include all of these, or from none of "
                "them, or raise num_shadows."
            )
        return answers

    def rate(self, answers: ShadowAnswers) -> Floats:
        """log p_y of the target, less log of the mean p_y of the references."""
        return likelihood.log_ratio_references(answers.target, answers.shadows)
