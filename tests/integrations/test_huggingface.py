"""The callback in a real Trainer: inactive weights stay zero, clipping sees active ones, a resumed run is equal."""

import importlib
import sys
from types import SimpleNamespace

import pytest
import torch

from safecompress.errors import ArtifactError, UsageError
from safecompress.seeding import seeded
from safecompress.sparsity import Start
from safecompress.storage import write_tensors

transformers = pytest.importorskip("transformers")
pytest.importorskip("accelerate")
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]

from safecompress.integrations.huggingface import STATE, SparseTrainerCallback  # noqa: E402

with seeded(0, "data"):
    TOKENS = torch.randint(1, 40, (48, 8))
ROWS = [{"input_ids": tokens, "labels": int(tokens[0] > 20)} for tokens in TOKENS]
STEPS = 12


def bert():
    config = transformers.BertConfig(
        vocab_size=40,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=8,
        num_labels=2,
    )
    with seeded(0, "model"):
        return transformers.BertForSequenceClassification(config)


class Watch(transformers.TrainerCallback):
    """What each step leaves."""

    def __init__(self, sparse):
        self.callback, self.norms, self.worst, self.digests = sparse, [], 0.0, []

    def on_step_end(self, args, state, control, model, **kwargs):
        sparse = self.callback.sparse
        for parameter, mask in sparse.pattern.pairs(model):
            inactive = parameter.detach()[~mask]
            assert not torch.signbit(inactive).any()
            self.worst = max(self.worst, inactive.abs().max().item())
        self.digests.append(sparse.pattern.digest())

    def on_log(self, args, state, control, logs=None, **kwargs):
        if "grad_norm" in logs:
            self.norms.append(logs["grad_norm"])


