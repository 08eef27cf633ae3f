"""Logs in TensorBoard and MLflow hold what was told; a logger that fails is told once and harms nothing."""

import sys

import pytest

from safecompress.errors import UsageError
from safecompress.loggers import LOGGERS, Logger, Mlflow, TensorBoard, figures_of, logging_to, parse_log
from safecompress.loggers import mlflow as mlflow_page
from safecompress.loggers.mlflow import allowed_name
from safecompress.progress import CandidateState, CandidateStatus, RoundStatus, Silent
from whole_runs import run_cli, write_spec

WON = CandidateStatus("keep", CandidateState.WON, 0.75, 0.5, 1.5)
ROUND = RoundStatus(1, 2, 40, (CandidateStatus("magnitude+random", CandidateState.BROKEN, 0.5), WON))
FIGURES = {
    "candidates/magnitude+random/accuracy": 0.5,
    "candidates/keep/accuracy": 0.75,
    "candidates/keep/worst_auc": 0.5,
    "candidates/keep/tm_score": 1.5,
    "round/accuracy": 0.75,
    "round/worst_auc": 0.5,
    "round/tm_score": 1.5,
}


class Recorder(Logger):
    """Keeps everything; raises where it is told to."""

    def __init__(self, target="", settings=None, fails=()):
        self.told, self.fails, self.settings = [], fails, settings

    def measured(self, step, figures):
        self._keep("measured", step, dict(figures))

    def close(self, *, failed):
        self._keep("close", failed)

    def say(self, line):
        self._keep("say", line)

    def _keep(self, what, *rest):
        if what in self.fails:
            raise OSError("disk full\nsecond line")
        self.told.append((what, *rest))


class Lines(Silent):
    def __init__(self):
        self.lines = []

    def say(self, line):
        self.lines.append(line)


# --- the common part


def test_a_decided_round_is_figures_and_an_open_one_is_not():
    assert figures_of(ROUND) == FIGURES
    log = Recorder()
    log.stands(RoundStatus(1, 2, 40, (CandidateStatus("keep", CandidateState.TESTED, 0.75, 0.5, 1.5),)))
    assert log.told == []
    log.stands(ROUND)
    assert log.told == [("measured", 40, FIGURES)]


def test_logs_and_the_watcher_hear_the_same():
    first, second, watcher = Recorder(), Recorder(), Lines()
    with logging_to([first, second], watcher) as together:
        together.begin("dense", 3)
        together.advance()
        together.measured(3, {"dense/loss": 0.5})
        together.stands(ROUND)
        together.say("hello")
    expected = [("measured", 3, {"dense/loss": 0.5}), ("measured", 40, FIGURES), ("say", "hello"), ("close", False)]
    assert first.told == second.told == expected
    assert watcher.lines == ["hello"]


@pytest.mark.parametrize("where", ["measured", "close"])
def test_a_logger_that_fails_is_told_once_and_left(where):
    broken, sound, watcher = Recorder(fails=(where,)), Recorder(), Lines()
    with logging_to([broken, sound], watcher) as together:
        for step in range(3):
            together.measured(step, {"x": 1.0})
    (line,) = watcher.lines
    assert line.startswith("The log ") and line.endswith(" failed and is left: OSError: disk full")
    assert [what for what, *_ in sound.told] == ["measured"] * 3 + ["close"]
    if where == "measured":
        assert broken.told == []  # and it was not asked to close


def test_a_password_in_the_uri_is_not_told(monkeypatch):
    class Refuses(Recorder):
        def measured(self, step, figures):
            raise OSError("cannot reach http://me:secret@host:5000/api")

    monkeypatch.setitem(LOGGERS.builtins, "mlflow", Refuses)
    watcher = Lines()
    with logging_to(["mlflow:http://me:secret@host:5000"], watcher) as log:
        log.measured(1, {"x": 1.0})
    (line,) = watcher.lines
    assert "secret" not in line and line.startswith("The log mlflow:http://***@host:5000 failed")


def test_a_run_that_fails_closes_its_logs_as_failed():
    log = Recorder()
    with pytest.raises(KeyboardInterrupt), logging_to([log]):
        raise KeyboardInterrupt
    assert log.told == [("close", True)]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("tensorboard", ["kind:target", "tensorboard:runs/logs", "'tensorboard'"]),
        ("tensorbord:x", ["Unknown logger 'tensorbord'", "mean 'tensorboard'?"]),
        ("tensorboard:", ["needs a folder"]),
        ("mlflow:", ["needs the URI", "sqlite"]),
    ],
)
def test_a_log_that_means_nothing_is_refused_with_the_remedy(text, words):
    with pytest.raises(UsageError) as refused:
        parse_log(text)
    assert all(word in str(refused.value) for word in words)


@pytest.mark.parametrize(("kind", "package"), [("tensorboard", "tensorboard"), ("mlflow", "mlflow")])
def test_a_missing_package_is_told_before_anything_runs(kind, package, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UsageError, match=rf"'{package}'.*pip install {kind}"):
        parse_log(f"{kind}:somewhere")


def test_a_target_keeps_its_colons(monkeypatch):
    monkeypatch.setitem(LOGGERS.builtins, "recorder", Recorder)
    assert isinstance(parse_log("recorder:x", {"seed": 1}), Recorder)
    seen = {}
    monkeypatch.setitem(LOGGERS.builtins, "mlflow", lambda target, settings: seen.update(target=target) or Recorder())
    parse_log("mlflow:http://host:5000/a")
    assert seen == {"target": "http://host:5000/a"}


# --- TensorBoard


def events_of(folder):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    read = accumulator.EventAccumulator(str(folder))
    read.Reload()
    return read


