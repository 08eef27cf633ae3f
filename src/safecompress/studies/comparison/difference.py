"""Paired differences between methods: one model minus another, seed by seed."""

from __future__ import annotations

from dataclasses import dataclass

from safecompress.studies.comparison.result import ComparisonResult
from safecompress.studies.comparison.summary import (
    HIGHER_IS_BETTER,
    Group,
    Spread,
    difference,
    groups_of,
    pairs_with,
    plain_dense,
    shown_figures,
)

NOTHING = "no difference that these seeds can show"
"""The description of a pair whose interval contains zero."""


@dataclass(frozen=True)
class Difference:
    """One model minus another over equal seeds: a spread for each figure that both have."""

    first: Group
    second: Group
    figures: dict[str, Spread]

    @property
    def density(self) -> float:
        """Of the sparser of the two."""
        return min(self.first.density, self.second.density)

    @property
    def is_of_ours(self) -> bool:
        """Whether the first is SafeCompress, and not a method set beside the dense model."""
        return self.first.entry.is_ours

    def advantage(self, figure: str) -> int:
        """1 where the first is shown to be better by ``figure``, -1 where it is worse, 0 where neither is shown."""
        sign = self.figures[figure].sign if figure in self.figures else 0
        return sign if figure in HIGHER_IS_BETTER else -sign

    @property
    def name(self) -> str:
        """``safecompress − static, density 0.1``."""
        return f"{self.first.entry.label} − {self.second.entry.label}, density {self.density:g}"


def differences(comparison_result: ComparisonResult) -> list[Difference]:
    """SafeCompress minus every other method, and every method minus the dense model, each pair once."""
    groups = groups_of(comparison_result.inputs.comparison, comparison_result.results)
    figures, dense = shown_figures(comparison_result.inputs.comparison.attackers), plain_dense(groups)
    pairs = [
        pair
        for entry in comparison_result.inputs.comparison.entries
        if entry.is_ours
        for pair in pairs_with(entry, groups)
        if not (pair[1].entry.is_ours and groups.index(pair[1]) < groups.index(pair[0]))
    ]
    if dense is not None:
        pairs += [(other, mine) for mine, other in pairs_with(dense.entry, groups) if not other.entry.is_ours]
    paired = []
    for first, second in pairs:
        spreads = {figure: difference(first, second, figure) for figure in figures}
        paired.append(Difference(first, second, {name: s for name, s in spreads.items() if s is not None}))
    return paired
