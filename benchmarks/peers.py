"""Beside other public audit tools: the same attack on the same arrays, and who is right where the figures differ.

The tools are no dependency of ours, and nothing of theirs is copied: what is not importable is skipped, and the page
says so. An environment that has all three:

    python3 -m venv /tmp/peers
    /tmp/peers/bin/pip install -c constraints.txt -e . adversarial-robustness-toolbox packaging
    /tmp/peers/bin/pip install -c constraints.txt sacroml optuna pandas matplotlib pyyaml dotmap
    git clone https://github.com/aidotse/LeakPro /tmp/LeakPro        # its package on the index is empty
    OMP_NUM_THREADS=1 /tmp/peers/bin/python benchmarks/peers.py --root DIR --work DIR --leakpro /tmp/LeakPro

Ends with an error when one formula gives two numbers, or when our metrics differ from their slow definitions.

``--root`` holds Location-30; ``--work`` keeps what the shadows say, so that a second run trains none.

Shape letters: K shadows, N rows, C classes.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.metadata
import logging
import os
import sys
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import common
import numpy as np
import torch
from numpy.typing import NDArray

from attacks import MODEL, RECIPE
from safecompress.attacks import Attack, Gap, LabelOnly, Neural, Target, simulate_attacker
from safecompress.attacks.membership import likelihood
from safecompress.attacks.shadows import ShadowDraw
from safecompress.attacks.signals import Signals
from safecompress.auditing.shadow_training import FixedMaskShadowTrainer, shadow_rows
from safecompress.data import AuditData, location30, make_split
from safecompress.export import ServedModel, TaskInfo
from safecompress.metrics import stats
from safecompress.metrics.measurement import Levels
from safecompress.seeding import derive, seeded
from safecompress.training import TrainingState, TrainingTask, predict_logits, train

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

NUM_SHADOWS = 16
SEEDS = (0, 1, 2)
"""Of the attackers that are trained."""
FPR, LOW_FPR = 0.01, 0.001
WARM = "online, log ratio(x), temperature 2"
RMIA_DEFAULT = "online, as it comes (temperature 2, gamma 2)"
SACRO_PAIR = "online, per_sample / SACRO-ML: online-carlini, variance row"
STEPS = 5
"""Of HopSkipJump, where 50 are its default."""
LABEL_ONLY = "label_only, 64 queries"


# --- what is attacked: one model, its shadows, and what they say of two pools


@dataclass(frozen=True, eq=False)
class Answers:
    """What the target (N, C) and its shadows (K, N, C) say of a pool's rows, members first."""

    audit: AuditData
    logits_NC: Floats = field(repr=False)
    logits_KNC: Floats = field(repr=False)
    is_in_KN: Bools = field(repr=False)

    @property
    def is_member(self) -> Bools:
        """(N,)."""
        return self.audit.is_member

    @cached_property
    def labels(self) -> NDArray[np.int64]:
        """(N,)."""
        return self.audit.labels.numpy().astype(np.int64)

    @cached_property
    def phi_N(self) -> Floats:
        """The target's scaled logit."""
        return Signals(self.logits_NC, self.labels).scaled_logit_N

    @cached_property
    def phi_KN(self) -> Floats:
        """The shadows' scaled logits."""
        return np.stack([Signals(logits, self.labels).scaled_logit_N for logits in self.logits_KNC])

    @cached_property
    def probs_NC(self) -> Floats:
        """The target's probabilities."""
        return np.exp(Signals(self.logits_NC, self.labels).log_probs_NC)


@dataclass(frozen=True, eq=False)
class Setting:
    """A dense Location-30 model under attack, and what is known of the fitting pool and of the verdict pool."""

    target: Target
    fit: Answers
    verdict: Answers

    @classmethod
    def make(cls, root: Path, work: Path) -> Setting:
        """Trained, or with the shadows' answers read from ``work``."""
        split = make_split(location30(root), seed=0)
        task = TaskInfo(30, split.dataset.class_names, (446,))
        network = MODEL.fresh(0)
        course = TrainingTask(*split.part("train"), RECIPE, 0)
        train(network, TrainingState.capture(0, network), course, until=course.total_steps).restore_(network)
        target = Target(ServedModel(network, task))
        audits = {name: split.audit(name) for name in ("fit", "verdict")}
        path = work / "shadows.npz"
        if not path.exists():
            rows = shadow_rows(split, "verdict", 0)
            trainer = FixedMaskShadowTrainer.of(network, MODEL, task, RECIPE, pattern=None)
            draws = rows.draws(NUM_SHADOWS)
            kept: dict[str, list[Any]] = {name: [] for name in audits}
            shadow = trainer.build()
            for number, is_in in enumerate(draws):
                (weights,) = trainer(rows, [ShadowDraw(number, np.flatnonzero(is_in))])
                shadow.load_state_dict(dict(weights))
                for name, audit in audits.items():
                    kept[name].append(predict_logits(shadow, audit.features).double().numpy())
                print(f"shadow {number}", flush=True)
            places = {  # a row's place in the shadows' pool, by its features and label
                name: _places(rows.features, rows.labels, audit.features, audit.labels)
                for name, audit in audits.items()
            }
            kept_in = {f"{name}_is_in": draws[:, place] for name, place in places.items()}
            np.savez(path, allow_pickle=False, **{name: np.stack(value) for name, value in kept.items()}, **kept_in)
        with np.load(path, allow_pickle=False) as kept_arrays:
            pools = {
                name: Answers(audit, target.signals(audit).logits_NC, kept_arrays[name], kept_arrays[f"{name}_is_in"])
                for name, audit in audits.items()
            }
        return cls(target, pools["fit"], pools["verdict"])


def _places(pool: torch.Tensor, pool_labels: torch.Tensor, rows: torch.Tensor, labels: torch.Tensor) -> NDArray[Any]:
    def keys(features: torch.Tensor, of: torch.Tensor) -> list[tuple[bytes, int]]:
        return [(row.numpy().tobytes(), int(label)) for row, label in zip(features, of, strict=True)]

    number = {key: place for place, key in enumerate(keys(pool, pool_labels))}
    return np.array([number[key] for key in keys(rows, labels)])


# --- the tools


def find_tools(leakpro: Path | None, commit: str) -> tuple[dict[str, SimpleNamespace], dict[str, str]]:
    """What could be imported, by name, and why the rest could not."""
    found, skipped = {}, {}
    for name, load in {"ART": _art, "SACRO-ML": _sacro, "LeakPro": lambda: _leakpro(leakpro, commit)}.items():
        try:
            found[name] = load()
        except (ImportError, RuntimeError) as error:
            skipped[name] = f"{type(error).__name__}: {error}".splitlines()[0]
            print(f"SKIPPED: {name} cannot be imported ({skipped[name]})", file=sys.stderr)
    return found, skipped


