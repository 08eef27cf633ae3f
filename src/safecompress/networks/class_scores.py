"""A network of any kind, read as a classifier: features (N, ...) in, one tensor of class scores (N, C) out.

N rows, C classes.
"""

from __future__ import annotations

import contextlib
import dataclasses
import inspect
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import AveragedModel

from safecompress.errors import ModelError, UsageError, suggest
from safecompress.networks.plain_weights import copied

Scores = Literal["logits", "probabilities", "logit", "probability"]
"""What a network gives: C numbers a row, or one number a row for the second of two classes."""

Passing = Literal["keywords", "dict", "positions"]

Inputs = Mapping[str, Sequence[int]]

TOKENS = "tokens"

_TINY = float(torch.finfo(torch.float32).tiny)

_SUM = 1e-3
"""How far the sum of a row's probabilities may be from 1: half precision rounds."""


class ClassScores(nn.Module):
    """``network``, which takes or gives something else than a plain classifier, as one. Its tensors keep their names.

    ``output`` picks the scores where the network gives several things: the name of a field (``"logits"``), or a
    position in a tuple. ``scores`` says what they are: ``"logits"`` (N, C), ``"probabilities"`` (N, C), which sum to 1,
    or, of the second of two classes, one ``"logit"`` or ``"probability"`` a row. ``inputs`` cuts a row of features into
    the arguments that the network takes: names and shapes, in order (``{"image": (3, 32, 32), "age": (1,)}``); or
    ``"tokens"``, for texts, which gives ``input_ids`` and ``attention_mask``. ``passing`` says how: as keywords, as one
    dict, or by position. The network reads copies of rows, which it may change.

    `compress` and `audit` make one by themselves where they can tell; give one where they cannot. Raises UsageError for
    a word that is not among these.
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        output: str | int | None = None,
        scores: Scores = "logits",
        inputs: Inputs | Literal["tokens"] | None = None,
        passing: Passing = "keywords",
    ) -> None:
        super().__init__()
        for word, words in ((scores, get_args(Scores)), (passing, get_args(Passing))):
            if word not in words:
                raise UsageError(f"Unknown word {word!r}. {suggest(str(word), words)}")
        self.__dict__["network"] = network  # no child of this one, so that names stay
        self._parameters, self._buffers, self._modules = network._parameters, network._buffers, network._modules
        self.output, self.scores, self.inputs, self.passing = output, scores, inputs, passing

    @property
    def training(self) -> bool:
        """Whether the network is in training mode."""
        return bool(self.__dict__["network"].training) if "network" in self.__dict__ else True

    @training.setter
    def training(self, mode: bool) -> None:
        if "network" in self.__dict__:
            self.network.training = mode

    @property
    def twin(self) -> nn.Module:
        """The model that controls are copies of: this one, in the precision that training needs."""
        return self if _dtype(self.network) is torch.float32 else copied(self).float()

    def __getattr__(self, name: str) -> Any:
        """What the network has."""
        if name == "network":
            raise AttributeError(name)  # while a copy is made
        return getattr(self.__dict__["network"], name)

    def __repr__(self) -> str:
        read = f"output={self.output!r}, scores={self.scores!r}, inputs={self.inputs!r}, passing={self.passing!r}"
        return f"ClassScores({read})\n{self.network!r}"

    def named_modules(
        self, memo: set[nn.Module] | None = None, prefix: str = "", remove_duplicate: bool = True
    ) -> Iterator[tuple[str, nn.Module]]:
        """Those of the network, itself first: this module has no layer of its own."""
        yield from self.network.named_modules(memo, prefix, remove_duplicate)

    def train(self, mode: bool = True) -> ClassScores:
        """Set the network's mode."""
        self.network.train(mode)
        return self

    def forward(self, features: Tensor) -> Tensor:
        """Logits (N, C) of ``features`` (N, ...). Raises ModelError for an answer of another form."""
        dtype = _dtype(self.network)
        features = features.to(dtype, copy=True) if features.is_floating_point() else features.clone()
        positional, named = self._arguments(features)
        answer = picked(self.network(*positional, **named), self.output)
        return as_logits(answer, self.scores, len(features))

    def _arguments(self, features: Tensor) -> tuple[tuple[Any, ...], dict[str, Any]]:
        if self.inputs is None:
            return (features,), {}
        named = _tokens(features) if isinstance(self.inputs, str) else _cut(features, self.inputs)
        if self.passing == "dict":
            return (named,), {}
        return (tuple(named.values()), {}) if self.passing == "positions" else ((), named)


@dataclass(frozen=True, eq=False)
class Reading:
    """A ``network`` that maps features to class scores, and ``notes``: sentences on how it was read."""

    network: nn.Module
    notes: tuple[str, ...] = ()


