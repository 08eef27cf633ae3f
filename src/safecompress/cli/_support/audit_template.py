"""A first spec for the audit of a model that was trained elsewhere: what can be certified without its training."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import tomli_w

from safecompress.attacks import ATTACKS, Access, capabilities_of
from safecompress.attacks.reference import REFERENCE
from safecompress.cli._support.template import MEANT_AUC, Bound, requirement_block
from safecompress.errors import UsageError
from safecompress.metrics.catalogue import ACCURACY, AUC
from safecompress.spec import Requirement, at_least, at_most

QUERIES = 16
"""Queries of label_only for a row: the least that a verdict may rest on."""

KINDS = (".onnx", ".safetensors")
"""Files of models that an audit reads."""


@dataclass(frozen=True)
class AuditAnswers:
    """What is audited, for an attacker who is given what. ``bound`` is that on every attack's AUC."""

    name: str
    file: str
    model_path: Path
    access: Access
    bound: Bound
    min_accuracy: float | None = None
    seed: int = 0

    @property
    def attacks(self) -> tuple[str, ...]:
        """The attacks of the reference set that need no shadow models: nobody knows how the model was trained."""
        return tuple(
            name for name in REFERENCE[self.access] if not capabilities_of(ATTACKS.factory(name)()).num_shadows
        )

    @property
    def left_out(self) -> tuple[str, ...]:
        """The attacks of the reference set that it cannot run."""
        return tuple(name for name in REFERENCE[self.access] if name not in self.attacks)

    @property
    def requirements(self) -> list[tuple[Requirement, Bound]]:
        """What must hold."""
        listed = [(at_most(AUC.of(name), self.bound.value), self.bound) for name in self.attacks]
        if self.min_accuracy is not None:
            listed.append((at_least(ACCURACY.name, self.min_accuracy), Bound(self.min_accuracy)))
        return listed

    @property
    def commands(self) -> tuple[str, str]:
        """What to run where the model was trained, and here."""
        weights = " --model my.module:factory" if self.model_path.suffix == KINDS[1] else ""
        return (
            f"safecompress members {self.model_path} --rows train.npz",
            f"safecompress audit {self.model_path}{weights} --spec {self.file} --members members.npz "
            "--non-members others.npz",
        )


def check_model_file(path: Path) -> None:
    """Raise UsageError where ``path`` is no file of a model that an audit by named rows reads."""
    from safecompress.compression.run_folder import IDENTITY

    if not path.is_file():
        raise UsageError(f"There is no file {path}. Name the model: an ONNX file, or weights in .safetensors.")
    if path.suffix not in KINDS:
        raise UsageError(
            f"{path} is neither {' nor '.join(KINDS)}, and no other kind of file is read: a pickle could run code. "
            "Export the model to ONNX, or save its state dict with safetensors."
        )
    if (path.parent / IDENTITY).exists():
        raise UsageError(
            f"{path} lies in the folder of its run, which knows its members and its training. It needs no spec of its "
            f"own: safecompress audit {path} --spec {path.parent / 'spec.toml'}"
        )


def write_audit_template(answers: AuditAnswers) -> str:
    """The spec as commented TOML."""
    first, second = answers.commands
    listed = ", ".join(
        f'{{ name = "{name}", queries = {QUERIES} }}' if name == "label_only" else f'"{name}"'
        for name in answers.attacks
    )
    blocks = [
        f"""\
# A spec for the audit of {_line(answers.model_path.name)}, which was trained elsewhere.
# 1. Where it was trained, with all of its train rows: keyed digests that prove who its members are.
#      {first}
# 2. Here, with at least 100 rows that it was trained on and 100 of the same source that it never saw:
#      {second}
#    Each .npz file holds rows x (N, ...), class numbers y (N,) and, where one person has several rows, group (N,).
{tomli_w.dumps({"name": answers.name, "seed": answers.seed}).strip()}

[safety]
access = "{answers.access.name.lower()}"
{_what_it_says(answers)}
attacks = [{listed}]
"""
    ]
    for place, (requirement, bound) in enumerate(answers.requirements):
        is_repeated = 0 < place < len(answers.attacks)
        words = (
            "half of the members and a third of the others judge it"
            if place < len(answers.attacks)
            else "on rows it never saw"
        )
        blocks.append(requirement_block(requirement, bound, words, is_repeated=is_repeated))
    return "\n".join(blocks)


def _what_it_says(answers: AuditAnswers) -> str:
    if not answers.left_out:
        return """\
# A verdict for a model that only answers, with a class and nothing else. Whoever has its scores or its file sees more.
# For them ("scores", "weights") a PASS takes shadow models, which repeat the training, and nothing is known of this
# one: such an audit can find a leak, and cannot rule one out."""
    return (
        f"# Without the training of the model there is no {', '.join(answers.left_out)}, so this audit can find a leak "
        '(FAIL)\n# and cannot rule one out: it is INCONCLUSIVE at best. Only a verdict for "labels" can be PASS.'
    )


def _line(text: str) -> str:
    """``text`` on one line of a comment."""
    return "".join(character if character.isprintable() else "?" for character in text)


def audit_bound(max_auc: float | None) -> Bound:
    """The bound that a flag named, or the one that is proposed for what it means."""
    return Bound(MEANT_AUC, MEANT_AUC) if max_auc is None else Bound.chosen(max_auc, Bound(MEANT_AUC, MEANT_AUC))
