"""Reports to look at: one of a real verdict on a toy, one in which every word is hostile."""

import functools
from dataclasses import replace

import torch

from safecompress.attacks import AttackResult, Neural, Target
from safecompress.attacks.evidence import Ranking
from safecompress.certify import Feasibility, JudgedModels, certify, check_feasibility
from safecompress.compression.search import Candidate, Evaluation, RoundResult, Selection
from safecompress.export import Artifact, TaskInfo
from safecompress.metrics.measurement import Direction, Measurement
from safecompress.models import ModelSpec
from safecompress.report import (
    Report,
    RunFacts,
    build_report,
    describe_artifact,
    describe_round,
)
from safecompress.report.text import MEANING
from safecompress.seeding import seeded
from safecompress.sparsity import AllocateErk, Start, find_maskable, initial_pattern
from safecompress.spec import SafetySpec, at_least, at_most, within
from safecompress.testing.fakes import FailingAttack, MemorisingModel, noise_split
from safecompress.training import TrainingState

POOL, CLASSES, FEATURES = 60, 4, 16
SPLIT = noise_split(POOL, other=50, num_features=FEATURES, num_classes=CLASSES)
SPEC = SafetySpec(
    ["loss", "gap", Neural(epochs=2)],
    [at_most("loss.auc", 0.75), at_least("accuracy", 0.1), within(0.2, metric="accuracy"), at_most("density", 0.5)],
)
MODEL = ModelSpec("mlp", {"hidden": (128,)}, (FEATURES,), CLASSES)


def artifact():
    with seeded(0, "net"):
        model = MODEL.build()
    pattern = initial_pattern(find_maskable(model), 0.5, allocation=AllocateErk(), start=Start.SCRATCH, seed=0)
    pattern.apply_(model)
    return Artifact(model.state_dict(), pattern.masks, MODEL, TaskInfo(CLASSES, SPLIT.dataset.class_names, (FEATURES,)))


ARTIFACT = artifact()
MODELS = ("artifact", "dense")
COUNTED = [Measurement.exact("density", 0.5, Direction.LOWER)]
DESCRIBED = {"artifact_facts": describe_artifact(ARTIFACT), "digest": ARTIFACT.digest()}


@functools.cache
def certification(spec=SPEC):
    """The verdict on an untrained artifact, beside a dense model that knows its members."""
    shipped, dense = ARTIFACT.build(), MemorisingModel(*SPLIT.part("train"), CLASSES)
    targets = [Target(model, access=spec.access) for model in (shipped, dense)]
    return certify(JudgedModels(*targets, counted=tuple(COUNTED)), SPLIT, spec, seed=0, opening=1)


def candidate(branch):
    weights = {name: tensor.clone() for name, tensor in ARTIFACT.state.items()}
    pattern = initial_pattern(
        {name: weights[name] for name in ARTIFACT.masks}, 0.5, allocation=AllocateErk(), start=Start.SCRATCH, seed=0
    )
    state = TrainingState(9, weights)
    return Candidate(f"r1/{branch}", "r1", 0, branch, pattern, state, dict(pattern.masks))


def round_result(winner="magnitude+random", branches=("magnitude+random", "keep")):
    """A round whose evaluations are the verdict's own figures, scores and all."""
    judged = certification()
    evaluations = []
    for place, branch in enumerate(branches):
        scores = torch.linspace(0, 1, 2 * POOL).double().numpy() ** (place + 1)
        results = tuple(
            AttackResult(
                a.name, a.access, evidence=Ranking(scores[:: 1 - 2 * place], SPLIT.audit("select").is_member, 0.5)
            )
            for a in SPEC.attacks
        )
        figures = dict(judged.measurements)
        evaluations.append(Evaluation(f"r1/{branch}", branch, figures, results, judged.findings, 5, {"tune": 0.5}))
    choice = Selection(branches.index(winner), tuple(f"because of {branch}" for branch in branches))
    return RoundResult(0, tuple(evaluations), choice, candidate(winner))


def report(judged=None, *, rounds=None, **options):
    described = [describe_round(result) for result in (rounds if rounds is not None else [round_result()])]
    search = {"plan": {"rounds": "1"}, "recipe": {"milestones": (0.5, 0.75)}, "coverage": 0.6, "rounds": described}
    facts = {
        "search": search,
        "digests": {"pattern": "abc", "split": SPLIT.digest(b"key")},
        "seconds": {"train": 1.2156},
        "seed": 0,
        "notes": ["No ledger was kept."],
    }
    about = {name: options.pop(name) for name in tuple(options) if name in facts}
    given = {"prospects": check_feasibility(SPEC, SPLIT, SPEC.levels()), "facts": RunFacts(**{**facts, **about})}
    return build_report("digits", judged or certification(), SPLIT, **{**DESCRIBED, **given, **options})


