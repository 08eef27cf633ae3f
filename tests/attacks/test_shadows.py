"""Who is in, what is kept, what shadows say of a row: with a trainer whose answers are known by hand."""

from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from safecompress.attacks import Signals
from safecompress.attacks.private_cache import PrivateFolder
from safecompress.attacks.queries import vary
from safecompress.attacks.shadows import ShadowModels, ShadowRows, balanced_draws
from safecompress.data import AuditData
from safecompress.errors import AttackError

# --- who is in


def draw(units, size, count, seed=0):
    return balanced_draws(np.asarray(units), size, count, np.random.default_rng(seed))


@st.composite
def pools(draw):
    """Units with up to four rows each, in any order, and a size that fits."""
    sizes = draw(st.lists(st.integers(1, 4), min_size=2, max_size=12))
    units = np.repeat(np.arange(len(sizes)) * 7, sizes)
    units = np.array(draw(st.permutations(list(units))))
    return units, draw(st.integers(1, len(units) - 1))


@given(pools(), st.integers(0, 9), st.integers(0, 99))
def test_every_unit_is_whole_and_in_equally_often(pool, count, seed):
    units, size = pool
    draws = draw(units, size, count, seed)
    assert (draws.shape, draws.dtype) == ((count, len(units)), np.bool_)
    for line in draws:
        assert set(units[line]).isdisjoint(units[~line])
        last = max(np.bincount(units).tolist())
        assert size <= line.sum() < size + last
    often = draws.sum(axis=0)
    assert np.ptp(often) <= 1 if count else not often.any()


@pytest.mark.slow
@given(st.integers(2, 40), st.data())
def test_single_rows_are_drawn_in_exactly_the_size(num_rows, data):
    size = data.draw(st.integers(1, num_rows - 1))
    draws = draw(np.arange(num_rows) + 5, size, 6)
    assert (draws.sum(axis=1) == size).all()


@given(pools(), st.integers(1, 9), st.integers(1, 9))
def test_the_first_lines_do_not_depend_on_how_many_follow(pool, few, more):
    units, size = pool
    assert np.array_equal(draw(units, size, few + more)[:few], draw(units, size, few))


@given(st.integers(1, 20), st.integers(0, 99))
def test_half_of_the_rows_come_in_complementary_pairs(half, seed):
    draws = draw(np.arange(2 * half), half, 8, seed)
    assert np.array_equal(draws[::2], ~draws[1::2])


@pytest.mark.slow
def test_every_row_is_as_likely_in_the_first_draw_as_another():
    """10 rows, 4 in: .4 each, and each pair of rows together with 4/10 x 3/9."""
    draws = np.stack([draw(np.arange(10), 4, 3, seed) for seed in range(3000)])
    for line in range(3):
        together = np.einsum("ti,tj->ij", draws[:, line].astype(float), draws[:, line]) / 3000
        assert np.diag(together) == pytest.approx(0.4, abs=0.035)
        assert together[~np.eye(10, dtype=bool)] == pytest.approx(4 / 10 * 3 / 9, abs=0.035)


def test_five_rows_by_hand():
    """Two of five: the deck of five is used up within the third draw, which goes on with a fresh one."""
    for seed in range(20):
        draws = draw(np.arange(5), 2, 5, seed)
        assert draws[:2].sum(axis=0).max() == 1
        assert draws[2, draws[:2].sum(axis=0) == 0].all()
        assert draws.sum(axis=0).tolist() == [2, 2, 2, 2, 2]


@pytest.mark.parametrize("size", [-1, 0, 4, 5])
def test_sizes_that_leave_no_row_out_or_in_are_refused(size):
    with pytest.raises(AttackError, match=f"train on {size} of 4 rows.*more non-members or a larger population"):
        draw([0, 1, 2, 3], size, 2)


# --- rows

FEATURES = torch.tensor([[0.0, 1.0], [2.0, 3.0], [2.0, 3.5], [4.0, 5.0], [6.0, 7.0], [8.0, 9.0]])
LABELS = torch.tensor([0, 1, 1, 0, 1, 0])


def rows(**changes):
    given: dict[str, Any] = {"features": FEATURES, "labels": LABELS, "units": np.arange(6), "size": 3, "seed": 0}
    return ShadowRows(**given | changes)


def audit(features, labels):
    return AuditData(torch.tensor(features), torch.tensor(labels), np.zeros(len(labels), dtype=bool))


def as_audit(pool):
    return AuditData(pool.features, pool.labels, np.arange(len(pool.labels)) < 3)


