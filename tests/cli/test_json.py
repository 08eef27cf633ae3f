"""``--json`` of the verbs that judge nothing: one object on standard output."""

import json

import pytest
import tomli_w

from whole_runs import run_cli, tiny


def test_list_and_release(finished):
    told = json.loads(run_cli("list", "--json").out)
    assert told["attack"]["lira"]["origin"] == "built in"
    assert {"dataset", "model", "attack"} <= set(told)
    artifact = finished / "run" / "artifact.safetensors"
    ended = run_cli("release", artifact, "--to", finished / "out.jsonl", "--json")
    assert json.loads(ended.out) == {"artifact": str(artifact), "list": str(finished / "out.jsonl")}
    assert (finished / "out.jsonl").is_file()


@pytest.mark.slow
def test_compare(tmp_path):
    spec = tiny(recipe={"epochs": 1})
    kept = {key: spec[key] for key in ("name", "data", "model", "recipe")}
    compare = {"methods": ["dense"], "densities": [0.2], "seeds": [0], "attacks": ["gap"]}
    (tmp_path / "spec.toml").write_text(tomli_w.dumps({**kept, "compare": compare}))
    arguments = ("compare", tmp_path / "spec.toml", "--out", tmp_path / "out")
    ended = run_cli(*arguments, "--json", "--quiet")
    assert (ended.code, ended.err) == (0, "")
    assert json.loads(ended.out) == json.loads((tmp_path / "out" / "compare.json").read_text())
    ended = run_cli(*arguments, "--quiet")
    assert ended.out.splitlines() == [f"Page: {tmp_path / 'out' / 'compare.md'}"]
