"""The long attack: kills, signals, full disks, altered files of every kind, openings at once, many jobs.

    python tests/faults/soak.py [--scale 1.0] [--minutes M] [--only PART] [--seed 0] [--workers 2]     # `make soak`

Every part says how many attempts it made, of how many that make the whole attack, and what came of them: the same
digests, read, refused in words, or a fault. Results go into benchmarks/results/faults.json and the page beside it.
The whole attack is made to take an hour on two cores. ``--scale`` takes a share of every part; ``--minutes`` ends all
parts after that time, each with its share of it.
"""

from __future__ import annotations

import argparse
import errno
import itertools
import json
import multiprocessing
import os
import platform
import random
import re
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from functools import partial
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests" / "faults"), str(ROOT / "tests" / "report"), str(ROOT / "src")]

import soak_commands as commands  # noqa: E402
import soak_files as files  # noqa: E402

RESULTS = ROOT / "benchmarks" / "results"
OUTCOMES = ("same digests", "read", "refused", "fault")
WORKERS = 2


@dataclass(frozen=True)
class Part:
    """Attempts of one kind; ``count`` of them make the whole attack, and ``cost_s`` is what one takes of a core."""

    name: str
    count: int
    cost_s: float
    attempts: Callable[[Path, random.Random], Iterator[str]]
    verb: str | None = None

    @property
    def total_s(self) -> float:
        """What the whole part takes of a core."""
        return self.count * self.cost_s


def _on_commands() -> Iterator[Part]:
    """Attacks on each verb; of compress twice as many."""
    for verb, operations, cost in (("compress", 450, 3.0), ("compare", 200, 1.5), ("tune", 200, 2.0)):
        twice = 2 if verb == "compress" else 1
        for name, count, times, attempts in (
            ("kills at a file operation", operations, 1, commands.killed_at_operations),
            ("kills at random", 20 * twice, 1.5, commands.killed_at_random),
            ("signals", 20 * twice, 1.5, commands.stopped),
            ("full disks", 20 * twice, 1, partial(commands.refused, code=errno.ENOSPC)),
            ("no inodes", 10 * twice, 1, partial(commands.refused, code=errno.ENOSPC, only=("open", "mkdir"))),
            ("disks that become read-only", 10 * twice, 1, partial(commands.refused, code=errno.EROFS)),
            ("folders removed", 10 * twice, 1, commands.removed),
            ("memory limits", 20 * twice, 1, commands.without_memory),
            ("clock jumps", 10 * twice, 2, commands.at_odd_times),
            ("workers killed", 5 * twice, 10, commands.workers_killed),
            ("mounted disks", 20 * twice, 1.2, commands.on_mounted_disks),
        ):
            yield Part(f"{name}: {verb}", count, times * cost, partial(_of_verb, attempts, verb), verb)


def _of_verb(attempts: Callable[..., Iterator[str]], verb: str, _: Path, chance: random.Random) -> Iterator[str]:
    return attempts(chance, verb)


def _on_files() -> Iterator[Part]:
    """Altered files of every kind, openings and jobs."""
    counts = {"specs": 5000, "reports": 1000, "ledgers": 2000, "lists": 2000, **dict.fromkeys(READERS, 5000)}
    for kind, count in counts.items():
        yield Part(f"files: {kind}", count, 0.01, partial(files.altered_files, kind=kind))
    yield Part("files: artifacts", 10_000, 0.01, files.altered_artifacts)
    yield Part("files: specs, values put in place of others", 5000, 0.01, files.edited_specs)
    yield Part("files: reports, values put in place of others", 1000, 0.02, files.edited_reports)
    yield Part("files: onnx", 2000, 1.0, files.onnx_files)
    yield Part(AT_ONCE, files.NUM_OPENINGS, 0.2, files.openings_at_once)
    yield Part("jobs in one process", 35, 2.0, files.jobs_in_one_process)


READERS = (
    "rows.csv", "rows.csv.gz", "rows.csv.xz", "rows.npz", "texts.csv", "texts.tsv", "texts.jsonl", "texts.jsonl.gz",
    "texts.parquet",
)  # fmt: skip
AT_ONCE = "openings at once"
PARTS = (*_on_commands(), *_on_files())

Found = tuple[int, dict[str, int], float]
"""The number of a part, the count of each outcome, and seconds."""


