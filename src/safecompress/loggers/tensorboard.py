"""Figures for TensorBoard, as event files in a folder."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from safecompress.errors import UsageError
from safecompress.loggers.logger import Logger, need_package


class TensorBoard(Logger):
    """Event files in the folder ``target``, through PyTorch's own writer (extra ``tensorboard``).

    ``settings`` are written once, as text. A run that goes on adds a file; TensorBoard shows them as one.
    """

    def __init__(self, target: str, settings: Mapping[str, object] | None = None) -> None:
        if not target:
            raise UsageError("TensorBoard needs a folder for its files: --log tensorboard:runs/logs")
        need_package("tensorboard", "tensorboard")
        self._folder, self._settings = target, settings or {}
        self._writer: Any = None

    def measured(self, step: int, figures: Mapping[str, float]) -> None:
        """Scalars at ``step``."""
        if self._writer is None:
            from torch.utils.tensorboard import SummaryWriter

            self._writer = SummaryWriter(self._folder)
            table = "\n".join(f"    {name} = {value}" for name, value in self._settings.items())  # as code
            self._writer.add_text("settings", table)
        for name, value in figures.items():
            self._writer.add_scalar(name, value, step)

    def close(self, *, failed: bool) -> None:
        """Write what is pending."""
        if self._writer is not None:
            self._writer.close()
