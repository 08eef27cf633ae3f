"""Baselines: published ways to a small classifier, each a composition of the other rooms, for side-by-side tables."""

from safecompress.baselines.method import Made, Method, Repeated
from safecompress.baselines.methods import METHODS
from safecompress.baselines.setting import Setting
from safecompress.baselines.workshop import Workshop

__all__ = ["METHODS", "Made", "Method", "Repeated", "Setting", "Workshop"]
