"""What ships: bytes beside their reference size, latency beside the dense model, and channels that really go.

python benchmarks/deploy.py bytes --data DIR      # DIR holds location30/ and cifar10/
python benchmarks/deploy.py speed
python benchmarks/deploy.py channels --data DIR --work DIR

Bytes are of patterns and weights as a short dynamic sparse training left them. Latency is of one thread; both models
take turns, and ratios are medians over rounds. `channels` compresses by whole units with `safecompress compress`, and
the verdict is on the int8 ONNX file; the shrunk float32 file answers as the model as trained.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import common
import tomli_w
import torch

from safecompress.data import Dataset, cifar10, digits, location30
from safecompress.export import Artifact, TaskInfo
from safecompress.export.onnx import export_onnx
from safecompress.models import ModelSpec
from safecompress.runtime.bench import Latency, bench
from safecompress.runtime.measure import in_turns, median_interval
from safecompress.runtime.onnxfile import OnnxEngine
from safecompress.seeding import seeded
from safecompress.sparsity import AllocateErk, SparseTraining, Start, find_maskable, initial_pattern
from safecompress.training.layout import laid_out

DENSITIES = (0.2, 0.1, 0.05)
TARGETS = {"float32": 0.92, "float16": 0.97, "int8": 1.02}
SMALL_TARGET, FILE_TARGET = 1.00, 1.05
ROUNDS = 101


def trained(spec: ModelSpec, data: Dataset, density: float, *, rows: int, epochs: int, batch: int) -> Artifact:
    """A short dynamic sparse training of ``rows`` of ``data``: Adam, gradient growth, twelve rewires."""
    order = torch.randperm(data.num_rows, generator=torch.Generator().manual_seed(0))[:rows]
    x, y = laid_out(data.features[order]), data.labels[order]
    with seeded(0, "bytes"):
        model = spec.build().train()
        optimizer = torch.optim.Adam(model.parameters(), 1e-3, fused=True)
        steps = epochs * -(-rows // batch)
        sparse = SparseTraining(model, optimizer, density=density, total_steps=steps, every=max(1, steps // 12))
        for _ in range(epochs):
            for part in torch.randperm(rows).split(batch):
                optimizer.zero_grad()
                torch.nn.functional.cross_entropy(model(x[part]), y[part]).backward()
                optimizer.step()
                sparse.step()
    task = TaskInfo(spec.num_classes, (), spec.input_shape)
    return Artifact(model.state_dict(), sparse.pattern.masks, spec, task)


def measure_bytes(root: Path) -> None:
    small, location = digits(), location30(root / "location30")
    photos = cifar10(root / "cifar10", per_class=200)
    settings: list[tuple[str, ModelSpec, Dataset, dict[str, int], float]] = [
        ("MLP, 50,432 weights (digits)", ModelSpec("mlp", {"hidden": [256, 128]}, (64,), 10), small,
         {"rows": 900, "epochs": 20, "batch": 32}, SMALL_TARGET),
        ("MLP, 396,032 weights (Location-30)", ModelSpec("mlp", {"hidden": [512, 256, 128]}, (446,), 30), location,
         {"rows": 1500, "epochs": 30, "batch": 128}, 0.0),
        ("VGG16-C, 11.3 million weights (CIFAR-10)", ModelSpec("vgg", {}, (3, 32, 32), 10), photos,
         {"rows": 1024, "epochs": 1, "batch": 64}, 0.0),
    ]  # fmt: skip
    results, lines = [], []
    for name, spec, data, lengths, all_widths in settings:
        for density in DENSITIES:
            artifact = trained(spec, data, density, **lengths)
            for precision, target in TARGETS.items():
                count = artifact.to_precision(precision).byte_count()
                wanted = all_widths or target
                whole = count.file / count.reference
                results.append({"model": name, "density": density, "precision": precision, "file": count.file,
                                "payload": count.payload, "header": count.header, "reference": count.reference,
                                "payload_ratio": count.ratio, "file_ratio": whole, "target": wanted})  # fmt: skip
                held = "yes" if count.ratio <= wanted and whole <= FILE_TARGET and count.header <= 4096 else "**no**"
                lines.append([name, f"{density:g}", precision, f"{count.file:,}", f"{count.ratio:.3f}", f"{wanted:.2f}",
                              f"{whole:.3f}", f"{count.header:,}", held])  # fmt: skip
                print(*lines[-1], flush=True)
    header = ["model", "density", "weights kept as", "file bytes", "payload / reference", "asked", "file / reference",
              "header bytes", "held"]  # fmt: skip
    page = (
        "# Bytes of a packed model beside their reference size\n\n"
        "Reference: the entropy of the masks and the kept values at their width, dense tensors and scales whole. "
        f"The whole file may be {FILE_TARGET:g} times the reference, its header 4,096 bytes.\n\n"
        + common.table(header, lines)
    )
    common.save("deploy-bytes", "python benchmarks/deploy.py bytes --data DIR", results, page)


def measure_speed() -> None:
    """The MLP of the issue: random ERK patterns, since speed knows no training."""
    spec = ModelSpec("mlp", {"hidden": [1024, 512, 256]}, (600,), 100)
    results, lines = [], []
    for density in (0.02, 0.05, 0.1, 0.2):
        with seeded(0, "speed"):
            model = spec.build()
        weights = find_maskable(model)
        pattern = initial_pattern(weights, density, allocation=AllocateErk(), start=Start.SCRATCH, seed=0)
        pattern.apply_(model)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "artifact.safetensors"
            Artifact(model.state_dict(), pattern.masks, spec, TaskInfo(100, (), (600,))).save(path)
            found = bench(path, rounds=ROUNDS)
        results.append({"density": density, **{k: v for k, v in found.to_json().items() if k != "path"}})
        for speed in found.speeds:
            assert speed.dense is not None and speed.ratio is not None and speed.ratio_interval is not None
            low, high = speed.ratio_interval.low, speed.ratio_interval.high
            lines.append([f"{density:g}", str(speed.file.batch_size), _ms(speed.file), _ms(speed.dense),
                          f"{speed.ratio:.2f} [{low:.2f}, {high:.2f}]"])  # fmt: skip
            print(*lines[-1], flush=True)
    page = (
        "# Latency of sparse linear layers\n\n"
        "MLP 600-1024-512-256-100, one thread, beside the dense float32 model in ONNX Runtime. Asked at density 0.05: "
        "3 times as fast with 64 rows, 2.5 times with one.\n\n"
        + common.table(["density", "rows", "file, ms", "dense, ms", "times as fast"], lines)
    )
    common.save("deploy-speed", "python benchmarks/deploy.py speed", results, page)


def _ms(latency: Latency) -> str:
    return f"{latency.p50_ms:.3g} ({latency.engine})"


NETWORKS = {
    "ResNet-8": {"name": "resnet", "blocks": [1, 1, 1]},
    "VGG-small": {"name": "vgg", "widths": [32, 64, 128], "depths": [2, 2, 2], "hidden": [128]},
}


def channel_spec(name: str, model: dict[str, Any], root: Path) -> dict[str, Any]:
    attacks = ["loss", "modified_entropy", "neural", "whitebox"]
    return {
        "name": name.lower(),
        "data": {
            "source": {"name": "cifar10", "root": str(root.resolve()), "per_class": 1000}, "normalise": "standard",
            "train": 4000, "member_fit": 400, "member_select": 400, "member_verdict": 400,
            "validation": 500, "test": 2000, "nonmember_fit": 400, "nonmember_select": 400, "nonmember_verdict": 400,
            "population": 400,
        },
        "model": model,
        "recipe": {"epochs": 12, "batch_size": 64, "optimizer": "adam", "learning_rate": 2e-3, "weight_decay": 0.0,
                   "decay": "cosine"},
        "compress": {"density": 0.1, "shape": "unit"},
        "search": {"rounds": 3, "branches": ["magnitude+random", "threshold+random", "keep"],
                   "attacks": ["loss", "modified_entropy"]},
        "deploy": {"shrink": True, "precision": "int8", "format": "onnx"},
        "safety": {"attacks": attacks},
        "require": [{"metric": f"{attack}.auc", "at_most": 0.6} for attack in attacks]
        + [{"metric": "accuracy", "within": 0.05, "of": "dense"}],
    }  # fmt: skip


def measure_channels(root: Path, work: Path) -> None:
    work.mkdir(parents=True, exist_ok=True)
    results, lines, words = [], [], []
    for name, model in NETWORKS.items():
        run, file = work / name.lower(), work / f"{name.lower()}.toml"
        file.write_text(tomli_w.dumps(channel_spec(name, model, root)))
        command = ["compress", str(file), "--out", str(run), "--ledger", str(work / f"{name.lower()}-ledger.jsonl")]
        subprocess.run([Path(sys.executable).with_name("safecompress"), *command], check=False)
        report = json.loads((run / "report.json").read_text())
        shrunk = Artifact.load(run / "artifact.safetensors")
        assert shrunk.model_spec is not None
        with seeded(0, "channels"):
            dense = shrunk.model_spec.build().eval()
        int8 = shrunk.to_precision("int8").byte_count().file
        export_onnx(dense, shrunk.task, work / "dense.onnx")
        export_onnx(shrunk.build(), shrunk.task, work / "shrunk.onnx")
        files = {"dense float32": work / "dense.onnx", "shrunk float32": work / "shrunk.onnx",
                 "shrunk int8": run / "artifact.onnx"}  # fmt: skip
        ratios, taken = race(files)
        dense_bytes = 4 * sum(tensor.numel() for tensor in dense.parameters())
        sizes = {"dense float32": (dense_bytes, dense_bytes),
                 "shrunk float32": (shrunk.byte_count().file, files["shrunk float32"].stat().st_size),
                 "shrunk int8": (int8, files["shrunk int8"].stat().st_size)}  # fmt: skip
        figures = {"dense float32": report["dense"], "shrunk float32": report["trained"],
                   "shrunk int8": report["measurements"]}  # fmt: skip
        for kind in files:
            packed, onnx = sizes[kind]
            told, small = figures[kind], f"{packed:,} ({dense_bytes / packed:.1f}x)"
            worst = max(told[metric]["value"] for metric in told if metric.endswith(".auc"))
            lines.append([
                name, kind, f"{told['accuracy']['value']:.3f}", f"{worst:.3f}", small,
                f"{onnx:,} ({dense_bytes / onnx:.1f}x)",
                *(f"{1e3 * taken[kind, rows]:.3g} ms ({ratios[kind, rows][0]:.2f}x "
                  f"[{ratios[kind, rows][1]:.2f}, {ratios[kind, rows][2]:.2f}])" for rows in (1, 64)),
            ])  # fmt: skip
            print(*lines[-1], flush=True)
        kept, whole = sum(p.numel() for p in shrunk.build().parameters()), dense_bytes // 4
        words.append(f"{name}: {kept:,} of {whole:,} parameters are left ({kept / whole:.1%}). The verdict on the int8 "
                     f"file: {report['verdict']} ({', '.join(f['requirement'] + ' ' + f['verdict'] for f in report['findings'])}).")  # fmt: skip  # noqa: E501
        results.append({"model": name, "parameters": kept, "of": whole, "verdict": report["verdict"],
                        "findings": report["findings"], "doubts": report["doubts"], "bytes": sizes,
                        "figures": {k: {m: f["value"] for m, f in v.items()} for k, v in figures.items()},
                        "seconds": {f"{k} {r}": t for (k, r), t in taken.items()},
                        "times_as_fast": {f"{k} {r}": t for (k, r), t in ratios.items()}})  # fmt: skip
    header = ["network", "file", "accuracy", "worst AUC", "packed bytes", "ONNX bytes", "1 row", "64 rows"]
    page = (
        "# Channels that go: whole units at 10 % of the weights\n\n"
        "CIFAR-10, 4,000 members, 12 epochs, one seed, ONNX Runtime on one thread. Asked: float32 5 times as fast and "
        "10 times smaller, int8 10 and 30 times. Sizes are against the dense model's float32 parameters: packed (our "
        "container) and as an ONNX file.\n\n"
        + "\n".join(f"- {line}" for line in words) + "\n\n"
        + common.table(header, lines)
    )  # fmt: skip
    common.save("deploy-channels", "python benchmarks/deploy.py channels --data DIR --work DIR", results, page)


def race(
    files: dict[str, Path],
) -> tuple[dict[tuple[str, int], tuple[float, float, float]], dict[tuple[str, int], float]]:
    """How many times as fast as the first file each is, with interval, and its seconds, by rows."""
    ratios, taken = {}, {}
    engines = {kind: OnnxEngine(path, threads=1) for kind, path in files.items()}
    for rows in (1, 64):
        samples = next(iter(engines.values())).facts.random_samples(rows)
        timings = in_turns({kind: partial(engine.logits, samples) for kind, engine in engines.items()}, rounds=ROUNDS)
        first = timings[next(iter(files))].medians()
        for kind, timing in timings.items():
            each = [a / b for a, b in zip(first, timing.medians(), strict=True)]
            interval = median_interval(each)
            ratios[kind, rows] = (sorted(each)[len(each) // 2], interval.low, interval.high)
            taken[kind, rows] = sorted(timing.medians())[len(each) // 2]
    return ratios, taken


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["bytes", "speed", "channels"])
    parser.add_argument("--data", type=Path, help="folder that holds location30 and cifar10")
    parser.add_argument("--work", type=Path, help="where runs are kept")
    options = parser.parse_args()
    if options.what == "speed":
        measure_speed()
    elif options.what == "bytes":
        measure_bytes(options.data)
    else:
        measure_channels(options.data / "cifar10", options.work)


if __name__ == "__main__":
    main()
