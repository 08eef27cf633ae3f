"""Attacks on whole commands: killed, stopped or refused by the system in the middle, and then given once more.

A command runs in a forked child of a process that has loaded everything, so that an attempt costs its work and not its
imports. Operations on files are counted through the functions of `os`, so "operation 17" is one moment of a run.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import tomli_w

from whole_runs import SIZES, digests_of, report_of, tiny

ROOT = Path(__file__).parents[2]
SAME, FAULT = "same digests", "fault"
VERDICTS = (0, 1, 3)
SECONDS = 900
"""When a command is given up, on however busy a machine."""

SMALL = {name: size // 5 for name, size in SIZES.items()}
BRIEF = tiny(
    recipe={"epochs": 3},
    search={"branches": ["magnitude+random", "keep"]},
    data=SMALL,
    safety={"attacks": ["gap"], "access": "labels"},
    require=[{"metric": "gap.auc", "at_most": 0.99}],
)
SPECS = {
    "compress": BRIEF,
    "compare": {
        **{key: BRIEF[key] for key in ("name", "data", "model", "recipe")},
        "compare": {"methods": ["dense", "static"], "densities": [0.2], "seeds": [0, 1], "attacks": ["gap", "loss"]},
    },
    "tune": BRIEF
    | {
        "tune": {
            "trials": 3, "batch": 2, "densities": [0.1, 0.5], "objectives": ["cross_entropy"],
            "branches": [["magnitude+random", "keep"]],
        }
    },
}  # fmt: skip

Strike = Callable[[], None]
"""Called in the child before the command begins: patches what is to go wrong."""

OPERATIONS = ("open", "mkdir", "fsync", "replace", "rename", "unlink", "rmdir")


def at_operation(number: int, act: Callable[[], None], *, ever_after: bool = False, only: tuple[str, ...] = ()) -> None:
    """Call ``act`` before file operation ``number`` (from 1) of this process, or before that one and all others.

    Opening to read is no operation; with ``only``, operations of other names are not counted.
    """
    count = 0

    def struck(name: str, real: Callable[..., object], *args: object, **options: object) -> object:
        nonlocal count
        flags = args[1] if name == "open" and len(args) > 1 else os.O_CREAT
        if isinstance(flags, int) and flags & os.O_CREAT:
            count += 1
            if count == number or (ever_after and count > number):
                act()
        return real(*args, **options)

    for name in only or OPERATIONS:
        setattr(os, name, functools.partial(struck, name, getattr(os, name)))


def kill_self() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def refuse(code: int) -> Callable[[], None]:
    def act() -> None:
        raise OSError(code, os.strerror(code))

    return act


def limit_memory(more: int) -> Strike:
    """At most ``more`` bytes beyond what the process has already taken."""

    def strike() -> None:
        pages = int(Path("/proc/self/statm").read_text().split()[5])
        limit = pages * resource.getpagesize() + more
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))

    return strike


STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def deaf_until_it_listens() -> None:
    """Signals to stop wait until the program could hear them: before, a process of Python ends without its words."""
    import safecompress.cli.main as entry

    signal.pthread_sigmask(signal.SIG_BLOCK, STOPS)
    first = entry._refuse_empty_paths

    def listens(arguments: list[str]) -> None:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPS)
        first(arguments)

    entry._refuse_empty_paths = listens


def jumping_clock(chance: random.Random) -> Strike:
    """The time of day leaps by up to ten years, either way, at every look; other clocks leap forward, as in a sleep."""

    def strike() -> None:
        real, leapt = {name: getattr(time, name) for name in ("time", "time_ns", "monotonic", "perf_counter")}, [0.0]

        def later(name: str) -> float:
            leapt[0] += chance.choice([0, 0, 0, 0.1, 3600])
            return real[name]() + leapt[0]

        time.time = lambda: real["time"]() + chance.uniform(-3e8, 3e8)
        time.time_ns = lambda: real["time_ns"]() + chance.randint(-(10**17), 10**17)
        time.monotonic = lambda: later("monotonic")
        time.perf_counter = lambda: later("perf_counter")

    return strike


@dataclass(frozen=True)
class Ended:
    """How a command ended; ``code`` is minus a signal where one killed it."""

    code: int
    err: str

    @property
    def is_clear(self) -> bool:
        """Whether it ended by itself, with a code that is documented and, where there is no verdict, with words."""
        known = self.code in (*VERDICTS, 2) or self.code - 128 in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        return (
            known
            and bool(self.err or self.code in VERDICTS)
            and "Traceback" not in self.err
            and "fault of safecompress" not in self.err
        )


def load() -> None:
    """Import what commands import, so that children find it there."""
    import importlib

    from safecompress.cli.main import register

    register()
    for name in ("torch._dynamo", "optuna", "sklearn.datasets", "safecompress.api", "safecompress.workflows.compress",
                 "safecompress.studies.comparison", "safecompress.studies.hyperparameters"):  # fmt: skip
        importlib.import_module(name)


def start(home: Path, words: list[object], strike: Strike = lambda: None) -> int:
    """``safecompress WORDS`` in a child, in the folder ``home``; its process id, which is its group's, too.

    It begins with the signals of a fresh process. What it prints goes into files of ``home``.
    """
    child = os.fork()
    if child:
        return child
    code = 70
    try:
        os.setsid()
        signal.alarm(SECONDS)
        for number in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        os.chdir(home)
        for handle, name in ((1, "out.txt"), (2, "err.txt")):
            os.dup2(os.open(home / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), handle)
        sys.argv = ["safecompress", *map(str, words)]
        from safecompress.cli.main import main

        strike()
        main()
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
    except BaseException:
        traceback.print_exc()
    finally:
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def wait(home: Path, child: int) -> Ended:
    _, status = os.waitpid(child, 0)
    said = home / "err.txt"  # not there where it was killed at once
    return Ended(os.waitstatus_to_exitcode(status), said.read_text(errors="replace") if said.exists() else "")


def stop_after(child: int, seconds: float, number: int) -> None:
    """Send the signal after that time, unless the child has ended."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT):
            return
        time.sleep(0.02)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child, number)


