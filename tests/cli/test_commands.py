"""``report``, ``release``, ``list``, ``--version``, ``--help``: what trains nothing; and slips of the keyboard."""

import errno
import json
import re

import pytest

import safecompress
from safecompress.attacks import ATTACKS
from safecompress.compression.search import SELECTORS
from safecompress.data import DATASETS
from safecompress.models import MODELS
from safecompress.sparsity import ALLOCATIONS, DROP_RULES, GROW_RULES, SCHEDULES
from safecompress.training import OBJECTIVES
from said import says
from whole_runs import contents, report_of, run_cli, start_cli, write_spec

VERBS = ("compare", "tune", "compress", "audit", "report", "export", "release", "list")


# --- report ---


def test_report_shows_the_verdict_again_and_writes_its_pages_anew(finished, finished_once):
    pages = {name: (finished / "run" / name).read_bytes() for name in ("report.html", "report.md", "model_card.md")}
    for name in pages:
        (finished / "run" / name).unlink()
    before = (finished / "run" / "report.json").read_bytes()
    ended = run_cli("report", finished / "run")
    assert ended.code == finished_once[1].code == report_of(finished / "run")["exit_code"]
    assert {name: (finished / "run" / name).read_bytes() for name in pages} == pages
    assert (finished / "run" / "report.json").read_bytes() == before
    first = finished_once[1].out.splitlines()
    assert ended.out.splitlines()[:-1] == first[:-1]  # the last line names the folder
    assert ended.out.splitlines()[-1] == f"Report: {finished / 'run' / 'report.html'}"


@pytest.mark.parametrize(
    ("verdict", "code"), [("PASS", 0), ("FAIL", 1), ("INCONCLUSIVE", 3), ("ERROR", 3), ("PASS", 1), ("FAIL", 0)]
)
def test_report_ends_with_the_code_of_its_findings(verdict, code, finished):
    """They say PASS: what the file says besides is a contradiction, which passes nowhere."""
    file = finished / "run" / "report.json"
    file.write_text(json.dumps({**report_of(finished / "run"), "verdict": verdict, "exit_code": code}))
    ended = run_cli("report", finished / "run")
    shown = "PASS" if (verdict, code) == ("PASS", 0) else "ERROR"
    assert ended.code == (0 if shown == "PASS" else 3)
    assert f"{shown}: " in ended.out
    assert (finished / "run" / "report.md").read_text().startswith(f"# tiny: {shown}\n")


def test_report_takes_the_file_too_and_then_writes_nothing(finished):
    before = contents(finished)
    ended = run_cli("report", finished / "run" / "report.json")
    assert ended.code == report_of(finished / "run")["exit_code"]
    assert "Report:" not in ended.out
    assert contents(finished) == before


@pytest.mark.parametrize("name", ["nothing", "folder"])
def test_report_of_what_has_none(name, tmp_path):
    (tmp_path / "folder").mkdir()
    ended = run_cli("report", tmp_path / name)
    assert ended.code == 2
    assert says(ended.err, "UsageError: ", f" {tmp_path / name}", "report.json")


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (lambda text: text[: len(text) // 2], "is not JSON"),
        (lambda text: "[]", "report of schema"),
        (lambda text: "{}", "report of schema"),
        (lambda text: text.replace('"schema_version": ', '"schema_version": 9'), "report of schema"),
        (lambda text: text.replace('"tm_score"', '"tm"', 1), "whole report"),
    ],
    ids=["half", "list", "empty", "newer", "renamed"],
)
def test_a_broken_report_is_refused_in_words(harm, words, finished):
    file = finished / "run" / "report.json"
    harmed = harm(file.read_text())
    file.write_text(harmed)
    ended = run_cli("report", finished / "run")
    assert ended.code == 3
    assert words in ended.err
    assert ended.err.startswith("ArtifactError: ")
    assert "Traceback" not in ended.err
    assert file.read_text() == harmed


