"""Adversarial regularisation: beside the model an adversary learns to tell members, and the model learns to fool it."""

# B rows of a batch, C classes, H inputs of the last linear layer, K numbers that a net reads of a row.

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, Protocol, get_args, runtime_checkable

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy, one_hot, relu, softplus

from safecompress.errors import UsageError, suggest
from safecompress.seeding import derive, seeded
from safecompress.training.inference import evaluating
from safecompress.training.objectives.base import Adversary, Batch, Need, Objective, TrainingRows

AdversaryName = Literal["black_box", "white_box", "both"]
Form = Literal["bounded", "paper"]

SMALLEST_SQUARE = 1e-12
"""Added to squared norms before the root, which has no slope at 0."""


@runtime_checkable  # what reads a spec checks options by their types
class AdversaryNet(Protocol):
    """A frozen value that builds a net which tells members from other rows; its ``repr`` is part of a run's identity.

    The net maps logits (B, C), labels (B,) and hidden (B, H), or None, to the logit (B,) of "is a member".
    """

    @property
    def name(self) -> str:
        """What it is called."""
        ...

    @property
    def reads_hidden(self) -> bool:
        """Whether the net is given what the last linear layer reads."""
        ...

    def build(self, num_classes: int, hidden_width: int) -> nn.Module:
        """A fresh net, its weights from PyTorch's global generator; ``hidden_width`` is 0 where it reads no hidden."""
        ...


@dataclass(frozen=True)
class BlackBoxAdversary:
    """Reads the logits: sorted log-probabilities, the label's scaled logit and the loss."""

    name: str = field(default="black_box", init=False)
    reads_hidden: bool = field(default=False, init=False)

    def build(self, num_classes: int, hidden_width: int) -> nn.Module:
        """A fresh net."""
        return _AdversaryNet(num_classes + 2)


@dataclass(frozen=True)
class WhiteBoxAdversary:
    """Reads, beside what the black box does, h and the norm |p - onehot(y)| |h| of the last layer's gradient."""

    name: str = field(default="white_box", init=False)
    reads_hidden: bool = field(default=True, init=False)

    def build(self, num_classes: int, hidden_width: int) -> nn.Module:
        """A fresh net."""
        return _AdversaryNet(num_classes + 3 + hidden_width)


class _AdversaryNet(nn.Module):
    """K-128-64-1 with ReLU between; K as `black_box_signals` and, where hidden is given, `white_box_signals` say."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(width, 128), nn.ReLU(), nn.Linear(128, 64), nn.ReLU(), nn.Linear(64, 1))

    def forward(self, logits_BC: Tensor, labels_B: Tensor, hidden_BH: Tensor | None) -> Tensor:
        """The logit (B,) of "is a member"."""
        signals_BK = black_box_signals(logits_BC, labels_B)
        if hidden_BH is not None:
            signals_BK = torch.cat([signals_BK, white_box_signals(logits_BC, labels_B, hidden_BH)], dim=1)
        member_B: Tensor = self.body(signals_BK).squeeze(1)
        return member_B


def black_box_signals(logits_BC: Tensor, labels_B: Tensor) -> Tensor:
    """Log-probabilities in descending order, the label's scaled logit log(p_y / (1 - p_y)), and the loss: (B, C + 2).

    The last two keep their slope where p_y rounds to 1.
    """
    sorted_BC = logits_BC.log_softmax(1).sort(1, descending=True).values
    is_label_BC = one_hot(labels_B, logits_BC.shape[1]).bool()
    others_B = logits_BC.masked_fill(is_label_BC, -math.inf).logsumexp(1)
    scaled_B = logits_BC.gather(1, labels_B[:, None]).squeeze(1) - others_B
    return torch.cat([sorted_BC, scaled_B[:, None], softplus(-scaled_B)[:, None]], dim=1)


def white_box_signals(logits_BC: Tensor, labels_B: Tensor, hidden_BH: Tensor) -> Tensor:
    """The norm |p - onehot(y)| |h| of the loss gradient for the last layer's weights, then h: (B, 1 + H)."""
    outer_BC = logits_BC.softmax(1) - one_hot(labels_B, logits_BC.shape[1])
    norm_B1 = _norm(outer_BC) * _norm(hidden_BH)
    return torch.cat([norm_B1, hidden_BH], dim=1)


