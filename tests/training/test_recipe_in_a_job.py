"""Before anything is trained a job refuses a recipe that its rows, its device or one of its branches does not suit."""

import pytest

import safecompress as sc
from safecompress.data import digits
from safecompress.errors import UsageError
from whole_runs import SIZES

SPEC = sc.SafetySpec(attacks=["gap"], requirements=[sc.at_most("gap.auc", 0.9)], access="labels")
NETWORK = sc.ModelSpec("mlp", {"hidden": [16]}, input_shape=(64,), num_classes=10)


@pytest.fixture(scope="module")
def split():
    return sc.make_split(digits(), sc.SplitSizes(**SIZES), seed=0)


@pytest.mark.parametrize(
    ("recipe", "branches", "words"),
    [
        (
            sc.Recipe(augment=["flip"]),
            ("keep",),
            r"by Flip.* float32 of shape \(64,\)",
        ),
        (sc.Recipe(amp="fp16"), ("keep",), "amp = 'fp16' scales.*CUDA device"),
        (
            sc.Recipe(micro_batches=2),
            ("magnitude+random", "magnitude+random+relax_loss"),
            "micro_batches.*1.*RelaxLoss",
        ),
        (
            sc.Recipe(compiled=True),
            ("magnitude+random", "magnitude+random+adversarial"),
            "compiled.*AdversarialRegularisation",
        ),
    ],
)
def test_a_recipe_that_does_not_suit_is_refused_before_training(split, monkeypatch, recipe, branches, words):
    monkeypatch.setattr("safecompress.compression.phases.train", lambda *args, **options: pytest.fail("it trained"))
    plan = sc.Plan(rounds=1, density=0.3, branches=branches)
    with pytest.raises(UsageError, match=words):
        sc.compress(NETWORK, split, spec=SPEC, recipe=recipe, plan=plan)