def _art() -> SimpleNamespace:
    attacks = importlib.import_module("art.attacks.inference.membership_inference")
    return SimpleNamespace(
        version=importlib.metadata.version("adversarial-robustness-toolbox"),
        RuleBased=attacks.MembershipInferenceBlackBoxRuleBased,
        BlackBox=attacks.MembershipInferenceBlackBox,
        LabelOnly=attacks.LabelOnlyDecisionBoundary,
        Classifier=importlib.import_module("art.estimators.classification").PyTorchClassifier,
        HopSkipJump=importlib.import_module("art.attacks.evasion.hop_skip_jump").HopSkipJump,
        roc_for_fpr=importlib.import_module("art.metrics.privacy.worst_case_mia_score").get_roc_for_fpr,
    )


def _sacro() -> SimpleNamespace:
    lira = importlib.import_module("sacroml.attacks.likelihood_attack")
    logging.getLogger().setLevel(logging.WARNING)
    return SimpleNamespace(
        version=importlib.metadata.version("sacroml"),
        Lira=lira.LIRAAttack,
        logit=importlib.import_module("sacroml.attacks.utils").logit,
        metrics=importlib.import_module("sacroml.metrics"),
    )


def _leakpro(checkout: Path | None, commit: str) -> SimpleNamespace:
    """From a checkout, past its front page, which imports federated and time-series tools that no attack here needs."""
    if checkout is None or not (checkout / "leakpro").is_dir():
        raise ImportError("no checkout was given (--leakpro DIR)")
    package = ModuleType("leakpro")
    package.__path__ = [str(checkout / "leakpro")]
    sys.modules["leakpro"] = package
    try:
        importlib.import_module("ts2vec")
    except ImportError:
        absent = ModuleType("ts2vec")
        absent.TS2Vec = None  # type: ignore[attr-defined]
        sys.modules["ts2vec"] = absent
    lira = importlib.import_module("leakpro.attacks.mia_attacks.lira")
    rmia = importlib.import_module("leakpro.attacks.mia_attacks.rmia")
    logging.getLogger("leakpro").setLevel(logging.WARNING)
    return SimpleNamespace(
        version=f"commit {commit}",
        Lira=lira.AttackLiRA,
        Rmia=rmia.AttackRMIA,
        Shared=importlib.import_module("leakpro.attacks.mia_attacks.abstract_mia").AbstractMIA,
        Result=importlib.import_module("leakpro.reporting.mia_result").MIAResult,
    )


# --- figures


@dataclass(frozen=True)
class Line:
    """One attack by one tool: figures on the verdict pool, processor seconds, and rows that tie with another."""

    tool: str
    what: str
    auc: float
    tpr: float
    balanced_accuracy: float | None
    seconds: float
    tied: float
    queries: float | None = None


def line(
    tool: str, what: str, scores: Floats, is_member: Bools, seconds: float, calls: Bools | None = None, **more: Any
) -> Line:
    """The figures of ``scores`` by our metrics, whoever made them; ``calls`` are the rows that were called members."""
    accuracy = None if calls is None else float((calls[is_member].mean() + 1 - calls[~is_member].mean()) / 2)
    _, inverse, counts = np.unique(scores, return_inverse=True, return_counts=True)
    return Line(
        tool,
        what,
        stats.auc(scores, is_member),
        stats.tpr_at_fpr(scores, is_member, FPR),
        accuracy,
        seconds,
        float((counts[inverse] > 1).mean()),
        **more,
    )


def timed(function: Callable[[], Any]) -> tuple[Any, float]:
    """What it gives, and the processor seconds it took (others may be using the machine)."""
    began = time.process_time()
    value = function()
    return value, time.process_time() - began


def lines_table(lines: Sequence[Line]) -> str:
    """The lines as Markdown; queries only where they were counted."""
    counted = any(one.queries is not None for one in lines)
    header = ["tool", "what", "AUC", "TPR at FPR 1 %", "balanced accuracy", "ms", "tied rows"]
    return common.table(
        header + ["queries a row"] * counted,
        [
            [
                one.tool,
                one.what,
                f"{one.auc:.4f}",
                f"{one.tpr:.3f}",
                "-" if one.balanced_accuracy is None else f"{one.balanced_accuracy:.3f}",
                f"{1e3 * one.seconds:,.1f}",
                f"{one.tied:.0%}",
                *([f"{one.queries:,.0f}"] if one.queries is not None else ["-"] * counted),
            ]
            for one in lines
        ],
    )


def ours(setting: Setting, attack: Attack, what: str, seeds: Sequence[int] = (0,)) -> Line:
    """One of our attacks, fitted on the fitting pool; the mean over ``seeds``."""
    made = []
    for seed in seeds:
        target = Target(setting.target.model)  # nothing cached: what it costs from the model on

        def run(seed: int = seed, target: Target = target) -> Any:
            generator = derive(seed, "peers", attack.name)
            attacker = simulate_attacker(attack, target, setting.fit.audit, generator=generator)
            return attacker, attacker.test(target, setting.verdict.audit, Levels())

        (attacker, result), seconds = timed(run)
        calls = result.scores >= attacker.threshold
        made.append(line("SafeCompress", what, result.scores, result.is_member, seconds, calls))
    return mean_line(made)


def mean_line(lines: Sequence[Line]) -> Line:
    """The mean of lines that differ in their seed; the spread of the AUC goes into ``what``."""
    if len(lines) == 1:
        return lines[0]
    aucs = [one.auc for one in lines]
    return Line(
        lines[0].tool,
        f"{lines[0].what} ({len(lines)} seeds, AUC {min(aucs):.3f}-{max(aucs):.3f})",
        *(
            float(np.mean([getattr(one, name) for one in lines]))
            for name in ("auc", "tpr", "balanced_accuracy", "seconds", "tied")
        ),
    )


# --- attacks that read the target alone


def gap(setting: Setting, art: SimpleNamespace | None) -> tuple[list[Line], dict[str, Any]]:
    """Right or wrong answers as membership."""
    lines = [ours(setting, Gap(), "gap")]
    facts: dict[str, Any] = {}
    if art is not None:
        classifier = art_classifier(art, setting.target.model)
        attack, verdict = art.RuleBased(classifier), setting.verdict
        features = verdict.audit.features.numpy()
        calls, seconds = timed(lambda: attack.infer(features, verdict.labels))
        scores = calls.astype(np.float64)
        lines.append(line("ART", "rule-based", scores, verdict.is_member, seconds, scores > 0.5))
        own = Gap().score(setting.target, verdict.audit)
        facts["art_rule_based_differing_rows"] = int((own != scores).sum())
        keep = verdict.labels != 0
        facts["art_rule_based_without_class_0"] = outcome(lambda: attack.infer(features[keep], verdict.labels[keep]))
    return lines, facts


