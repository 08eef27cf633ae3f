"""Differential privacy: DP-SGD before and after a cut, or in a teacher whose student sees no member."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor, nn

from safecompress import __version__
from safecompress.digests import digest_json, digest_tensors
from safecompress.seeding import derive_seed
from safecompress.sparsity import ALLOCATIONS, SparsityPattern
from safecompress.studies.methods.inputs import MethodInputs
from safecompress.studies.methods.method import Method, MethodResult, Use
from safecompress.studies.methods.pruning import cut
from safecompress.studies.methods.reference import require_reference, taught_on_reference
from safecompress.studies.methods.small import describe, small
from safecompress.training import Recipe, TrainingState, TrainingTask
from safecompress.training.dp_sgd import AccountantName, DpSgd, share_out, train_privately
from safecompress.training.objectives.distill import Distillation

_SOURCE = (
    "Abadi et al. 2016, CCS (DP-SGD). Differs: large batches by SGD, whatever the setting's recipe. Unconfirmed: how "
    "others joined it with compression, their epsilon, and their recipes."
)
_NEIGHBOURS = "neighbours differ by one row"


@dataclass(frozen=True)
class _Noisy:
    """The options of DP-SGD: what may be spent, and how it trains."""

    epsilon: float = 8.0
    max_grad_norm: float = 0.3
    batch_size: int = 2048
    learning_rate: float = 1.0
    accountant: AccountantName = "prv"

    def __post_init__(self) -> None:
        self._privacy()
        self._recipe(Recipe())

    def _privacy(self) -> DpSgd:
        return DpSgd(self.epsilon, max_grad_norm=self.max_grad_norm, accountant=self.accountant)

    def _recipe(self, recipe: Recipe) -> Recipe:
        """As many epochs as ``recipe`` has, in large batches, by SGD with momentum at one rate, with cross entropy."""
        return Recipe(
            epochs=recipe.epochs,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            nesterov=False,
            weight_decay=0.0,
            decay="constant",
        )


@dataclass(frozen=True)
class PrunedPrivately(_Noisy, Method):
    """DP-SGD from fresh weights, a cut by magnitude at once, and DP-SGD for one whole training more under the mask.

    The cut looks at private weights only, so it costs nothing. One accountant adds up the steps of both phases, whose
    sampling and noise are drawn apart; delta is 1 / (10 N). A training is as many epochs as the dense model's, in
    larger batches.
    """

    allocation: str = "erk"

    source: ClassVar[str] = f"{_SOURCE} Pruned as Han et al. 2015, NeurIPS."
    uses: ClassVar[frozenset[Use]] = frozenset({"differential privacy"})

    def __post_init__(self) -> None:
        super().__post_init__()
        ALLOCATIONS.make(self.allocation)

    def make(self, setting: MethodInputs) -> MethodResult:
        """The pruned model, and what both phases spent. Raises UsageError without Opacus."""
        course = setting.course(self._recipe(setting.recipe))
        privacy, epsilon = share_out(self._privacy(), course, 2)
        dense, _ = _trained(setting, setting.fresh(), course, privacy)
        pattern = cut(setting, dense, setting.density, self.allocation)
        # other noise than the first phase had: one seed for both would let it cancel out
        second = replace(course, seed=derive_seed(setting.seed, "fine-tune"))
        weights, _ = _trained(setting, setting.network(dense), second, privacy, pattern)
        return MethodResult(setting.model, weights, pattern, epsilon, notes=(_spent(setting, course, epsilon),))


@dataclass(frozen=True)
class DistilledPrivately(_Noisy, Method):
    """A dense teacher by DP-SGD gives reference rows soft labels, and a small dense network learns those.

    The student sees no member, and what is computed from a private teacher stays private: the teacher's epsilon, at
    delta 1 / (10 N), is that of the whole.
    """

    temperature: float = 1.0

    source: ClassVar[str] = (
        f"{_SOURCE} Distilled as Hinton, Vinyals & Dean 2015, on reference rows: on the members' a student would need "
        "noise of its own."
    )
    uses: ClassVar[frozenset[Use]] = frozenset({"reference rows", "differential privacy"})

    def __post_init__(self) -> None:
        super().__post_init__()
        Distillation(self.temperature)

    def make(self, setting: MethodInputs) -> MethodResult:
        """The small network, and what its teacher spent. Raises UsageError without reference rows or Opacus."""
        require_reference(setting, self)
        model, course = small(setting), setting.course(self._recipe(setting.recipe))
        teacher, epsilon = _trained(setting, setting.fresh(), course, self._privacy())
        lesson = taught_on_reference(setting, teacher, self.temperature)
        weights = setting.workshop.train(setting.fresh("student", model_spec=model), lesson)
        notes = (describe(setting, model), _spent(setting, course, epsilon))
        return MethodResult(model, weights, epsilon=epsilon, notes=notes)


def _trained(
    setting: MethodInputs,
    model: nn.Module,
    course: TrainingTask,
    privacy: DpSgd,
    pattern: SparsityPattern | None = None,
) -> tuple[dict[str, Tensor], float]:
    """The weights of ``model`` trained privately, and the epsilon of these steps; kept by content in the workshop."""
    state = TrainingState.capture(0, model)
    store = setting.workshop.store
    rows = digest_tensors({"x": course.features, "y": course.labels})
    facts = [repr(model), state.digest(), course.recipe.to_json(), course.seed, rows, repr(privacy)]
    mask = "" if pattern is None else pattern.digest()
    name = digest_json(["private", *facts, mask, __version__, torch.__version__, torch.get_num_threads()])
    kept = None if store is None else store.load(name)
    if kept is None:
        trained, spent = train_privately(
            model, state, course, privacy, data_independent=_is_scaled_blindly(setting), pattern=pattern
        )
        kept = {**trained.model, _EPSILON: torch.tensor(spent.epsilon, dtype=torch.float64)}
        setting.workshop.keep(name, kept)
    weights = {key: tensor for key, tensor in kept.items() if key != _EPSILON}
    return weights, float(kept[_EPSILON])


_EPSILON = "spent/epsilon"


def _is_scaled_blindly(setting: MethodInputs) -> bool:
    """Whether features reach the network as they are: a shift or scale may come from the members."""
    return setting.task.shift is None and setting.task.scale is None


def _spent(setting: MethodInputs, course: TrainingTask, epsilon: float) -> str:
    note = f"epsilon {epsilon:.2f} at delta {1 / (10 * len(course.labels)):.1e} ({_NEIGHBOURS})"
    if _is_scaled_blindly(setting):
        return note
    return f"{note}, of the training steps only, not a guarantee: the features' scaling may depend on the rows"
