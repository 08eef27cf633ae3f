"""Two processes that share batches end where one process does, alike to the bit; what goes apart is told on both."""

import os
import subprocess
import sys

import pytest
import torch
import two_ranks
from two_ranks import RECIPES, net

from patience import patience
from safecompress.digests import digest_tensors
from safecompress.errors import UsageError
from safecompress.storage import read_tensors
from safecompress.training import TrainingState, TrainingTask, sharing_batches, train


@pytest.fixture(scope="module")
def ended(tmp_path_factory):
    """The folder that both processes have written into."""
    folder = tmp_path_factory.mktemp("ranks")
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    processes = [
        subprocess.Popen(
            [sys.executable, two_ranks.__file__, str(rank), str(folder)],
            env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )
        for rank in range(2)
    ]  # fmt: skip
    try:
        outputs = [process.communicate(timeout=patience(30))[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [0, 0], "\n".join(outputs)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("name", RECIPES)
def test_both_ranks_hold_the_same_bits(ended, name):
    first, second = (read_tensors(ended / f"{name}-{rank}.safetensors")[0] for rank in range(2))
    assert digest_tensors(first) == digest_tensors(second)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in RECIPES if name != "norm"])
def test_two_ranks_end_where_one_process_does(ended, name):
    """Weights, moments, averages and the gradient for growing, to rounding."""
    shared, _ = read_tensors(ended / f"{name}-0.safetensors")
    alone = two_ranks.trained(name)
    assert shared.keys() == alone.keys()
    for key, value in alone.items():
        loose = 2e-2 if name == "bf16" else 2e-4
        torch.testing.assert_close(
            shared[key], value, atol=loose, rtol=loose, msg=lambda text, key=key: f"{key}: {text}"
        )


def test_with_batch_norm_statistics_are_averaged_and_each_rank_drops_by_its_own_lot(ended):
    """Two halves of twelve rows: the mean of their means is the mean of all, of which a tenth is kept after a step."""
    shared, _ = read_tensors(ended / "norm-0.safetensors")
    alone = two_ranks.trained("norm")
    torch.testing.assert_close(shared["first/2.running_mean"], alone["first/2.running_mean"], atol=1e-6, rtol=1e-5)
    assert shared["first/2.running_mean"].any()
    assert torch.equal(shared["model/2.num_batches_tracked"], alone["model/2.num_batches_tracked"])
    assert not torch.allclose(shared["first/4.weight"], alone["first/4.weight"], atol=1e-5)


@pytest.mark.parametrize(
    ("what", "words"),
    [
        (
            "weights",
            "TrainingError: After step 3: ranks 1",
        ),
        ("pattern", "TrainingError: After step 0: ranks 1"),
        ("diverged", "TrainingError: The loss"),
        ("small", "UsageError: Batches of 1"),
        ("trace", "UsageError: A LossTrace"),
        ("relax", "UsageError: The loss of RelaxLoss"),
    ],
)
def test_what_goes_apart_or_wrong_is_told_on_both_ranks(ended, what, words):
    for rank in range(2):
        _, errors = read_tensors(ended / f"told-{rank}.safetensors")
        assert errors[what].startswith(words)


def test_afterwards_each_process_trains_alone(ended):
    own = train(
        net(),
        TrainingState.capture(0, net()),
        TrainingTask(two_ranks.FEATURES, two_ranks.LABELS, two_ranks.PLAIN, 0),
        until=3,
    )
    for rank in range(2):
        assert digest_tensors(read_tensors(ended / f"told-{rank}.safetensors")[0]) == own.digest()


def test_without_a_process_group_there_is_nobody_to_share_with():
    with pytest.raises(UsageError, match="with torchrun"), sharing_batches():
        pass