def art_classifier(art: SimpleNamespace, model: torch.nn.Module) -> Any:
    """The target as ART wants it; its ``predict`` gives the target's logits."""
    classes, columns = MODEL.num_classes, MODEL.input_shape
    return art.Classifier(model=model, loss=torch.nn.CrossEntropyLoss(), input_shape=columns, nb_classes=classes)


def outcome(function: Callable[[], Any]) -> str:
    """``gives a result``, or what it raises."""
    try:
        function()
    except Exception as error:
        return f"raises {type(error).__name__}"
    return "gives a result"


def nets(setting: Setting, art: SimpleNamespace | None) -> list[Line]:
    """Attackers that learn from scores and labels of the fitting pool."""
    lines = [
        ours(setting, Neural(), "neural", SEEDS),
        ours(setting, Neural(inputs="paper"), 'neural, inputs="paper"', SEEDS),
    ]
    if art is None:
        return lines
    fit, verdict = setting.fit, setting.verdict
    for model, reads in (("nn", "logits"), ("nn", "probabilities"), ("rf", "logits"), ("gb", "logits")):
        made = []
        for seed in SEEDS:
            attack = art.BlackBox(art_classifier(art, setting.target.model), attack_model_type=model)
            seen, asked = ((a.logits_NC if reads == "logits" else a.probs_NC) for a in (fit, verdict))

            def run(attack: Any = attack, seen: Floats = seen, asked: Floats = asked, seed: int = seed) -> Any:
                members = fit.is_member
                with seeded(seed, "ART"):
                    np.random.seed(seed)  # noqa: NPY002  (its forests draw from there)
                    attack.fit(
                        y=fit.labels[members],
                        test_y=fit.labels[~members],
                        pred=seen[members],
                        test_pred=seen[~members],
                    )
                    return attack.infer(None, verdict.labels, pred=asked, probabilities=True)

            chance, seconds = timed(run)
            scores = np.asarray(chance, dtype=np.float64).ravel()
            made.append(line("ART", f"{model} on {reads}", scores, verdict.is_member, seconds, scores >= 0.5))
        lines.append(mean_line(made))
    return lines


class Counting(torch.nn.Module):
    """A model that counts the rows it is asked about."""

    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        self.model = model
        self.asked = 0

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        """What the model says."""
        self.asked += len(rows)
        answer: torch.Tensor = self.model(rows)
        return answer


def label_only(setting: Setting, art: SimpleNamespace | None) -> tuple[list[Line], dict[str, Any]]:
    """How far a row lies from the boundary, by labels alone: 50 + 50 rows to fit, 100 + 100 to judge."""
    fit, verdict = _fewer(setting.fit.audit, 50), _fewer(setting.verdict.audit, 100)
    num_rows, lines = len(fit.labels) + len(verdict.labels), []
    for attack, what in ((LabelOnly(), LABEL_ONLY), (LabelOnly(queries=512), "label_only, 512 queries")):
        model = Counting(setting.target.model)
        target = Target(model)

        def run(attack: Attack = attack, target: Target = target) -> Any:
            attacker = simulate_attacker(attack, target, fit, generator=derive(0, "peers", "labels"))
            return attacker, attacker.test(target, verdict, Levels())

        (attacker, result), seconds = timed(run)
        calls = result.scores >= attacker.threshold
        asked = model.asked / num_rows
        lines.append(line("SafeCompress", what, result.scores, result.is_member, seconds, calls, queries=asked))
    if art is None:
        return lines, {}
    model = Counting(setting.target.model)
    attack, options = art.LabelOnly(art_classifier(art, model)), {"norm": 2, "max_iter": STEPS, "verbose": False}
    distance = art_distances(art, model, fit, verdict, options)
    members = fit.is_member
    with remembering(art.HopSkipJump, {**distance.moved}):
        attack.calibrate_distance_threshold(
            *(part.numpy() for rows in (members, ~members) for part in (fit.features[rows], fit.labels[rows])),
            **options,
        )
        features, labels = verdict.features.numpy(), verdict.labels.numpy()
        calls = attack.infer(features, labels, **options).astype(bool)
        chance = attack.infer(features, labels, probabilities=True, **options)[:, 1]
    told = {"seconds": distance.seconds, "queries": distance.asked / num_rows}
    rows = verdict.is_member
    lines += [
        line("ART", "decision boundary, its calls", calls.astype(np.float64), rows, calls=calls, **told),
        line("ART", "decision boundary, its probabilities", chance, rows, calls=calls, **told),
        line("ART", "decision boundary, the distances themselves", distance.of_verdict, rows, calls=calls, **told),
    ]
    far = distance.of_verdict >= np.quantile(distance.of_verdict, 0.9)
    near = distance.of_verdict >= np.quantile(distance.of_verdict, 0.5)
    facts = {
        "threshold": float(attack.distance_threshold_tau),
        "mean_probability_of_the_farthest_tenth": float(chance[far].mean()),
        "mean_probability_of_the_tenths_six_to_nine": float(chance[near & ~far].mean()),
        "largest_probability": float(chance.max()),
    }
    return lines, facts


def _fewer(audit: AuditData, each: int) -> AuditData:
    """The first rows of each side."""
    sides = (np.flatnonzero(audit.is_member), np.flatnonzero(~audit.is_member))
    rows = np.concatenate([side[:each] for side in sides])
    return AuditData(audit.features[rows], audit.labels[rows], audit.is_member[rows])


def art_distances(
    art: SimpleNamespace, model: Counting, fit: AuditData, verdict: AuditData, options: Mapping[str, Any]
) -> SimpleNamespace:
    """ART's HopSkipJump once for every row; wrong answers lie at distance 0, as in its label-only attack."""
    hop, moved, distances = art.HopSkipJump(art_classifier(art, model), targeted=False, **options), {}, []
    model.asked = 0

    def run() -> None:
        np.random.seed(0)  # noqa: NPY002  (it draws from there)
        members = fit.is_member
        for features, labels in (
            (fit.features[members], fit.labels[members]),
            (fit.features[~members], fit.labels[~members]),
            (verdict.features, verdict.labels),
        ):
            rows = features.numpy()
            hot = np.eye(MODEL.num_classes, dtype=np.float32)[labels.numpy()]
            moved[rows.tobytes()] = hop.generate(x=rows, y=hot)
            right = (predict_logits(model, features).argmax(1) == labels).numpy()
            distances.append(np.linalg.norm(moved[rows.tobytes()] - rows, axis=1) * right)

    _, seconds = timed(run)
    of_verdict = distances[-1].astype(np.float64)
    return SimpleNamespace(moved=moved, of_verdict=of_verdict, seconds=seconds, asked=model.asked)


class remembering:  # noqa: N801  (a context)
    """Within it, HopSkipJump gives what it gave before for these rows: its walk is random, and takes minutes."""

    def __init__(self, walker: Any, moved: Mapping[bytes, Any]) -> None:
        self.walker, self.moved, self.generate = walker, moved, walker.generate

    def __enter__(self) -> None:
        moved = self.moved
        self.walker.generate = lambda self, x, y=None, **_: moved[x.tobytes()]

    def __exit__(self, *_: object) -> None:
        self.walker.generate = self.generate


