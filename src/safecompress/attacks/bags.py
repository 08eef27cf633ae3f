"""Texts as bags of tokens: what a classifier reads that must not take the numbers of tokens for quantities.

N rows, L tokens of a row, W words that are counted.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

WIDEST = 4096
"""The most tokens that get a column of their own: the most common ones."""

LEAST_ROWS = 2
"""A token gets a column when so many fitting rows have it: from one row alone nothing can be learnt."""


@dataclass(frozen=True, eq=False)
class BagOfTokens:
    """Which tokens are counted, in ascending order; fitted on some rows, the same for all others."""

    words_W: NDArray[np.int64] = field(repr=False)

    @classmethod
    def fit(cls, tokens: Tensor) -> BagOfTokens:
        """The tokens that most rows of ``tokens`` (N, L) have; of equally common ones the lower numbers."""
        pairs = np.unique(np.stack(_numbered(tokens)), axis=1)  # a token counts once a row
        words, counts = np.unique(pairs[1], return_counts=True)
        common = np.argsort(-counts, kind="stable")[:WIDEST]
        return cls(np.sort(words[common[counts[common] >= LEAST_ROWS]]))

    def read(self, tokens: Tensor) -> Any:
        """A sparse matrix (N, W + 1): log(1 + count) of each token, then the logarithm of the row's length."""
        from scipy.sparse import csr_matrix, hstack

        rows, numbers = _numbered(tokens)
        length_N = np.bincount(rows, minlength=len(tokens))
        places = np.searchsorted(self.words_W, numbers)
        is_word = places < len(self.words_W)
        is_word[is_word] = self.words_W[places[is_word]] == numbers[is_word]
        where = rows[is_word], places[is_word]
        counts = csr_matrix((np.ones(len(where[0])), where), shape=(len(tokens), len(self.words_W)))  # repeats add up
        return hstack([counts.log1p(), csr_matrix(np.log1p(length_N)[:, None])], format="csr")


def _numbered(tokens: Tensor) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The row and the number of each token, row after row; -1 is none."""
    table_NL = tokens.detach().cpu().numpy().astype(np.int64)
    rows, places = np.nonzero(table_NL >= 0)
    return rows, table_NL[rows, places]
