"""The report: whole after a round trip, harmless in a table, and nothing in it is about one person."""

import json
from dataclasses import fields, replace

import pytest
from sample_reports import (
    ARTIFACT,
    CLASSES,
    HOSTILE,
    MODELS,
    POOL,
    SPEC,
    SPLIT,
    certification,
    hostile_report,
    report,
    round_result,
)

from safecompress.attacks import AttackResult
from safecompress.certify.exposure import ROC_FPRS
from safecompress.errors import ArtifactError
from safecompress.metrics.measurement import Direction, Levels, Measurement
from safecompress.report import (
    Report,
    describe_measurements,
    describe_round,
    load_report,
    save_report,
    to_markdown,
)
from safecompress.report.text import (
    HEALTH,
    MEANING,
    attack_rows,
    figure_rows,
    health_line,
    num_rounds_beyond_noise,
    ranking_line,
    requirement_rows,
    round_rows,
    strongest_line,
)
from safecompress.spec import Findings, SafetySpec, at_most
from safecompress.testing.fakes import FailingAttack
from said import says

# --- round trips


def test_json_comes_back():
    built = report()
    text = json.dumps(built.to_json(), allow_nan=False)
    assert Report.from_json(json.loads(text)) == built
    assert json.loads(text) == built.to_json()


def test_files_come_back(tmp_path):
    built = report()
    save_report(built, tmp_path / "run")
    assert load_report(tmp_path / "run") == built
    assert load_report(tmp_path / "run" / "report.json") == built
    assert (tmp_path / "run" / "report.md").read_text() == to_markdown(built)


def test_all_fields_are_in_the_json():
    assert set(report().to_json()) == {field.name for field in fields(Report)}


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_nan_is_refused_before_the_file_is_touched(tmp_path, value):
    save_report(report(), tmp_path)
    before = (tmp_path / "report.json").read_text()
    with pytest.raises(ValueError, match="JSON"):
        save_report(replace(report(), seconds={"train": value}), tmp_path)
    assert (tmp_path / "report.json").read_text() == before


@pytest.mark.parametrize(
    "change",
    [
        {"schema_version": 1},
        {"schema_version": None},
        {"unheard_of": 1},
    ],
)
def test_a_report_of_another_kind_is_refused(tmp_path, change):
    (tmp_path / "report.json").write_text(json.dumps({**report().to_json(), **change}))
    with pytest.raises(ArtifactError, match=r"report\.json is (no|not a whole) report"):
        load_report(tmp_path)


def test_a_report_of_version_two_comes_back_as_one_of_today(tmp_path):
    built = report()
    added = ("exposure", "speed", "command", "record", "who_pays")
    old = {name: value for name, value in built.to_json().items() if name not in added} | {"schema_version": 2}
    (tmp_path / "report.json").write_text(json.dumps(old))
    assert load_report(tmp_path) == replace(built, exposure={}, speed=None, command=None, record={}, who_pays=())


@pytest.mark.parametrize("content", ["", "[]", "{}", "not json", '{"schema_version": 1}'])
def test_a_file_that_is_no_report_is_refused(tmp_path, content):
    (tmp_path / "report.json").write_text(content)
    with pytest.raises(ArtifactError):
        load_report(tmp_path)
    with pytest.raises(ArtifactError):
        load_report(tmp_path / "nowhere")


# --- what it says


def test_figures_are_those_of_the_certification():
    judged = certification()
    built = report(judged)
    assert (built.verdict, built.exit_code) == (str(judged.findings.verdict), judged.findings.exit_code)
    assert built.measurements == describe_measurements(judged.measurements)
    assert built.dense == describe_measurements(judged.dense)
    assert built.tm_score == {"artifact": judged.tm_score, "dense": judged.dense_tm_score}
    assert built.ledger == {"opening": 1, "alpha": 0.025}
    assert built.digests["artifact"] == ARTIFACT.digest()
    auc = built.measurements["loss.auc"]
    assert auc["low"] <= auc["value"] <= auc["high"]
    assert (auc["confidence"], auc["num_samples"], auc["direction"]) == (0.975, 2 * POOL, "lower is better")
    assert [f["requirement"] for f in built.findings] == [str(requirement) for requirement in SPEC.requirements]
    assert built.artifact["num_active"] == ARTIFACT.num_active
    assert built.artifact["layer_densities"].keys() == ARTIFACT.masks.keys()


