"""The page on modules that work: every line of its tables is a case here, and is what the page says."""

import re
from dataclasses import replace
from pathlib import Path

import foreign as f
import numpy as np
import pytest
import torch
from torch import nn

import safecompress as sc
from safecompress.compression.job import Job, read_model
from safecompress.errors import UsageError
from safecompress.networks import fitted, read_for_audit, undrawable
from whole_runs import run_code

PAGE = (Path(__file__).parents[2] / "docs" / "how-to" / "any-model.md").read_text(encoding="utf-8")
DRAW = np.random.default_rng(0)
Y = np.arange(700) % f.CLASSES
X = (DRAW.normal(size=(f.CLASSES, f.FEATURES))[Y] + DRAW.normal(size=(700, f.FEATURES))).astype("float32")
SPLIT = sc.make_split(sc.Dataset.from_arrays(X, Y), seed=0)
BINARY = sc.make_split(sc.Dataset.from_arrays(X, Y % 2), seed=0)
TEXTS = sc.make_split(sc.Dataset.from_tokens(DRAW.integers(0, 50, size=(700, 6)), Y, vocab_size=50), seed=0)
PLAIN = sc.SafetySpec(attacks=["gap"], requirements=[sc.at_most("gap.auc", 0.9)], access="labels")
BY_SHADOWS = sc.SafetySpec(attacks=["lira"], requirements=[sc.at_most("lira.auc", 0.9)])


def job(model, split=SPLIT, spec=PLAIN, recipe=sc.Recipe(), **fields):  # noqa: B008
    """A job that has passed everything that comes before training."""
    data = split.dataset
    task = sc.TaskInfo(data.num_classes, data.class_names, data.input_shape)
    made = Job("x", model, None, split, split, task, spec, recipe, recipe, sc.Plan(density=0.5), 0)
    made = read_model(replace(made, **fields))
    made.check()
    return made


def works(model, note="", **options):
    read = job(model, **options)
    assert any(note in one for one in read.notes) if note else not read.notes
    sc.Artifact(read.model.state_dict(), {}, None, read.task)
    return read


def probabilities():
    works(f.given(lambda scores, x: scores.softmax(1)), "probabilities")
    works(f.given(lambda z, x: z.sigmoid(), 1), "probabilities", split=BINARY)


def precisions():
    for dtype in (torch.bfloat16, torch.float16, torch.float64):
        works(f.Mlp().to(dtype), "trained as float32")
        assert next(read_for_audit(f.Mlp().to(dtype), torch.from_numpy(X[:16]), 3).network.parameters()).dtype is dtype


def computed():
    for make in (f.weight_normed, f.old_weight_normed, f.spectral_normed, f.pruned):
        works(make(), "were computed by")


def wrapped():
    for wrap in (nn.DataParallel, torch.compile, torch.optim.swa_utils.AveragedModel):
        works(wrap(f.Mlp()))


def drawn():
    assert undrawable(f.Attention()) == ()
    works(f.Attention(), spec=BY_SHADOWS)


def prefixes():
    model = f.Mlp()
    for prefix in ("module.", "_orig_mod.", "net."):
        weights = {prefix + name: tensor for name, tensor in model.state_dict().items()}
        fitted(weights, model, "x")
        works(f.Mlp(), dense=weights)


def structures():
    works(f.given(lambda scores, x: (x, scores)), "class scores are 1")
    works(f.given(lambda scores, x: {"a": x, "b": scores}), "class scores are 'b'")
    works(f.given(lambda scores, x: f.ModelOutput(logits=scores, more=scores)), "class scores are 'logits'")


WORKS = {
    "logits (N, C), or (N, C, 1, 1)": lambda: (
        works(f.Mlp()),
        works(f.given(lambda scores, x: scores[..., None, None])),
    ),
    "a tuple, a dict or a ModelOutput": structures,
    "one logit a row": lambda: works(f.Mlp(1), "second class", split=BINARY),
    "probabilities (N, C), or one a row": probabilities,
    "auxiliary heads in training": lambda: works(f.WithAux(), "class scores are 0"),
    "`input_ids` and `attention_mask`, as Hugging Face models take": lambda: works(f.Tokens(), "'logits'", split=TEXTS),
    "DataParallel, torch.compile, averaged weights": wrapped,
    "weights in bfloat16, float16 or float64": precisions,
    "weight_norm, spectral_norm, parametrizations, torch.nn.utils.prune": computed,
    "nn.MultiheadAttention, Hugging Face models": drawn,
    "state dicts with `module.`, `_orig_mod.` or another prefix that all names share": prefixes,
    "a scripted module, in `audit`": lambda: read_for_audit(torch.jit.script(f.Mlp()), torch.from_numpy(X[:16]), 3),
    "a forward pass that changes its input, in `audit`": lambda: read_for_audit(
        f.InPlace(), torch.from_numpy(X[:16]), 3
    ).notes[0],
}


