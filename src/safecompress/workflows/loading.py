"""From a spec file to a job: data, split, model. What compress and audit share."""

from __future__ import annotations

import contextlib
import importlib
import inspect
import sys
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from safecompress.api import build
from safecompress.config import Config
from safecompress.data import Dataset, DataSplit, Scaler, SplitSizes, make_split, standardise
from safecompress.data.files import read_arrays
from safecompress.data.pools import split_of
from safecompress.deploy import Artifact, TaskInfo
from safecompress.deploy.container import FORMAT
from safecompress.errors import ArtifactError, DataError, ModelError, UsageError
from safecompress.job import Job
from safecompress.runtime import load
from safecompress.search import Executor, ProcessExecutor, SerialExecutor
from safecompress.seeding import seeded
from safecompress.storage import read_tensors
from safecompress.training import Recipe


@dataclass(frozen=True, eq=False)
class Rows:
    """The rows that a spec names: as the data file has them, and as the model reads them."""

    raw: DataSplit = field(repr=False)
    split: DataSplit = field(repr=False)
    task: TaskInfo


def load_rows(config: Config) -> Rows:
    """Load the spec's data set and draw its split. Raises DataError for data that cannot be used."""
    dataset = config.load_dataset()
    sizes = SplitSizes.resolve(dataset.num_rows, **config.data.sizes)
    raw = make_split(dataset, sizes, seed=config.seed)
    split, scaler = raw, Scaler.identity()
    if config.data.normalise == "standard":
        split, scaler = standardise(raw)
    plain = config.data.normalise == "none"
    task = TaskInfo(
        dataset.num_classes,
        dataset.class_names,
        dataset.input_shape,
        None if plain else scaler.shift,
        None if plain else scaler.scale,
    )
    return Rows(raw, split, task)


def make_job(config: Config, rows: Rows, factory: str | None, device: str) -> Job:
    """The job of a spec, with the model it names or the one that ``factory`` makes."""
    input_shape, num_classes = rows.task.input_shape, rows.task.num_classes
    model_spec = None
    if factory is not None:
        with seeded(config.seed, "model"):  # the same fresh weights when the run goes on
            model = call_factory(factory, {"input_shape": input_shape, "num_classes": num_classes})
    else:
        assert config.model is not None  # load_config refused a spec without one
        model_spec = config.model.spec(input_shape, num_classes)
        model = build(model_spec, config.seed)
    weights = config.model.weights if config.model else None
    return Job(
        name=config.name,
        model=model,
        model_spec=model_spec,
        split=rows.split,
        raw=rows.raw,
        task=rows.task,
        spec=config.spec,
        recipe=config.recipe,
        dense_recipe=config.dense_recipe,
        plan=config.plan,
        seed=config.seed,
        dense=load_weights(weights, model) if weights else None,
        data_digest=config.data_digest(),
        device=device,
        packing=config.packing,
    )


def set_values(settings: Iterable[str]) -> dict[str, Any]:
    """Values by dotted name, from ``NAME=VALUE``; a value that is no TOML is text. Raises UsageError without "="."""
    values: dict[str, Any] = {}
    for setting in settings:
        name, equals, text = setting.partition("=")
        if not equals or not all(name.strip().split(".")):
            raise UsageError(f"--set takes NAME=VALUE, such as compress.density=0.1, got {setting!r}.")
        try:
            values[name.strip()] = tomllib.loads(f"value = {text}")["value"]
        except tomllib.TOMLDecodeError:
            values[name.strip()] = text
    return values


@contextlib.contextmanager
def executor_of(workers: int) -> Iterator[Executor]:
    """This process, or a pool of ``workers`` processes."""
    if workers == 1:
        yield SerialExecutor()
    else:
        with ProcessExecutor(workers) as pool:
            yield pool


def load_weights(path: Path, model: nn.Module) -> dict[str, Any]:
    """A state dict for ``model`` from a safetensors file. Raises ModelError where it does not fit."""
    tensors, _ = read_tensors(path)
    own = model.state_dict()
    wrong = [name for name in own if name not in tensors or tensors[name].shape != own[name].shape]
    wrong += [name for name in tensors if name not in own]
    if wrong:
        raise ModelError(
            f"The weights in {path} do not fit the model: {', '.join(wrong[:5])}"
            f"{' and more' if len(wrong) > 5 else ''}. Name the model that they were trained for."
        )
    return tensors


