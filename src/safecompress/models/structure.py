"""A network as data: a name, its options and the shapes it must fit; enough to build it again anywhere."""

from __future__ import annotations

import inspect
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pydantic import ConfigDict, TypeAdapter, ValidationError
from torch import nn

from safecompress.errors import ModelError, UsageError, suggest
from safecompress.models.alexnet import Alexnet
from safecompress.models.checks import require_classes, require_sizes
from safecompress.models.cnn import SmallCnn
from safecompress.models.mlp import Mlp
from safecompress.models.resnet import Resnet
from safecompress.models.tokenbag import TokenBag
from safecompress.models.transformer import Transformer
from safecompress.models.vgg import Vgg
from safecompress.models.zoo import Timm, Torchvision
from safecompress.registry import Registry
from safecompress.seeding import seeded

MODELS: Registry[nn.Module] = Registry(
    "model",
    "safecompress.models",
    {
        "mlp": Mlp,
        "cnn": SmallCnn,
        "resnet": Resnet,
        "vgg": Vgg,
        "alexnet": Alexnet,
        "token_bag": TokenBag,
        "transformer": Transformer,
        "torchvision": Torchvision,
        "timm": Timm,
    },
)
"""A model factory takes ``input_shape`` and ``num_classes`` by keyword, and its own options after them."""

_GIVEN = ("input_shape", "num_classes")  # come from the data, so no option may set them
_ANY_TYPE = ConfigDict(arbitrary_types_allowed=True)