def _norm(tensor: Tensor) -> Tensor:
    """Lengths (B, 1) of rows, with a slope at 0, too."""
    return (tensor.square().sum(1, keepdim=True) + SMALLEST_SQUARE).sqrt()


def coin_distance(member_B: Tensor) -> Tensor:
    """KL(coin || q) in nats where q = sigmoid(member) is over 1/2, and 0 elsewhere; its slope is max(0, q - 1/2).

    -log(4 q (1 - q)) / 2, which for a logit m is log(1 + e^m) - m/2 - log 2.
    """
    over_B = relu(member_B)
    return softplus(over_B) - over_B / 2 - math.log(2)


def log_probability(member_B: Tensor) -> Tensor:
    """log q for q = sigmoid(member): falls without end as the adversary is made to call the row a non-member."""
    return -softplus(-member_B)


_FORMS: dict[str, Callable[[Tensor], Tensor]] = {"bounded": coin_distance, "paper": log_probability}


@dataclass(frozen=True)
class AdversarialRegularisation(Objective):
    """Cross entropy, and after a while a game against adversaries that learn to tell members from reference rows.

    Nasr, Shokri, Houmansadr 2018, "Machine Learning with Membership Privacy using Adversarial Regularization"
    (equation 6, algorithm 1); the adversarial mode of SafeCompress (Zhu, Wang, Han 2022). From the share ``start`` of
    training on, before every ``every``-th step of the model each adversary takes ``attacker_steps`` steps (Adam at
    ``learning_rate``) on member rows against as many reference rows, by the model as it is then, in evaluation mode;
    then ``weight`` times the mean over the batch, summed over adversaries, is added to the model's loss, with q the
    adversary's probability that a row is a member:

    - ``form="bounded"``: KL(1/2 || q) where q > 1/2, else 0. It pulls towards "cannot tell" and stops there. Per row
      its slope for the adversary's logit is q - 1/2, at most 1/2. What can still carry a model past it is momentum, and
      an adversary that lags behind the model: seen at a weight of 50, not at 5.
    - ``form="paper"``: log q, that is, minus the adversary's loss on members (the paper's weight is 0.1). It has no
      bottom: it pushes on below q = 1/2, and a large weight makes members look *less* like members than others do,
      which an attacker reads as well by turning the sign.

    ``adversary`` names black_box, white_box (which reads the input of the last linear layer) or both; ``given``
    adversaries, from code, take their place. All draws depend on the task's seed and the step alone.

    Differs from the paper: the bounded form, the default; small adversaries that read sorted log-probabilities, the
    label's scaled logit and the loss. In a model with dropout or batch norm adversaries learn from its evaluation mode
    while the penalty reads the training step's own forward pass. Raises UsageError for options out of range.
    """

    adversary: AdversaryName = "black_box"
    weight: float = 1.0
    start: float = 2 / 3
    every: int = 2
    attacker_steps: int = 2
    learning_rate: float = 1e-3
    form: Form = "bounded"
    given: tuple[AdversaryNet, ...] = field(default=(), kw_only=True)

    needs: ClassVar[frozenset[Need]] = frozenset({"reference"})
    has_opponent: ClassVar[bool] = True

    def __post_init__(self) -> None:
        for option, allowed in (("adversary", get_args(AdversaryName)), ("form", get_args(Form))):
            if getattr(self, option) not in allowed:
                raise UsageError(
                    f"Adversarial regularisation: {option} {getattr(self, option)!r} is unknown. "
                    f"{suggest(str(getattr(self, option)), allowed)}"
                )
        counts_fit = all(isinstance(count, int) and count >= 1 for count in (self.every, self.attacker_steps))
        rates_fit = 0 <= self.weight < math.inf and 0 < self.learning_rate < math.inf and 0 <= self.start < 1
        if not (counts_fit and rates_fit):
            raise UsageError(
                "Adversarial regularisation needs a finite weight of at least 0, a start in [0, 1), whole numbers of "
                "at least 1 for every and attacker_steps, and a finite learning_rate above 0; got "
                f"weight={self.weight!r}, start={self.start!r}, every={self.every!r}, "
                f"attacker_steps={self.attacker_steps!r}, learning_rate={self.learning_rate!r}."
            )

    @property
    def adversaries(self) -> tuple[AdversaryNet, ...]:
        """Those that play: the given ones, else the named."""
        named: dict[str, tuple[AdversaryNet, ...]] = {
            "black_box": (BlackBoxAdversary(),),
            "white_box": (WhiteBoxAdversary(),),
            "both": (BlackBoxAdversary(), WhiteBoxAdversary()),
        }
        return self.given or named[self.adversary]

    def __call__(self, logits_BC: Tensor, batch: Batch) -> Tensor:
        """The cross entropy, a scalar; what the adversaries add is `_Game.penalty`."""
        return cross_entropy(logits_BC, batch.labels_B)

    def opponent(self, model: nn.Module, task: TrainingRows) -> Adversary:
        """The adversaries of a training of ``model`` on ``task``.

        Raises UsageError when one reads hidden and the model's logits do not come straight from a linear layer.
        """
        return _Game(self, model, task)