# --- attacks that compare with shadows


Score = Callable[[Answers], Floats]


def compared(tool: str, what: str, score: Score, setting: Setting) -> tuple[Line, Floats]:
    """The line of ``score``, called with the threshold that is best on the fitting pool; its seconds; its scores."""
    scores, seconds = timed(lambda: score(setting.verdict))
    threshold = stats.best_threshold(score(setting.fit), setting.fit.is_member)
    return line(tool, what, scores, setting.verdict.is_member, seconds, scores >= threshold), scores


def our_lira(mode: str, variance: Any) -> Score:
    """LiRA of this package on arrays."""
    score = likelihood.lira_online if mode == "online" else likelihood.lira_offline
    return lambda a: score(a.phi_N[None], a.phi_KN[:, None], a.is_in_KN, variance=variance)


def leakpro_lira(tool: SimpleNamespace, mode: str, variance: str) -> Score:
    """Its ``run_attack`` on our logits. ``variance``: ``global`` (its choice for 16 shadows), ``row``, ``unbiased``.

    ``row`` is what it does from 64 shadows on; ``unbiased`` is ``row`` with variances over n - 1, as ours are.
    """

    class Unbiased(tool.Lira):  # type: ignore[misc, name-defined]
        def _carlini_variance(self, logits: Any, mask: Any, is_in: bool) -> Any:
            return np.std(logits[mask], ddof=1)

    def score(answers: Answers) -> Floats:
        kind = Unbiased if variance == "unbiased" else tool.Lira
        attack = object.__new__(kind)  # its constructor asks for a project folder
        _leakpro_rows(tool, answers)
        is_online, count = mode == "online", len(answers.is_in_KN)
        attack.configs = kind.AttackConfig(num_shadow_models=count, online=is_online, var_calculation="carlini")
        attack.online, attack.num_shadow_models, attack.var_calculation = is_online, count, "carlini"
        attack.fix_var_threshold = 32 if variance == "global" else 0
        attack.out_indices = ~answers.is_in_KN
        attack.target_logits = attack.rescale_logits(answers.logits_NC, answers.labels)
        attack.shadow_models_logits = np.array([attack.rescale_logits(z, answers.labels) for z in answers.logits_KNC])
        return np.asarray(attack.run_attack().signal_values)

    return score


def _leakpro_rows(tool: SimpleNamespace, answers: Answers) -> None:
    """Tell it who is a member; it returns members first, and so do our pools."""
    members, others = np.flatnonzero(answers.is_member), np.flatnonzero(~answers.is_member)
    assert members.max() < others.min()
    tool.Shared.audit_dataset = {"data": np.arange(len(answers.labels)), "in_members": members, "out_members": others}


def sacro_lira(tool: SimpleNamespace, mode: str, fix_variance: bool, work: Path) -> Score:
    """Its ``_compute_scores`` on our probabilities; the column that its own metrics read."""

    def score(answers: Answers) -> Floats:
        attack = tool.Lira(output_dir=str(work / "sacro"), write_report=False, mode=mode, fix_variance=fix_variance)
        rows = np.arange(len(answers.labels))
        shadow_probs = [np.exp(Signals(z, answers.labels).log_probs_NC) for z in answers.logits_KNC]
        logits_KN = np.array([[tool.logit(p) for p in probs[rows, answers.labels]] for probs in shadow_probs])
        said = [
            {int(row): list(logits_KN[is_on[:, row], row]) for row in rows}
            for is_on in (~answers.is_in_KN, answers.is_in_KN)
        ]
        scores, _ = attack._compute_scores(answers.labels, answers.probs_NC, *said)
        return np.array(scores)[:, 1]

    return score


def lira(
    setting: Setting, tools: Mapping[str, SimpleNamespace], work: Path
) -> tuple[list[Line], dict[str, Any], dict[str, Floats]]:
    """Every definition of LiRA that a tool has; how far equal definitions differ; scores for the metrics."""
    wanted: list[tuple[str, str, Score]] = [
        ("SafeCompress", f"{mode}, {variance}", our_lira(mode, variance))
        for mode in ("online", "offline")
        for variance in likelihood.VARIANCES
    ]
    if (tool := tools.get("LeakPro")) is not None:
        wanted += [
            ("LeakPro", f"{mode}, variance {variance}", leakpro_lira(tool, mode, variance))
            for mode in ("online", "offline")
            for variance in ("global", "row", "unbiased")
        ]
    if (tool := tools.get("SACRO-ML")) is not None:
        wanted += [
            ("SACRO-ML", f"{mode}, variance {'global' if fixed else 'row'}", sacro_lira(tool, mode, fixed, work))
            for mode in ("online-carlini", "offline", "offline-carlini")
            for fixed in (False, True)
        ]
    lines, scores = [], {}
    for tool_name, what, score in wanted:
        made, scores[f"{tool_name}: {what}"] = compared(tool_name, what, score, setting)
        lines.append(made)
        print(made, flush=True)
    facts: dict[str, Any] = {"largest_difference": {}}
    if "LeakPro: online, variance global" in scores:
        pair = ("SafeCompress: online, shrunken", "LeakPro: online, variance global")
        facts["shrunken_minus_global"] = paired(scores[pair[0]], scores[pair[1]], setting.verdict.is_member)
    for ours_is, theirs_is in (
        ("online, per_sample", "LeakPro: online, variance unbiased"),
        ("online, per_sample", "LeakPro: online, variance row"),
        ("online, per_sample", "SACRO-ML: online-carlini, variance row"),
        ("offline, per_sample", "LeakPro: offline, variance unbiased"),
        ("offline, per_sample", "SACRO-ML: offline, variance row"),
    ):
        if theirs_is in scores:
            own, other = scores[f"SafeCompress: {ours_is}"], scores[theirs_is]
            entry = {"rank_correlation": _rank_correlation(own, other)}
            if "unbiased" in theirs_is:
                from scipy.special import log_ndtr

                same = own if ours_is.startswith("online") else log_ndtr(own)  # theirs is log Phi(z)
                entry["largest_difference"] = float(np.abs(same - other).max())
                entry["largest_relative_difference"] = float((np.abs(same - other) / np.maximum(1, abs(same))).max())
            facts["largest_difference"][f"{ours_is} / {theirs_is}"] = entry
    phi = setting.verdict.phi_N
    facts["largest_phi"] = float(np.abs(phi).max())
    if (tool := tools.get("SACRO-ML")) is not None:
        p_y = setting.verdict.probs_NC[np.arange(len(phi)), setting.verdict.labels]
        facts["sacro_logit_largest_difference"] = float(np.abs(np.array([tool.logit(p) for p in p_y]) - phi).max())
        facts["sacro_logit_at_phi_40"] = float(tool.logit(1 / (1 + np.exp(-40.0))))
    if (tool := tools.get("LeakPro")) is not None:
        logits, labels = setting.verdict.logits_NC, setting.verdict.labels
        theirs = object.__new__(tool.Lira).rescale_logits(logits, labels)
        facts["leakpro_logit_largest_difference"] = float(np.abs(theirs - phi).max())
        certain = np.array([[150.0, 0.0, 0.0]])
        facts["leakpro_logit_at_phi_149.3"] = float(object.__new__(tool.Lira).rescale_logits(certain, [0])[0])
    return lines, facts, scores


