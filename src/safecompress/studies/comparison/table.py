"""The page of a comparison: a summary in words, means over seeds, paired differences, every cell."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import fields
from typing import Any

from safecompress.attacks import Attack
from safecompress.attacks.reference import companions_of
from safecompress.compression.search import Plan
from safecompress.metrics.catalogue import ACCURACY, headlines
from safecompress.report.markdown import markdown_table, plain_text
from safecompress.studies.comparison.cell import CellResult
from safecompress.studies.comparison.difference import NOTHING, Difference, differences
from safecompress.studies.comparison.result import ComparisonResult
from safecompress.studies.comparison.standing import standings
from safecompress.studies.comparison.summary import (
    FEWEST,
    Group,
    Spread,
    difference,
    groups_of,
    is_unequal,
    plain_dense,
    shown_figures,
    spread,
)
from safecompress.studies.engine import Figure, name_apart
from safecompress.studies.engine.page import (
    changed_options,
    environment_line,
    failure_lines,
    listed,
    note_lines,
    picture_lines,
    with_interval,
)

REFERENCE, MEMBERS, UNEQUAL, FAILED = "†", "§", "‡", "✗"
MARKS = {
    REFERENCE: "trains on reference rows (the population) beside its members",
    MEMBERS: "tests candidates, or scores weights, by attacks on members of the pools that choose (never those of this "
    "table)",
    "ε": "trained with differential privacy; the number is what its accountant says was spent, see the notes",
    UNEQUAL: "mean accuracy lies outside the dense model's own 95 % interval over test rows (its limits averaged over "
    "seeds): what learned less leaks less, so its leakage is no fair match for the others'",
    FAILED: "the method, or an attack on it, failed for some seed; means are over the others",
}
"""The meaning of each mark."""

_MOST_LINES = 12
"""Most differences to describe one by one; of more, only the signs are shown; the table of differences has each."""


def to_markdown(comparison_result: ComparisonResult, *, picture: str | None = None, missing: str | None = None) -> str:
    """The whole page. ``picture`` is the file beside it, ``missing`` why there is none."""
    comparison = comparison_result.inputs.comparison
    paired, parts_of_split = differences(comparison_result), comparison_result.split["parts"]
    seeds = f"{len(comparison.seeds)} seed{'s' if len(comparison.seeds) > 1 else ''}"
    header, rows = summary_rows(comparison_result)
    parts = [
        f"# Comparison: {plain_text(comparison_result.name)}",
        f"{len(comparison.entries)} methods, {seeds}, {len(comparison.attackers)} attacks on "
        f"{parts_of_split['member_verdict']['rows']} members and "
        f"{parts_of_split['nonmember_verdict']['rows']} non-members a seed. **Exploratory: this is no release "
        "verdict.** No ledger counts these looks at the verdict rows, and whoever picks the best row of this table has "
        "let them choose. What is to ship is certified by `safecompress compress`, which keeps a ledger.",
        "## What the table shows",
        *words(comparison_result, paired),
        "## Means over seeds",
        markdown_table(header, rows),
        *legend(comparison_result),
        HOW_TO_READ,
        *picture_lines(picture, missing),
        *_apart(comparison_result),
        *_differences(paired, shown_figures(comparison.attackers)),
        "## Every cell",
        "Accuracy on test rows and each attack's AUC, with 95 % intervals over rows.",
        markdown_table(*cell_rows(comparison_result)),
        *failure_lines({plain_text(str(result.cell)): result for result in comparison_result.results}),
        *_notes(comparison_result.results),
        "## How it was made",
        *_made(comparison_result),
    ]
    return "\n\n".join(parts) + "\n"


HOW_TO_READ = (
    "Mean ± half of a 95 % t interval over seeds (lowest to highest). A seed draws split, first weights, shadows and "
    "attackers anew, from one data set: the intervals speak of this data set and these settings. *Worst AUC* is the "
    "largest of all attacks: 0.5 is guessing, and the largest of several lies a little above it by chance alone. "
    "Where other attacks run beside one, as in a verdict, the largest figure counts as its own: LiRA is judged by the "
    "larger of its figures on the label's scaled logit and on all classes, of the same shadow models. "
    "*Worst TPR@1%* is the largest share of members found while at most 1 % of non-members are accused. *TM-score* is "
    "accuracy over the worst attack's balanced accuracy (at least 0.5); higher is better. *Bytes* is the packed file, "
    "*values kept* what it holds, biases included. *Seconds* are the median over seeds of making the model, training "
    "its shadows and attacking it, by the clock on the wall; what a cache held took none."
)


def summary_rows(comparison_result: ComparisonResult) -> tuple[list[str], list[list[str]]]:
    """Header and a row for each method at each density."""
    comparison = comparison_result.inputs.comparison
    figures, groups = shown_figures(comparison.attackers), groups_of(comparison, comparison_result.results)
    dense = plain_dense(groups)
    header = ["density", "method", *figures, "bytes", "values kept", "seconds"]
    rows = [
        [
            f"{group.density:g}",
            marked(group, dense),
            *(_mean(group.over_seeds(figure)) for figure in figures),
            _typical(group.results, lambda result: result.num_bytes),
            _typical(group.results, lambda result: result.num_kept),
            _typical(group.results, lambda result: sum(result.seconds.values()) or None, digits=1),
        ]
        for group in groups
    ]
    return header, rows


def marked(method_group: Group, dense_group: Group | None) -> str:
    """The method's label with its marks."""
    marks = [mark for mark in (REFERENCE, MEMBERS, UNEQUAL, FAILED) if _has(mark, method_group, dense_group)]
    spent = sorted({result.epsilon for result in method_group.results if result.epsilon is not None})
    if spent:
        marks.append(f"ε = {spent[0]:.3g}" + (f" to {spent[-1]:.3g}" if spent[-1] > spent[0] else ""))
    return " ".join([method_group.entry.label, *marks])


