"""Do sparse folds that teach beat what else makes a small model safe? The protocol is benchmarks/folds_protocol.md.

    python benchmarks/folds.py run location30 --root DIR --work DIR [--workers 2] [--only NAME ...]
    python benchmarks/folds.py render location30 --work DIR

A second run goes on where a first one stopped.
"""

from __future__ import annotations

import argparse
import contextlib
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import common
import numpy as np
import torch
from scipy.stats import t as student_t

from safecompress.attacks.membership.likelihood import lira_classes, lira_online, sum_of_standard_scores
from safecompress.attacks.private_cache import PrivateFolder
from safecompress.attacks.signals import Signals
from safecompress.compression.search import Executor, ProcessExecutor, SerialExecutor
from safecompress.data import DATASETS, Dataset, DataSplit, standardise
from safecompress.data.sizes import PARTS
from safecompress.export import TaskInfo
from safecompress.metrics import stats
from safecompress.models import ModelSpec
from safecompress.seeding import derive
from safecompress.studies.hyperparameters.front import hypervolume
from safecompress.studies.methods import METHODS, MethodInputs, TrainingCache
from safecompress.training import Recipe
from safecompress.training.objectives.distill import SplitDistillation

LEAK = "leak+gradient"


@dataclass(frozen=True)
class Entry:
    """A method of the table: its name among METHODS, its options, and how long its recipe is in recipes.

    ``trainings`` is what it costs in dense trainings of the recipe's length, counted in steps.
    """

    label: str
    name: str
    trainings: float
    options: Mapping[str, Any] = field(default_factory=dict, hash=False)
    times: int = 1
    is_dense: bool = False


def folds(share: float, length: int, **more: Any) -> Entry:
    """Our method; five sub-models of three fifths of the rows cost three trainings."""
    leak = ", leak drop" if more.get("branch") == LEAK else ""
    label = f"folds, share {share:g}, length {length}{leak}" + ", dense teachers" * ("density" in more)
    return Entry(label, "folds", 3 + length, {"share": share, "length": float(length), **more})


ENTRIES = [
    folds(1.0, 2), folds(0.8, 2), folds(1.0, 4), folds(0.8, 4),
    folds(1.0, 2, branch=LEAK), folds(0.8, 2, branch=LEAK),
    Entry("RigL", "rigl", 1), Entry("RigL, length 2", "rigl", 2, {}, 2), Entry("RigL, length 4", "rigl", 4, {}, 4),
    Entry("SET", "set", 1), Entry("SET, length 2", "set", 2, {}, 2),
    Entry("SafeCompress, rewiring", "safecompress", 1.8),
    Entry("SafeCompress, rewiring, length 2", "safecompress", 3.6, {}, 2),
    Entry("split teachers", "rigl", 4, {"objective": SplitDistillation()}),
    Entry("split teachers, length 2", "rigl", 8, {"objective": SplitDistillation()}, 2),
    folds(1.0, 2, density=1.0), folds(1.0, 4, density=1.0),
    Entry("SELENA, 5 folds", "selena", 4, {}, 1, True),
    Entry("SELENA, 25 folds", "selena", 16, {"num_models": 25, "held_out": 10}, 1, True),
    Entry("dense", "dense", 1, {}, 1, True), Entry("dense, length 2", "dense", 2, {}, 2, True),
    Entry("RelaxLoss, dense", "dense_relax", 1, {}, 1, True),
    Entry("RelaxLoss, dense, length 2", "dense_relax", 2, {}, 2, True),
    Entry("DMP, dense", "dmp", 2, {}, 1, True), Entry("DMP, pruned", "pr_dmp", 3),
    Entry("DP-SGD, pruned, epsilon 100", "pr_dp", 2, {"epsilon": 100.0}),
]  # fmt: skip


@dataclass(frozen=True)
class Setting:
    """A data set with its network, recipe and sizes: of the pool that worlds draw from, and of other parts."""

    model: Mapping[str, Any]
    recipe: Mapping[str, Any]
    pool: int
    fit: int
    select: int
    validation: int
    test: int
    worlds: tuple[int, ...]
    models: int
    densities: tuple[float, ...]
    source: Mapping[str, Any] = field(default_factory=dict)
    is_scaled: bool = False
    labels: tuple[str, ...] = ()


