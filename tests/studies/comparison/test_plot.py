"""The picture: its points, equal bytes for equal results, and names that lie apart."""

import sys

import pytest
from tiny_comparison import made_up, tiny_study

from safecompress.errors import UsageError
from safecompress.report.picture import INSTALL
from safecompress.studies.comparison import MethodEntry
from safecompress.studies.comparison.plot import draw, points_of
from safecompress.studies.methods.plain import Dense
from safecompress.studies.methods.sparse import Static

pytestmark = pytest.mark.rendered

STUDY = tiny_study([Dense(), Static()], densities=(0.1, 0.5))


def test_points_are_means_over_seeds():
    results = [made_up("Static", 0.1, 0, 0.8, 0.6, num_bytes=100), made_up("Static", 0.1, 1, 0.9, 0.7, num_bytes=300)]
    (found,) = points_of(STUDY.comparison, results, "worst AUC")
    assert (found.label, found.density, found.size) == ("Static", 0.1, 200)
    assert found.leak == pytest.approx(0.65) and found.accuracy == pytest.approx(0.85)
    assert found.leaks == (0.6, 0.7) and found.accuracies == (0.8, 0.9)


RESULTS = [
    made_up("Dense", 1.0, 0, 0.92, 0.70, num_bytes=9000),
    made_up("Static", 0.5, 0, 0.91, 0.66),
    made_up("Static", 0.1, 0, 0.80, 0.68),
]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["svg", "png"])
def test_equal_results_make_equal_pictures(kind, tmp_path):
    pytest.importorskip("matplotlib")
    fronts = [draw(STUDY.comparison, RESULTS, tmp_path / f"{n}.{kind}") for n in (0, 1)]
    assert [(p.label, p.density) for p in fronts[0]] == [("Static", 0.5), ("Dense", 1.0)]
    first, second = ((tmp_path / f"{n}.{kind}").read_bytes() for n in (0, 1))
    assert first == second and len(first) > 1000
    draw(STUDY.comparison, RESULTS[:2], tmp_path / f"other.{kind}")
    assert (tmp_path / f"other.{kind}").read_bytes() != first


@pytest.mark.slow
@pytest.mark.parametrize("count", [20, 30])
def test_a_crowd_is_drawn(count, tmp_path):
    """Beyond 24 points a legend lists the methods, and only the front is named beside its points."""
    pytest.importorskip("matplotlib")
    entries = [MethodEntry(f"a method with a long name {n}", Static()) for n in range(count)]
    study = tiny_study(entries, densities=(0.1,))
    results = [made_up(entry.label, 0.1, 0, 0.9, 0.6) for entry in entries]
    draw(study.comparison, results, tmp_path / "crowd.svg")
    assert (tmp_path / "crowd.svg").read_bytes().startswith(b"<?xml")


def test_without_matplotlib_it_says_how_to_get_it(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(UsageError) as caught:
        draw(STUDY.comparison, RESULTS, tmp_path / "p.svg")
    assert str(caught.value) == INSTALL and "pip install matplotlib" in INSTALL
    assert not (tmp_path / "p.svg").exists()


def test_nothing_to_draw(tmp_path):
    pytest.importorskip("matplotlib")
    with pytest.raises(UsageError, match="nothing to draw"):
        draw(STUDY.comparison, [], tmp_path / "p.svg")
