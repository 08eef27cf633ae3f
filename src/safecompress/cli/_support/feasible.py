"""A draft against its rows: which network fits, what can be certified, and whether the spec would run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from safecompress.certify import Prospect, foresee
from safecompress.cli._support.template import Answers, write_draft
from safecompress.config import parse_config
from safecompress.data import Dataset, one_row_per_unit
from safecompress.workflows.loading import Rows, load_rows, make_job


def fit_to_rows(answers: Answers, spec: Path) -> tuple[Answers, Rows, tuple[Prospect, ...], float]:
    """The answers with a network where none was named, their rows, what these can certify at best, and at which alpha.

    Raises SpecError for options that the data does not have, DataError for data that cannot be used.
    """
    loose = replace(answers, min_accuracy=None, model=answers.model or {"name": "mlp"})
    config = parse_config(write_draft(loose, None, 1.0), base=spec.absolute().parent, source=str(spec))
    rows = load_rows(config)
    dataset = rows.raw.dataset
    model = dict(answers.model or {"name": _network_for(dataset)})
    if model["name"] == "token_bag":
        model["vocab_size"] = dataset.vocab_size
    levels = config.spec.levels(1)
    prospects = foresee(config.spec, one_row_per_unit(rows.raw), levels)
    return replace(answers, model=model), rows, prospects, levels.alpha


def rehearse(text: str, spec: Path, rows: Rows) -> tuple[Prospect, ...]:
    """What each requirement can come to. Raises UsageError (and its kinds) for a spec that could not run or pass."""
    config = parse_config(text, base=spec.absolute().parent, source=str(spec))
    make_job(config, rows, None, "cpu").check()
    return foresee(config.spec, one_row_per_unit(rows.raw), config.spec.levels(1), density=config.plan.density)


def _network_for(dataset: Dataset) -> str:
    if dataset.is_tokens:
        return "token_bag"
    return "cnn" if len(dataset.input_shape) == 3 else "mlp"