def as_classifier(model: nn.Module, features: Tensor, num_classes: int) -> Reading:
    """``model`` as it is, or within `ClassScores` where it takes or gives something else than a plain classifier.

    ``features`` (N, ...) are some rows of the data, whole numbers for texts. Wrappers (DataParallel, torch.compile,
    averaged weights) are taken off. Raises ModelError, with what to write, where the answer cannot be told.
    """
    network = unwrapped(model)
    if isinstance(network, ClassScores):
        _require_scores(_answer_of(network, features), len(features), num_classes)
        return Reading(network)
    options: dict[str, Any] = {}
    if not features.is_floating_point() and _takes(network, "input_ids"):
        options["inputs"] = TOKENS
    read = ClassScores(network, **options)
    answer = _answer_of(_Unread(read), features)
    options["output"], answer = _choose(answer, len(features), num_classes)
    options["scores"] = _kind(answer, len(features), num_classes, _Unread(ClassScores(network, **options)), features)
    if options["output"] is None:
        options["output"] = _place_in_training(network, features, num_classes)
    is_plain = options == {"output": None, "scores": "logits"} and answer.shape == (len(features), num_classes)
    if is_plain and _dtype(network) is torch.float32:
        return Reading(network)
    return Reading(ClassScores(network, **options), tuple(_notes(options)))


def count_classes(model: nn.Module, features: Tensor, at_least: int) -> int:
    """How many classes ``model`` scores, ``at_least`` as many as the labels have; one number a row tells two apart.

    Raises ModelError where its answer says none, or several.
    """
    network = unwrapped(model)
    options: dict[str, Any] = (
        {"inputs": TOKENS} if not features.is_floating_point() and _takes(network, "input_ids") else {}
    )
    read = network if isinstance(network, ClassScores) else ClassScores(network, **options)
    answer = _answer_of(_Unread(read), features)
    parts = {"": answer} if isinstance(answer, Tensor) else dict(_parts(answer))
    counts = {place: _width(part, len(features)) for place, part in parts.items()}
    fitting = {place: count for place, count in counts.items() if count is not None and count >= max(2, at_least)}
    if "logits" in fitting or len(fitting) == 1:
        return fitting["logits"] if "logits" in fitting else next(iter(fitting.values()))
    raise ModelError(
        f"The model gives outputs of {_described(answer)} for {len(features)} rows; class scores are a tensor "
        f"(N, C) with {at_least} classes or more, as the labels have. Say which it is: ClassScores(model, output=...)."
    )


def _width(output: Any, num_rows: int) -> int | None:
    """The number of classes that a part of an answer would score; None for what is no tensor of scores."""
    if not isinstance(output, Tensor) or output.ndim < 1 or len(output) != num_rows or not output.is_floating_point():
        return None
    each = math.prod(output.shape[1:])
    return 2 if each == 1 else each if output.ndim == 2 or max(output.shape[1:]) == each else None


def unwrapped(model: nn.Module) -> nn.Module:
    """The network within DataParallel, DistributedDataParallel, AveragedModel and torch.compile."""
    while not isinstance(model, torch.jit.ScriptModule):
        if isinstance(model, nn.DataParallel | DistributedDataParallel | AveragedModel):
            model = model.module
        elif isinstance(inner := model.__dict__.get("_modules", {}).get("_orig_mod"), nn.Module):
            model = inner
        else:
            break
    return model


def picked(answer: Any, output: str | int | None) -> Any:
    """What ``output`` names of a network's ``answer``; a tensor is taken as it is."""
    if isinstance(answer, Tensor) or output is None:
        return answer
    try:
        if isinstance(output, str) and not isinstance(answer, Mapping):
            return getattr(answer, output)
        return answer[output]
    except (AttributeError, KeyError, IndexError, TypeError) as error:
        raise ModelError(
            f"The network's answer has no {output!r}: it is {_described(answer)}. Name the one that holds the class "
            "scores: ClassScores(model, output=...)."
        ) from error


def as_logits(answer: Any, scores: Scores, num_rows: int) -> Tensor:
    """Logits (N, C) of what a network gave for ``num_rows`` rows. Raises ModelError for what is no tensor of rows."""
    if not isinstance(answer, Tensor) or answer.ndim < 1 or len(answer) != num_rows:
        raise ModelError(
            f"The network gave {_described(answer)} for {num_rows} rows; it must give one tensor of class scores "
            "(N, C). Say which it is: ClassScores(model, output=...)."
        )
    flat = answer.flatten(1) if answer.ndim > 1 else answer[:, None]
    flat = flat.float() if flat.dtype in (torch.float16, torch.bfloat16) else flat
    if scores == "logits":
        return flat
    if scores == "logit":
        return torch.cat([torch.zeros_like(flat), flat], dim=1)
    if scores == "probability":
        flat = torch.cat([1 - flat, flat], dim=1)
    return flat.clamp(min=_TINY).log()


