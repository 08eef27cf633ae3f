"""The callback in a real Lightning Trainer: inactive weights stay zero though steps have closures."""

import importlib
import importlib.util
import sys

import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from safecompress.errors import UsageError
from safecompress.seeding import seeded

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore"),
    pytest.mark.skipif(importlib.util.find_spec("lightning") is None, reason="Lightning is not installed"),
]

with seeded(0, "data"):
    INPUTS = torch.randn(64, 12)
    LABELS = (INPUTS @ torch.randn(12, 3)).argmax(1)
STEPS = 16


@pytest.fixture(scope="module", autouse=True)
def lightning():
    """Loaded when the first of these tests runs, not by every process that collects them."""
    global L, SparseCallback, Module, Watch
    import lightning.pytorch as L
    from lightning_parts import Module, Watch

    from safecompress.integrations.lightning import SparseCallback


def fit(folder, *, callback=None, module=None, go_on=None, **changes):
    callback, module = callback or SparseCallback(density=0.3, every=3), module or Module()
    watch = Watch(callback)
    saved = L.callbacks.ModelCheckpoint(dirpath=folder, every_n_train_steps=8, save_top_k=-1, filename="{step}")
    options = {"max_steps": STEPS, "accumulate_grad_batches": 2, "gradient_clip_val": 0.2, **changes}
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu"}
    trainer = L.Trainer(callbacks=[callback, watch, saved], default_root_dir=folder, **quiet, **options)
    rows = DataLoader(TensorDataset(INPUTS, LABELS), batch_size=8)
    trainer.fit(module, rows, ckpt_path=go_on, **({"weights_only": True} if go_on else {}))
    return module, callback, watch


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    return (folder, *fit(folder))


def test_inactive_weights_stay_zero_while_weights_move(whole):
    _, module, callback, watch = whole
    assert callback.sparse.num_steps == STEPS
    assert len(set(watch.digests)) == callback.sparse.num_rewires + 1 == 5  # every 3 of the first 12 steps
    assert callback.pattern.num_active == round(0.3 * (12 * 24 + 24 * 3))
    assert (module.net(INPUTS).argmax(1) == LABELS).float().mean() > 0.6


def test_what_clips_sees_no_inactive_gradient(whole):
    _, module, callback, _ = whole
    assert len(module.clipped) == STEPS
    for gradients in module.clipped:
        alive = [int(gradients[name].ne(0).sum()) for name in callback.pattern.masks]
        assert sum(alive) <= callback.pattern.num_active
    assert set(module.clipped[0]) - set(callback.pattern.masks) == {"net.0.bias", "net.2.bias"}


def test_going_on_from_a_checkpoint_ends_in_the_same_bits(whole, tmp_path):
    """The checkpoint is read as tensors and numbers only."""
    folder, module, callback, _ = whole
    again, resumed, watch = fit(tmp_path, go_on=folder / "step=8.ckpt")
    assert len(watch.digests) == 2 * (STEPS - 8)  # two batches a step
    assert (resumed.sparse.num_steps, resumed.sparse.num_rewires) == (STEPS, callback.sparse.num_rewires)
    assert resumed.pattern.digest() == callback.pattern.digest()
    pairs = zip(again.state_dict().items(), module.state_dict().items(), strict=True)
    assert [name for (name, got), (_, expected) in pairs if not torch.equal(got, expected)] == []


def test_a_second_fit_begins_anew(tmp_path):
    callback = SparseCallback(density=0.3, every=3)
    fit(tmp_path / "a", callback=callback)
    first = callback.pattern.digest()
    fit(tmp_path / "b", callback=callback)
    assert callback.sparse.num_steps == STEPS and callback.pattern.digest() == first


def test_mixed_precision_leaves_inactive_weights_at_zero(tmp_path):
    _, callback, watch = fit(tmp_path, precision="bf16-mixed")
    assert len(watch.digests) == 2 * STEPS and callback.sparse.num_rewires == 4


# --- what cannot be done


def test_two_optimizers_are_refused(tmp_path):
    with pytest.raises(UsageError, match="one optimizer, got 2"):
        fit(tmp_path, module=Module(optimizers=2), gradient_clip_val=None, accumulate_grad_batches=1)


def test_training_without_an_end_is_refused(tmp_path):
    with pytest.raises(UsageError, match="needs an end"):
        fit(tmp_path, max_steps=-1, max_epochs=-1)


def test_an_unknown_option_is_told_at_once():
    with pytest.raises(UsageError, match=r"Unknown option 'grwo'.*Did you mean 'grow'\?"):
        SparseCallback(density=0.1, grwo="random")


def test_there_is_no_pattern_before_training():
    with pytest.raises(UsageError, match="before training"):
        SparseCallback(density=0.1).pattern  # noqa: B018


def test_without_the_package_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "lightning", None)
    monkeypatch.setitem(sys.modules, "lightning.pytorch", None)
    monkeypatch.delitem(sys.modules, "safecompress.integrations.lightning")
    with pytest.raises(UsageError, match=r"'lightning'.*pip install transformers accelerate lightning"):
        importlib.import_module("safecompress.integrations.lightning")
