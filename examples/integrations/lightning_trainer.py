"""Sparse training in Lightning's Trainer, on handwritten digits.

python examples/integrations/lightning_trainer.py
"""

import lightning.pytorch as pl
import torch
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, TensorDataset

import safecompress as sc
from safecompress.integrations.lightning import SparseCallback


class Digits(pl.LightningModule):
    """A small net; it knows nothing of sparsity."""

    def __init__(self) -> None:
        super().__init__()
        self.net = sc.ModelSpec("mlp", {"hidden": [256, 128]}, input_shape=(64,), num_classes=10).build()

    def training_step(self, batch: list[torch.Tensor], _: int) -> torch.Tensor:
        """The loss."""
        features, labels = batch
        return cross_entropy(self.net(features), labels)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """AdamW."""
        return torch.optim.AdamW(self.parameters(), lr=2e-3, weight_decay=0.01)


def main() -> None:
    """Train at a tenth of the weights."""
    pl.seed_everything(0, verbose=False)
    split = sc.make_split(sc.data.digits(), seed=0)
    module, sparse = Digits(), SparseCallback(density=0.1, every=20)
    trainer = pl.Trainer(
        max_epochs=20,
        gradient_clip_val=1.0,
        callbacks=[sparse],  # its state lies in every checkpoint: fit(..., ckpt_path=...) goes on exactly
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, DataLoader(TensorDataset(*split.part("train")), batch_size=64, shuffle=True))
    features, labels = split.part("test")
    accuracy = (module.eval().net(features).argmax(1) == labels).float().mean()
    inactive = sum(int((weight[~mask] != 0).sum()) for weight, mask in sparse.pattern.pairs(module))
    print(
        f"density {sparse.pattern.density:.3f}, accuracy {accuracy:.3f}, inactive weights that are not zero: {inactive}"
    )


if __name__ == "__main__":
    main()