def result_of(verb: str, run: Path) -> object:
    """What must be equal however often the command was interrupted: everything but seconds."""
    if verb == "compress":
        return digests_of(run), report_of(run)["ledger"]["opening"]
    return _timeless(json.loads((run / f"{verb}.json").read_text()))


def _timeless(value: object) -> object:
    if isinstance(value, dict):
        return {key: _timeless(inner) for key, inner in value.items() if key != "seconds"}
    return [_timeless(inner) for inner in value] if isinstance(value, list) else value


class Command:
    """A verb in small: its undisturbed result, how long that took, and the attempts to disturb it."""

    def __init__(self, verb: str) -> None:
        load()
        self.verb, self.work = verb, Path(tempfile.mkdtemp(prefix=f"soak-{verb}-"))
        self.spec = self.work / "spec.toml"
        self.spec.write_text(tomli_w.dumps(SPECS[verb]))
        self.undisturbed, counted = self.home("whole"), self.work / "count"
        self.wait(self.undisturbed, self.start(self.undisturbed))
        began, again = time.monotonic(), self.home("again")
        self.wait(again, self.start(again, lambda: _count_into(counted)))
        self.seconds = time.monotonic() - began
        self.num_operations = len(counted.read_bytes())
        self.whole = result_of(verb, self.undisturbed / "run")
        if result_of(verb, again / "run") != self.whole:
            raise RuntimeError(f"two undisturbed runs of {verb} differ")

    def home(self, name: object) -> Path:
        """A folder of this process's for an attempt."""
        home = self.work / f"{os.getpid()} {name}"
        home.mkdir()
        return home

    def start(self, home: Path, strike: Strike = lambda: None) -> int:
        gate = ["--junit", home / "gate.xml"] if self.verb == "compress" else []
        return start(home, [self.verb, self.spec, "--out", home / "run", "--quiet", *gate], strike)

    wait = staticmethod(wait)

    def struck(self, home: Path, strike: Strike) -> Ended:
        return self.wait(home, self.start(home, strike))

    def settled(self, home: Path, *ended: Ended) -> str:
        """The outcome of an attempt: the command, given once more, must end as if nothing had been."""
        last = self.struck(home, lambda: None)
        unclear = [each for each in ended if not each.is_clear]
        left = sorted(str(path.relative_to(home)) for path in home.rglob("*.part"))
        try:
            is_same = last.code in VERDICTS and result_of(self.verb, home / "run") == self.whole
        except (OSError, KeyError, ValueError):
            is_same = False
        if is_same and not unclear and not left:
            shutil.rmtree(home)
            return SAME
        print(f"FAULT {self.verb} in {home}: same {is_same}, code {last.code}, left {left}", file=sys.stderr)
        for each in (*unclear, *([] if is_same else [last])):
            print(f"  code {each.code}: {each.err[-3000:]}", file=sys.stderr, flush=True)
        return FAULT