def test_tensorboard_reads_back_what_was_told(tmp_path):
    pytest.importorskip("tensorboard")
    with logging_to([f"tensorboard:{tmp_path / 'logs'}"], settings={"seed": 7}) as log:
        log.measured(32, {"dense/loss": 0.5})
        log.measured(64, {"dense/loss": 0.25})
        log.stands(ROUND)
    read = events_of(tmp_path / "logs")
    assert [(e.step, e.value) for e in read.Scalars("dense/loss")] == [(32, 0.5), (64, 0.25)]
    assert {name: read.Scalars(name)[0].value for name in FIGURES} == FIGURES
    assert b"seed = 7" in read.Tensors("settings/text_summary")[0].tensor_proto.string_val[0]


def test_a_run_that_is_told_nothing_leaves_no_log(tmp_path):
    pytest.importorskip("tensorboard")
    with logging_to([TensorBoard(str(tmp_path / "logs"))]):
        pass
    assert not (tmp_path / "logs").exists()


def test_a_folder_that_cannot_be_written_harms_nothing(tmp_path):
    pytest.importorskip("tensorboard")
    (tmp_path / "file").write_text("in the way")
    watcher = Lines()
    with logging_to([f"tensorboard:{tmp_path / 'file' / 'logs'}"], watcher) as log:
        log.measured(1, {"x": 1.0})
        log.measured(2, {"x": 1.0})
    assert len(watcher.lines) == 1 and "failed and is" in watcher.lines[0]


# --- MLflow


@pytest.mark.filterwarnings("ignore")
def test_mlflow_reads_back_what_was_told(tmp_path, monkeypatch):
    tracking = pytest.importorskip("mlflow.tracking")
    monkeypatch.delenv("MLFLOW_EXPERIMENT_NAME", raising=False)
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")  # a database takes seconds to make
    monkeypatch.setattr(mlflow_page, "BATCH", 3)  # so that batches end in the middle
    uri = (tmp_path / "logs").as_uri()
    with logging_to([f"mlflow:{uri}"], settings={"name": "tiny", "seed": 7}) as log:
        log.measured(32, {"dense/loss": 0.5})
        log.stands(ROUND)
        log.measured(64, {"dense/loss": 0.25, "verdict/lira.tpr@fpr=0.01": 0.125})
    client = tracking.MlflowClient(tracking_uri=uri)
    (run,) = client.search_runs([client.get_experiment_by_name("safecompress").experiment_id])
    assert (run.info.status, run.info.run_name, run.data.params) == ("FINISHED", "tiny", {"name": "tiny", "seed": "7"})
    losses = client.get_metric_history(run.info.run_id, "dense/loss")
    assert [(one.step, one.value) for one in losses] == [(32, 0.5), (64, 0.25)]
    told = {allowed_name(name): value for name, value in FIGURES.items()}
    assert run.data.metrics == {**told, "dense/loss": 0.25, "verdict/lira.tpr_fpr_0.01": 0.125}
    with pytest.raises(RuntimeError), logging_to([Mlflow(uri)]) as log:
        log.measured(1, {"x": 1.0})
        raise RuntimeError
    (last, *_) = client.search_runs([run.info.experiment_id], order_by=["attributes.start_time DESC"])
    assert last.info.status == "FAILED"


@pytest.mark.filterwarnings("ignore")
def test_a_server_that_is_not_there_is_told_once_within_seconds():
    pytest.importorskip("mlflow")
    watcher = Lines()
    with logging_to(["mlflow:http://127.0.0.1:9"], watcher) as log:  # the discard port: nobody listens
        for step in range(3):
            log.measured(step, {"x": 1.0})
    assert len(watcher.lines) == 1 and watcher.lines[0].startswith("The log mlflow:http://127.0.0.1:9 failed")


def test_mlflow_is_told_to_report_to_nobody(monkeypatch):
    """Its own telemetry is off unless the user's environment says else."""
    assert mlflow_page.DEFAULTS["MLFLOW_DISABLE_TELEMETRY"] == "true"


# --- the command


@pytest.mark.slow
def test_compress_logs_training_rounds_and_verdict(tmp_path, monkeypatch):
    monkeypatch.setitem(LOGGERS.builtins, "recorder", lambda target, settings: made.append(settings) or log)
    made, log = [], Recorder()
    spec = write_spec(tmp_path / "spec.toml")
    ended = run_cli("compress", spec, "--out", tmp_path / "run", "--log", "recorder:here")
    assert ended.code == 0, ended.err
    ((settings),) = made
    assert (settings["name"], settings["density"], settings["rounds"]) == ("tiny", 0.2, 2)
    measured = [rest for what, *rest in log.told if what == "measured"]
    names = {name for _, figures in measured for name in figures}
    assert {"dense/loss", "sparse/loss", "round/tm_score", "verdict/gap.auc", "verdict/accuracy"} <= names
    rounds = [step for step, figures in measured if "round/accuracy" in figures]
    assert len(rounds) == 2 and rounds == sorted(rounds)
    assert log.told[-1] == ("close", False)


def test_a_log_of_an_unknown_kind_ends_the_command_before_training(tmp_path):
    spec = write_spec(tmp_path / "spec.toml")
    ended = run_cli("compress", spec, "--out", tmp_path / "run", "--log", "wandb:x")
    assert ended.code == 2 and "Unknown logger 'wandb'" in ended.err
    assert not (tmp_path / "run").exists()


def test_loggers_load_nothing_heavy():
    import subprocess

    code = "import sys, safecompress.loggers; print({'mlflow', 'tensorboard', 'torch'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "set()"
