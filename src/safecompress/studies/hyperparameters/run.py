"""tune: settings asked for in batches, each trial a file of its own, so that a killed search goes on as it was."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from safecompress.compression.search import Executor, SerialExecutor
from safecompress.data import PARTS
from safecompress.progress import Progress, Silent
from safecompress.storage import write_bytes
from safecompress.studies.engine import Runner, environment, open_study_folder, write_outputs
from safecompress.studies.hyperparameters.plan import Tuning
from safecompress.studies.hyperparameters.plot import draw
from safecompress.studies.hyperparameters.result import StudyResult
from safecompress.studies.hyperparameters.sampler import OptunaSampler
from safecompress.studies.hyperparameters.space import TrialParams
from safecompress.studies.hyperparameters.spec import HyperparameterSpec
from safecompress.studies.hyperparameters.table import to_markdown
from safecompress.studies.hyperparameters.trial import TrialResult, TrialStudy

STEM = "tune"
"""Of the files that a search for settings leaves."""


def tune(
    tuning: Tuning,
    out: str | Path,
    *,
    spec: HyperparameterSpec | None = None,
    executor: Executor | None = None,
    progress: Progress | None = None,
) -> StudyResult:
    """Try the settings that the sampler asks for; leave the page, the JSON document and the picture in ``out``.

    With the ``spec`` that ``tuning`` came of, every front point gets a spec for `compress`, ``front-1.toml`` and so on.
    Trials that ``out`` holds are read instead of made, unless they failed: the sampler is replayed, so that a killed
    search ends as one that was never killed, and one with more ``trials`` begins as the shorter did.

    Raises UsageError (and its kinds) before any training for what no trial can do and without Optuna, RunFolderError
    when ``out`` is in use or holds another run, StorageError when the disk refuses. A trial that fails does not raise.
    """
    tuning.check()
    asker = OptunaSampler(tuning.space, tuning.sampler, tuning.job.seed)
    folder, watcher, name, sealed = Path(out), progress or Silent(), tuning.job.name, tuning.sealed()
    with open_study_folder(folder, "search for settings", name, sealed.identity) as opened:
        runner = Runner(TrialStudy(sealed), opened, executor or SerialExecutor(), watcher)
        trials: list[TrialResult] = []
        watcher.begin("trials", tuning.trials)
        while len(trials) < tuning.trials:
            choices = asker.ask(min(tuning.batch, tuning.trials - len(trials)))
            watcher.advance(len(choices) - len(runner.missing(choices)))
            batch = runner.results(choices, partial(_line, choices, len(trials)))
            asker.tell([tried.objectives for tried in batch])
            trials += batch
        sizes = {part: sealed.job.raw.size(part) for part in PARTS if sealed.job.raw.size(part)}
        found = StudyResult(
            tuning,
            tuple(trials),
            name=name,
            environment=environment(tuning.threads, "optuna"),
            split=sizes,
            spec={} if spec is None else spec.tables,
        )
        files = _write_front(found, folder, spec)
        write_outputs(
            folder,
            STEM,
            page=partial(to_markdown, found, files=files),
            document=found.to_json(),
            draw=partial(draw, found),
            progress=watcher,
        )
    return found


def _write_front(result: StudyResult, folder: Path, spec: HyperparameterSpec | None) -> list[str]:
    """Write the specs of the front in place of those of a former one; their names."""
    for stale in folder.glob("front-*.toml"):
        if stale.stem.removeprefix("front-").isdigit():
            stale.unlink()
    if spec is None:
        return []
    for number, index in enumerate(result.front, 1):
        text = spec.front_toml(number, index + 1, result.trials[index], folder.resolve())
        write_bytes(folder / front_file(number), text.encode())
    return [front_file(number) for number in range(1, len(result.front) + 1)]


def front_file(number: int) -> str:
    """The file of the ``number``-th point of the front."""
    return f"front-{number}.toml"


def _line(choices: Sequence[TrialParams], num_before: int, tried: TrialResult) -> str:
    """One line for whoever watches; ``num_before`` is how many trials came before the batch of ``choices``."""
    return f"trial {num_before + choices.index(tried.choice) + 1}: {_told(tried)}"


def _told(tried: TrialResult) -> str:
    if tried.error is not None:
        return f"{tried.choice}: failed ({tried.error})"
    if not tried.has_numbers:
        return f"{tried.choice}: no number from {', '.join(tried.broken)}"
    accuracy, worst = tried.accuracy["value"], tried.worst_auc["value"]
    return f"{tried.choice}: accuracy {accuracy:.3f}, worst AUC {worst:.3f} ({tried.worst_attack}), {tried.seconds} s"
