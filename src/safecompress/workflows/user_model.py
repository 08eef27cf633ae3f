"""A user's own network: built by their factory, with weights loaded from a file."""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from safecompress.errors import ModelError
from safecompress.networks import fitted
from safecompress.storage import read_tensors


def call_factory(path: str, shapes: dict[str, Any]) -> nn.Module:
    """The module that ``package.module:factory`` makes; it is given input_shape and num_classes if it takes them.

    The module is one that is installed, on PYTHONPATH, or in the current folder. Only the command line may name code: a
    spec never does. Raises ModelError where the factory cannot be imported, fails, or makes something else.
    """
    factory = _import_factory(path)
    try:
        takes = inspect.signature(factory).parameters
        any_keyword = any(parameter.kind is parameter.VAR_KEYWORD for parameter in takes.values())
        model = factory(**{key: value for key, value in shapes.items() if any_keyword or key in takes})
    except Exception as error:  # the user's own code runs
        offered = ", ".join(f"{key}={value!r}" for key, value in shapes.items())
        raise ModelError(
            f"--model {path} raised {type(error).__name__}: {error}. It is called with what it takes of {offered}, and "
            "with nothing else."
        ) from error
    if not isinstance(model, nn.Module):
        raise ModelError(f"--model {path} gave a {type(model).__name__}; it must give a torch.nn.Module.")
    return model


@dataclass(frozen=True)
class Factory:
    """Calls the factory ``package.module:factory`` at ``path``, here or in a worker process (`call_factory`)."""

    path: str
    input_shape: tuple[int, ...]
    num_classes: int

    def __call__(self) -> nn.Module:
        """A new network."""
        return call_factory(self.path, {"input_shape": self.input_shape, "num_classes": self.num_classes})


def load_weights(path: Path, model: nn.Module | None = None) -> dict[str, Any]:
    """The state dict in a safetensors file, by the names of ``model`` where one is given.

    Prefixes of wrappers are taken off (`fitted`). Raises ModelError where the weights do not fit the model.
    """
    tensors, _ = read_tensors(path)
    return tensors if model is None else fitted(tensors, model, f"The weights in {path}")


def _import_factory(path: str) -> Callable[..., Any]:
    module_name, colon, name = path.partition(":")
    if not (module_name and colon and name):
        raise ModelError(f"--model takes package.module:factory, got {path!r}.")
    if (here := str(Path.cwd())) not in sys.path:
        sys.path.append(here)  # an installed script does not search the current folder; last, behind installed packages
    try:
        factory: Callable[..., Any] = getattr(importlib.import_module(module_name), name)
    except (ImportError, AttributeError) as error:
        raise ModelError(f"--model {path}: {error}. Is the package installed, or its folder on PYTHONPATH?") from error
    except Exception as error:  # the user's module runs as it is imported
        raise ModelError(f"--model {path}: importing it raised {type(error).__name__}: {error}.") from error
    return factory
