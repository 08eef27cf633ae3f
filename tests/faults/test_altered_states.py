"""One bit turned, or a file cut or lost, in what a run keeps for its resumption: the same artifact comes out."""

import shutil

import pytest

from safecompress.compression.run_folder import open_run_folder
from safecompress.errors import RunFolderError
from safecompress.storage import read_tensors, write_tensors
from whole_runs import digests_of, run_cli, write_spec

SEARCHED = {"recipe": {"epochs": 3, "objective": "split_distillation"}, "search": {"rounds": 2}}


def turned(content):
    altered = bytearray(content)
    altered[-1] ^= 1
    return bytes(altered)


@pytest.fixture(scope="module")
def ended(tmp_path_factory):
    home = tmp_path_factory.mktemp("states")
    spec = write_spec(home / "spec.toml", **SEARCHED)
    assert run_cli("compress", spec, "--out", home / "run", "--quiet").code != 2
    return home


@pytest.mark.slow
@pytest.mark.parametrize("how", [turned, lambda content: content[: len(content) // 2], lambda content: b""])
def test_a_run_with_every_state_altered_ends_in_the_same_digests(ended, tmp_path, how):
    shutil.copytree(ended, tmp_path / "copy")
    states = [path for path in (tmp_path / "copy" / "run" / "work").rglob("*") if path.is_file()]
    assert {"final.safetensors", "parent.safetensors", "dense.safetensors", "rounds.json"} <= {p.name for p in states}
    for path in (*states, *((tmp_path / "copy" / "run").glob("*.safetensors"))):
        path.write_bytes(how(path.read_bytes()))
    again = run_cli("compress", ended / "spec.toml", "--out", tmp_path / "copy" / "run", "--quiet")
    assert again.code != 2, again.err
    assert digests_of(tmp_path / "copy" / "run") == digests_of(ended / "run")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["final", "parent", "dense", "teacher", "rounds"])
def test_a_run_with_one_file_altered_ends_in_the_same_digests(ended, tmp_path, name):
    shutil.copytree(ended, tmp_path / "copy")
    run = tmp_path / "copy" / "run"
    (path,) = (run / "work").glob(f"{name}.*")
    path.write_bytes(turned(path.read_bytes()))
    again = run_cli("compress", ended / "spec.toml", "--out", run, "--quiet")
    assert again.code != 2, again.err
    assert "Delete" not in again.err
    assert digests_of(run) == digests_of(ended / "run")


@pytest.mark.slow
def test_an_audit_believes_no_dense_model_that_its_run_did_not_leave(ended, tmp_path):
    """One altered bit, and whole weights under their own name, which were put there: both are refused, and mended."""
    shutil.copytree(ended, tmp_path / "copy")
    run, spec = tmp_path / "copy" / "run", ended / "spec.toml"
    dense = run / "dense.safetensors"
    whole, others = dense.read_bytes(), tmp_path / "others.safetensors"
    write_tensors(others, read_tensors(dense)[0])
    audit = ("audit", run / "artifact.safetensors", "--spec", spec, "--out", tmp_path / "audit")
    for content in (turned(whole), others.read_bytes()):
        dense.write_bytes(content)
        refused = run_cli(*audit)
        assert refused.code == 3 and "is not what the run in its folder left" in refused.err
        assert not (tmp_path / "audit" / "report.json").exists()
    assert run_cli("compress", spec, "--out", run, "--quiet").code != 2
    assert dense.read_bytes() == whole
    assert "dense.safetensors is not what" not in run_cli(*audit).err
    dense.unlink()
    assert "ArtifactError" not in run_cli(*audit, "--dense", others).err


def begun(path, digest="mine"):
    with open_run_folder(path, "job", lambda key: digest) as folder:
        return folder


def test_a_lost_record_of_whose_folder_it_is_costs_nothing(tmp_path):
    from safecompress.compression.run_folder import PhaseTimer

    PhaseTimer(begun(tmp_path / "run")).add_all({"dense": 1.0})
    for content in (b"", b"{", b'{"name": "job", "digest": "mine"}'):
        (tmp_path / "run" / "job.json").write_bytes(content)
        begun(tmp_path / "run")
        assert PhaseTimer(begun(tmp_path / "run")).seconds == {"dense": 1.0}
        (tmp_path / "run" / "job.json").write_bytes(content)
        with pytest.raises(RunFolderError, match="removed or altered, so it cannot be resumed"):
            begun(tmp_path / "run", "of another job")
