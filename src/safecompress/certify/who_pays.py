"""Who pays for compression: accuracy on test rows class by class, beside the dense model's, and agreement with it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import nn

from safecompress.data import DataSplit
from safecompress.metrics.catalogue import AGREEMENT, WORST_CLASS, change_of
from safecompress.metrics.groups import (
    MIN_GROUP,
    GroupAccuracy,
    RowGroup,
    accuracies_apart,
    judged_groups,
    measure_largest_drop,
    measure_worst,
)
from safecompress.metrics.measurement import Levels, Measurement
from safecompress.training import measure_rate, predict_logits

NO_GROUPS = f"test rows make no two groups of {MIN_GROUP} or more; give test more rows"
NO_DENSE = "it takes the dense model, which was not given"


@dataclass(frozen=True, eq=False)
class WhoPays:
    """The accuracy of each class ``apart``, beside the dense model's.

    ``of`` has, by model (shipped, dense, trained), what a spec may require; changes from the dense model are figures of
    the shipped one. ``unmeasured`` says by name why one is missing.
    """

    apart: tuple[GroupAccuracy, ...]
    of: Mapping[str, Mapping[str, Measurement]] = field(repr=False)
    unmeasured: Mapping[str, str]


def class_groups(split: DataSplit, part: str) -> tuple[RowGroup, ...]:
    """The classes of the rows of ``part``, small ones together."""
    labels_N = split.dataset.labels.numpy()[split.indices[part]]
    names = split.dataset.class_names
    return judged_groups([RowGroup("class", name, labels_N == number) for number, name in enumerate(names)])


def measure_who_pays(split: DataSplit, models: Mapping[str, nn.Module], levels: Levels) -> WhoPays:
    """All figures on the test rows of ``models``, of which one is called shipped, and perhaps one dense."""
    features, labels = split.part("test")
    labels_N, row_groups = labels.numpy(), class_groups(split, "test")
    called = {name: predict_logits(model, features).argmax(dim=1).numpy() for name, model in models.items()}
    is_right = {name: called_N == labels_N for name, called_N in called.items()}
    of = {name: _named(measure_worst(WORST_CLASS, right_N, row_groups, levels)) for name, right_N in is_right.items()}
    unmeasured = (
        {} if len(row_groups) > 1 else dict.fromkeys((WORST_CLASS.name, change_of(WORST_CLASS.name)), NO_GROUPS)
    )
    if "dense" in models:
        drop = measure_largest_drop(WORST_CLASS, is_right["dense"], is_right["shipped"], row_groups, levels)
        agreement = measure_rate(AGREEMENT, called["shipped"] == called["dense"], levels)
        of["shipped"] |= _named(drop, agreement)
    else:
        unmeasured[AGREEMENT.name] = NO_DENSE
    apart = accuracies_apart(is_right["shipped"], is_right.get("dense"), row_groups, levels.alpha)
    return WhoPays(apart, of, unmeasured)


def _named(*figures: Measurement | None) -> dict[str, Measurement]:
    return {figure.name: figure for figure in figures if figure is not None}
