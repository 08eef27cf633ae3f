"""Figures for MLflow, sent in batches to the tracking server, database or folder that the user names."""

from __future__ import annotations

import logging
import os
import re
import time
from collections.abc import Mapping
from typing import Any

from safecompress.errors import UsageError
from safecompress.loggers.logger import Logger, need_package
from safecompress.progress import RoundStatus

EXPERIMENT = "safecompress"
"""The experiment that runs are filed under unless MLFLOW_EXPERIMENT_NAME says else."""

DEFAULTS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
}
"""MLflow's settings where the environment has none: nothing is sent to its makers, and a dead server costs seconds."""

BATCH, PAUSE_S = 500, 5.0
"""Most figures that wait to be sent, and the longest they wait for the next ones."""


class Mlflow(Logger):
    """One MLflow run at the tracking URI ``target`` (extra ``mlflow``); ``settings`` become its parameters.

    MLflow allows fewer characters in names: ``lira.tpr@fpr=0.01`` is written as ``lira.tpr_fpr_0.01``.
    """

    def __init__(self, target: str, settings: Mapping[str, object] | None = None) -> None:
        if not target:
            raise UsageError(
                "MLflow needs the URI of its store: --log mlflow:http://localhost:5000 or --log mlflow:sqlite:///logs.db"
            )
        need_package("mlflow", "mlflow")
        self._uri, self._settings = target, dict(settings or {})
        self._client: Any = None
        self._run = ""
        self._waiting: list[tuple[str, float, int, int]] = []
        self._sent_at = time.monotonic()

    def measured(self, step: int, figures: Mapping[str, float]) -> None:
        """Metrics at ``step``; they are sent when enough have come together, or some seconds have gone."""
        if self._client is None:
            self._open()
        now = round(time.time() * 1000)
        self._waiting += [(allowed_name(name), float(value), now, step) for name, value in figures.items()]
        if len(self._waiting) >= BATCH or time.monotonic() - self._sent_at > PAUSE_S:
            self._send()

    def stands(self, standings: RoundStatus) -> None:
        """A decided round is sent at once."""
        super().stands(standings)
        if standings.winner is not None:
            self._send()

    def close(self, *, failed: bool) -> None:
        """Send the rest, and end the MLflow run."""
        if self._client is None:
            return
        self._send()
        self._client.set_terminated(self._run, "FAILED" if failed else "FINISHED")

    def _open(self) -> None:
        for name, value in DEFAULTS.items():
            os.environ.setdefault(name, value)
        from mlflow.entities import Param
        from mlflow.tracking import MlflowClient

        logging.getLogger("mlflow").setLevel(logging.WARNING)  # its notes on databases would break into the live view
        client = MlflowClient(tracking_uri=self._uri)
        experiment = os.environ.get("MLFLOW_EXPERIMENT_NAME", EXPERIMENT)
        known = client.get_experiment_by_name(experiment)
        number = client.create_experiment(experiment) if known is None else known.experiment_id
        self._run = client.create_run(number, run_name=str(self._settings.get("name", EXPERIMENT))).info.run_id
        parameters = [Param(allowed_name(name), str(value)) for name, value in self._settings.items()]
        client.log_batch(self._run, params=parameters)
        self._client = client

    def _send(self) -> None:
        from mlflow.entities import Metric

        while self._waiting:
            batch, self._waiting = self._waiting[:BATCH], self._waiting[BATCH:]
            self._client.log_batch(self._run, metrics=[Metric(*figure) for figure in batch])
        self._sent_at = time.monotonic()


def allowed_name(name: str) -> str:
    """``name`` with an underscore for what MLflow does not allow in one."""
    return re.sub(r"[^\w\-. /]", "_", name)