SPEED = {
    "load_ms": 1.5,
    "threads": 1,
    "why": "the fastest",
    "speeds": [
        {
            "batch_size": size,
            "file": {"engine": "csr", "p50_ms": 0.5, "p50_interval_ms": [0.4, 0.6], "p95_ms": 1.0, "rows_per_s": 2e3,
                     "num_calls": 99},
            "dense": {"engine": "onnxruntime", "p50_ms": 1.0, "p50_interval_ms": [0.9, 1.1], "p95_ms": 2.0,
                      "rows_per_s": 1e3, "num_calls": 99},
            "ratio": 2.0,
            "ratio_interval": [1.9, 2.1],
        }
        for size in (1, 64)
    ],
    "words": ["Zeros alone bring no speed here."],
}  # fmt: skip
WORST = {
    "num_rows": 20, "num_eligible": 120, "num_choosing": 8, "num_scoring": 8,
    "worst": {"value": 0.9, "low": 0.8, "high": 0.95}, "every": {"value": 0.6, "low": 0.55, "high": 0.65},
}  # fmt: skip
PAYERS = [
    {"name": "cat", "num_together": 1, "num_rows": 55, "accuracy": {"value": 0.4, "low": 0.25, "high": 0.56},
     "dense": 0.6, "drop": {"value": 0.2, "low": 0.05, "high": 0.34}},
    {"name": "others", "num_together": 3, "num_rows": 70, "accuracy": {"value": 0.9, "low": 0.8, "high": 0.96},
     "dense": 0.9, "drop": {"value": 0.0, "low": -0.05, "high": 0.05}},
]  # fmt: skip


def tiered(number):
    """A round in which two came to the costly attack, which found more."""
    entry = describe_round(round_result("keep" if number else "magnitude+random"))
    others = [{**one, "branch": f"set+{n}", "id": f"r{n}", "won": False} for n, one in enumerate(entry["candidates"])]
    for one in others:
        one["metrics"] = {name: figure for name, figure in one["metrics"].items() if not name.startswith("neural")}
        one["accuracy"] = 0.5
    return {**entry, "round": number, "candidates": [*entry["candidates"], *others]}


def whole_report():
    """A report in which every part is told."""
    built = report()
    layers = [
        {"name": name, "num_weights": mask.numel(), "start": 0.4, "end": float(mask.float().mean()), "ever": 0.75}
        for name, mask in ARTIFACT.masks.items()
    ]
    return replace(
        built,
        search={**built.search, "layers": layers, "rounds": [tiered(0), tiered(1)]},
        exposure={**built.exposure, "worst_case": WORST},
        who_pays=PAYERS,
        trained=built.measurements,
        trained_verdicts=built.dense_verdicts,
        speed=SPEED,
        command="safecompress compress spec.toml --out ../again",
    )


HOSTILE = (
    "a|b\nc\r# d\x1b[31m </style></script><script>alert(1)</script>\"'`--><img src=//x onerror=alert(1)> {{7*7}} "
    "{% x %} &lt; \x00 \\| ![x](http://x) \u202e\u2028"
)


def hostile_report():
    spec = SafetySpec([FailingAttack()], [at_most("failing.auc", 0.7)])
    judged = replace(
        certification(spec), errors={HOSTILE: HOSTILE}, attacks={HOSTILE: HOSTILE}, dense_errors={HOSTILE: HOSTILE}
    )
    ranking = {
        "cheap": {HOSTILE: 0.5}, "verdict": {HOSTILE: {HOSTILE: 0.5}}, "tau": {"lira": 0.5}, "regret": {"lira": 0.0},
    }  # fmt: skip
    rounds = [describe_round(round_result()) | {"ranking": ranking}]
    for entry in rounds:
        for described in entry["candidates"]:
            described.update(branch=HOSTILE, reason=HOSTILE)
    built = build_report(
        HOSTILE, judged, SPLIT, **DESCRIBED,
        prospects=[Feasibility(SPEC.requirements[0], None, HOSTILE)],
        facts=RunFacts(
            seed=0, search={"rounds": rounds}, digests={HOSTILE: HOSTILE, "split": {HOSTILE: HOSTILE}},
            seconds={HOSTILE: 1.0}, notes=[HOSTILE],
        ),
    )  # fmt: skip
    findings = [{**f, "requirement": HOSTILE, "reason": HOSTILE} for f in built.findings]
    figures = {HOSTILE: built.measurements["accuracy"]}
    check = {"check": HOSTILE, "subject": HOSTILE, "outcome": "ERROR", "value": None, "detail": HOSTILE}
    return replace(
        built, findings=findings, measurements=figures, split={"parts": {HOSTILE: {"rows": 3}}},
        dense_verdicts={HOSTILE: HOSTILE}, health=[check], doubts=[HOSTILE],
    )  # fmt: skip


NAMED = {
    "measurements", "dense", "trained", "metrics", "auc", "artifact", "errors", "attacks", "dense_verdicts",
    "trained_verdicts", "epsilon", "parts", "digests", "environment", "seconds", "plan", "recipe", "versus_keep",
    "layer_densities",
}  # fmt: skip
"""Fields whose keys are names."""
KEPT = {"verdict", "outcome", "direction", "access", "shadows"}
"""Fields whose values are words of the product."""
KNOWN = {
    "accuracy", "compression.ratio", "size_bytes", "model", "class_names", "num_weights", "density", "num_active",
    "engine", "p50_ms", "p50_interval_ms", "p95_ms", "rows_per_s", "num_calls", "artifact", "verdict", "python",
    "torch", "numpy", "machine", "threads", "seed",
}  # fmt: skip
"""Keys under those that are no names."""


def renamed(value, word, field=""):
    """A report's JSON in which every name and every text is ``word``, whoever gave it."""
    if isinstance(value, str):
        return value if field in KEPT or value in MEANING else word + ".auc" * value.endswith(".auc")
    if isinstance(value, list | tuple):
        return [renamed(item, word, field) for item in value]
    if not isinstance(value, dict):
        return value
    items = {}
    for place, (key, item) in enumerate(value.items()):
        is_name = field in NAMED and key not in KNOWN
        items[f"{word}{place}" + ".auc" * key.endswith(".auc") if is_name else key] = renamed(item, word, key)
    return items


def renamed_report(word):
    return Report.from_json({**renamed(whole_report().to_json(), word), "schema_version": 4})
