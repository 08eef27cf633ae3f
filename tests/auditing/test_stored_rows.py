"""Train rows are found in tensors in whatever form they lie there, and never where they do not."""

import numpy as np
import pytest
import torch
from torch import nn

from safecompress.auditing import stored_rows
from safecompress.auditing.stored_rows import SoughtRows, find_rows, rows_to_compare
from safecompress.data import digits
from safecompress.seeding import seeded
from safecompress.training import Recipe, TrainingState, TrainingTask, train

IMAGES = digits().features
MEMBERS, OTHERS = IMAGES[:60], IMAGES[60:120]


def to_int8(rows):
    return (rows / rows.abs().max() * 127).round()


FORMS = {
    "as they are": lambda rows: rows,
    "flat, behind other numbers": lambda rows: torch.cat([torch.linspace(-1, 1, 777), rows.flatten()]),
    "turned": lambda rows: rows.T.contiguous(),
    "as images": lambda rows: rows.reshape(-1, 1, 8, 8),
    "in float16": lambda rows: rows.half(),
    "in int8": lambda rows: to_int8(rows).to(torch.int8),
    "rounded to int8": lambda rows: to_int8(rows) * 0.01,
    "in uint8 with a zero point": lambda rows: (rows / rows.abs().max() * 200 + 31).round().to(torch.uint8),
    "shifted and scaled": lambda rows: -0.37 * rows + 2,
    "with a scale for each row": lambda rows: rows * torch.linspace(0.5, 3, len(rows))[:, None],
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS.keys())
def test_rows_are_found_in_every_form_and_other_rows_are_none(form):
    match = find_rows(form(MEMBERS), SoughtRows(MEMBERS), SoughtRows(OTHERS))
    assert (match.members, match.num_members, match.others) == (60, 60, 0)
    assert find_rows(form(OTHERS), SoughtRows(MEMBERS), SoughtRows(OTHERS)) is None


def test_a_single_row_among_weights_is_found():
    noise = torch.randn(5000, generator=torch.Generator().manual_seed(0)) * MEMBERS.std()
    match = find_rows(torch.cat([noise, MEMBERS[7], noise]), SoughtRows(MEMBERS), SoughtRows(OTHERS))
    assert (match.members, match.others) == (1, 0)


def test_a_tensor_that_holds_train_and_all_other_rows_holds_train():
    match = find_rows(torch.cat([MEMBERS, OTHERS]), SoughtRows(MEMBERS), SoughtRows(OTHERS))
    assert (match.members, match.others) == (60, 60)


def test_tokens_are_found_as_whole_numbers_and_as_floats():
    random = np.random.default_rng(0)
    tokens = torch.from_numpy(random.integers(0, 500, (80, 20)))
    sought = SoughtRows(tokens[:40]), SoughtRows(tokens[40:])
    assert find_rows(tokens[:40], *sought).members == 40
    assert find_rows(tokens[:40].to(torch.int16), *sought).members == 40
    assert find_rows(nn.Embedding(500, 20).weight, *sought) is None
    assert find_rows(torch.arange(512)[None], *sought) is None


@pytest.mark.parametrize("num_features", [2, 4, 9, 14])
def test_few_columns_are_found_by_more_members_than_chance(num_features):
    random = np.random.default_rng(num_features)
    rows = torch.from_numpy(random.normal(size=(200, num_features)).astype(np.float32))
    sought = SoughtRows(rows[:100]), SoughtRows(rows[100:])
    assert find_rows(rows[:100], *sought).members == 100
    assert find_rows(rows[:100].half(), *sought).members == 100
    assert find_rows(rows[100:], *sought) is None


# --- false alarms


def tables():
    random = np.random.default_rng(0)
    count = 240
    yield "two columns", random.normal(size=(count, 2))
    yield "one decimal", random.normal(5, 1, (count, 4)).round(1)
    yield "binary", random.random((count, 14)) < 0.4
    yield "rare ones", random.random((count, 100)) < 0.03
    yield "one-hot", np.concatenate([np.eye(8)[random.integers(0, 8, count)] for _ in range(3)], axis=1)
    yield "ramps", np.arange(40) * random.normal(1, 0.3, (count, 1)) + random.normal(0, 1e-3, (count, 40))
    census = [random.integers(17, 90, (count, 1)), random.integers(10**4, 5 * 10**5, (count, 1))]
    yield "one large column", np.concatenate([*census, random.integers(0, 16, (count, 12))], axis=1)
    yield "images", IMAGES[:count].numpy()


