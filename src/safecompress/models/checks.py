"""Checks that every network makes of its arguments; each error message says what would be right."""

from __future__ import annotations

from collections.abc import Sequence

from safecompress.errors import ModelError

MOST_SIZES = 1000  # a longer list comes from a broken file, and building it would take all memory


def require_sizes(name: str, widths: Sequence[int]) -> None:
    """Raise ModelError unless every one of ``widths``, at most 1,000 of them, is a whole number of at least 1."""
    if len(widths) > MOST_SIZES:
        raise ModelError(f"{name} may list up to {MOST_SIZES} sizes; got {len(widths)}.")
    if not all(isinstance(size, int) and not isinstance(size, bool) and size >= 1 for size in widths):
        raise ModelError(f"{name} must hold whole numbers of at least 1; got {tuple(widths)!r}.")


def require_classes(num_classes: int) -> None:
    """Raise ModelError unless there are two classes or more to tell apart."""
    if not isinstance(num_classes, int) or isinstance(num_classes, bool) or num_classes < 2:
        raise ModelError(f"A classifier tells at least 2 classes apart; got num_classes={num_classes!r}.")


def require_dropout(dropout: float) -> None:
    """Raise ModelError unless ``dropout`` is a share in [0, 1)."""
    if not 0.0 <= dropout < 1.0:
        raise ModelError(
            f"dropout is the share of units left out in training, from 0 (none) to below 1; got {dropout!r}."
        )


def require_image(kind: str, input_shape: tuple[int, ...]) -> None:
    """Raise ModelError unless ``input_shape`` has the three dimensions of an image, each at least 1."""
    if len(input_shape) != 3:
        raise ModelError(
            f"The model {kind!r} reads images of shape (channels, height, width); the data has samples of shape "
            f"{tuple(input_shape)}. Load the data with image=True, or choose the model 'mlp', which takes any shape."
        )
    require_sizes("input_shape", input_shape)


def require_norm(norm: str) -> None:
    """Raise ModelError for a norm that is not "batch" or "group"."""
    if norm not in ("batch", "group"):
        raise ModelError(f"norm is 'batch', or 'group' for layers that mix no rows; got {norm!r}.")


def require_text(kind: str, input_shape: tuple[int, ...]) -> None:
    """Raise ModelError unless ``input_shape`` has the one dimension of a text, the number of its tokens."""
    if len(input_shape) != 1:
        raise ModelError(
            f"The model {kind!r} reads texts, as tokens (N, L); the data has samples of shape {tuple(input_shape)}. "
            "Choose a data set of texts, or a model for images or tables."
        )
    require_sizes("input_shape", input_shape)
