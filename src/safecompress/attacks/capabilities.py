"""What an attack says of itself beyond its name and its access: its question, its cost, what it asks for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any, TypeVar

from safecompress.attacks.questions import MEMBERSHIP, Question
from safecompress.attacks.target import Target
from safecompress.data import AuditData

A = TypeVar("A")


@dataclass(frozen=True, slots=True)
class Capabilities:
    """Each is read from the attack's attribute of the same name; an attack without one has the default.

    ``question`` is what it answers. ``tier`` is what it costs: 0 milliseconds, 1 seconds, 2 shadow models (which
    never test candidates of a search). ``num_shadows`` is how many shadow models it asks for (0: none), ``epochs`` how
    long it trains a network of its own. ``joins_versions`` says whether it attacks several released models at once.
    ``varies`` (target, rows) says whether what it reads differs between rows, where that is not the logits: only then
    is a constant score a fault of the attack. ``reads_rows`` says whether it reads features of the rows themselves, so
    that it may rank them even where the model answers all of them alike.
    """

    question: Question = MEMBERSHIP
    tier: int = 0
    num_shadows: int = 0
    epochs: int = 0
    joins_versions: bool = False
    varies: Callable[[Target, AuditData], bool] | None = None
    reads_rows: bool = False


_NAMES = tuple(field.name for field in fields(Capabilities))


def capabilities_of(attack: object) -> Capabilities:
    """The capabilities of ``attack``, or of a factory of attacks, whose defaults are its class's."""
    return Capabilities(**{name: getattr(attack, name) for name in _NAMES if hasattr(attack, name)})


def with_shadows(attack: A, num_shadows: int) -> A:
    """``attack`` with ``num_shadows`` shadow models, if it asks for any."""
    dataclass_like: Any = attack
    return replace(dataclass_like, num_shadows=num_shadows) if capabilities_of(attack).num_shadows else attack


def as_searched(attack: A) -> A:
    """The attack that tests candidates of a search in the place of ``attack``: its ``in_search``, or itself.

    An attack has one where it reads more than a search can pay for in every round. It has the same name.
    """
    searched: A = getattr(attack, "in_search", attack)
    return searched