class _Game:
    """The adversaries' nets, their optimizer, and how they see the model."""

    def __init__(self, objective: AdversarialRegularisation, model: nn.Module, task: TrainingRows) -> None:
        assert task.reference is not None  # a task checks what its objective needs
        device = next(model.parameters()).device
        self._options, self._model, self._seed = objective, model, task.seed
        self._members = task.features.to(device), task.labels.to(device)
        self._reference = task.reference[0].to(device), task.reference[1].to(device)
        self._rows = min(task.batch_size, len(task.labels), len(self._reference[1]))
        total = task.total_steps
        self._first = next(step for step in range(total + 1) if step / total >= objective.start)
        self._hidden: Tensor | None = None
        self._hooks: list[Any] = []
        adversaries = objective.adversaries
        with seeded(task.seed, "opponent"):
            layer, num_classes = self._look_at(self._reference[0][:1])
            if any(adversary.reads_hidden for adversary in adversaries):
                if layer is None:
                    raise UsageError(
                        "A white-box adversary reads what the last linear layer reads, and the logits of this "
                        f"{type(model).__name__} do not come straight from an nn.Linear. Choose adversary='black_box', "
                        "or end the model with a linear layer."
                    )
                self._hooks.append(layer.register_forward_pre_hook(self._catch, with_kwargs=True))
            widths = [layer.in_features if layer and one.reads_hidden else 0 for one in adversaries]
            self._reads = [one.reads_hidden for one in adversaries]
            self._nets = nn.ModuleList(
                one.build(num_classes, width) for one, width in zip(adversaries, widths, strict=True)
            ).to(device)
        self._optimizer = torch.optim.Adam(self._nets.parameters(), lr=objective.learning_rate)

    def advance(self, step: int) -> None:
        """The adversaries' own steps, if any are due."""
        if step < self._first or (step - self._first) % self._options.every:
            return
        lots = derive(self._seed, "opponent", step)
        with seeded(self._seed, "opponent", step):
            for _ in range(self._options.attacker_steps):
                self._learn(lots)

    def penalty(self, logits_BC: Tensor, batch: Batch) -> Tensor:
        """What the model pays for what the adversaries see; 0 before the game begins. Their weights get no gradient."""
        hidden_BH, self._hidden = self._hidden, None
        paid = logits_BC.new_zeros(())
        if batch.progress < self._options.start:
            return paid
        for net, reads in zip(self._nets.eval(), self._reads, strict=True):
            fixed = {name: value.detach() for name, value in net.state_dict().items()}
            member_B = functional_call(net, fixed, (logits_BC, batch.labels_B, hidden_BH if reads else None))
            paid = paid + _FORMS[self._options.form](member_B).mean()
        return self._options.weight * paid

    def capture(self) -> dict[str, Tensor]:
        """The nets' weights under ``net/``, Adam's moments and counts under ``adam/``."""
        tensors = {f"net/{name}": value for name, value in self._nets.state_dict().items()}
        for name, parameter in self._nets.named_parameters():
            for key, value in self._optimizer.state.get(parameter, {}).items():
                tensors[f"adam/{name}/{key}"] = value
        return {name: value.detach().to("cpu", copy=True) for name, value in tensors.items()}

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Restore the state returned by `capture`. Raises UsageError for the state of other adversaries."""
        if not tensors:
            return
        nets = {name.removeprefix("net/"): value for name, value in tensors.items() if name.startswith("net/")}
        shapes = {name: tuple(value.shape) for name, value in self._nets.state_dict().items()}
        if {name: tuple(value.shape) for name, value in nets.items()} != shapes:
            raise UsageError(
                "The state holds other adversaries than this objective has "
                f"({', '.join(one.name for one in self._options.adversaries)}). Go on with the objective that the "
                "training began with, or clear the state's opponent."
            )
        self._nets.load_state_dict(nets)
        moments: dict[int, dict[str, Tensor]] = {}
        for index, (name, _) in enumerate(self._nets.named_parameters()):
            start = f"adam/{name}/"
            moments_of_one = {
                key.removeprefix(start): value.clone() for key, value in tensors.items() if key.startswith(start)
            }
            if moments_of_one:
                moments[index] = moments_of_one
        self._optimizer.load_state_dict({**self._optimizer.state_dict(), "state": moments})

    def detach(self) -> None:
        """Remove the hook from the model."""
        self._hidden = None
        for hook in self._hooks:
            hook.remove()

    def _learn(self, lots: np.random.Generator) -> None:
        """One step of all adversaries on fresh draws, as many members as reference rows, in one forward pass."""
        sides = [
            (x[rows], y[rows])
            for x, y in (self._members, self._reference)
            for rows in [torch.from_numpy(lots.choice(len(y), self._rows, replace=False))]
        ]
        x, labels_B = torch.cat([x for x, _ in sides]), torch.cat([y for _, y in sides])
        is_member_B = (torch.arange(len(x), device=x.device) < self._rows).float()
        with torch.no_grad(), evaluating(self._model):
            logits_BC = self._model(x)
        hidden_BH, self._hidden = self._hidden, None
        self._optimizer.zero_grad(set_to_none=True)
        loss = logits_BC.new_zeros(())
        for net, reads in zip(self._nets.train(), self._reads, strict=True):
            member_B = net(logits_BC, labels_B, hidden_BH if reads else None)
            loss = loss + binary_cross_entropy_with_logits(member_B, is_member_B.to(member_B))
        loss.backward()
        self._optimizer.step()

    def _catch(self, layer: nn.Module, inputs: tuple[Tensor, ...], named: dict[str, Any]) -> None:
        hidden_BH = inputs[0] if inputs else named["input"]
        self._hidden = hidden_BH.float() if hidden_BH.dtype in (torch.bfloat16, torch.float16) else hidden_BH

    @torch.no_grad()
    def _look_at(self, features: Tensor) -> tuple[nn.Linear | None, int]:
        """The linear layer whose output are the model's logits, as they are, and the number of classes."""
        last: list[tuple[nn.Linear, Tensor]] = []

        def remember(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            if isinstance(layer, nn.Linear):
                last[:] = [(layer, output.clone())]  # a copy: what comes behind may work in place

        linears = [module for module in self._model.modules() if isinstance(module, nn.Linear)]
        hooks = [layer.register_forward_hook(remember) for layer in linears]
        with evaluating(self._model):
            logits_BC = self._model(features)
        for hook in hooks:
            hook.remove()
        layer = next((layer for layer, output in last if torch.equal(output, logits_BC)), None)
        return layer, logits_BC.shape[1]
