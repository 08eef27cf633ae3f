"""What a logger is: it writes figures under a name and a step, and is closed in the end."""

from __future__ import annotations

import abc
import importlib.util
from collections.abc import Mapping

from safecompress.errors import UsageError
from safecompress.progress import RoundStatus, Silent


class Logger(Silent, abc.ABC):
    """Writes the figures that it receives; a decided round arrives as figures, too.

    Figures are aggregates over rows (a loss, an accuracy, an AUC), never values of single rows. A logger opens its file
    or connection with the first figure, so that a run that is refused leaves nothing behind. Whoever drives it (see
    `logging_to`) catches what it raises.
    """

    def stands(self, standings: RoundStatus) -> None:
        """The figures of a round that is decided."""
        if standings.winner is not None:
            self.measured(standings.step, figures_of(standings))

    @abc.abstractmethod
    def measured(self, step: int, figures: Mapping[str, float]) -> None:
        """Write ``figures`` at ``step``."""

    @abc.abstractmethod
    def close(self, *, failed: bool) -> None:
        """The run has ended, or ``failed``; nothing follows. A logger without figures has nothing to close."""


def figures_of(standings: RoundStatus) -> dict[str, float]:
    """The winner's figures as ``round/...``, every candidate's as ``candidates/<branch>/...``, where known."""
    named = [(f"candidates/{one.branch}", one) for one in standings.candidates]
    if standings.winner is not None:
        named.append(("round", standings.winner))
    figures = {
        f"{name}/{key}": getattr(one, key) for name, one in named for key in ("accuracy", "worst_auc", "tm_score")
    }
    return {name: value for name, value in figures.items() if value is not None}


_PACKAGES = {"mlflow": "mlflow-skinny sqlalchemy alembic"}
"""What a kind of logger needs, where that is not one package of its name."""


def need_package(package: str, extra: str) -> None:
    """Raise UsageError, with the remedy, when ``package`` is not installed; nothing is imported."""
    if importlib.util.find_spec(package) is None:
        raise UsageError(
            f"Logging to {extra} needs the package {package!r}, which is not installed. Install it: "
            f"pip install {_PACKAGES.get(extra, package)}"
        )