class _Unread:
    """Asks the network of a reading and gives its answer before it becomes logits."""

    def __init__(self, reading: ClassScores) -> None:
        self.reading = reading

    def __call__(self, features: Tensor) -> Any:
        reading, dtype = self.reading, _dtype(self.reading.network)
        positional, named = reading._arguments(features.to(dtype) if features.is_floating_point() else features)
        return picked(reading.network(*positional, **named), reading.output)


def _answer_of(ask: Any, features: Tensor) -> Any:
    """The answer in evaluation mode, without gradients. Raises ModelError where the network cannot read the rows."""
    network = ask.reading.network if isinstance(ask, _Unread) else ask
    modes = {module: module.training for module in network.modules()}
    network.eval()
    try:
        with torch.no_grad():
            return ask(features.clone().to(_device(network)))
    except ModelError:
        raise
    except Exception as error:  # the user's own code runs
        raise ModelError(
            f"The model cannot read the data: features of shape {tuple(features.shape[1:])} gave "
            f"{type(error).__name__}: {error}. {_remedy(network, features)}"
        ) from error
    finally:
        for module, mode in modes.items():
            module.training = mode


def _remedy(network: nn.Module, features: Tensor) -> str:
    if isinstance(network, torch.jit.ScriptModule):
        return "A scripted module says little of why: try the module that it was scripted from."
    required = _required_arguments(network)
    if len(required) > 1:
        listed = ", ".join(f"{name!r}: (...)" for name in required)
        return (
            f"Its forward pass takes {len(required)} arguments, and a row is one tensor. Join the columns in the data, "
            f"and say how they are cut: ClassScores(model, inputs={{{listed}}}) with a shape for each."
        )
    image = "" if features.ndim != 2 else " Images in flat rows are reshaped in the data: x.reshape(-1, 1, 28, 28)."
    return f"Choose a model for this shape, or reshape the features.{image}"


def _required_arguments(network: nn.Module) -> list[str]:
    """Names of the arguments that the forward pass cannot do without."""
    try:
        takes = inspect.signature(network.forward).parameters.values()
    except (TypeError, ValueError):
        return []
    plain = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return [one.name for one in takes if one.kind in plain and one.default is inspect.Parameter.empty]


def _takes(network: nn.Module, name: str) -> bool:
    try:
        return name in inspect.signature(network.forward).parameters
    except (TypeError, ValueError):
        return False


def _choose(answer: Any, num_rows: int, num_classes: int) -> tuple[str | int | None, Tensor]:
    """The part of ``answer`` that holds class scores, and its place."""
    if isinstance(answer, Tensor):
        _require_scores(answer, num_rows, num_classes)
        return None, answer
    parts = dict(_parts(answer))
    fitting = {place: part for place, part in parts.items() if _fits(part, num_rows, num_classes)}
    if "logits" in fitting:
        return "logits", fitting["logits"]
    if len(fitting) == 1:
        return next(iter(fitting.items()))
    found = f"{len(fitting)} of them could be scores of {num_classes} classes" if fitting else "none of them is"
    raise ModelError(
        f"The model gives outputs of {_described(answer)} for {num_rows} rows, and {found} a tensor of shape "
        f"{(num_rows, num_classes)}. Say which holds the class scores: "
        f"ClassScores(model, output={next(iter(parts), 0)!r})."
    )


def _parts(answer: Any) -> Iterator[tuple[str | int, Any]]:
    """The things that an answer is made of, by name or position."""
    if isinstance(answer, Mapping):
        yield from answer.items()
    elif hasattr(answer, "_asdict"):
        yield from answer._asdict().items()
    elif dataclasses.is_dataclass(answer) and not isinstance(answer, type):
        yield from ((one.name, getattr(answer, one.name)) for one in dataclasses.fields(answer))
    elif isinstance(answer, tuple | list):
        yield from enumerate(answer)
    elif isinstance(getattr(answer, "logits", None), Tensor):
        yield "logits", answer.logits


def _fits(output: Any, num_rows: int, num_classes: int) -> bool:
    if not isinstance(output, Tensor) or output.ndim < 1 or len(output) != num_rows or not output.is_floating_point():
        return False
    each = math.prod(output.shape[1:])
    return (each == num_classes and (output.ndim == 2 or max(output.shape[1:]) == each)) or (
        each == 1 and num_classes == 2
    )