def tried(number: int, seed: int, count: int, seconds: float) -> Found:
    """Part ``number``: at most ``count`` attempts, and none begun after ``seconds``, but the first.

    They are made in a child of this process: what one part loads, starts or leaves open touches no other.
    """
    part, began = PARTS[number], time.monotonic()
    if part.verb is not None:
        commands.command_of(part.verb)
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        found = Counter[str]()
        try:
            with tempfile.TemporaryDirectory() as folder:
                os.chdir(folder)
                for outcome in itertools.islice(
                    part.attempts(Path(folder), random.Random(f"{seed} {part.name}")), count
                ):
                    found[outcome] += 1
                    if time.monotonic() - began > seconds and part.name != AT_ONCE:
                        break
                os.chdir("/")
        except BaseException:
            traceback.print_exc()
            found["fault"] += 1
        finally:
            os.write(writer, json.dumps(found).encode())
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as said:
        counts = json.loads(said.read() or '{"fault": 1}')
    os.waitpid(child, 0)
    return number, counts, time.monotonic() - began


def soak(scale: float, minutes: float | None, seed: int, only: str | None, workers: int = WORKERS) -> bool:
    """Try parts whose names fit the expression ``only``, ``workers`` at once; whether no fault was found."""
    chosen = [number for number, part in enumerate(PARTS) if only is None or re.search(only, part.name)]
    total_s, is_sound = sum(PARTS[number].total_s for number in chosen), True
    with (
        tempfile.TemporaryDirectory(prefix="soak-") as os.environ["TMPDIR"],
        ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool,
    ):
        futures = []
        for number in sorted(chosen, key=lambda number: -PARTS[number].total_s):
            share = PARTS[number].total_s / total_s
            seconds = float("inf") if minutes is None else share * minutes * 60 * workers
            futures.append(pool.submit(tried, number, seed, max(1, round(scale * PARTS[number].count)), seconds))
        for future in as_completed(futures):
            number, found, took = future.result()
            print(f"{PARTS[number].name}: {found} in {took:.0f} s", flush=True)
            is_sound &= not found.get("fault", 0)
            if found:
                keep(PARTS[number], found, took, seed)
    return is_sound


def keep(part: Part, found: dict[str, int], took: float, seed: int) -> None:
    """Put the figures of a part into faults.json, and make the page anew; other parts stay as they are."""
    path = RESULTS / "faults.json"
    parts = json.loads(path.read_text())["parts"] if path.exists() else {}
    parts[part.name] = {
        "tried": sum(found.values()), "whole": part.count, **{key: found.get(key, 0) for key in OUTCOMES},
        "seconds": round(took), "seed": seed, "python": platform.python_version(),
    }  # fmt: skip
    known = {part.name: parts[part.name] for part in PARTS if "whole" in parts.get(part.name, {})}
    path.write_text(json.dumps({"parts": known}, indent=2) + "\n")
    (RESULTS / "faults.md").write_text(page(known))


def page(parts: dict[str, dict[str, int]]) -> str:
    """faults.md."""
    columns = ("tried", "whole", *OUTCOMES, "seconds")
    shown = {part.name: parts.get(part.name, dict.fromkeys(columns, 0) | {"whole": part.count}) for part in PARTS}
    totals = {key: sum(counts[key] for counts in shown.values()) for key in columns}
    rows = [
        f"| {name} | " + " | ".join(f"{counts[key]:,}" for key in columns) + " |"
        for name, counts in {**shown, "**all**": totals}.items()
    ]
    return f"""# Faults: what the long attack came to

Commands in small (`compress`, `compare` and `tune` on 90 train rows) are killed, stopped, or refused by the system in
the middle. Then the same command is given once more. "Same digests": it ended in every figure as an undisturbed one, a
command that ended by itself had done so in words and with a documented exit code, and no half-written file was left.

Files have one to four random edits (bytes turned, cut out, doubled, put in), or are sound and have values put in place
of others: "read", or "refused" in words. An altered artifact counts as read only if it is the one that was written, to
the digest. For openings and jobs "same digests" says that the count, or memory and open files, were right. A fault is
anything else.

{totals["tried"]:,} attempts, {totals["fault"]:,} faults. The whole attack (`make soak`) has {totals["whole"]:,}, and
is sized by the costs of single attempts to take an hour on two cores; "tried" says how many were made for this page. An
undisturbed run has fewer file operations than "whole" allows for, and each of them is tried once.

| part | tried | whole | same digests | read | refused | faults | seconds |
| --- | --- | --- | --- | --- | --- | --- | --- |
{chr(10).join(rows)}

Made by `python tests/faults/soak.py`; `--minutes`, `--scale` and `--only` run less of it. Seconds are by the clock, on
cores that other work may have shared.
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--minutes", type=float)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only")
    parser.add_argument("--workers", type=int, default=WORKERS)
    options = parser.parse_args()
    sys.exit(0 if soak(options.scale, options.minutes, options.seed, options.only, options.workers) else 1)


if __name__ == "__main__":
    main()
