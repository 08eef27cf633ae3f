"""The reference size, against numbers worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch

from safecompress.export import ByteCount, reference_size_bytes
from safecompress.export.sizes import binary_entropy


@pytest.mark.parametrize(("share", "bits"), [(0.0, 0.0), (1.0, 0.0), (0.5, 1.0), (0.25, 0.8112781), (0.1, 0.4689956)])
def test_binary_entropy(share, bits):
    assert binary_entropy(share) == pytest.approx(bits, abs=1e-7)
    assert binary_entropy(1 - share) == pytest.approx(bits, abs=1e-7)


def test_the_reference_counts_entropy_values_and_dense_tensors():
    mask = torch.zeros(80, dtype=torch.bool)
    mask[:20] = True
    state = {"weight": torch.zeros(80), "half": torch.zeros(80, dtype=torch.float16), "count": torch.tensor(3)}
    one_mask_bytes = 80 * 0.8112781 / 8
    assert reference_size_bytes(state, {"weight": mask}) == pytest.approx(one_mask_bytes + 20 * 4 + 160 + 8)
    assert reference_size_bytes(state, {"half": mask}) == pytest.approx(320 + one_mask_bytes + 20 * 2 + 8)
    assert reference_size_bytes(state, {}) == 320 + 160 + 8


def test_nothing_and_all_need_no_mask():
    state = {"weight": torch.zeros(10), "empty": torch.zeros(0)}
    for share, size in ((False, 0), (True, 40)):
        masks = {name: torch.full_like(tensor, share, dtype=torch.bool) for name, tensor in state.items()}
        assert reference_size_bytes(state, masks) == size


def test_the_ratio_is_payload_to_reference():
    assert ByteCount(file=60, payload=50, header=10, reference=40.0).ratio == 1.25
    assert math.isnan(ByteCount(file=10, payload=0, header=10, reference=0.0).ratio)
