"""Shadow models: trained as the target was, on random draws of rows.

An attack can thus ask what such a model says of a row that it was trained on, and of one that it was not.

How a shadow is trained is handed in (a `ShadowTrainer`); this page draws the rows of each, keeps the trained weights,
and queries the shadows. K shadows, P rows in the pool, N queried rows, Q queries.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from safecompress.attacks.private_cache import PrivateFolder
from safecompress.attacks.queries import varied
from safecompress.attacks.signals import Floats, Signals
from safecompress.data import AuditData
from safecompress.data.dataset import row_contents, row_key
from safecompress.errors import AttackError
from safecompress.seeding import derive
from safecompress.training import predict_logits

Bools = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class ShadowRows:
    """The rows that shadows are drawn from: ``features`` (P, ...) as the served model reads them, ``labels`` (P,).

    Rows with one number in ``units`` (P,) are in or out together. Every shadow trains on ``size`` rows. ``seed`` names
    the draw: shadows that chose a candidate and shadows that judge it have different ones. The last ``num_mislabelled``
    rows have wrong labels; a shadow trains on ``mislabelled_size`` of them beside ``size`` others, as the target did.

    Draws are balanced over shadows, unless each ``is_apart`` from the others: so it must be where a shadow is a target,
    too, since of balanced draws the others tell its own.
    """

    features: Tensor = field(repr=False)
    labels: Tensor = field(repr=False)
    units: NDArray[np.int64] = field(repr=False)
    size: int
    seed: int
    num_mislabelled: int = field(default=0, repr=False)
    mislabelled_size: int = field(default=0, repr=False)
    is_apart: bool = field(default=False, repr=False)

    def drawn_apart(self) -> ShadowRows:
        """The same rows, of which each shadow has a draw of its own."""
        return replace(self, is_apart=True)

    def digest(self) -> str:
        """SHA-256 of content and draw. Unkeyed: for this process and the private folder of a store only."""
        mislabelled = f"|{self.num_mislabelled}|{self.mislabelled_size}" if self.num_mislabelled else ""
        mislabelled += "|apart" if self.is_apart else ""
        sha = hashlib.sha256(f"{self.size}|{self.seed}|{tuple(self.features.shape)}{mislabelled}".encode())
        for row in row_contents(self.features):
            sha.update(row)
        for part in (self.labels.numpy(), self.units):
            sha.update(np.ascontiguousarray(part).tobytes())
        return sha.hexdigest()

    @cached_property
    def numbers(self) -> dict[bytes, int]:
        """The place of each row in the pool, by content and label."""
        return {key: number for number, key in enumerate(_keys(self.features, self.labels))}

    def draws(self, count: int) -> Bools:
        """(count, P): which rows each shadow trains on; the first k lines do not depend on ``count``."""
        if self.is_apart:
            return np.concatenate([self._drawn(1, "apart", number) for number in range(count)])
        return self._drawn(count)

    def _drawn(self, count: int, *names: str | int) -> Bools:
        """(count, P) draws that are balanced among themselves, by a generator of these ``names``."""
        num_ordinary = len(self.units) - self.num_mislabelled
        ordinary, mislabelled = self.units[:num_ordinary], self.units[num_ordinary:]
        draws = balanced_draws(ordinary, self.size, count, derive(self.seed, "shadow rows", *names))
        if not self.num_mislabelled:
            return draws
        generator = derive(self.seed, "shadow mislabelled", *names)
        return np.concatenate([draws, balanced_draws(mislabelled, self.mislabelled_size, count, generator)], axis=1)


@dataclass(frozen=True, eq=False)
class ShadowDraw:
    """One shadow to be trained: the rows that are in, (n,) places in the pool, and its number."""

    number: int
    rows: NDArray[np.int64] = field(repr=False)


class ShadowTrainer(Protocol):
    """Trains shadows as the target was trained."""

    @property
    def mode(self) -> str:
        """How, in the report's words: ``full pipeline``, ``final pattern only``, ``dense``."""
        ...

    @property
    def group_size(self) -> int:
        """How many shadows one call trains at once."""
        ...

    def digest(self) -> str:
        """Identifies this way of training."""
        ...

    def build(self) -> nn.Module:
        """The network to load a shadow's weights into; it reads what the served model reads."""
        ...

    def __call__(self, shadow_pool: ShadowRows, draws: Sequence[ShadowDraw]) -> list[Mapping[str, Tensor]]:
        """The weights of each shadow. It runs in this process or in a worker."""
        ...


