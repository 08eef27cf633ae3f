"""Files that are truncated, altered or made to harm: refused with ArtifactError, quickly, and without much memory."""

from __future__ import annotations

import json
import struct
import tracemalloc

import pytest
import torch
import zstandard

from safecompress.errors import ArtifactError
from safecompress.export import Artifact, TaskInfo
from safecompress.models import ModelSpec
from safecompress.seeding import derive


def small_artifact() -> Artifact:
    mask = torch.tensor([[True, False, False, True, False], [False, True, True, False, False]])
    weight = torch.arange(1.0, 11).reshape(2, 5) * mask
    task = TaskInfo(2, ("no", "yes"), (5,), torch.tensor([0.5]), torch.tensor([2.0]))
    spec = ModelSpec("mlp", {"hidden": ()}, (5,), 2)
    state = {"head.weight": weight, "head.bias": torch.tensor([0.25, -0.5]), "steps": torch.tensor(3)}
    return Artifact(state, {"head.weight": mask}, spec, task, {"version": "0.1"})


@pytest.fixture
def content(tmp_path) -> bytes:
    small_artifact().save(tmp_path / "whole.safetensors")
    return (tmp_path / "whole.safetensors").read_bytes()


@pytest.fixture
def load(tmp_path):
    def load_bytes(content: bytes) -> Artifact:
        (tmp_path / "a.safetensors").write_bytes(content)
        return Artifact.load(tmp_path / "a.safetensors")

    return load_bytes


def take_apart(content: bytes) -> tuple[dict, dict, bytes]:
    """Header, structure and payload of a file that Artifact.save wrote."""
    start = 8 + struct.unpack("<Q", content[:8])[0]
    header = json.loads(content[8:start])
    data = {
        name: content[start + a : start + b] for name in ("structure", "payload") for a, b in [offsets(header, name)]
    }
    return header, json.loads(zstandard.decompress(data["structure"])), data["payload"]


def offsets(header: dict, name: str) -> tuple[int, int]:
    return tuple(header[name]["data_offsets"])


def forge(metadata: dict, tensors: dict[str, bytes], dtype: str = "U8") -> bytes:
    """A safetensors file with these byte tensors, whatever they hold."""
    header, end = {"__metadata__": metadata}, 0
    for name, data in tensors.items():
        header[name] = {"dtype": dtype, "shape": [len(data)], "data_offsets": [end, end + len(data)]}
        end += len(data)
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + b"".join(tensors.values())


METADATA = {"format": "safecompress-artifact", "version": "1", "digest": "0" * 64}


def forge_structure(structure: object, payload: bytes = b"") -> bytes:
    text = structure if isinstance(structure, bytes) else json.dumps(structure).encode()
    return forge(METADATA, {"structure": zstandard.compress(text), "payload": payload})


def test_the_forge_makes_files_that_load(content, load):
    header, structure, payload = take_apart(content)
    text = json.dumps(structure).encode()
    forged = forge(header["__metadata__"], {"payload": payload, "structure": zstandard.compress(text)})
    assert load(forged).digest() == small_artifact().digest()


def test_every_truncated_file_is_refused(content, load):
    for length in range(len(content)):
        with pytest.raises(ArtifactError):
            load(content[:length])
    with pytest.raises(ArtifactError):
        load(content + b"\0")


@pytest.mark.slow
def test_every_flipped_byte_is_refused_or_makes_no_difference(content, load):
    original, generator = small_artifact(), derive(0, "flips")
    num_refused = 0
    for position in range(len(content)):
        for flip in {1, 0x80, int(generator.integers(1, 256))}:
            altered = bytearray(content)
            altered[position] ^= flip
            try:
                loaded = load(bytes(altered))
            except ArtifactError:
                num_refused += 1
            else:
                assert loaded.digest() == original.digest()
                assert (loaded.metadata, loaded.model_spec) == (original.metadata, original.model_spec)
    assert num_refused > 2.9 * len(content)


def test_flips_of_several_bytes_are_refused(content, load):
    generator = derive(0, "several")
    for _ in range(300):
        altered = bytearray(content)
        for position in generator.integers(0, len(content), 5):
            altered[position] ^= int(generator.integers(1, 256))
        with pytest.raises(ArtifactError):
            load(bytes(altered))


def test_a_value_altered_with_all_sizes_kept_is_refused_by_the_digest(content, load):
    header, structure, payload = take_apart(content)
    text = json.dumps(structure).encode()
    altered = payload[:-1] + bytes([payload[-1] ^ 1])
    forged = forge(header["__metadata__"], {"structure": zstandard.compress(text), "payload": altered})
    with pytest.raises(ArtifactError, match="truncated or altered"):
        load(forged)


def test_a_pickle_is_refused_unread(tmp_path):
    witness = tmp_path / "witness"

    class Trap:
        def __reduce__(self):
            return (type(witness).touch, (witness,))

    torch.save({"state": Trap()}, tmp_path / "model.pt")
    with pytest.raises(ArtifactError, match="Pickled checkpoints"):
        Artifact.load(tmp_path / "model.pt")
    assert not witness.exists()
    torch.load(tmp_path / "model.pt", weights_only=False)
    assert witness.exists()  # so the trap was armed


