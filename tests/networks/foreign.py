"""Modules as people bring them, one for each line of the page on modules that work."""

import warnings
from collections import OrderedDict

import torch
from torch import nn
from torch.nn.utils import parametrizations, prune

FEATURES, CLASSES = 12, 3


class Mlp(nn.Module):
    def __init__(self, num_outputs=CLASSES):
        super().__init__()
        self.body = nn.Linear(FEATURES, 16)
        self.head = nn.Linear(16, num_outputs)

    def forward(self, x):
        return self.head(self.body(x).relu())


def given(change, num_outputs=CLASSES):
    """An `Mlp` whose answer is changed by ``change``."""

    class Changed(Mlp):
        def forward(self, x):
            return change(super().forward(x), x)

    return Changed(num_outputs)


class ModelOutput(OrderedDict):
    """As that of Hugging Face: a dict whose entries are attributes too."""

    def __getattr__(self, name):
        return self[name]


class WithAux(Mlp):
    """Two outputs in training, one in evaluation."""

    def forward(self, x):
        scores = super().forward(x)
        return (scores, self.body(x)) if self.training else scores


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.attention = nn.MultiheadAttention(FEATURES, 2, batch_first=True)
        self.head = nn.Linear(FEATURES, CLASSES)

    def forward(self, x):
        return self.head(self.attention(x[:, None], x[:, None], x[:, None], need_weights=False)[0][:, 0])


class OwnParameter(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(8, FEATURES))
        self.head = nn.Linear(8, CLASSES)

    def forward(self, x):
        return self.head((x @ self.weight.T).relu())


class TwoInputs(nn.Module):
    def __init__(self):
        super().__init__()
        self.image, self.age = nn.Linear(FEATURES - 1, 8), nn.Linear(1, 8)
        self.head = nn.Linear(8, CLASSES)

    def forward(self, image, age):
        return self.head((self.image(image.flatten(1)) + self.age(age)).relu())


class OneDict(TwoInputs):
    def forward(self, batch):
        return super().forward(batch["image"], batch["age"])


class Tokens(nn.Module):
    """As encoders of texts: padding is masked by a second argument."""

    def __init__(self, vocab_size=50):
        super().__init__()
        self.embedding, self.head = nn.Embedding(vocab_size, 8), nn.Linear(8, CLASSES)

    def forward(self, input_ids, attention_mask=None):
        mask = attention_mask[..., None].float()
        mean = (self.embedding(input_ids) * mask).sum(1) / mask.sum(1)
        return ModelOutput(logits=self.head(mean), hidden=mean)


class InPlace(Mlp):
    def forward(self, x):
        return super().forward(x.sub_(3.0))


class AddInPlace(Mlp):
    """An inplace layer that comes first."""

    def __init__(self):
        super().__init__()
        self.first = nn.ReLU(inplace=True)

    def forward(self, x):
        return super().forward(self.first(x))


class DropoutOn(Mlp):
    def forward(self, x):
        return super().forward(nn.functional.dropout(x, 0.5))


class Counting(Mlp):
    """Remembers the rows that it saw."""

    def __init__(self):
        super().__init__()
        self.register_buffer("mean", torch.zeros(FEATURES))

    def forward(self, x):
        self.mean = 0.9 * self.mean + 0.1 * x.detach().mean(0)
        return super().forward(x - self.mean)


class Centred(Mlp):
    def forward(self, x):
        return super().forward(x - x.mean(0, keepdim=True))


class Ranked(Mlp):
    """Depends on the place of a row in the batch."""

    def forward(self, x):
        return super().forward(x) + torch.arange(len(x))[:, None] * torch.tensor([1.0, 0.0, 0.0])


class NoGradient(Mlp):
    def forward(self, x):
        with torch.no_grad():
            return super().forward(x)


def normed(**options):
    return nn.Sequential(nn.Linear(FEATURES, 16), nn.BatchNorm1d(16, **options), nn.ReLU(), nn.Linear(16, CLASSES))


def weight_normed():
    return nn.Sequential(parametrizations.weight_norm(nn.Linear(FEATURES, 16)), nn.ReLU(), nn.Linear(16, CLASSES))


def old_weight_normed():
    """With a weight that hangs on a graph, which Python cannot copy."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyTorch advises against it, and models have it
        layer = nn.utils.weight_norm(nn.Linear(FEATURES, 16))
    model = nn.Sequential(layer, nn.ReLU(), nn.Linear(16, CLASSES))
    model(torch.randn(2, FEATURES))
    return model


def spectral_normed():
    return nn.Sequential(parametrizations.spectral_norm(nn.Linear(FEATURES, 16)), nn.ReLU(), nn.Linear(16, CLASSES))


def pruned():
    model = Mlp()
    prune.l1_unstructured(model.body, "weight", 0.5)
    model(torch.randn(2, FEATURES))
    return model