def test_a_name_in_a_report_cannot_colour_the_terminal(finished):
    """Text from files is shown as it is: neither as markup nor as control sequences in the Markdown."""
    file = finished / "run" / "report.json"
    file.write_text(json.dumps({**report_of(finished / "run"), "name": "[red]tiny[/]\x1b[31m|<b>"}))
    ended = run_cli("report", finished / "run")
    assert ended.code == report_of(finished / "run")["exit_code"]
    assert "[red]tiny[/]" in ended.out
    assert "\x1b" not in (finished / "run" / "report.md").read_text()
    assert "<b>" not in (finished / "run" / "report.md").read_text()


def test_report_shows_health_doubts_and_what_the_dense_model_would_get(finished):
    """Beside the figures: how many checks hold, and every reason why the verdict cannot be PASS."""
    file, report = finished / "run" / "report.json", report_of(finished / "run")
    health = [
        {"check": "sign", "subject": "loss", "outcome": "PASS", "value": 0.5, "detail": "fine"},
        {"check": "ties", "subject": "gap", "outcome": "INCONCLUSIVE", "value": 0.9, "detail": "all alike"},
    ]
    requirement = report["findings"][0]["requirement"]
    changes = {
        "health": health,
        "doubts": ["INCONCLUSIVE: [b]ties[/b] of gap"],
        "dense_verdicts": {requirement: "FAIL"},
    }
    file.write_text(json.dumps({**report, **changes}))
    shown = " ".join(run_cli("report", finished / "run").out.split())
    assert says(shown, "1 of 2 health", ": ties of gap")
    assert "Doubt INCONCLUSIVE: [b]ties[/b] of gap" in shown
    (row,) = [line for line in shown.split("│ ") if line.startswith("FAIL")]
    assert row.strip() == "FAIL"
    file.write_text(json.dumps({**report, "health": [], "doubts": [], "dense_verdicts": {}}))
    shown = " ".join(run_cli("report", finished / "run").out.split())
    assert "health checks" not in shown
    assert "Doubt" not in shown


# --- release ---


def test_release_lists_an_artifact_and_says_what_to_do_with_the_list(finished):
    artifact, listed = finished / "run" / "artifact.safetensors", finished / "out" / "released.jsonl"
    for _ in range(2):  # once is enough, and twice is no harm
        ended = run_cli("release", artifact, "--to", listed)
        assert (ended.code, ended.err) == (0, "")
        assert f"Give --released {listed} to compress and audit" in ended.out
        line, _ = listed.read_text().splitlines()
        assert json.loads(line) == {
            "artifact": "../run/artifact.safetensors", "digest": report_of(finished / "run")["digests"]["artifact"],
        }  # fmt: skip


def test_release_writes_beside_the_caller_unless_told(finished, monkeypatch):
    monkeypatch.chdir(finished)
    assert run_cli("release", "run/artifact.safetensors").code == 0
    assert (
        json.loads((finished / "released.jsonl").read_text().splitlines()[0])["artifact"] == "run/artifact.safetensors"
    )


def test_release_leaves_the_run_as_it_is(finished):
    before = contents(finished / "run")
    run_cli("release", finished / "run" / "artifact.safetensors", "--to", finished / "released.jsonl")
    assert contents(finished / "run") == before


POOL, REST = 40, 60
SMALL = {
    "data": {
        "train": 3 * POOL, "validation": REST, "test": REST, "population": REST,
        **{f"{side}_{pool}": POOL for side in ("member", "nonmember") for pool in ("fit", "select", "verdict")},
    },
    "recipe": {"epochs": 4},
    "search": {"rounds": 0},
}  # fmt: skip
JOINT = {
    "compress": {"density": 0.4},
    "safety": {"attacks": ["gap", {"name": "joint_lira", "num_shadows": 8}]},
    "require": [{"metric": "joint_lira.auc", "at_most": 0.99}],
}


