"""Packing: to the bit and back, as small as its parts allow, and nothing believed of a part that does not add up."""

from __future__ import annotations

import dataclasses
import tracemalloc

import numpy as np
import pytest
import torch
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from safecompress.errors import ArtifactError
from safecompress.export.pack import DTYPES, MaskCode, PackedTensor, expand, pack, squeeze, to_bytes, unpack, unzip
from safecompress.seeding import derive

SHAPES = st.lists(st.integers(0, 9), max_size=4).map(tuple) | st.sampled_from([(), (0,), (3, 0), (700,), (40, 300)])


def random_bits(shape: tuple[int, ...], dtype: str, seed: int, distinct: int = 256) -> torch.Tensor:
    """Any bit pattern there is, NaN payloads, denormals and -0.0 among them; few ``distinct`` bytes compress well."""
    top = 2 if dtype == "bool" else distinct
    raw = derive(seed, "bits").integers(0, top, (int(np.prod(shape)), DTYPES[dtype].itemsize), np.uint8)
    return torch.from_numpy(raw.reshape(-1)).view(DTYPES[dtype]).reshape(shape)


def random_mask(shape: tuple[int, ...], density: float, seed: int) -> torch.Tensor:
    return torch.from_numpy(np.asarray(derive(seed, "mask").random(shape) < density))


def assert_same_bits(one: torch.Tensor, other: torch.Tensor) -> None:
    assert (one.dtype, one.shape) == (other.dtype, other.shape)
    assert np.array_equal(to_bytes(one), to_bytes(other))


@pytest.mark.slow
@settings(max_examples=150, deadline=None)
@given(
    dtype=st.sampled_from(sorted(DTYPES)), shape=SHAPES, seed=st.integers(0, 99), distinct=st.sampled_from([1, 2, 256])
)
def test_a_dense_tensor_comes_back_to_the_bit(dtype, shape, seed, distinct):
    tensor = random_bits(shape, dtype, seed, distinct)
    back, mask = unpack(pack(tensor))
    assert_same_bits(back, tensor)
    assert mask is None


@pytest.mark.slow
@settings(max_examples=250, deadline=None)
@given(
    dtype=st.sampled_from(sorted(DTYPES)),
    shape=SHAPES,
    density=st.sampled_from([0.0, 0.001, 0.05, 0.3, 0.9, 1.0]) | st.floats(0, 1),
    seed=st.integers(0, 99),
)
def test_a_masked_tensor_comes_back_to_the_bit_with_its_mask(dtype, shape, density, seed):
    tensor, mask = random_bits(shape, dtype, seed), random_mask(shape, density, seed)
    tensor = torch.where(mask, tensor, torch.zeros((), dtype=tensor.dtype))
    back, mask_back = unpack(pack(tensor, mask))
    assert_same_bits(back, tensor)
    assert_same_bits(mask_back, mask)


@pytest.mark.parametrize("bits", [0x80000000, 0x00000001, 0x7F800001, 0xFFC12345, 0x7F800000])
def test_odd_floats_keep_their_bits(bits):
    tensor = torch.tensor([bits, 0x3F800000], dtype=torch.int64).to(torch.uint32).view(torch.float32)
    back, _ = unpack(pack(tensor, torch.tensor([True, True])))
    assert back.view(torch.int32).tolist() == tensor.view(torch.int32).tolist()


def test_a_view_is_packed_as_it_reads():
    tensor, mask = torch.arange(12.0).reshape(3, 4).T, torch.ones(3, 4, dtype=torch.bool).T
    assert torch.equal(unpack(pack(tensor))[0], tensor)
    assert torch.equal(unpack(pack(tensor, mask))[0], tensor)
    assert torch.equal(unpack(pack(torch.nn.Parameter(tensor)))[0], tensor)


def test_eight_numbers_by_hand():
    tensor = torch.tensor([0, 0x0102, 0, 0x0304, 0, 0, 0, 0x0506], dtype=torch.int16)
    packed = pack(tensor, tensor != 0)
    assert packed.mask == bytes([MaskCode.BITS, 0b01010001])
    assert packed.planes == (b"\x02\x04\x06", b"\x01\x03\x05")
    assert packed.num_bytes == 8


@pytest.mark.parametrize(
    ("positions", "gaps"),
    [
        ([0, 1, 2], [0, 0, 0]),
        ([5, 260], [5, 254]),
        ([5, 261], [5, 255, 0]),
        ([255, 1022], [255, 0, 255, 255, 255, 1]),
        ([2999], [255] * 11 + [194]),
        ([], []),
    ],
)
def test_gaps_longer_than_a_byte_by_hand(positions, gaps):
    mask = torch.zeros(3000, dtype=torch.bool)
    mask[positions] = True
    coded = bytes([MaskCode.GAPS]) + zstandard.compress(bytes(gaps))
    values = (bytes(range(1, len(positions) + 1)),)
    tensor, back = unpack(PackedTensor("uint8", (3000,), coded, values))
    assert torch.equal(back, mask)
    assert tensor[mask].tolist() == list(range(1, len(positions) + 1))
    assert torch.equal(unpack(pack(tensor, mask))[1], mask)


def test_the_smaller_code_of_a_mask_is_stored():
    codes = {density: pack(torch.zeros(20_000), random_mask((20_000,), density, 0)).mask[0] for density in (0.02, 0.5)}
    assert codes == {0.02: MaskCode.GAPS, 0.5: MaskCode.BITS}


