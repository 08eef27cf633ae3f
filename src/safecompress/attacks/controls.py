"""Positive and negative controls: a model every working attack must detect, and rows where no attack may find anything.

N rows, M of them members, F features of a row, P rows in the control's pool.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from safecompress.attacks.bags import BagOfTokens
from safecompress.attacks.shadows import OrderedMap, ShadowDraw, ShadowModels, ShadowRows
from safecompress.attacks.signals import Floats, Signals
from safecompress.attacks.target import Access, Target
from safecompress.data import AuditData
from safecompress.data.dataset import row_contents, row_key
from safecompress.digests import digest_tensors
from safecompress.errors import AttackError, TrainingError
from safecompress.metrics import stats
from safecompress.networks import copied, draw_anew_, has_own_draw
from safecompress.seeding import derive, derive_seed, seeded
from safecompress.training import (
    Recipe,
    TrainingState,
    TrainingTask,
    classified_right,
    evaluating,
    is_stackable,
    predict_logits,
    train,
    train_many,
)

OVERFITTED = 0.99
"""The share of its members that the control must classify right."""

RECIPE = Recipe(batch_size=32, optimizer="adam", learning_rate=2e-3, weight_decay=0.0, decay="constant")
"""How controls and their shadows are trained; ``epochs`` is found by training until the members are memorised."""

WEAK_LEAK = 0.65
"""The AUC that the loss finds on the weak control: an attack that works finds much of it, a broken one little."""

_CHUNK = 10
"""Epochs between two looks at the accuracy."""

_LOOKS = 4
"""Looks at the leak of the weak control in an epoch: it grows fast."""

_GROUP, _SMALL = 8, 150_000
"""Shadows trained at once, and the most weights up to which that is faster than one after another."""

COSTLY = 10_000_000
"""Operations for one row (two for a multiplication that is added up) from which a control is made of a perceptron."""

_WIDEST = 4096
"""Columns that the blind baseline reads; wider rows are projected on as many."""


@dataclass(frozen=True, eq=False)
class ControlModel:
    """A network like the target that has memorised its members, and the pools to attack it with.

    Its labels are permuted, so that only memorising predicts them: an attack that misses this model misses everything,
    and what it finds here says nothing about the target. ``accuracy`` is the share of members classified right (the
    lowest over network and ``versions``) after ``epochs``.

    ``weak`` is the same network after so few steps (its ``steps``; None: all of them) that the loss finds `WEAK_LEAK`:
    any attack catches a model that knows its members by heart, and one that is half broken misses this one.
    """

    network: nn.Module = field(repr=False)
    fit: AuditData
    verdict: AuditData
    accuracy: float
    epochs: int
    seed: int
    access: Access = Access.WEIGHTS
    versions: Mapping[str, nn.Module] = field(default_factory=dict, repr=False)
    steps: int | None = None
    weak: ControlModel | None = None

    @property
    def is_overfitted(self) -> bool:
        """Whether it classifies 99 % of its members right."""
        return self.accuracy >= OVERFITTED

    def as_target(self, *, run: OrderedMap = map) -> Target:
        """The control under attack: the target's access, versions of the same names, and shadows of its own rows.

        Shadows train for as many steps as the control did, on as many rows; ``run`` maps over groups of them.
        """
        features, labels, is_member = _joined(self.fit, self.verdict)
        seed = derive_seed(self.seed, "control", "shadows")
        rows = ShadowRows(features, labels, np.arange(len(labels)), int(is_member.sum()), seed)
        recipe = replace(RECIPE, epochs=self.epochs)

        def under_attack(name: str, network: nn.Module, versions: Mapping[str, Target]) -> Target:
            shadows = ShadowModels(
                rows, ControlShadowTrainer(network, recipe, name, tuple(features.shape[1:]), self.steps), run=run
            )
            return Target(network, access=self.access, shadows=shadows, versions=versions)

        others = {name: under_attack(name, network, {}) for name, network in self.versions.items()}
        return under_attack("", self.network, others)


def train_control(
    target: Target, fit: AuditData, verdict: AuditData, *, seed: int, max_epochs: int = 300
) -> ControlModel:
    """A copy of the target's network with fresh weights, trained on both pools' members under permuted labels.

    A network that takes more than 10 million operations a row would be slow to memorise them; a perceptron on the same
    rows stands in for it, since a control proves an attack and not the target. It trains until it classifies 99 % of
    them right, or for ``max_epochs`` (``is_overfitted`` says which). Labels change places within members and within
    non-members of each pool, so that class shares stay and reveal nothing. Of equal rows only the first stays: no
    network can give two labels to one row. Versions of the target are copied alike, and all are trained until the last
    has memorised its members. Raises AttackError for a network none of whose layers can be given fresh weights.
    """
    pools = _permuted(_without_copies(fit, verdict), derive(seed, "control", "labels"))
    features, labels, is_member = _joined(*pools)
    rows = torch.from_numpy(is_member)
    task = TrainingTask(
        features[rows], labels[rows], replace(RECIPE, epochs=max_epochs), derive_seed(seed, "control", "course")
    )
    row = features[:1]
    network = fresh(stand_in(target.model, row), derive_seed(seed, "control", "weights"))
    versions = {
        name: fresh(stand_in(version.model, row), derive_seed(seed, "control", "weights", name))
        for name, version in target.versions.items()
    }
    control = ControlModel(network, pools[0], pools[1], 0.0, max_epochs, seed, target.access, versions)
    weak = _train_weak(control, task, features, labels, is_member)
    epochs, accuracy = _overfit_([network, *versions.values()], task, max_epochs)
    return replace(control, accuracy=accuracy, epochs=epochs, weak=weak)


def _train_weak(
    control: ControlModel, task: TrainingTask, features: Tensor, labels: Tensor, is_member: np.ndarray
) -> ControlModel | None:
    """The control, trained from fresh weights until the loss finds `WEAK_LEAK` among all rows; None where it diverges.

    Training ends once members are memorised, too: where one of two classes is rare, the loss finds little even then.
    """
    per_look = max(1, task.recipe.steps_per_epoch(len(task.labels)) // _LOOKS)
    names, networks = ["", *control.versions], list(map(copied, (control.network, *control.versions.values())))
    states = [TrainingState.capture(0, network) for network in networks]
    for steps in range(per_look, task.total_steps + 1, per_look):
        try:
            pairs = zip(networks, states, strict=True)
            states = [train(network, state, task, until=steps) for network, state in pairs]
        except TrainingError:
            return None
        for network, state in zip(networks, states, strict=True):
            state.restore_(network)
            network.eval()
        signals = Signals(predict_logits(networks[0], features).double().numpy(), labels.numpy().astype(np.int64))
        accuracy = float(signals.is_correct_N[is_member].mean())
        if accuracy >= OVERFITTED or stats.auc(-signals.loss_N, is_member) >= WEAK_LEAK:
            versions = dict(zip(names[1:], networks[1:], strict=True))
            return replace(control, network=networks[0], versions=versions, accuracy=accuracy, steps=steps)
    return None


def stand_in(model: nn.Module, row: Tensor) -> nn.Module:
    """What a control is made of: ``model``, its ``twin`` where it has one, or a perceptron where it is costly.

    A twin stands in for a model that cannot be trained (it answers in a runtime of its own) or takes too long. ``row``
    (1, ...) is one row that the model reads.
    """
    from torch.utils.flop_counter import FlopCounterMode

    twin: nn.Module = getattr(model, "twin", model)
    with FlopCounterMode(display=False) as counter, evaluating(twin), torch.no_grad():
        num_classes = twin(row.to(next(twin.parameters()).device)).shape[1]
    if counter.get_total_flops() <= COSTLY:
        return twin
    width = row[0].numel()
    layers = [nn.LayerNorm(width), nn.Linear(width, 256), nn.ReLU(), nn.Linear(256, num_classes)]
    return nn.Sequential(nn.Flatten(), *layers)  # without the norm raw pixels are not memorised


def fresh(model: nn.Module, seed: int) -> nn.Module:
    """A trainable copy of ``model`` on the CPU with new weights, whose norms forgot their statistics.

    Raises AttackError for a network in which no layer can draw new weights.
    """
    network = copied(model).cpu().requires_grad_()
    if not has_own_draw(network):
        raise AttackError(
            f"No layer of {type(model).__name__} has a reset_parameters method, so that no control with fresh weights "
            "can be made of it. Build the model from layers of torch.nn, or give its own layers that method."
        )
    with seeded(seed):
        draw_anew_(network)
    return network


def _overfit_(networks: Sequence[nn.Module], task: TrainingTask, max_epochs: int) -> tuple[int, float]:
    """Train ``networks`` side by side until each has memorised the task's rows; the epochs and the lowest accuracy."""
    per_epoch = task.recipe.steps_per_epoch(len(task.labels))
    states = [TrainingState.capture(0, network) for network in networks]
    epochs, accuracy = 0, 0.0
    while epochs < max_epochs and accuracy < OVERFITTED:
        epochs = min(epochs + _CHUNK, max_epochs)
        try:
            pairs = zip(networks, states, strict=True)
            states = [train(network, state, task, until=epochs * per_epoch) for network, state in pairs]
        except TrainingError:  # diverged: a control that is not overfitted, and says so
            break
        for network, state in zip(networks, states, strict=True):
            state.restore_(network)
        rights = [classified_right(network, task.features, task.labels) for network in networks]
        accuracy = min(float(is_right.mean()) for is_right in rights)
    for network, state in zip(networks, states, strict=True):
        state.restore_(network)
        network.eval()
    return epochs, accuracy


