"""What neural attacks share: their options, the training loop, standardised columns, the fitted attacker.

N rows. A net reads one tensor (N, ...) for each of its branches and gives the logit (N,) of "is a member".
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from safecompress.attacks.signals import Floats
from safecompress.attacks.target import Target
from safecompress.data import AuditData
from safecompress.errors import AttackError, UsageError, suggest
from safecompress.seeding import seeded

Inputs = tuple[Tensor, ...]
Net = TypeVar("Net", bound=nn.Module)


class Options(Protocol):
    """What an attack says about the training of its net."""

    @property
    def name(self) -> str:
        """The attack's name, for messages."""
        ...

    @property
    def epochs(self) -> int:
        """Passes over the rows, at most."""
        ...

    @property
    def patience(self) -> int:
        """Epochs without improvement on the held-out rows after which training stops."""
        ...

    @property
    def batch_size(self) -> int:
        """Rows in a step, about."""
        ...

    @property
    def learning_rate(self) -> float:
        """Of Adam."""
        ...

    @property
    def holdout(self) -> float:
        """The share of the fitting rows that chooses the epoch."""
        ...

    @property
    def inputs(self) -> str:
        """What the branches read."""
        ...


def check_options(options: Options, readings: Collection[str]) -> None:
    """Raise UsageError for options that cannot train a net, or for inputs that are not among ``readings``."""
    counts_fit = options.epochs >= 1 and options.patience >= 1 and options.batch_size >= 2
    if not (counts_fit and 0 < options.learning_rate < np.inf and 0 < options.holdout < 1):
        raise UsageError(
            f"The {options.name} attack needs epochs and patience of at least 1, batch_size of at least 2, a finite "
            f"learning_rate above 0 and holdout in (0, 1); got epochs={options.epochs}, patience={options.patience}, "
            f"batch_size={options.batch_size}, learning_rate={options.learning_rate}, holdout={options.holdout}."
        )
    if options.inputs not in readings:
        raise UsageError(f"The {options.name} attack's inputs: {suggest(options.inputs, readings)}")


def train_net(
    build: Callable[[], Net],
    net_inputs: Inputs,
    is_member: NDArray[np.bool_],
    options: Options,
    *,
    generator: np.random.Generator,
) -> Net:
    """The net that ``build`` makes, trained to tell members from non-members, in evaluation mode.

    Binary cross entropy, Adam. Held-out rows choose the epoch and are not trained on;
    training ends when they have not improved for ``patience`` epochs. Initial weights, dropout and the order of rows
    come from ``generator`` too. Raises AttackError when a side has too few rows.
    """
    truth = torch.from_numpy(is_member.astype(np.float32))
    fit_rows, held_rows = split_holdout(is_member, options, generator)
    with seeded(int(generator.integers(2**62))):
        net = build()
        optimizer = torch.optim.Adam(net.parameters(), lr=options.learning_rate, fused=True)
        best_loss, best_state, stale = np.inf, copy.deepcopy(net.state_dict()), 0
        for _ in range(options.epochs):
            order = fit_rows[torch.randperm(len(fit_rows))]
            net.train()
            for rows in torch.tensor_split(order, max(1, round(len(order) / options.batch_size))):
                optimizer.zero_grad(set_to_none=True)
                loss = binary_cross_entropy_with_logits(net(*(x[rows] for x in net_inputs)), truth[rows])
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
            net.eval()
            with torch.no_grad():
                held = net(*(x[held_rows] for x in net_inputs))
                held_loss = float(binary_cross_entropy_with_logits(held, truth[held_rows]))
            if held_loss < best_loss:
                best_loss, best_state, stale = held_loss, copy.deepcopy(net.state_dict()), 0
            else:
                stale += 1
                if stale >= options.patience:
                    break
    net.load_state_dict(best_state)
    return net.eval()


def split_holdout(
    is_member: NDArray[np.bool_], options: Options, generator: np.random.Generator
) -> tuple[Tensor, Tensor]:
    """Row indices to fit and to hold out: the same share of members and of non-members. Raises AttackError."""
    fit: list[NDArray[np.int64]] = []
    held: list[NDArray[np.int64]] = []
    for side in (True, False):
        rows = generator.permutation(np.flatnonzero(is_member == side))
        cut = round(options.holdout * len(rows))
        held.append(rows[:cut])
        fit.append(rows[cut:])
    if min(len(part) for part in [*fit, *held]) < 2:
        raise AttackError(
            f"The fitting pool ({int(is_member.sum())} members, {int((~is_member).sum())} non-members) is too small "
            f"for the {options.name} attack: it needs at least 2 of each to fit and 2 to hold out (holdout "
            f"{options.holdout:g}). Give member_fit and nonmember_fit more rows."
        )
    return torch.from_numpy(np.concatenate(fit)), torch.from_numpy(np.concatenate(held))


@dataclass(frozen=True, eq=False)
class Columns:
    """Shift and scale by column, so that values of any unit become inputs of a net."""

    shift: Floats = field(repr=False)
    scale: Floats = field(repr=False)

    @classmethod
    def fit(cls, values: Floats) -> Columns:
        """Columns with mean 0 and deviation 1 on ``values`` (N, K)."""
        return cls(values.mean(0), _deviation(values))

    @classmethod
    def unchanged(cls, columns: Floats) -> Columns:
        """Columns that leave ``columns`` (N, K) as they are."""
        return cls(np.zeros(columns.shape[1]), np.ones(columns.shape[1]))

    def read(self, values: Floats) -> Tensor:
        """Float32 inputs (N, K). Raises AttackError when K is not the one that was fitted."""
        if values.shape[1:] != self.shift.shape:
            raise AttackError(
                f"This attacker was fitted on a model with {self.shift.size} columns where this one has "
                f"{values.shape[1]}. Fit it on a model of the same shape."
            )
        return torch.from_numpy(((values - self.shift) / self.scale).astype(np.float32))


def _deviation(columns: Floats) -> Floats:
    """Standard deviations by column; 1 where a column differs by no more than the rounding of its mean."""
    deviation = columns.std(axis=0)
    return np.where(deviation > 1e-12 * np.abs(columns).max(axis=0), deviation, 1.0)


class InputReader(Protocol):
    """Turns what a target says of rows into a net's inputs, as fixed on the fitting rows."""

    def read(self, target: Target, audit: AuditData) -> Inputs:
        """One tensor (N, ...) for each branch."""
        ...


@dataclass(frozen=True, eq=False)
class FittedNet:
    """The trained attacker; calls rows with probability at least one half members."""

    net: nn.Module = field(repr=False)
    reader: InputReader = field(repr=False)
    threshold: float | None = field(default=0.0, init=False)

    @torch.no_grad()
    def score(self, target: Target, audit: AuditData) -> Floats:
        """The net's membership logit, computed in the precision of its weights."""
        precision = next(self.net.parameters()).dtype
        logit_N = self.net(*(branch.to(precision) for branch in self.reader.read(target, audit)))
        scores: Floats = logit_N.double().numpy()
        return scores