@dataclass(frozen=True, eq=False)
class ShadowOutputs:
    """The answers of K shadows for N rows under Q queries, and which of them trained on each row.

    ``scaled_logit_KQN`` is phi = log(p_y / (1 - p_y)); log p_y = -log(1 + exp(-phi)) follows from it. ``signals_K`` are
    the whole answers of each shadow for the rows themselves.
    """

    scaled_logit_KQN: Floats = field(repr=False)
    is_in_KN: Bools = field(repr=False)
    is_correct_KN: Bools = field(repr=False)
    signals_K: Sequence[Signals] = field(default=(), repr=False)


class WeightTransform(Protocol):
    """What is done to a shadow's weights between training and shipping."""

    @property
    def words(self) -> str:
        """What is done, for the report: ``rounded to int8``."""
        ...

    def __call__(self, weights: Mapping[str, Tensor], /) -> Mapping[str, Tensor]:
        """The weights that answer."""
        ...


class OrderedMap(Protocol):
    """Runs a function over items and gives results in order: the built-in map, or an executor's."""

    def __call__(self, fn: Callable[[Any], Any], items: Iterable[Any], /) -> Iterator[Any]:
        """Results in the items' order."""
        ...


class ShadowModels:
    """The shadows of one way of training on one pool of rows; each is trained when first asked for, and kept.

    ``store`` keeps them on disk, where a later process finds them; without one they stay in memory. ``run`` maps over
    groups that are still to be trained. ``finish`` transforms the weights of a trained shadow before it is queried, as
    the target's were before it shipped.
    """

    def __init__(
        self,
        shadow_pool: ShadowRows,
        trainer: ShadowTrainer,
        *,
        store: PrivateFolder | None = None,
        run: OrderedMap = map,
        finish: WeightTransform | None = None,
    ) -> None:
        self.rows = shadow_pool
        self.trainer = trainer
        self._finish = finish
        self.num_trained, self.num_used = 0, 0
        self._ours: set[int] = set()
        self._run = run
        self._store = store
        self._key = hashlib.sha256(
            f"{shadow_pool.digest()}|{trainer.digest()}|{trainer.group_size}".encode()
        ).hexdigest()
        self._weights: dict[int, Mapping[str, Tensor]] = {}
        self._asked: dict[tuple[str, int, int], Signals] = {}

    @property
    def mode(self) -> str:
        """How the shadows were made, in the report's words."""
        return self.trainer.mode if self._finish is None else f"{self.trainer.mode}, {self._finish.words}"

    @property
    def num_reused(self) -> int:
        """How many of those that were asked an earlier process had trained."""
        return sum(number not in self._ours for number in range(self.num_used))

    def outputs(self, audit: AuditData, *, count: int, queries: int = 1) -> ShadowOutputs:
        """The answers of the first ``count`` shadows for the audit's rows; rows outside the pool are out of all."""
        self._train(count)
        self.num_used = max(self.num_used, count)
        place_N = np.array([self.rows.numbers.get(key, -1) for key in _keys(audit.features, audit.labels)])
        is_in_KN = self.rows.draws(count)[:, place_N] & (place_N >= 0)
        logits_KQN = np.empty((count, queries, len(place_N)))
        is_correct_KN = np.empty((count, len(place_N)), dtype=bool)
        network = self.trainer.build()
        variants = [varied(audit, query) for query in range(queries)]
        for number in range(count):
            loaded = False
            for query, variant in enumerate(variants):
                key = (variant.digest, number, query)
                if key not in self._asked:
                    if not loaded:
                        weights = self._load(number)
                        network.load_state_dict(dict(self._finish(weights) if self._finish else weights))
                        loaded = True
                    logits = predict_logits(network, variant.features).double().numpy()
                    self._asked[key] = Signals(logits, audit.labels.numpy().astype(np.int64))
                signals = self._asked[key]
                logits_KQN[number, query] = signals.scaled_logit_N
                if query == 0:
                    is_correct_KN[number] = signals.is_correct_N
        whole_K = [self._asked[variants[0].digest, number, 0] for number in range(count)]
        return ShadowOutputs(logits_KQN, is_in_KN, is_correct_KN, whole_K)

    def _train(self, count: int) -> None:
        """Train what is missing of the first ``count``, in whole groups, and keep each group as it ends."""
        size = self.trainer.group_size
        groups = [range(first, first + size) for first in range(0, count, size)]
        missing = [group for group in groups if not all(self._has(number) for number in group)]
        if not missing:
            return
        is_in = self.rows.draws(groups[-1].stop)
        work = [[ShadowDraw(number, np.flatnonzero(is_in[number])) for number in group] for group in missing]
        for group, trained in zip(missing, self._run(partial(self.trainer, self.rows), work), strict=True):
            for number, weights in zip(group, trained, strict=True):
                self._keep(number, weights)
                self._ours.add(number)
            self.num_trained += len(trained)

    def _has(self, number: int) -> bool:
        return number in self._weights or (self._store is not None and self._store.has(self._name(number)))

    def _load(self, number: int) -> Mapping[str, Tensor]:
        if number in self._weights:
            return self._weights[number]
        weights = self._store.load(self._name(number)) if self._store is not None else None
        if weights is None:  # _train kept it
            raise AttackError(f"Shadow model {number} was removed or altered while it was needed. Run again.")
        return weights

    def _name(self, number: int) -> str:
        return f"shadow {number} of {self._key}"

    def _keep(self, number: int, weights: Mapping[str, Tensor]) -> None:
        if self._store is None:
            self._weights[number] = weights
        else:
            self._store.save(self._name(number), weights)