def paired(a: Floats, b: Floats, is_member: Bools) -> list[float]:
    """AUC(a) - AUC(b) on the same rows, and its limits at 95 %."""
    difference = stats.auc_difference(a, b, is_member, 0.05)
    return [difference.value, difference.interval.low, difference.interval.high]


def _rank_correlation(a: Floats, b: Floats) -> float:
    from scipy.stats import spearmanr

    return float(spearmanr(a, b).statistic)


def our_rmia(mode: str) -> Score:
    """log ratio(x)."""
    if mode == "online":
        return lambda a: likelihood.log_ratio_online(a.phi_N, a.phi_KN, a.is_in_KN)
    return lambda a: likelihood.log_ratio_offline(a.phi_N, a.phi_KN, a.is_in_KN, a=0.33)


def warmer(answers: Answers) -> Answers:
    """The answers at softmax temperature 2."""
    return Answers(answers.audit, answers.logits_NC / 2, answers.logits_KNC / 2, answers.is_in_KN)


def leakpro_rmia(tool: SimpleNamespace, answers: Answers, epsilon: float, **options: Any) -> tuple[Any, Floats]:
    """Its ``prepare_attack`` and ``_run_attack`` on our logits: the attack, and its scores."""
    attack = object.__new__(tool.Rmia)
    _leakpro_rows(tool, answers)
    attack.configs = tool.Rmia.AttackConfig(num_shadow_models=len(answers.is_in_KN), **options)
    for name, value in attack.configs.model_dump().items():
        setattr(attack, name, value)
    members, others = np.flatnonzero(answers.is_member), np.flatnonzero(~answers.is_member)
    attack.handler = SimpleNamespace(
        train_indices=members, test_indices=others, get_labels=lambda rows: answers.labels[rows], target_model=None
    )
    attack.attack_data_indices, attack.ground_truth_indices = np.arange(len(answers.labels)), answers.labels
    attack.logits_theta, attack.logits_shadow_models = answers.logits_NC, list(answers.logits_KNC)
    attack.shadow_models, attack.out_indices = [None] * len(answers.is_in_KN), ~answers.is_in_KN
    attack.epsilon, attack.load_for_optuna = epsilon, True
    np.random.seed(0)  # noqa: NPY002  (z is drawn from there)
    attack.prepare_attack()
    attack._run_attack()
    return attack, np.concatenate([attack.in_member_signals, attack.out_member_signals]).ravel()


def rmia(
    setting: Setting, tools: Mapping[str, SimpleNamespace]
) -> tuple[list[Line], dict[str, Any], dict[str, Floats]]:
    """RMIA's ratio, and its share of z, by both tools; and whether one formula gives one number."""
    wanted: list[tuple[str, str, Score]] = [
        ("SafeCompress", "online, log ratio(x)", our_rmia("online")),
        ("SafeCompress", "offline, log ratio(x)", our_rmia("offline")),
        *(
            ("SafeCompress, by hand", f"{mode}, log ratio(x), temperature 2", lambda a, m=mode: our_rmia(m)(warmer(a)))
            for mode in ("online", "offline")
        ),
    ]
    tool = tools.get("LeakPro")
    if tool is not None:
        for what, options in {
            RMIA_DEFAULT: {"online": True},
            "online, temperature 1, gamma 1": {"online": True, "temperature": 1.0, "gamma": 1.0},
            "offline, as it comes (temperature 2, gamma 2)": {"online": False},
            "offline, temperature 1, gamma 1": {"online": False, "temperature": 1.0, "gamma": 1.0},
        }.items():
            wanted.append(("LeakPro", what, lambda a, o=options: leakpro_rmia(tool, a, 1e-6, **o)[1]))
    lines, scores = [], {}
    for tool_name, what, score in wanted:
        made, scores[f"{tool_name}: {what}"] = compared(tool_name, what, score, setting)
        lines.append(made)
    verdict = setting.verdict
    is_sure_N = likelihood.log_probability(verdict.phi_N) > np.log(0.99)
    facts: dict[str, Any] = {"share_of_p_y_over_.99": float(is_sure_N.mean())}
    warm, cold = (scores[f"SafeCompress{how}"] for how in (f", by hand: {WARM}", ": online, log ratio(x)"))
    facts["warm_minus_cold"] = paired(warm, cold, verdict.is_member)
    if tool is not None:
        attack, theirs = leakpro_rmia(tool, verdict, 0.0, online=True, temperature=1.0, gamma=2.0)
        ratio_x = likelihood.log_ratio_references(verdict.phi_N, verdict.phi_KN)  # it averages over all shadows
        (own, ours_s), (_, theirs_s) = (
            timed(lambda: likelihood.rmia_scores(ratio_x, np.log(attack.ratio_z.ravel()), 2.0)),
            timed(attack._run_attack),
        )
        facts |= {"largest_difference_of_shares": float(np.abs(own - theirs).max()), "num_z": attack.ratio_z.size}
        facts |= {"seconds_ours": ours_s, "seconds_theirs": theirs_s}
    return lines, facts, scores


# --- metrics on the same scores


def metric_cases(setting: Setting, scores: Mapping[str, Floats]) -> dict[str, tuple[Floats, Bools]]:
    """Scores that test a metric: without ties, with many, constant, on a line, an FPR between two, with a NaN."""
    is_member = setting.verdict.is_member
    phi, wrong = setting.verdict.phi_N, Gap().score(setting.target, setting.verdict.audit)
    online = scores["SafeCompress: online, shrunken"]
    steps = np.repeat(np.arange(200.0), 3)
    broken = online.copy()
    broken[0] = np.nan
    cases = {
        "LiRA online, no ties": (online, is_member),
        "the same, rounded to whole numbers": (np.round(online), is_member),
        "LiRA offline, no ties": (scores["SafeCompress: offline, shrunken"], is_member),
        "loss, rounded to whole numbers": (np.round(phi), is_member),
        "gap: right or wrong": (wrong, is_member),
        "200 tied groups, each of 2 members and 1 non-member": (steps, np.tile([True, True, False], 200)),
        "one score for all": (np.zeros(len(phi)), is_member),
        "one score is NaN": (broken, is_member),
    }
    share = f"LeakPro: {RMIA_DEFAULT}"
    return cases | ({"RMIA as a share of z": (scores[share], is_member)} if share in scores else {})