def test_exposure_is_that_of_the_certification():
    built, told = report().exposure, certification().exposure
    assert built["confidence"] == 0.975
    assert built["roc"]["artifact"].keys() == built["roc"]["dense"].keys() == {"loss", "gap", "neural"}
    point = told.roc["loss"][3]
    assert built["roc"]["artifact"]["loss"][3] == {
        "fpr": point.fpr, "tpr": point.tpr, "low": point.interval.low, "high": point.interval.high,
    }  # fmt: skip
    assert [one["name"] for one in built["classes"]["apart"]] == [one.name for one in told.classes.apart]
    assert sum(one["num_members"] for one in built["classes"]["apart"]) <= POOL
    assert built["worst_case"] is None  # no attack asked for shadows


def test_seconds_lie_outside_the_digests():
    fast, slow = (report(seconds={"train": seconds}) for seconds in (1.0, 2.0))
    assert fast.digests == slow.digests
    assert fast != slow


def test_the_verdicts_digest_is_of_the_figures():
    figures = certification()
    other = replace(
        figures, measurements={**figures.measurements, "density": Measurement.exact("density", 0.4, Direction.LOWER)}
    )
    assert report(figures).digests["verdict"] == report(certification()).digests["verdict"]
    assert report(figures).digests["verdict"] != report(other).digests["verdict"]


@pytest.mark.parametrize("verdict", ["PASS", "FAIL", "INCONCLUSIVE", "ERROR"])
def test_the_verdict_comes_first_in_words(verdict):
    lines = to_markdown(replace(report(), verdict=verdict)).splitlines()
    assert lines[0] == f"# digits: {verdict}"
    assert lines[2].startswith(f"**{verdict}**: ")
    assert says(lines[2], "given weights", "bounds: loss (", "not required: gap, neural)")
    assert MEANING[verdict] in lines[2]


def test_the_markdown_has_every_requirement_and_every_figure():
    built = report()
    text = to_markdown(built)
    for finding in built.findings:
        assert f"| {finding['requirement']} |" in text
        dense = built.dense_verdicts.get(finding["requirement"], "-")
        assert f"| {finding['verdict']} | {dense} | {finding['reason']} |" in text
    for metric, figure in built.measurements.items():
        if not metric.endswith((".rise", ".drop")):
            assert f"| {metric} | " in text
            assert f"{figure['value']:.3f}" in text or figure["confidence"] == 1
    for part, counts in SPLIT.summary()["parts"].items():
        assert f"| {part} | {counts['rows']} |" in text
    for said in (
        "Opening 1 of these verdict rows.",
        "so intervals hold at 0.975, two-sided",
        "| train | 1.22 |",
        "- No ledger was kept.",
    ):
        assert said in text


def test_an_exact_figure_has_no_interval_and_a_missing_one_a_dash():
    rows = {row[0]: row[1:] for row in figure_rows(report())}
    assert rows["density"] == ["0.5", "exact", "-", "-"]
    loss = report().measurements["loss.auc"]
    assert rows["loss.auc"][:2] == [f"{loss['value']:.3f}", f"[{loss['low']:.3f}, {loss['high']:.3f}]"]
    broken = certification(SafetySpec([FailingAttack()], [at_most("failing.auc", 0.7)]))
    assert requirement_rows(report(broken))[0][1:4] == ["-", "-", "ERROR"]


def test_broken_attacks_are_named():
    text = to_markdown(report(certification(SafetySpec(["loss", FailingAttack()], [at_most("loss.auc", 0.9)]))))
    assert "number: failing (RuntimeError:" in text
    assert text.count("not measured") >= 2


# --- what keeps a verdict from PASS


def test_what_was_judged_and_how_is_in_the_report():
    judged = certification()
    built = report(judged)
    assert (built.access, built.shadows, built.schema_version) == ("WEIGHTS", None, 4)
    assert built.health == [
        {
            "check": check.name,
            "subject": check.subject,
            "outcome": str(check.outcome),
            "value": check.value,
            "detail": check.detail,
        }
        for check in judged.health
    ]
    assert len(built.health) > 10
    assert built.doubts == [f"{doubt.verdict}: {doubt.reason}" for doubt in judged.findings.doubts]
    assert "INCONCLUSIVE: the attacks" in built.doubts[-1]
    assert built.attacks == {attack.name: repr(attack) for attack in SPEC.attacks}


