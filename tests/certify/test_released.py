"""The list of released versions: what is out is attacked with, exactly as it was released, or nothing is judged."""

import hashlib
import json
import random
import threading

import pytest
import torch

from safecompress.certify import Released
from safecompress.errors import ArtifactError, StorageError
from safecompress.export import Artifact, TaskInfo
from safecompress.models import ModelSpec
from safecompress.seeding import seeded

MODEL = ModelSpec("mlp", {"hidden": (4,)}, (3,), 2)


def artifact(seed):
    """A small artifact; another seed, other weights."""
    with seeded(seed, "net"):
        weights = MODEL.build().state_dict()
    masks = {name: torch.ones_like(weight, dtype=torch.bool) for name, weight in weights.items() if weight.ndim == 2}
    return Artifact(weights, masks, MODEL, TaskInfo(2, ("a", "b"), (3,)))


def saved(path, seed):
    path.parent.mkdir(parents=True, exist_ok=True)
    artifact(seed).save(path)
    return path


@pytest.fixture
def released(tmp_path):
    """A list in a folder of its own with two versions that lie elsewhere."""
    listed = Released(tmp_path / "out" / "released.jsonl")
    for seed in (1, 2):
        listed.add(saved(tmp_path / "runs" / f"v{seed}.safetensors", seed))
    return listed


def lines(listed):
    """The lines of versions, without the last."""
    return listed.path.read_text(encoding="utf-8").splitlines()[:-1]


def replace_line(listed, number, line):
    """Put ``line`` in place, as somebody who knows how the list is closed."""
    text = lines(listed)
    text[number - 1] = line
    digest = hashlib.sha256("\n".join(text).encode()).hexdigest()
    text.append(json.dumps({"versions": len(text), "digest": digest}))
    listed.path.write_text("".join(f"{line}\n" for line in text), encoding="utf-8")


# --- what is written down


def test_versions_come_back_in_their_order(released):
    versions = released.versions()
    assert list(versions) == ["../runs/v1.safetensors", "../runs/v2.safetensors"]
    assert [version.digest() for version in versions.values()] == [artifact(seed).digest() for seed in (1, 2)]


def test_a_line_is_a_path_from_the_list_and_a_digest_and_nothing_else(released):
    assert [json.loads(line) for line in lines(released)] == [
        {"artifact": f"../runs/v{seed}.safetensors", "digest": artifact(seed).digest()} for seed in (1, 2)
    ]


def test_the_list_moves_along_with_what_it_names(released, tmp_path):
    """Paths count from the list's folder, wherever the reader stands."""
    (tmp_path / "elsewhere").mkdir()
    for folder in ("out", "runs"):
        (tmp_path / folder).rename(tmp_path / "elsewhere" / folder)
    assert len(Released(tmp_path / "elsewhere" / "out" / "released.jsonl").versions()) == 2


def test_a_path_given_from_here_is_written_from_the_list(tmp_path, monkeypatch):
    saved(tmp_path / "runs" / "small.safetensors", 3)
    monkeypatch.chdir(tmp_path / "runs")
    listed = Released(tmp_path / "released.jsonl")
    listed.add(saved(tmp_path / "runs" / "small.safetensors", 3).relative_to(tmp_path / "runs"))
    assert list(listed.versions()) == ["runs/small.safetensors"]


def test_twice_the_same_is_once(released, tmp_path):
    before = released.path.read_bytes()
    released.add(tmp_path / "runs" / "v1.safetensors")
    assert released.path.read_bytes() == before


def test_the_same_under_another_name_is_once_too(released, tmp_path):
    """One version in two files is one version: attackers learn nothing from the second."""
    before = released.path.read_bytes()
    released.add(saved(tmp_path / "copy.safetensors", 2))
    assert released.path.read_bytes() == before


def test_another_version_goes_to_the_end(released, tmp_path):
    before = lines(released)
    released.add(saved(tmp_path / "runs" / "v3.safetensors", 3))
    assert lines(released)[:2] == before
    assert json.loads(lines(released)[2])["digest"] == artifact(3).digest()


@pytest.mark.slow
def test_versions_that_are_listed_at_once_are_all_there(tmp_path):
    listed = tmp_path / "released.jsonl"
    paths = [saved(tmp_path / f"v{seed}.safetensors", seed) for seed in range(6)]
    threads = [threading.Thread(target=Released(listed).add, args=(path,)) for path in paths]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(Released(listed).versions()) == [path.name for path in paths]


def test_empty_lines_are_nothing(released):
    text = released.path.read_text()
    released.path.write_text("\n" + text.replace("\n", "\n\n") + "\n", encoding="utf-8")
    assert len(released.versions()) == 2


