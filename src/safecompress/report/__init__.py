"""The report: what a run found, as pure data and as text."""

from safecompress.report.describe import describe_finding, describe_measurements, describe_round
from safecompress.report.model import Report

__all__ = ["Report", "describe_finding", "describe_measurements", "describe_round"]