def test_doubts_stand_below_the_requirements_and_only_where_there_are_some():
    built = report()
    text = to_markdown(replace(built, doubts=["INCONCLUSIVE: too few", "ERROR: too many"]))
    heading = "Beside the requirements, these keep the verdict from PASS:"
    assert f"{heading}\n\n- INCONCLUSIVE: too few\n\n- ERROR: too many\n\n## Figures" in text
    assert heading not in to_markdown(replace(built, doubts=[]))


def test_every_health_check_has_a_line():
    built = report()
    text = to_markdown(built)
    assert HEALTH in text
    for check in built.health:
        assert f"| {check['check']} | {check['subject']} | {check['outcome']} | {check['detail']} |" in text
    assert "## Health" not in to_markdown(replace(built, health=[]))


def test_health_in_one_line_names_what_does_not_hold():
    def with_outcomes(*outcomes):
        health = [{"check": f"c{n}", "subject": "loss", "outcome": outcome} for n, outcome in enumerate(outcomes)]
        return health_line(replace(report(), health=health))

    assert with_outcomes("PASS", "PASS").startswith("2 of 2 ")
    assert says(with_outcomes("PASS", "INCONCLUSIVE", "ERROR"), "1 of 3 ", "c1 of loss, c2 of loss")
    assert "c0" not in with_outcomes("PASS", "INCONCLUSIVE", "ERROR")


def test_the_dense_model_has_a_column_of_its_own():
    """It knows its members. What it breaks, what it keeps, and a dash for a requirement on the artifact alone."""
    assert report().dense_verdicts == {"loss.auc ≤ 0.75": "FAIL", "accuracy ≥ 0.1": "PASS"}
    rows = {row[0]: row[4] for row in requirement_rows(report())}
    assert rows == {
        "loss.auc ≤ 0.75": "FAIL", "accuracy ≥ 0.1": "PASS", "accuracy.drop ≤ 0.2": "-", "density ≤ 0.5": "-",
    }  # fmt: skip
    judged = {row[0]: row[3] for row in requirement_rows(report())}
    assert (judged["loss.auc ≤ 0.75"], judged["density ≤ 0.5"]) == ("PASS", "PASS")


def test_an_attack_has_its_epsilon_and_its_options():
    assert report().epsilon == certification().epsilon
    assert report().epsilon.keys() == {"loss", "gap", "neural"}
    built = replace(report(), epsilon={"loss": 1.2345})
    rows = {row[0]: row[1:] for row in attack_rows(built)}
    assert rows == {attack.name: ["1.23" if attack.name == "loss" else "-", repr(attack)] for attack in SPEC.attacks}
    assert "| loss | 1.23 | Loss(" in to_markdown(built)


def figures(**aucs):
    """Figures by attack, and others that are larger and are no AUC."""
    named = {f"{name}.auc": {"value": value} for name, value in aucs.items()}
    return {**named, "accuracy": {"value": 0.99}, "loss.auc.rise": {"value": 0.98}, "loss.advantage": {"value": 0.97}}


@pytest.mark.parametrize(
    ("now", "before", "parts"),
    [
        ({"loss": 0.6, "gap": 0.7}, {"loss": 0.9, "gap": 0.8}, ["0.700 by gap", "0.900 by loss"]),
        ({"loss": 0.6, "confidence": 0.55}, {}, ["0.600 by loss", "confidence alone 0.550"]),
        ({"confidence": 0.6}, {"gap": 0.7}, ["0.600 by confidence", "alone 0.600", "0.700"]),
    ],
)
def test_the_strongest_attack_on_each_model_in_one_line(now, before, parts):
    said = strongest_line(replace(report(), measurements=figures(**now), dense=figures(**before)))
    assert says(said, "AUC: artifact ", *parts)


def test_without_an_attack_nothing_is_strongest():
    assert strongest_line(replace(report(), measurements=figures(), dense={})) is None
    auc = report().measurements["loss.auc"]["value"]
    assert f"artifact {auc:.3f} by loss" in to_markdown(replace(report(), measurements=figures_of_loss()))


def figures_of_loss():
    return {name: figure for name, figure in report().measurements.items() if name in ("loss.auc", "accuracy")}


def test_an_attack_that_broke_on_the_dense_model_is_a_note():
    judged = replace(certification(), dense_errors={"loss": "ValueError: no"})
    first, second = report(judged, notes=["first"]).notes
    assert first == "first" and says(second, "dense model", "loss", "ValueError: no")