@pytest.mark.parametrize(("name", "table"), [pytest.param(*pair, id=pair[0]) for pair in tables()])
def test_honest_tensors_hold_no_rows(name, table):
    """Layers trained on the rows, dense and sparse, rounded, statistics, positions, masks, one-hot tables."""
    rows = torch.from_numpy(table.astype(np.float32))
    members = rows[:120]
    width = rows.shape[1]
    with seeded(0, "net"):
        network = nn.Sequential(nn.Linear(width, 48), nn.BatchNorm1d(48), nn.ReLU(), nn.Linear(48, 2))
    recipe = Recipe(epochs=10, batch_size=40, optimizer="adam", learning_rate=1e-2, weight_decay=0.0)
    scaled = (members - members.mean(0)) / (members.std(0) + 1e-6)
    task = TrainingTask(scaled, torch.arange(120) % 2, recipe, 0)  # by heart: labels say nothing of rows
    train(network, TrainingState.capture(0, network), task, until=task.total_steps).restore_(network)
    weight = network[0].weight.detach()
    step = weight.abs().max() / 127
    honest = {
        **network.state_dict(),
        "sparse": weight * (torch.rand(weight.shape, generator=torch.Generator().manual_seed(0)) < 0.1),
        "int8": (weight / step).round() * step,
        "codes": (weight / step).round().to(torch.int8),
        "mean": members.mean(0),
        "largest": members.amax(0),
        "positions": torch.arange(200),
        "causal": torch.ones(50, 50).tril(),
        "identity": torch.eye(64),
        "constant": torch.ones(3, width),
    }
    for reading in (rows, (rows - members.mean(0)) / (members.std(0) + 1e-6)):
        sought = SoughtRows(reading[:120]), SoughtRows(reading[120:])
        assert {name for name, tensor in honest.items() if find_rows(tensor, *sought) is not None} == set()


@pytest.mark.parametrize("seed", range(3))
def test_weights_that_are_sums_of_a_few_rows_are_none_of_them(seed):
    """A linear model from zero weights on six rows, trained until it knows them by heart."""
    rows = torch.from_numpy(np.random.default_rng(seed).random((100, 64)).astype(np.float32))
    network = nn.Linear(64, 2)
    nn.init.zeros_(network.weight)
    task = TrainingTask(rows[:6], torch.arange(6) % 2, Recipe(epochs=60, batch_size=6, learning_rate=0.3), seed)
    train(network, TrainingState.capture(0, network), task, until=task.total_steps).restore_(network)
    assert find_rows(network.weight, SoughtRows(rows[:6]), SoughtRows(rows[6:])) is None


def test_nothing_is_found_where_there_is_nothing():
    nobody = SoughtRows(MEMBERS[:0])
    assert find_rows(MEMBERS, nobody, SoughtRows(OTHERS)) is None
    assert find_rows(MEMBERS, SoughtRows(torch.ones(5, 64)), SoughtRows(OTHERS)) is None
    assert find_rows(torch.full((100, 64), torch.nan), SoughtRows(MEMBERS), SoughtRows(OTHERS)) is None
    assert find_rows(MEMBERS[0, :10], SoughtRows(MEMBERS), SoughtRows(OTHERS)) is None
    assert find_rows(MEMBERS[:20], SoughtRows(MEMBERS), nobody).members == 20


def test_fewer_rows_are_sought_in_larger_networks(monkeypatch):
    assert [rows_to_compare(count) for count in (0, 10**4, 10**5, 10**8)] == [256, 256, 78, 16]
    monkeypatch.setattr(stored_rows, "_CHUNK", 100)  # in many portions
    match = find_rows(MEMBERS, SoughtRows(MEMBERS), SoughtRows(OTHERS))
    assert (match.members, match.others) == (60, 0)