@pytest.mark.slow
def test_what_was_released_attacks_the_next_version(tmp_path, monkeypatch):
    """Without its health, which this is not about: the figure is another, and so is the question to the ledger."""
    monkeypatch.setattr("safecompress.certify.verdict.train_control", lambda *_, **__: None)
    monkeypatch.setattr("safecompress.certify.verdict.examine_health", lambda *_, **__: ())
    run_cli("compress", write_spec(tmp_path / "first.toml", **SMALL), "--out", tmp_path / "first")
    listed = tmp_path / "released.jsonl"
    run_cli("release", tmp_path / "first" / "artifact.safetensors", "--to", listed)
    spec = write_spec(tmp_path / "second.toml", **SMALL, **JOINT)
    reports = {}
    for name, options in (("alone", []), ("joined", ["--released", listed]), ("again", ["--released", listed])):
        run_cli("compress", spec, "--out", tmp_path / name, *options)
        reports[name] = report_of(tmp_path / name)
    artifacts = {report["digests"]["artifact"] for report in reports.values()}
    assert len(artifacts) == 1
    figures = {name: report["measurements"]["joint_lira.auc"]["value"] for name, report in reports.items()}
    assert figures["alone"] != figures["joined"] == figures["again"]
    assert [report["ledger"]["opening"] for report in reports.values()] == [2, 3, 3]
    assert reports["joined"]["shadows"] == "final pattern only"
    (tmp_path / "first" / "artifact.safetensors").unlink()
    ended = run_cli("compress", spec, "--out", tmp_path / "gone", "--released", listed)
    assert (ended.code, "attackers may hold" in ended.err) == (3, True)


@pytest.mark.parametrize("name", ["nothing.safetensors", "report.json"])
def test_what_is_no_artifact_is_not_released(name, finished):
    ended = run_cli("release", finished / "run" / name, "--to", finished / "released.jsonl")
    assert ended.code in (2, 3)
    assert name in ended.err
    assert "Traceback" not in ended.err
    assert not (finished / "released.jsonl").exists()


@pytest.mark.parametrize("verb", ["compress", "audit"])
def test_without_its_list_of_released_versions_there_is_no_verdict(verb, finished):
    """A misspelt --released must not read as "nothing is out"."""
    arguments = [finished / "spec.toml"] if verb == "compress" else [finished / "run" / "artifact.safetensors"]
    options = ["--spec", finished / "spec.toml"] if verb == "audit" else []
    ended = run_cli(verb, *arguments, *options, "--out", finished / "other", "--released", finished / "nowhere.jsonl")
    assert ended.code == 3
    assert "nowhere.jsonl cannot be read" in ended.err
    assert "Traceback" not in ended.err


# --- list, version, help ---


@pytest.mark.slow
def test_list_names_everything_that_a_spec_can_name_with_its_origin():
    ended = run_cli("list")
    assert ended.code == 0
    registries = (DATASETS, MODELS, ATTACKS, OBJECTIVES, DROP_RULES, GROW_RULES, ALLOCATIONS, SCHEDULES, SELECTORS)
    for registry in registries:
        begin = ended.out.index(f"{registry.kind} ".rstrip() + " ")
        for name in registry.names():
            assert re.search(rf"^{re.escape(name)} +built in +\S", ended.out[begin:], re.M), name
    assert {registry.kind for registry in registries} <= set(map(str.strip, ended.out.splitlines()))


def test_list_explains_one_name():
    ended = run_cli("list", "lira")
    assert ended.code == 0
    assert ended.out.startswith("lira  attack, built in")
    assert "Carlini" in ended.out and "num_shadows" in ended.out
    assert run_cli("list", "lirra").code == 2 and "mean 'lira'?" in run_cli("list", "lirra").err


def test_version():
    ended = run_cli("--version")
    assert (ended.code, ended.out) == (0, f"safecompress {safecompress.__version__}\n")


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("option", ["--help", "-h"])
def test_help_of_every_verb(verb, option):
    ended = run_cli(verb, option)
    assert ended.code == 0
    assert f"safecompress {verb}" in ended.out
    assert "┃" not in ended.out


