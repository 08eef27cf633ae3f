"""A first spec as commented TOML, which `init` writes from a few answers and the rows of the data."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import NormalDist
from typing import Any

import tomli_w

from safecompress.attacks import Access
from safecompress.attacks.reference import REFERENCE
from safecompress.certify import Feasibility
from safecompress.data import DataSplit, SplitSizes
from safecompress.metrics import stats
from safecompress.metrics.catalogue import ACCURACY, AUC, SIZE_BYTES, WORST_CASE
from safecompress.metrics.certifiers import CertifyWorstCase, RowCounts
from safecompress.metrics.measurement import Direction
from safecompress.spec import Requirement, at_least, at_most, meaning_of, within

MEANT_AUC = 0.6
"""The bound on an attack's AUC that is proposed for what it means: whoever picks one of two people is right 60 times of
100, where guessing is 50."""

MEANT_WORST_CASE = 0.8
"""The bound on the most exposed people that is proposed: the model trained with the person is the surer one 80 times of
100."""

MEANT_DROP = 0.05
"""The loss of accuracy that is proposed: 5 people of 100."""

MARGIN = 0.02
"""How far above what the rows can certify at best a bound lies that had to be loosened."""

SMALL = 5000
"""Train rows up to which Adam and small batches are proposed, so that training takes enough steps."""


@dataclass(frozen=True, slots=True)
class Bound:
    """A bound, and who chose it.

    ``meant`` is the bound that `init` proposes for what it means, None where a person named another one. ``value`` is
    larger than ``meant`` only where the rows cannot show so little.
    """

    value: float
    meant: float | None = None

    @property
    def is_loosened(self) -> bool:
        """Whether the rows are too few for the bound that is meant."""
        return self.meant is not None and self.value > self.meant

    @classmethod
    def chosen(cls, value: float, proposal: Bound) -> Bound:
        """The ``value`` that a flag or a person gave where ``proposal`` was offered: that one, or their own."""
        return proposal if value == proposal.value else cls(value)


@dataclass(frozen=True)
class InitAnswers:
    """The answers of a person, or of flags. Shares go from 0 to 1; None asks for nothing.

    ``source`` is that of ``[data]``, ``model`` the table of that name; empty, it stands for a model that fits the data.
    ``bound`` is that on every attack's AUC, ``sizes`` are those of parts that differ from the default. With ``quick``
    the spec has a version for a rough verdict.
    """

    name: str
    file: str
    source: Mapping[str, Any] = field(hash=False)
    model: Mapping[str, Any] = field(hash=False)
    access: Access
    density: float
    epochs: int
    bound: Bound
    max_drop: Bound
    max_worst_case: Bound | None = None
    min_accuracy: float | None = None
    max_bytes: int | None = None
    sizes: Mapping[str, int] = field(default_factory=dict, hash=False)
    seed: int = 0
    quick: bool = False

    @property
    def metrics(self) -> list[str]:
        """The AUCs that a verdict at this access must bound."""
        return [AUC.of(attack) for attack in REFERENCE[self.access]]


SHADOWS = 16
"""Shadow models of lira: the least that a verdict may rest on."""

CANARY_LINES = (
    "# Rows with a wrong label, put into training to see whether lira finds them. They take 220 rows that lie in no",
    "# part ([data] population can give them up), and what ships has learned them. Without the # they are planted:",
    "# canaries = 20",
)

EXPOSED_BY = "lira"
"""The attack whose shadow models say who is most exposed."""


def propose_bound(prospects: Sequence[Feasibility], metrics: Sequence[str]) -> Bound:
    """The bound on all of ``metrics``: `MEANT_AUC`, or the lowest in steps of 0.05 that these rows can certify."""
    tightest = [p.tightest for p in prospects if p.requirement.metric in metrics and p.tightest is not None]
    return _as_meant(MEANT_AUC, max(tightest, default=0.5))


def propose_sizes(bound: Bound, num_rows: int, alpha: float) -> dict[str, int]:
    """Larger verdict pools, where they let the rows certify the bound that is meant; empty where nothing helps or must.

    Pools of up to a quarter of all rows: the bound follows what it means, and the rows follow the bound.
    """
    if bound.meant is None or not bound.is_loosened:
        return {}
    needed = stats.min_rows_for_auc(bound.meant - MARGIN - 0.5, alpha) + 1
    if 4 * needed > num_rows:
        return {}
    usual = SplitSizes.default(num_rows)
    train = needed + usual.member_fit + usual.member_select
    return {"train": train, "member_verdict": needed, "nonmember_verdict": needed}


def propose_worst_case(access: Access, num_members: int, alpha: float) -> Bound | None:
    """The bound on the most exposed people: `MEANT_WORST_CASE`, or the lowest that these rows can certify.

    None where the reference set of ``access`` has no attack by shadow models, or so few members cannot certify one. The
    shadow models of that attack give the figure, so it costs nothing more.
    """
    rows, certifier = RowCounts(num_members, shadows=SHADOWS), CertifyWorstCase()
    if EXPOSED_BY not in REFERENCE[access] or certifier.fault(1.0, rows, alpha) is not None:
        return None
    return _as_meant(MEANT_WORST_CASE, certifier.tightest(rows, alpha))


def propose_drop(num_test_rows: int, alpha: float) -> Bound:
    """The bound on the loss of accuracy: `MEANT_DROP`, or what rows can show.

    That is the loss that two equally good models keep if they disagree on one row in twenty.
    """
    half_width = NormalDist().inv_cdf(1 - alpha / 2) * math.sqrt(0.05 / num_test_rows)
    shown = min(1.0, math.ceil(round(100 * (half_width + 0.01), 6)) / 100)
    return Bound(max(MEANT_DROP, shown), MEANT_DROP)


def _as_meant(meant: float, tightest: float) -> Bound:
    """The bound ``meant`` where rows can certify it, else the next one in steps of 0.05 that they can."""
    if tightest <= meant:
        return Bound(meant, meant)
    return Bound(min(1.0, math.ceil(round(20 * (tightest + MARGIN), 6)) / 20), meant)


def write_template(answers: InitAnswers, split: DataSplit | None, prospects: Sequence[Feasibility] = ()) -> str:
    """The spec. Without ``split`` the sizes of its parts are left out: nothing is known about the rows yet."""
    by_metric = {str(p.requirement.metric): p for p in prospects}
    blocks = [_head(answers), _data(answers, split), _training(answers, split), _safety(answers)]
    for place, (requirement, bound) in enumerate(_requirements(answers)):
        words = _certifiable_note(requirement, by_metric.get(requirement.metric))
        blocks.append(requirement_block(requirement, bound, words, is_repeated=0 < place < len(answers.metrics)))
    if answers.quick:
        blocks.append(_quick(answers, split))
    return "\n".join(blocks)


def bounds_in_words(answers: InitAnswers) -> list[str]:
    """What each bound of the spec means, and which had to be loosened: sentences for the terminal."""
    lines = []
    for place, (requirement, bound) in enumerate(_requirements(answers)):
        if 0 < place < len(answers.metrics):
            continue
        name = f"every attack's AUC ≤ {bound.value:g}" if place == 0 else str(requirement)
        lines.append(f"{name} means: {meaning_of(requirement)}.")
        if bound.is_loosened:
            lines.append(f"  {_loosened(bound)}")
    return lines


def _requirements(answers: InitAnswers) -> list[tuple[Requirement, Bound]]:
    """What must hold: first the AUCs, then accuracy, the most exposed people, and the size."""
    listed = [(at_most(metric, answers.bound.value), answers.bound) for metric in answers.metrics]
    listed.append((within(answers.max_drop.value, metric=ACCURACY.name), answers.max_drop))
    if answers.max_worst_case is not None:
        worst = answers.max_worst_case
        listed.append((at_most(WORST_CASE.of(EXPOSED_BY), worst.value), worst))
    if answers.min_accuracy is not None:
        listed.append((at_least(ACCURACY.name, answers.min_accuracy), Bound(answers.min_accuracy)))
    if answers.max_bytes is not None:
        listed.append((at_most(SIZE_BYTES.name, answers.max_bytes), Bound(answers.max_bytes)))
    return listed


def _head(answers: InitAnswers) -> str:
    return f"""\
