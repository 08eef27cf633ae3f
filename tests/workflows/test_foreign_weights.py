"""Weights of a model trained elsewhere: with fewer classes among its members than it knows, and with a prefix."""

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from safecompress.errors import ModelError
from safecompress.workflows.foreign_model import load_foreign_model, load_pools

X, Y = np.random.default_rng(0).normal(size=(600, 20)).astype("float32"), np.arange(600) % 3


@pytest.fixture
def files(tmp_path, monkeypatch):
    """Members and non-members of three classes, weights of four, and a module with factories beside."""
    np.savez(tmp_path / "members.npz", x=X[:300], y=Y[:300])
    np.savez(tmp_path / "others.npz", x=X[300:], y=Y[300:])
    model = nn.Sequential(nn.Linear(20, 8), nn.ReLU(), nn.Linear(8, 4))
    save_file({f"module.{name}": tensor for name, tensor in model.state_dict().items()}, tmp_path / "w.safetensors")
    (tmp_path / "nets_for_test.py").write_text(
        """
from torch import nn

def any_number(num_classes):
    return nn.Sequential(nn.Linear(20, 8), nn.ReLU(), nn.Linear(8, num_classes))

def four():
    return any_number(4)

def wider(num_classes):
    return nn.Sequential(nn.Linear(20, 9), nn.ReLU(), nn.Linear(9, num_classes))
"""
    )
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path, model


@pytest.mark.parametrize("factory", ["any_number", "four"])
def test_the_weights_say_how_many_classes_there_are(factory, files):
    folder, model = files
    foreign = load_foreign_model(folder / "w.safetensors", f"nets_for_test:{factory}", folder / "members.npz")
    assert foreign.num_classes == 4
    assert torch.equal(foreign.target(torch.from_numpy(X)), model(torch.from_numpy(X)))
    split = load_pools(folder / "members.npz", folder / "others.npz", 4, 0)
    assert split.dataset.num_classes == 4 and split.dataset.missing_classes
    assert sorted(set(split.part("train")[1].tolist())) == [0, 1, 2]


def test_weights_of_another_width_are_refused(files):
    folder, _ = files
    with pytest.raises(ModelError, match=r"0.weight is \(8, 20\) and should be \(9, 20\)"):
        load_foreign_model(folder / "w.safetensors", "nets_for_test:wider", folder / "members.npz")