def _count_into(path: Path) -> None:
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    at_operation(1, lambda: os.write(handle, b"x"), ever_after=True)


@functools.cache
def command_of(verb: str) -> Command:
    """The command, made once in this process and for its children."""
    return Command(verb)


Attempts = Iterator[str]


def killed_at_operations(chance: random.Random, verb: str) -> Attempts:
    """SIGKILL before every file operation of the run, in random order; the gate's files and the ledger's are some."""
    command = command_of(verb)
    for number in chance.sample(range(1, command.num_operations + 1), command.num_operations):
        home = command.home(number)
        ended = command.struck(home, lambda number=number: at_operation(number, kill_self))
        yield command.settled(home, *([] if ended.code == -signal.SIGKILL else [ended]))


def killed_at_random(chance: random.Random, verb: str) -> Attempts:
    """SIGKILL after a random time, up to three times."""
    command, number = command_of(verb), 0
    while True:
        number, home = number + 1, command.home(f"random {number}")
        for _ in range(chance.randint(1, 3)):
            child = command.start(home)
            stop_after(child, chance.uniform(0, command.seconds), signal.SIGKILL)
            command.wait(home, child)
        yield command.settled(home)


def refused(chance: random.Random, verb: str, code: int, only: tuple[str, ...] = ()) -> Attempts:
    """From a random file operation on, the system refuses that one and all others with ``code``."""
    command, number = command_of(verb), 0
    while True:
        number, home, at = number + 1, command.home(f"refused {number}"), chance.randint(1, command.num_operations)
        at = max(1, round(at / 3)) if only else at
        strike = functools.partial(at_operation, at, refuse(code), ever_after=True, only=only)
        yield command.settled(home, command.struck(home, strike))


def removed(chance: random.Random, verb: str) -> Attempts:
    """The command's folder, or one in it, is removed at a random file operation."""
    command, number = command_of(verb), 0
    while True:
        number, home = number + 1, command.home(f"removed {number}")
        inner = chance.choice([".", ".", "work", "cache", "work/cache", "cells", "trials"])
        remove = functools.partial(shutil.rmtree, home / "run" / inner, ignore_errors=True)
        strike = functools.partial(at_operation, chance.randint(1, command.num_operations), remove)
        yield command.settled(home, command.struck(home, strike))


def stopped(chance: random.Random, verb: str) -> Attempts:
    """Ctrl-C, SIGTERM or SIGHUP to the whole group, as from a terminal, at a random time."""
    command, number = command_of(verb), 0
    while True:
        number, home = number + 1, command.home(f"stopped {number}")
        ended = []
        for _ in range(chance.randint(1, 2)):
            child = command.start(home, deaf_until_it_listens)
            stop_after(child, chance.uniform(0.2, command.seconds), chance.choice(STOPS))
            ended.append(command.wait(home, child))
        yield command.settled(home, *ended)


def without_memory(chance: random.Random, verb: str) -> Attempts:
    """A limit on memory, from a little more than the process has to more than it needs."""
    command, number = command_of(verb), 0
    while True:
        number, home = number + 1, command.home(f"memory {number}")
        more = round(2 ** chance.uniform(18, 27))
        yield command.settled(home, command.struck(home, limit_memory(more)))


def at_odd_times(chance: random.Random, verb: str) -> Attempts:
    """Clocks leap, files carry times of other decades, and the run is killed in between."""
    command, number = command_of(verb), 0
    while True:
        number, home = number + 1, command.home(f"clock {number}")
        for _ in range(2):
            at, jump = chance.randint(1, command.num_operations), jumping_clock(random.Random(chance.random()))

            def strike(at: int = at, jump: Strike = jump) -> None:
                jump()
                at_operation(at, kill_self)

            command.struck(home, strike)
            for path in home.rglob("*"):
                if path.is_file():
                    os.utime(path, (chance.uniform(0, 4e9),) * 2)
        yield command.settled(home, command.struck(home, jumping_clock(random.Random(chance.random()))))


