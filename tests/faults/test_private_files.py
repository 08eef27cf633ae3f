"""Who may read what a run leaves: private files their owner alone, published ones whomever the umask lets."""

import os
import stat

import pytest

from whole_runs import run_cli, write_spec

pytestmark = pytest.mark.slow

PUBLISHED = {"artifact.safetensors", "report.json", "report.html", "report.md", "model_card.md", "spec.toml"}


def modes(folder):
    return {
        str(path.relative_to(folder)): stat.S_IMODE(path.stat().st_mode)
        for path in [folder, *folder.rglob("*")]
        if path.name != ".lock"
    }


@pytest.mark.parametrize("umask", [0o022, 0o000, 0o027])
def test_modes_of_a_run(tmp_path, umask):
    spec = write_spec(
        tmp_path / "spec.toml", recipe={"epochs": 2, "objective": "split_distillation"}, search={"rounds": 1}
    )
    before = os.umask(umask)
    try:
        assert run_cli("compress", spec, "--out", tmp_path / "runs" / "run", "--quiet").code != 2
    finally:
        os.umask(before)
    found = modes(tmp_path / "runs" / "run")
    assert {name for name in found if name in PUBLISHED} == PUBLISHED
    for name, mode in found.items():
        is_folder = (tmp_path / "runs" / "run" / name).is_dir()
        wanted = 0o666 & ~umask if name in PUBLISHED else 0o700 if is_folder else 0o600
        assert mode == wanted, (name, oct(mode))
    assert any(name.startswith("work/") for name in found)
    for name in ("ledger.jsonl", "ledger.key", "ledger.head"):
        assert stat.S_IMODE((tmp_path / "runs" / name).stat().st_mode) == 0o600


def test_a_shared_folder_is_no_cache_and_keeps_its_mode(tmp_path):
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o1777)
    spec = write_spec(tmp_path / "spec.toml")
    ended = run_cli("compress", spec, "--out", tmp_path / "run", "--cache", shared)
    assert ended.code == 2
    assert "may be written to by others" in ended.err
    assert stat.S_IMODE(shared.stat().st_mode) == 0o1777
    assert list(shared.iterdir()) == []
    assert not (tmp_path / "run" / "work").exists()