@pytest.mark.parametrize("density", [0.02, 0.05, 0.1, 0.2, 0.5])
def test_a_random_mask_comes_near_its_entropy(density):
    mask = random_mask((400, 500), density, 0)
    share = float(mask.float().mean())
    entropy_bytes = -mask.numel() * (share * np.log2(share) + (1 - share) * np.log2(1 - share)) / 8
    assert len(pack(torch.zeros(400, 500), mask).mask) <= 1.05 * entropy_bytes


def test_planes_that_do_not_compress_are_kept_raw():
    noise, smooth = random_bits((5000,), "float32", 0), torch.linspace(0.5, 0.9, 5000)
    assert [len(plane) for plane in pack(noise).planes] == [5000] * 4
    assert len(pack(smooth).planes[3]) < 50  # sign and exponent
    assert pack(noise).planes[1] == to_bytes(noise)[:, 1].tobytes()


def test_equal_tensors_pack_to_equal_bytes():
    tensor, mask = random_bits((30, 40), "float32", 1), random_mask((30, 40), 0.2, 1)
    tensor[~mask] = 0
    assert pack(tensor, mask) == pack(tensor.clone(), mask.clone())


@pytest.mark.parametrize("wrong", [1.0, -0.0, float("nan"), 1e-45])
def test_a_masked_place_that_is_not_zero_is_refused(wrong):
    tensor, mask = torch.zeros(2, 3), torch.zeros(2, 3, dtype=torch.bool)
    tensor[1, 1] = wrong
    with pytest.raises(ArtifactError, match=r"1 of the masked places.*weight\[~mask\] = 0"):
        pack(tensor, mask)


@pytest.mark.parametrize(
    "mask", [torch.ones(3, 2, dtype=torch.bool), torch.ones(2, 3), torch.ones(6, dtype=torch.bool)]
)
def test_a_mask_that_does_not_fit_is_refused(mask):
    with pytest.raises(ArtifactError, match=r"shape \(2, 3\)"):
        pack(torch.ones(2, 3), mask)


@pytest.mark.parametrize("tensor", [torch.ones(2, dtype=torch.complex64), torch.ones(2, 2).to_sparse()])
def test_a_tensor_without_a_place_in_the_file_is_refused(tensor):
    with pytest.raises(ArtifactError, match=r"cannot be packed.*Allowed: bfloat16"):
        pack(tensor)


MASKED = pack(torch.tensor([0.0, 1.0, 0.0, 3.0]), torch.tensor([False, True, False, True]))
DENSE = pack(torch.tensor([1.0, 2.0]))
ZIPPED = zstandard.compress(bytes(5000))


@pytest.mark.parametrize(
    "broken",
    [
        dataclasses.replace(DENSE, dtype="float8"),
        dataclasses.replace(DENSE, dtype="float64"),
        dataclasses.replace(DENSE, shape=(3,)),
        dataclasses.replace(DENSE, planes=DENSE.planes[:3]),
        dataclasses.replace(DENSE, planes=(*DENSE.planes[:3], b"")),
        dataclasses.replace(DENSE, planes=(*DENSE.planes[:3], b"nonsense")),
        dataclasses.replace(DENSE, planes=(*DENSE.planes[:3], ZIPPED)),
        PackedTensor("uint8", (5000,), None, (ZIPPED[:-1],)),
        PackedTensor("uint8", (5000,), None, (ZIPPED + b"more",)),
        PackedTensor("bool", (2,), None, (b"\x01\x02",)),
        dataclasses.replace(MASKED, mask=b""),
        dataclasses.replace(MASKED, mask=b"\x00"),
        dataclasses.replace(MASKED, mask=b"\x07\x50"),
        dataclasses.replace(MASKED, mask=b"\x00\xf0"),  # four active, two values
        dataclasses.replace(MASKED, mask=b"\x00" + ZIPPED),
        dataclasses.replace(MASKED, mask=b"\x01" + ZIPPED),
        dataclasses.replace(MASKED, mask=b"\x01\x01\x01"),
        dataclasses.replace(MASKED, mask=b"\x01" + zstandard.compress(b"\x01\x02")),  # position 4 of 4
        PackedTensor(
            "uint8", (900,), b"\x01" + zstandard.compress(b"\x01\xff"), (b"a",)
        ),  # an escape that nothing ends
    ],
    ids=str,
)
def test_parts_that_do_not_add_up_are_refused(broken):
    with pytest.raises(ArtifactError, match=r"truncated or altered|unknown type"):
        unpack(broken)


def test_a_frame_is_not_expanded_beyond_what_its_place_holds():
    bomb = zstandard.compress(bytes(64 << 20))
    silent = zstandard.ZstdCompressor(write_content_size=False).compress(bytes(64 << 20))
    tracemalloc.start()
    for frame in (bomb, silent):
        with pytest.raises(ArtifactError, match="declares"):
            expand(frame, 100)
        with pytest.raises(ArtifactError, match="declares"):
            unzip(frame, at_most=1 << 20)
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak_bytes < 1 << 20


@settings(max_examples=50, deadline=None)
@given(raw=st.binary(max_size=40) | st.integers(0, 3000).map(bytes))
def test_squeezing_never_lengthens_and_comes_back(raw):
    assert len(squeeze(raw)) <= len(raw)
    assert expand(squeeze(raw), len(raw)) == raw


@pytest.mark.parametrize("shape", [(), (0,), (3, 0), (4,)])
def test_strides_that_no_one_would_choose(shape):
    strided = torch.ones((), dtype=torch.float16).expand(shape)  # stride 0 throughout
    assert torch.equal(unpack(pack(strided))[0], torch.ones(shape, dtype=torch.float16))
    nothing = torch.from_numpy(np.zeros(0, np.float16))  # what numpy gives has stride 0 as well
    assert unpack(pack(nothing))[0].shape == (0,)
