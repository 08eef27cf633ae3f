"""Methods: published ways to a small classifier, each a composition of the other rooms, for side-by-side tables."""

from safecompress.studies.methods.method import Made, Method, Repeated
from safecompress.studies.methods.methods import METHODS
from safecompress.studies.methods.setting import Setting
from safecompress.studies.methods.workshop import Workshop

__all__ = ["METHODS", "Made", "Method", "Repeated", "Setting", "Workshop"]
