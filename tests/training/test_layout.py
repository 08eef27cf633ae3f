"""Images with channels last: the same values and shapes, and convolutions pass the layout on."""

import torch
from torch import nn

from safecompress.training.layout import laid_out


def test_images_are_laid_out_and_nothing_else():
    images, rows = torch.randn(2, 3, 4, 5), torch.randn(2, 3)
    found = laid_out(images)
    assert torch.equal(found, images) and found.is_contiguous(memory_format=torch.channels_last)
    assert laid_out(rows) is rows
    through = nn.Conv2d(3, 6, 3)(found[torch.tensor([1, 0])])
    assert through.is_contiguous(memory_format=torch.channels_last)
