"""Every method by name keeps the promises of a Method: repeatable, of the density asked for, blind to what it must not
see, and honest about what it uses."""

import importlib.util
from dataclasses import fields
from pathlib import Path

import pytest
import torch
from tiny_inputs import FORBIDDEN, NUM_WEIGHTS, Watched, same_weights, setting_of, split_of

from safecompress.attacks.shadows import ShadowDraw
from safecompress.auditing.shadow_training import shadow_rows
from safecompress.digests import digest_tensors
from safecompress.errors import UsageError
from safecompress.studies.methods import METHODS, MethodShadowTrainer

PAGE = Path(__file__).parents[3] / "docs" / "baselines.md"
NAMES = list(METHODS.builtins)
SEARCHES = ("static", "set", "rigl", "leak_drop", "random_small_drop", "safecompress")
OWN = [name for name in NAMES if name not in SEARCHES]
DENSE = {"dense", "dense_early_stop", "dense_relax", "dense_hamp", "dmp", "selena"}
SMALL = {"kd", "kd_dp", "kd_advreg", "kd_dmp"}
PRIVATE = {"pr_dp", "kd_dp"}
FROM_THE_DENSE = ["dense", "one_shot", "gmp", "mia_pruning", "ppb", "wemem", "kd", "dmp", "pr_dmp", "kd_dmp"]


def needing(name):
    """Skips a private method where Opacus is missing."""
    if name in PRIVATE and importlib.util.find_spec("opacus") is None:
        pytest.skip("Opacus is not installed")
    return METHODS.make({"name": name, "accountant": "rdp"} if name in PRIVATE else name)  # it is the faster one


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """What a method makes of the tiny setting; with a store of its own, and made once."""
    kept = {}

    def make(name):
        method = needing(name)
        if name not in kept:
            kept[name] = method.make(setting_of(store=tmp_path_factory.mktemp(name)))
        return kept[name]

    return make


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_the_weights_are_numbers_though_test_and_verdict_rows_are_not(made, name):
    """Their features are NaN: one step on one of them would spoil all weights. (That it would: below.)"""
    one = made(name)
    network = one.model.build()
    network.load_state_dict(dict(one.weights))
    assert all(torch.isfinite(tensor).all() for tensor in one.weights.values())


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_density(made, name):
    """Pruned: exactly round(density x N) weights, the inactive ones +0.0. Small: nearest. Dense: said to be."""
    one, method = made(name), METHODS.make(name)
    assert method.is_dense() == (name in DENSE)
    assert (one.pattern is None) == (name in DENSE | SMALL)
    if one.pattern is not None:
        assert one.pattern.num_active == NUM_WEIGHTS // 2
        for parameter, mask in one.pattern.masks.items():
            assert torch.equal(
                one.weights[parameter].view(torch.int32)[~mask], torch.zeros((~mask).sum(), dtype=torch.int32)
            )
    elif name in SMALL:
        assert one.model.options["hidden"] == (4,)
        assert any("hidden (4,) and 36 weights" in note for note in one.notes)


@pytest.mark.slow
@pytest.mark.parametrize("name", OWN)
def test_made_twice_it_is_the_same_with_a_store_or_without(made, name):
    again = needing(name).make(setting_of())
    assert digest_tensors(again.weights) == digest_tensors(made(name).weights)
    assert (again.epsilon, again.notes) == (made(name).epsilon, made(name).notes)


@pytest.mark.slow
@pytest.mark.parametrize("name", OWN)
def test_another_seed_makes_another(made, name):
    assert digest_tensors(needing(name).make(setting_of(seed=1)).weights) != digest_tensors(made(name).weights)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_who_says_reference_rows_needs_them_and_nobody_else_does(made, name, monkeypatch):
    method, watched = needing(name), Watched(monkeypatch)
    setting = setting_of(split_of(*FORBIDDEN, population=False))
    if "reference rows" in method.uses:
        with pytest.raises(UsageError, match=r"reference rows.*population = \.\.\."):
            method.make(setting)
        assert watched.calls == []
    else:
        assert same_weights(dict(method.make(setting).weights), dict(made(name).weights))


