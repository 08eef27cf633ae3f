"""Comparisons: what can be compared, in which order, and what tells one cell's result from another's."""

from dataclasses import replace

import pytest
from tiny_comparison import SIZES, Fresh, Halved, noise, tiny_study

from safecompress.compression.search import Plan
from safecompress.errors import DataError, UsageError
from safecompress.studies.comparison import Cell, Comparison, MethodEntry
from safecompress.studies.methods.plain import Dense
from safecompress.studies.methods.sparse import SafeCompress, Static
from safecompress.training import Recipe


def test_dense_methods_come_first_and_once_a_seed_and_neighbours_differ_in_seed():
    comparison = Comparison(["static", "dense", "set"], densities=[0.2, 0.1], seeds=[3, 4], attacks=["gap"])
    first, second = comparison.stages()
    assert first == [Cell("dense", 1.0, 3), Cell("dense", 1.0, 4)]
    assert [str(cell) for cell in second] == [
        f"{label}, density {density}, seed {seed}"
        for label in ("static", "set")
        for density in (0.2, 0.1)
        for seed in (3, 4)
    ]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"methods": []}, "methods must be"),
        ({"methods": ["static", "static"]}, "got ['static', 'static']"),
        ({"methods": ["statc"]}, "mean 'static'?"),
        ({"densities": [0.1, 0.1]}, "densities must be"),
        ({"densities": [0.0]}, "in (0, 1], got [0.0]"),
        ({"densities": [1.5]}, "got [1.5]"),
        ({"seeds": []}, "seeds must be"),
        ({"seeds": [-1]}, "least 0"),
        ({"num_shadows": 3}, "least 4, got 3"),
        ({"attacks": ["gap", "gap"]}, "attacks must be"),
        ({"attacks": ["joint_lira"]}, "joins several versions"),
    ],
)
def test_what_cannot_be_compared(options, words):
    with pytest.raises(UsageError) as caught:
        Comparison(**{"methods": ["static"], **options})
    assert words in str(caught.value)


@pytest.mark.parametrize("label", ["", "  ", "two\nlines", "x" * 61])
def test_labels_that_name_no_row(label):
    with pytest.raises(UsageError, match="printable"):
        MethodEntry(label, Static())


def test_what_an_entry_uses_is_the_methods_and_its_objectives():
    assert MethodEntry("a", SafeCompress()).uses == {"attacks on members"}
    assert MethodEntry("a", Halved()).uses == {"reference rows"}

    class Needy:
        needs = frozenset({"reference"})

    assert MethodEntry("a", Static(objective=Needy())).uses == {"reference rows"}


def test_ours_are_searches_by_attacks_and_what_is_labelled_so():
    assert MethodEntry("mine", SafeCompress()).is_ours and MethodEntry("SafeCompress, static", Static()).is_ours
    assert not MethodEntry("static", Static()).is_ours


def test_each_thing_that_a_result_depends_on_changes_its_digest():
    study, key = tiny_study([Fresh(), Dense()]), b"k"
    cell = Cell("Fresh", 0.5, 0)
    others = [
        study.digest(Cell("Fresh", 0.5, 1), key),
        study.digest(Cell("Fresh", 0.2, 0), key),
        study.digest(Cell("Dense", 0.5, 0), key),
        study.digest(cell, b"another key"),
        tiny_study([Fresh(epsilon=1.0)]).digest(cell, key),
        tiny_study([Fresh()], attacks=("gap",)).digest(cell, key),
        tiny_study([Fresh()], shadows="final pattern").digest(cell, key),
        tiny_study([Fresh()], data=noise(seed=1)).digest(cell, key),
        tiny_study([Fresh()], sizes={**SIZES, "test": 39}).digest(cell, key),
        tiny_study([Fresh()], recipe=Recipe(epochs=1)).digest(cell, key),
        tiny_study([Fresh()], normalise="standard").digest(cell, key),
        replace(study, threads=2).digest(cell, key),
        replace(study, model=replace(study.model, options={"hidden": (9,)})).digest(cell, key),
    ]
    assert len({study.digest(cell, key), *others}) == 14


def test_more_methods_and_seeds_leave_the_digests_alone():
    few, many = tiny_study([Fresh()]), tiny_study([Fresh(), Dense()], seeds=(0, 1, 2), densities=(0.5, 0.1))
    assert few.digest(Cell("Fresh", 0.5, 0), b"k") == many.digest(Cell("Fresh", 0.5, 0), b"k")


def test_too_few_shadows_for_lira_are_refused_before_any_training():
    tiny_study([Fresh()], attacks=("lira",), num_shadows=4).check()
    with pytest.raises(UsageError, match=r"lira needs at least 2 .* 4 shadows and seed 0"):
        tiny_study([Fresh()], attacks=("lira",), num_shadows=4, sizes={**SIZES, "population": 25}).check()
    with pytest.raises(UsageError, match="lira needs at least 2"):  # reference rows are in no shadow's draw
        tiny_study([Halved()], attacks=("lira",), num_shadows=4).check()


def test_what_every_cell_would_trip_over_is_refused_before_any_training():
    with pytest.raises(UsageError, match="SafeCompress: 40 rounds do not fit"):
        tiny_study([SafeCompress(plan=Plan(rounds=40))]).check()
    with pytest.raises(UsageError, match="accuracy on test rows"):
        tiny_study([Fresh()], sizes={**SIZES, "test": 0}).check()
    with pytest.raises(DataError, match="split asks for 270"):
        tiny_study([Fresh()], data=noise(100)).check()
    with pytest.raises(UsageError, match="threads"):
        replace(tiny_study([Fresh()]), threads=0).check()
