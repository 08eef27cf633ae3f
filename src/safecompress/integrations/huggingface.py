"""Dynamic sparse training in Hugging Face's ``Trainer``: one callback."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from safecompress.errors import UsageError
from safecompress.integrations.common import check_options, missing_package, read_state, write_state
from safecompress.sparsity import SparseTraining, SparsityPattern, Start

try:
    from transformers import TrainerCallback
except ImportError as error:
    raise missing_package("transformers") from error

STATE = "sparse.safetensors"
"""The file in each of the Trainer's checkpoints that sparse training goes on from."""


class SparseTrainerCallback(TrainerCallback):  # type: ignore[misc]  # without transformers it has no type
    """Trains the Trainer's model at ``density``: ``Trainer(..., callbacks=[SparseTrainerCallback(density=0.1)])``.

    It begins from the largest of the weights that the model has (``start="pretrained"``), since most models here are
    pretrained; ``options`` are those of `SparseTraining` otherwise. Gradients are masked before the Trainer clips them
    (but see `SparseTraining.mask_early`), accumulation and mixed precision need nothing, and
    ``train(resume_from_checkpoint=...)`` goes on to the bit: masks lie in every checkpoint. After
    ``load_best_model_at_end`` the `pattern` is that of the best model.

    Raises UsageError when training begins under DeepSpeed or FSDP, which cut parameters into pieces that have no
    layers, or when it should go on from a checkpoint without masks.
    """

    def __init__(self, *, density: float, start: Start | str = Start.PRETRAINED, **options: Any) -> None:
        check_options(options)
        self._options = {"density": density, "start": start, **options}
        self.sparse: SparseTraining | None = None
        self._pattern: SparsityPattern | None = None

    @property
    def pattern(self) -> SparsityPattern:
        """The pattern of the model as it is now. Raises UsageError before training has begun."""
        if self._pattern is not None:
            return self._pattern
        if self.sparse is None:
            raise UsageError("There is no pattern before training has begun: call trainer.train() first.")
        return self.sparse.pattern

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Make the model sparse, or go on as the checkpoint was."""
        if args.deepspeed or args.fsdp:
            raise UsageError(
                "SparseTrainerCallback cannot mask parameters that DeepSpeed or FSDP have cut into pieces. Train on "
                "one device, or with DistributedDataParallel (torchrun alone)."
            )
        self._detach()
        self._pattern = None
        optimizer = getattr(kwargs["optimizer"], "optimizer", kwargs["optimizer"])  # Accelerate wraps it
        kept = _kept(args, state.global_step) if state.global_step else None
        self.sparse = SparseTraining(
            kwargs["model"], optimizer, total_steps=state.max_steps, automatic=True, state=kept, **self._options
        )
        if args.max_grad_norm:
            self.sparse.mask_early()

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Keep the masks in the checkpoint."""
        if self.sparse is not None and state.is_world_process_zero:
            write_state(self.sparse, _folder(args, state.global_step) / STATE)

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Let the optimizer go; where the best model came back, its pattern did, too."""
        self._detach()
        if args.load_best_model_at_end and state.best_model_checkpoint:
            masks = read_state(Path(state.best_model_checkpoint) / STATE)["masks"]
            self._pattern = SparsityPattern({name: mask.bool() for name, mask in masks.items()})

    def _detach(self) -> None:
        if self.sparse is not None:
            self.sparse.detach()


def _folder(args: Any, step: int) -> Path:
    return Path(args.output_dir) / f"checkpoint-{step}"


def _kept(args: Any, step: int) -> dict[str, Any]:
    """The state in the checkpoint that the Trainer goes on from: in its output folder, or the one named in ``args``."""
    named = [Path(args.resume_from_checkpoint)] if isinstance(args.resume_from_checkpoint, str) else []
    paths = [folder / STATE for folder in (*named, _folder(args, step))]
    for path in paths:
        if path.is_file():
            return read_state(path)
    raise UsageError(
        f"The Trainer goes on from step {step}, and there is no {' and no '.join(map(str, paths))}: which weights "
        "were active is not known. Go on from a checkpoint that was made with SparseTrainerCallback, under "
        "args.output_dir or named by args.resume_from_checkpoint."
    )