@pytest.mark.parametrize("name", NAMES)
def test_epsilon_is_named_by_those_who_say_so_only(made, name):
    assert (made(name).epsilon is not None) == ("differential privacy" in METHODS.make(name).uses) == (name in PRIVATE)


@pytest.mark.parametrize("name", OWN)
def test_nobody_attacks_members_for_selection(name):
    assert "attacks on members" not in METHODS.make(name).uses


@pytest.mark.slow
def test_the_dense_model_is_trained_once_for_all(tmp_path, monkeypatch):
    watched = Watched(monkeypatch)
    setting = setting_of(store=tmp_path)
    for name in FROM_THE_DENSE:
        METHODS.make(name).make(setting)
    fresh = digest_tensors(setting.fresh().state_dict())
    dense = [
        state
        for state, course, _, pattern in watched.calls
        if digest_tensors(state.model) == fresh and pattern is None and course.recipe == setting.recipe
    ]
    assert len(dense) == 1 and len(watched.calls) > len(FROM_THE_DENSE)


@pytest.mark.parametrize("name", NAMES)
def test_each_cites(name):
    source, method = METHODS.make(name).source, METHODS.make(name)
    assert name == "dense" or any(year in source for year in map(str, range(2015, 2026)))
    if name in OWN and name != "dense":
        assert "Unconfirmed" in source
    assert METHODS.describe()[name][1].endswith((".", ",")) or method.__doc__


@pytest.mark.parametrize("name", OWN)
def test_values_are_told_apart_by_their_repr(name):
    """Shadows are kept under it."""
    assert METHODS.make(name) == METHODS.make(name) and repr(METHODS.make(name)) == repr(METHODS.make(name))
    reprs = [repr(METHODS.make(other)) for other in NAMES]
    assert len(set(reprs)) == len(NAMES)
    assert all(f"{field.name}=" in repr(METHODS.make(name)) for field in fields(METHODS.make(name)))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["one_shot", "wemem", "kd_dmp", "selena"])
def test_its_shadows_are_made_by_the_whole_method(made, name):
    split = split_of()
    setting, method = setting_of(split), METHODS.make(name)
    rows = shadow_rows(split, "verdict", 0)
    draws = [ShadowDraw(number, inside.nonzero()[0]) for number, inside in enumerate(rows.draws(2))]
    trainer = MethodShadowTrainer(method, setting, made(name).model)
    shadows = trainer(rows, draws)
    for shadow in shadows:
        trainer.build().network.load_state_dict({key.removeprefix("network."): t for key, t in shadow.items()})
    assert digest_tensors(shadows[0]) != digest_tensors(shadows[1])


def test_nan_would_be_seen(monkeypatch):
    """The trick of the first test: a method that did train on test rows could not finish."""
    split = split_of("test")
    indices = {**split.indices, "train": split.indices["test"]}
    with pytest.raises(Exception, match="became nan"):
        METHODS.make("dense").make(setting_of(type(split)(split.dataset, indices)))


def test_the_page_names_every_method_and_what_it_uses():
    page = PAGE.read_text(encoding="utf-8")
    rows = {line.split("`")[1]: line for line in page.splitlines() if line.startswith("| `")}
    assert list(rows) == NAMES
    marks = {"reference rows": "R", "differential privacy": "ε", "attacks on members": "A"}
    for name, row in rows.items():
        used = row.rsplit("|", 2)[1].split()
        assert sorted(used) == sorted(marks[use] for use in METHODS.make(name).uses)


def test_the_example_of_the_page_runs(capsys):
    page = PAGE.read_text(encoding="utf-8")
    exec(page.split("```python\n")[1].split("```")[0], {})
    assert float(capsys.readouterr().out) == pytest.approx(0.2, abs=1e-3)
