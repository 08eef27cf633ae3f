"""What several tests of faults begin with."""

import pytest


@pytest.fixture(scope="package")
def small_split():
    """A split of a few random rows."""
    from safecompress.testing.fakes import noise_split

    return noise_split(8, other=8)