@dataclass(frozen=True, eq=False)
class ControlShadowTrainer:
    """Trains shadows of a control: fresh weights, the control's recipe, as many ``steps`` (None: all of them)."""

    network: nn.Module = field(repr=False)
    recipe: Recipe
    version: str = ""
    input_shape: tuple[int, ...] | None = None
    steps: int | None = None
    mode: str = field(default="control", init=False)

    @property
    def group_size(self) -> int:
        """How many small nets one call trains."""
        num_weights = sum(parameter.numel() for parameter in self.network.parameters())
        has_statistics = next(self.network.buffers(), None) is not None
        is_small = num_weights <= _SMALL and not has_statistics
        return _GROUP if is_small and is_stackable(self.network, self.input_shape) else 1

    def digest(self) -> str:
        """Over everything that the weights of a shadow depend on, beside its rows."""
        shape = f"{self.mode}|{self.version}|{self.network!r}|{self.recipe.digest()}|{self.steps}|"
        return hashlib.sha256((shape + digest_tensors(self.network.state_dict())).encode()).hexdigest()

    def build(self) -> nn.Module:
        """A copy of the control's network."""
        return copied(self.network)

    def __call__(self, shadow_pool: ShadowRows, draws: Sequence[ShadowDraw]) -> list[Mapping[str, Tensor]]:
        """The weights of each shadow."""
        seeds = [derive_seed(shadow_pool.seed, "shadow", self.version, draw.number) for draw in draws]
        places = [torch.from_numpy(draw.rows) for draw in draws]
        tasks = [
            TrainingTask(shadow_pool.features[place], shadow_pool.labels[place], self.recipe, seed)
            for place, seed in zip(places, seeds, strict=True)
        ]
        states = [TrainingState.capture(0, fresh(self.network, seed)) for seed in seeds]
        model, until = self.build(), self.steps or tasks[0].total_steps
        if len(draws) > 1:
            return [state.model for state in train_many(model, states, tasks, until=until)]
        return [train(model, state, task, until=until).model for state, task in zip(states, tasks, strict=True)]