Three = tuple[Any, Any, Any]
"""AUC, TPR at FPR 1 %, TPR at FPR 0.1 %; None where a tool has no such figure."""


def by_definition(scores: Floats, is_member: Bools) -> Three:
    """AUC by all pairs, and TPR at both FPRs by all thresholds: slow, short, and what the words say."""
    if np.isnan(scores).any():
        return None, None, None
    members, others = scores[is_member], scores[~is_member]
    pairs = (members[:, None] > others).mean() + (members[:, None] == others).mean() / 2
    rules = [(float((others >= t).mean()), float((members >= t).mean())) for t in [np.inf, *np.unique(scores)]]
    low, lower = (max(tpr for fpr, tpr in rules if fpr <= most) for most in (FPR, LOW_FPR))
    return float(pairs), low, lower


def metric_tools(tools: Mapping[str, SimpleNamespace]) -> dict[str, Callable[[Floats, Bools], Three]]:
    """The three figures by every tool."""
    found: dict[str, Callable[[Floats, Bools], Three]] = {
        "by definition": by_definition,
        "SafeCompress": lambda s, m: (stats.auc(s, m), stats.tpr_at_fpr(s, m, FPR), stats.tpr_at_fpr(s, m, LOW_FPR)),
    }
    if (art := tools.get("ART")) is not None:

        def by_art(s: Floats, m: Bools) -> Three:
            low, lower = (art.roc_for_fpr(s, m.astype(int), targeted_fpr=fpr)[0][1] for fpr in (FPR, LOW_FPR))
            return None, low, lower

        found["ART"] = by_art
    if (sacro := tools.get("SACRO-ML")) is not None:

        def by_sacro(s: Floats, m: Bools) -> Three:
            whole = sacro.metrics.get_metrics(np.stack([-s, s], axis=1), m.astype(int))
            low, lower = (float(sacro.metrics._tpr_at_fpr(m.astype(int), s, fpr=100 * f)) for f in (FPR, LOW_FPR))
            return whole["AUC"], low, lower

        found["SACRO-ML"] = by_sacro
    if (leakpro := tools.get("LeakPro")) is not None:

        def by_leakpro(s: Floats, m: Bools) -> Three:
            result = leakpro.Result.from_full_scores(m.astype(int), s, "scores")
            told = result.fixed_fpr_table or {}
            return result.roc_auc, told.get("TPR@1%FPR"), told.get("TPR@0.1%FPR")

        found["LeakPro"] = by_leakpro
    return found


def metrics(
    setting: Setting, tools: Mapping[str, SimpleNamespace], scores: Mapping[str, Floats]
) -> tuple[list[list[str]], dict[str, Any]]:
    """Rows of a table, and everything behind it; each case in its own order of rows and in 20 others."""
    rows: list[list[str]] = []
    results: dict[str, Any] = {}
    for case, (s, m) in metric_cases(setting, scores).items():
        results[case] = {}
        for tool, figures in metric_tools(tools).items():
            seen: list[Three] = []
            problem = ""
            for order in [np.arange(len(s)), *(derive(k, "order").permutation(len(s)) for k in range(20))]:
                try:
                    with warnings.catch_warnings():
                        warnings.simplefilter("ignore")
                        seen.append(figures(s[order], m[order]))
                except Exception as error:
                    problem = f"raises {type(error).__name__}"
                    break
            cells = [problem] * 3 if problem else [_range([three[i] for three in seen]) for i in range(3)]
            results[case][tool] = dict(zip(("auc", "tpr@fpr=0.01", "tpr@fpr=0.001"), cells, strict=True))
            rows.append([case, tool, *cells])
    if (sacro := tools.get("SACRO-ML")) is not None:
        s, m = Gap().score(setting.target, setting.verdict.audit), setting.verdict.is_member.astype(int)
        orders = [np.arange(len(s)), *(derive(k, "order").permutation(len(s)) for k in range(20))]
        shares = [sacro.metrics.get_metrics(np.stack([-s[o], s[o]], axis=1), m[o])["FDIF01"] for o in orders]
        results["SACRO-ML FDIF01 of the gap, members first"] = float(shares[0])
        results["SACRO-ML FDIF01 of the gap, rows shuffled"] = [float(min(shares[1:])), float(max(shares[1:]))]
    return rows, results


def _range(values: Sequence[float | None]) -> str:
    """One figure, or from where to where it goes with the order of the rows."""
    if values[0] is None:
        return "-"
    found = np.array(values, dtype=np.float64)
    if np.isnan(found).any():
        return "NaN"
    if np.ptp(found) < 1e-9:
        return f"{found[0]:.4f}"
    return f"{found.min():.4f}-{found.max():.4f}, by row order"


# --- the page


INTRO = """
    # Beside other audit tools

    Location-30, a dense MLP 446-512-256-128-30 with 1,500 members, 16 dense shadows; attackers fitted on 500 + 500 rows
    and judged on another 500 + 500. Every tool gets the same arrays: the target's and the shadows' answers, and who is
    in which shadow. Times are processor times of one thread, from one run on a shared machine: read factors, not
    digits. AUC and TPR are those of our metrics for all; balanced accuracy is that of the attacker's own calls or, for
    scores without calls, at the threshold that was best on the fitting pool. Tied rows share their score with another
    row. One model, one draw: the standard error of an AUC here is about .01; differences in brackets are paired, with
    their 95 % interval.

    {ran}{skipped} SACRO-ML's and LeakPro's attacks train their own shadows when used as meant; here their scoring
    functions are called directly. LeakPro's package on the index is empty: it is run from a checkout, past its front
    page, which imports the dependencies of all its kinds of attack.
"""

Lookup = Mapping[tuple[str, str], Line]


def flow(text: str) -> str:
    """Each paragraph of ``text`` on one line."""
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in text.strip().split("\n\n"))


def interval(values: Sequence[float]) -> str:
    """A paired difference with its limits."""
    return "{:+.3f} [{:+.3f}, {:+.3f}]".format(*values)


