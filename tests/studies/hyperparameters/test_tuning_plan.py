"""What a search is made of: checked before anything runs, and without the rows that no trial may read."""

from dataclasses import replace

import pytest
from tiny_tuning import KEEP, RECIPE, SPACE, job_of, spoiled_split, tuning_of

from safecompress.attacks import JointLira, Lira, Loss
from safecompress.compression.search import Plan
from safecompress.errors import DataError, UsageError
from safecompress.spec import SafetySpec, at_most
from safecompress.studies.hyperparameters import Space, TrialParams
from safecompress.studies.hyperparameters.plan import SEALED, default_attacks
from safecompress.training.objectives.relax import RelaxLoss


def spec(access="weights", bound=0.9, attacks=("gap",)):
    return SafetySpec(attacks, [at_most(f"{attacks[0]}.auc", bound)], access=access)


def without(part):
    split = spoiled_split()
    return replace(split, indices={**split.indices, part: split.indices[part][:0]})


def test_a_sealed_search_has_no_test_and_no_verdict_rows():
    tuning = tuning_of()
    sealed = tuning.sealed()
    assert set(SEALED) == {"test", "member_verdict", "nonmember_verdict"}
    for split in (sealed.job.split, sealed.job.raw):
        assert [split.size(part) for part in SEALED] == [0, 0, 0]
        with pytest.raises(DataError):
            split.audit("verdict")
    assert sealed.job.raw.size("train") == 60 and sealed.job.raw.audit("select").is_member.sum() == 20
    assert (
        sealed.job.spec.requirements[0].metric == "accuracy" and sealed.job.spec.attacks == tuning_of().job.spec.attacks
    )


def test_a_sound_search_is_let_be():
    tuning_of().check()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"trials": 0}, "trials.*least 1, got 0"),
        ({"batch": 0}, "batch.*least 1"),
        ({"threads": 0}, "threads.*least 1"),
        ({"attacks": ()}, "least one attack"),
        ({"attacks": (JointLira(),)}, "joint_lira joins several versions"),
        ({"attacks": (Loss(),), "job": job_of(spec=spec("labels"))}, "loss needs more"),
        ({"attacks": (Lira(num_shadows=4),), "job": job_of(without("population"))}, "4 shadows"),
        ({"job": replace(job_of(), plan=Plan(rounds=30))}, "density 0.2, cross_entropy.*30 rounds"),
    ],
)  # fmt: skip
def test_what_every_trial_would_trip_over_is_said_before(changes, words):
    with pytest.raises(UsageError, match=words):
        tuning_of(**changes).check()


def test_enough_shadows_are_let_be():
    tuning_of(attacks=(Lira(num_shadows=16),)).check()


def test_settings_are_told_apart_by_what_they_mean():
    """Not by labels: two spaces may call one thing by different names."""
    choice, tuning = TrialParams(0.3, "relax_loss", "keep", 0.01), tuning_of()
    named = replace(tuning, space=replace(SPACE, objectives={**SPACE.objectives, "x": RelaxLoss()}))
    assert named.digest(replace(choice, objective="x")) == tuning.digest(choice)
    other = replace(
        tuning, space=Space(SPACE.densities, {"relax_loss": RelaxLoss(target=2.0)}, {"keep": KEEP}, (0.01,))
    )
    changed = [
        tuning.digest(replace(choice, density=0.31)),
        tuning.digest(replace(choice, learning_rate=0.02)),
        tuning.digest(replace(choice, branches="magnitude+random, keep")),
        tuning.digest(replace(choice, objective="cross_entropy")),
        other.digest(choice),
    ]
    assert len({tuning.digest(choice), *changed}) == 6


def test_trials_of_one_folder_share_all_but_the_setting_and_the_requirements():
    def identity(key=b"k", **changes):
        return tuning_of(**changes).sealed().identity(key)

    same = identity()
    assert same == identity(trials=99, batch=9, sampler="random")
    assert same == identity(job=job_of(spec=SafetySpec([Loss()], [at_most("loss.auc", 0.6)])))
    others = [
        identity(b"l"),
        identity(attacks=(Loss(),)),
        identity(threads=2),
        identity(job=job_of(seed=1)),
        identity(job=job_of(recipe=replace(RECIPE, epochs=7))),
        identity(job=job_of(spec=SafetySpec([Loss()], [at_most("loss.auc", 0.9)], alpha=0.1))),
    ]
    assert len({same, *others}) == 7


def test_the_rows_that_no_trial_reads_do_not_tell_searches_apart():
    clean = spoiled_split()
    clean.dataset.features.nan_to_num_(0.5)
    first, second = (tuning_of(job_of(split)).sealed().identity(b"k") for split in (spoiled_split(), clean))
    assert first == second


@pytest.mark.parametrize(
    ("access", "names"),
    [("weights", ["gap", "loss", "confidence", "entropy", "modified_entropy", "neural"]), ("labels", ["gap"])],
)
def test_the_attacks_of_a_trial_are_those_that_the_access_allows(access, names):
    assert [attack.name for attack in default_attacks(spec(access))] == names
