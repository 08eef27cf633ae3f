"""A bag of tokens: the mean of what a text's tokens stand for, and a hidden layer. Texts in seconds, without extras."""

# N samples, L tokens of one sample, E numbers that a token stands for, C classes

from __future__ import annotations

import torch
from torch import Tensor, nn

from safecompress.models.checks import require_classes, require_sizes, require_text


class TokenBag(nn.Module):
    """Embeddings of ``width`` numbers, their mean over the text, a hidden layer with ReLU, a linear head.

    ``forward`` maps tokens (N, L), -1 where there is none, to logits (N, num_classes). ``vocab_size`` is that of the
    tokenizer. Raises ModelError for rows that are no texts, or a size below 1.

    Source: Joulin, Grave, Bojanowski & Mikolov 2017, "Bag of tricks for efficient text classification". Differs from
    the paper: a hidden layer, no n-grams.
    """

    def __init__(
        self,
        input_shape: tuple[int, ...],
        num_classes: int,
        vocab_size: int,
        width: int = 64,
        hidden: int = 64,
    ) -> None:
        super().__init__()
        require_text("token_bag", input_shape)
        for name, size in (("vocab_size", vocab_size), ("width", width), ("hidden", hidden)):
            require_sizes(name, (size,))
        require_classes(num_classes)
        self.vocab_size = vocab_size
        self.embeddings = nn.Embedding(vocab_size, width)
        self.body = nn.Sequential(nn.Linear(width, hidden), nn.ReLU())
        self.head = nn.Linear(hidden, num_classes)

    def forward(self, tokens_NL: Tensor) -> Tensor:
        """Logits (N, C) of tokens (N, L): whole numbers in any type."""
        is_token_NL1 = (tokens_NL >= 0).unsqueeze(-1)
        numbers_NLE = self.embeddings(tokens_NL.clamp(min=0).to(torch.int64))
        sum_NE = torch.where(is_token_NL1, numbers_NLE, 0.0).sum(dim=1)
        logits_NC: Tensor = self.head(self.body(sum_NE / is_token_NL1.sum(dim=1).clamp(min=1)))
        return logits_NC
