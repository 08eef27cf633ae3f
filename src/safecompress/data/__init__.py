"""Data: checked datasets, and splits that say who is member, non-member and population."""

from safecompress.data.builtin import digits, location30
from safecompress.data.canaries import plant_canaries
from safecompress.data.dataset import Dataset, row_keys
from safecompress.data.draw import make_split, one_row_per_unit, unit_ids
from safecompress.data.images.cifar import cifar10, cifar100
from safecompress.data.images.image_folder import image_folder
from safecompress.data.images.tiny_imagenet import tiny_imagenet
from safecompress.data.scale import standardise
from safecompress.data.scaler import Scaler
from safecompress.data.sizes import PARTS, SplitSizes
from safecompress.data.splits import AuditData, DataSplit
from safecompress.data.tabular.adult import adult
from safecompress.data.tabular.files import read_csv, read_npz
from safecompress.data.text.corpora import ag_news, sst2, yelp5
from safecompress.data.text.read import read_text
from safecompress.registry import Registry

DATASETS: Registry[Dataset] = Registry(
    "dataset",
    "safecompress.datasets",
    {
        "digits": digits,
        "location30": location30,
        "adult": adult,
        "cifar10": cifar10,
        "cifar100": cifar100,
        "tiny_imagenet": tiny_imagenet,
        "image_folder": image_folder,
        "ag_news": ag_news,
        "yelp5": yelp5,
        "sst2": sst2,
        "npz": read_npz,
        "csv": read_csv,
        "text": read_text,
    },
)

__all__ = [
    "DATASETS",
    "PARTS",
    "AuditData",
    "DataSplit",
    "Dataset",
    "Scaler",
    "SplitSizes",
    "adult",
    "ag_news",
    "cifar10",
    "cifar100",
    "digits",
    "image_folder",
    "location30",
    "make_split",
    "one_row_per_unit",
    "plant_canaries",
    "read_csv",
    "read_npz",
    "row_keys",
    "standardise",
    "tiny_imagenet",
    "unit_ids",
]