def call_factory(path: str, shapes: dict[str, Any]) -> nn.Module:
    """The module that ``package.module:factory`` makes; it is given input_shape and num_classes if it takes them.

    The module is one that is installed, on PYTHONPATH, or in the folder of the command. Only the command line may name
    code: a spec never does.
    """
    module_name, colon, name = path.partition(":")
    if not (module_name and colon and name):
        raise ModelError(f"--model takes package.module:factory, got {path!r}.")
    if (here := str(Path.cwd())) not in sys.path:
        sys.path.append(here)  # a script that is installed does not look where it is run; behind all that is installed
    try:
        factory: Callable[..., Any] = getattr(importlib.import_module(module_name), name)
    except (ImportError, AttributeError) as error:
        raise ModelError(f"--model {path}: {error}. Is the package installed, or its folder on PYTHONPATH?") from error
    except Exception as error:  # the user's module runs as it is imported
        raise ModelError(f"--model {path}: importing it raised {type(error).__name__}: {error}.") from error
    try:
        takes = inspect.signature(factory).parameters
        any_keyword = any(parameter.kind is parameter.VAR_KEYWORD for parameter in takes.values())
        model = factory(**{key: value for key, value in shapes.items() if any_keyword or key in takes})
    except Exception as error:  # so does the factory
        offered = ", ".join(f"{key}={value!r}" for key, value in shapes.items())
        raise ModelError(
            f"--model {path} raised {type(error).__name__}: {error}. It is called with what it takes of {offered}, and "
            "with nothing else."
        ) from error
    if not isinstance(model, nn.Module):
        raise ModelError(f"--model {path} gave a {type(model).__name__}; it must give a torch.nn.Module.")
    return model


def foreign_model(file: Path, factory: str | None, members: Path) -> tuple[Path | nn.Module, nn.Module | None, int]:
    """What is to be judged, an instance of its class where a file cannot build it, and its number of classes.

    A file that says so itself, or a network with weights from it. A network that ``factory`` makes is asked; it is
    offered the shape of a row and the number of labels in ``members``, or what an artifact knows of them.
    """
    if file.suffix == ".onnx":
        return file, None, load(file).facts.num_classes
    if read_tensors(file)[1].get("format") == FORMAT:
        artifact = Artifact.load(file)
        if artifact.model_spec is not None:
            return file, None, artifact.task.num_classes
        if factory is None:
            raise ModelError(f"{file} holds a network of its author's own class. Say what makes it: --model pkg.mod:f.")
        shapes = {"input_shape": artifact.task.input_shape, "num_classes": artifact.task.num_classes}
        return file, call_factory(factory, shapes), artifact.task.num_classes
    if factory is None:
        raise ModelError(f"{file} holds bare weights. Say which network they belong to: --model pkg.module:f.")
    arrays = read_arrays(members, ("x", "y"))
    rows, labels = arrays["x"], arrays["y"]
    are_numbers = rows.dtype.kind in "biuf" and labels.dtype.kind in "iu"
    if rows.ndim < 2 or not len(rows) or not are_numbers or labels.shape != (len(rows),):
        raise DataError(
            f"{members} must hold rows x (N, ...) and class numbers y (N,); got {rows.shape} {rows.dtype} and "
            f"{labels.shape} {labels.dtype}."
        )
    model = call_factory(factory, {"input_shape": rows.shape[1:], "num_classes": int(labels.max()) + 1})
    model.load_state_dict(load_weights(file, model))
    try:
        with torch.inference_mode():
            scores = model.eval()(torch.from_numpy(rows[:2].astype("float32")))
    except Exception as error:  # the user's own code runs
        raise ModelError(
            f"--model {factory} cannot read the rows of {members}, of shape {rows.shape[1:]}: {type(error).__name__}: "
            f"{error}. Both must belong to one model."
        ) from error
    if not isinstance(scores, torch.Tensor) or scores.ndim != 2 or len(scores) != len(rows[:2]) or scores.shape[1] < 2:
        got = tuple(scores.shape) if isinstance(scores, torch.Tensor) else type(scores).__name__
        raise ModelError(
            f"--model {factory} gave {got} for {len(rows[:2])} rows; it must give one tensor of class scores (N, C)."
        )
    return model, None, int(scores.shape[1])


def load_pools(members: Path, others: Path, num_classes: int, seed: int) -> DataSplit:
    """Members and non-members from two .npz files with rows ``x``, class numbers ``y`` and perhaps ``group``."""
    names = tuple(map(str, range(num_classes)))

    def read(path: Path) -> Dataset:
        arrays = read_arrays(path, ("x", "y"), optional=("group",))
        groups = arrays.get("group")
        return Dataset.from_arrays(arrays["x"], arrays["y"], name=path.stem, class_names=names, groups=groups)

    return split_of(read(members), read(others), num_classes=num_classes, seed=seed)


def as_trained(config: Config, metadata: Mapping[str, str]) -> Recipe:
    """The spec's recipe with the objective that the artifact came to be trained towards, as far as it knows it."""
    known = {repr(objective): objective for objective in (config.recipe.objective, *config.plan.objectives)}
    return replace(config.recipe, objective=known.get(metadata.get("objective", ""), config.recipe.objective))


def check_data_digest(recorded: str, config: Config, artifact: Path) -> None:
    """Raise ArtifactError when the artifact was trained on rows that another spec drew."""
    if recorded and recorded != config.data_digest():
        raise ArtifactError(
            f"{artifact} was trained on rows drawn by another [data] table or seed than this spec's, so the spec's "
            "members are not its members and the audit would say nothing. Use the [data] and seed it was trained with."
        )
