"""A new spec against its data: which network fits, what can be certified, and whether the spec would run."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

from safecompress.certify import Feasibility, check_feasibility
from safecompress.cli._support.template import (
    QUICK,
    Bound,
    InitAnswers,
    propose_bound,
    propose_sizes,
    propose_worst_case,
    write_template,
)
from safecompress.compression.arms.train import check_job
from safecompress.config import parse_config
from safecompress.config.prepared import PreparedData, prepare_data
from safecompress.data import Dataset, one_row_per_unit
from safecompress.workflows.loading import load_rows, make_job


@dataclass(frozen=True)
class FittedAnswers:
    """The answers with a network, their rows, and what these can certify at best, at which ``alpha``."""

    answers: InitAnswers
    data: PreparedData = field(repr=False)
    prospects: tuple[Feasibility, ...]
    alpha: float


def fit_to_data(answers: InitAnswers, spec_path: Path, *, fit_pools: bool = True) -> FittedAnswers:
    """Load the data, choose a network where none is named, and work out what the rows can certify.

    With ``fit_pools`` the verdict pools become larger where the bound that is proposed takes it.

    Raises SpecError for options that the data does not have, DataError for data that cannot be used.
    """
    draft = replace(
        answers,
        bound=Bound(1.0),
        max_drop=Bound(1.0),
        max_worst_case=None,
        min_accuracy=None,
        quick=False,
        model=answers.model or {"name": "mlp"},
    )
    config = parse_config(write_template(draft, None), base=spec_path.absolute().parent, source=str(spec_path))
    data = load_rows(config)
    dataset, levels = data.raw.dataset, config.spec.levels(1)
    model = dict(answers.model or {"name": _network_for(dataset)})
    if model["name"] == "token_bag":
        model["vocab_size"] = dataset.vocab_size
    prospects = check_feasibility(config.spec, one_row_per_unit(data.raw), levels)
    sizes = propose_sizes(propose_bound(prospects, answers.metrics), dataset.num_rows, levels.alpha)
    if sizes and fit_pools:
        data = prepare_data(dataset, sizes, config.data.normalise, config.seed)
        prospects = check_feasibility(config.spec, one_row_per_unit(data.raw), levels)
    worst_case = answers.max_worst_case
    if worst_case is None:
        num_members = one_row_per_unit(data.raw).size("member_verdict")
        worst_case = propose_worst_case(answers.access, num_members, levels.alpha)
    fitted = replace(answers, model=model, max_worst_case=worst_case, sizes=sizes if fit_pools else {})
    return FittedAnswers(fitted, data, prospects, levels.alpha)


def check_spec(text: str, spec_path: Path, data: PreparedData, *, quick: bool = False) -> tuple[Feasibility, ...]:
    """What the rows can certify for each requirement; with ``quick``, for those of the rough version.

    Raises UsageError (and its kinds) for a spec that could not run or pass.
    """
    base, scale = spec_path.absolute().parent, QUICK if quick else None
    config = parse_config(text, base=base, source=str(spec_path), scale=scale)
    if quick:
        data = prepare_data(data.raw.dataset, config.data.sizes, config.data.normalise, config.seed)
    check_job(make_job(config, data, None, "cpu"))
    return check_feasibility(
        config.spec, one_row_per_unit(data.raw), config.spec.levels(1), density=config.plan.density
    )


def _network_for(dataset: Dataset) -> str:
    if dataset.is_tokens:
        return "token_bag"
    return "cnn" if len(dataset.input_shape) == 3 else "mlp"