def balanced_draws(units: NDArray[np.int64], size: int, count: int, generator: np.random.Generator) -> Bools:
    """(count, P) draws of about ``size`` rows in which every unit is in equally often, give or take one.

    Units are dealt like cards: a shadow takes from the deck until it has ``size`` rows, the next goes on where it
    stopped, and a new deck is shuffled when one is used up. Cards of the new deck that the shadow already holds are
    passed over and stay at their places, so that the next shadow's draw is a random one, too. With ``size`` half of the
    rows, shadows come in complementary pairs. Raises AttackError unless 0 < size < P.
    """
    if not 0 < size < len(units):
        raise AttackError(
            f"Shadows would train on {size} of {len(units)} rows, so that every row is in all of them or in none. Give "
            "the split more non-members or a larger population."
        )
    members = [np.flatnonzero(units == unit) for unit in np.unique(units)] if _has_repeats(units) else None
    num_units = len(members) if members is not None else len(units)
    draws = np.zeros((count, len(units)), dtype=bool)
    deck: list[int] = []  # dealt from its end
    for line in draws:
        held: set[int] = set()
        passed: list[int] = []  # over, from the end of the deck
        taken = 0
        while taken < size:
            if not deck:
                deck = [*generator.permutation(num_units).tolist(), *reversed(passed)]
                passed = []
            card = deck.pop()
            if card in held:
                passed.append(card)
                continue
            held.add(card)
            rows = members[card] if members is not None else np.array([card])
            line[rows] = True
            taken += len(rows)
        deck += reversed(passed)
    return draws


def _has_repeats(units: NDArray[np.int64]) -> bool:
    return len(np.unique(units)) < len(units)


def _keys(features: Tensor, labels: Tensor) -> list[bytes]:
    """A key of each row's content and label."""
    classes = labels.numpy().astype("<i8")
    return [row_key(label.tobytes() + row) for label, row in zip(classes, row_contents(features), strict=True)]
