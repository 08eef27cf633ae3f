"""A LossTrace: the loss of every training row in every epoch, kept from the logits that each step computes anyway."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import cross_entropy

from safecompress.errors import TrainingError, UsageError

_TOGETHER = 32
"""Batches whose losses are worked out in one call."""


class LossTrace:
    """Losses of N rows over E epochs; ``train(..., watch=Watch(trace=...))`` fills it in. N x E float32, on the device.

    A row's loss in an epoch is the one its own step saw: before that step moved the weights, and as the model trains
    (dropout on, batch norm over the batch). Steps may come in any number of segments; a step that is run again after a
    resume writes the same number again. Private, as all that is known of single members: it prints its size only.
    """

    def __init__(self, num_rows: int, num_epochs: int) -> None:
        if num_rows < 1 or num_epochs < 1:
            raise UsageError(
                f"A trace of {num_rows} rows over {num_epochs} epochs holds nothing. Give the rows of the task, "
                "len(task.labels), and the epochs of its recipe."
            )
        self._losses_EN = torch.full((num_epochs, num_rows), torch.nan)
        self._pending: list[tuple[int, Tensor, Tensor, Tensor]] = []

    @classmethod
    def from_tensor(cls, losses_NE: Tensor) -> LossTrace:
        """The trace that `to_tensor` gave, to continue with. Raises UsageError unless it is (N, E) float32."""
        if losses_NE.ndim != 2 or losses_NE.dtype != torch.float32:
            raise UsageError(
                f"A trace is a float32 tensor of shape (rows, epochs), got {losses_NE.dtype} of shape "
                f"{tuple(losses_NE.shape)}. Give what LossTrace.to_tensor() returned."
            )
        trace = cls(*losses_NE.shape)
        trace._losses_EN.copy_(losses_NE.T)
        return trace

    def to_tensor(self) -> Tensor:
        """A copy on the CPU, (N, E) float32; NaN where a row has not been trained on yet."""
        self._settle()
        return self._losses_EN.T.to("cpu", copy=True).contiguous()

    def __repr__(self) -> str:
        num_epochs, num_rows = self._losses_EN.shape
        return f"LossTrace({num_rows} rows, {num_epochs} epochs)"

    def check_fits(self, num_rows: int, num_epochs: int) -> None:
        """Raise UsageError unless the trace is one of ``num_rows`` rows and has room for ``num_epochs`` epochs."""
        if self._losses_EN.shape[1] != num_rows or self._losses_EN.shape[0] < num_epochs:
            raise UsageError(
                f"{self!r} cannot hold a training of {num_rows} rows over {num_epochs} epochs. Give each task a "
                f"trace of its own: LossTrace({num_rows}, {num_epochs})."
            )

    def record(self, epoch: int, row_indices: Tensor, logits: Tensor, labels: Tensor) -> None:
        """Keep the cross entropy of a batch: its ``row_indices`` (B,) in the task, ``logits`` (B, C), ``labels`` (B,).

        Draws no random numbers and leaves the step's graph alone, so the trained weights are the same to the bit.
        """
        self._pending.append((epoch, row_indices, logits.detach(), labels))
        if len(self._pending) >= _TOGETHER:
            self._settle()

    def _settle(self) -> None:
        """Work out the losses of the batches that wait. Together: a call for each would cost 4 % of a small net."""
        if not self._pending:
            return
        epochs, rows, logits, labels = zip(*self._pending, strict=True)
        self._pending.clear()
        epochs_B = torch.repeat_interleave(torch.tensor(epochs), torch.tensor([len(batch) for batch in rows]))
        losses_B = cross_entropy(torch.cat(logits).float(), torch.cat(labels), reduction="none")
        self._losses_EN = self._losses_EN.to(losses_B.device)
        self._losses_EN[epochs_B, torch.cat(rows)] = losses_B

    def iqr(self) -> NDArray[np.float64]:
        """How exposed each row is (N,): the interquartile range of its losses over the epochs; at least 0, high = more.

        A row that was hard and is now memorised has a high loss for long and a low one at the end: what its own
        presence in training did shows in the trace, and no shadow model is needed. Only epochs that saw every row
        count. Raises TrainingError when there are fewer than 4 of those, or when some between them are missing.

        Where training goes on long after the rows are fitted it says less, and the mean of `to_tensor` more (an MLP on
        Location-30, 60 epochs: of the tenth that 16 shadows find most exposed, its own top tenth holds 33 %, the mean's
        42 %, a random draw 10 %; two sets of 8 shadows agree on 65 %).

        Source: Pollock, Shilov, Dodd, de Montjoye 2025, LT-IQR (arXiv 2411.05743).
        """
        self._settle()
        losses_EN = self._losses_EN.cpu().numpy()
        epochs = np.flatnonzero(~np.isnan(losses_EN).any(axis=1))
        if len(epochs) < 4:
            raise TrainingError(
                f"{self!r} holds {len(epochs)} whole epochs; an interquartile range needs 4. Train on, with this trace."
            )
        if epochs[-1] - epochs[0] >= len(epochs):
            raise TrainingError(
                f"{self!r} misses epochs between {epochs[0]} and {epochs[-1]}: it was not kept where training was "
                "resumed. Save to_tensor() beside the training state, and resume with from_tensor()."
            )
        quartiles_2N = np.quantile(losses_EN[epochs].astype(np.float64), (0.25, 0.75), axis=0)
        return np.asarray(quartiles_2N[1] - quartiles_2N[0])
