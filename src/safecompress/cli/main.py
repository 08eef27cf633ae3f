"""The command line: one verb per file; errors become one paragraph and an exit code."""

from __future__ import annotations

import contextlib
import os
import shlex
import sys
import traceback

import typer

from safecompress.cli.app import app
from safecompress.cli.gate import Gate
from safecompress.errors import SafeCompressError

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before PyTorch loads: two busy pools on two cores run 20 times slower

USAGE, UNKNOWN = 2, 3
STOPPED, PIPE_CLOSED = 130, 141
"""As a shell reports SIGINT, into which Typer turns Ctrl-C, and SIGPIPE, when nobody reads on (``| head``)."""

GOES_ON = ("compress", "compare", "search")
"""Verbs that keep what they have finished."""


def main() -> None:
    """Run the command line and exit with the product's codes."""
    arguments = sys.argv[1:]
    gate = Gate.of_arguments(arguments)
    try:
        register()
        gate.begin()
        app(prog_name="safecompress", obj=gate)
    except SafeCompressError as error:
        _leave(gate, error, error.exit_code, f"{type(error).__name__}: {error}")
    except SystemExit as end:
        _leave_as_typer_does(gate, end, arguments)
    except KeyboardInterrupt as stop:  # before or after Typer had its turn
        _leave(gate, stop, STOPPED, _how_to_go_on(arguments))
    except MemoryError as error:
        words = "Out of memory. Use a smaller batch or model, or fewer --workers; then run again to go on."
        _leave(gate, error, UNKNOWN, words)
    except Exception as error:  # exit code 1 would read as FAIL
        traceback.print_exc()
        words = "This is a fault of safecompress, not a verdict. Please report it with the lines above."
        _leave(gate, error, UNKNOWN, words)


def register() -> None:
    """Import every verb: each joins the application as it is loaded."""
    from safecompress.cli import audit, bench, compare, compress, data, init, inspect, release, report, search  # noqa: F401


def _leave(gate: Gate, error: BaseException, code: int, words: str) -> None:
    """Say why there is no verdict, to whoever asked, and exit with ``code``."""
    typer.echo(words, err=True)
    _tell(gate, error, code, words)
    sys.exit(code)


def _leave_as_typer_does(gate: Gate, end: SystemExit, arguments: list[str]) -> None:
    """Exit with Typer's code, but for two that would read as FAIL."""
    cause = end.__context__
    if isinstance(cause, BrokenPipeError):
        gate.fail("Nobody read what the command printed, and it stopped.")
        sys.exit(PIPE_CLOSED)
    if end.code == STOPPED or type(cause).__name__ == "Abort":
        _leave(gate, KeyboardInterrupt(), STOPPED, _how_to_go_on(arguments))
    message = getattr(cause, "format_message", None)
    if end.code == USAGE and message is not None:  # Typer has told it on standard error
        words = str(message())
        _tell(gate, f"The command line was not understood: {words}", USAGE, words)
    elif end.code not in (0, None):
        gate.fail(f"The command ended with exit code {end.code} and gave no verdict.")
    raise end


def _tell(gate: Gate, error: BaseException | str, code: int, words: str) -> None:
    from safecompress.cli.output import say_json

    gate.fail(error)
    if gate.as_json:
        kind = "UsageError" if isinstance(error, str) else type(error).__name__
        with contextlib.suppress(OSError):
            say_json({"error": kind, "message": words, "exit_code": code})


def _how_to_go_on(arguments: list[str]) -> str:
    """What a person reads after Ctrl-C."""
    command = shlex.join(["safecompress", *arguments])
    if any(verb in arguments for verb in GOES_ON):
        return f"Stopped. What was finished is kept: run the same command again to go on.\n  {command}"
    return f"Stopped. Run the same command again to start anew.\n  {command}"


if __name__ == "__main__":
    main()