def sparse(make):
    model = make()
    sc.SparseTraining(model, torch.optim.SGD(model.parameters(), lr=0.1), density=0.5, total_steps=10, every=1)


REFUSED = {
    "several outputs that could be the scores": (
        lambda: job(f.given(lambda scores, x: (scores, scores))), "ClassScores(model, output=0)"),
    "a forward pass with several arguments": (lambda: job(f.TwoInputs()), "ClassScores(model, inputs={'image'"),
    "other numbers of classes than the data": (lambda: job(f.Mlp(5)), "missing_classes=True"),
    "a single number a row, for more than two classes": (lambda: job(f.Mlp(1)), "cut into classes first"),
    "a parameter of your own module, with attacks by shadow models": (
        lambda: job(f.OwnParameter(), spec=BY_SHADOWS), "model_factory=lambda: Net()"),
    "a scripted module, in `compress`": (lambda: job(torch.jit.script(f.Mlp())), "scripted from"),
    "lazy layers": (lambda: job(nn.LazyLinear(3)), "Run one batch of the data through it first"),
    "an input that is changed in place, in `compress`": (lambda: job(f.InPlace()), "Write x = x - 3"),
    "dropout or noise in evaluation mode": (lambda: job(f.DropoutOn()), "F.dropout(x, p, training=self.training)"),
    "an answer that depends on the calls before": (lambda: job(f.Counting()), "Keep nothing between two calls"),
    "an answer that depends on the other rows: a mean over rows, batch norm without running statistics": (
        lambda: job(f.normed(track_running_stats=False)), "track_running_stats=True"),
    "batch norm and `batch_size=1`": (
        lambda: job(f.normed(), recipe=sc.Recipe(batch_size=1)), "batch_size of 2 or more"),
    "no gradient (`torch.no_grad()`, `detach()`)": (lambda: job(f.NoGradient()), "Leave out torch.no_grad()"),
    "`SparseTraining` on weight_norm, or on a pruned layer": (
        lambda: sparse(f.weight_normed), "remove_parametrizations(model[0], 'weight')"),
}  # fmt: skip


def first_cells(heading):
    section = PAGE.partition(f"## {heading}\n")[2].partition("\n## ")[0]
    return re.findall(r"^\| (?!the module|---)(.+?) \|", section, flags=re.M)


def test_every_line_of_the_page_is_a_case():
    assert first_cells("What works as it is") == list(WORKS)
    assert first_cells("What is refused, and what to write instead") == list(REFUSED)


@pytest.mark.parametrize("line", WORKS)
def test_what_works(line):
    assert WORKS[line]() is not False


@pytest.mark.parametrize("line", REFUSED)
def test_what_is_refused_says_what_to_write(line):
    attempt, words = REFUSED[line]
    with pytest.raises(UsageError) as caught:
        attempt()
    assert words in str(caught.value)


def test_what_to_write_instead_works():
    inputs = {"image": (1, f.FEATURES - 1), "age": (1,)}
    works(sc.ClassScores(f.TwoInputs(), inputs=inputs))
    works(sc.ClassScores(f.OneDict(), inputs=inputs, passing="dict"))
    works(sc.ClassScores(f.given(lambda scores, x: (scores, scores)), output=1))
    works(f.OwnParameter(), spec=BY_SHADOWS, factory=f.OwnParameter)
    works(f.normed(), recipe=sc.Recipe(batch_size=2))


def test_the_example_of_the_page(tmp_path):
    (code,) = re.findall(r"^```python\n(.*?)^```", PAGE, flags=re.S | re.M)
    (said,) = re.findall(r"It prints `(.*?)`", PAGE)
    assert run_code(code, tmp_path).strip() == said


def test_the_guide_to_known_train_rows(tmp_path):
    page = (Path(__file__).parents[2] / "docs" / "how-to" / "train-rows.md").read_text(encoding="utf-8")
    code = "\n".join(re.findall(r"^```python\n(.*?)^```", page, flags=re.S | re.M))
    assert run_code(code, tmp_path).split("\n")[:2] == re.findall(r"It prints `(.*?)`", page)
