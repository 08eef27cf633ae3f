"""Marks of pictures: on the pixel that the figure says, and with text that stays text."""

from xml.etree import ElementTree

import pytest

from safecompress.report.escaping import printable, shortened, yaml_string
from safecompress.report.plots.axis import Axis, around, percent, short
from safecompress.report.plots.bars import domain_of, requirement_bar
from safecompress.report.plots.roc import roc_plot
from safecompress.report.plots.search import shared_attacks, worst_auc
from safecompress.report.plots.split import split_plot
from safecompress.report.plots.svg import number, picture, steps, tag, text


@pytest.mark.parametrize(("value", "pixel"), [(0.0, 10), (0.5, 60), (1.0, 110), (-3.0, 10), (7.0, 110)])
def test_an_axis_lays_figures_on_pixels_and_keeps_them_inside(value, pixel):
    assert Axis(0, 1, 10, 110)(value) == pytest.approx(pixel)
    assert Axis(0, 1, 110, 10)(value) == pytest.approx(120 - pixel)


def test_a_logarithmic_axis_gives_each_power_of_ten_as_much_room():
    axis = Axis(1e-3, 1, 0, 300, is_log=True)
    assert [axis(value) for value in (1e-3, 1e-2, 1e-1, 1)] == pytest.approx([0, 100, 200, 300])
    assert axis(0.0) == 0  # nobody found lies on the floor
    assert axis.ticks() == pytest.approx([1e-3, 1e-2, 1e-1, 1])


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (0.0, 1.0, [0, 0.2, 0.4, 0.6, 0.8, 1.0]),
        (0.47, 0.66, [0.5, 0.55, 0.6, 0.65]),
        (0.0, 40000.0, [0, 10000, 20000, 30000, 40000]),
    ],
)
def test_ticks_are_round(low, high, ticks):
    assert Axis(low, high, 0, 1).ticks(6) == pytest.approx(ticks)


def test_limits_leave_room_and_stay_within():
    low, high = around([0.5, 0.6], least=0.05)
    assert low < 0.5 < 0.6 < high
    assert around([0.0, 1.0], least=0.1) == (0.0, 1.0)
    low, high = around([0.5], least=0.2)
    assert (low, high) == pytest.approx((0.4, 0.6))


def test_figures_are_short():
    assert [short(v) for v in (0.05, 1.0, 20000.0, 3e6)] == ["0.05", "1", "20k", "3M"]
    assert [percent(v) for v in (0.001, 1.0)] == ["0.1%", "100%"]
    assert [number(v) for v in (1.0, 1.239, 0.5)] == ["1", "1.24", "0.5"]


def test_a_step_holds_until_the_next_point():
    assert steps([(0, 5), (1, 4), (3, 1)]) == [(0, 5), (1, 5), (1, 4), (3, 4), (3, 1)]


def test_names_are_text_wherever_they_are_put():
    hostile = '"><script>&\x00'
    mark = picture(10, 10, hostile, hostile, text(1, 2, hostile, class_=hostile), name=hostile, class_=hostile)
    root = ElementTree.fromstring(str(mark))
    assert [child.tag for child in root] == ["title", "desc", "text"]
    assert root[2].text == root[2].attrib["class"] == root[0].text == '"><script>&�'
    assert str(tag("a", "<b>", tag("i"), x=None)) == "<a>&lt;b&gt;<i></i></a>"


def test_a_long_text_is_cut_and_its_tooltip_is_whole():
    root = ElementTree.fromstring(str(text(0, 0, "x" * 99, most=10)))
    assert len(root.text) == 10 and "…" in root.text
    assert root[0].text == "x" * 99
    assert shortened("abcdefgh", 8) == "abcdefgh"
    assert shortened("abcdefghi", 8) == "abcd…ghi"


def test_what_is_not_printable_is_replaced():
    assert printable("a\tb\n\x1b\u202e\ud800é") == "a�b����é"
    assert yaml_string('a"b\\c\nd') == '"a\\"b\\\\c�d"'


FIGURE = {"value": 0.55, "low": 0.5, "high": 0.6, "confidence": 0.95, "num_samples": 9, "direction": "lower is better"}


def finding(metric="loss.auc", bound=0.65, requirement="loss.auc ≤ 0.65", verdict="PASS", measurement=FIGURE):
    return {
        "metric": metric,
        "bound": bound,
        "requirement": requirement,
        "verdict": verdict,
        "measurement": measurement,
    }


