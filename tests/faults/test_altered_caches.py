"""Files of a run's shadow cache that were interchanged or altered change no verdict of an audit."""

import pytest

from whole_runs import report_of, run_cli, write_spec

pytestmark = pytest.mark.slow

SHADOWED = {
    "safety": {"access": "scores", "attacks": ["loss", {"name": "lira", "num_shadows": 4}]},
    "require": [{"metric": "lira.auc", "at_most": 0.9}],
}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    home = tmp_path_factory.mktemp("altered")
    spec = write_spec(home / "spec.toml", **SHADOWED)
    assert run_cli("compress", spec, "--out", home / "run", "--quiet").code in (0, 1, 3)
    return home


def interchange(files):
    contents = [file.read_bytes() for file in files]
    for file, content in zip(files, contents[1:] + contents[:1], strict=True):
        file.write_bytes(content)


def turn_a_bit(files):
    for file in files:
        content = bytearray(file.read_bytes())
        content[-2] ^= 0x40
        file.write_bytes(content)


def test_an_audit_believes_no_cache_that_it_was_not_given(run, tmp_path):
    """That of the run lies beside the artifact, whole and sealed with the run's key, and is left alone."""
    artifact, cache = run / "run" / "artifact.safetensors", run / "run" / "work" / "cache"
    assert len(list(cache.glob("*.safetensors"))) >= 4
    run_cli("audit", artifact, "--spec", run / "spec.toml", "--out", tmp_path / "audit")
    ours = report_of(tmp_path / "audit")
    assert ours["measurements"]["lira.auc"] == report_of(run / "run")["measurements"]["lira.auc"]
    assert not any("read from a cache" in note for note in ours["notes"])


@pytest.mark.parametrize("alter", [interchange, turn_a_bit])
def test_a_cache_that_was_given_is_checked(run, tmp_path, alter):
    artifact, spec, cache = run / "run" / "artifact.safetensors", run / "spec.toml", tmp_path / "cache"
    reports = []
    for number in range(3):
        run_cli("audit", artifact, "--spec", spec, "--cache", cache, "--out", tmp_path / str(number))
        reports.append(report_of(tmp_path / str(number)))
        if number == 1:
            alter(sorted(cache.glob("*.safetensors")))
    assert reports[0]["measurements"] == reports[1]["measurements"] == reports[2]["measurements"]
    notes = [[note for note in report["notes"] if "read from a cache" in note] for report in reports]
    assert notes[0] == []
    assert notes[1] == ["4 of 4 shadow models were not trained by this command, but read from a cache."]
    assert notes[2] == []