def test_no_file_and_a_folder_are_refused(tmp_path):
    for path in (tmp_path / "nowhere", tmp_path):
        with pytest.raises(ArtifactError, match="Check the path"):
            Artifact.load(path)


@pytest.mark.parametrize(
    ("metadata", "said"),
    [
        ({}, "no artifact"),
        (None, "no artifact"),
        ({**METADATA, "format": "pt"}, "no artifact"),
        ({**METADATA, "version": "4"}, "version 4; .* 3: upgrade"),
        ({**METADATA, "version": "0"}, "never was"),
        ({**METADATA, "version": "-1"}, "never was"),
        ({**METADATA, "version": "1.5"}, "never was"),
        ({**METADATA, "version": "²"}, "never was"),
        ({**METADATA, "version": "２"}, "never was"),
        ({**METADATA, "version": "9" * 9000}, "never was"),
        ({"format": "safecompress-artifact"}, "never was"),
    ],
)
def test_another_format_or_version_is_refused(content, load, metadata, said):
    _, structure, payload = take_apart(content)
    tensors = {"structure": zstandard.compress(json.dumps(structure).encode()), "payload": payload}
    with pytest.raises(ArtifactError, match=said):
        load(forge(metadata, tensors))


@pytest.mark.parametrize("missing", ["digest", "structure", "payload"])
def test_a_missing_piece_is_refused(content, load, missing):
    header, structure, payload = take_apart(content)
    tensors = {"structure": zstandard.compress(json.dumps(structure).encode()), "payload": payload}
    tensors.pop(missing, None)
    metadata = {key: value for key, value in header["__metadata__"].items() if key != missing}
    with pytest.raises(ArtifactError):
        load(forge(metadata, tensors))


@pytest.mark.parametrize(
    ("dtype", "said"),
    [
        ("I8", "byte tensors"),
        ("BOOL", "byte tensors"),
        ("F8_E8M0", "tensors of type 'F8_E8M0'"),
        ("NONE", "whole safetensors file"),
    ],
)
def test_other_element_types_are_refused(load, dtype, said):
    with pytest.raises(ArtifactError, match=said):
        load(forge(METADATA, {"structure": b"12", "payload": b"34"}, dtype))


def test_a_third_tensor_is_refused(load):
    with pytest.raises(ArtifactError, match="byte tensors"):
        load(forge(METADATA, {"structure": b"12", "payload": b"34", "more": b"5"}))


@pytest.mark.parametrize(
    "header",
    [
        b"",
        b"{}",
        b"[]",
        b"null",
        b"{",
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"__metadata__":null}',
        b'{"__metadata__":{"a":1}}',
        b'{"a":{"dtype":"U8","shape":[0,%d,%d],"data_offsets":[0,0]}}' % (1 << 62, 1 << 62),
    ],
)
def test_a_header_that_makes_no_sense_is_refused(load, header):
    for length in (len(header), 0, 1 << 40, (1 << 64) - 1):
        with pytest.raises(ArtifactError):
            load(struct.pack("<Q", length) + header)


DENSE = {"name": "state/w", "dtype": "uint8", "shape": [2], "mask": None, "planes": [2]}
FACTS = {
    "model": None,
    "task": {"num_classes": 2, "class_names": [], "input_shape": [5]},
    "metadata": {},
}


@pytest.mark.parametrize(
    ("part", "value"),
    [
        ("name", 3),
        ("name", None),
        ("dtype", "float8"),
        ("dtype", "float32"),
        ("dtype", ["uint8"]),
        ("shape", "2"),
        ("shape", 2),
        ("shape", [2.0]),
        ("shape", ["2"]),
        ("shape", [True, 2]),
        ("shape", [-2]),
        ("shape", [-1, -2]),
        ("shape", [3]),
        ("shape", [1 << 39]),
        ("shape", [1 << 62]),
        ("shape", [0, 1 << 39, 1 << 39, 1 << 39]),
        ("shape", [10**4000]),
        ("shape", [10**4000, 10**4000]),
        ("shape", [1] * 100_000),
        ("mask", 1),
        ("mask", -1),
        ("mask", "1"),
        ("planes", []),
        ("planes", [2, 0]),
        ("planes", [1]),
        ("planes", [3, -1]),
        ("planes", [1 << 70]),
        ("planes", None),
        ("unknown", 1),
    ],
)
def test_a_part_of_wrong_type_or_size_is_refused(load, part, value):
    with pytest.raises(ArtifactError):
        load(forge_structure({"parts": [{**DENSE, part: value}], "facts": FACTS}, b"ab"))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("metadata",), {"a": 1}),
        (("metadata",), []),
        (("unknown",), 1),
        (("task",), None),
        (("task", "num_classes"), "2"),
        (("task", "num_classes"), 1),
        (("task", "num_classes"), 10**30),
        (("task", "class_names"), ["a"]),
        (("task", "class_names"), [1, 2]),
        (("task", "input_shape"), []),
        (("task", "input_shape"), [0]),
        (("task", "input_shape"), [1 << 62, 1 << 62]),
        (("task", "input_shape"), 5),
        (("model",), "mlp"),
        (("model",), {}),
        (("model",), {"name": "mlp"}),
        (("model",), {"name": 3, "options": {}, "input_shape": [5], "num_classes": 2}),
        (("model",), {"name": "mlp", "options": [], "input_shape": [5], "num_classes": 2}),
        (("model",), {"name": "mlp", "options": {"hidden": {}}, "input_shape": [5], "num_classes": 2}),
        (("model",), {"name": "mlp", "options": {}, "input_shape": ["5"], "num_classes": 2}),
        (("model",), {"name": "mlp", "options": {}, "input_shape": [6], "num_classes": 2}),
        (("model",), {"name": "mlp", "options": {}, "input_shape": [5], "num_classes": True}),
    ],
)
def test_facts_of_wrong_type_are_refused(load, path, value):
    facts = json.loads(json.dumps(FACTS))
    place = facts
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    with pytest.raises(ArtifactError):
        load(forge_structure({"parts": [DENSE], "facts": facts}, b"ab"))


