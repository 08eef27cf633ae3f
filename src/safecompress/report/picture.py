"""Pictures: one look for all of them, the same bytes for the same figures, matplotlib only where one is drawn."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from safecompress.errors import UsageError
from safecompress.storage import PUBLISHED, write_bytes

INSTALL = "The picture needs matplotlib, which is not installed. Install it: pip install matplotlib"

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Okabe and Ito's palette (2008) for the colour-blind, without its yellow."""

_STYLE = {"svg.hashsalt": "safecompress", "font.size": 9, "font.family": "DejaVu Sans", "svg.fonttype": "path"}


@contextlib.contextmanager
def drawing(path: Path, *, width: float, height: float) -> Iterator[Any]:
    """A matplotlib figure of ``width`` by ``height`` inches to paint on; written to ``path`` (.svg or .png) at the end.

    Raises UsageError when matplotlib is not installed. Nothing is written when painting raises.
    """
    try:
        import matplotlib
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise UsageError(INSTALL) from error
    style: dict[Any, Any] = {**matplotlib.rcParamsDefault, **_STYLE, "backend": "agg"}
    with matplotlib.rc_context(style):
        figure = Figure(figsize=(width, height), dpi=100, layout="constrained")
        FigureCanvasAgg(figure)
        yield figure
        content = rendered(figure, path.suffix.removeprefix("."))
    write_bytes(path, content, mode=PUBLISHED)


def rendered(figure: Any, kind: str) -> bytes:
    """The content of a file of ``kind`` (svg or png) with the figure in it, without the day on which it was made."""
    content = io.BytesIO()
    figure.savefig(content, format=kind, metadata={"Date": None} if kind == "svg" else {"Software": None})
    return content.getvalue()


def settle(axes: Any, x: str, y: str) -> None:
    """Name the axes, and leave of frame and grid what helps reading."""
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.grid(color="#e6e6e6", linewidth=0.7)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