def about_leakpro(found: Mapping[str, Any], at: Lookup) -> str:
    """Where LeakPro's figures and ours differ, and who is right; one paragraph a point."""
    cases, lira_facts, rmia_facts = found["metrics"], found["lira"], found["rmia"]
    agreed = lira_facts["largest_difference"]["online, per_sample / LeakPro: online, variance unbiased"]
    row, global_ = (at["LeakPro", f"online, variance {kind}"] for kind in ("row", "global"))
    own = {kind: at["SafeCompress", f"online, {kind}"] for kind in likelihood.VARIANCES}
    of_gap, of_share = cases["gap: right or wrong"], cases["RMIA as a share of z"]
    cold, warm = at["SafeCompress", "online, log ratio(x)"], at["LeakPro", RMIA_DEFAULT]
    warmed = at["SafeCompress, by hand", WARM]
    topped, ratio = at["LeakPro", "offline, temperature 1, gamma 1"], at["SafeCompress", "offline, log ratio(x)"]
    return f"""
    **LiRA, one formula, one number.** With variances over n - 1 handed to LeakPro's code, its scores and ours differ by
    at most {agreed["largest_relative_difference"]:.0e} (relative). It divides by n, which makes few shadows too sure of
    themselves; with 7 shadows on one side and 9 on the other that moves the AUC from {own["per_sample"].auc:.4f} to
    {row.auc:.4f}.

    **LiRA with few shadows.** LeakPro's and SACRO-ML's global variance is that of all logits, into which the rows' own
    differences are mixed (AUC {global_.auc:.4f}); ours is that of the residuals (`pooled`, {own["pooled"].auc:.4f}).
    That changes little here. `shrunken`, which neither has, comes to {own["shrunken"].auc:.4f}
    ({interval(lira_facts["shrunken_minus_global"])} against the global one), TPR {own["shrunken"].tpr:.3f} against
    {global_.tpr:.3f} and {row.tpr:.3f}.

    **RMIA, one formula, one number.** With the same temperature, gamma, z and mean, shares differ by at most
    {rmia_facts["largest_difference_of_shares"]:g}; one sort takes {1e3 * rmia_facts["seconds_ours"]:.1f} ms, the loop
    over rows {1e3 * rmia_facts["seconds_theirs"]:.1f} ms.

    **RMIA's temperature: LeakPro finds more than we do.** By default it divides logits by 2 before the softmax; we do
    not. Online, AUC {warm.auc:.4f} against {cold.auc:.4f}. By hand, with logits halved, our ratio gives
    {warmed.auc:.4f} ({interval(rmia_facts["warm_minus_cold"])}), TPR {warmed.tpr:.3f} against {cold.tpr:.3f}. On this
    point they are right: at temperature 1 the target's p_y is over .99 for {rmia_facts["share_of_p_y_over_.99"]:.0%} of
    the rows, and among those the ratio hardly depends on the target.

    **RMIA as a share of z makes ties.** A share of 500 rows has at most 501 values ({warm.tied:.0%} of rows tie), and
    non-members that pass every z tie with the members on top: offline, at temperature 1 and gamma 1, the TPR is
    {topped.tpr:.3f} where the ratio itself has {ratio.tpr:.3f}. The ratio gives the same order without the ties.
    LeakPro also draws z from rows that include the audited ones.

    **LeakPro's ROC breaks ties by row order.** It keeps the *first* row of each tied group where it must keep the last,
    and does not add the points (0, 0) and (1, 1). Without ties, here, it comes out right. The gap attack has an AUC of
    {of_gap["by definition"]["auc"]} by definition and of {of_gap["LeakPro"]["auc"]} there, as if the leak were
    inverted; its own RMIA shares have {of_share["by definition"]["auc"]} and {of_share["LeakPro"]["auc"]}. The
    definition, SACRO-ML and ours agree. For one score for all rows it gives no AUC; by definition it is .5.

    **LeakPro's scaled logit** agrees with ours to {lira_facts["leakpro_logit_largest_difference"]:.0e} on these rows.
    It adds 1e-45 inside the logarithms, so that rows beyond phi =
    {lira_facts["leakpro_logit_at_phi_149.3"]:.1f} tie; ours does not saturate. Its offline LiRA is the logarithm of the
    normal cdf, which keeps the order far longer than the cdf.
    """


def about_sacro(found: Mapping[str, Any], at: Lookup) -> str:
    """The same for SACRO-ML."""
    cases, lira_facts = found["metrics"], found["lira"]
    two_sided, one_sided = (at["SACRO-ML", f"{mode}, variance row"] for mode in ("offline-carlini", "offline"))
    rounded, shuffled = cases["the same, rounded to whole numbers"], cases["SACRO-ML FDIF01 of the gap, rows shuffled"]
    return f"""
    **SACRO-ML's LiRA** has the same formulas with variances over n; its rank correlation with our `per_sample` is
    {lira_facts["largest_difference"][SACRO_PAIR]["rank_correlation"]:.5f}, online. Loops over rows, and a normality
    test of every row, make it slower. Its mode `offline-carlini` takes the density under the non-members' law, which
    calls a row of which the target is much *less* sure than its shadows a member too: AUC {two_sided.auc:.4f} against
    {one_sided.auc:.4f} of `offline`, which is one-sided, as the paper's text is, and ours.

    **SACRO-ML reads probabilities**, cut at 1e-16, so its logit ends at {lira_facts["sacro_logit_at_phi_40"]:.1f} and
    has lost digits before ({lira_facts["sacro_logit_largest_difference"]:.0e} here, where the largest |phi| is
    {lira_facts["largest_phi"]:.1f}). Its offline score is the cdf itself, which is 1 for every row beyond 8.3
    deviations. Neither costs anything on this model.

    **SACRO-ML interpolates the ROC** (a threshold from the FPR, then the TPR from the threshold). Without ties, here,
    it agrees. With ties it may claim a TPR that no rule has: LiRA rounded to whole numbers has
    {rounded["by definition"]["tpr@fpr=0.001"]} at 0.1 % by definition and {rounded["SACRO-ML"]["tpr@fpr=0.001"]} there.

    **SACRO-ML's `get_metrics` means to permute rows and does not**: the function assigns to its own names. Its figures
    on the highest and the lowest scores break ties by row order. FDIF01 of the gap attack is
    {cases["SACRO-ML FDIF01 of the gap, members first"]:.2f} with members first, as its attacks order them, and
    {shuffled[0]:.2f} to {shuffled[1]:.2f} with rows shuffled.
    """