def test_draws_are_named_by_the_seed_and_a_prefix_of_longer_ones():
    assert np.array_equal(rows().draws(9)[:4], rows().draws(4))
    assert not np.array_equal(rows().draws(9), rows(seed=1).draws(9))
    assert (rows(size=2).draws(5).sum(axis=1) == 2).all()
    together = rows(units=np.array([0, 0, 1, 1, 2, 2]), size=2).draws(9)
    assert np.array_equal(together[:, ::2], together[:, 1::2])


def test_rows_are_known_by_content_and_label():
    numbers = rows().numbers
    assert sorted(numbers.values()) == list(range(6))
    assert len(numbers) == 6


CHANGES = {
    "a feature": {"features": FEATURES + torch.eye(6)[:, :2] * 1e-3},
    "a label": {"labels": 1 - LABELS},
    "the order": {"features": FEATURES.flip(0), "labels": LABELS.flip(0)},
    "the shape": {"features": FEATURES.reshape(6, 1, 2)},
    "which rows belong together": {"units": np.array([0, 0, 1, 2, 3, 4])},
    "the size": {"size": 2},
    "the seed": {"seed": 1},
}


@pytest.mark.parametrize("what", CHANGES)
def test_the_digest_of_the_rows_knows(what):
    assert rows(**CHANGES[what]).digest() != rows().digest()


def test_equal_rows_have_equal_digests():
    negative = FEATURES.clone()
    negative[0, 0] = -0.0
    assert rows(features=negative, labels=LABELS.clone(), units=np.arange(6)).digest() == rows().digest()


def test_rows_print_nothing_of_themselves():
    assert repr(rows()) == "ShadowRows(size=3, seed=0)"


# --- a trainer whose shadows say by hand what they saw


@dataclass(frozen=True)
class SumTrainer:
    """Weights of a shadow: the sum of its rows' features and its number, so that every draw tells."""

    recipe: str = "a"
    group_size: int = 2
    mode: str = "by hand"
    fail_at: int | None = None
    trained: list[int] = field(default_factory=list, compare=False)
    built: list[int] = field(default_factory=list, compare=False)

    def digest(self):
        return self.recipe

    def build(self):
        self.built.append(1)
        return nn.Sequential(nn.Flatten(), nn.Linear(2, 2))

    def __call__(self, rows, draws):
        if self.fail_at in [draw.number for draw in draws]:
            raise KeyboardInterrupt
        self.trained.extend(draw.number for draw in draws)
        return [self.weights(rows, draw.number, draw.rows) for draw in draws]

    def weights(self, rows, number, inside):
        total = rows.features[torch.from_numpy(inside)].flatten(1).sum(dim=0) / 10
        scale = len(self.recipe) + 1.0
        return {
            "1.weight": torch.stack([total * scale, torch.tensor([number + 1.0, 1.0]) / 7]),
            "1.bias": torch.tensor([0.5, float(rows.labels[torch.from_numpy(inside)].sum())]),
        }


def slow_outputs(pool, trainer, asked, count, queries):
    """One shadow, query and row after another, from the definitions."""
    lines = pool.draws(count)
    phi = np.empty((count, queries, len(asked.labels)))
    is_in = np.zeros((count, len(asked.labels)), dtype=bool)
    is_correct = np.zeros((count, len(asked.labels)), dtype=bool)
    for number in range(count):
        weights = trainer.weights(pool, number, np.flatnonzero(lines[number]))
        for row, (x, y) in enumerate(zip(asked.features, asked.labels, strict=True)):
            for place, (px, py) in enumerate(zip(pool.features, pool.labels, strict=True)):
                is_in[number, row] |= lines[number, place] and torch.equal(px, x) and int(py) == int(y)
            for query in range(queries):
                z = weights["1.weight"] @ vary(x[None], query)[0].flatten() + weights["1.bias"]
                phi[number, query, row] = float(z[y] - z[1 - y])
                if query == 0:
                    is_correct[number, row] = z.argmax() == y
    return phi, is_in, is_correct


