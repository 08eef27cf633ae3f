"""The command line: one verb per file; errors become one paragraph and an exit code."""

from __future__ import annotations

import os
import sys
import traceback

import typer

from safecompress.cli.app import app
from safecompress.errors import SafeCompressError

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before PyTorch loads: two busy pools on two cores run 20 times slower

STOPPED, PIPE_CLOSED = 130, 141
"""As a shell reports SIGINT, into which Typer turns Ctrl-C, and SIGPIPE, when nobody reads on (``| head``)."""


def main() -> None:
    """Run the command line and exit with the product's codes."""
    from safecompress.cli import audit, bench, compare, compress, inspect, release, search  # noqa: F401  (they register their verbs)

    try:
        app(prog_name="safecompress")
    except SafeCompressError as error:
        typer.echo(f"{type(error).__name__}: {error}", err=True)
        sys.exit(error.exit_code)
    except SystemExit as end:
        if isinstance(end.__context__, BrokenPipeError):  # exit code 1 would read as FAIL
            sys.exit(PIPE_CLOSED)
        if end.code == STOPPED:
            typer.echo("Stopped. What was finished is kept: run the same command again to go on.", err=True)
        raise
    except MemoryError:
        typer.echo(
            "Out of memory. Use a smaller batch or model, or fewer --workers; then run again to go on.", err=True
        )
        sys.exit(3)
    except Exception:  # exit code 1 would read as FAIL
        traceback.print_exc()
        typer.echo("This is a fault of safecompress, not a verdict. Please report it with the lines above.", err=True)
        sys.exit(3)


if __name__ == "__main__":
    main()
