"""The long attack on the product: kills, full disks, altered files of every kind, openings at once, many jobs.

    python tests/faults/soak.py [--scale 1.0] [--only NAME] [--seed 0]     # `make soak`; about an hour on two cores

Every part says how many attempts it made and what came of them: the same digests, refused in words, or a fault. Results
are written to benchmarks/results/faults.json and the page beside it. ``--scale 0.05`` is a trial of some minutes.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import multiprocessing
import os
import platform
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests" / "faults"), str(ROOT / "tests" / "report"), str(ROOT / "src")]

from safecompress.errors import SafeCompressError  # noqa: E402
from whole_runs import SIZES, digests_of, tiny, write_spec  # noqa: E402

RESULTS = ROOT / "benchmarks" / "results"
BRIEF = {
    "recipe": {"epochs": 3},
    "search": {"branches": ["magnitude+random", "keep"]},
    "data": {name: size // 5 for name, size in SIZES.items()},
    "safety": {"attacks": ["gap"], "access": "labels"},
    "require": [{"metric": "gap.auc", "at_most": 0.99}],
}
STRIKES = {"kill": ["fsync", "open", "replace", "unlink"], "full": ["fsync", "open", "replace"]}
"""Operations of `os` that are struck; no disk is too full to delete a file."""

_RUN = """
import errno, os, pathlib, sys
name, at, how = sys.argv[1], int(sys.argv[2]), sys.argv[3]
count, real = 0, getattr(os, name)
def struck(*args, **options):
    global count
    if name != "open" or (len(args) > 1 and args[1] & os.O_CREAT):
        count += 1
        if count == at and how == "kill":
            os.kill(os.getpid(), 9)
        if count >= at and how == "full":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    return real(*args, **options)