@pytest.mark.parametrize("stored", [False, True], ids=["in memory", "on disk"])
def test_outputs_agree_with_a_slow_reading(tmp_path, stored):
    asked = audit([[2.0, 3.0], [9.0, 9.0], [0.0, 1.0], [2.0, 3.0], [8.0, 9.0]], [1, 0, 0, 0, 0])
    store = PrivateFolder(tmp_path) if stored else None
    outputs = ShadowModels(rows(), SumTrainer(), store=store).outputs(asked, count=5, queries=3)
    phi, is_in, is_correct = slow_outputs(rows(), SumTrainer(), asked, 5, 3)
    assert outputs.scaled_logit_KQN == pytest.approx(phi, rel=1e-5, abs=1e-5)
    assert np.array_equal(outputs.is_in_KN, is_in)
    assert np.array_equal(outputs.is_correct_KN, is_correct)
    assert (outputs.is_in_KN.dtype, outputs.is_correct_KN.dtype) == (np.bool_, np.bool_)
    assert len(np.unique(outputs.scaled_logit_KQN.round(4))) > 50


class EdgeTrainer(SumTrainer):
    """Says 0 of (1, 1) by a hair, which noise undoes."""

    def weights(self, rows, number, inside):
        return {"1.weight": torch.tensor([[-1000.0, 1000.0], [0.0, 0.0]]), "1.bias": torch.tensor([0.1, 0.0])}


def test_right_or_wrong_is_about_the_row_itself():
    outputs = ShadowModels(rows(), EdgeTrainer()).outputs(audit([[1.0, 1.0]] * 2, [0, 1]), count=1, queries=4)
    assert len(set(np.sign(outputs.scaled_logit_KQN[0, :, 0]))) == 2
    assert outputs.is_correct_KN.tolist() == [[True, False]]


def test_who_is_in_is_looked_up_by_content_and_label():
    """The row's place does not count; minus zero is zero; another label or another value is another row."""
    shadows = ShadowModels(rows(), SumTrainer())
    drawn = rows().draws(8)
    order = [3, 0, 5]
    assert np.array_equal(in_of(shadows, FEATURES[order], LABELS[order]), drawn[:, order])
    zero = in_of(shadows, torch.tensor([[-0.0, 1.0]]), LABELS[:1])
    assert np.array_equal(zero[:, 0], drawn[:, 0])
    assert not in_of(shadows, FEATURES, 1 - LABELS).any()
    assert not in_of(shadows, FEATURES + 1e-4, LABELS).any()
    assert not in_of(shadows, torch.full((1, 2), 77.0), LABELS[:1]).any()
    assert drawn[:, -1].any()  # what is not found must not be taken for the last row


def in_of(shadows, features, labels):
    asked = AuditData(features, labels, np.ones(len(labels), dtype=bool))
    return shadows.outputs(asked, count=8).is_in_KN


def test_rows_of_equal_features_and_two_labels_are_two_rows():
    features = FEATURES.clone()
    features[1] = features[0]
    pool = rows(features=features, units=np.array([0, 1, 2, 3, 4, 5]))
    assert np.array_equal(in_of(ShadowModels(pool, SumTrainer()), features, LABELS), pool.draws(8))


def test_membership_in_the_target_changes_nothing():
    asked = as_audit(rows())
    other = replace(asked, is_member=~asked.is_member)
    first, second = (ShadowModels(rows(), SumTrainer()).outputs(a, count=4, queries=2) for a in (asked, other))
    assert equal(first, second)


def test_the_first_shadows_are_the_same_however_many_are_asked():
    asked = as_audit(rows())
    few = ShadowModels(rows(), SumTrainer()).outputs(asked, count=3)
    many = ShadowModels(rows(), SumTrainer()).outputs(asked, count=7)
    assert np.array_equal(few.scaled_logit_KQN, many.scaled_logit_KQN[:3])
    assert np.array_equal(few.is_in_KN, many.is_in_KN[:3])


def equal(first, second):
    return all(
        getattr(first, part).tobytes() == getattr(second, part).tobytes()
        for part in ("scaled_logit_KQN", "is_in_KN", "is_correct_KN")
    )


def test_outputs_print_nothing_of_the_rows():
    assert repr(ShadowModels(rows(), SumTrainer()).outputs(as_audit(rows()), count=2)) == "ShadowOutputs()"


def test_a_shadow_that_gives_no_number_is_an_error():
    class Broken(SumTrainer):
        def weights(self, rows, number, inside):
            return {name: tensor / 0 - tensor / 0 for name, tensor in super().weights(rows, number, inside).items()}

    with pytest.raises(AttackError, match="numbers for 6 of 6"):
        ShadowModels(rows(), Broken()).outputs(as_audit(rows()), count=1)


# --- each is trained once, and asked once


