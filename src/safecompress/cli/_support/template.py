"""A first spec as commented TOML, which `init` writes from a few answers and the rows of the data."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import NormalDist
from typing import Any

import tomli_w

from safecompress.attacks import Access
from safecompress.attacks.reference import REFERENCE
from safecompress.certify import Feasibility
from safecompress.certify.feasibility import JOINT_CHANCE
from safecompress.data import DataSplit
from safecompress.metrics.catalogue import ACCURACY, AUC, SIZE_BYTES, WORST_CASE
from safecompress.metrics.certifiers import CertifyWorstCase, RowCounts

LEAST_BOUND = 0.6
"""The lowest bound on an AUC that is proposed."""

SMALL = 5000
"""Train rows up to which Adam and small batches are proposed, so that training takes enough steps."""


@dataclass(frozen=True)
class InitAnswers:
    """The answers of a person, or of flags. Shares go from 0 to 1; None asks for nothing.

    ``source`` is that of ``[data]``, ``model`` the table of that name; empty, it stands for a model that fits the data.
    ``proposed_worst_case`` is written as a comment, for a person to ask for.
    """

    name: str
    source: Mapping[str, Any] = field(hash=False)
    model: Mapping[str, Any] = field(hash=False)
    access: Access
    density: float
    epochs: int
    max_drop: float = 1.0
    min_accuracy: float | None = None
    max_bytes: int | None = None
    max_worst_case: float | None = None
    proposed_worst_case: float | None = None
    seed: int = 0

    @property
    def metrics(self) -> list[str]:
        """The AUCs that a verdict at this access must bound."""
        return [AUC.of(attack) for attack in REFERENCE[self.access]]


SHADOWS = 16
"""Shadow models of lira: the least that a verdict may rest on."""

PERSONS = (
    "# Averages hide a few people who are found for certain. This bounds how surely the most exposed members",
    "# (twenty, or one in a hundred) show; the report says it in any case. Without the # it must hold:",
)

CANARY_LINES = (
    "# Rows with a wrong label, put into training to see whether lira finds them. They take 220 rows that lie in no",
    "# part ([data] population can give them up), and what ships has learned them. Without the # they are planted:",
    "# canaries = 20",
)

EXPOSED_BY = "lira"
"""The attack whose shadow models say who is most exposed."""


def propose_worst_case(access: Access, num_members: int, alpha: float) -> float | None:
    """A bound on how surely the most exposed members show that four in five models without any leak keep.

    With all bounds on the reference set of ``access``. None where its attackers are not simulated with shadow models,
    or so few members cannot certify one.
    """
    rows, certifier = RowCounts(num_members, shadows=SHADOWS), CertifyWorstCase()
    if EXPOSED_BY not in REFERENCE[access] or certifier.fault(1.0, rows, alpha) is not None:
        return None
    return _in_steps(certifier.passable(rows, alpha, JOINT_CHANCE ** (1 / (len(REFERENCE[access]) + 1))))


def _in_steps(passable: float) -> float:
    """The next bound in steps of 0.05."""
    return min(1.0, max(LEAST_BOUND, math.ceil(round(20 * passable, 6)) / 20))


def propose_bound(prospects: Sequence[Feasibility], metrics: Sequence[str]) -> float:
    """A bound for all of ``metrics`` that four in five models without any leak keep, in steps of 0.05."""
    passable = [p.passable for p in prospects if p.requirement.metric in metrics and p.passable is not None]
    return _in_steps(max(passable, default=0.5))


def propose_drop(num_test_rows: int, alpha: float) -> float:
    """A bound on the loss of accuracy that two equally good models keep if they disagree on one row in twenty."""
    half_width = NormalDist().inv_cdf(1 - alpha / 2) * math.sqrt(0.05 / num_test_rows)
    return min(1.0, math.ceil(round(100 * (half_width + 0.01), 6)) / 100)


def write_template(
    answers: InitAnswers, split: DataSplit | None, bound: float, prospects: Sequence[Feasibility] = ()
) -> str:
    """The spec. Without ``split`` the sizes of its parts are left out: nothing is known about the rows yet."""
    tightest = {str(p.requirement.metric): p for p in prospects}
    blocks = [
        _head(answers),
        _data(answers, split),
        _training(answers, split),
        _safety(answers),
        *(_require(m, "at_most", bound, _certifiable_note(tightest.get(m))) for m in answers.metrics),
        _require(
            ACCURACY.name, "within", answers.max_drop, "how much worse than the dense model, on the same test rows"
        ),
    ]
    blocks += _on_persons(answers)
    if answers.min_accuracy is not None:
        words = _certifiable_note(tightest.get(ACCURACY.name))
        blocks.append(_require(ACCURACY.name, "at_least", answers.min_accuracy, words))
    if answers.max_bytes is not None:
        blocks.append(_require(SIZE_BYTES.name, "at_most", answers.max_bytes, "the file that ships"))
    return "\n".join(blocks)


def _head(answers: InitAnswers) -> str:
    return f"""\