setattr(os, name, struck)
from safecompress.cli.main import main
sys.argv = ["safecompress", *sys.argv[4:]]
main()
"""


def command(*words: object) -> list[str]:
    return [sys.executable, *map(str, words)]


def run(*words: object, timeout: float = 300) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    return subprocess.run(
        command(*words), capture_output=True, text=True, timeout=timeout, env=environment, check=False
    )


def finished(spec: Path, out: Path) -> dict[str, str] | None:
    """The digests after the command was given once more, undisturbed; None where it failed."""
    ended = run("-m", "safecompress", "compress", spec, "--out", out, "--quiet")
    return digests_of(out) if ended.returncode in (0, 1, 3) and (out / "report.json").exists() else None


def leftovers(folder: Path) -> list[Path]:
    return list(folder.rglob("*.part"))


def struck_runs(work: Path, count: int, chance: random.Random, how: str) -> Counter[str]:
    """Runs that are killed, or find the disk full, at one file operation, and are then begun again."""
    spec = write_spec(work / f"{how}.toml", **BRIEF)
    whole, found = finished(spec, work / how / "whole"), Counter[str]()
    for number in range(count):
        out, name = work / how / str(number), chance.choice(STRIKES[how])
        ended = run("-c", _RUN, name, chance.randint(1, 60), how, "compress", spec, "--out", out, "--quiet")
        if how == "full" and "Traceback" in ended.stderr:
            found["fault"] += 1
        again = finished(spec, out)
        if again == whole and not leftovers(out):
            found["same digests"] += 1
        else:
            found["fault"] += 1
    return found


def killed_at_random(work: Path, count: int, chance: random.Random) -> Counter[str]:
    """Runs that are killed after a random time, up to three times, and then left alone."""
    spec, found = write_spec(work / "random.toml", **BRIEF), Counter[str]()
    whole = finished(spec, work / "random" / "whole")
    for number in range(count):
        out = work / "random" / str(number)
        for _ in range(chance.randint(1, 3)):
            process = subprocess.Popen(
                command("-m", "safecompress", "compress", spec, "--out", out, "--quiet"),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
            )
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(chance.uniform(1, 12))
            process.kill()
            process.wait()
        found["same digests" if finished(spec, out) == whole else "fault"] += 1
    return found


def tried(files: Iterable[bytes], path: Path, read: Callable[[Path], object]) -> Counter[str]:
    """What ``read`` makes of each content: read, refused in words, or a fault."""
    found = Counter[str]()
    for content in files:
        path.write_bytes(content)
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                read(path)
        except SafeCompressError:
            found["refused"] += 1
        except Exception as error:
            found["fault"] += 1
            print(f"FAULT {path.name}: {type(error).__name__}: {error}", file=sys.stderr)
        else:
            found["read"] += 1
    return found


def altered_files(work: Path, count: int, chance: random.Random, kinds: list[str]) -> dict[str, Counter[str]]:
    """Altered files of each kind, read by the reader of that kind."""
    from test_hostile_data import altered

    found = {}
    for kind, (name, whole, read) in corpora(work).items():
        if not kinds or kind in kinds:
            found[kind] = tried((altered(whole, chance) for _ in range(count)), work / name, read)
    if not kinds:
        found["specs, values put in place of others"] = edited_specs(work, count, chance)
    return found


def edited_specs(work: Path, count: int, chance: random.Random) -> Counter[str]:
    """Specs that are sound TOML, with one to three values taken out, interchanged, or replaced by extreme ones."""
    import tomli_w
    from test_altered_reports import edited

    from safecompress.config import load_config

    def contents() -> Iterable[bytes]:
        made = 0
        while made < count:
            with contextlib.suppress(TypeError, ValueError):  # a null, which TOML has not
                yield tomli_w.dumps(edited(tiny(), chance)).encode()
                made += 1

    return tried(contents(), work / "edited.toml", load_config)


def corpora(work: Path) -> dict[str, tuple[str, bytes, Callable[[Path], object]]]:
    """For each kind of file its name, a sound content, and its reader."""
    import tomli_w
    from sample_reports import ARTIFACT, whole_report
    from test_hostile_data import READERS

    from safecompress.certify import Ledger, Released
    from safecompress.config import load_config
    from safecompress.export import Artifact
    from safecompress.report import load_report, render_report
    from safecompress.testing.fakes import noise_split

    def shown(path: Path) -> None:
        render_report(load_report(path), work / "pages")

    split = noise_split(8, other=8)
    book, listed, model = work / "book.jsonl", work / "list.jsonl", work / "sound.safetensors"
    ARTIFACT.save(model)
    for artifact in "abc":
        Ledger(book).open(split, artifact_digest=artifact, spec_digest="s", alpha=0.05)
    Released(listed).add(model)
    kinds = {
        "artifacts": ("altered.safetensors", model.read_bytes(), Artifact.load),
        "specs": ("altered.toml", tomli_w.dumps(tiny()).encode(), load_config),
        "reports": ("report.json", json.dumps(whole_report().to_json()).encode(), shown),
        "ledgers": ("book.jsonl", book.read_bytes(), lambda path: Ledger(path).number_for(
            split, artifact_digest="a", spec_digest="s", alpha=0.05)),
        "lists": ("list.jsonl", listed.read_bytes(), lambda path: Released(path).versions()),
    }  # fmt: skip
    return kinds | {f"data: {name}": (name, make(), read) for name, (make, read) in READERS.items()}


def onnx_files(work: Path, count: int, chance: random.Random) -> Counter[str]:
    """Altered ONNX files, tried out in a process with limits; opened here only where that went well."""
    from sample_reports import ARTIFACT
    from test_hostile_data import altered

    from safecompress.export.onnx import to_onnx
    from safecompress.runtime.trial import try_out

    whole = to_onnx(ARTIFACT.build(), ARTIFACT.task)
    return tried((altered(whole, chance) for _ in range(count)), work / "altered.onnx", try_out)


def openings_at_once(work: Path, count: int) -> Counter[str]:
    """Openings of the same rows by four processes: numbered from 1 without a gap."""
    with multiprocessing.get_context("spawn").Pool(4) as pool:
        numbers = pool.map(_opened, [(str(work / "many.jsonl"), number) for number in range(count)], chunksize=1)
    return Counter({"same digests" if sorted(numbers) == list(range(1, count + 1)) else "fault": count})


def _opened(job: tuple[str, int]) -> int:
    from safecompress.certify import Ledger
    from safecompress.testing.fakes import noise_split

    path, number = job
    use = Ledger(Path(path)).open(noise_split(8, other=8), artifact_digest=str(number), spec_digest="s", alpha=0.05)
    return use.number


def jobs_in_one_process(work: Path, count: int) -> Counter[str]:
    """Runs one after another: no more open files, and memory that stays, after the first three."""
    from whole_runs import run_cli

    spec, after = write_spec(work / "jobs.toml", **BRIEF), []
    for number in range(count):
        run_cli("compress", spec, "--out", work / "jobs" / str(number), "--quiet")
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        after.append((len(list(Path("/proc/self/fd").iterdir())), peak))
    settled = after[min(3, count - 1)]
    is_flat = after[-1][0] <= settled[0] and after[-1][1] <= 1.1 * settled[1]
    return Counter({"same digests" if is_flat else "fault": count})


def soak(scale: float, seed: int, only: str | None) -> dict[str, dict[str, int]]:
    """Every part with its counts."""

    def times(count: int) -> int:
        return max(2, round(scale * count))

    found: dict[str, Counter[str]] = {}
    seconds: dict[str, int] = {}
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        parts: dict[str, Callable[[random.Random], Counter[str] | dict[str, Counter[str]]]] = {
            "kills at random": lambda chance: killed_at_random(work, times(30), chance),
            "kills at a file operation": lambda chance: struck_runs(work, times(60), chance, "kill"),
            "full disks": lambda chance: struck_runs(work, times(40), chance, "full"),
            "altered files": lambda chance: altered_files(work, times(2500), chance, []),
            "onnx files": lambda chance: onnx_files(work, times(500), chance),
            "openings at once": lambda _: openings_at_once(work, max(20, times(100))),
            "jobs in one process": lambda _: jobs_in_one_process(work, max(5, times(35))),
        }
        for name, part in parts.items():
            if only is not None and name != only:
                continue
            began = time.monotonic()
            result = part(random.Random(f"{seed} {name}"))
            parts_found = {name: result} if isinstance(result, Counter) else result
            found |= parts_found
            seconds |= dict.fromkeys(parts_found, round((time.monotonic() - began) / len(parts_found)))
            print(f"{name}: {dict(result)} in {time.monotonic() - began:.0f} s", flush=True)
    return {
        name: {"tried": counts.total(), **{key: counts[key] for key in OUTCOMES}, "seconds": seconds[name]}
        for name, counts in found.items()
    }


OUTCOMES = ("same digests", "read", "refused", "fault")


def write(parts: dict[str, dict[str, int]], scale: float, seed: int) -> None:
    """faults.json and faults.md; parts that were not tried this time stay as they are."""
    path = RESULTS / "faults.json"
    before = json.loads(path.read_text())["parts"] if path.exists() else {}
    here = {"scale": scale, "seed": seed, "python": platform.python_version()}
    merged = before | {name: counts | here for name, counts in parts.items()}
    path.write_text(json.dumps({"parts": merged}, indent=2) + "\n")
    rows = [
        f"| {name} | {counts['tried']:,} | " + " | ".join(f"{counts[key]:,}" for key in (*OUTCOMES, "seconds"))
        + f" | {counts['scale']:g} | {counts['seed']} |"
        for name, counts in merged.items()
    ]  # fmt: skip
    text = f"""# Faults: what the long attack came to

Kills, full disks, and files with one to four random edits (bytes turned, cut out, doubled, put in). "Same digests": the
command was given again and ended as an undisturbed one; for openings and jobs, the count or the resources were right.
"Read" and "refused": an altered file was read, or refused in words. A fault is anything else. At scale 1 a part makes
the number of attempts that the whole attack has; it is made to take about an hour on two cores.

| part | tried | same digests | read | refused | faults | seconds | scale | seed |
| --- | --- | --- | --- | --- | --- | --- | --- | --- |
{chr(10).join(rows)}

Made by `python tests/faults/soak.py --scale SCALE --only PART` with Python {platform.python_version()}; `make soak`
makes all of it anew.
"""
    (RESULTS / "faults.md").write_text(text)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only")
    options = parser.parse_args()
    parts = soak(options.scale, options.seed, options.only)
    write(parts, options.scale, options.seed)
    sys.exit(1 if any(counts["fault"] for counts in parts.values()) else 0)


if __name__ == "__main__":
    main()
