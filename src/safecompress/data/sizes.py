"""How many rows each part of a split gets: the names of the parts, default sizes, and sizes given in part."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass

from safecompress.errors import DataError, suggest

POOLS = ("fit", "select", "verdict")
MEMBER_POOLS = tuple(f"member_{pool}" for pool in POOLS)
NONMEMBER_POOLS = tuple(f"nonmember_{pool}" for pool in POOLS)
SEPARATE = ("train", "validation", "test", *NONMEMBER_POOLS, "population")  # disjoint; member pools are in train
PARTS = ("train", *MEMBER_POOLS, "validation", "test", *NONMEMBER_POOLS, "population")
CANARY_PARTS = ("canaries", "canary_twins")
"""Parts that a split has only where canaries were planted: rows of train with a wrong label, and rows made alike that
train nothing."""

MIN_DEFAULT_ROWS = 30


@dataclass(frozen=True, slots=True)
class SplitSizes:
    """Row counts of a split. The member pools lie inside ``train``; all else stands beside it.

    Raises DataError for a count that is no integer of 0 or more, an empty train part, or member pools larger
    than train.
    """

    train: int
    member_fit: int
    member_select: int
    member_verdict: int
    validation: int
    test: int
    nonmember_fit: int
    nonmember_select: int
    nonmember_verdict: int
    population: int

    def __post_init__(self) -> None:
        _check_given(self.as_dict())
        if self.train < 1:
            raise DataError("The train part needs rows, but its size is 0. Give train a size of 1 or more.")
        pools = {name: self.as_dict()[name] for name in MEMBER_POOLS}
        if sum(pools.values()) > self.train:
            raise DataError(
                f"Member pools are disjoint subsets of train, but they take {sum(pools.values())} rows "
                f"({_listed(pools)}) and train has {self.train}. Make the pools smaller, or train larger."
            )

    @property
    def total(self) -> int:
        """Rows that the split takes: all separate parts together."""
        return sum(self.as_dict()[name] for name in SEPARATE)

    def as_dict(self) -> dict[str, int]:
        """Part name -> count, in the order of ``PARTS``."""
        return asdict(self)

    @classmethod
    def default(cls, num_rows: int) -> SplitSizes:
        """Sizes that use ``num_rows`` rows exactly: pools of 10 %, train of three pools, validation 8 %, test 12 %.

        Sizes are rounded to fifties (tens under 1,500 rows, ones under 300); population takes the rest.
        Examples: 1,797 rows give pools of 200, train 600, validation 150, test 250, population 197; 5,010
        give 500, 1,500, 400, 600, 1,010. Raises DataError under 30 rows.
        """
        if num_rows < MIN_DEFAULT_ROWS:
            raise DataError(
                f"Default sizes need at least {MIN_DEFAULT_ROWS} rows, but there are {num_rows}. Add rows, "
                f"or give every size: {', '.join(PARTS)}."
            )
        step = 50 if num_rows >= 1500 else 10 if num_rows >= 300 else 1
        pool, validation = _round(num_rows, 10, step), _round(num_rows * 2, 25, step)
        test = _round(validation * 3, 2, step)
        rest = num_rows - 6 * pool - validation - test
        return cls(3 * pool, pool, pool, pool, validation, test, pool, pool, pool, rest)

    @classmethod
    def resolve(cls, num_rows: int, **given: int | None) -> SplitSizes:
        """The sizes ``given``, and consistent ones for the rest; None counts as not given.

        With nothing given, ``default(num_rows)``. Otherwise a non-member pool that was not given is as large
        as its given member pool; the other separate parts share the rows that are left in the proportions of
        the default; member pools that were not given match their non-member pools, as far as train has room.
        Raises DataError for a name that is no part, for more rows than there are, and when nothing is left
        for a part that was not given.
        """
        known = {name: count for name, count in given.items() if count is not None}
        if not known:
            return cls.default(num_rows)
        _check_given(known)
        for member, nonmember in zip(MEMBER_POOLS, NONMEMBER_POOLS, strict=True):
            if member in known:
                known.setdefault(nonmember, known[member])
        sizes = _share_train(_share_rows(known, num_rows))
        wanted = {**dict.fromkeys(SEPARATE, 1), **{name: sizes[f"non{name}"] for name in MEMBER_POOLS}}
        starved = [name for name in PARTS if name not in known and sizes[name] == 0 < wanted[name]]
        if starved:
            raise DataError(
                f"No row is left for {', '.join(starved)}: there are {num_rows} rows, and {_listed(known)} "
                "were asked for. Ask for fewer rows elsewhere, or give these parts a size (0 leaves a part "
                "out)."
            )
        return cls(**sizes)


def _share_rows(known: Mapping[str, int], num_rows: int) -> dict[str, int]:
    """``known`` and, for every other separate part, its share of the rows that are left."""
    taken = {name: known[name] for name in SEPARATE if name in known}
    left = num_rows - sum(taken.values())
    if left < 0:
        raise DataError(
            f"The split asks for {sum(taken.values())} rows ({_listed(taken)}), but there are {num_rows}. "
            f"Ask for {-left} fewer."
        )
    if len(taken) == len(SEPARATE):
        return dict(known)
    base = SplitSizes.default(num_rows).as_dict()
    weights = {name: base[name] for name in SEPARATE if name not in taken}
    shares = {name: left * weight // sum(weights.values()) for name, weight in weights.items()}
    if "population" in shares:
        shares["population"] += left - sum(shares.values())
    return {**known, **shares}


def _share_train(part_sizes: Mapping[str, int]) -> dict[str, int]:
    """``part_sizes`` and, for every other member pool, the size of its non-member pool as far as train has room."""
    missing = [name for name in MEMBER_POOLS if name not in part_sizes]
    room = max(0, part_sizes["train"] - sum(part_sizes.get(name, 0) for name in MEMBER_POOLS))
    return {**part_sizes, **{name: min(part_sizes[f"non{name}"], room // len(missing)) for name in missing}}


def _check_given(sizes: Mapping[str, object]) -> None:
    strangers = [name for name in sizes if name not in PARTS]
    if strangers:
        raise DataError(f"A split has no part {strangers[0]!r}. {suggest(strangers[0], PARTS)}")
    wrong = {name: count for name, count in sizes.items() if not _is_count(count)}
    if wrong:
        raise DataError(f"Sizes are whole numbers of rows, 0 or more, but got {_listed(wrong)}. Correct these sizes.")


def _is_count(thing: object) -> bool:
    return isinstance(thing, int) and not isinstance(thing, bool) and thing >= 0


def _listed(sizes: Mapping[str, object]) -> str:
    return ", ".join(f"{name} {count!r}" for name, count in sizes.items())


def _round(numerator: int, denominator: int, step: int) -> int:
    """The multiple of ``step`` nearest to ``numerator / denominator``, halves up."""
    return (2 * numerator + denominator * step) // (2 * denominator * step) * step