# A spec for safecompress. Any line may be changed; what is left out has a default, and the run folder's spec.toml
# shows them all. `safecompress list` names what can stand here.
#   safecompress compress {answers.file}     train, compress, attack, judge; the same command resumes after a stop
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
            *(f"{'' if name in answers.sizes else '# '}{name} = {count}" for name, count in sizes.items()),
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


def requirement_block(requirement: Requirement, bound: Bound, note: str, *, is_repeated: bool = False) -> str:
    """One ``[[require]]`` with ``note`` beside its bound; what it means above it, unless the one before has said so."""
    lines = [] if is_repeated else _meaning(requirement, bound)
    return "\n".join([*lines, _require(requirement, bound, note)])


def _require(requirement: Requirement, bound: Bound, comment: str) -> str:
    """One ``[[require]]``. A bound that `init` proposed is written twice, so that a report can say who changed it."""
    metric, word = requirement.metric, "at_most"
    if requirement.is_change():
        metric, word = ACCURACY.name, "within"
    elif requirement.direction is Direction.HIGHER:
        word = "at_least"
    lines = ["[[require]]", f'metric = "{metric}"', f"{f'{word} = {bound.value:g}':<28} # {comment}"]
    if bound.meant is not None:
        lines.append(f"{f'proposed = {bound.value:g}':<28} # by init: with it the report says who chose the bound")
    return "\n".join([*lines, ""])