def _has(mark: str, method_group: Group, dense_group: Group | None) -> bool:
    match mark:
        case "†":
            return "reference rows" in method_group.entry.uses
        case "§":
            return "attacks on members" in method_group.entry.uses
        case "‡":
            return is_unequal(method_group, dense_group)
        case "ε":
            return any(result.epsilon is not None for result in method_group.results)
        case _:
            return not all(result.has_numbers for result in method_group.results)


def legend(comparison_result: ComparisonResult) -> list[str]:
    """The meaning of the marks that occur."""
    groups = groups_of(comparison_result.inputs.comparison, comparison_result.results)
    dense = plain_dense(groups)
    notes = [f"{mark} {words}" for mark, words in MARKS.items() if any(_has(mark, g, dense) for g in groups)]
    if dense is None:
        notes.append("no row is a plain `dense` model, so nothing says which accuracies are equal to it")
    return ["Marks: " + "; ".join(notes) + "."] if notes else []


def words(comparison_result: ComparisonResult, differences: Sequence[Difference]) -> list[str]:
    """What the table shows, in sentences, and what it cannot show."""
    sentences = [_best(comparison_result)]
    if (count := len(comparison_result.inputs.comparison.seeds)) < FEWEST:
        seeds = "One seed says nothing" if count == 1 else f"{count} seeds say next to nothing"
        return [
            *sentences,
            f"{seeds} of how much these figures vary: no difference is counted as shown under {FEWEST} seeds.",
        ]
    with_interval = [pair for pair in differences if any(s.half is not None for s in pair.figures.values())]
    if not with_interval:
        return sentences
    one_by_one = [f"- {plain_text(pair.name)}: {_describe(pair)}." for pair in with_interval]
    is_short = len(one_by_one) <= _MOST_LINES
    shown = "\n".join(one_by_one) if is_short else standings(comparison_result.inputs.comparison.entries, with_interval)
    count = sum(s.half is not None for one in with_interval for s in one.figures.values())
    sentences.append(
        "Paired over seeds, a difference counts as shown where its 95 % interval leaves out zero. There are "
        f"{count} such intervals and they are not corrected for their number: about {count / 20:.0f} would leave out "
        "zero by chance alone. An interval that holds zero does not show that two methods are equal."
    )
    return [*sentences, shown]


