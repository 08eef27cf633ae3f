"""The report as a record: what was judged when, what each bound means and who chose it; and that it is rough."""

from dataclasses import replace

import pytest
import sample_reports

from safecompress.report import to_card, to_html, to_markdown
from safecompress.report.gate import GateOutcome, to_junit, to_sarif
from safecompress.report.record import bound_lines, record_line, record_rows
from safecompress.spec import SafetySpec

FULL = "safecompress compress people.toml"


def test_the_record_names_date_data_rows_columns_weights_and_spec():
    report = sample_reports.report()
    record = {**report.record, "spec": "people.toml", "columns": [f"c{n}" for n in range(23)], "grouped": True}
    rows = dict(record_rows(replace(report, record=record)))
    assert [*rows] == ["Date", "Data", "Columns used", "Weights", "Spec"]
    assert rows["Columns used"].endswith("c19 and 3 more")
    assert f"{report.split['rows']:,} rows of 16 numbers, 4 classes, several rows of one person" in rows["Data"]
    assert record_line(replace(report, record=record)).startswith("date 20")
    assert record_rows(replace(report, record={})) == [] and record_line(replace(report, record={})) is None


def test_requirements_that_share_meaning_and_author_are_said_together():
    report = sample_reports.report()
    one = dict(report.findings[0])
    findings = [
        {**one, "requirement": "lira.auc ≤ 0.6", "meaning": "M", "chosen_by": "proposed by init"},
        {**one, "requirement": "gap.auc ≤ 0.6", "meaning": "M", "chosen_by": "proposed by init"},
        {**one, "requirement": "loss.auc ≤ 0.6", "meaning": "M", "chosen_by": "edited (init proposed 0.7)"},
        {**one, "requirement": "x.y ≤ 1", "meaning": None, "chosen_by": "set by the author of the spec"},
    ]
    assert bound_lines(replace(report, findings=findings)) == [
        "lira.auc, gap.auc ≤ 0.6 (proposed by init): M", "loss.auc ≤ 0.6 (edited (init proposed 0.7)): M",
    ]  # fmt: skip
    older = [{k: v for k, v in one.items() if k not in ("meaning", "chosen_by")}]
    assert bound_lines(replace(report, findings=older)) == []


@pytest.mark.parametrize("render", [to_html, to_markdown, to_card])
def test_every_page_has_the_record_and_the_meanings(render):
    report = sample_reports.report()
    page = render(report)
    assert report.record["date"] in page and report.record["weights"] in page
    assert "shown two people" in page and "set by the author of the spec" in page


def test_a_rough_verdict_is_rough_in_every_output_and_never_a_pass():
    spec = SafetySpec(sample_reports.SPEC.attacks, sample_reports.SPEC.requirements, rough=FULL)
    certified = sample_reports.certification(spec)
    report = sample_reports.report(certified)
    assert str(certified.findings.verdict) != "PASS" and report.exit_code != 0
    (said,) = [doubt for doubt in report.doubts if "rough" in doubt]
    assert said.startswith("INCONCLUSIVE: ") and said.endswith(FULL)
    outcome = GateOutcome.of_report(report, "a.safetensors")
    outputs = [*(render(report) for render in (to_html, to_markdown, to_card)), to_junit(outcome).decode()]
    for output in [*outputs, str(to_sarif(outcome))]:
        assert "rough" in output and "ROUGH" in output and FULL in output