@pytest.mark.parametrize(
    "structure",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b"{}",
        b'{"parts":[]}',
        b"\xff\xfe",
        b'{"parts":[],"facts":{"\xff":1}}',
        b'{"parts":[],"facts":{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}}",
        b'{"parts":[],"facts":{"a":' + b"9" * 10_000 + b"}}",
        b'{"parts":[],"facts":{"a":NaN}}',
        b'{"parts":[],"facts":{"a":"\\ud800"}}',
    ],
    ids=range(12),
)
def test_a_structure_that_makes_no_sense_is_refused(load, structure):
    with pytest.raises(ArtifactError):
        load(forge_structure(structure))


@pytest.mark.parametrize(
    ("parts", "payload", "said"),
    [
        ([DENSE, DENSE], b"abcd", "describes 4 bytes.*holds 4"),
        ([DENSE], b"abc", "describes 2 bytes.*holds 3"),
        ([DENSE], b"a", "describes 2 bytes.*holds 1"),
        ([{**DENSE, "shape": [0, 1 << 39, 1 << 39, 1 << 39], "planes": [0]}], b"", "would expand to"),
        ([{**DENSE, "name": "other/w"}], b"ab", "that no artifact"),
        ([{**DENSE, "name": "task/w"}], b"ab", "that no artifact"),
        ([{**DENSE, "name": "task/shift"}], b"ab", "shift.*finite float32"),
        ([{**DENSE, "name": "task/w", "mask": 2, "planes": [0]}], b"\0\0", "that no artifact"),
    ],
)
def test_parts_that_do_not_belong_are_refused(load, parts, payload, said):
    with pytest.raises(ArtifactError, match=said):
        load(forge_structure({"parts": parts, "facts": FACTS}, payload))


def zeros(num_bytes: int) -> bytes:
    """A whole zstd frame of that many zeros that declares its size."""
    compressor = zstandard.ZstdCompressor().compressobj(size=num_bytes)
    chunk = bytes(1 << 20)
    return b"".join(compressor.compress(chunk) for _ in range(num_bytes >> 20)) + compressor.flush()


def bomb(num_bytes: int, mask: bytes | None = None) -> bytes:
    plane = b"" if mask else zeros(num_bytes)
    sizes = {"mask": None if mask is None else len(mask), "planes": [len(plane)], "shape": [num_bytes]}
    return forge_structure({"parts": [{**DENSE, **sizes}], "facts": FACTS}, (mask or b"") + plane)


@pytest.mark.parametrize(
    "make",
    [
        lambda: bomb(1 << 28),
        lambda: bomb(1 << 39, mask=b"\x01" + zstandard.compress(b"")),
        lambda: forge(METADATA, {"structure": zeros(1 << 28), "payload": b""}),
        lambda: forge_structure({"parts": [{**DENSE, "name": f"state/{i}", "shape": [1 << 25], "mask": 1, "planes": [0]}
                                           for i in range(4)], "facts": FACTS}, b"\x01" * 4),
    ],
    ids=["values", "mask", "structure", "many"],
)  # fmt: skip
def test_a_small_file_cannot_claim_much_memory(load, make):
    content = make()
    tracemalloc.start()
    with pytest.raises(ArtifactError, match=r"expand|declares"):
        load(content)
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak_bytes < 8 << 20


@pytest.mark.slow
def test_a_large_model_of_mostly_zeros_is_believed(load):
    artifact = Artifact({"w": torch.zeros(1 << 22)}, {}, None, TaskInfo(2, (), (5,)))
    assert artifact.byte_count().file < 10_000
    stored = forge_structure(
        {"parts": [{**DENSE, "shape": [1 << 25], "planes": [len(zeros(1 << 25))]}], "facts": FACTS}, zeros(1 << 25)
    )
    with pytest.raises(ArtifactError, match="match its digest"):  # so all its bytes were read
        load(stored)
