"""Equal jobs end in equal figures: those of small runs are compared with what was recorded, to the last digit."""

import json

import pytest
from digest_recorder import PARTS, RECORDED, as_json, environment

pytestmark = [pytest.mark.slow, pytest.mark.own_controls]

KEPT = json.loads(RECORDED.read_text())


def differences(now, before, place=""):
    """Where two JSON values differ, each as one line."""
    if isinstance(now, dict) and isinstance(before, dict):
        keys = sorted(now.keys() | before.keys())
        return [line for key in keys for line in differences(now.get(key), before.get(key), f"{place}/{key}")]
    if isinstance(now, list) and isinstance(before, list) and len(now) == len(before):
        pairs = zip(now, before, strict=True)
        return [line for number, pair in enumerate(pairs) for line in differences(*pair, f"{place}/{number}")]
    return [] if now == before else [f"{place}: {now!r}, recorded {before!r}"]


@pytest.mark.parametrize("part", PARTS)
def test_figures_are_those_recorded(part, tmp_path, monkeypatch):
    monkeypatch.setenv("SAFECOMPRESS_ENGINE", "masked")  # by which they were recorded
    here = environment()
    other = {key: value for key, value in KEPT["environment"].items() if here[key] != value}
    if other:
        pytest.skip(f"recorded with {other}, and this is { ({key: here[key] for key in other}) }")
    assert differences(as_json(PARTS[part](tmp_path / part)), KEPT["figures"][part]) == []


def test_a_changed_figure_is_seen():
    assert differences({"a": [1, {"b": 0.1}]}, {"a": [1, {"b": 0.2}]}) == ["/a/1/b: 0.1, recorded 0.2"]
    assert differences({"a": [1]}, {"a": [1, 2]}) != []
    assert differences({"a": 1, "b": None}, {"a": 1}) == []
    assert differences({"a": 1, "b": 2}, {"a": 1}) != []
