"""Reference sets: what each access must be attacked with, and every way to fall short of it, in words."""

import importlib
import pkgutil
from dataclasses import dataclass, replace

import pytest

from safecompress.attacks import ATTACKS as REGISTRY
from safecompress.attacks import Access, Attack, JointLira, Lira, ModifiedEntropy, Neural, membership
from safecompress.attacks.reference import LEAST, REFERENCE, STANDS_FOR, missing_reference_attacks, weaknesses
from said import says


def all_attacks():
    """Every built-in attack with its default options, by name, registered or not."""
    modules = [
        importlib.import_module(f"{membership.__name__}.{m.name}") for m in pkgutil.iter_modules(membership.__path__)
    ]
    classes = {
        thing
        for module in modules
        for thing in vars(module).values()
        if isinstance(thing, type) and thing.__module__ == module.__name__ and not thing.__name__.startswith("_")
    }
    attacks = [cls() for cls in classes if "name" in getattr(cls, "__dataclass_fields__", {}) and hasattr(cls, "fit")]
    return {attack.name: attack for attack in attacks if isinstance(attack, Attack)}


ATTACKS = all_attacks()
WHOLE = {access: [ATTACKS[name] for name in names] for access, names in REFERENCE.items()}


def lacking(attacks, access=Access.WEIGHTS, bounded=None):
    return missing_reference_attacks(
        attacks, [attack.name for attack in attacks] if bounded is None else bounded, access
    )


# --- the sets themselves


def test_every_access_has_its_set():
    assert REFERENCE.keys() == set(Access)
    assert REFERENCE[Access.LABELS] == ("gap", "label_only")
    assert REFERENCE[Access.SCORES] == ("modified_entropy", "neural", "lira")
    assert REFERENCE[Access.WEIGHTS] == ("modified_entropy", "neural", "whitebox", "lira")


@pytest.mark.parametrize("access", Access)
def test_a_reference_attack_exists_and_may_be_made_with_that_access(access):
    assert all(ATTACKS[name].access <= access for name in REFERENCE[access])


def test_a_spec_can_name_every_attack_of_the_sets():
    known = {*LEAST, *(name for names in (*REFERENCE.values(), *STANDS_FOR.values()) for name in names)}
    assert known <= set(REGISTRY.names())


def test_who_holds_the_weights_holds_the_scores():
    assert set(REFERENCE[Access.SCORES]) < set(REFERENCE[Access.WEIGHTS])


def test_stand_ins_exist_and_stand_for_a_reference_attack():
    required = {name for names in REFERENCE.values() for name in names}
    assert STANDS_FOR.keys() <= required
    assert {name for names in STANDS_FOR.values() for name in names} <= ATTACKS.keys()


@pytest.mark.parametrize("name", LEAST)
def test_least_values_are_of_options_that_exist_and_the_defaults_have_them(name):
    """A misspelt option would never be found too weak."""
    attack = ATTACKS[name]
    for option, least in LEAST[name].items():
        assert attack.__dataclass_fields__[option].init
        assert getattr(attack, option) >= least
    assert weaknesses(attack) == ()


# --- nothing is missing


@pytest.mark.parametrize("access", Access)
def test_the_whole_set_at_its_defaults_lacks_nothing(access):
    assert lacking(WHOLE[access], access) == ()
    assert lacking(WHOLE[access][::-1], access) == ()


def test_more_than_the_set_is_no_fault():
    assert lacking([*WHOLE[Access.WEIGHTS], ATTACKS["rmia"], ATTACKS["gap"]]) == ()
    assert lacking([*WHOLE[Access.LABELS], ATTACKS["loss"]], Access.LABELS) == ()


def test_the_joint_attack_stands_for_the_single_one():
    joint = [attack for attack in WHOLE[Access.SCORES] if attack.name != "lira"] + [JointLira()]
    assert lacking(joint, Access.SCORES) == ()
    both = [*joint, Lira()]
    assert lacking(both, Access.SCORES, ["modified_entropy", "neural", "joint_lira"]) == ()
    assert lacking(both, Access.SCORES, ["modified_entropy", "neural", "lira"]) == ()


def test_one_of_two_that_is_strong_enough_suffices():
    base = [attack for attack in WHOLE[Access.SCORES] if attack.name != "lira"]
    assert lacking([*base, Lira(num_shadows=4), JointLira()], Access.SCORES) == ()
    weak = lacking([*base, Lira(num_shadows=4), JointLira(num_shadows=8)], Access.SCORES)
    assert len(weak) == 1 and says(weak[0], "lira ", "num_shadows=4, under 16")


def test_at_the_least_value_it_is_enough():
    least = [replace(attack, **LEAST.get(attack.name, {})) for attack in WHOLE[Access.WEIGHTS]]
    assert lacking(least) == ()


# --- what is missing, in words


@pytest.mark.parametrize("access", Access)
def test_every_attack_that_is_left_out_is_named(access):
    for name in REFERENCE[access]:
        others = [attack for attack in WHOLE[access] if attack.name != name]
        (said,) = lacking(others, access)
        assert says(said, f" {name} ", "not simulated")


@pytest.mark.parametrize("access", Access)
def test_every_attack_that_nothing_bounds_is_named(access):
    names = REFERENCE[access]
    for name in names:
        (said,) = lacking(WHOLE[access], access, set(names) - {name})
        assert says(said, "no requirement", f" {name}")


@pytest.mark.parametrize(
    ("weak", "words"),
    [
        (Neural(epochs=49), ("epochs=49", "under 50")),
        (Neural(patience=4), ("patience=4", "under 5")),
        (Lira(num_shadows=15), ("num_shadows=15", "under 16")),
        (replace(ATTACKS["whitebox"], epochs=1), ("epochs=1", "under 50")),
    ],
    ids=str,
)
def test_every_attack_that_runs_too_weak_is_named_with_the_option(weak, words):
    attacks = [weak if attack.name == weak.name else attack for attack in WHOLE[Access.WEIGHTS]]
    (said,) = lacking(attacks)
    assert says(said, weak.name, *words)


def test_a_label_only_attack_of_few_queries_is_too_weak():
    weak = replace(ATTACKS["label_only"], queries=15)
    (said,) = lacking([ATTACKS["gap"], weak], Access.LABELS)
    assert says(said, "label_only", "queries=15", "under 16")


def test_all_that_is_missing_is_said_at_once_in_the_sets_order():
    attacks = [Lira(num_shadows=4), Neural()]
    entropy, neural, whitebox, lira = lacking(attacks, Access.WEIGHTS, ["lira"])
    assert says(entropy, "modified_entropy", "not simulated") and says(neural, "no requirement", "neural")
    assert says(whitebox, "whitebox", "not simulated") and says(lira, "lira", "num_shadows=4", "under 16")
    assert len(lacking([])) == len(REFERENCE[Access.WEIGHTS])


def test_what_is_bounded_and_not_simulated_is_not_there():
    (said,) = lacking([ModifiedEntropy(), Neural()], Access.SCORES, ["modified_entropy", "neural", "lira"])
    assert says(said, " lira ", "not simulated")


def test_all_weaknesses_of_one_attack():
    first, second = weaknesses(Neural(epochs=2, patience=1))
    assert says(first, "neural", "epochs=2", "under 50") and says(second, "neural", "patience=1", "under 5")


@dataclass(frozen=True)
class Mine:
    """An attack of a plug-in, of which nothing is known."""

    name: str = "mine"
    epochs: int = 1


def test_an_attack_without_least_values_has_no_weakness():
    assert weaknesses(Mine()) == ()