def test_help_says_the_defaults():
    """Square brackets in a help text would be taken for markup, and vanish."""
    compress, audit = (
        " ".join(run_cli(verb, "--help").out.replace("│", " ").split()) for verb in ("compress", "audit")
    )
    assert "(default: runs/<name>)" in compress
    assert "(default: ledger.jsonl" in compress
    assert "(default: dense.safetensors beside the artifact)" in audit
    assert "(default: in the" in compress
    assert "(default: all are trained anew)" in audit
    for words in ("--released", "--cache", "--workers"):
        assert words in compress
        assert words in audit
    assert "A killed run resumes with the same command." in compress


def test_help_lists_the_verbs_and_the_exit_codes():
    ended = run_cli("--help")
    assert ended.code == 0
    for verb in VERBS:
        assert re.search(rf"│ {verb} ", ended.out)


def test_no_arguments_is_help_and_no_success():
    ended = run_cli()
    assert ended.code == 2
    assert "Usage: safecompress" in ended.out + ended.err
    assert "compress" in ended.out + ended.err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["comprss"], "mean 'compress'"),
        (["compress"], "Missing argument"),
        (["compress", "spec.toml", "--worker", "2"], "--workers"),
        (["compress", "spec.toml", "--workers", "0"], "Invalid value for '--workers'"),
        (["compress", "spec.toml", "--workers", "many"], "Invalid value for '--workers'"),
        (["audit", "artifact.safetensors"], "--spec"),
        (["audit", "artifact.safetensors", "--spec", "spec.toml", "--workers", "0"], "Invalid value for '--workers'"),
        (["release"], "Missing argument"),
        (["release", "artifact.safetensors", "--too", "list.jsonl"], "--to"),
    ],
    ids=str,
)
def test_slips_of_the_keyboard_are_usage_errors(arguments, words):
    ended = run_cli(*arguments)
    assert ended.code == 2
    assert words in ended.err


@pytest.mark.parametrize("arguments", [["compress", "{}"], ["audit", "artifact.safetensors", "--spec", "{}"]], ids=str)
def test_a_spec_that_is_not_there(arguments, finished):
    path = finished / "nowhere.toml"
    artifact = finished / "run" / "artifact.safetensors"
    ended = run_cli(*[a.format(path).replace("artifact.safetensors", str(artifact)) for a in arguments])
    assert ended.code == 2
    assert f"{path}: 1 fault" in ended.err
    assert "(No such file" in ended.err


# --- the process ---


@pytest.mark.slow
def test_a_reader_that_goes_away_is_no_verdict():
    """``safecompress list | head`` must not end in 1, which means FAIL."""
    process = start_cli("list", PYTHONUNBUFFERED="1")
    process.stdout.close()
    process.wait()
    process.stderr.close()
    assert process.returncode == 141


def test_a_fault_of_the_program_is_no_verdict(tmp_path, monkeypatch):
    """An error that nobody foresaw ends in 3, never in 1; it asks for a report."""
    from safecompress.workflows import loading

    def broken(config):
        raise ZeroDivisionError("unforeseen")

    monkeypatch.setattr(loading, "load_rows", broken)
    ended = run_cli("compress", write_spec(tmp_path / "spec.toml"), "--out", tmp_path / "run")
    assert ended.code == 3
    assert "ZeroDivisionError: unforeseen" in ended.err
    assert "fault of safecompress" in ended.err


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("[enforce fail at alloc_cpu.cpp:117] err == 0. DefaultCPUAllocator: can't allocate memory"),
        RuntimeError("unable to mmap 400 bytes from file </tmp/x>: Cannot allocate memory (12)"),
        OSError(errno.ENOMEM, "Cannot allocate memory"),
    ],
)
def test_no_memory_is_said_in_words(tmp_path, monkeypatch, error):
    from safecompress.workflows import loading

    def exhausted(config):
        raise error

    monkeypatch.setattr(loading, "load_rows", exhausted)
    ended = run_cli("compress", write_spec(tmp_path / "spec.toml"), "--out", tmp_path / "run")
    assert (ended.code, "fewer --workers" in ended.err) == (3, True)
    assert "Traceback" not in ended.err