def workers_killed(chance: random.Random, verb: str) -> Attempts:
    """One of two worker processes is killed, or one and then another: repeated, or said in words."""
    command, number = command_of(verb), 0
    program = [sys.executable, "-m", "safecompress", verb, str(command.spec), "--quiet", "--workers", "2"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    while True:
        number, home = number + 1, command.home(f"workers {number}")
        with (home / "err.txt").open("w") as err:
            process = subprocess.Popen(
                [*program, "--out", str(home / "run")], stdout=err, stderr=err, cwd=home, env=environment,
                start_new_session=True,
            )  # fmt: skip
        for _ in range(chance.randint(1, 2)):
            _kill_a_worker(process, chance.uniform(0, 3 * command.seconds))
        code = process.wait(SECONDS)
        until = time.monotonic() + 60
        while _group(process.pid) and time.monotonic() < until:
            time.sleep(0.2)
        orphans = _group(process.pid)
        outcome = command.settled(home, Ended(code, (home / "err.txt").read_text()))
        yield FAULT if orphans else outcome


def _kill_a_worker(process: subprocess.Popen[bytes], after: float) -> None:
    while process.poll() is None and not _workers(process.pid):
        time.sleep(0.05)
    time.sleep(after)
    for worker in _workers(process.pid)[:1]:
        with contextlib.suppress(ProcessLookupError):
            os.kill(worker, signal.SIGKILL)
    time.sleep(0.5)


def _workers(process: int) -> list[int]:
    """The worker processes of ``process`` (not its resource tracker)."""
    found = []
    for child in _group(process):
        with contextlib.suppress(OSError):
            if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes():
                found.append(child)
    return found


def _group(leader: int) -> list[int]:
    """The living processes of the session that ``leader`` began."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with contextlib.suppress(OSError, IndexError):
                state, _, _, session = (folder / "stat").read_text().rpartition(")")[2].split()[:4]
                if int(session) == leader and state != "Z":
                    found.append(int(folder.name))
    return found


def can_mount() -> bool:
    """Whether this process may mount disks in a namespace of its own."""
    words = ["unshare", "--mount", "sh", "-c", "mount -t tmpfs none /mnt"]
    return bool(shutil.which("unshare")) and subprocess.run(words, capture_output=True, check=False).returncode == 0


def on_mounted_disks(chance: random.Random, verb: str) -> Attempts:
    """Disks of 40 sizes, of few files, and such as become read-only: mounted, filled, and given room again.

    Nothing is tried where disks may not be mounted.
    """
    if not can_mount():
        return
    command = command_of(verb)
    kilobytes = sum(path.stat().st_size for path in command.undisturbed.rglob("*") if path.is_file()) // 1024
    number = 0
    while True:
        number, home = number + 1, command.home(f"disk {number}")
        options = chance.choice(
            [f"size={chance.randint(4, 2 * kilobytes)}k", f"nr_inodes={chance.randint(2, 40)}", "ro"]
        )
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(reader)
            outcome = FAULT
            try:
                _unshare()  # what is mounted is seen by this child alone, and ends with it
                outcome = _on_disk(command, home, options, chance)
            except BaseException:
                traceback.print_exc()
            finally:
                os.write(writer, outcome.encode())
                os._exit(0)
        os.close(writer)
        with os.fdopen(reader) as said:
            yield said.read() or FAULT
        os.waitpid(child, 0)


def _unshare() -> None:
    import ctypes

    if ctypes.CDLL(None, use_errno=True).unshare(0x00020000):
        raise OSError(ctypes.get_errno(), "unshare")


def _on_disk(command: Command, home: Path, options: str, chance: random.Random) -> str:
    def mount(*words: object) -> None:
        subprocess.run(["mount", *map(str, words)], check=True)

    disk, ended = command.home(f"{home.name} disk"), []
    mount("--make-rprivate", "/")
    mount("-t", "tmpfs", "-o", "size=64m" if options == "ro" else options, "none", disk)
    inner = disk / "home"
    if options == "ro":
        inner.mkdir()
        strike = functools.partial(at_operation, chance.randint(1, command.num_operations), kill_self)
        command.wait(home, _start_on(command, home, inner, strike))
        mount("-o", "remount,ro", disk)
    ended.append(command.wait(home, _start_on(command, home, inner)))
    mount("-o", "remount,rw,size=64m,nr_inodes=10000", disk)
    last = command.wait(home, _start_on(command, home, inner))
    left = list(inner.rglob("*.part"))
    is_same = last.code in VERDICTS and result_of(command.verb, inner / "run") == command.whole
    if is_same and ended[0].is_clear and not left:
        return SAME
    print(f"FAULT on a disk of {options}: same {is_same}, left {left}, {ended}, {last}", file=sys.stderr, flush=True)
    return FAULT


def _start_on(command: Command, home: Path, inner: Path, strike: Strike = lambda: None) -> int:
    """The command with its output on the small disk, and what it prints elsewhere."""
    gate = ["--junit", inner / "gate.xml"] if command.verb == "compress" else []
    return start(home, [command.verb, command.spec, "--out", inner / "run", "--quiet", *gate], strike)
