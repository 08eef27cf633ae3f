"""Branches from words: every drop and grow rule there is, and what is said of others."""

import pytest

from safecompress.compression.search import DEFAULT_BRANCHES, KEEP, Branch, Plan, parse_branches
from safecompress.errors import UsageError
from safecompress.sparsity import DROP_RULES, GROW_RULES, DropMagnitude, DropThreshold, GrowGradient, GrowRandom
from safecompress.training.objectives.catalogue import Mixup, RelaxLoss


@pytest.mark.parametrize("drop", DROP_RULES.names())
@pytest.mark.parametrize("grow", GROW_RULES.names())
def test_every_pair_of_rules_is_a_branch(drop, grow):
    branch = Branch.parse(f"{drop}+{grow}")
    assert branch == Branch(f"{drop}+{grow}", DROP_RULES.make(drop), GROW_RULES.make(grow))
    assert branch.reads == branch.drop.reads | branch.grow.reads


def test_keep_has_no_rules_and_reads_nothing():
    branch = Branch.parse(KEEP)
    assert (branch.name, branch.drop, branch.grow, branch.reads) == ("keep", None, None, frozenset())


def test_an_objective_may_come_last():
    three, two = Branch.parse("magnitude+random+relax_loss"), Branch.parse("keep+mixup")
    assert (three.drop, three.grow, three.objective) == (DropMagnitude(), GrowRandom(), RelaxLoss())
    assert (two.drop, two.grow, two.objective) == (None, None, Mixup())
    assert Branch.parse("magnitude+random").objective is None
    assert three.reads == frozenset()


def test_what_a_branch_reads():
    reads = {text: Branch.parse(text).reads for text in ("magnitude+random", "taylor+momentum", "set+random-unfired")}
    assert reads["magnitude+random"] == frozenset()
    assert reads["taylor+momentum"] == {"gradient", "momentum"}
    assert reads["set+random-unfired"] == {"fired"}


def test_the_default_is_the_papers_four_and_the_control():
    names = [branch.name for branch in DEFAULT_BRANCHES]
    assert names == ["magnitude+random", "magnitude+gradient", "threshold+random", "threshold+gradient", "keep"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("magnitude", "joined by '\\+'.*got 'magnitude'.*Drop rules: .*Grow rules: "),
        ("kep", "branch is 'keep'"),
        ("", "got ''"),
        ("magnitud+random", r"drop rule 'magnitud' .*'magnitud\+random'.*'magnitude'"),
        ("magnitude+gradent", "Unknown grow rule 'gradent'.*Did you mean 'gradient'"),
        ("magnitude + random", "rule 'magnitude '"),
        ("magnitude+random+gradient", "Unknown objective 'gradient'"),
        ("keep+mixup+mixup", "objective after another"),
        ("magnitude+random+mixup+mixup", "Objectives: adversarial, confidence_penalty"),
        ("keep+random", "Unknown objective 'random'"),
    ],
)
def test_what_is_no_branch_is_explained(text, message):
    with pytest.raises(UsageError, match=message):
        Branch.parse(text)


def test_names_and_objects_mix():
    mine = Branch("mine", DropThreshold(0.5), GrowGradient())
    assert parse_branches(["keep", mine]) == (Branch("keep"), mine)


@pytest.mark.parametrize("texts", [[], ["keep", "keep"], ["keep", Branch("keep")]])
def test_branches_are_some_and_different(texts):
    with pytest.raises(UsageError, match="one and all"):
        parse_branches(texts)


def test_a_branch_prints_its_rules_because_they_are_part_of_a_jobs_identity():
    assert repr(Branch("mine", DropThreshold(0.5), GrowRandom())) != repr(
        Branch("mine", DropThreshold(2), GrowRandom())
    )


@pytest.mark.parametrize("name", ["", "a/b", "../x", "a\n"])
def test_a_branchs_name_is_fit_for_a_file(name):
    with pytest.raises(UsageError, match="branch's name"):
        Branch(name)


def test_a_plan_refuses_branches_of_one_name():
    with pytest.raises(UsageError, match="all different"):
        Plan(branches=(Branch("mine"), Branch("mine")))
