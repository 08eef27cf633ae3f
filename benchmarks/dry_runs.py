"""The five specs of examples/papers at full size, `compress --dry-run` each: rows, sizes, memory, hours by phase.

python benchmarks/dry_runs.py --work DIR [--cifar10 DIR] [--cifar100 DIR] [--tiny-imagenet DIR] [--specs NAME ...]

Where a data set is not given, a stand-in takes its place: a folder laid out as the release is, with as many rows and
classes, of noise and of made-up words. So are BERT base and RoBERTa base, in their sizes and with random weights:
what a run costs depends on counts and shapes alone. Folders in --work that are there already are used again.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import common
import numpy as np

from safecompress.data.images.cifar_classes import CIFAR100_CLASSES

PAPERS = Path(__file__).parent.parent / "examples" / "papers"
WORDS, LETTERS = 4_000, "abcdefghijklmnopqrstuvwxyz"
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
ROBERTA = {"model_type": "roberta", "vocab_size": 50_265, "max_position_embeddings": 514, "type_vocab_size": 1,
           "pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2}  # fmt: skip


def cifar_release(folder: Path, files: dict[str, int], label_bytes: int, num_classes: int) -> None:
    """Binary files of ``files`` rows each, 3,072 bytes of noise after the labels."""
    generator = np.random.default_rng(0)
    for name, count in files.items():
        rows = generator.integers(0, 256, (count, label_bytes + 3072), dtype=np.uint8)
        rows[:, label_bytes - 1] = np.arange(count) % num_classes
        rows[:, : label_bytes - 1] = 0
        (folder / name).write_bytes(rows.tobytes())


def cifar10(folder: Path) -> None:
    """60,000 images in 10 classes."""
    cifar_release(folder, {**{f"data_batch_{n}.bin": 10_000 for n in range(1, 6)}, "test_batch.bin": 10_000}, 1, 10)


def cifar100(folder: Path) -> None:
    """60,000 images in 100 classes."""
    cifar_release(folder, {"train.bin": 50_000, "test.bin": 10_000}, 2, len(CIFAR100_CLASSES))


def tiny_imagenet(folder: Path) -> None:
    """110,000 JPEG files of 64 x 64 pixels in 200 classes."""
    from PIL import Image

    generator = np.random.default_rng(0)

    def draw(path: Path) -> None:
        coarse = Image.fromarray(generator.integers(0, 256, (8, 8, 3), dtype=np.uint8))
        coarse.resize((64, 64), Image.Resampling.BICUBIC).save(path, quality=90)

    wnids = [f"n{number:08d}" for number in range(200)]
    (folder / "wnids.txt").write_text("\n".join(wnids) + "\n")
    (folder / "words.txt").write_text("".join(f"{wnid}\tthing {place}\n" for place, wnid in enumerate(wnids)))
    for wnid in wnids:
        images = folder / "train" / wnid / "images"
        images.mkdir(parents=True)
        for number in range(500):
            draw(images / f"{wnid}_{number}.JPEG")
    images = folder / "val" / "images"
    images.mkdir(parents=True)
    for number in range(10_000):
        draw(images / f"val_{number}.JPEG")
    told = [f"val_{number}.JPEG\t{wnids[number % 200]}\t0\t0\t62\t62\n" for number in range(10_000)]
    (folder / "val" / "val_annotations.txt").write_text("".join(told))


def texts(folder: Path, counts: dict[str, int], num_classes: int, columns: int, length: int) -> None:
    """CSV files without a header, as the releases are: a class from 1 and ``columns`` texts of ``length`` words."""
    generator = np.random.default_rng(0)
    words = np.array(vocabulary())
    for name, count in counts.items():
        with (folder / name).open("w", newline="") as file:
            writer = csv.writer(file, quoting=csv.QUOTE_ALL)
            for row in range(count):
                drawn = words[generator.integers(0, WORDS, (columns, length))]
                writer.writerow([row % num_classes + 1, *(" ".join(line) for line in drawn)])


def ag_news(folder: Path) -> None:
    """127,600 reports in 4 classes, with a title."""
    texts(folder, {"train.csv": 120_000, "test.csv": 7_600}, 4, 2, 18)


def yelp5(folder: Path) -> None:
    """700,000 reviews of 130 words in 5 classes."""
    texts(folder, {"train.csv": 650_000, "test.csv": 50_000}, 5, 1, 130)


def vocabulary() -> list[str]:
    """Words that nobody uses."""
    generator = np.random.default_rng(1)
    return sorted({"".join(generator.choice(list(LETTERS), 7)) for _ in range(WORDS + 50)})[:WORDS]


def bert(folder: Path) -> None:
    """BERT base with random weights, and a vocabulary of its own."""
    from transformers import BertConfig, BertModel

    BertModel(BertConfig()).save_pretrained(folder)
    (folder / "vocab.txt").write_text("\n".join([*SPECIAL, *LETTERS, *(f"##{c}" for c in LETTERS), *vocabulary()]))


def roberta(folder: Path) -> None:
    """RoBERTa base with random weights, and byte-level pairs."""
    from tokenizers import ByteLevelBPETokenizer
    from transformers import RobertaConfig, RobertaModel

    RobertaModel(RobertaConfig(**ROBERTA)).save_pretrained(folder)
    tokenizer = ByteLevelBPETokenizer()
    tokenizer.train_from_iterator(vocabulary(), 8_000, special_tokens=["<s>", "<pad>", "</s>", "<unk>", "<mask>"])
    tokenizer.save(str(folder / "tokenizer.json"))


Source = tuple[str, Callable[[Path], None]]
TASKS: dict[str, tuple[Source, tuple[str, str, Callable[[Path], None]] | None]] = {
    "cifar10-alexnet": (("cifar10", cifar10), None),
    "cifar100-vgg16": (("cifar100", cifar100), None),
    "tiny-imagenet-resnet18": (("tiny_imagenet", tiny_imagenet), None),
    "yelp5-bert": (("yelp5", yelp5), ("bert", "vocab.txt", bert)),
    "ag-news-roberta": (("ag_news", ag_news), ("roberta", "tokenizer.json", roberta)),
}
"""Spec -> its data set, and the encoder with its tokenizer."""


def made(work: Path, name: str, make: Callable[[Path], None]) -> Path:
    """The folder ``name`` in ``work``, made if it is not there; what is half made has another name."""
    folder, half = work / name, work / f"{name}.half"
    if not folder.exists():
        half.mkdir(parents=True)
        make(half)
        half.rename(folder)
    return folder


def settings(name: str, work: Path, given: dict[str, Path | None]) -> tuple[list[str], bool]:
    """``--set`` of the spec ``name``, and whether its data set is a stand-in."""
    (source, make), encoder = TASKS[name]
    root = given.get(source)
    told = [f"data.source.root={(root or made(work, source, make)).resolve()}"]
    if encoder is not None:
        folder = made(work, encoder[0], encoder[2]).resolve()
        told += [f"data.source.tokenizer={folder / encoder[1]}", f"model.folder={folder}"]
    return told, root is None


def dry_run(name: str, told: list[str]) -> dict[str, Any]:
    """What the command says, the seconds it took and the memory it used at most."""
    command = [Path(sys.executable).with_name("safecompress"), "compress", PAPERS / f"{name}.toml", "--dry-run"]
    command += ["--json", *(word for setting in told for word in ("--set", setting))]
    begun = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    said = process.stdout.read()
    _, status, used = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{name}: the dry run ended with {os.waitstatus_to_exitcode(status)}.")
    peak = used.ru_maxrss * (1 if platform.system() == "Darwin" else 1024)
    return {**json.loads(said), "dry_run_seconds": time.perf_counter() - begun, "dry_run_peak_bytes": peak}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="where stand-ins are kept")
    parser.add_argument("--specs", nargs="+", choices=list(TASKS), default=list(TASKS))
    for (source, _), _ in TASKS.values():
        parser.add_argument(f"--{source.replace('_', '-')}", type=Path, help="the folder of the real data set")
    options = parser.parse_args()
    results, rows = {}, []
    for name in options.specs:
        told, is_made_up = settings(name, options.work, vars(options))
        found = results[name] = {**dry_run(name, told), "stand_in": is_made_up}
        memory = found["memory_bytes"]
        hours = {phase["phase"]: phase["seconds"] / 3600 for phase in found["phases"]}
        longest = sorted(hours, key=lambda phase: -hours[phase])[:3]
        rows.append([
            name, f"{found['rows']['train']:,}{' (stand-in)' * is_made_up}",
            f"{found['num_parameters']:,}, {found['num_active']:,} kept", f"{found['step_seconds']:.2f}",
            f"{found['seconds'] / 3600:,.0f}", ", ".join(f"{phase} {hours[phase]:,.0f}" for phase in longest),
            f"{memory['rows'] / 2**30:.2f}", f"{memory['process'] / 2**30:.1f}",
            f"{found['dry_run_peak_bytes'] / 2**30:.1f}", f"{found['dry_run_seconds']:,.0f}",
        ])  # fmt: skip
        print(rows[-1], flush=True)
    header = ["spec", "members", "parameters", "seconds a step", "hours", "of them, longest phases", "rows, GiB",
              "process, GiB", "dry run's peak, GiB", "dry run, seconds"]  # fmt: skip
    page = f"""# What the papers' five tasks would cost here

`compress --dry-run` of the specs in `examples/papers` at full size, on one thread of a machine without a GPU: these are
jobs for a GPU, and `--scale small` is what this machine runs. A stand-in has the release's layout, rows and classes,
made of noise; the encoders have the sizes of BERT base and RoBERTa base with random weights.

{common.table(header, rows)}"""
    given = "".join(f" --{source.replace('_', '-')} DIR" for (source, _), _ in TASKS.values() if vars(options)[source])
    common.save("dry-runs", f"python benchmarks/dry_runs.py --work DIR{given}", results, page)


if __name__ == "__main__":
    main()
