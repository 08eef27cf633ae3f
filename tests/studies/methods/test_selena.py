"""Split distillation: the rows a sub-model learns are never among those it teaches."""

import pytest
import torch
from tiny_inputs import Watched, setting_of

from safecompress.errors import UsageError
from safecompress.studies.methods.selena import SplitDistilled


def test_no_row_is_taught_by_a_model_that_learnt_it(monkeypatch):
    """Each row's soft label comes from exactly those of the trained sub-models whose courses lack it."""
    setting, watched = setting_of(), Watched(monkeypatch)
    SplitDistilled().make(setting)
    x, y = setting.split.part("train")
    *subs, student = watched.calls
    assert len(subs) == 5 and len({course.seed for _, course, _, _ in subs}) == 5
    said, is_out = [], []
    for state, course, until, _ in subs:
        same = (x[:, None] == course.features).all(2)
        assert torch.equal(y[same.int().argmax(0)], course.labels) and until == course.total_steps
        is_out.append(~same.any(1))
        weights = setting.cache.train(setting.network(dict(state.model)), course)
        said.append(setting.logits(weights, x).softmax(1))
    assert torch.stack(is_out).sum(0).tolist() == [2] * 60
    for row in range(60):
        unseen = torch.stack([said[k][row] for k in range(5) if is_out[k][row]])
        assert torch.allclose(student[1].teacher[row].softmax(0), unseen.mean(0), atol=1e-6)


def test_the_student_reads_no_label(monkeypatch):
    watched = Watched(monkeypatch)
    SplitDistilled().make(setting_of())
    assert watched.courses[-1].recipe.objective.weight == 1
    assert torch.equal(watched.courses[-1].features, setting_of().split.part("train")[0])


def test_a_sparse_student():
    method = SplitDistilled(num_models=2, held_out=1, sparse=True)
    made = method.make(setting_of())
    assert not method.is_dense() and made.pattern.num_active == 36
    assert all((made.weights[name][~mask] == 0).all() for name, mask in made.pattern.masks.items())
    assert SplitDistilled(2, 1).make(setting_of()).pattern is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((5, 5), "held_out must lie in"),
        ((0, 1), "num_models must be"),
        ((3, 0), "held_out must be"),
    ],
)
def test_bad_options_are_refused(options, message):
    with pytest.raises(UsageError, match=message):
        SplitDistilled(*options)
