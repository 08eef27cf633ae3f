"""The command line: one verb per file; errors become one paragraph and an exit code."""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
import traceback
from typing import NoReturn

import typer

from safecompress.cli._support.encoding import write_anything
from safecompress.cli._support.gate import Gate
from safecompress.cli._support.interrupt import STOPPED, Stop, how_to_resume, listening
from safecompress.cli._support.output import options_given
from safecompress.cli.app import ORDER, app
from safecompress.errors import SafeCompressError, UsageError, is_out_of_memory, printable

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before PyTorch loads: two busy pools on two cores run 20 times slower

USAGE, UNKNOWN = 2, 3
PIPE_CLOSED = 141
"""As a shell reports SIGPIPE, when the reader has gone away (``| head``)."""


def main() -> None:
    """Run the command line and exit with the product's codes."""
    write_anything()
    arguments = sys.argv[1:]
    gate = Gate.of_arguments(arguments)
    with listening() as stop:
        try:
            _refuse_empty_paths(arguments)
            gate.begin()
            register()
            app(prog_name="safecompress", obj=gate)
        except KeyboardInterrupt:  # before or after Typer had its turn
            _leave(gate, stop.error(), stop.exit_code, how_to_resume(arguments))
        except SystemExit as end:
            _leave_as_typer_does(gate, end, arguments, stop)
        except Exception as error:
            if stop.was_asked:
                _leave(gate, stop.error(), stop.exit_code, how_to_resume(arguments))
            _leave_with_error(gate, error)


PATHS = ("--out", "--ledger", "--cache", "--released", "--to", "--dense", "--spec", "--members", "--non-members")


def _refuse_empty_paths(arguments: list[str]) -> None:
    """Raise UsageError for an option whose path is empty: as a variable that is not set, it would be this folder."""
    empty = [name for name, path in options_given(arguments, *PATHS).items() if path == ""]
    if empty:
        raise UsageError(f"{' and '.join(empty)}: the path is empty. Name one; this folder is written as a dot.")


def register() -> None:
    """Import every verb: each joins the application when it is imported."""
    for name in ORDER:
        importlib.import_module(f"safecompress.cli.verbs.{name}")


def _leave(gate: Gate, error: BaseException, code: int, words: str) -> NoReturn:
    """Say why there is no verdict, to the person and to pipelines, and exit with ``code``."""
    with contextlib.suppress(OSError):  # of a terminal that was closed
        typer.echo(printable(words, keep_lines=True), err=True)
    _report(gate, error, code, words)
    sys.exit(code)


def _leave_with_error(gate: Gate, error: Exception) -> NoReturn:
    """Exit with the error's code; an unexpected error must not read as FAIL (1)."""
    if isinstance(error, SafeCompressError):
        _leave(gate, error, error.exit_code, f"{type(error).__name__}: {error}")
    if is_out_of_memory(error):
        words = "Out of memory. Use a smaller batch or model, or fewer --workers; then run again to resume."
        _leave(gate, error, UNKNOWN, words)
    traceback.print_exception(error)
    words = "This is a fault of safecompress, not a verdict. Please report it with the lines above."
    _leave(gate, error, UNKNOWN, words)


def _leave_as_typer_does(gate: Gate, end: SystemExit, arguments: list[str], stop: Stop) -> NoReturn:
    """Exit with Typer's code, except for two errors that would read as FAIL."""
    cause = end.__context__
    if isinstance(cause, BrokenPipeError):
        gate.fail("Nobody read what the command printed, and it stopped.")
        sys.exit(PIPE_CLOSED)
    if end.code == STOPPED or type(cause).__name__ == "Abort":
        _leave(gate, stop.error(), stop.exit_code, how_to_resume(arguments))
    message = getattr(cause, "format_message", None)
    if end.code == USAGE and message is not None:  # Typer has printed it on standard error
        words = str(message())
        _report(gate, f"The command line was not understood: {words}", USAGE, words)
    else:
        gate.fail(f"The command ended with exit code {end.code or 0} and was not to give a verdict, or could not.")
    raise end


def _report(gate: Gate, error: BaseException | str, code: int, words: str) -> None:
    from safecompress.cli._support.output import say_json

    gate.fail(error)
    if gate.as_json:
        kind = "UsageError" if isinstance(error, str) else type(error).__name__
        with contextlib.suppress(OSError):
            say_json({"error": kind, "message": words, "exit_code": code})
