"""Sparse fine-tuning in Hugging Face's Trainer; the model is tiny and made from its config, so nothing is downloaded.

python examples/integrations/huggingface_trainer.py
"""

import torch
from transformers import BertConfig, BertForSequenceClassification, Trainer, TrainingArguments

from safecompress.integrations.huggingface import SparseTrainerCallback


def rows(count: int, seed: int) -> list[dict[str, torch.Tensor]]:
    """Texts of 12 tokens out of 30; those of class 1 begin with a high one."""
    tokens = torch.randint(30, (count, 12), generator=torch.Generator().manual_seed(seed))
    return [{"input_ids": row, "labels": (row[0] >= 15).long()} for row in tokens]


def main() -> None:
    """Train at a fifth of the weights; embeddings and norms stay dense."""
    torch.manual_seed(0)
    model = BertForSequenceClassification(
        BertConfig(vocab_size=30, hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=64)
    )
    sparse = SparseTrainerCallback(density=0.2, every=10, exclude=["classifier.weight"])
    arguments = TrainingArguments(
        output_dir="sparse-bert",
        num_train_epochs=4,
        per_device_train_batch_size=16,
        gradient_accumulation_steps=2,
        learning_rate=5e-3,
        save_steps=20,  # each checkpoint holds the masks: train(resume_from_checkpoint=True) goes on exactly
        report_to="none",
        disable_tqdm=True,
        use_cpu=True,
    )
    trainer = Trainer(
        model=model,
        args=arguments,
        train_dataset=rows(512, 0),
        eval_dataset=rows(128, 1),
        compute_metrics=lambda found: {"accuracy": float((found.predictions.argmax(1) == found.label_ids).mean())},
        callbacks=[sparse],
    )
    trainer.train()
    accuracy = trainer.evaluate()["eval_accuracy"]
    inactive = sum(int((weight[~mask] != 0).sum()) for weight, mask in sparse.pattern.pairs(model))
    print(
        f"density {sparse.pattern.density:.3f}, accuracy {accuracy:.3f}, inactive weights that are not zero: {inactive}"
    )


if __name__ == "__main__":
    main()
