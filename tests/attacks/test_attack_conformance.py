"""The shipped suite passes every built-in attack and fails a deliberately broken attack of each kind."""

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import pytest
import torch

from safecompress.attacks import ATTACKS, Access, Gap, Loss, Neural
from safecompress.testing.attacks import check_attack
from safecompress.testing.fakes import CollapsedAttack, FailingAttack, NanAttack

BRIEF = {
    "neural": {"epochs": 12}, "samia": {"epochs": 10}, "whitebox": {"epochs": 10}, "label_only": {"queries": 24},
}  # fmt: skip
"""As good on the suite's model as at full length, in a fifth of the time."""


@pytest.mark.slow
@pytest.mark.parametrize("name", ATTACKS.names())
def test_built_in_attacks_conform(name):
    check_attack(ATTACKS.make({"name": name, **BRIEF.get(name, {})}))


@pytest.mark.slow
def test_the_neural_attack_conforms_with_the_papers_inputs():
    check_attack(Neural(epochs=12, inputs="paper"))


@dataclass(frozen=True)
class Sound:
    """The loss again: every attack below is this one but for its fault."""

    threshold: ClassVar[float | None] = None
    name: str = field(default="mine", init=False)
    access: Access = field(default=Access.SCORES, init=False)

    def fit(self, target, audit, *, generator):
        return self

    def score(self, target, audit):
        return target.signals(audit).scaled_logit_N


def test_the_attacks_below_would_pass_without_their_fault():
    check_attack(Sound())


@dataclass(frozen=True)
class ReadsTheTruth(Sound):
    def score(self, target, audit):
        return audit.is_member.astype(np.float64)


@dataclass(frozen=True)
class ReadsThePlace(Sound):
    def score(self, target, audit):
        return -np.arange(len(audit.is_member), dtype=np.float64)


@dataclass(frozen=True)
class ReadsTheFeatures(Sound):
    """Never asks the model, so that nothing the model does can be its finding."""

    def score(self, target, audit):
        return target.signals(audit).scaled_logit_N + 1e-3 * audit.features[:, 0].double().numpy()


@dataclass(frozen=True)
class OneScoreTooFew(Sound):
    def score(self, target, audit):
        return super().score(target, audit)[1:]


@dataclass(frozen=True)
class AColumn(Sound):
    def score(self, target, audit):
        return super().score(target, audit)[:, None]


@dataclass(frozen=True)
class Float32(Sound):
    def score(self, target, audit):
        return super().score(target, audit).astype(np.float32)


@dataclass(frozen=True)
class AList(Sound):
    def score(self, target, audit):
        return super().score(target, audit).tolist()


@dataclass(frozen=True)
class OwnChance(Sound):
    def score(self, target, audit):
        scores = super().score(target, audit)
        return scores + 1e-9 * np.random.default_rng().normal(size=len(scores))


@dataclass(frozen=True)
class GlobalNumpyChance(Sound):
    def score(self, target, audit):
        scores = super().score(target, audit)
        return scores + 1e-9 * np.random.normal(size=len(scores))  # noqa: NPY002


@dataclass(frozen=True)
class GlobalTorchChance(Sound):
    def score(self, target, audit):
        scores = super().score(target, audit)
        return scores + 1e-9 * torch.randn(len(scores)).double().numpy()


@dataclass(frozen=True)
class RemembersFits(Sound):
    fits: list = field(default_factory=list, compare=False, repr=False)

    def fit(self, target, audit, *, generator):
        self.fits.append(1)
        return self

    def score(self, target, audit):
        return super().score(target, audit) + len(self.fits)


@dataclass(frozen=True)
class ChangesRows(Sound):
    def score(self, target, audit):
        audit.features.mul_(2)
        return super().score(target, audit)


@dataclass(frozen=True)
class ChangesLabelsWhenFitted(Sound):
    def fit(self, target, audit, *, generator):
        audit.labels.add_(1).remainder_(16)
        return self


