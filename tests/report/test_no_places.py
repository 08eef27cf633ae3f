"""No absolute path of this machine on a page that is published."""

from dataclasses import replace

import pytest
from sample_reports import certification, report

from safecompress.report.escaping import without_places


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("The file /home/ann/secret/rows.npz is gone.", "The file rows.npz is gone."),
        ("'/srv/a/b.safetensors': broken", "'b.safetensors': broken"),
        ("(/tmp/x/)", "(...)"),
        ("see https://example.org/a/b and a/b/c, 3/4, and/or", "see https://example.org/a/b and a/b/c, 3/4, and/or"),
        ("/single stays, and so does lira.tpr@fpr=0.01", "/single stays, and so does lira.tpr@fpr=0.01"),
        ("runs/x/y and ../x/y and ~/x/y", "runs/x/y and ../x/y and ~/x/y"),
    ],
)
def test_paths_are_reduced_to_their_last_part(text, shown):
    assert without_places(text) == shown
    assert without_places(shown) == shown


def test_a_report_names_no_folder(monkeypatch):
    where = "the file /home/ann/secret/rows.npz is gone"
    told = replace(certification(), errors={"neural": where}, dense_errors={"loss": where})
    monkeypatch.setattr("sample_reports.certification", lambda *_: told)
    made = report()
    assert made.errors == {"neural": "the file rows.npz is gone"}
    assert not any("/home" in text for text in (*made.notes, *made.doubts, *map(str, made.findings)))
    assert any("rows.npz" in note for note in made.notes)
