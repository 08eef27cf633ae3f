"""Equal budgets: how many epochs on other rows come to the same number of steps."""

from __future__ import annotations

from dataclasses import replace

from safecompress.training import Recipe


def for_steps(recipe: Recipe, num_rows: int, steps: float) -> Recipe:
    """``recipe`` with the whole number of epochs, at least 1, that on ``num_rows`` rows comes nearest to ``steps``."""
    return replace(recipe, epochs=max(1, round(steps / recipe.steps_per_epoch(num_rows))))
