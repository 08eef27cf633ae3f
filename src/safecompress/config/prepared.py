"""The rows of a data set as a run needs them: split, scaled, and described as a task."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from safecompress.data import Dataset, DataSplit, SplitSizes, make_split, one_row_per_unit, standardise
from safecompress.export import TaskInfo


@dataclass(frozen=True, eq=False)
class PreparedData:
    """The split of one seed: ``raw`` as the data file has it, ``split`` as networks read it through ``task``."""

    raw: DataSplit = field(repr=False)
    split: DataSplit = field(repr=False)
    task: TaskInfo

    @property
    def evidence(self) -> DataSplit:
        """The raw rows, one of each unit where a model is measured."""
        return one_row_per_unit(self.raw)


def prepare_data(
    dataset: Dataset, part_sizes: Mapping[str, int], normalise: Literal["none", "standard"], seed: int
) -> PreparedData:
    """The split of ``dataset`` that ``seed`` draws; parts that ``part_sizes`` leaves out share the remaining rows.

    Raises DataError when the data has too few rows for it.
    """
    raw = make_split(dataset, SplitSizes.resolve(dataset.num_rows, **part_sizes), seed=seed)
    num_classes, names, shape = dataset.num_classes, dataset.class_names, dataset.input_shape
    if normalise == "none":
        return PreparedData(raw, raw, TaskInfo(num_classes, names, shape))
    split, scaler = standardise(raw)
    return PreparedData(raw, split, TaskInfo(num_classes, names, shape, scaler.shift, scaler.scale))