def _best(comparison_result: ComparisonResult) -> str:
    groups = groups_of(comparison_result.inputs.comparison, comparison_result.results)
    scored = sorted(
        ((s.mean, group) for group in groups if (s := group.over_seeds("TM-score")) is not None),
        key=lambda pair: -pair[0],
    )
    if not scored:
        return "No method has a TM-score: every cell failed."
    (mean, best), *others = scored
    text = f"The highest mean TM-score is that of {_at(best)} ({mean:.3f})"
    if not others:
        return f"{text}, the only one."
    apart = difference(best, others[0][1], "TM-score")
    after = f"{text}, before {_at(others[0][1])} ({others[0][0]:.3f})"
    if apart is None:
        return f"{after}; they share no seed, so chance may have put them in this order."
    verdict = NOTHING if apart.sign == 0 else "beyond the noise of the seeds"
    return f"{after}: {_signed(apart)}, {verdict}."


def _describe(difference: Difference) -> str:
    shown = [
        f"{name} {_signed(s)}, {'better' if difference.advantage(name) > 0 else 'worse'}"
        for name, s in difference.figures.items()
        if s.sign
    ]
    silent = [name for name, s in difference.figures.items() if not s.sign]
    if not shown:
        return NOTHING
    return "; ".join(shown) + (f"; {NOTHING} in {', '.join(silent)}" if silent else "")


def _differences(differences: Sequence[Difference], figure_names: Sequence[str]) -> list[str]:
    if not differences:
        return []
    rows = [
        [
            one.name,
            *(_signed(one.figures[name]) if name in one.figures else "-" for name in figure_names),
            str(max((s.count for s in one.figures.values()), default=0)),
        ]
        for one in differences
    ]
    return [
        "## Paired differences",
        "The first minus the second, seed by seed, at equal density (the dense model has none to match): mean and "
        "95 % t interval.",
        markdown_table(["difference", *figure_names, "seeds"], rows),
    ]


def _apart(comparison_result: ComparisonResult) -> list[str]:
    """A section with what each attack found that the figures take the largest of, if there is one."""
    groups = groups_of(comparison_result.inputs.comparison, comparison_result.results)
    names = list(dict.fromkeys(name for result in comparison_result.results for name in result.apart))
    if not names:
        return []
    rows = [
        [
            f"{group.density:g}",
            plain_text(group.entry.label),
            *(_mean(spread([r.apart[name]["value"] for r in group.results if name in r.apart])) for name in names),
        ]
        for group in groups
    ]
    return [
        "## Attacks that run side by side",
        "The AUC of each over seeds; the tables take the largest of each cell. LiRA on all classes is there for "
        "methods whose labels are soft (distillation, split teachers, RelaxLoss), which may hide from the label's own "
        "score.",
        markdown_table(["density", "method", *(plain_text(name) for name in names)], rows),
    ]


def cell_rows(comparison_result: ComparisonResult) -> tuple[list[str], list[list[str]]]:
    """Header and a row for each cell that has figures."""
    names = [attack.name for attack in comparison_result.inputs.comparison.attackers]
    rows = [
        [
            str(result.cell.seed),
            f"{result.cell.density:g}",
            result.cell.label,
            _with_interval(result.figures.get(ACCURACY.name)),
            *(_with_interval(headlines(result.figures).get(name)) for name in names),
        ]
        for result in comparison_result.results
        if result.error is None
    ]
    return ["seed", "density", "method", "accuracy", *names], rows


