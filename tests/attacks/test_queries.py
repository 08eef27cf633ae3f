"""Variants of a row: by hand on a three by three image, and a matter of the row alone."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from safecompress.attacks.queries import NOISE, shortened, varied, vary
from safecompress.data import Dataset
from safecompress.seeding import seeded
from safecompress.testing.fakes import noise_audit

IMAGE = torch.tensor([[1.0, 2, 3], [4, 5, 6], [7, 8, 9]])
SHAPES = [(6,), (2, 5), (2, 4, 3)]


def rows(count, shape, seed=0):
    with seeded(seed, "rows"):
        return torch.randn(count, *shape)


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (0, [[1, 2, 3], [4, 5, 6], [7, 8, 9]]),
        (1, [[3, 2, 1], [6, 5, 4], [9, 8, 7]]),  # the mirror image
        (2, [[1, 1, 2], [4, 4, 5], [7, 7, 8]]),  # to the right
        (3, [[3, 3, 2], [6, 6, 5], [9, 9, 8]]),  # the mirror image to the right
        (4, [[1, 2, 3], [1, 2, 3], [4, 5, 6]]),  # down
        (6, [[2, 3, 3], [5, 6, 6], [8, 9, 9]]),  # to the left
        (8, [[4, 5, 6], [7, 8, 9], [7, 8, 9]]),  # up
        (10, [[1, 1, 2], [1, 1, 2], [4, 4, 5]]),  # down and right
        (17, [[6, 6, 5], [9, 9, 8], [9, 9, 8]]),  # the mirror image up and right
        (18, [[1, 1, 1], [4, 4, 4], [7, 7, 7]]),  # two to the right
    ],
)
def test_three_by_three_by_hand(number, expected):
    two_channels = torch.stack([IMAGE, -IMAGE])[None]
    found = vary(two_channels, number)
    assert found[0, 0].tolist() == expected
    assert torch.equal(found[0, 1], -found[0, 0])


def test_the_first_eighteen_variants_of_an_image_all_differ():
    image = rows(1, (1, 5, 5))
    variants = {vary(image, number).numpy().tobytes() for number in range(18)}
    assert len(variants) == 18


@pytest.mark.parametrize("shape", SHAPES)
def test_number_zero_is_the_row_itself(shape):
    features = rows(3, shape)
    assert torch.equal(vary(features, 0), features)
    audit = noise_audit(3, 3)
    assert varied(audit, 0) is audit


def test_labels_and_membership_stay():
    audit = noise_audit(4, 3)
    other = varied(audit, 2)
    assert torch.equal(other.labels, audit.labels)
    assert np.array_equal(other.is_member, audit.is_member)
    assert torch.equal(other.features, vary(audit.features, 2))
    assert other.digest != audit.digest


@pytest.mark.slow
@given(st.integers(1, 40), st.integers(1, 25), st.sampled_from(SHAPES), st.randoms(use_true_random=False))
def test_a_variant_depends_on_the_row_alone(number, count, shape, random):
    """Not on its place nor on its neighbours, to the bit: members come first in an audit."""
    features = rows(count, shape)
    together = vary(features, number)
    order = random.sample(range(count), random.randint(1, count))
    assert torch.equal(vary(features[order], number), together[order])
    assert torch.equal(vary(features[order[:1]], number)[0], together[order[0]])


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("number", [1, 2, 3])
def test_what_is_given_stays_and_shape_and_type_are_kept(shape, number):
    features = rows(3, shape)
    before = features.clone()
    variant = vary(features, number)
    assert torch.equal(features, before)
    assert (variant.shape, variant.dtype) == (features.shape, features.dtype)
    assert not torch.equal(variant, features)


@pytest.mark.parametrize("shape", SHAPES[:2])
def test_noise_is_one_direction_in_proportion_to_the_row(shape):
    features = rows(5, shape)
    size = features.flatten(1).double().square().mean(dim=1).sqrt()
    steps = (vary(features, 1) - features).double().flatten(1) / (NOISE * size)[:, None]
    assert steps.numpy() == pytest.approx(steps[:1].expand(5, -1).numpy(), abs=1e-5)
    assert torch.allclose(vary(3 * features, 1), 3 * vary(features, 1), atol=1e-6)
    other = (vary(features, 2) - features).double().flatten(1) / (NOISE * size)[:, None]
    assert (steps - other).abs().max() > 0.5


def test_the_direction_is_standard_normal_and_always_the_same():
    """What is asked must be what shadows were asked, in a later process too."""
    steps = (vary(torch.ones(1, 4000), 1)[0] - 1) / NOISE
    assert (abs(float(steps.mean())), float(steps.std())) == (pytest.approx(0, abs=0.05), pytest.approx(1, abs=0.05))
    assert vary(torch.ones(1, 3), 1)[0].tolist() == pytest.approx([0.981822, 1.042188, 0.995815], abs=1e-6)


def test_a_row_of_zeros_has_no_size_to_vary_by():
    assert torch.equal(vary(torch.zeros(2, 6), 1), torch.zeros(2, 6))


def test_of_a_text_the_same_places_are_left_out_and_its_marks_stay() -> None:
    tokens = torch.tensor([[101, 5, 6, 7, 102], [101, 5, 102, -1, -1]], dtype=torch.int32)
    is_out = torch.tensor([True, True, False, True, True])
    assert shortened(tokens, is_out).tolist() == [[101, 6, 102, -1, -1], [101, 102, -1, -1, -1]]
    assert torch.equal(shortened(tokens, torch.zeros(5, dtype=torch.bool)), tokens)


@pytest.mark.slow
@given(st.integers(0, 2**32), st.integers(1, 40))
def test_a_variant_of_a_text_is_a_text_whoever_stands_beside_it(seed: int, number: int) -> None:
    generator = np.random.default_rng(seed)
    lengths = generator.integers(1, 9, size=5)
    tokens = generator.integers(0, 50, size=(5, 8))
    tokens[np.arange(8) >= lengths[:, None]] = -1
    given_rows = torch.from_numpy(tokens.astype(np.int32))
    found = vary(given_rows, number)
    assert torch.equal(found[1:2], vary(given_rows[1:2], number))
    Dataset.from_tokens(found.numpy(), range(5), vocab_size=50)  # refuses rows that are no texts
    for before, after in zip(given_rows, found, strict=True):
        assert after[0] == before[0] and after[after >= 0][-1] == before[before >= 0][-1]