# A spec for safecompress. Any line may be changed; what is left out has a default, and the run folder's spec.toml
# shows them all. `safecompress list` names what can stand here.
#   safecompress compress {answers.name}.toml     train, compress, attack, judge; the same command resumes after a stop
{_line("name", answers.name)}
{_line("seed", answers.seed)}
"""


def _data(answers: InitAnswers, split: DataSplit | None) -> str:
    source = answers.source
    shown = _line("source", source["name"]) if len(source) == 1 else f"source = {_inline(source)}"
    is_text = split is not None and split.dataset.is_tokens
    lines = ["[data]", shown]
    if split is not None and not is_text:
        lines.append('normalise = "standard"       # by the train rows; the scaling ships with the model')
    if split is not None:
        sizes = {name: part["rows"] for name, part in split.summary()["parts"].items()}
        kind = "tokens" if is_text else "numbers"
        shape = " x ".join(map(str, split.dataset.input_shape))
        rows = f"{split.dataset.num_rows:,} rows of {shape} {kind}, {split.dataset.num_classes} classes"
        lines += [
            f"# {rows}. Members are train rows; attackers are judged on the verdict pools.",
            "# Larger verdict pools certify tighter bounds. Sizes that you leave out are chosen as these were:",
            *(f"# {name} = {count}" for name, count in sizes.items()),
        ]
    return "\n".join([*lines, ""])


def _training(answers: InitAnswers, split: DataSplit | None) -> str:
    is_small = split is None or split.size("train") <= SMALL
    recipe: dict[str, Any] = {"epochs": answers.epochs}
    if is_small:
        recipe |= {"optimizer": "adam", "learning_rate": 1e-3, "batch_size": 32, "weight_decay": 0.0}
    rounds = f"rounds = {max(1, min(10, answers.epochs // 4))}"
    arms = "shares = [1.0, 0.8]"
    density = _line("density", answers.density)
    return f"""\
[model]
{_lines(answers.model)}

[recipe]                     # trains the dense model, the sparse one, and all shadow models alike
{_lines(recipe)}
# objective = "relax_loss"   # a defence in training; cross entropy without it

[compress]
{density:<28} # share of weights kept

[search]
method = "folds"             # sub-models that each miss some rows teach; "rewiring" compares candidates in rounds
{arms:<28} # of what a row teaches: what sub-models say of it; labels give the rest. 1 leaks least
{rounds:<28} # how often the pattern of a model moves while it trains

[deploy]
precision = "int8"           # how the file keeps weights: "float32", "float16", "int8". The file is what is judged
"""


def _safety(answers: InitAnswers) -> str:
    strong = {"lira": {"num_shadows": SHADOWS}, "label_only": {"queries": 16}}
    attacks = [_inline({"name": a, **strong[a]}) if a in strong else f'"{a}"' for a in REFERENCE[answers.access]]
    access = f'access = "{answers.access.name.lower()}"'
    return f"""\
[safety]
{access:<28} # what attackers are given: a file on a device gives "weights"
# The attacks that a verdict at this access must bound; more may stand here. For lira, 16 shadow models are the least.
attacks = [{", ".join(attacks)}]

{_canaries(answers)}
# What must hold. PASS needs the whole interval of each figure inside its bound; an AUC of 0.5 is guessing.
"""


def _canaries(answers: InitAnswers) -> str:
    """How to ask for canaries, as a comment, where the access has an attack that finds them."""
    return "\n".join(["", *CANARY_LINES, ""]) if EXPOSED_BY in REFERENCE[answers.access] else ""


def _require(metric: str, word: str, bound: float, comment: str) -> str:
    value = f"{word} = {bound:g}"
    return f'[[require]]\nmetric = "{metric}"\n{value:<28} # {comment}\n'


def _on_persons(answers: InitAnswers) -> list[str]:
    """The requirement on the most exposed members; as a comment where nobody asked for it.

    Most models that keep a bound on every average do not keep it, so it is for a person to ask.
    """
    metric = WORST_CASE.of(EXPOSED_BY)
    if answers.max_worst_case is not None:
        words = "of the most exposed members; 0.5 is guessing"
        return [_require(metric, "at_most", answers.max_worst_case, words)]
    if answers.proposed_worst_case is None:
        return []
    words = "these rows can certify it; 0.5 is guessing"
    lines = _require(metric, "at_most", answers.proposed_worst_case, words).splitlines()
    return ["\n".join([*PERSONS, *(f"# {line}" for line in lines), ""])]


def _certifiable_note(prospect: Feasibility | None) -> str:
    if prospect is None:
        return "set after a first run has shown what can be reached"
    if prospect.tightest is None:
        return prospect.note
    note = f"these rows can certify {prospect.tightest:.3f} at best"
    return note if prospect.passable is None else f"{note}; without a leak most pass {prospect.passable:.3f}"


def _line(key: str, value: Any) -> str:
    return tomli_w.dumps({key: value}).strip()


def _lines(table: Mapping[str, Any]) -> str:
    return "\n".join(_line(key, value) for key, value in table.items())


def _inline(table: Mapping[str, Any]) -> str:
    return "{ " + ", ".join(_line(key, value) for key, value in table.items()) + " }"
