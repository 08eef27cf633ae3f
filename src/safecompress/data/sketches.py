"""Keys by which rows are known again after they were rescaled, rounded, reordered, or given other columns.

A row is seen by its ranks alone: the place of each value in its column. Columns have no names and no places either:
each is known by how it goes along with the rest of the data set. Weighted sums of a row's ranks, with smooth functions
of that as weights, are cut at zero, and `BITS` of these signs make the key of one band. Strictly monotone changes of
columns, constant columns, and the order of rows and columns alter nothing; small changes of values, rows or columns
alter some bands of some rows. Keys that other rows of the same data set have too are left out, so that two sets of
different people share next to none.

Pictures are averaged over `CELLS` x `CELLS` cells first; each cell of a channel is a column. Of texts, a band is a
minhash of the pairs of neighbouring tokens (Broder 1997): the numbers of tokens count, and a few changed ones do not.
"""

from __future__ import annotations

import hmac
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch

from safecompress.data.dataset import BLOCK, Dataset, Int64Array
from safecompress.data.splits import DataSplit
from safecompress.data.tabular.fitting import unfilled

FloatArray = npt.NDArray[np.float32]
UInt64Array = npt.NDArray[np.uint64]

BITS = 64
"""Signs in a key; a key is one unsigned integer."""

FREQUENCIES = (1.0, 2.0, 4.0, 8.0)
"""How fast the weights of a band vary with the columns. Slow bands outlast changes of the data set, and tell fewer rows
apart than fast ones: on Adult and Location-30, 19 % of the rows have a key of their own in the slowest band and 76 to
100 % in the fastest."""

MIN_ALONE = 0.5
"""A band counts where at least this share of a data set's rows has a key of its own. Where fewer have, strangers from
elsewhere share keys, too: of 24,000 people of Adult, 5 to 7 % had a key of 24,000 others; with this, 3 to 5 %."""

CELLS = 6
"""Cells on each side of a picture."""

TIE = 0.1
"""Values closer than this share of a column's deviation over its rows are one value, so that noise of 1e-6 on zeros and
ones leaves them zeros and ones."""

MOST_CELLS = 8_000_000
"""Values that are looked at: about a second. Of a larger data set, evenly spaced rows and the ones asked for."""

HASHES = 4
"""Minhashes in the key of a text's band: two texts that share 80 % of their pairs share a band with 88 %."""


def sketch_digests(split: DataSplit, parts: Sequence[str], key: bytes) -> list[frozenset[str]]:
    """For each row of ``parts`` the keyed digests (12 hex digits) of its distinctive bands, at most one of each band.

    Labels do not count. Nobody without ``key`` can test a guess at a row by them.
    """
    chosen = np.concatenate([split.indices[part] for part in parts])
    return [
        frozenset(
            hmac.digest(key, b"sketch%d:%d" % (band, value), "sha256").hex()[:12]
            for band, value in enumerate(values)
            if value
        )
        for values in sketches(split.dataset, chosen).tolist()
    ]