def test_each_shadow_is_trained_once_in_whole_groups():
    trainer = SumTrainer()
    shadows = ShadowModels(rows(), trainer)
    assert (shadows.num_trained, shadows.num_used, shadows.mode) == (0, 0, "by hand")
    for count, trained, used in [(3, 4, 3), (4, 4, 4), (2, 4, 4), (5, 6, 5)]:
        shadows.outputs(as_audit(rows()), count=count)
        assert (shadows.num_trained, shadows.num_used) == (trained, used)
    assert trainer.trained == [0, 1, 2, 3, 4, 5]


def test_each_shadow_is_asked_once_about_the_same_rows_and_query(monkeypatch):
    asked = []
    post = Signals.__post_init__
    monkeypatch.setattr(Signals, "__post_init__", lambda self: asked.append(len(self.labels_N)) or post(self))
    shadows = ShadowModels(rows(), SumTrainer())
    first = shadows.outputs(as_audit(rows()), count=3, queries=2)
    assert asked == [6] * 6
    copy = AuditData(FEATURES.clone(), LABELS.clone(), as_audit(rows()).is_member)
    assert equal(shadows.outputs(copy, count=3, queries=2), first)
    assert asked == [6] * 6
    shadows.outputs(as_audit(rows()), count=4, queries=2)
    assert asked == [6] * 8
    shadows.outputs(as_audit(rows()), count=4, queries=3)
    assert asked == [6] * 12
    shadows.outputs(audit([[1.0, 1.0]], [0]), count=4)
    assert asked == [6] * 12 + [1] * 4


# --- kept on disk


def run_of(folder, trainer, pool=None, **options):
    return ShadowModels(rows() if pool is None else pool, trainer, store=PrivateFolder(folder), **options)


def outputs_of(models, count=6):
    return models.outputs(as_audit(rows()), count=count, queries=2)


def fresh(count=6, **options):
    """What shadows say that nobody kept."""
    return outputs_of(ShadowModels(rows(), SumTrainer(**options)), count)


def test_memory_and_disk_say_the_same_to_the_bit(tmp_path):
    first = run_of(tmp_path, SumTrainer())
    assert equal(outputs_of(first), fresh())
    again = run_of(tmp_path, SumTrainer())
    assert equal(outputs_of(again), fresh())
    assert (first.num_trained, again.num_trained, again.num_used) == (6, 0, 6)


def test_only_what_is_missing_is_trained(tmp_path):
    outputs_of(run_of(tmp_path, SumTrainer()), 6)
    written = sorted(tmp_path.glob("*.safetensors"), key=lambda file: file.stat().st_mtime_ns)
    assert len(written) == 6
    written[3].unlink()
    trainer = SumTrainer()
    again = run_of(tmp_path, trainer)
    assert equal(outputs_of(again), fresh())
    assert (trainer.trained, again.num_trained) == ([2, 3], 2)


def test_more_are_trained_where_the_former_stopped(tmp_path):
    outputs_of(run_of(tmp_path, SumTrainer()), 4)
    trainer = SumTrainer()
    assert equal(outputs_of(run_of(tmp_path, trainer), 8), fresh(8))
    assert trainer.trained == [4, 5, 6, 7]


