"""What an artifact records of its training, so that its shadow models are trained in the same way.

The record is a line of metadata with one short digest for each key that is not at its default. It names what differs
and tells nobody the values.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from safecompress.auditing.audited_model import AuditedModel
from safecompress.auditing.shadow_training import TrainingProvenance
from safecompress.certify.health import HealthCheck
from safecompress.digests import digest_json
from safecompress.errors import ArtifactError
from safecompress.sparsity import Start
from safecompress.spec import Verdict
from safecompress.training import CrossEntropy, Recipe
from safecompress.training.dynamic import DynamicSparsity

KEY = "training"
"""The entry of an artifact's metadata that holds the record."""

_DIGITS = 8
"""Of each digest: an accident finds the same ones once in four thousand million times."""


def record_training(
    recipe: Recipe,
    *,
    dense_recipe: Recipe | None = None,
    start: Start = Start.SCRATCH,
    sub_models: DynamicSparsity | None = None,
) -> dict[str, str]:
    """Metadata of an artifact that was trained by ``recipe``, for ``Artifact(..., metadata=record_training(recipe))``.

    ``dense_recipe`` trained its dense model (default: ``recipe``, by plain cross entropy), ``start`` says what the
    sparse training began with, and ``sub_models`` how the sub-models were trained that taught it, if any did. Without
    this record no attack by shadow models can pass an artifact.
    """
    digests = _digests(recipe, dense_recipe, start, sub_models)
    return {KEY: ",".join(f"{name}={digest}" for name, digest in sorted(digests.items()))}


def recorded_start(metadata: Mapping[str, str]) -> Start:
    """What sparse training began with, as an artifact's ``metadata`` records it; fresh weights where it is silent."""
    recorded = dict(_entries(metadata.get(KEY, ""))).get("start")
    known = {_digest("start", str(start)): start for start in Start}
    return known.get(recorded or "", Start.SCRATCH)


def check_training(subject: AuditedModel, provenance: TrainingProvenance) -> HealthCheck:
    """PASS where the artifact records the training by which its shadow models are made.

    INCONCLUSIVE where it records none. Raises ArtifactError, with the keys that differ, where it records another.
    """
    metadata = {} if subject.artifact is None else subject.artifact.metadata
    if KEY not in metadata:
        reason = (
            "it does not say how it was trained, so nothing proves that shadow models are trained alike. Write it with "
            "the metadata of record_training(recipe), or compress it again."
        )
        return HealthCheck("training", "file", Verdict.INCONCLUSIVE, None, reason)
    recorded = dict(_entries(metadata[KEY]))
    given = _digests(provenance.recipe, provenance.dense_recipe, provenance.start, provenance.sub_models)
    differing = sorted(key for key in recorded.keys() | given.keys() if recorded.get(key) != given.get(key))
    if differing:
        raise ArtifactError(
            f"{subject.path} was trained in another way than you say; these keys differ: {', '.join(differing)}. "
            "Shadow models would be models of another training, and the audit would say nothing. Give the recipe, the "
            "dense recipe and the start that it was trained with."
        )
    return HealthCheck("training", "file", Verdict.PASS, None, "it records the training that its shadow models repeat.")


def _digests(
    recipe: Recipe, dense_recipe: Recipe | None, start: Start, sub_models: DynamicSparsity | None
) -> dict[str, str]:
    """A digest by key: of the recipe what is not at its default, of the dense recipe what is not the recipe's own."""
    own, plain = recipe.to_json(), Recipe().to_json()
    usual = replace(recipe, objective=CrossEntropy()).to_json()
    dense = usual if dense_recipe is None else dense_recipe.to_json()
    values: dict[str, Any] = {f"recipe.{key}": value for key, value in own.items() if value != plain.get(key)}
    values |= {f"dense_recipe.{key}": dense.get(key) for key in _differing(dense, usual)}
    values |= {} if start is Start.SCRATCH else {"start": str(start)}
    values |= {} if sub_models is None else {"sub_models": repr(sub_models)}
    return {key: _digest(key, value) for key, value in values.items()}


def _digest(key: str, value: Any) -> str:
    return digest_json([key, value])[:_DIGITS]


def _differing(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> list[str]:
    return [key for key in ours.keys() | theirs.keys() if ours.get(key) != theirs.get(key)]


def _entries(record: str) -> Iterable[tuple[str, str]]:
    for entry in filter(None, record.split(",")):
        key, _, digest = entry.partition("=")
        yield key, digest