@pytest.mark.parametrize(
    ("bounded", "shadows", "claim"),
    [
        (
            {"loss", "gap", "neural"},
            None,
            ("given weights", ": loss, gap, neural"),
        ),
        (
            {"gap"},
            "final pattern only",
            ("given weights", ": gap (", "not required: loss, neural)", ": final pattern only"),
        ),
        (set(), "full pipeline", ("no requirement", "about privacy")),
    ],
)
def test_the_claim_goes_no_further_than_what_was_bounded(bounded, shadows, claim):
    built = report(replace(certification(), bounded=frozenset(bounded), shadows=shadows))
    scope, _, alpha = built.claim.partition("; alpha ")
    assert says(scope, *claim) and scope.endswith(claim[-1]) and built.shadows == shadows
    assert alpha == "0.05; this is opening 1, at 0.025"


def test_the_claim_names_alpha_and_the_opening():
    judged = replace(certification(), opening=3, levels=Levels(0.02 / 8, 2))
    said = report(judged).claim.partition("; alpha ")[2]
    assert said == "0.02, within what the first opening of these rows fixed; this is opening 3, at 0.0025"


# --- rounds


def test_a_round_names_every_candidate_and_why():
    described = describe_round(round_result())
    assert [c["won"] for c in described["candidates"]] == [True, False]
    assert [c["reason"] for c in described["candidates"]] == ["because of magnitude+random", "because of keep"]
    assert (described["winner"], described["step"]) == ("r1/magnitude+random", 9)
    assert described["candidates"][0]["tm_score"] == round_result().evaluations[0].tm_score()
    versus = described["versus_keep"]["loss"]
    assert versus["low"] <= versus["auc_difference"] <= versus["high"]
    assert 0 <= versus["p_value"] <= 1


@pytest.mark.parametrize(
    ("winner", "branches", "against"),
    [
        ("magnitude+random", ("magnitude+random", "keep"), "p = "),
        ("keep", ("magnitude+random", "keep"), "keep won"),
        ("magnitude+random", ("magnitude+random", "set+random"), "-"),
    ],
)
def test_the_winner_is_held_against_keep(winner, branches, against):
    (row,) = round_rows(report(rounds=[round_result(winner, branches)]))
    assert row[0:2] == ["1", winner]
    assert row[4].startswith(against)
    assert row[5] == f"because of {winner}"


def test_rounds_beyond_noise_are_counted_with_bonferroni():
    def with_p(*p_values):
        candidates = [{"branch": "keep"}, {"branch": "magnitude+random"}, {"branch": "set+random"}]
        return {"versus_keep": {str(n): {"p_value": p} for n, p in enumerate(p_values)}, "candidates": candidates}

    without_keep = {"versus_keep": {}, "candidates": [{"branch": "set+random"}]}
    rounds = [with_p(0.012, 0.9), with_p(0.013, 0.9), with_p(0.024), with_p(0.026), with_p(), without_keep]
    assert num_rounds_beyond_noise(replace(report(), search={"rounds": rounds})) == (2, 5)


def test_a_report_without_a_search_has_no_rounds():
    audited = report(search={})
    assert list(audited.rounds) == []
    assert "## Rounds" not in to_markdown(audited)


def test_a_candidate_with_a_broken_attack_has_no_tm_score():
    result = round_result()
    broken = replace(result.evaluations[1], results=(AttackResult("loss", SPEC.attacks[0].access, error="no"),))
    kept = replace(result.evaluations[0], results=result.evaluations[0].results[:1])
    described = describe_round(replace(result, evaluations=(kept, broken)))
    assert described["candidates"][1]["tm_score"] is None
    assert described["candidates"][1]["errors"] == {"loss": "no"}
    assert described["versus_keep"] == {}


# --- how the cheap tests ranked

RANKING = {
    "round": 1,
    "cheap": {"magnitude+random": 0.61, "keep": 0.55, "set+random": 0.7},
    "verdict": {
        "lira": {"magnitude+random": 0.65, "keep": 0.66, "set+random": 0.8},
        "neural": {"magnitude+random": 0.6, "keep": 0.6, "set+random": 0.6},
    },
    "tau": {"lira": 1 / 3, "neural": None},
    "regret": {"lira": 0.01, "neural": 0.0},
}


def with_ranking(*rankings):
    entries = [describe_round(round_result()) | ({"ranking": r} if r else {}) for r in rankings]
    return replace(report(), search={"rounds": entries})


def test_the_ranking_of_the_last_round_in_one_line():
    line = ranking_line(with_ranking(None, RANKING))
    assert says(line, " 3 candidates", "lira +0.33", "0.010 less AUC", "neural undecided", "0.000 less AUC")


