"""``safecompress list``: what a spec can name."""

from __future__ import annotations

from safecompress.cli._support.output import say_json
from safecompress.cli.app import app
from safecompress.cli.options import AS_JSON


@app.command(name="list")
def list_names(as_json: bool = AS_JSON) -> None:
    """List everything that a spec can name, and where each comes from."""
    from safecompress.attacks import ATTACKS
    from safecompress.cli._support.console import show_names
    from safecompress.compression.search import SELECTORS
    from safecompress.data import DATASETS
    from safecompress.models import MODELS
    from safecompress.sparsity import ALLOCATIONS, DROP_RULES, GROW_RULES, SCHEDULES, SHAPES
    from safecompress.training import AUGMENTATIONS, OBJECTIVES

    rules = (DROP_RULES, GROW_RULES, ALLOCATIONS, SHAPES, SCHEDULES, SELECTORS)
    registries = (DATASETS, MODELS, ATTACKS, OBJECTIVES, AUGMENTATIONS, *rules)
    kinds = {registry.kind: registry.describe() for registry in registries}
    if as_json:
        keys = ("origin", "summary")
        say_json(
            {kind: {n: dict(zip(keys, t, strict=True)) for n, t in names.items()} for kind, names in kinds.items()}
        )
        return
    show_names(kinds)