def about_art(found: Mapping[str, Any], at: Lookup, lines: Mapping[str, Sequence[Line]]) -> str:
    """The same for ART."""
    straight = found["metrics"]["200 tied groups, each of 2 members and 1 non-member"]
    labels, reads = found["label_only"], found["nets"]
    best = max((one for one in lines["nets"] if one.tool == "ART"), key=lambda one: one.auc)
    full, same = lines["nets"][:2]
    walk, told = (at["ART", f"decision boundary, {what}"] for what in ("the distances themselves", "its probabilities"))
    cheap = at["SafeCompress", LABEL_ONLY]
    return f"""
    **The gap attack** is the same in ART: {found["gap"]["art_rule_based_differing_rows"]} of 1,000 calls differ. ART
    counts the classes of the rows that it is given; without those of class 0 it
    {found["gap"]["art_rule_based_without_class_0"]}.

    **Learned attackers.** ART's best here is {best.what.split(" (")[0]} (AUC {best.auc:.3f}, TPR {best.tpr:.3f}). They
    are different nets, so no equality is expected; ours on the same inputs (`paper`) has {same.auc:.3f}, and with the
    label's own logit and sorted scores {full.auc:.3f} and {full.tpr:.3f}. ART passes on what the model gives, and for a
    model that ends in logits that costs most: the largest probability alone has an AUC of
    {reads["auc_of_the_largest_probability"]:.3f}, the largest logit {reads["auc_of_the_largest_logit"]:.3f}, and from
    1,000 rows none of ART's attackers on logits learns to normalise 30 scores.

    **Label only.** ART walks to the boundary (HopSkipJump, {STEPS} steps of its default 50): {walk.queries:,.0f}
    queries a row and {walk.seconds:.0f} s for an AUC of {walk.auc:.3f}; ours asks {cheap.queries:,.0f} times in
    {cheap.seconds:.1f} s, {cheap.auc:.3f}. With 100 + 100 rows the standard error of an AUC is about .03.

    **ART's label-only probabilities are not those of membership.** It gives a row the accuracy that the highest
    threshold below its distance had in calibration, and that falls again towards large distances. The tenth of rows
    farthest from the boundary, the likeliest members, get
    {labels["mean_probability_of_the_farthest_tenth"]:.2f} on average, the four tenths before them
    {labels["mean_probability_of_the_tenths_six_to_nine"]:.2f}: AUC {told.auc:.3f} where the distances have
    {walk.auc:.3f}. Rank by distance.

    **ART's TPR at a low FPR** takes the last point at or below it, as we do, but from a ROC from which scikit-learn has
    dropped the points on a straight line. Tied groups of equal make-up lie on one: with 200 groups
    {straight["by definition"]["tpr@fpr=0.01"]} by definition, {straight["ART"]["tpr@fpr=0.01"]} in ART.
    """


def differences(found: Mapping[str, Any], lines: Mapping[str, Sequence[Line]]) -> str:
    """Where figures differ and who is right, for the tools that ran."""
    at = {(one.tool, one.what): one for some in lines.values() for one in some}
    said = "**NaN.** Every tool here refuses a NaN score, each with an exception of its own."
    if "ART" in found["tools"]:
        said = f"{about_art(found, at, lines)}\n\n{said}"
    if "SACRO-ML" in found["tools"]:
        said = f"{about_sacro(found, at)}\n\n{said}"
    if "LeakPro" in found["tools"]:
        said = f"{about_leakpro(found, at)}\n\n{said}"
    return "\n".join(f"- {point}" for point in flow(said).split("\n\n") if point)


def check(found: Mapping[str, Any]) -> None:
    """Raise RuntimeError where one formula gave two numbers, or our metrics are not what the words say."""
    broken = [
        f"{case}: {told['SafeCompress']} instead of {told['by definition']}"
        for case, told in found["metrics"].items()
        if isinstance(told, dict) and "NaN" not in case and told["SafeCompress"] != told["by definition"]
    ]
    for pair, entry in found["lira"]["largest_difference"].items():
        if entry.get("largest_relative_difference", 0.0) > 1e-9:
            broken.append(f"{pair}: scores differ by {entry['largest_relative_difference']}")
    if found["rmia"].get("largest_difference_of_shares", 0.0) > 1e-9:
        broken.append(f"RMIA: shares differ by {found['rmia']['largest_difference_of_shares']}")
    if found["gap"].get("art_rule_based_differing_rows", 0):
        broken.append(f"gap: {found['gap']['art_rule_based_differing_rows']} calls differ")
    if broken:
        raise RuntimeError("The same definition gave different figures. " + "; ".join(broken))


def page(found: Mapping[str, Any], lines: Mapping[str, Sequence[Line]], metric_rows: Sequence[Sequence[str]]) -> str:
    """peers.md."""
    ran = ", ".join(f"{name} {version}" for name, version in found["tools"].items())
    skipped = "".join(f" **Skipped: {name}** ({why})." for name, why in found["skipped"].items())
    intro = flow(INTRO.format(ran=f"Tools: {ran}." if ran else "No tool could be imported.", skipped=skipped))
    return (
        f"{intro}\n\n## What differs, and who is right\n\n"
        + differences(found, lines)
        + "\n\n## Metrics on the same scores\n\nEach case in 21 orders of its rows.\n\n"
        + common.table(["scores", "tool", "AUC", "TPR at FPR 1 %", "TPR at FPR 0.1 %"], metric_rows)
        + "\n## LiRA\n\n`variance global`: what LeakPro takes with 16 shadows; `row`: what it takes from 64 on; "
        "`unbiased`: row, over n - 1.\n\n"
        + lines_table(lines["lira"])
        + "\n## RMIA\n\n"
        + lines_table(lines["rmia"])
        + "\n## Gap\n\n"
        + lines_table(lines["gap"])
        + "\n## Learned attackers\n\nMeans over three seeds.\n\n"
        + lines_table(lines["nets"])
        + "\n## Label only\n\nFitted on 50 + 50 rows, judged on 100 + 100; queries are all that were made, over all "
        "rows.\n\n" + lines_table(lines["label_only"])
    )


def main(root: Path, work: Path, leakpro: Path | None, commit: str) -> None:
    """All comparisons, peers.json and peers.md."""
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore")
    os.environ.setdefault("TQDM_DISABLE", "1")
    work.mkdir(parents=True, exist_ok=True)
    tools, skipped = find_tools(leakpro, commit)
    setting = Setting.make(root, work)
    found: dict[str, Any] = {"tools": {name: tool.version for name, tool in tools.items()}, "skipped": skipped}
    lines: dict[str, list[Line]] = {}
    lines["gap"], found["gap"] = gap(setting, tools.get("ART"))
    lines["lira"], found["lira"], scores = lira(setting, tools, work)
    lines["rmia"], found["rmia"], shares = rmia(setting, tools)
    metric_rows, found["metrics"] = metrics(setting, tools, scores | shares)
    print("learned attackers", flush=True)
    check(found)
    found["nets"] = {
        "auc_of_the_largest_probability": stats.auc(setting.verdict.probs_NC.max(axis=1), setting.verdict.is_member),
        "auc_of_the_largest_logit": stats.auc(setting.verdict.logits_NC.max(axis=1), setting.verdict.is_member),
    }
    lines["nets"] = nets(setting, tools.get("ART"))
    print("label only", flush=True)
    lines["label_only"], found["label_only"] = label_only(setting, tools.get("ART"))
    found["lines"] = {name: [asdict(one) for one in some] for name, some in lines.items()}
    command = "python benchmarks/peers.py --root DIR --work DIR --leakpro DIR"
    common.save("peers", command, found, page(found, lines, metric_rows))


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--leakpro", type=Path)
    parser.add_argument("--commit", default="not given", help="of that checkout, for the page")
    options = parser.parse_args()
    main(options.root, options.work, options.leakpro, options.commit)
