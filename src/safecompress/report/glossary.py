"""Plain words for what a report holds: the verdict in a sentence, what attacks and checks do, what pools are for."""

from __future__ import annotations

from safecompress.report.model import Report
from safecompress.report.people import worst_off_line
from safecompress.report.text import MEANING

SYMBOL = {"PASS": "✓", "FAIL": "✗", "INCONCLUSIVE": "?", "ERROR": "!"}
"""A mark for each verdict, so that none is told by colour alone."""

ATTACKS = {
    "gap": "calls a row a member if the answer is right",
    "loss": "reads how small the loss of a row is",
    "confidence": "reads how sure the answer is",
    "entropy": "reads how undivided the answer is",
    "modified_entropy": "reads sureness of the right answer, class by class",
    "neural": "a network that learnt to read the scores",
    "whitebox": "a network that reads scores, loss and the gradients of all layers",
    "lira": "compares with models trained with and without the row",
    "rmia": "compares with models, and with how other rows fare",
    "base": "compares with the average of reference models",
    "joint_lira": "compares all released versions with models like them",
    "samia": "reads how the answer moves when the input trembles",
    "quantile": "knows how sure the answer to such a row should be",
    "label_only": "sees labels only, and asks about neighbours of a row",
}
"""What the attacks that come with the product do."""

CHECKS = {
    "positive_control": "A model that has memorised its members, or some of each, must be caught.",
    "negative_control": "Among rows that the model never saw, nobody may be found.",
    "blind_baseline": "Rows and labels alone, without the model, must not tell members apart.",
    "knows_members": "The model must be right about rows that it was trained on, as they are labelled and scaled here.",
    "given_weights": "Weights that this run did not train must have seen no row outside train.",
    "near_duplicates": "Rows that the model never saw must not be nearly equal to rows that it was trained on.",
    "sign": "What points to members on one pool must not point away from them on another.",
    "ties": "Not too many rows may get the same score.",
    "saturation": "The model's answers must differ enough to be read.",
    "shadow_gap": "Shadow models must be as good as the model they stand for.",
    "likeness": "The model must know its members as shadow models know the rows that they trained on.",
    "own_rows": "Every shadow model must know the rows that it trained on.",
    "strength": "A strong attack must not find less than a simpler sibling.",
    "members": "Something must prove that these members are the ones that it was trained on.",
    "training": "The file must record the training that its shadow models repeat.",
}
"""What each health check asks."""

PARTS = {
    "train": "the members: the model was trained on them",
    "member_fit": "members on whom attackers learn",
    "member_select": "members on whom candidates were compared",
    "member_verdict": "members on whom the verdict stands",
    "validation": "accuracy while searching",
    "test": "accuracy of the verdict",
    "nonmember_fit": "never trained on; attackers learn on them",
    "nonmember_select": "never trained on; candidates were compared on them",
    "nonmember_verdict": "never trained on; the verdict stands on them",
    "population": "for reference models and controls",
    "canaries": "members with a wrong label, put there to see whether they are found",
    "canary_twins": "rows with a wrong label that nobody trained on: what canaries are compared with",
}
"""What each part of the rows is for."""


def lead(report: Report) -> str:
    """The verdict in one sentence, with what decided it; and, in another, how surely the most exposed people show."""
    worst = worst_off_line(report)
    return _decided(report) if worst is None else f"{_decided(report)} {worst[:1].upper()}{worst[1:]}."


def _decided(report: Report) -> str:
    named = {
        verdict: [finding["requirement"] for finding in report.findings if finding["verdict"] == verdict]
        for verdict in SYMBOL
    }
    total = len(report.findings)
    if report.verdict == "PASS":
        return f"All {total} requirements hold, each with its whole interval inside its bound."
    if report.verdict == "FAIL":
        broken = named["FAIL"]
        verb = ("requirement is" if total == 1 else "requirements is") if len(broken) == 1 else "requirements are"
        return f"{len(broken)} of {total} {verb} broken, and chance does not explain it: {', '.join(broken)}."
    meaning = MEANING[report.verdict]
    because = named[report.verdict]
    parts = [f"{', '.join(because)}"] if because else []
    if report.doubts:
        parts.append(f"{len(report.doubts)} {'doubt' if len(report.doubts) == 1 else 'doubts'} named below")
    return f"{meaning[0].upper()}{meaning[1:]}{': ' if parts else ''}{'; '.join(parts)}."


def limits(report: Report) -> str:
    """What the verdict does not say."""
    dense = "" if report.dense else " No dense model was at hand to compare with."
    return (
        "The verdict is about the attacks named, these rows and this confidence. It says nothing of attacks that are "
        f"not named, and claims no differential privacy.{dense}"
    )


def size(num_bytes: float) -> str:
    """``10.7 kB``, ``1.20 MB``."""
    return f"{num_bytes / 1e6:.2f} MB" if num_bytes >= 1e6 else f"{num_bytes / 1e3:.1f} kB"
