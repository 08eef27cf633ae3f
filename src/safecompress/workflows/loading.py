"""From a spec to the inputs of a run: its rows, its model, and the processes that do the work."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from safecompress.compression.job import Job, read_model
from safecompress.compression.search import Executor, ProcessExecutor, SerialExecutor
from safecompress.config import Config
from safecompress.config.prepared import PreparedData, prepare_data
from safecompress.seeding import seeded
from safecompress.workflows.start import settle_start
from safecompress.workflows.user_model import Factory, load_weights


def load_rows(config: Config) -> PreparedData:
    """Load the spec's data set, draw its split, plant its canaries. Raises DataError for data that cannot be used."""
    options = {"num_canaries": config.spec.canaries}
    return prepare_data(config.load_dataset(), config.data.sizes, config.data.normalise, config.seed, **options)


def make_job(config: Config, data: PreparedData, factory: str | None, device: str) -> Job:
    """The job of a spec, with the model it names or the one that ``factory`` makes; trained weights are kept."""
    input_shape, num_classes = data.task.input_shape, data.task.num_classes
    model_spec = made_by = None
    if factory is not None:
        made_by = Factory(factory, input_shape, num_classes)
        with seeded(config.seed, "model"):  # the same fresh weights when the run resumes
            model = made_by()
    else:
        assert config.model is not None  # load_config refused a spec without one
        model_spec = config.model.spec(input_shape, num_classes)
        model = model_spec.fresh(config.seed)
    weights = config.model.weights if config.model else None
    job = Job(
        name=config.name,
        model=model,
        model_spec=model_spec,
        split=data.split,
        raw=data.raw,
        task=data.task,
        spec=config.spec,
        recipe=config.recipe,
        dense_recipe=config.dense_recipe,
        plan=config.plan,
        seed=config.seed,
        dense=load_weights(weights) if weights else None,
        data_digest=config.data_digest(),
        device=device,
        packing=config.packing,
        factory=made_by,
        weights_path=weights,
    )
    return settle_start(read_model(job), names_method=config.names_method)


@contextlib.contextmanager
def executor_of(workers: int) -> Iterator[Executor]:
    """This process, or a pool of ``workers`` processes."""
    if workers == 1:
        yield SerialExecutor()
    else:
        with ProcessExecutor(workers) as pool:
            yield pool