def test_the_rankings_table_has_a_row_for_every_candidate():
    text = to_markdown(with_ranking(None, RANKING))
    assert "selection rows;" in text
    for row in (
        "| candidate | worst cheap test | lira | neural |",
        "| magnitude+random | 0.610 | 0.650 | 0.600 |",
        "| keep | 0.550 | 0.660 | 0.600 |",
        "| set+random | 0.700 | 0.800 | 0.600 |",
    ):
        assert row in text


@pytest.mark.parametrize("rankings", [(), (None,), (RANKING, None)])
def test_without_a_ranking_of_the_last_round_nothing_is_said(rankings):
    built = with_ranking(*rankings)
    assert ranking_line(built) is None
    assert "worst cheap test" not in to_markdown(built)


# --- hostile words


def test_hostile_words_neither_break_a_line_nor_open_a_tag():
    text = to_markdown(hostile_report())
    assert text.count("script") >= 10
    assert "<" not in text
    assert "](" not in text
    assert all(c.isprintable() or c == "\n" for c in text)
    assert not any(line.startswith(("# d", "c")) for line in text.splitlines())


def cells(line):
    """The cells of a table's line: a pipe after an odd number of backslashes is text."""
    found, is_escaped = [""], False
    for c in line:
        if c == "|" and not is_escaped:
            found.append("")
        else:
            found[-1] += c
        is_escaped = c == "\\" and not is_escaped
    return found


def test_hostile_words_stay_in_their_cells():
    widths = []
    for block in to_markdown(hostile_report()).split("\n\n"):
        if block.startswith("|"):
            counts = {len(cells(line)) for line in block.splitlines()}
            assert len(counts) == 1
            widths.append(counts.pop() - 2)
    assert widths == [2, 6, 5, 3, 4, 6, 3, 2, 2, 2]


def test_hostile_words_survive_in_the_json():
    built = hostile_report()
    assert Report.from_json(json.loads(json.dumps(built.to_json()))).name == HOSTILE


# --- nobody's own figure


def arrays_in(value, path=""):
    if isinstance(value, dict):
        for key, item in value.items():
            yield from arrays_in(item, f"{path}.{key}")
    elif isinstance(value, list | tuple):
        yield path, value
        for place, item in enumerate(value):
            yield from arrays_in(item, f"{path}[{place}]")


def test_nothing_in_the_report_has_a_row_for_every_person():
    """Neither an array, nor a table, nor a text is as long as a pool: the largest are classes, parts and figures."""
    data = json.loads(json.dumps(report().to_json()))
    longest = max(len(SPEC.requirements), CLASSES, 2)
    is_apart = {".health", ".doubts", *(f".exposure.roc.{model}.{a.name}" for model in MODELS for a in SPEC.attacks)}
    assert all(len(array) <= longest for path, array in arrays_in(data) if path not in is_apart)
    assert all(len(points) == len(ROC_FPRS) < POOL // 2 for points in data["exposure"]["roc"]["artifact"].values())
    assert len(data["doubts"]) < len(data["health"]) < POOL // 2
    numbers = [path for path, array in arrays_in(data) if array and all(isinstance(item, float) for item in array)]
    assert numbers == [".search.recipe.milestones"]
    assert max(len(table) for table in tables_in(data)) < POOL
    assert max(len(text) for text in texts_in(data)) < 400


def tables_in(value):
    if isinstance(value, dict):
        yield value
        for item in value.values():
            yield from tables_in(item)
    elif isinstance(value, list):
        for item in value:
            yield from tables_in(item)


def texts_in(value):
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from texts_in(item)


def test_no_score_of_a_row_is_in_the_report():
    result = round_result()
    text = json.dumps(report(rounds=[result]).to_json())
    scores = result.evaluations[0].results[0].scores
    inner = [repr(float(score)) for score in scores if 0 < score < 1]
    assert len(inner) > 100
    assert not any(score in text for score in inner)


def test_an_empty_findings_list_still_prints():
    judged = replace(certification(), findings=Findings(()))
    assert "## Requirements" in to_markdown(report(judged))


def test_who_pays_is_that_of_the_certification():
    judged = certification()
    told = report().who_pays
    assert [(one["name"], one["num_rows"], one["accuracy"]["value"]) for one in told] == [
        (one.name, one.num_rows, one.accuracy) for one in judged.who_pays
    ]
    assert all((one["drop"] is None) == (one["dense"] is None) for one in told)
