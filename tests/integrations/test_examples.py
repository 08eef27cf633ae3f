"""Each example runs as it stands, in an empty folder, and is short enough to be read."""

import re
import runpy
from pathlib import Path

import pytest

import safecompress as sc

EXAMPLES = Path(__file__).parents[2] / "examples" / "integrations"
NEEDS = {"pytorch_loop": "torch", "huggingface_trainer": "transformers", "lightning_trainer": "lightning"}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", NEEDS)
def test_an_example_runs(name, tmp_path, monkeypatch, capsys):
    pytest.importorskip(NEEDS[name])
    monkeypatch.chdir(tmp_path)
    runpy.run_path(str(EXAMPLES / f"{name}.py"), run_name="__main__")
    last = capsys.readouterr().out.strip().splitlines()[-1]
    density, accuracy = re.match(r"density (0\.\d+), .*accuracy ([01]\.\d+)", last).groups()
    assert float(density) in (0.1, 0.2) and float(accuracy) > 0.9
    if name == "pytorch_loop":
        assert sc.Artifact.load(tmp_path / "digits.safetensors").density == pytest.approx(0.1, abs=1e-3)
    else:
        assert last.endswith("inactive weights that are not zero: 0")


def test_there_are_no_others_and_each_is_under_60_lines():
    files = sorted(EXAMPLES.glob("*.py"))
    assert {file.stem for file in files} == set(NEEDS)
    assert all(len(file.read_text().splitlines()) < 60 for file in files)
