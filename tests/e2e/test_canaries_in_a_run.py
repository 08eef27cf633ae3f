"""A run with canaries: they are trained on, reported in words everywhere, and an audit asks about the same ones."""

import pytest

from whole_runs import report_of, run_cli, write_spec

pytestmark = pytest.mark.slow

SAFETY = {"attacks": ["loss", {"name": "lira", "num_shadows": 6}], "access": "scores", "canaries": 20}
RECIPE = {"epochs": 30, "optimizer": "adam", "batch_size": 32, "learning_rate": 0.005, "weight_decay": 0.0}
REQUIRED = [{"metric": "lira.canaries", "at_most": 0.5}, {"metric": "loss.auc", "at_most": 0.99}]
CHANGES = {
    "model": {"hidden": [64]}, "safety": SAFETY, "require": REQUIRED, "recipe": RECIPE, "compress": {"density": 1.0},
    "search": {"rounds": 0, "branches": ["keep"], "rank": False},
}  # fmt: skip
FOUND = "mislabelled rows put into training before it errs on more than 2 of 200 that were not"


@pytest.fixture(scope="module")
def ended(tmp_path_factory):
    home = tmp_path_factory.mktemp("canaries")
    spec = write_spec(home / "tiny.toml", **CHANGES)
    with pytest.MonkeyPatch.context() as patch:  # most of the time, and not what this is about
        patch.setattr("safecompress.certify.verdict.train_control", lambda *_, **__: None)
        return home, spec, run_cli("compress", spec, "--out", home / "run")


def test_the_report_says_how_many_were_found_and_what_they_cost(ended):
    home, _, how = ended
    report = report_of(home / "run")
    assert report["split"]["parts"]["train"]["rows"] == 470
    assert report["exposure"]["canaries"]["num_twins"] == 200
    sentence = report["exposure"]["people"]["lira.canaries"]
    hits = round(20 * report["measurements"]["lira.canaries"]["value"])
    assert sentence.startswith(f"canaries: lira finds {hits} of 20 {FOUND}")
    printed = " ".join(how.out.split())
    for text in (printed, (home / "run" / "report.html").read_text(), (home / "run" / "model_card.md").read_text()):
        assert FOUND in text and "4.3% of the 470 rows" in text
    assert report["dense"]["lira.canaries"]["num_samples"] == 20


def test_a_model_that_learned_them_by_heart_gives_them_away(ended):
    figures = report_of(ended[0] / "run")["measurements"]
    assert figures["lira.canaries"]["value"] >= 0.2  # guessing finds 0.015


def test_an_audit_asks_about_the_same_canaries_and_the_pipeline_reads_it(ended):
    home, spec, _ = ended
    again = run_cli(
        "audit", home / "run" / "artifact.safetensors", "--spec", spec, "--junit", home / "out.xml", "--json"
    )
    assert FOUND in (home / "out.xml").read_text()
    assert '"lira.canaries"' in again.out


def test_an_audit_by_a_spec_without_them_is_refused(ended):
    home, _, _ = ended
    changed = CHANGES | {"safety": SAFETY | {"canaries": 0}, "require": REQUIRED[1:]}
    other = write_spec(home / "other.toml", **changed)
    ended_by = run_cli("audit", home / "run" / "artifact.safetensors", "--spec", other)
    assert ended_by.code == 3 and "canaries" in ended_by.out + ended_by.err
