"""A toy attack on another question than membership: projected gradient descent, whose evidence is a tally.

Source: Madry et al. 2018. It is all that a new question takes: no file of the product knows of it.
"""

from dataclasses import dataclass, field

import torch
from torch.nn.functional import cross_entropy

from safecompress.attacks import Access, RateOfSuccess, Tally

EVASION = RateOfSuccess("evasion")


@dataclass(frozen=True)
class FittedPgd:
    """Nothing is learnt: the gradient of each row shows the way."""

    epsilon: float
    steps: int

    def tally(self, target, audit):
        clean, labels = audit.features, audit.labels
        noise = torch.zeros_like(clean)
        for _ in range(self.steps):
            noise.requires_grad_()
            loss = cross_entropy(target.model(clean + noise), labels, reduction="sum")
            (gradient,) = torch.autograd.grad(loss, noise)
            noise = (
                (noise + 2 * self.epsilon / self.steps * gradient.sign()).clamp(-self.epsilon, self.epsilon).detach()
            )
        with torch.no_grad():
            before, after = (target.model(rows).argmax(dim=1).numpy() for rows in (clean, clean + noise))
        was_right = before == labels.numpy()
        return Tally(was_right & (after != labels.numpy()), was_right)


@dataclass(frozen=True)
class Pgd:
    """Moves each row by at most ``epsilon`` a feature so that the model is wrong of it."""

    epsilon: float = 0.1
    steps: int = 5
    name: str = field(default="pgd", init=False)
    access: Access = field(default=Access.WEIGHTS, init=False)
    question: RateOfSuccess = field(default=EVASION, init=False)

    def fit(self, target, audit, *, generator):
        return FittedPgd(self.epsilon, self.steps)