def _notes(results: Iterable[CellResult]) -> list[str]:
    """Each note once, with the cells that it is of."""
    cells: dict[tuple[str, str], list[str]] = {}
    for result in results:
        for note in result.notes:
            place = f"density {result.cell.density:g} seed {result.cell.seed}"
            cells.setdefault((result.cell.label, note), []).append(place)
    return note_lines(
        f"- {plain_text(label)}: {plain_text(note)} ({', '.join(places)})" for (label, note), places in cells.items()
    )


def _made(comparison_result: ComparisonResult) -> list[str]:
    comparison, inputs = comparison_result.inputs.comparison, comparison_result.inputs
    trained = {result.cell.label: result.shadows for result in comparison_result.results if result.shadows is not None}
    methods = [[e.label, _options(e.method), trained.get(e.label, "-"), e.method.source] for e in comparison.entries]
    parts = [[name, str(part["rows"])] for name, part in comparison_result.split["parts"].items()]
    return [
        f"Network: {plain_text(inputs.model.name)}, {plain_text(inputs.model.describe())}. Recipe: "
        f"{plain_text(listed(inputs.recipe.to_json()))}.",
        markdown_table(
            ["method", "options that are not its defaults", "its shadows are trained by", "source"], methods
        ),
        markdown_table(
            ["attack", "options that are not its defaults", "beside it"],
            [[attack.name, _options(attack), _beside(attack)] for attack in comparison.attackers],
        ),
        f"Rows of {plain_text(comparison_result.split['name'])} in each part (seed {comparison.seeds[0]}):",
        markdown_table(["part", "rows"], parts),
        environment_line(comparison_result.environment),
    ]


def _beside(attack: Attack) -> str:
    """What runs beside ``attack``."""
    return "; ".join(map(name_apart, companions_of(attack))) or "-"


def _options(value: Any) -> str:
    """The fields of a frozen value that differ from what it has when made without any; of its plan, likewise."""
    changed = changed_options(value)
    if changed is None:
        return repr(value)
    shown = [
        _options_of_plan(own, usual) if isinstance(own, Plan) else f"{name} = {own!r}"
        for name, (own, usual) in changed.items()
    ]
    return ", ".join(shown) or "-"


def _options_of_plan(plan: Plan, usual: Plan) -> str:
    changed = [one.name for one in fields(plan) if getattr(plan, one.name) != getattr(usual, one.name)]
    shown = {name: getattr(plan, name) for name in changed}
    if "branches" in shown:
        shown["branches"] = [branch.name for branch in plan.branches]
    return ", ".join(f"{name} = {value!r}" for name, value in shown.items())


def _at(method_group: Group) -> str:
    return f"{plain_text(method_group.entry.label)} at density {method_group.density:g}"


def _mean(spread: Spread | None) -> str:
    if spread is None:
        return "-"
    if spread.half is None:
        return f"{spread.mean:.3f}" + (f" (the same {spread.count} times)" if spread.count > 1 else "")
    return f"{spread.mean:.3f} ± {spread.half:.3f} ({spread.lowest:.3f} to {spread.highest:.3f})"


def _signed(spread: Spread) -> str:
    if spread.half is None:
        return f"{spread.mean:+.3f}" + (f" (the same {spread.count} times)" if spread.count > 1 else "")
    return f"{spread.mean:+.3f} [{spread.mean - spread.half:+.3f}, {spread.mean + spread.half:+.3f}]"


def _typical(results: Sequence[CellResult], figure_of: Callable[[CellResult], float | None], digits: int = 0) -> str:
    """The median over seeds, which one cell that found its work done does not move far."""
    values = [value for result in results if (value := figure_of(result)) is not None]
    return f"{statistics.median(values):,.{digits}f}" if values else "-"


def _with_interval(figure: Figure | None) -> str:
    return "failed" if figure is None else with_interval(figure)
