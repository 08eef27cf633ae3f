"""The page on texts: its spec is read, its code says what is shown, its options exist."""

import re
from inspect import signature
from pathlib import Path

import pytest

from safecompress.config import parse_config
from safecompress.data import DATASETS
from safecompress.data.text.tokenizers import FILES
from whole_runs import run_code

PAGE = (Path(__file__).parents[2] / "docs" / "text.md").read_text(encoding="utf-8")
REST = """
name = "page"
safety = { attacks = ["loss"] }
require = [{ metric = "accuracy", at_least = 0.5 }]
"""
SETS = ("text", "ag_news", "yelp5", "sst2")


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, flags=re.S | re.M)


def test_the_spec_is_read_without_a_fault(tmp_path):
    (spec,) = blocks("toml")
    data = parse_config(REST + spec, base=tmp_path, source="text.md").data
    assert data.source == "text" and data.normalise == "none"


def test_every_option_is_told():
    told = {name for cell in re.findall(r"^\| (`.*?) \|", PAGE, flags=re.M) for name in re.findall(r"`(\w+)`", cell)}
    parameters = {name: set(signature(DATASETS.factory(name)).parameters) - {"root", "tokenizer"} for name in SETS}
    assert parameters["text"] <= told
    shared = {"part", "max_length", "pad_to_max", "rows", "per_class", "skip_unreadable"}
    assert all(shared <= parameters[name] <= shared | {"words_only"} for name in SETS if name != "text")
    assert set(FILES) <= set(re.findall(r"`([\w.]+)`", PAGE))


def test_the_code_says_what_is_shown(tmp_path):
    pytest.importorskip("tokenizers")
    (code,), (shown,) = blocks("python"), blocks("text")
    assert run_code(code, tmp_path) == shown
