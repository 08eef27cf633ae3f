"""Logs of runs in the tools that people keep them in: figures of rounds, trainings and verdicts, as aggregates."""

from safecompress.loggers.logger import Logger, figures_of
from safecompress.loggers.mlflow import Mlflow
from safecompress.loggers.parse import LOGGERS, logging_to, parse_log
from safecompress.loggers.tensorboard import TensorBoard

__all__ = ["LOGGERS", "Logger", "Mlflow", "TensorBoard", "figures_of", "logging_to", "parse_log"]
