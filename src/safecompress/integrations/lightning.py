"""Dynamic sparse training in Lightning's ``Trainer``: one callback."""

from __future__ import annotations

import math
from typing import Any

from safecompress.errors import UsageError
from safecompress.integrations.common import check_options, missing_package
from safecompress.sparsity import SparseTraining, SparsityPattern

try:
    from lightning.pytorch import Callback
except ImportError as error:
    raise missing_package("lightning") from error


class SparseCallback(Callback):  # type: ignore[misc]  # without lightning it has no type
    """Trains a LightningModule at ``density``: ``Trainer(..., callbacks=[SparseCallback(density=0.1)])``.

    ``options`` are those of `SparseTraining`. Gradients are masked before Lightning clips them; accumulation and mixed
    precision need nothing; the state lies in Lightning's checkpoints, and ``fit(..., ckpt_path=...)`` goes on to the
    bit.

    Raises UsageError when training begins with more than one optimizer, without an end (no max_steps or max_epochs), or
    under a strategy that cuts parameters into pieces.
    """

    def __init__(self, *, density: float, **options: Any) -> None:
        check_options(options)
        self._options = {"density": density, **options}
        self._kept: dict[str, Any] | None = None
        self.sparse: SparseTraining | None = None

    @property
    def pattern(self) -> SparsityPattern:
        """The current pattern. Raises UsageError before training has begun."""
        if self.sparse is None:
            raise UsageError("There is no pattern before training has begun: call trainer.fit() first.")
        return self.sparse.pattern

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Make the module sparse, or go on as the checkpoint was."""
        strategy, total_steps = type(trainer.strategy).__name__, trainer.estimated_stepping_batches
        if any(word in strategy for word in ("FSDP", "DeepSpeed", "ModelParallel")):
            raise UsageError(f"SparseCallback cannot mask parameters that {strategy} has cut into pieces. Use 'ddp'.")
        if len(trainer.optimizers) != 1:
            raise UsageError(
                f"SparseCallback needs a module with one optimizer, got {len(trainer.optimizers)}. With several, make "
                "one SparseTraining(model, optimizer, automatic=True, ...) for each in your module."
            )
        if math.isinf(total_steps):
            raise UsageError("Sparse training needs an end to plan for. Give the Trainer max_steps or max_epochs.")
        self._detach()
        kept, self._kept = self._kept, None
        options = {"total_steps": int(total_steps), "automatic": True, "state": kept, **self._options}
        self.sparse = SparseTraining(pl_module, trainer.optimizers[0], **options)

    def on_before_optimizer_step(self, trainer: Any, pl_module: Any, optimizer: Any) -> None:
        """Mask the gradients, which are clipped next."""
        if self.sparse is not None:
            self.sparse.mask_gradients()

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        """Let the optimizer go."""
        self._detach()

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        """Let the optimizer go."""
        self._detach()

    def state_dict(self) -> dict[str, Any]:
        """What goes into a checkpoint."""
        return {} if self.sparse is None else self.sparse.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Remember what came from a checkpoint until training starts."""
        self._kept = state_dict or None

    def _detach(self) -> None:
        if self.sparse is not None:
            self.sparse.detach()