def trainer_of(folder, callback=None, **changes):
    callback = callback or SparseTrainerCallback(density=0.2, every=2)
    arguments = transformers.TrainingArguments(
        output_dir=str(folder),
        **{
            "max_steps": STEPS,
            "per_device_train_batch_size": 4,
            "gradient_accumulation_steps": 2,
            "max_grad_norm": 0.05,
            "learning_rate": 1e-2,
            "weight_decay": 0.1,
            "logging_steps": 1,
            "save_steps": 5,
            "report_to": "none",
            "use_cpu": True,
            "disable_tqdm": True,
            **changes,
        },
    )
    watch = Watch(callback)
    rows = {"train_dataset": ROWS, "eval_dataset": ROWS[:4]}
    trainer = transformers.Trainer(model=bert(), args=arguments, callbacks=[callback, watch], **rows)
    return trainer, callback, watch


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run from beginning to end; its checkpoints are at steps 5, 10 and 12."""
    trainer, callback, watch = trainer_of(tmp_path_factory.mktemp("whole"))
    trainer.train()
    return trainer, callback, watch


def test_inactive_weights_stay_zero_while_weights_move(whole):
    _, callback, watch = whole
    assert watch.worst == 0.0 and len(watch.digests) == STEPS
    assert len(set(watch.digests)) == callback.sparse.num_rewires + 1 == 5  # every 2 of the first 9 steps
    assert callback.sparse.num_steps == STEPS
    assert callback.pattern.density == pytest.approx(0.2, abs=1e-3)
    assert not any("embeddings" in name for name in callback.pattern.masks)


def test_the_largest_weights_of_the_model_are_kept(tmp_path):
    before = bert()
    fixed = SparseTrainerCallback(density=0.2, every=2, stop=0.0)
    trainer, callback, _ = trainer_of(tmp_path, fixed, max_steps=1, learning_rate=0.0, save_strategy="no")
    trainer.train()
    for name, parameter in before.named_parameters():
        if name in callback.pattern.masks:
            mask = callback.pattern.masks[name]
            kept, cut = parameter[mask].abs(), parameter[~mask].abs()
            assert kept.min() >= cut.max()
            assert torch.equal(trainer.model.get_parameter(name)[mask], parameter[mask])


def test_going_on_from_a_checkpoint_ends_in_the_same_bits(whole, tmp_path):
    first, callback, _ = whole
    checkpoint = f"{first.args.output_dir}/checkpoint-5"
    trainer, resumed, watch = trainer_of(first.args.output_dir, save_strategy="no")
    trainer.train(resume_from_checkpoint=checkpoint)
    assert len(watch.digests) == STEPS - 5 and watch.worst == 0.0
    assert resumed.pattern.digest() == callback.pattern.digest()
    assert resumed.sparse.coverage == callback.sparse.coverage
    pairs = zip(trainer.model.state_dict().items(), first.model.state_dict().items(), strict=True)
    assert [name for (name, got), (_, expected) in pairs if not torch.equal(got, expected)] == []


def test_clipping_measures_active_weights_but_in_steps_that_rewire(tmp_path, monkeypatch):
    def norms(early):
        if not early:
            monkeypatch.setattr("safecompress.sparsity.SparseTraining.mask_early", lambda self: None)
        trainer, _, watch = trainer_of(
            tmp_path, SparseTrainerCallback(density=0.05, every=3), max_steps=7, max_grad_norm=1e9, save_strategy="no"
        )
        trainer.train()
        return watch.norms

    masked, dense = norms(True), norms(False)
    rewires = [3]  # the step after three are counted; later ones lie beyond the stop
    same = [step for step in range(7) if masked[step] == dense[step]]
    assert same == rewires
    assert all(masked[step] < dense[step] for step in range(7) if step not in rewires)


def test_the_best_model_comes_back_with_its_own_pattern(tmp_path):
    best = {"eval_strategy": "steps", "eval_steps": 4, "save_steps": 4, "load_best_model_at_end": True}
    callback = SparseTrainerCallback(density=0.2, every=2)
    trainer, _, _ = trainer_of(tmp_path, callback, greater_is_better=True, metric_for_best_model="number", **best)
    numbers = iter([1.0, 0.0, 0.5])  # the first is the best
    trainer.compute_metrics = lambda _: {"number": next(numbers)}
    trainer.train()
    assert trainer.state.best_global_step == 4
    assert callback.pattern.digest() != callback.sparse.pattern.digest()
    for parameter, mask in callback.pattern.pairs(trainer.model):
        assert not parameter.detach()[~mask].any()


def test_mixed_precision_leaves_inactive_weights_at_zero(tmp_path):
    trainer, callback, watch = trainer_of(tmp_path, bf16=True, max_steps=8, save_strategy="no")
    trainer.train()
    assert watch.worst == 0.0 and callback.sparse.num_rewires == 3


# --- what cannot be done


def test_going_on_without_masks_is_refused_by_name(whole, tmp_path):
    first, _, _ = whole
    trainer, _, _ = trainer_of(tmp_path)
    with pytest.raises(UsageError, match=r"step 5, .*checkpoint-5/sparse\.safetensors"):
        trainer.train(resume_from_checkpoint=f"{first.args.output_dir}/checkpoint-5")


def test_a_checkpoint_elsewhere_is_found_when_the_arguments_name_it(whole, tmp_path):
    first, callback, _ = whole
    checkpoint = f"{first.args.output_dir}/checkpoint-10"
    trainer, resumed, _ = trainer_of(tmp_path, save_strategy="no", resume_from_checkpoint=checkpoint)
    trainer.train(resume_from_checkpoint=checkpoint)
    assert resumed.pattern.digest() == callback.pattern.digest()


def test_another_density_than_the_checkpoints_is_refused(whole):
    first, _, _ = whole
    trainer, _, _ = trainer_of(first.args.output_dir, SparseTrainerCallback(density=0.1, every=2))
    with pytest.raises(UsageError, match=r"density=0\.1 is asked for"):
        trainer.train(resume_from_checkpoint=f"{first.args.output_dir}/checkpoint-5")


@pytest.mark.parametrize("which", ["deepspeed", "fsdp"])
def test_parameters_in_pieces_are_refused(which):
    arguments = SimpleNamespace(**{"deepspeed": None, "fsdp": [], which: ["yes"]})
    with pytest.raises(UsageError, match="cut into pieces"):
        SparseTrainerCallback(density=0.1).on_train_begin(arguments, None, None)


def test_an_unknown_option_is_told_at_once():
    with pytest.raises(UsageError, match=r"Unknown option 'evry'.*Did you mean 'every'\?"):
        SparseTrainerCallback(density=0.1, evry=3)
    with pytest.raises(UsageError, match="Unknown option 'total_steps'"):
        SparseTrainerCallback(density=0.1, total_steps=3)


def test_there_is_no_pattern_before_training():
    with pytest.raises(UsageError, match="before training"):
        SparseTrainerCallback(density=0.1, start=Start.SCRATCH).pattern  # noqa: B018


def test_a_file_that_is_no_state_is_refused(tmp_path):
    from safecompress.integrations.common import read_state

    write_tensors(tmp_path / STATE, {"masks/a": torch.ones(2)}, {"num_steps": "1"})
    with pytest.raises(ArtifactError, match="sparse training"):
        read_state(tmp_path / STATE)


def test_without_the_package_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    monkeypatch.delitem(sys.modules, "safecompress.integrations.huggingface")
    with pytest.raises(UsageError, match=r"'transformers'.*pip install transformers accelerate lightning"):
        importlib.import_module("safecompress.integrations.huggingface")