def negative_pool(non_members_a: AuditData, non_members_b: AuditData) -> AuditData:
    """The first pool's non-members in the place of members, and the second's as non-members: none was trained on.

    An attack fitted elsewhere must not tell the two apart. For attacks by shadows both must be drawn from the same rows
    as the shadows', or both from others. Raises AttackError when a side is empty.
    """
    sides = [_rows(pool, ~pool.is_member) for pool in (non_members_a, non_members_b)]
    if any(len(side.labels) == 0 for side in sides):
        counts = " and ".join(str(len(side.labels)) for side in sides)
        raise AttackError(f"A negative control needs non-members on both sides, got {counts}. Give both some rows.")
    features, labels, _ = _joined(*sides)
    return AuditData(features, labels, np.arange(len(labels)) < len(sides[0].labels))


def blind_scores(fit: AuditData, verdict: AuditData, *, seed: int) -> Floats:
    """Membership scores (N,) of ``verdict``, in [0, 1], by a classifier of row and label that never saw the model.

    Logistic regression sees a shift of means spread over many columns, a random forest sees a shape; their mean is the
    score, fitted on ``fit``. Where it separates, the pools differ by more than membership (Das, Zhang, Tramer 2024,
    "Blind baselines beat membership inference attacks for foundation models") and any attack's figure is void. Rows of
    more than 4,096 features are folded at random signs on as many columns. Texts are read as bags of tokens.
    """
    from sklearn.ensemble import RandomForestClassifier, VotingClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    numbers = derive(seed, "blind").integers(2**31, size=2)
    num_classes = 1 + int(max(fit.labels.max(), verdict.labels.max()))
    readings: list[Any]
    if fit.features.is_floating_point():
        readings = [_reading(pool, num_classes, int(numbers[0])) for pool in (fit, verdict)]
        shift = make_pipeline(StandardScaler(), LogisticRegression(C=1e-3, max_iter=1000))
    else:  # counts as they are: scaled, a word of three rows would outweigh the common ones
        bag = BagOfTokens.fit(fit.features)
        readings = [_text_reading(bag, pool, num_classes) for pool in (fit, verdict)]
        shift = LogisticRegression(max_iter=1000)
    shape = RandomForestClassifier(100, min_samples_leaf=3, random_state=int(numbers[1]))
    blind = VotingClassifier([("shift", shift), ("shape", shape)], voting="soft")
    scores: Floats = blind.fit(readings[0], fit.is_member).predict_proba(readings[1])[:, 1]
    return scores


