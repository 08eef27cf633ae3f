"""A module and a callback of Lightning's, in a file of their own: Lightning takes seconds to load."""

import lightning.pytorch as L
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from safecompress.seeding import seeded


class Module(L.LightningModule):
    def __init__(self, optimizers=1):
        super().__init__()
        with seeded(0, "net"):
            self.net = nn.Sequential(nn.Linear(12, 24), nn.ReLU(), nn.Linear(24, 3))
        self.automatic_optimization = optimizers == 1
        self.num_optimizers = optimizers
        self.clipped = []

    def training_step(self, batch, index):
        inputs, labels = batch
        return cross_entropy(self.net(inputs), labels)

    def configure_optimizers(self):
        return [torch.optim.AdamW(self.parameters(), lr=0.02, weight_decay=0.1) for _ in range(self.num_optimizers)]

    def configure_gradient_clipping(self, optimizer, gradient_clip_val=None, gradient_clip_algorithm=None):
        self.clipped.append({name: p.grad.clone() for name, p in self.named_parameters()})
        self.clip_gradients(optimizer, gradient_clip_val, gradient_clip_algorithm)


class Watch(L.Callback):
    def __init__(self, sparse):
        self.sparse, self.digests = sparse, []

    def on_train_batch_end(self, trainer, module, *rest):
        for parameter, mask in self.sparse.pattern.pairs(module):
            inactive = parameter.detach()[~mask]
            assert not inactive.any() and not torch.signbit(inactive).any()
        self.digests.append(self.sparse.pattern.digest())
