"""The page on data: its output is what the command prints, its table names what exists, its code runs."""

import re
from inspect import signature
from pathlib import Path

import pytest

from safecompress.config import parse_config
from safecompress.data import DATASETS, SplitSizes
from whole_runs import run_cli, run_code

PAGE = (Path(__file__).parents[2] / "docs" / "data.md").read_text(encoding="utf-8")
REST = """
name = "page"
model = { name = "mlp" }
safety = { attacks = ["loss"] }
require = [{ metric = "accuracy", at_least = 0.5 }]
"""


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, flags=re.S | re.M)


def test_the_output_is_what_check_prints():
    (shown,) = blocks("text")
    printed = [line.rstrip() for line in run_cli("data", "check", "digits").out.splitlines()]
    assert printed[: len(shown.splitlines())] == shown.splitlines()


def test_the_table_names_every_data_set():
    first_cells = re.findall(r"^\| (`.*?) \|", PAGE, flags=re.M)
    named = {name for cell in first_cells for name in re.findall(r"`(\w+)`", cell)} - {"source"}
    assert named == set(DATASETS.names())


def test_the_spec_is_read_without_a_fault(tmp_path):
    (spec,) = blocks("toml")
    config = parse_config(REST + spec, base=tmp_path, source="data.md")
    assert config.data.source == "cifar100"
    assert config.data.sizes["member_verdict"] == 2000


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("cifar10", "part per_class"), ("cifar100", "part per_class labels duplicates"), ("tiny_imagenet", "part"),
        ("image_folder", "ignore size"), ("adult", "ignore"), ("text", "tokenizer"), ("csv", "label ignore"),
    ],
)  # fmt: skip
def test_options_exist(name, options):
    for option in options.split():
        assert option in signature(DATASETS.factory(name)).parameters
        assert re.search(rf"\b{option}\b", PAGE)


def test_commands_are_understood():
    told = run_cli("data", "check", "--help").out
    for option in set(re.findall(r"--[a-z-]+", " ".join(blocks("sh")))):
        assert option in told, option


def test_default_sizes_are_as_the_page_says():
    sizes = SplitSizes.default(10_000)
    assert (sizes.train, sizes.nonmember_fit, sizes.validation, sizes.test) == (3000, 1000, 800, 1200)


def test_the_code_runs_in_an_empty_folder(tmp_path):
    (code,) = blocks("python")
    assert run_code(code, tmp_path) == "True 120\n"