def _meaning(requirement: Requirement, bound: Bound) -> list[str]:
    """What the bound means, as comments."""
    words = meaning_of(requirement) or str(requirement)
    sentences = [f"{words[:1].upper()}{words[1:]}."]
    if bound.is_loosened:
        sentences.append(_loosened(bound))
    return [f"# {line}" for sentence in sentences for line in textwrap.wrap(sentence, 116)]


def _loosened(bound: Bound) -> str:
    return (
        f"LOOSENED: {bound.meant:g} would be proposed, and so few rows cannot show it. Bring more rows, or make sure "
        f"that {bound.value:g} is good enough."
    )


def _certifiable_note(requirement: Requirement, prospect: Feasibility | None) -> str:
    if requirement.is_change():
        return "how much worse than the dense model, on the same test rows"
    if requirement.metric == SIZE_BYTES.name:
        return "the file that ships"
    if prospect is None:
        return "set after a first run has shown what can be reached"
    if prospect.tightest is None:
        return prospect.note
    note = f"these rows can certify {prospect.tightest:.3f} at best"
    return note if prospect.passable is None else f"{note}; without a leak most pass {prospect.passable:.3f}"


QUICK = "quick"
"""The version of the spec for a rough verdict, its table ``[scale.quick]``."""

QUICK_ROWS = 1800
"""The rows that a rough verdict takes: enough for an AUC of 0.6, few enough for about a minute."""

QUICK_EPOCHS = 40

QUICK_LINES = """\
# A rough verdict in about a minute, which says so everywhere and is never PASS:
#   safecompress compress {file} --scale quick
[scale.quick.recipe]
epochs = {epochs}

[scale.quick.search]
{folds}
shares = [0.8]
lengths = [1.0]
evidence = {{ repeats = 0 }}
rounds = 5

[scale.quick.safety]
{rough}
"""


def _quick(answers: InitAnswers, split: DataSplit | None) -> str:
    """The version for a rough verdict: few rows, few epochs, one arm."""
    folds = "folds = { number = 2, held_out = 1 }"
    rough = _line("rough", f"safecompress compress {answers.file}")
    lines = QUICK_LINES.format(file=answers.file, epochs=min(QUICK_EPOCHS, answers.epochs), folds=folds, rough=rough)
    if split is None or split.dataset.num_rows <= QUICK_ROWS:
        return lines
    sizes = SplitSizes.default(QUICK_ROWS).as_dict()
    return "\n".join([lines, "[scale.quick.data]", _lines(sizes), ""])


def _line(key: str, value: Any) -> str:
    return tomli_w.dumps({key: value}).strip()


def _lines(table: Mapping[str, Any]) -> str:
    return "\n".join(_line(key, value) for key, value in table.items())


def _inline(table: Mapping[str, Any]) -> str:
    return "{ " + ", ".join(_line(key, value) for key, value in table.items()) + " }"
