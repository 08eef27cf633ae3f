"""Data: checked datasets, and splits that say who is member, non-member and population."""

from safecompress.data.builtin import digits, location30
from safecompress.data.dataset import Dataset, row_keys
from safecompress.data.draw import make_split, one_row_per_unit, unit_ids
from safecompress.data.files import read_csv, read_npz
from safecompress.data.scale import Scaler, standardise
from safecompress.data.sizes import PARTS, SplitSizes
from safecompress.data.splits import AuditData, DataSplit
from safecompress.data.vision import cifar10
from safecompress.registry import Registry

DATASETS: Registry[Dataset] = Registry(
    "dataset",
    "safecompress.datasets",
    {"digits": digits, "location30": location30, "cifar10": cifar10, "npz": read_npz, "csv": read_csv},
)

__all__ = [
    "DATASETS",
    "PARTS",
    "AuditData",
    "DataSplit",
    "Dataset",
    "Scaler",
    "SplitSizes",
    "cifar10",
    "digits",
    "location30",
    "make_split",
    "one_row_per_unit",
    "read_csv",
    "read_npz",
    "row_keys",
    "standardise",
    "unit_ids",
]