def test_a_kill_between_groups_costs_only_what_was_not_finished(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        outputs_of(run_of(tmp_path, SumTrainer(fail_at=4)), 6)
    trainer = SumTrainer()
    assert equal(outputs_of(run_of(tmp_path, trainer), 6), fresh())
    assert trainer.trained == [4, 5]


def test_a_kill_within_the_keeping_of_a_group(tmp_path, monkeypatch):
    """One of its two is on disk: the group is trained again, whole."""
    saved = []

    def save(self, name, tensors):
        if len(saved) == 3:
            raise KeyboardInterrupt
        saved.append(name)
        real(self, name, tensors)

    real = PrivateFolder.save
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(PrivateFolder, "save", save)
        outputs_of(run_of(tmp_path, SumTrainer()), 6)
    trainer = SumTrainer()
    assert equal(outputs_of(run_of(tmp_path, trainer), 6), fresh())
    assert trainer.trained == [2, 3, 4, 5]


@pytest.mark.slow
@pytest.mark.parametrize("what", CHANGES)
def test_shadows_of_other_rows_are_not_reused(tmp_path, what):
    outputs_of(run_of(tmp_path, SumTrainer()))
    pool = rows(**CHANGES[what])
    trainer = SumTrainer()
    found = run_of(tmp_path, trainer, pool).outputs(as_audit(pool), count=6, queries=2)
    assert trainer.trained == list(range(6))
    assert equal(found, ShadowModels(pool, SumTrainer()).outputs(as_audit(pool), count=6, queries=2))


@pytest.mark.parametrize("changes", [{"recipe": "bb"}, {"group_size": 3}, {"group_size": 1}])
def test_shadows_trained_another_way_are_not_reused(tmp_path, changes):
    outputs_of(run_of(tmp_path, SumTrainer()))
    trainer = SumTrainer(**changes)
    assert equal(outputs_of(run_of(tmp_path, trainer)), fresh(**changes))
    assert trainer.trained == list(range(6))


def test_a_broken_file_is_trained_anew(tmp_path):
    outputs_of(run_of(tmp_path, SumTrainer()))
    for file in tmp_path.glob("*.safetensors"):
        file.write_bytes(file.read_bytes()[:-3])
    again = run_of(tmp_path, SumTrainer())
    assert equal(outputs_of(again), fresh())
    assert (again.num_trained, again.num_reused) == (6, 0)


def test_interchanged_files_are_trained_anew(tmp_path):
    outputs_of(run_of(tmp_path, SumTrainer()))
    files = sorted(tmp_path.glob("*.safetensors"))
    contents = [file.read_bytes() for file in files]
    for file, content in zip(files, contents[1:] + contents[:1], strict=True):
        file.write_bytes(content)
    again = run_of(tmp_path, SumTrainer())
    assert equal(outputs_of(again), fresh())
    assert (again.num_trained, again.num_reused) == (6, 0)


def test_those_of_an_earlier_process_are_counted(tmp_path):
    first = run_of(tmp_path, SumTrainer())
    outputs_of(first, 4)
    assert (first.num_used, first.num_reused) == (4, 0)
    again = run_of(tmp_path, SumTrainer())
    outputs_of(again, 6)
    assert (again.num_used, again.num_reused) == (6, 4)


def test_names_on_disk_do_not_show_what_they_are_of(tmp_path):
    """The same shadows in two folders have no name in common."""
    for folder in ("a", "b"):
        outputs_of(run_of(tmp_path / folder, SumTrainer()))
    first, second = ({file.name for file in (tmp_path / folder).glob("*.safetensors")} for folder in ("a", "b"))
    assert len(first) == len(second) == 6
    assert first.isdisjoint(second)


# --- in other processes


def ask(folder, _):
    models = run_of(folder, SumTrainer())
    outputs = outputs_of(models)
    return models.num_trained, outputs


def test_two_processes_on_one_folder_agree(tmp_path, worker_pool):
    """Both may train the same shadow; both write the same."""
    found = list(worker_pool.map(partial(ask, tmp_path), [0, 1]))
    assert all(equal(outputs, fresh()) for _, outputs in found)
    assert len(list(tmp_path.glob("*.safetensors"))) == 6
    assert ask(tmp_path, 0)[0] == 0


def test_groups_are_trained_in_workers(tmp_path, worker_pool):
    trainer = SumTrainer()
    models = run_of(tmp_path, trainer, run=worker_pool.map)
    assert equal(outputs_of(models), fresh())
    assert trainer.trained == []  # not in this process
    assert models.num_trained == 6


@pytest.mark.parametrize("size", [100, 101, 103, 110, 133, 60])
def test_draws_agree_no_more_than_chance(size):
    """Of 200 rows; a draw that begins where a deck ended once was the draw of two before it, again and again.

    Two random draws agree on 200 * (p^2 + (1 - p)^2) rows, give or take ten; only neighbours share a deck.
    """
    lines = draw(range(200), size, 16)
    share = size / 200
    agree = np.array([[np.mean(a == b) for b in lines] for a in lines])
    apart = [agree[a, b] for a in range(16) for b in range(a + 2, 16)]
    assert max(apart) < share**2 + (1 - share) ** 2 + 0.2
    counts = lines.sum(axis=0)
    assert counts.max() - counts.min() <= 1 and (lines.sum(axis=1) == size).all()


def test_draws_apart_are_independent_of_one_another():
    """Of balanced draws the others tell a row's own; of draws apart they do not."""
    pool = ShadowRows(torch.arange(400.0)[:, None], torch.zeros(400, dtype=torch.int64), np.arange(400), 200, 3)
    together, apart = pool.draws(8), pool.drawn_apart().draws(8)
    told = [np.corrcoef(lines[0], lines[1:].sum(axis=0))[0, 1] for lines in (together, apart)]
    assert told[0] < -0.99 and abs(told[1]) < 0.2
    assert (apart.sum(axis=1) == 200).all() and np.array_equal(pool.drawn_apart().draws(3), apart[:3])
    assert pool.digest() != pool.drawn_apart().digest()
