"""Rows of one person without a group column: nearly equal rows on both sides of a split, seen from distances alone.

Around a row whose neighbours have nothing to do with it, the distances d_1 < d_2 < ... to them grow so that
j (log d_{j+1} - log d_j) has one distribution for every j (Renyi 1953; it holds for points that are spread evenly over
the neighbourhood, in any number of dimensions). Where the first few neighbours are rows of the same person, the step
from the last of them to the first stranger is far larger. The steps further out say how large one may be by chance, so
clusters, discrete columns and rounding, which make steps everywhere, raise no alarm.

Shape letters: N rows asked about, M known rows, F features, J neighbours.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from safecompress.data.dataset import Dataset, Int64Array
from safecompress.data.draw import unit_ids
from safecompress.data.splits import DataSplit
from safecompress.seeding import derive

Floats = npt.NDArray[np.float32]

MOST_NEAR = 0.2
"""The largest share of rows, beyond chance, with a nearly equal row on the other side.

Measured against a third of the rows: digits, Location-30, CIFAR-10, AG News and tight clusters give less than 0.06.
Adult, in which many people differ by a year of age alone, gives up to 0.196 (140 samples of 400 to 4,000 rows, all
columns or all but fnlwgt). Five rows a person give 0.7 and more, two 0.24 to 0.33, five for every fifth person 0.35 to
0.45. What is not seen hides less: where the rows of a person differ so much that the share is smaller, a split by rows
lowered the AUC of the loss by up to 0.09 (0.073 with 50 columns, 0.085 with 20).
"""

_NEAR, _FAR = 8, 11
"""Steps up to this rank may be a person's own; as many from the other on are chance."""

_LOCAL = 15
"""The rank of the neighbour whose distance is the local scale."""

_BY_CHANCE = 0.03
"""The share of the steps far out that are called large."""

_TEXT_RATIO = 0.6
"""Texts count where they are nearer than this share of the local scale: reports of one event share words, too."""

_FEWEST_ASKED, _FEWEST_KNOWN = 100, 60
_MOST_ASKED, _MOST_KNOWN = 1000, 20_000
_MOST_WORK = 2e10
"""Multiplications, about a second."""

_CLIP = 1.0
"""Deviations from the mean that a column counts for: rows that share a rare category are no cluster of their own."""

_PIXELS, _BUCKETS = 8, 512
"""Images are averaged down to so many pixels a side; words of texts are counted in so many buckets."""


@dataclass(frozen=True, slots=True)
class NearRows:
    """What was seen: the ``share`` of ``num_asked`` rows, beyond chance, with a nearly equal one of ``num_known``."""

    share: float
    num_asked: int
    num_known: int

    @property
    def are_many(self) -> bool:
        """Whether figures of these rows understate what a model gives away of people who have one row."""
        return self.share > MOST_NEAR


ADVICE = (
    "Where several rows are of one person, a split by rows puts them on both sides, and every attack looks weaker than "
    "it is. Name the column that says which rows belong together: group in [data] source."
)


def near_rows_of_split(split: DataSplit) -> NearRows | None:
    """Rows that were not trained on against train. None where there are too few to tell."""
    others = np.concatenate([split.indices[part] for part in split.indices if not part.startswith("member_")])
    return near_rows(split.dataset, np.setdiff1d(others, split.indices["train"]), split.indices["train"])