CUTS = {
    "to nothing": lambda text: "",
    "to its lines without the last": lambda text: "".join(text.splitlines(keepends=True)[:-1]),
    "by a version": lambda text: "".join(text.splitlines(keepends=True)[1:]),
    "within a line": lambda text: text[:-5],
    "to its last line": lambda text: text.splitlines()[-1],
    "and put in another order": lambda text: "".join([text.splitlines(keepends=True)[i] for i in (1, 0, 2)]),
}


@pytest.mark.parametrize("how", CUTS)
def test_a_list_that_was_cut_is_no_list(released, how):
    released.path.write_text(CUTS[how](released.path.read_text()))
    with pytest.raises(ArtifactError, match="is not the list that was written"):
        released.versions()


def test_no_random_edit_loses_a_version_without_a_word(released):
    whole, chance = released.path.read_bytes(), random.Random(1)
    for _ in range(300):
        content = bytearray(whole)
        for _ in range(chance.randint(1, 4)):
            place = chance.randrange(len(content))
            if chance.random() < 0.5:
                content[place] = chance.randrange(256)
            else:
                del content[place : place + chance.choice([1, 1, 10, 80])]
        released.path.write_bytes(content)
        try:
            assert len(released.versions()) == 2
        except ArtifactError:
            continue


# --- what cannot be judged with


def test_a_list_that_is_missing_is_no_empty_one(tmp_path):
    """A misspelt --released must not read as "nothing is out"."""
    with pytest.raises(ArtifactError, match=r"nowhere\.jsonl cannot be read"):
        Released(tmp_path / "nowhere.jsonl").versions()
    assert not (tmp_path / "nowhere.jsonl").exists()


def test_a_list_that_is_no_text_cannot_be_read(tmp_path):
    path = tmp_path / "released.jsonl"
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(ArtifactError, match="cannot be read"):
        Released(path).versions()


def test_a_version_whose_file_is_gone_is_named_with_its_line(released, tmp_path):
    gone = tmp_path / "runs" / "v2.safetensors"
    gone.unlink()
    with pytest.raises(ArtifactError, match=r"line 2: .*v2\.safetensors.*attackers"):
        released.versions()
    saved(gone, 2)
    assert len(released.versions()) == 2


def test_another_artifact_in_its_place_is_not_what_was_released(released, tmp_path):
    saved(tmp_path / "runs" / "v1.safetensors", 7)
    with pytest.raises(ArtifactError, match=r"line 1: .*v1\.safetensors is not"):
        released.versions()


def test_a_new_version_over_the_old_file_needs_the_old_one_back(released, tmp_path):
    """It cannot be listed in the old one's place, which is out all the same."""
    new = saved(tmp_path / "runs" / "v1.safetensors", 7)
    for ask in (lambda: released.add(new), released.versions):
        with pytest.raises(ArtifactError, match=r"line 1: .*Restore"):
            ask()
    assert len(lines(released)) == 2


@pytest.mark.slow
@pytest.mark.parametrize("name", [".", "../runs"])
def test_a_folder_is_no_version(name, released):
    replace_line(released, 2, json.dumps({"artifact": name, "digest": artifact(2).digest()}))
    with pytest.raises(ArtifactError, match=r"line 2: .*no file"):
        released.versions()


@pytest.mark.slow
@pytest.mark.parametrize(
    "line",
    [
        "no json", '{"artifact": "v1.safetensors"', "[]", "3", "null", '"text"',
        '{"artifact": "../runs/v2.safetensors"}', '{"digest": "abc"}',
    ],
)  # fmt: skip
def test_a_broken_line_is_named(line, released):
    replace_line(released, 2, line)
    with pytest.raises(ArtifactError, match=r"released\.jsonl, line 2.*safecompress release"):
        released.versions()


def test_a_file_that_is_no_artifact_any_more(released, tmp_path):
    (tmp_path / "runs" / "v1.safetensors").write_bytes(b"half")
    with pytest.raises(ArtifactError, match=r"v1\.safetensors"):
        released.versions()


# --- what cannot be listed


@pytest.mark.parametrize("content", [None, b"", b"half"])
def test_only_an_artifact_is_listed(content, tmp_path):
    path = tmp_path / "small.safetensors"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ArtifactError, match=r"small\.safetensors"):
        Released(tmp_path / "released.jsonl").add(path)
    assert not (tmp_path / "released.jsonl").exists()


def test_a_list_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError):
        Released(tmp_path / "file" / "released.jsonl").add(saved(tmp_path / "small.safetensors", 1))