SETTINGS = {
    "location30": Setting(
        {"name": "mlp", "hidden": (512, 256, 128)},
        {"epochs": 60, "optimizer": "adam", "learning_rate": 1e-3, "weight_decay": 0.0},
        pool=3_000, fit=300, select=300, validation=400, test=600, worlds=(0,), models=12, densities=(0.1, 0.05),
    ),
    "cifar100": Setting(
        {"name": "vgg", "widths": (32, 64, 128), "depths": (1, 1, 1), "hidden": (128,)},
        {"epochs": 15, "batch_size": 64, "learning_rate": 0.05, "decay": "cosine"},
        pool=6_000, fit=600, select=600, validation=1_000, test=5_000, worlds=(0,), models=6, densities=(0.1,),
        source={"part": "all"}, is_scaled=True,
        labels=(
            "RigL", "folds, share 0.8, length 2", "folds, share 1, length 2", "split teachers", "SET",
            "SafeCompress, rewiring", "RigL, length 2",
        ),
    ),
    "cifar10": Setting(
        {"name": "resnet", "blocks": (1, 1, 1)},
        {"epochs": 12, "batch_size": 64, "learning_rate": 0.05, "decay": "cosine"},
        pool=8_000, fit=1_000, select=1_000, validation=1_000, test=5_000, worlds=(0,), models=6, densities=(0.1,),
        is_scaled=True,
        labels=("RigL", "folds, share 0.8, length 2", "folds, share 1, length 2"),
    ),
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class World:
    """One draw: a pool of rows of which each model trains on a random half, drawn apart; all else is shared.

    ``is_in_MP`` says which rows of the pool each model trains on.
    """

    split: DataSplit = field(repr=False)
    pool: np.ndarray = field(repr=False)
    is_in_MP: np.ndarray = field(repr=False)

    def inputs(
        self, setting: Setting, number: int, density: float, recipe: Recipe, cache: TrainingCache
    ) -> MethodInputs:
        """What a method is given to make model ``number``: its half as train, rows outside the pool for the rest."""
        own = own_order(self, number)
        indices = dict(self.split.indices)
        indices |= {"train": own, "member_fit": own[: setting.fit], "member_select": own[-setting.select :]}
        dataset = self.split.dataset
        task = TaskInfo(dataset.num_classes, dataset.class_names, dataset.input_shape)
        options = {k: v for k, v in setting.model.items() if k != "name"}
        spec = ModelSpec(setting.model["name"], options, dataset.input_shape, dataset.num_classes)
        return MethodInputs(DataSplit(dataset, indices), task, spec, recipe, density, number, cache)


def own_order(world: World, number: int) -> np.ndarray:
    """The train rows of model ``number``, in the order from which its pools are cut."""
    return derive(0, "train order", number).permutation(world.pool[world.is_in_MP[number]])


def make_world(data: Dataset, setting: Setting, seed: int) -> World:
    """The world number ``seed`` of a data set."""
    order = derive(seed, "world").permutation(data.num_rows)
    sizes = {
        "pool": setting.pool, "test": setting.test, "validation": setting.validation, "nonmember_fit": setting.fit,
        "nonmember_select": setting.select,
    }  # fmt: skip
    parts = dict(zip(sizes, np.split(order, np.cumsum([*sizes.values()])), strict=False))
    rest = np.split(order, np.cumsum([*sizes.values()]))[-1]
    indices = {part: parts.get(part, np.empty(0, dtype=np.int64)) for part in PARTS}
    indices |= {"population": rest[: setting.pool // 2], "train": parts["pool"]}
    split = DataSplit(data, indices)
    if setting.is_scaled:
        split, _ = standardise(split)
    is_in = np.zeros((setting.models, setting.pool), dtype=bool)
    for number in range(setting.models):
        is_in[number, derive(seed, "half", number).permutation(setting.pool)[: setting.pool // 2]] = True
    return World(split, parts["pool"], is_in)


@dataclass(frozen=True)
class Item:
    """One model to be trained, and where its answers go."""

    data: str
    root: str
    work: str
    world: int
    number: int
    density: float
    entry: Entry

    @property
    def path(self) -> Path:
        density = "" if self.entry.is_dense else f"-d{self.density:g}"
        label = self.entry.label.replace(", ", "_").replace(" ", "-")
        return Path(self.work) / self.data / f"w{self.world}-m{self.number}{density}-{label}.npz"


_DATA: dict[tuple[str, str], Dataset] = {}


def load(data: str, root: str) -> Dataset:
    """The data set, read once in a process."""
    if (data, root) not in _DATA:
        _DATA[data, root] = DATASETS.factory(data)(root, **SETTINGS[data].source)
    return _DATA[data, root]


def make(item: Item) -> str:
    """Train the item's model and keep its answers for the pool and the test rows; a line for the log."""
    torch.set_num_threads(1)
    if item.path.exists():
        return f"{item.path.name}: known"
    setting, entry = SETTINGS[item.data], item.entry
    world = make_world(load(item.data, item.root), setting, item.world)
    recipe = Recipe(**setting.recipe)
    recipe = replace(recipe, epochs=recipe.epochs * entry.times)
    cache = TrainingCache(PrivateFolder(Path(item.work) / item.data / "cache", max_bytes=4 << 30))
    began, clock = time.process_time(), time.perf_counter()
    inputs = world.inputs(setting, item.number, item.density, recipe, cache)
    result = METHODS.make({"name": entry.name, **entry.options}).make(inputs)
    seconds = time.process_time() - began
    dataset, network = world.split.dataset, dict(result.weights)
    answers = {
        "pool": inputs.logits(network, dataset.read(torch.from_numpy(world.pool)), result.model).numpy(),
        "test": inputs.logits(network, world.split.part("test")[0], result.model).numpy(),
        "seconds": np.array([seconds, time.perf_counter() - clock]),
    }
    item.path.parent.mkdir(parents=True, exist_ok=True)
    part = item.path.with_suffix(".part.npz")
    np.savez(part, **answers)
    part.rename(item.path)
    return f"{item.path.name}: {seconds:.1f} s"


def items_of(data: str, root: str, work: str, only: list[str]) -> list[Item]:
    """All models of a data set, one after another through the methods, so that what is finished can be compared."""
    setting = SETTINGS[data]
    entries = [e for e in ENTRIES if not setting.labels or e.label in setting.labels]
    entries = [e for e in entries if not only or any(word in e.label for word in only)]
    if setting.labels:
        entries.sort(key=lambda entry: setting.labels.index(entry.label))
    return [
        Item(data, root, work, world, number, density, entry)
        for entry in entries
        for density in setting.densities
        if not (entry.is_dense and density != setting.densities[0])
        for world in setting.worlds
        for number in range(setting.models)
    ]


def figures_of(data: str, world: World, loaded: list[Mapping[str, np.ndarray]]) -> list[dict[str, float]]:
    """Of each model: accuracy on rows that it did not train on, and what LiRA finds with the others as its shadows."""
    labels = world.split.dataset.labels.numpy()
    y_pool, y_test = labels[world.pool], labels[world.split.indices["test"]]
    signals = [Signals(one["pool"].astype(np.float64), y_pool) for one in loaded]
    phi = np.stack([one.scaled_logit_N for one in signals])
    classes = np.stack([one.centred_log_probs_NC for one in signals])
    rows = []
    for number, one in enumerate(loaded):
        others = np.array([other for other in range(len(loaded)) if other != number])
        is_in, is_in_others = world.is_in_MP[number], world.is_in_MP[others]
        enough = (is_in_others.sum(0) >= 2) & ((~is_in_others).sum(0) >= 2)
        enough &= ~np.isin(world.pool, own_order(world, number)[: SETTINGS[data].fit])  # some rules read these
        is_in, is_in_others = is_in[enough], is_in_others[:, enough]
        label = lira_online(phi[number][None, enough], phi[others][:, None, enough], is_in_others)
        vector = lira_classes(classes[number][enough], classes[others][:, enough], is_in_others)
        both = sum_of_standard_scores(label, vector)
        right = np.concatenate(
            [one["test"].argmax(1) == y_test, (one["pool"].argmax(1) == y_pool)[~world.is_in_MP[number]]]
        )
        lira, joined = stats.auc(label, is_in), stats.auc(both, is_in)
        rows.append(
            {
                "accuracy": float(right.mean()), "lira": lira, "vector": joined, "leak": max(lira, joined),
                "tpr": max(stats.tpr_at_fpr(score, is_in, 0.01) for score in (label, both)),
                "loss": stats.auc(phi[number][enough], is_in), "seconds": float(one["seconds"][0]),
            }
        )  # fmt: skip
    return rows


def interval(values: np.ndarray) -> list[float]:
    """Mean, and the t interval of it over models."""
    mean, half = float(values.mean()), 0.0
    if len(values) > 1:
        half = float(student_t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values)))
    return [mean, mean - half, mean + half]


def collect(data: str, root: str, work: str) -> dict[str, dict[str, list[dict[str, float]]]]:
    """By density and label, the figures of every model; methods without all of a world's models are left out."""
    found: dict[str, dict[str, list[dict[str, float]]]] = {}
    setting = SETTINGS[data]
    worlds = {seed: make_world(load(data, root), setting, seed) for seed in setting.worlds}
    groups: dict[tuple[str, float, int], list[Item]] = {}
    for item in items_of(data, root, work, []):
        groups.setdefault((item.entry.label, item.density, item.world), []).append(item)
    for (label, density, seed), items in groups.items():
        if all(item.path.exists() for item in items):
            loaded = [dict(np.load(item.path, allow_pickle=False)) for item in items]
            rows = figures_of(data, worlds[seed], loaded)
            found.setdefault(f"{density:g}", {}).setdefault(label, []).extend(rows)
    return found


def volume(rows: list[list[dict[str, float]]], number: int) -> float:
    """The hypervolume of a family's front, of model ``number``: accuracy up, the larger LiRA AUC down."""
    points = np.array([[one[number]["accuracy"], one[number]["leak"]] for one in rows])
    return hypervolume(points)


def family_of(label: str) -> str:
    """Methods that differ in strength alone are a family, whose front is measured."""
    if label.endswith("dense teachers"):
        return "folds, dense teachers"
    return label.split(",")[0] if not label.startswith("SafeCompress") else "SafeCompress, rewiring"


def render(data: str, root: str, work: str, command: str) -> None:
    """The page and its JSON."""
    found = collect(data, root, work)
    trainings = {entry.label: entry.trainings for entry in ENTRIES}
    pages, results = [f"# Folds that teach, on {data}\n"], {"figures": found, "setting": asdict(SETTINGS[data])}
    dense = [entry.label for entry in ENTRIES if entry.is_dense]
    for density, by_label in found.items():
        shared = {k: v for k, v in found[next(iter(found))].items() if k in dense} | by_label
        pages.append(f"## Density {density}\n")
        lines = []
        for label, rows in sorted(shared.items(), key=lambda item: np.mean([r["leak"] for r in item[1]])):
            cells = [
                _text(interval(np.array([row[name] for row in rows]))) for name in ("accuracy", "lira", "vector", "tpr")
            ]
            lines.append(
                [
                    label,
                    str(len(rows)),
                    *cells,
                    f"{trainings[label]:g}",
                    f"{np.median([r['seconds'] for r in rows]):.1f}",
                ]
            )
        header = [
            "method",
            "models",
            "accuracy",
            "LiRA AUC",
            "LiRA AUC, all classes",
            "TPR at 1 %",
            "trainings",
            "CPU s",
        ]
        pages.append(common.table(header, lines))
        pairs = _paired(shared)
        results.setdefault("paired", {})[density] = pairs
        if pairs:
            pages.append("Paired differences (same rows, same first weights; 95 % t intervals over models):\n")
            pages.append(
                common.table(
                    ["pair", "accuracy", "larger LiRA AUC"],
                    [[p["pair"], _text(p["accuracy"]), _text(p["leak"])] for p in pairs],
                )
            )
        fronts = _fronts(shared)
        results.setdefault("fronts", {})[density] = fronts
        pages.append("Hypervolume of the front (accuracy up, larger LiRA AUC down; 0.5 and below count as 0.5):\n")
        pages.append(
            common.table(
                ["family", "hypervolume", "folds minus it"],
                [[f["family"], _text(f["volume"]), _text(f["difference"])] for f in fronts],
            )
        )
    common.save(f"folds-{data}", command, results, "\n".join(pages))


def _text(found: list[float]) -> str:
    return f"{found[0]:.3f} [{found[1]:.3f}, {found[2]:.3f}]"


PAIRS = [
    ("folds, share 0.8, length 2", "RigL"), ("folds, share 0.8, length 2", "RigL, length 2"),
    ("folds, share 0.8, length 2", "SafeCompress, rewiring"),
    ("folds, share 1, length 2", "RigL"), ("folds, share 1, length 4", "split teachers"),
    ("folds, share 1, length 4", "split teachers, length 2"), ("folds, share 1, length 2", "split teachers"),
    ("folds, share 1, length 2", "folds, share 1, length 2, dense teachers"),
    ("folds, share 1, length 4", "folds, share 1, length 4, dense teachers"),
    ("folds, share 1, length 2", "SELENA, 5 folds"), ("folds, share 1, length 2", "SELENA, 25 folds"),
    ("folds, share 0.8, length 2, leak drop", "folds, share 0.8, length 2"),
    ("folds, share 1, length 2, leak drop", "folds, share 1, length 2"),
    ("SafeCompress, rewiring", "RigL"),
]  # fmt: skip


def _paired(by_label: Mapping[str, list[dict[str, float]]]) -> list[dict[str, Any]]:
    pairs = []
    for ours, theirs in PAIRS:
        if ours in by_label and theirs in by_label and len(by_label[ours]) == len(by_label[theirs]):
            both = list(zip(by_label[ours], by_label[theirs], strict=True))
            gaps = {name: interval(np.array([a[name] - b[name] for a, b in both])) for name in ("accuracy", "leak")}
            pairs.append({"pair": f"{ours} minus {theirs}", **gaps})
    return pairs


def _fronts(by_label: Mapping[str, list[dict[str, float]]]) -> list[dict[str, Any]]:
    families: dict[str, list[list[dict[str, float]]]] = {}
    for label, rows in by_label.items():
        families.setdefault(family_of(label), []).append(rows)
    counts = {family: min(map(len, rows)) for family, rows in families.items()}
    volumes = {f: np.array([volume(rows, n) for n in range(counts[f])]) for f, rows in families.items()}
    ours = volumes.get("folds")
    return [
        {
            "family": family,
            "volume": interval(values),
            "difference": interval(ours[: len(values)] - values[: len(ours)]) if ours is not None else [0, 0, 0],
        }
        for family, values in sorted(volumes.items(), key=lambda item: -item[1].mean())
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("verb", choices=["run", "render"])
    parser.add_argument("data", choices=sorted(SETTINGS))
    parser.add_argument("--root", required=True, help="folder of the data set")
    parser.add_argument("--work", required=True, help="where answers are kept: a second run goes on")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--only", nargs="*", default=[], help="methods with one of these words in their labels")
    options = parser.parse_args()
    if options.verb == "render":
        render(
            options.data,
            options.root,
            options.work,
            f"python benchmarks/folds.py render {options.data} --root DIR --work DIR",
        )
        return
    items = items_of(options.data, options.root, options.work, options.only)
    with contextlib.ExitStack() as stack:
        executor: Executor = SerialExecutor()
        if options.workers > 1:
            executor = stack.enter_context(ProcessExecutor(options.workers))
        for place, line in enumerate(executor.map(make, items), 1):
            print(f"{place}/{len(items)} {line}", flush=True)


if __name__ == "__main__":
    main()
