"""tune: settings are drawn in batches, each trial has a file of its own, so that a killed search resumes."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from safecompress.compression.search import Executor, SerialExecutor
from safecompress.data import PARTS
from safecompress.progress import Progress, Silent
from safecompress.storage import PUBLISHED, followed, write_bytes
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
    """Try the settings that the sampler draws; leave the page, the JSON document and the picture in ``out``.

    With the ``spec`` that ``tuning`` was made of, every front point gets a spec for `compress`: ``front-1.toml`` etc.
    Trials that ``out`` holds are read instead of made, unless they failed: the sampler is replayed, so that a killed
    search ends as one that was never killed, and one with more ``trials`` begins as the shorter did.

    Raises UsageError (and its kinds) before any training, for what would fail in every trial and without Optuna;
    RunFolderError when ``out`` is in use or holds another run, StorageError when the disk refuses. A trial that fails
    does not raise.
    """
    tuning.check()
    sampler = OptunaSampler(tuning.space, tuning.sampler, tuning.job.seed)
    folder, watcher, name, sealed = Path(out), progress or Silent(), tuning.job.name, tuning.sealed()
    with open_study_folder(folder, "search for settings", name, sealed.identity) as opened:
        runner = Runner(TrialStudy(sealed), opened, executor or SerialExecutor(), watcher)
        trials: list[TrialResult] = []
        watcher.begin("trials", tuning.trials)
        while len(trials) < tuning.trials:
            settings = sampler.ask(min(tuning.batch, tuning.trials - len(trials)))
            watcher.advance(len(settings) - len(runner.missing(settings)))
            batch = runner.results(settings, partial(_line, settings, len(trials)))
            sampler.tell([trial.objectives for trial in batch])
            trials += batch
        sizes = {part: sealed.job.raw.size(part) for part in PARTS if sealed.job.raw.size(part)}
        result = StudyResult(
            tuning,
            tuple(trials),
            name=name,
            environment=environment(tuning.threads, "optuna"),
            split=sizes,
            spec={} if spec is None else spec.tables,
        )
        files = _write_front(result, folder, spec)
        write_outputs(
            folder,
            STEM,
            page=partial(to_markdown, result, files=files),
            document=result.to_json(),
            draw=partial(draw, result),
            progress=watcher,
        )
    return result


def _write_front(result: StudyResult, folder: Path, spec: HyperparameterSpec | None) -> list[str]:
    """Write the specs of the front in place of those of a former one; their names."""
    for stale in folder.glob("front-*.toml"):
        if stale.stem.removeprefix("front-").isdigit():
            stale.unlink()
    if spec is None:
        return []
    for number, index in enumerate(result.front, 1):
        text = spec.front_toml(number, index + 1, result.trials[index], followed(folder))
        write_bytes(folder / front_file(number), text.encode(), mode=PUBLISHED)
    return [front_file(number) for number in range(1, len(result.front) + 1)]


def front_file(number: int) -> str:
    """The file of the ``number``-th point of the front."""
    return f"front-{number}.toml"


def _line(batch_params: Sequence[TrialParams], num_before: int, trial: TrialResult) -> str:
    """One line of progress; ``num_before`` is how many trials came before the batch of ``batch_params``."""
    return f"trial {num_before + batch_params.index(trial.choice) + 1}: {_line_of(trial)}"


def _line_of(trial: TrialResult) -> str:
    if trial.error is not None:
        return f"{trial.choice}: failed ({trial.error})"
    if not trial.has_numbers:
        return f"{trial.choice}: no number from {', '.join(trial.broken)}"
    accuracy, worst = trial.accuracy["value"], trial.worst_auc["value"]
    leak = f"worst {trial.worst_label} {worst:.3f} ({trial.worst_attack})"
    return f"{trial.choice}: accuracy {accuracy:.3f}, {leak}, {trial.seconds} s"