def _reading(pool: AuditData, num_classes: int, seed: int) -> Floats:
    """Flat rows beside one-hot labels, (N, F + C); rows wider than 4,096 are folded."""
    flat_NF = pool.features.detach().cpu().flatten(1).double().numpy()
    if flat_NF.shape[1] > _WIDEST:
        flat_NF = _folded(flat_NF, np.random.default_rng(seed))
    return np.concatenate([flat_NF, np.eye(num_classes)[pool.labels.numpy()]], axis=1)


def _text_reading(bag: BagOfTokens, pool: AuditData, num_classes: int) -> Any:
    """Counts of tokens beside one-hot labels, sparse, (N, W + 1 + C)."""
    from scipy.sparse import hstack

    return hstack([bag.read(pool.features), np.eye(num_classes)[pool.labels.numpy()]], format="csr")


def _folded(flat_NF: Floats, generator: np.random.Generator) -> Floats:
    """Each column added to a random one of 4,096 with a random sign: keeps distances on average (count sketch)."""
    from scipy.sparse import csr_matrix

    width = flat_NF.shape[1]
    signs, places = generator.choice([-1.0, 1.0], width), generator.integers(_WIDEST, size=width)
    projection = csr_matrix((signs, (np.arange(width), places)), shape=(width, _WIDEST))
    return np.asarray(flat_NF @ projection)


def _permuted(pools: Sequence[AuditData], generator: np.random.Generator) -> list[AuditData]:
    """The pools with labels that change places within each side."""
    permuted = []
    for pool in pools:
        places = np.arange(len(pool.labels))
        for side in (True, False):
            rows = np.flatnonzero(pool.is_member == side)
            places[rows] = generator.permutation(rows)
        permuted.append(replace(pool, labels=pool.labels[torch.from_numpy(places)]))
    return permuted


def _without_copies(*pools: AuditData) -> list[AuditData]:
    """The pools with only the first of all rows that have equal features."""
    seen: set[bytes] = set()
    kept = []
    for pool in pools:
        is_new = np.zeros(len(pool.labels), dtype=bool)
        for number, row in enumerate(row_contents(pool.features)):
            key = row_key(row)
            is_new[number] = key not in seen
            seen.add(key)
        kept.append(pool if is_new.all() else _rows(pool, is_new))
    return kept


def _rows(pool: AuditData, is_kept: np.ndarray) -> AuditData:
    places = torch.from_numpy(np.flatnonzero(is_kept))
    return AuditData(pool.features[places], pool.labels[places], pool.is_member[is_kept])


def _joined(*pools: AuditData) -> tuple[Tensor, Tensor, np.ndarray]:
    return (
        torch.cat([pool.features for pool in pools]),
        torch.cat([pool.labels for pool in pools]),
        np.concatenate([pool.is_member for pool in pools]),
    )