@dataclass(frozen=True)
class ModelSpec:
    """The network called ``name`` in MODELS with its ``options``, for samples of ``input_shape`` and ``num_classes``.

    Options are JSON values; sequences become tuples. A name or an option that is not known here stays readable, so
    that a file from another installation can be shown: ``check`` and ``build`` refuse it. Raises ModelError for a
    field of a wrong type or an option that JSON cannot hold.
    """

    name: str
    options: Mapping[str, Any] = field(hash=False)
    input_shape: tuple[int, ...]
    num_classes: int

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not isinstance(self.options, Mapping):
            raise ModelError(
                "A model is a name and a table of options, such as 'mlp' and {'hidden': (256, 128)}; "
                f"got {self.name!r} and {self.options!r}."
            )
        if not isinstance(self.input_shape, tuple | list) or not self.input_shape:
            raise ModelError(f"input_shape is a tuple of sizes, such as (64,) or (1, 8, 8); got {self.input_shape!r}.")
        require_sizes("input_shape", self.input_shape)
        require_classes(self.num_classes)
        object.__setattr__(self, "input_shape", tuple(self.input_shape))
        object.__setattr__(self, "options", {_option_name(key): _plain(key, self.options[key]) for key in self.options})

    def check(self) -> None:
        """Raise ModelError unless MODELS knows the name, and its factory knows every option and takes its type."""
        self._arguments()

    def build(self) -> nn.Module:
        """The network with fresh weights from PyTorch's current global generator: seed it first.

        Raises ModelError where ``check`` does, or when the factory refuses the values or the input shape.
        """
        arguments = self._arguments()
        try:
            return self._factory()(input_shape=self.input_shape, num_classes=self.num_classes, **arguments)
        except (TypeError, ValueError, RuntimeError, OverflowError) as error:
            reason = (str(error) or repr(error)).splitlines()[0]
            raise ModelError(f"The model {self.name!r} cannot be built from {self.describe()}: {reason}") from error

    def fresh(self, seed: int) -> nn.Module:
        """The network with the fresh weights that belong to ``seed``. Raises what ``build`` raises."""
        with seeded(seed, "model"):
            return self.build()

    def stored(self) -> ModelSpec:
        """The spec that a file keeps: it builds the same network with fresh weights, and names no place.

        A factory with ``places`` says by ``stored_options(options)`` what stands for them. Raises ModelError where they
        cannot be read.
        """
        if not self.places:
            return self
        factory: Any = self._factory()
        return replace(self, options=factory.stored_options(self.options))

    @property
    def places(self) -> tuple[str, ...]:
        """Options that name files or folders of this machine: those that the factory lists in its own ``places``."""
        known = getattr(self._factory(), "places", ()) if self.name in MODELS.names() else ()
        return tuple(name for name in known if self.options.get(name) is not None)

    def describe(self) -> str:
        """One line for a person, fit for a page that others read: of a folder it tells the last name alone.

        ``hidden=(64,), input_shape=(64,), num_classes=10``.
        """
        named = {place: Path(str(self.options[place])) for place in self.places}
        shown = {
            **self.options,
            **{place: path.name for place, path in named.items() if path.is_absolute()},
            "input_shape": self.input_shape,
            "num_classes": self.num_classes,
        }
        return ", ".join(f"{key}={value!r}" for key, value in shown.items())

    def to_json(self) -> dict[str, Any]:
        """The fields as JSON values; ``from_json`` gives an equal spec back."""
        return {
            "name": self.name,
            "options": dict(self.options),
            "input_shape": list(self.input_shape),
            "num_classes": self.num_classes,
        }

    @classmethod
    def from_json(cls, value: Any) -> ModelSpec:
        """The spec that ``to_json`` wrote. Raises ModelError for anything else."""
        fields = {"name", "options", "input_shape", "num_classes"}
        if not isinstance(value, Mapping) or set(value) != fields:
            got = sorted(map(str, value)) if isinstance(value, Mapping) else value
            raise ModelError(f"A stored model has the fields {', '.join(sorted(fields))}; got {got!r}.")
        return cls(**value)

    def _factory(self) -> Callable[..., nn.Module]:
        try:
            return MODELS.factory(self.name)
        except UsageError as error:
            raise ModelError(str(error)) from error

    def _arguments(self) -> dict[str, Any]:
        parameters = _parameters(self._factory())
        catches_all = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
        named = {name: parameter for name, parameter in parameters.items() if _is_option(parameter)}
        for option in self.options:
            if option not in named and (option in _GIVEN or not catches_all):
                allowed = suggest(option, named) if named else "It takes none."
                raise ModelError(f"The model {self.name!r} has no option {option!r}. {allowed}")
        missing = [
            name for name, option in named.items() if option.default is option.empty and name not in self.options
        ]
        if missing:
            raise ModelError(f"The model {self.name!r} needs a value for the option {missing[0]!r}.")
        return {
            option: self._converted(option, value, named[option]) if option in named else value
            for option, value in self.options.items()
        }

    def _converted(self, option: str, value: Any, parameter: inspect.Parameter) -> Any:
        annotation = parameter.annotation
        if annotation is parameter.empty or isinstance(annotation, str):
            return value
        try:
            adapter = TypeAdapter(annotation, config=_ANY_TYPE)
            return adapter.validate_json(json.dumps(value), strict=True)
        except ValidationError as error:
            fault = error.errors(include_url=False)[0]["msg"]
            raise ModelError(
                f"The option {option!r} of the model {self.name!r} takes {inspect.formatannotation(annotation)}; "
                f"got {value!r} ({fault}). Its default is {parameter.default!r}."
            ) from error


def _parameters(make_network: Callable[..., nn.Module]) -> Mapping[str, inspect.Parameter]:
    try:
        return inspect.signature(make_network, eval_str=True).parameters
    except NameError:  # a plug-in that imports its types for the checker only: its options go unchecked to it
        return inspect.signature(make_network).parameters


def _is_option(parameter: inspect.Parameter) -> bool:
    keyword = parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
    return keyword and parameter.name not in _GIVEN


def _option_name(key: Any) -> str:
    if not isinstance(key, str):
        raise ModelError(f"Options are named by text, such as 'hidden'; got {key!r}.")
    return key


def _plain(option: str, value: Any) -> Any:
    """``value`` with lists as tuples. Raises ModelError for what JSON cannot hold."""
    if value is None or isinstance(value, bool | int | str) or (isinstance(value, float) and math.isfinite(value)):
        return value
    if isinstance(value, list | tuple):
        return tuple(_plain(option, item) for item in value)
    raise ModelError(
        f"The option {option!r} must be a number, a text, true or false, none, or a list of those, so that it can be "
        f"stored beside the weights; got {value!r}."
    )
