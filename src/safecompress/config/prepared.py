"""The rows of a data set as a run needs them: split, scaled, and described as a task."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from safecompress.data import Dataset, DataSplit, make_split, one_row_per_unit, plant_canaries, standardise
from safecompress.data.canaries import sizes_beside_canaries
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
    dataset: Dataset,
    part_sizes: Mapping[str, int],
    normalise: Literal["none", "standard"],
    seed: int,
    *,
    num_canaries: int = 0,
) -> PreparedData:
    """The split of ``dataset`` that ``seed`` draws; parts that ``part_sizes`` leaves out share the remaining rows.

    With ``num_canaries`` so many are planted in train (`plant_canaries`). Raises DataError when the data has too few
    rows for it.
    """
    raw = make_split(dataset, sizes_beside_canaries(dataset.num_rows, part_sizes, num_canaries), seed=seed)
    if num_canaries:
        raw = plant_canaries(raw, num_canaries, seed=seed)
    num_classes, names, shape = dataset.num_classes, dataset.class_names, dataset.input_shape
    if normalise == "none":
        return PreparedData(raw, raw, TaskInfo(num_classes, names, shape, table=raw.dataset.table))
    split, scaler = standardise(raw)
    task = TaskInfo(num_classes, names, shape, scaler.shift, scaler.scale, raw.dataset.table)
    return PreparedData(raw, split, task)