def _require_scores(answer: Any, num_rows: int, num_classes: int) -> None:
    if _fits(answer, num_rows, num_classes):
        return
    shape = tuple(answer.shape) if isinstance(answer, Tensor) else None
    got = f"shape {shape}" if shape is not None else _described(answer)
    wanted = f"a tensor of shape {(num_rows, num_classes)} is needed: one score for each of the {num_classes} classes"
    more = ""
    if shape is not None and len(shape) == 2 and shape[1] > num_classes:
        more = (
            f" If the model knows {shape[1]} classes and the rows are of some of them, say so: class_names with "
            f"{shape[1]} names, in the order of the outputs, and missing_classes=True."
        )
    elif shape is not None and math.prod(shape[1:]) == 1:
        more = " One number a row tells two classes apart; a measured quantity has to be cut into classes first."
    raise ModelError(f"The model gives outputs of {got} for {num_rows} rows; {wanted}.{more}")


def _kind(answer: Tensor, num_rows: int, num_classes: int, ask: _Unread, features: Tensor) -> Scores:
    """What the numbers are, by their range and sums on the rows, and on the same rows made ten times as large."""
    values = answer.double().reshape(num_rows, -1)
    if features.is_floating_point():
        with contextlib.suppress(ModelError):  # rows that large may be refused: the rows themselves say enough
            values = torch.cat([values, _answer_of(ask, 10 * features).double().reshape(num_rows, -1)])
    is_share = bool(((values >= 0) & (values <= 1)).all())
    if values.shape[1] == 1:
        return "probability" if is_share else "logit"
    return "probabilities" if is_share and bool(((values.sum(dim=1) - 1).abs() < _SUM).all()) else "logits"


def _place_in_training(network: nn.Module, features: Tensor, num_classes: int) -> str | int | None:
    """Where the scores are in the answer in training mode, which auxiliary heads make longer; None for a tensor."""
    if isinstance(network, torch.jit.ScriptModule):
        return None
    scratch = copied(network).train()
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            answer = scratch(features.clone().to(_device(network)))
    except Exception:  # said where training is tried
        return None
    if isinstance(answer, Tensor):
        return None
    fitting = [place for place, part in _parts(answer) if _fits(part, len(features), num_classes)]
    return "logits" if "logits" in fitting else next(iter(fitting), None)


def _notes(options: Mapping[str, Any]) -> Iterator[str]:
    if options.get("output") is not None:
        yield f"The model gives several things; its class scores are {options['output']!r}."
    if options["scores"] in ("probabilities", "probability"):
        yield "The model gives probabilities, not logits: their logarithms are trained and attacked."
    if options["scores"] in ("logit", "probability"):
        yield "The model gives one number a row; it is read as that of the second class."


def _tokens(features: Tensor) -> dict[str, Tensor]:
    """``input_ids`` and ``attention_mask`` of texts (N, L) that have -1 past their last token."""
    return {"input_ids": features.long().clamp(min=0), "attention_mask": (features >= 0).long()}


def _cut(features: Tensor, shapes: Inputs) -> dict[str, Tensor]:
    """The columns of ``features`` (N, ...) by name, in the shapes given. Raises ModelError where they do not add up."""
    flat, sizes = features.flatten(1), [math.prod(shape) for shape in shapes.values()]
    if sum(sizes) != flat.shape[1]:
        listed = " + ".join(f"{name} {size}" for name, size in zip(shapes, sizes, strict=True))
        raise ModelError(
            f"A row has {flat.shape[1]} numbers, and the inputs take {listed} = {sum(sizes)}. Give shapes that use "
            "each column once, in the order of the data."
        )
    parts = torch.split(flat, sizes, dim=1)
    named = zip(shapes.items(), parts, strict=True)
    return {name: part.reshape(len(flat), *shape) for (name, shape), part in named}


def _described(answer: Any) -> str:
    """An answer in words, with the shapes of what is in it."""
    if isinstance(answer, Tensor):
        return f"a tensor of shape {tuple(answer.shape)}"
    parts = dict(_parts(answer))
    shapes = ", ".join(
        f"{place!r}: {tuple(part.shape) if isinstance(part, Tensor) else type(part).__name__}"
        for place, part in parts.items()
    )
    return f"the type {type(answer).__name__}" + (f" ({shapes})" if shapes else "")


def _dtype(network: nn.Module) -> torch.dtype:
    """The type of the numbers that the network computes with."""
    return next((p.dtype for p in network.parameters() if p.is_floating_point()), torch.float32)


def _device(network: nn.Module) -> torch.device:
    tensor = next(network.parameters(), None)
    return torch.device("cpu") if tensor is None else tensor.device