def near_rows_of_data(dataset: Dataset) -> NearRows | None:
    """The rows against a random third of them, as a default split would train on; groups and equal rows kept together.

    None where there are too few to tell.
    """
    units = unit_ids(dataset)
    names = derive(0, "near rows", "third").permutation(np.unique(units))
    is_known_N = np.isin(units, names[: len(names) // 3])
    return near_rows(dataset, np.flatnonzero(~is_known_N), np.flatnonzero(is_known_N))


def near_rows(dataset: Dataset, asked: Int64Array, known: Int64Array) -> NearRows | None:
    """How many of the rows ``asked`` (N,) have a nearly equal row among ``known`` (M,), as far as a sample shows.

    A step at the edge of the row's class counts for nothing: there a class of few rows ends, not a person.
    """
    if len(asked) < _FEWEST_ASKED or len(known) < _FEWEST_KNOWN:
        return None
    random = derive(0, "near rows", "sample")
    known = random.permutation(known)[:_MOST_KNOWN]
    is_picture = len(dataset.input_shape) == 3
    sizes = [min(_PIXELS, size) if is_picture else size for size in dataset.input_shape]
    width = _BUCKETS if dataset.is_tokens else int(np.prod(sizes))
    asked = random.permutation(asked)[: int(np.clip(_MOST_WORK / (len(known) * width), 100, _MOST_ASKED))]
    nearest_NJ = _distances(*_embedded(dataset, asked, known), _FAR + _NEAR)
    steps_NJ = np.arange(1, nearest_NJ.shape[1]) * np.diff(np.log(nearest_NJ), axis=1)
    labels = dataset.labels.numpy()
    of_class_N = np.bincount(labels[known], minlength=dataset.num_classes)[labels[asked]]
    is_inside_NJ = np.arange(1, _NEAR + 1) <= of_class_N[:, None] / 2
    near_N = np.where(is_inside_NJ, steps_NJ[:, :_NEAR], 0).max(axis=1)
    is_near_N = near_N > np.quantile(steps_NJ[:, _FAR - 1 :].max(axis=1), 1 - _BY_CHANCE)
    if dataset.is_tokens:
        is_near_N &= nearest_NJ[:, 0] < _TEXT_RATIO * nearest_NJ[:, _LOCAL - 1]
    return NearRows(float(is_near_N.mean()) - _BY_CHANCE, len(asked), len(known))


def _distances(asked_NF: Floats, known_MF: Floats, count: int) -> npt.NDArray[np.float64]:
    """(N, count + 1) distances to the nearest known rows in rising order, never 0."""
    squares_M = (known_MF**2).sum(axis=1)
    found = []
    for rows_NF in np.array_split(asked_NF, max(1, len(asked_NF) // 256)):
        squares_NM = (rows_NF**2).sum(axis=1)[:, None] + squares_M - 2 * rows_NF @ known_MF.T
        found.append(np.sort(np.partition(squares_NM, count, axis=1)[:, : count + 1], axis=1))
    distances_NJ = np.sqrt(np.maximum(np.concatenate(found), 0).astype(np.float64))
    least = 3e-3 * float(np.median(distances_NJ[:, -1]))  # what float32 can tell apart
    raised: npt.NDArray[np.float64] = np.maximum(distances_NJ, least if least > 0 else 1.0)
    return raised


def _embedded(dataset: Dataset, asked: Int64Array, known: Int64Array) -> tuple[Floats, Floats]:
    """Rows as points (N, F) and (M, F): scaled columns, small pictures, or weighted counts of words."""
    if dataset.is_tokens:
        return _as_words(dataset, asked, known)
    asked_NF, known_MF = (_as_columns(dataset.read(torch.from_numpy(rows))) for rows in (asked, known))
    if len(dataset.input_shape) == 3:
        return asked_NF, known_MF
    centre_F, scale_F = known_MF.mean(axis=0), known_MF.std(axis=0)
    varies_F = scale_F > 0
    points = ((rows - centre_F)[:, varies_F] / scale_F[varies_F] for rows in (asked_NF, known_MF))
    asked_NF, known_MF = (np.clip(rows, -_CLIP, _CLIP) for rows in points)
    return asked_NF, known_MF


def _as_columns(features: Tensor) -> Floats:
    values = features.float()
    if values.ndim == 4:
        values = torch.nn.functional.adaptive_avg_pool2d(
            values, (min(_PIXELS, values.shape[2]), min(_PIXELS, values.shape[3]))
        )
    flat: Floats = values.flatten(1).numpy()
    return flat


def _as_words(dataset: Dataset, asked: Int64Array, known: Int64Array) -> tuple[Floats, Floats]:
    """Which words a text holds, rare ones counting for more, with random signs in a few buckets; of length 1."""
    random = derive(0, "near rows", "words")
    bucket_V = random.integers(_BUCKETS, size=dataset.vocab_size)
    sign_V = random.choice(np.array([-1.0, 1.0]), size=dataset.vocab_size)
    pairs = [_word_pairs(dataset.stored[torch.from_numpy(rows)].numpy()) for rows in (asked, known)]
    holding_V = np.bincount(pairs[1][1], minlength=dataset.vocab_size or 0)
    weight_V = sign_V * np.log((1 + len(known)) / (1 + holding_V))
    points = []
    for (row, word), count in zip(pairs, (len(asked), len(known)), strict=True):
        places = row * _BUCKETS + bucket_V[word]
        sums = np.bincount(places, weights=weight_V[word], minlength=count * _BUCKETS).reshape(count, _BUCKETS)
        points.append((sums / np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), 1e-9)).astype(np.float32))
    return points[0], points[1]


def _word_pairs(tokens_NL: npt.NDArray[np.int32]) -> tuple[Int64Array, Int64Array]:
    """(row, word) for each word that a row holds, once."""
    rows, places = np.nonzero(tokens_NL >= 0)
    pairs = np.unique(np.stack([rows, tokens_NL[rows, places].astype(np.int64)]), axis=1)
    return pairs[0], pairs[1]
