"""Which parameters can be sparse: kernels and matrices, not embeddings and norms; globs; ties; errors."""

import numpy as np
import pytest
import torch
from torch import nn

from safecompress.errors import UsageError
from safecompress.sparsity import find_maskable, view_layers


class Zoo(nn.Module):
    """One of each kind. Never run: only its parameters matter here."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(10, 4)
        self.bag = nn.EmbeddingBag(10, 4)
        self.conv = nn.Conv2d(3, 4, 3)
        self.conv1 = nn.Conv1d(3, 4, 3, bias=False)
        self.norm = nn.BatchNorm2d(4)
        self.planes = nn.LayerNorm((4, 5))
        self.root = nn.RMSNorm((4, 5))
        self.group = nn.GroupNorm(2, 4)
        self.recurrent = nn.LSTM(4, 4)
        self.attend = nn.MultiheadAttention(4, 2)
        self.head = nn.Linear(4, 2)
        self.scale = nn.Parameter(torch.ones(4))
        self.table = nn.Parameter(torch.ones(2, 2))


SPARSE = [
    "table",
    "conv.weight",
    "conv1.weight",
    "recurrent.weight_ih_l0",
    "recurrent.weight_hh_l0",
    "attend.in_proj_weight",
    "attend.out_proj.weight",
    "head.weight",
]


def test_matrices_and_kernels_are_sparse_embeddings_norms_and_vectors_are_not():
    model = Zoo()
    found = find_maskable(model)
    assert list(found) == SPARSE
    assert all(found[name] is parameter for name, parameter in model.named_parameters() if name in found)


@pytest.mark.parametrize(
    ("include", "exclude", "expected"),
    [
        (["conv*"], [], ["conv.weight", "conv1.weight"]),
        (["*"], ["recurrent.*", "attend.*", "table"], ["conv.weight", "conv1.weight", "head.weight"]),
        (["embed.weight"], [], ["embed.weight"]),
        (["*", "embed.*"], ["recurrent.*", "attend.*", "conv*"], ["table", "embed.weight", "head.weight"]),
        (["*.weight"], ["conv*", "embed.*", "bag.*", "attend*"], ["planes.weight", "root.weight", "head.weight"]),
    ],
)
def test_globs_choose(include, exclude, expected):
    assert list(find_maskable(Zoo(), include=include, exclude=exclude)) == expected


def test_a_glob_that_matches_nothing_lists_what_there_is():
    for globs in ({"include": ["classifier.*"]}, {"exclude": ["classifier.*"]}):
        with pytest.raises(UsageError, match=r"'classifier.\*' matches no.*head.weight"):
            find_maskable(Zoo(), **globs)


def test_nothing_left_to_be_sparse_is_an_error():
    with pytest.raises(UsageError, match="to be sparse"):
        find_maskable(nn.Sequential(nn.Linear(2, 2)), exclude=["*"])
    with pytest.raises(UsageError, match="with two dimensions"):
        find_maskable(nn.BatchNorm1d(4))


def test_a_tied_weight_is_found_once():
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 4))
    model[2].weight = model[0].weight
    assert list(find_maskable(model)) == ["0.weight", "1.weight"]


@pytest.mark.parametrize("order", [("embed", "decoder"), ("decoder", "embed")])
def test_a_decoder_tied_to_an_embedding_stays_dense_whichever_comes_first(order):
    model = nn.ModuleDict({name: nn.Embedding(10, 4) if name == "embed" else nn.Linear(4, 10) for name in order})
    model["decoder"].weight = model["embed"].weight
    model["body"] = nn.Linear(4, 4)
    assert list(find_maskable(model)) == ["body.weight"]
    assert list(find_maskable(model, include=[f"{order[0]}.weight"])) == [f"{order[0]}.weight"]


def test_a_bare_module_names_its_weight_without_a_prefix():
    assert list(find_maskable(nn.Linear(3, 2))) == ["weight"]
    with pytest.raises(UsageError, match="to be sparse"):
        find_maskable(nn.Embedding(3, 2))


def test_views_are_flat_and_hold_only_what_was_collected():
    weight = nn.Parameter(torch.tensor([[1.0, 0.0], [0.0, -2.0]]))
    mask = torch.tensor([[True, False], [False, True]])
    gradient = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    (view,) = view_layers({"fc": weight, "other": weight}, {"fc": mask}, gradient={"fc": gradient})
    assert view.weight.tolist() == [1, 0, 0, -2] and view.signal("gradient").tolist() == [1, 2, 3, 4]
    assert (view.active.tolist(), view.inactive.tolist()) == ([0, 3], [1, 2])
    assert np.shares_memory(view.weight, weight.detach().numpy())
    assert view.momentum is None and view.fired is None
    assert "1." not in repr(view)  # weights do not reach a log


def test_a_channels_last_kernel_is_read_in_its_logical_order():
    kernel = torch.arange(2 * 3 * 2 * 2, dtype=torch.float32).reshape(2, 3, 2, 2)
    mask = kernel % 2 == 0
    (view,) = view_layers({"k": kernel.to(memory_format=torch.channels_last)}, {"k": mask})
    assert view.weight.tolist() == list(range(24)) and view.active.tolist() == list(range(0, 24, 2))


def test_bfloat16_is_read_as_float32():
    tensor = torch.tensor([[1.5, -2.0]], dtype=torch.bfloat16)
    (view,) = view_layers({"w": tensor}, {"w": torch.tensor([[True, False]])}, gradient={"w": tensor})
    assert view.weight.dtype == view.gradient.dtype == np.float32
    assert view.weight.tolist() == [1.5, -2.0]
