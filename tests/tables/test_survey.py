"""What a column is taken for, what is refused and what to do, all in one list."""

from pathlib import Path

import numpy as np
import pytest

from safecompress.tables import Roles
from safecompress.tables.reading import Table
from safecompress.tables.survey import survey


def look(given, label=None, delimiter=",", **roles):
    """The survey of a table whose columns are given by name; a label of two classes unless one is named."""
    rows = len(next(iter(given.values())))
    columns = {**given, **({} if label else {"y": [str(row % 2) for row in range(rows)]})}
    body = list(zip(*columns.values(), strict=True))
    numbered = [(list(columns), 1), *((list(map(str, row)), line) for line, row in enumerate(body, 2))]
    return survey(Table.of(Path("t.csv"), numbered, delimiter), Roles(label or "y", **roles))


def kinds(given, **options):
    found = look(given, **options)
    assert found.faults == ()
    return [(column.kind, column.width) for column in found.schema.columns]


def refusal(given, **options):
    found = look(given, **options)
    assert found.faults
    return " ".join((*found.faults, found.hint))


RANDOM = np.random.default_rng(0)
MANY = [f"person {number}" for number in range(200)]


@pytest.mark.parametrize(
    ("cells", "kind"),
    [
        (["1", "2.5", "-3"], ("numeric", 1)),
        (["1,234", "2,500", "12"], ("numeric", 1)),
        (["1", "", "NA"], ("numeric", 2)),
        (["a", "b", "a"], ("categorical", 2)),
        (["a", "None", "b"], ("categorical", 3)),
        (["2020-01-31", "2020-02-01", "2020-02-02"], ("date", 1)),
        (["2020-01-31 10:00", "", "2020-02-02"], ("date", 3)),
        (["2020-01-31 10:00:00.5", "2020-02-01", "2020-02-02"], ("date", 3)),
        (["1", "1.0", "x"], None),
        (["13/1/2020", "1/13/2020", "1/1/2020"], None),
        (["45%", "3%", "0.5"], None),
        (["$5", "7", "$9"], ("numeric", 1)),
        (["$5", "€7", "$9"], None),
        (["", "NA", "null"], None),
        (["1", "inf", "2"], None),
        (["1", "1e39", "2"], None),
        (["1", "3e38", "2"], ("numeric", 1)),
    ],
)
def test_kinds_that_three_cells_have(cells, kind):
    found = look({"a": cells})
    assert (found.faults == ()) == (kind is not None)
    if kind is not None:
        (column,) = found.schema.columns
        assert (column.kind, column.width) == kind


def test_forced_kinds():
    columns = {"n": ["1", "2", "01"], "d": ["20200131", "20200201", "20200202"], "t": ["a b", "b c", "a c"]}
    assert kinds(columns, categorical=["n"], date=["d"], text=["t"]) == [("categorical", 2), ("date", 1), ("text", 64)]
    assert kinds(columns, columns=["d"], numeric="d") == [("numeric", 1)]
    assert "mixes" in refusal({"a": ["1", "2", "x"]}, numeric=["a"])
    assert kinds({"a": ["1", "-", "2"]}, missing=["-"]) == [("numeric", 2)]


def test_identifiers_names_and_free_text_are_asked_about():
    assert 'ignore = ["who"]' in refusal({"a": RANDOM.normal(size=200), "who": MANY})
    assert "free text" in look({"a": [f"it was {number} days ago" for number in range(200)]}).columns[0].remark
    assert kinds({"who": MANY}, categorical=["who"]) == [("categorical", 200)]
    assert kinds({"a": ["x"] * 100, "who": MANY[:100]}, ignore=["who"]) == [("categorical", 1)]
    assert "identifier" in refusal({"a": range(100, 300)})
    assert kinds({"a": range(100, 300)}, numeric=["a"]) == [("numeric", 1)]
    assert kinds({"a": range(50)}) == [("numeric", 1)]
    amounts = RANDOM.permutation(10_000)[:200]
    assert "every row" in " ".join(look({"amount": amounts}).notes)
    assert "identifier" in refusal({"patient_id": amounts})
    assert 'ignore = ["who", "patientId"]' in refusal({"who": MANY, "patientId": amounts})


