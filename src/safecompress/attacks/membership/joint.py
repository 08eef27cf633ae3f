"""LiRA on all released versions of a model at once: what the dense one hides, the compressed one may say."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from safecompress.attacks.membership import likelihood
from safecompress.attacks.membership.lira import (
    ComparesWithShadows,
    ShadowAnswers,
    phi_and_shadows,
    require_num_shadows,
)
from safecompress.attacks.signals import Floats
from safecompress.attacks.target import Access, Target
from safecompress.data import AuditData
from safecompress.errors import AttackError


@dataclass(frozen=True)
class JointLira(ComparesWithShadows):
    """LiRA (Carlini et al. 2022) with phi of the target and of every ``target.versions`` entry as one vector.

    Each version is compared with shadows of its own, and shadow k of all of them trained on the same rows: what
    versions say of a row goes together, and the covariance is learned from that. Scoring raises AttackError when there
    is no other version, when one has no shadows, when draws differ, and for rows with fewer than two shadows on a side.
    CompLeak (Li et al., arXiv 2507.16872) joins what several compressed versions say, too.
    """

    num_shadows: int = 16
    name: str = field(default="joint_lira", init=False)
    access: Access = field(default=Access.SCORES, init=False)
    tier: int = field(default=2, init=False)
    joins_versions: bool = field(default=True, init=False)

    def __post_init__(self) -> None:
        require_num_shadows(self.name, self.num_shadows, 4)

    def answers(self, target: Target, audit: AuditData) -> ShadowAnswers:
        """phi of all versions, (N, V), and of their shadows, (K, N, V)."""
        of_version = {
            name: phi_and_shadows(version, audit, self.num_shadows) for name, version in self._versions(target).items()
        }
        is_in_KN = of_version["target"].is_in_KN
        for name, answers in of_version.items():
            differ = int((answers.is_in_KN != is_in_KN).sum())
            if differ:
                raise AttackError(
                    f"joint_lira: shadows of version {name!r} trained on other rows than those of the target "
                    f"({differ} of {is_in_KN.size} draws differ), so what they say cannot be joined. Draw the shadows "
                    "of all versions from the same ShadowRows: rows, units, size and seed."
                )
        phi_VN, phi_VKN = zip(*((answers.target, answers.shadows) for answers in of_version.values()), strict=True)
        return ShadowAnswers(np.stack(phi_VN, axis=-1), np.stack(phi_VKN, axis=-1), is_in_KN, row_axis=-2)

    def rate(self, answers: ShadowAnswers) -> Floats:
        """The log likelihood ratio of all versions' scaled logits."""
        return likelihood.joint_lira(answers.target, answers.shadows, answers.is_in_KN)

    def varies(self, target: Target, audit: AuditData) -> bool:
        """Whether any version differs from its shadows by more on some rows than on others."""
        return any(super(JointLira, self).varies(version, audit) for version in self._versions(target).values())

    def _versions(self, target: Target) -> dict[str, Target]:
        if not target.versions:
            raise AttackError(
                "joint_lira joins what several released versions of one model say, and this target has no other. Give "
                "them: Target(model, shadows=..., versions={'dense': ...}); with one version use lira."
            )
        return {"target": target, **target.versions}
