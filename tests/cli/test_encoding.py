"""Output that is not UTF-8: every text is written somehow, and the exit code stays."""

import io
import os
import subprocess
import sys

import pytest

from safecompress.cli._support.encoding import in_ascii, write_anything


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("plain", "plain"),
        ("loss.auc ≤ 0.7", "loss.auc <= 0.7"),
        ("┏━┓│┡┩", "+-+|++"),
        ("2 × 3 … →", "2 x 3 ... ->"),
        ("Café", "Cafe"),
        ("\ufffd世", "??"),
        ("", ""),
    ],
)
def test_every_character_has_a_twin_in_ascii(text, plain):
    assert in_ascii(text) == plain


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "utf-8"])
def test_only_what_a_stream_cannot_write_is_replaced(encoding, monkeypatch):
    written = io.BytesIO()
    stream = io.TextIOWrapper(written, encoding=encoding, errors="strict")
    monkeypatch.setattr(sys, "stdout", stream)
    write_anything()
    stream.write("é ≤ ┃")
    stream.flush()
    assert (
        written.getvalue()
        == {
            "ascii": b"e <= |",
            "cp1252": "é <= |".encode("cp1252"),
            "utf-8": "é ≤ ┃".encode(),
        }[encoding]
    )


def test_a_stream_without_an_encoding_is_left_alone(monkeypatch):
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    write_anything()
    sys.stdout.write("≤")
    assert sys.stdout.getvalue() == "≤"


@pytest.mark.slow
@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_a_verdict_is_shown_with_its_own_exit_code(encoding, tmp_path):
    from sample_reports import whole_report

    from safecompress.report import save_report

    report = whole_report()
    save_report(report, tmp_path)
    command = [sys.executable, "-m", "safecompress", "report", str(tmp_path)]
    environment = {**os.environ, "PYTHONIOENCODING": encoding}
    ended = subprocess.run(command, capture_output=True, env=environment, check=False)
    assert ended.returncode == report.exit_code
    assert b"<= 0.75" in ended.stdout and b"|" in ended.stdout and not ended.stderr
