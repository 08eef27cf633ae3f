"""Several rows of one person on both sides of a split cast doubt on a verdict; a column of groups takes it away."""

import numpy as np
import pytest

from safecompress.attacks import Target
from safecompress.certify.health import HealthCase, examine_health, near_duplicates
from safecompress.data import Dataset, make_split
from safecompress.metrics.measurement import Levels
from safecompress.spec import Verdict
from safecompress.testing.fakes import ConstantModel, noise_audit

PASS, INCONCLUSIVE = Verdict.PASS, Verdict.INCONCLUSIVE


def people(each, *, grouped=False):
    """A split by rows of 400 people with so many rows each, a vector of their own plus noise."""
    rng = np.random.default_rng(0)
    who = np.repeat(np.arange(400), each)
    rows = rng.normal(size=(400, 30))[who] + 0.2 * rng.normal(size=(len(who), 30))
    data = Dataset.from_arrays(rows, who % 4, groups=who if grouped else None)
    return make_split(data, seed=0)


def test_several_rows_of_a_person_are_a_doubt_that_asks_for_a_group():
    check = near_duplicates(people(5))
    assert (check.name, check.subject, check.outcome) == ("near_duplicates", "data", INCONCLUSIVE)
    assert check.value > 0.6 and f"{check.value:.0%} of the rows" in check.detail
    assert "group in [data] source" in check.detail


@pytest.mark.parametrize("split", [people(1), people(5, grouped=True)], ids=["one row each", "with a group"])
def test_one_row_of_a_person_on_one_side_is_no_doubt(split):
    assert near_duplicates(split).outcome is PASS
    assert near_duplicates(split).value < 0.05


def test_it_is_checked_with_the_attacks_where_the_split_is_known():
    audit = noise_audit(60, 60)
    checks = examine_health(
        HealthCase(Target(ConstantModel([0.0, 0.5])), audit, audit, None, (), (), split=people(5)),
        levels=Levels(), seed=0,
    )  # fmt: skip
    assert (checks[0].name, checks[0].outcome) == ("near_duplicates", INCONCLUSIVE)