@dataclass(frozen=True)
class ChangesTheModel(Sound):
    @torch.no_grad()
    def fit(self, target, audit, *, generator):
        target.model.margin.mul_(1.5) if hasattr(target.model, "margin") else None
        return self


@dataclass(frozen=True)
class Inattentive(Sound):
    """Mixes a finding with so much else that little of it is left."""

    def score(self, target, audit):
        signals = target.signals(audit)
        return signals.scaled_logit_N + 30 * np.sin(1e6 * signals.logits_NC[:, 0])


@dataclass(frozen=True)
class Saturates(Sound):
    def score(self, target, audit):
        return np.minimum(super().score(target, audit), -1e3)


@dataclass(frozen=True)
class NanThreshold(Sound):
    threshold: ClassVar[float | None] = float("nan")


@dataclass(frozen=True)
class NoThreshold(Sound):
    threshold: ClassVar[str] = "0.5"


@dataclass(frozen=True)
class DottedName(Sound):
    name: str = field(default="my.attack", init=False)


@dataclass(frozen=True)
class AccessByName(Sound):
    access: str = field(default="SCORES", init=False)


@dataclass
class Mutable(Sound.__mro__[-1]):
    threshold: ClassVar[float | None] = None
    name: str = "mine"
    access: Access = Access.SCORES
    fit = Sound.fit
    score = Sound.score


@dataclass(frozen=True, repr=False)
class PrintsItsAddress(Sound):
    __repr__ = object.__repr__


@dataclass(frozen=True, eq=False)
class ComparesByIdentity(Sound):
    __eq__ = object.__eq__
    __hash__ = object.__hash__


@dataclass(frozen=True)
class HoldsAClosure(Sound):
    key: object = field(default_factory=lambda: lambda scores: scores, repr=False)


BROKEN = {
    FailingAttack: "could not be fitted: RuntimeError: this attack always fails to fit",
    (lambda: FailingAttack("score")): "could not score: RuntimeError",
    NanAttack: "1 of 320 scores are not finite",
    CollapsedAttack: "the same score for all 320 rows",
    Saturates: "the same score for all 320 rows",
    ReadsTheTruth: "must not read audit.is_member",
    ReadsThePlace: "may not depend on its place",
    ReadsTheFeatures: "only 0.5 is honest",
    OneScoreTooFew: r"must score 320 rows as a float64 array of that length, got float64 of shape \(319,\)",
    AColumn: r"of shape \(320, 1\)",
    Float32: "got float32",
    AList: "got list",
    OwnChance: "a second time",
    GlobalNumpyChance: "a second time",
    GlobalTorchChance: "a second time",
    RemembersFits: "a second time",
    ChangesRows: "changed the rows",
    ChangesLabelsWhenFitted: "changed the rows",
    ChangesTheModel: "changed the model",
    Inattentive: "0.95 is the least",
    NanThreshold: "threshold must be a finite float",
    NoThreshold: "threshold must be a finite float",
    DottedName: "name must be an identifier",
    AccessByName: "access must be an Access",
    Mutable: "can be changed",
    PrintsItsAddress: "prints its address",
    ComparesByIdentity: "does not equal it",
    HoldsAClosure: "worker process",
}


@pytest.mark.parametrize("make", BROKEN, ids=lambda make: make.__name__)
def test_a_broken_attack_fails(make):
    with pytest.raises(AssertionError, match=BROKEN[make]):
        check_attack(make())


def test_what_an_attack_must_find_can_be_lowered():
    with pytest.raises(AssertionError, match=r"0\.99 is the least"):
        check_attack(Gap(), min_auc=0.99)
    check_attack(Inattentive(), min_auc=0.5)


def test_the_suite_leaves_the_attack_as_it_was():
    attack = Mutable()
    with pytest.raises(AssertionError):
        check_attack(attack)
    assert vars(attack) == {"name": "mine", "access": Access.SCORES}
    assert Loss() == Loss()