def test_large_whole_numbers_are_never_rounded_in_silence():
    times = 1_700_000_000 + RANDOM.integers(0, 10_000, 200)
    (column,) = look({"created_at": times}).schema.columns
    assert (column.date_style, column.parts) == ("unix seconds", ("day", "second"))
    assert "they may be unix seconds" in refusal({"a": times})
    assert kinds({"a": times}, date=["a"]) == [("date", 2)]
    assert "loses digits" in " ".join(look({"a": times}, numeric=["a"]).notes)
    assert kinds({"a": 1000 * RANDOM.integers(0, 10**6, 200)}) == [("numeric", 1)]


@pytest.mark.parametrize(
    ("others", "delimiter", "decimal", "mark"),
    [
        (["1,5", "2,5"], ";", None, ","),
        (["1.5", "2.5"], ";", None, "."),
        (["1", "2"], ",", None, "."),
        (["1", "2"], ";", None, None),
        (["1", "2"], ";", ",", ","),
        (["1", "2"], ",", ",", ","),
    ],
)
def test_a_comma_that_may_part_thousands_is_settled_by_the_file(others, delimiter, decimal, mark):
    found = look({"a": ["1,234", "2,345"], "b": others}, delimiter=delimiter, decimal=decimal)
    assert (found.faults == ()) == (mark is not None)
    assert mark is None or found.schema.columns[0].decimal == mark


def test_dates_that_nothing_settles():
    columns = {"a": ["1/2/2020", "3/4/2020"]}
    assert "day_first" in refusal(columns)
    assert look(columns, day_first=False).schema.columns[0].date_style == "month first"
    assert "two digits" in refusal({"born": ["4/18/47", "1/1/50", "2/2/60"]})
    message = refusal({"a": ["2020-01-01", "2020-01-02", "2020-01-03", "soon"]})
    assert "1 line (5)" in message


def test_labels_are_one_way_of_writing_and_never_missing():
    label = ["1", "1.0", "01", "0"]
    assert look({"a": range(4), "y": label}, "y").class_names == ("0", "1")
    found = look({"a": range(4), "y": ["no", "None", "yes", "no"]}, "y")
    assert "1 line (3)" in found.faults[0]
    assert look({"a": range(4), "y": ["no", "None", "yes", "no"]}, "y", class_names=["no", "yes", "None"]).faults == ()
    assert "1 line (3)" in refusal({"a": range(3), "g": ["x", "NA", "x"]}, group="g")
    assert look({"a": range(4), "g": ["1", "1.0", "2", "2"]}, group="g").groups == ["1", "1", "2", "2"]


@pytest.mark.parametrize(
    ("label", "words"),
    [
        ([f"{value:.4f}" for value in RANDOM.normal(size=300)], "above the median"),
        (MANY, "names, or free text"),
        (["1"] * 30, "two at least"),
    ],
)
def test_what_is_no_class_says_what_to_do(label, words):
    assert words in refusal({"a": RANDOM.normal(size=len(label)), "y": label}, label="y")


def test_many_classes_of_few_rows_say_what_to_do():
    label = [str(row % 300) for row in range(2400)]
    found = look({"a": RANDOM.normal(size=2400), "y": label}, "y")
    assert found.faults == ()
    assert "join rare classes" in found.notes[0]


def test_all_faults_are_listed_with_lines_and_no_cell_is_shown():
    columns = {
        "born": ["2020-01-01"] * 39 + ["secret1"], "pay": ["5"] * 38 + ["secret2", "6"], "void": [""] * 40,
        "who": [f"secret{row}" for row in range(40)], "y": ["a"] * 20 + ["b"] * 19 + ["NA"],
    }  # fmt: skip
    found = look(columns, "y", ignore=["wh"])
    assert len(found.faults) == 6
    message = " ".join((*found.faults, *found.notes, found.hint, *(column.remark for column in found.columns)))
    assert "secret" not in message
    for words in ("ignore: there is no column 'wh'. Did you mean 'who'?", "1 line (41)", "1 line (40)", "'void'"):
        assert words in message
    lines = {
        column.name: (column.kind, column.missing, column.first_line, column.last_line) for column in found.columns
    }
    assert lines["pay"] == ("numeric", 0, 40, 40)
    assert lines["void"] == ("empty", 40, 2, 41)
    assert lines["y"] == ("label", 1, 41, 41)