def bar_of(given, dense=None, domain=(0.4, 0.7)):
    return ElementTree.fromstring(str(requirement_bar(given, dense, domain, "bar")))


def marks(root, name):
    return [one for one in root if name in one.attrib.get("class", "").split()]


def test_the_interval_lies_beside_the_bound():
    root = bar_of(finding())
    (span,), (bound,), (allowed,) = (marks(root, name) for name in ("span", "bound", "allowed"))
    assert float(span.attrib["x1"]) == pytest.approx(4 + 252 / 3)  # 0.5 is a third of the way from 0.4 to 0.7
    assert float(span.attrib["x2"]) < float(bound.attrib["x1"])
    assert float(allowed.attrib["width"]) == pytest.approx(float(bound.attrib["x1"]) - 4, abs=0.02)
    root = bar_of(finding("accuracy", 0.5, "accuracy ≥ 0.5"))
    (bound,), (allowed,) = marks(root, "bound"), marks(root, "allowed")
    assert float(allowed.attrib["x"]) == pytest.approx(float(bound.attrib["x1"]))  # above a floor


def test_what_was_not_measured_is_said_and_not_drawn():
    root = bar_of(finding(measurement=None, verdict="ERROR"))
    assert root[1].text == "nothing was measured"
    assert marks(root, "value") == [] and len(marks(root, "bound")) == 1


def test_the_dense_model_is_a_ring():
    root = bar_of(finding(), {**FIGURE, "value": 0.62})
    (ring,) = marks(root, "ring")
    assert ring[0].text == "dense model 0.620, interval 0.500 to 0.600"


def test_aucs_share_one_span_and_bytes_have_their_own():
    findings = [finding(), finding("lira.auc", 0.9), finding("artifact.size_bytes", 40000, measurement=None)]
    assert domain_of("loss.auc", findings, {}) == domain_of("lira.auc", findings, {})
    assert domain_of("lira.auc", findings, {})[1] > 0.9
    assert domain_of("artifact.size_bytes", findings, {})[1] > 40000


def test_a_roc_lies_on_its_points():
    points = [
        {"fpr": 0.001, "tpr": 0.0, "low": 0.0, "high": 0.01},
        {"fpr": 0.01, "tpr": 0.1, "low": 0.05, "high": 0.2},
        {"fpr": 0.1, "tpr": 1.0, "low": 0.9, "high": 1.0},
    ]
    root = ElementTree.fromstring(str(roc_plot("lira", points, None, 200, "roc")))
    (line,) = marks(root, "roc")
    x, y = Axis(0.001, 1, 40, 230, is_log=True), Axis(0.001, 1, 174, 26, is_log=True)
    corners = [tuple(map(float, corner.split())) for corner in line.attrib["d"][2:].split(" L ")]
    assert corners[0] == pytest.approx((x(0.001), y(0.001)))
    assert corners[2] == pytest.approx((x(0.01), y(0.1)), abs=0.01)
    assert corners[-1] == pytest.approx((x(1), y(1)))
    assert "finds 10.0% (5.0 to 20.0%)" in root[1].text
    assert len(marks(root, "resolution")) == 1  # one of 200 non-members
    assert marks(ElementTree.fromstring(str(roc_plot("lira", points, None, 2000, "roc"))), "resolution") == []


def test_only_attacks_that_met_everybody_compare():
    def one(*attacks):
        return {"metrics": {f"{attack}.auc": {"value": 0.5 + 0.1 * n} for n, attack in enumerate(attacks)}}

    rounds = [{"candidates": [one("gap", "loss", "neural"), one("gap", "loss")]}, {"candidates": [one("loss", "gap")]}]
    assert shared_attacks(rounds) == ["gap", "loss"]
    assert shared_attacks([]) == []
    metrics = one("gap", "loss", "neural")["metrics"]
    assert worst_auc(metrics, ["gap", "loss"])[0] == "loss"
    assert worst_auc(metrics)[0] == "neural"
    assert worst_auc({}) is None


def test_parts_are_as_long_as_they_have_rows():
    root = ElementTree.fromstring(str(split_plot([("train", 30, "train"), ("test", 10, "test")], [], "split")))
    train, test = marks(root, "part")
    assert float(train.attrib["width"]) == pytest.approx(540 - 1.5)
    assert float(test.attrib["x"]) == pytest.approx(540)