def sketches(dataset: Dataset, chosen: Int64Array) -> UInt64Array:
    """(n, bands) the keys of the rows with the numbers ``chosen``.

    A key is zero where another row of the data set has it too, and in bands where too few rows have one of their own.
    """
    values = dataset.stored if dataset.is_tokens else _as_table(dataset)
    most = max(1, MOST_CELLS // values[0].numel())
    if len(values) > most:
        shown = np.union1d(np.linspace(0, len(values) - 1, most).astype(np.int64), chosen)
        values, chosen = values[torch.from_numpy(shown)], np.searchsorted(shown, chosen)
    keys, contents = _keys_of_tokens(values.numpy()) if dataset.is_tokens else _keys_of_ranks(values.numpy())
    _, first, content = np.unique(contents, return_index=True, return_inverse=True)  # equal rows are one row
    for band in range(keys.shape[1]):
        _, place, count = np.unique(keys[first, band], return_inverse=True, return_counts=True)
        is_alone = count[place] == 1
        keys[~is_alone[content], band] = 0
        if is_alone.mean() < MIN_ALONE:
            keys[:, band] = 0
    return keys[chosen]


def _as_table(dataset: Dataset) -> torch.Tensor:
    """(N, columns) the values of each row; of pictures the averages over cells."""
    if dataset.stored.ndim != 4:
        return unfilled(dataset.stored.flatten(1), dataset.table)
    size = (min(CELLS, dataset.input_shape[1]), min(CELLS, dataset.input_shape[2]))
    pixels = torch.split(dataset.stored, BLOCK)
    blocks = [torch.nn.functional.adaptive_avg_pool2d(block.float(), size) for block in pixels]
    return torch.cat(blocks).flatten(1)


def _keys_of_ranks(values_NC: npt.NDArray[np.float32]) -> tuple[UInt64Array, npt.NDArray[np.float64]]:
    """(N, bands) keys and, for each row, one number that tells whether it has the ranks of another."""
    ranks_NC = _ranks(values_NC)
    columns = _describe_columns(ranks_NC)
    random = np.random.default_rng(0)
    keys = np.zeros((len(values_NC), len(FREQUENCIES)), np.uint64)
    for band, frequency in enumerate(FREQUENCIES):
        directions = random.normal(size=(columns.shape[1], BITS)) * frequency / np.sqrt(columns.shape[1])
        signs = ranks_NC @ np.sin(columns @ directions).astype(np.float32) > 0
        keys[:, band] = np.packbits(signs, axis=1).view(np.uint64)[:, 0]
    return keys, np.round(ranks_NC @ random.normal(size=values_NC.shape[1]), 6)


def _ranks(values_NC: npt.NDArray[np.float32]) -> FloatArray:
    """(N, C) the rank of each value in its column, -sqrt(3) .. sqrt(3) around zero; ties share their middle rank."""
    num_rows, num_columns = values_NC.shape
    ranks_CN = np.zeros((num_columns, num_rows), np.float32)
    for rank_N, value_N in zip(ranks_CN, np.ascontiguousarray(values_NC.T), strict=True):
        low, high = value_N.min(), value_N.max()
        if not high > low:
            continue
        is_high = value_N == high
        if bool((is_high | (value_N == low)).all()):
            rank_N[:] = is_high - is_high.mean()
            continue
        order = np.argsort(value_N)
        in_order = value_N[order].astype(np.float64)
        starts = np.flatnonzero(np.diff(in_order) > TIE / num_rows * in_order.std()) + 1
        ends = np.concatenate([[0], starts, [num_rows]])
        rank_N[order] = np.repeat((ends[:-1] + ends[1:]) / num_rows - 1, np.diff(ends))
    return (ranks_CN * np.float32(np.sqrt(3))).T


def _describe_columns(ranks_NC: FloatArray) -> npt.NDArray[np.float64]:
    """(C, 8) how each column goes along with the rest, whatever the order of rows and columns.

    Each number changes its sign when its column does, and when no other does, so that a column turned upside down gives
    the same products with its ranks.
    """
    num_rows = len(ranks_NC)
    variance = float(np.square(ranks_NC).sum() / num_rows)

    def along(of_rows_N: FloatArray) -> npt.NDArray[np.float64]:
        moments = (ranks_NC.T @ of_rows_N / num_rows).astype(np.float64)
        return np.asarray(moments / (np.sqrt(np.square(moments).sum() / max(variance, 1e-12)) + 1e-3))

    energy = _standardise(np.square(ranks_NC).sum(1))
    by_energy = along(energy)
    first = _standardise(ranks_NC @ by_energy.astype(np.float32))
    by_first = along(first)
    second = _standardise(ranks_NC @ np.tanh(by_first).astype(np.float32))
    others = (
        _standardise(np.square(first)),
        _standardise(first * energy),
        _standardise(np.square(energy)),
        np.tanh(first),
        _standardise(np.abs(second)),
    )
    skew = np.power(ranks_NC, 3).mean(0).astype(np.float64)
    return np.stack([by_energy, by_first, *map(along, others), skew], axis=1)


def _standardise(of_rows_N: FloatArray) -> FloatArray:
    centred = of_rows_N - of_rows_N.mean()
    return np.asarray(centred / (centred.std() + np.float32(1e-12)), np.float32)


def _keys_of_tokens(tokens_NL: npt.NDArray[np.int32]) -> tuple[UInt64Array, UInt64Array]:
    """(N, bands) keys and, for each row, one number that tells whether it has the pairs of another."""
    tokens = tokens_NL.astype(np.int64)
    before = np.concatenate([np.full((len(tokens), 1), -1), tokens[:, :-1]], axis=1)
    pairs = ((before + 1).astype(np.uint64) << np.uint64(32)) | (tokens + 1).astype(np.uint64)
    mixed = _mix(pairs)
    mixed = np.where(tokens < 0, mixed[:, :1], mixed)  # a row's first token is none of these, and twice is once
    keys = np.zeros((len(tokens), len(FREQUENCIES)), np.uint64)
    for band in range(len(FREQUENCIES)):
        for number in range(band * HASHES, (band + 1) * HASHES):
            odd = np.uint64((2 * number + 1) * 0x9E3779B97F4A7C15 % 2**64)
            keys[:, band] = _mix(keys[:, band] ^ (mixed * odd).min(1))
    contents = keys[:, 0].copy()
    for band in range(1, len(FREQUENCIES)):
        contents = _mix(contents ^ keys[:, band])
    return keys, contents


def _mix(numbers: UInt64Array) -> UInt64Array:
    """Each number scrambled, one to one (the finaliser of SplitMix64: Steele, Lea, Flood 2014)."""
    mixed = (numbers ^ (numbers >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))
