"""From paths to a verdict: what ``audit`` and the pytest plug-in do with a file, a spec and rows."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from safecompress.report import Report


def audit_file(
    artifact: Path,
    spec: Path,
    *,
    members: Path | None = None,
    non_members: Path | None = None,
    model: str | None = None,
    dense: Path | None = None,
    ledger: Path | None = None,
    cache: Path | None = None,
    released: Path | None = None,
    workers: int = 1,
    threads: int = 1,
) -> Report:
    """The verdict of ``spec`` on the file ``artifact``, by the spec's rows or those of the two .npz files.

    ``model`` is ``package.module:factory`` for a network of the user's own class. What is None is looked for where a
    run leaves it: the dense model beside the artifact, shadows in the run's folder, the ledger beside that.

    Raises UsageError (and its kinds) for what cannot be judged, and the errors of `api.audit`.
    """
    from safecompress import api
    from safecompress.config import load_config
    from safecompress.deploy import Artifact
    from safecompress.errors import UsageError
    from safecompress.runfolder import ARTIFACT as ARTIFACT_NAME
    from safecompress.runfolder import IDENTITY
    from safecompress.workflows.loading import (
        as_trained,
        call_factory,
        check_data_digest,
        executor_of,
        load_rows,
        load_weights,
    )

    if not artifact.is_file():
        raise UsageError(f"{artifact} is no file. Name the artifact: RUN/{ARTIFACT_NAME}.")
    if members is not None or non_members is not None:
        unread = {"--dense": dense, "--cache": cache, "--released": released}
        given = [option for option, value in unread.items() if value is not None]
        if given:
            raise UsageError(
                f"{' and '.join(given)}: nothing is compared with, and no shadow is trained for, a model that was "
                "trained elsewhere. Leave it out with --members and --non-members."
            )
        return _audit_foreign(artifact, spec, members, non_members, model, ledger, threads)
    source = artifact.parent / ARTIFACT_NAME if artifact.suffix == ".onnx" else artifact
    if not source.is_file() or (source != artifact and not (artifact.parent / IDENTITY).exists()):
        raise UsageError(
            f"{artifact} does not lie in the folder of a run, which alone knows its members. Name rows that it was "
            "trained on and rows that it never saw: --members and --non-members."
        )
    loaded = Artifact.load(source)
    if loaded.model_spec is None and model is None:
        raise UsageError(
            f"{artifact} holds a network of its author's own class. Say what makes it: --model pkg.module:f."
        )
    config = load_config(spec, model_given=True)
    check_data_digest(loaded.metadata.get("data_spec", ""), config, artifact)
    rows = load_rows(config)
    shapes = {"input_shape": loaded.task.input_shape, "num_classes": loaded.task.num_classes}
    network = call_factory(model, shapes) if model else None
    begun = config.model.spec(loaded.task.input_shape, loaded.task.num_classes) if config.model else None
    if begun is not None and (loaded.model_spec is None or begun.stored() == begun):
        begun = None  # the file itself says how training began
    beside = artifact.parent / "dense.safetensors"
    weights = dense if dense is not None else beside if beside.exists() else None
    dense_model = None
    if weights is not None:
        template = network
        if loaded.model_spec is not None and network is None:
            loaded.build()  # refuses sizes that are not the file's, before memory is taken for the whole
            template = api.build(loaded.model_spec, config.seed)  # of the whole size, whatever units were removed
        assert template is not None  # refused above
        dense_model = api.served(loaded, load_weights(weights, template), network)
    folder = artifact.resolve().parent
    if (folder / IDENTITY).exists():
        folder = folder.parent  # a run's ledger lies beside its folder
    kept = artifact.parent / "work" / "cache"  # a run's own, which this audit would train again
    with executor_of(workers) as executor:
        report = api.audit(
            artifact,
            rows.raw,
            spec=config.spec,
            model=network if network is not None else begun,
            dense=dense_model,
            seed=config.seed,
            recipe=as_trained(config, loaded.metadata),
            dense_recipe=config.dense_recipe,
            start=config.plan.start,
            cache=cache if cache is not None else kept if kept.exists() else None,
            released=released,
            ledger=ledger if ledger is not None else folder / "ledger.jsonl",
            executor=executor,
            threads=threads,
        )
    return replace(report, notes=[*report.notes, *config.notes()])


def _audit_foreign(
    file: Path,
    spec: Path,
    members: Path | None,
    others: Path | None,
    factory: str | None,
    ledger: Path | None,
    threads: int,
) -> Report:
    """The verdict on a model that was trained elsewhere, by rows that the user names."""
    from safecompress import api
    from safecompress.config import load_limits
    from safecompress.errors import UsageError
    from safecompress.workflows.loading import foreign_model, load_pools

    if members is None or others is None:
        raise UsageError("--members and --non-members go together: attacks tell the ones from the others.")
    limits = load_limits(spec)
    target, own, num_classes = foreign_model(file, factory, members)
    split = load_pools(members, others, num_classes, limits.seed)
    book = ledger if ledger is not None else file.resolve().parent / "ledger.jsonl"
    report = api.audit(target, split, spec=limits.spec, model=own, seed=limits.seed, ledger=book, threads=threads)
    return replace(report, name=limits.name)
