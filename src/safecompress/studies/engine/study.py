"""What the engine asks of a study and of the results of its items."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, ClassVar, Protocol, TypeVar

from safecompress.attacks.private_cache import PrivateFolder
from safecompress.metrics.catalogue import ACCURACY, Metric, leaks

Figure = Mapping[str, Any]
"""A measurement as JSON: its value and the limits of its interval."""

ItemT = TypeVar("ItemT", bound=Hashable)
ItemT_contra = TypeVar("ItemT_contra", bound=Hashable, contravariant=True)


class Result(Protocol):
    """The result of one item, all of it JSON: aggregates only."""

    @property
    def item(self) -> Any:
        """The item that was measured."""
        ...

    @property
    def error(self) -> str | None:
        """Why there are no figures; a result with an error is not kept, and its item is measured again."""
        ...

    @property
    def has_numbers(self) -> bool:
        """Whether the model was made and every attack gave its figures."""
        ...

    def to_json(self) -> dict[str, Any]:
        """As a JSON object."""
        ...


ResultT = TypeVar("ResultT", bound=Result)
ResultT_co = TypeVar("ResultT_co", bound=Result, covariant=True)


class Study(Protocol[ItemT_contra, ResultT_co]):
    """How the items of a study are measured, in any process: a frozen value that travels to workers.

    ``noun`` is what one item is called, such as "cell". Every item runs on ``threads`` threads.
    """

    noun: ClassVar[str]

    @property
    def threads(self) -> int:
        """Threads of each process; part of what results depend on."""
        ...

    def digest(self, item: ItemT_contra, key: bytes) -> str:
        """Identifies the result of ``item`` in one folder; rows enter it keyed with ``key``."""
        ...

    def measure(self, item: ItemT_contra, store: PrivateFolder) -> ResultT_co:
        """The result of ``item``; finished stages and shadow models may be kept in ``store``."""
        ...

    def failed(self, item: ItemT_contra, error: str, seconds: float) -> ResultT_co:
        """The result of an item whose measuring raised ``error`` after so many seconds."""
        ...

    def read(self, data: Mapping[str, Any]) -> ResultT_co:
        """The result that `Result.to_json` gave. Raises KeyError or TypeError for anything else."""
        ...


@dataclass(frozen=True, kw_only=True)
class Measured:
    """A base for results: figures of one model with intervals over rows, or the ``error`` that says why there are none.

    ``figures`` are the accuracy and every attack's metrics; ``broken`` are the attacks that gave no number. ``apart``
    are the headline figures (AUC) of an attack and of each that runs beside it, by `name_apart`: the figures take the
    largest of them.
    """

    error: str | None = None
    figures: Mapping[str, Figure] = field(default_factory=dict)
    apart: Mapping[str, Figure] = field(default_factory=dict)
    broken: Mapping[str, str] = field(default_factory=dict)
    attacks: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def has_numbers(self) -> bool:
        """Whether the model was made and every attack gave its figures."""
        return self.error is None and not self.broken and ACCURACY.name in self.figures

    def value(self, metric: str) -> float | None:
        """The figure called ``metric``, or None where it was not measured."""
        return self.figures[metric]["value"] if metric in self.figures else None

    @property
    def values(self) -> dict[str, float]:
        """Every figure without its interval, by name."""
        return {name: float(figure["value"]) for name, figure in self.figures.items()}

    @property
    def worst_leak(self) -> float | None:
        """The largest AUC of all attacks (`catalogue.leaks`); None when one broke: the worst of the rest flatters."""
        by_attack = leaks(self.values)
        return max(by_attack.values()) if self.has_numbers and by_attack else None

    def worst(self, metric: Metric) -> float | None:
        """The largest ``metric`` of the attacks that measure it; None when an attack broke."""
        known = [value for attack in self.attacks if (value := self.value(metric.of(attack))) is not None]
        return max(known) if known and self.has_numbers else None

    def to_json(self) -> dict[str, Any]:
        """As a JSON object."""
        return asdict(self)

    @classmethod
    def fields_of(cls, data: Mapping[str, Any]) -> dict[str, Any]:
        """Arguments for the class from what `to_json` gave, lists made tuples. Raises KeyError for a missing list."""
        lists = {one.name: tuple(data[one.name]) for one in fields(cls) if isinstance(one.default, tuple)}
        return {**data, **lists}
