"""The pages that explain: every figure is that of the table it cites, and what they say of the code is so."""

import re
from pathlib import Path

from safecompress.attacks import Access
from safecompress.attacks.reference import REFERENCE

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "benchmarks" / "results"


def page(name):
    return " ".join((ROOT / "docs" / "explanation" / name).read_text(encoding="utf-8").split())


def rows(name):
    text = (ROOT / "docs" / "explanation" / name).read_text(encoding="utf-8")
    return [
        [cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("| ")
    ]


def measured(file):
    """The rows of a table of results by heading and first cells."""
    found, heading = {}, ""
    for line in (RESULTS / file).read_text(encoding="utf-8").splitlines():
        if line.startswith("## "):
            heading = line[3:].split(":")[0]
        elif line.startswith("| "):
            cells = [cell.strip() for cell in line.strip("|").split("|")]
            found.setdefault((heading, *cells[:1]), cells)
            found.setdefault((heading, *cells[:2]), cells)
    return found


def first(cell):
    return cell.split(" ")[0]


def test_what_an_average_hides():
    tables = measured("attacks-location30.md")
    shown = [row for row in rows("low-fpr.md") if row[0] in {"loss", "confidence", "rmia", "lira"}]
    assert len(shown) == 4
    for name, auc, found in shown:
        cells = tables["dense", name]
        assert (auc, found) == (first(cells[1]), first(cells[4])), name
    assert round(0.280 / 0.007) == 40 and "forty times as many" in page("low-fpr.md")


def test_intervals_that_forget_the_threshold():
    text = (RESULTS / "coverage-simulated.md").read_text()
    plain = [line for line in text.splitlines() if re.match(r"\| tpr at fpr [\d.]+, plain", line)]
    ours = [line for line in text.splitlines() if re.match(r"\| tpr at fpr [\d.]+ \|", line)]
    lowest = min(float(rate) for line in plain for rate in re.findall(r"(\d\.\d{4})\**? ±", line))
    assert f"{lowest:.0%}".replace("%", " %") in page("low-fpr.md")
    assert ours and not [line for line in ours if "**" in line]


def test_fewer_weights_and_moved_weights():
    tables = measured("methods-location30.md")
    shown = [row for row in rows("memorisation.md") if row[1] in {"dense", "static", "DST", "SafeCompress"}]
    assert len(shown) == 7
    for density, method, accuracy, worst in shown:
        cells = tables["", density, method]
        assert (accuracy, worst) == (first(cells[2]), first(cells[3])), (density, method)
    text = (RESULTS / "methods-location30.md").read_text()
    for figure in re.findall(r"by (\+0\.\d{4} \[[^]]+\])", page("memorisation.md")):
        assert figure in text
    assert page("memorisation.md").count("by +0.0") == 2


def test_what_a_stronger_attacker_sees():
    tables = measured("attacks-location30.md")
    shown = [row for row in rows("memorisation.md") if len(row) == 3 and row[0][0].isdigit()]
    assert len(shown) == 4
    for density, loss, lira in shown:
        heading = "dense" if density == "1" else f"density {density}"
        assert (loss, lira) == (first(tables[heading, "loss"][1]), first(tables[heading, "lira"][1])), density
    joint = [first(tables[f"density {density}", "joint_lira"][1]) for density in ("0.2", "0.1", "0.05")]
    assert f"finds {joint[0]}, {joint[1]} and {joint[2]}" in page("memorisation.md")
    assert min(map(float, joint)) > float(first(tables["dense", "lira"][1]))
    assert f"{first(tables['density 0.05', 'lira'][1])} is a leak" in page("memorisation.md")
    dense = tables["dense", "loss"], tables["dense", "lira"]
    for cells in dense:
        assert first(cells[1]) in page("threat-models.md") and first(cells[4]) in page("threat-models.md")


def test_reference_sets():
    shown = {row[0].strip("`"): row[1] for row in rows("threat-models.md") if len(row) == 2}
    for access in Access:
        assert re.findall(r"`(\w+)`", shown[access.name.lower()]) == [*REFERENCE[access]]


def test_attackers_that_were_tested():
    lines = [line for line in (RESULTS / "null-digits.md").read_text().splitlines() if " of 200 |" in line]
    alarms = [int(re.search(r"\| (\d+) of 200", line)[1]) for line in lines]
    assert max(alarms) <= 18 and f"all {len(lines)} attacks" in page("safe.md")  # 18 of 200 are within chance
    assert all("40 of 40" in line for line in lines) and "40 of 40" in page("safe.md")


def test_a_winner_is_flattered():
    import numpy as np

    rates = np.random.default_rng(0).binomial(1000, 0.6, (4000, 20)).min(axis=1) / 1000
    assert abs(rates.mean() - 0.571) < 0.002
    assert "shows as about .571" in page("verdict-split.md")
