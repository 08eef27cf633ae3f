"""Attacks on what the product reads: altered files of every kind, rows opened at once, and jobs one after another."""

from __future__ import annotations

import contextlib
import io
import itertools
import json
import multiprocessing
import random
import resource
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from soak_commands import BRIEF

from whole_runs import run_cli, tiny

NUM_OPENINGS = 100

Attempts = Iterator[str]
Reader = Callable[[Path], object]


def tried(path: Path, content: bytes, read: Reader) -> str:
    """What ``read`` makes of the content: read, refused in words, or a fault."""
    from safecompress.errors import SafeCompressError

    path.write_bytes(content)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            read(path)
    except SafeCompressError:
        return "refused"
    except Exception as error:
        print(f"FAULT {path.name}: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
        return "fault"
    return "read"


def altered_files(work: Path, chance: random.Random, kind: str) -> Attempts:
    """Files of one kind with one to four random edits, read by the reader of that kind."""
    from test_hostile_data import altered

    name, whole, read = corpora(work)[kind]()
    while True:
        yield tried(work / name, altered(whole, chance), read)


def altered_artifacts(work: Path, chance: random.Random) -> Attempts:
    """As `altered_files`; one that is read must be, to the digest, the one that was written."""
    from sample_reports import ARTIFACT
    from test_hostile_data import altered

    from safecompress.export import Artifact

    def read(path: Path) -> None:
        if Artifact.load(path).digest() != ARTIFACT.digest():
            raise RuntimeError("another artifact was read")

    ARTIFACT.save(work / "sound.safetensors")
    whole = (work / "sound.safetensors").read_bytes()
    while True:
        yield tried(work / "altered.safetensors", altered(whole, chance), read)


def edited_specs(work: Path, chance: random.Random) -> Attempts:
    """Specs that are sound TOML, with one to three values taken out, interchanged, or replaced by extreme ones."""
    import tomli_w
    from test_altered_reports import edited

    from safecompress.config import load_config

    while True:
        with contextlib.suppress(TypeError, ValueError):  # a null, which TOML has not
            content = tomli_w.dumps(edited(tiny(), chance)).encode()
            yield tried(work / "edited.toml", content, load_config)


def edited_reports(work: Path, chance: random.Random) -> Attempts:
    """Reports that are sound JSON, with values taken out, interchanged, or replaced by extreme ones."""
    from sample_reports import whole_report
    from test_altered_reports import edited

    from safecompress.report import load_report, render_report

    whole = json.loads(json.dumps(whole_report().to_json()))
    while True:
        content = json.dumps(edited(whole, chance)).encode()
        yield tried(work / "report.json", content, lambda path: render_report(load_report(path), work / "pages"))


def corpora(work: Path) -> dict[str, Callable[[], tuple[str, bytes, Reader]]]:
    """For each kind of file what makes its name, a sound content, and its reader."""
    from test_hostile_data import READERS

    kinds = {"specs": _a_spec, "reports": _a_report, "ledgers": _a_ledger, "lists": _a_list}
    return {kind: partial(make, work) for kind, make in kinds.items()} | {
        name: lambda name=name, make=make, read=read: (name, make(), read) for name, (make, read) in READERS.items()
    }


def _a_spec(work: Path) -> tuple[str, bytes, Reader]:
    import tomli_w

    from safecompress.config import load_config

    return "altered.toml", tomli_w.dumps(tiny()).encode(), load_config


def _a_report(work: Path) -> tuple[str, bytes, Reader]:
    from sample_reports import whole_report

    from safecompress.report import load_report, render_report

    content = json.dumps(whole_report().to_json()).encode()
    return "report.json", content, lambda path: render_report(load_report(path), work / "pages")


def _a_ledger(work: Path) -> tuple[str, bytes, Reader]:
    from safecompress.certify import Ledger
    from safecompress.testing.fakes import noise_split

    split, book = noise_split(8, other=8), work / "book.jsonl"
    for artifact in "abc":
        Ledger(book).open(split, artifact_digest=artifact, spec_digest="s", alpha=0.05)

    def number(path: Path) -> int:
        return Ledger(path).number_for(split, artifact_digest="a", spec_digest="s", alpha=0.05)

    return book.name, book.read_bytes(), number


def _a_list(work: Path) -> tuple[str, bytes, Reader]:
    from sample_reports import ARTIFACT

    from safecompress.certify import Released

    model, listed = work / "sound.safetensors", work / "list.jsonl"
    ARTIFACT.save(model)
    Released(listed).add(model)
    return listed.name, listed.read_bytes(), lambda path: Released(path).versions()


def onnx_files(work: Path, chance: random.Random) -> Attempts:
    """Altered ONNX files, tried out in a process with limits; opened here only where that went well."""
    from sample_reports import ARTIFACT
    from test_hostile_data import altered

    from safecompress.export.onnx import to_onnx
    from safecompress.runtime.trial import try_out

    whole = to_onnx(ARTIFACT.build(), ARTIFACT.task)
    while True:
        yield tried(work / "altered.onnx", altered(whole, chance), try_out)


def openings_at_once(work: Path, chance: random.Random) -> Attempts:
    """Openings of the same rows by four processes: numbered from 1 without a gap."""
    count = NUM_OPENINGS
    with multiprocessing.get_context("spawn").Pool(4) as pool:
        numbers = pool.map(_opened, [(str(work / "many.jsonl"), number) for number in range(count)], chunksize=1)
    yield from itertools.repeat("same digests" if sorted(numbers) == list(range(1, count + 1)) else "fault", count)


def _opened(job: tuple[str, int]) -> int:
    from safecompress.certify import Ledger
    from safecompress.testing.fakes import noise_split

    path, number = job
    use = Ledger(Path(path)).open(noise_split(8, other=8), artifact_digest=str(number), spec_digest="s", alpha=0.05)
    return use.number


def jobs_in_one_process(work: Path, chance: random.Random) -> Attempts:
    """Runs one after another: after the first three, no more open files and at most a tenth more memory."""
    import tomli_w

    spec, settled = work / "jobs.toml", (0, 0)
    spec.write_text(tomli_w.dumps(BRIEF))
    for number in itertools.count():
        run_cli("compress", spec, "--out", work / "jobs" / str(number), "--quiet")
        now = len(list(Path("/proc/self/fd").iterdir())), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        settled = now if number <= 3 else settled
        yield "same digests" if now[0] <= settled[0] and now[1] <= 1.1 * settled[1] else "fault"
