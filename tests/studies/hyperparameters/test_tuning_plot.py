"""The picture: equal bytes for equal trials, other bytes for others."""

import sys

import pytest
from test_found import BEATEN, FAILED, GOOD, SAFE
from tiny_tuning import found_of

from safecompress.errors import UsageError
from safecompress.report.picture import INSTALL
from safecompress.studies.hyperparameters.plot import draw

pytestmark = pytest.mark.rendered


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["svg", "png"])
def test_equal_trials_make_equal_pictures(kind, tmp_path):
    pytest.importorskip("matplotlib")
    for number, trials in enumerate([[GOOD, FAILED, SAFE], [GOOD, FAILED, SAFE], [GOOD, BEATEN, SAFE]]):
        draw(found_of(trials), tmp_path / f"{number}.{kind}")
    first, second, third = ((tmp_path / f"{number}.{kind}").read_bytes() for number in range(3))
    assert first == second != third and len(first) > 1000


def test_a_single_trial_is_drawn(tmp_path):
    pytest.importorskip("matplotlib")
    draw(found_of([GOOD]), tmp_path / "p.svg")
    assert (tmp_path / "p.svg").read_bytes().startswith(b"<?xml")


def test_without_matplotlib_it_says_how_to_get_it(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(UsageError) as caught:
        draw(found_of([GOOD]), tmp_path / "p.svg")
    assert str(caught.value) == INSTALL and not (tmp_path / "p.svg").exists()


def test_nothing_to_draw(tmp_path):
    pytest.importorskip("matplotlib")
    with pytest.raises(UsageError, match="nothing to draw"):
        draw(found_of([FAILED]), tmp_path / "p.svg")
