"""Early stopping: the epoch that is best on validation rows, found by training to each epoch apart."""

from dataclasses import replace

import pytest
import torch
from tiny_inputs import RECIPE, rows_of, same_weights, setting_of, split_of

from safecompress.errors import UsageError
from safecompress.studies.methods.plain import EarlyStopped
from safecompress.training import TrainingState, train

LONG = replace(RECIPE, epochs=8, learning_rate=0.05)


def of_epochs(setting):
    """The weights after each epoch, each trained from the start, and how many validation rows they get right."""
    x, y = setting.split.part("validation")
    course, ends = setting.training_task(), []
    for epoch in range(1, 9):
        model = setting.fresh()
        weights = dict(train(model, TrainingState.capture(0, model), course, until=3 * epoch).model)
        ends.append((weights, int((setting.logits(weights, x).argmax(1) == y).sum())))
    return ends


@pytest.mark.slow
def test_it_stops_at_the_first_of_the_best_epochs():
    stops = set()
    for seed in range(4):
        setting = setting_of(seed=seed, recipe=LONG)
        ends = of_epochs(setting)
        hits = [right for _, right in ends]
        best = hits.index(max(hits))
        made = EarlyStopped().make(setting)
        assert same_weights(dict(made.weights), ends[best][0])
        assert made.notes == (f"stopped after epoch {best + 1} of 8",)
        stops.add(best)
    assert len(stops) > 1 and stops != {7}  # so that taking the last, or always the same, would fail


def test_validation_labels_choose():
    split = split_of()
    other = split_of()
    other.dataset.labels[rows_of(other, "validation")] = (other.part("validation")[1] + 1) % 3
    weights = [dict(EarlyStopped().make(setting_of(part, seed=1, recipe=LONG)).weights) for part in (split, other)]
    assert not same_weights(*weights)


def test_it_needs_validation_rows():
    with pytest.raises(UsageError, match=r"validation = \.\.\."):
        EarlyStopped().make(setting_of(split_of(validation=False)))


def test_density_plays_no_part():
    made = [EarlyStopped().make(setting_of(density=density)) for density in (0.3, 0.9)]
    assert same_weights(dict(made[0].weights), dict(made[1].weights)) and made[0].pattern is None
    assert torch.isfinite(made[0].weights["head.weight"]).all()
