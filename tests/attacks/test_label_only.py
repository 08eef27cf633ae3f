"""The label-only attack counts right answers around a row, looks at nothing but labels, and treats all rows alike."""

import numpy as np
import pytest
import torch
from torch import nn

from safecompress.attacks import Gap, Target, simulate_attacker
from safecompress.attacks.membership.label_only import Copy, FittedLabelOnly, LabelOnly, right_shares
from safecompress.attacks.queries import vary
from safecompress.data import AuditData, SplitSizes, digits, make_split
from safecompress.errors import AttackError, UsageError
from safecompress.metrics.measurement import Levels
from safecompress.models import Mlp
from safecompress.seeding import derive, seeded
from safecompress.testing.fakes import ConstantModel
from safecompress.training import Course, Recipe, TrainingState, train


class Side(nn.Module):
    """Class 1 where the mean of a row is above 0, else class 0; ``scale`` changes the logits and no label."""

    def __init__(self, scale=1.0):
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(scale))
        self.num_rows = 0

    def forward(self, features):
        self.num_rows += len(features)
        middle = features.flatten(1).mean(dim=1)
        return torch.stack([-middle, middle], dim=1) * self.scale


def rows(distances, labels=None, is_member=None):
    """One row of four equal features for each distance from the boundary; members are the first half."""
    features = torch.tensor(distances, dtype=torch.float32)[:, None].repeat(1, 4)
    labels = (features[:, 0] > 0).long() if labels is None else torch.tensor(labels)
    return AuditData(features, labels, np.arange(len(distances)) < len(distances) / 2)


def near_and_far(seed=0, num_rows=60):
    """Members far off the boundary and non-members near it; all are classified right."""
    random = np.random.default_rng(seed)
    is_member = np.arange(2 * num_rows) < num_rows
    side = random.choice([-1.0, 1.0], 2 * num_rows)
    tilt = np.where(is_member, 1.0, 0.1) * random.uniform(0.5, 1.5, 2 * num_rows) * side
    features = random.normal(size=(2 * num_rows, 6))
    features += (tilt - features.mean(axis=1))[:, None]
    return AuditData(torch.from_numpy(features.astype(np.float32)), torch.from_numpy((side > 0).astype(int)), is_member)


def fitted(attack, target, audit, seed=0):
    return attack.fit(target, audit, generator=np.random.default_rng(seed))


def auc_of(attack, target, fit_pool, verdict_pool, seed=0):
    attacker = simulate_attacker(attack, target, fit_pool, generator=np.random.default_rng(seed))
    result = attacker.test(target, verdict_pool, Levels(0.001))
    assert result.error is None
    return result.measurements[0]


# --- what it finds


def test_it_finds_members_where_every_answer_is_right():
    """The gap attack has nothing to read; how far the boundary is still gives members away."""
    target = Target(Side())
    assert auc_of(Gap(), target, near_and_far(), near_and_far(1)).value == 0.5
    assert auc_of(LabelOnly(), target, near_and_far(), near_and_far(1)).value > 0.95


@pytest.fixture(scope="module")
def overfitted():
    """A net trained on 150 digits until it knows them, and the split."""
    pools = {"member_fit": 75, "member_verdict": 75, "nonmember_fit": 400, "nonmember_verdict": 400}
    sizes = SplitSizes.resolve(1797, train=150, member_select=0, nonmember_select=0, **pools)
    split = make_split(digits(image=True), sizes, seed=0)
    with seeded(0, "net"):
        model = Mlp((1, 8, 8), 10, hidden=(256,))
    recipe = Recipe(epochs=80, batch_size=50, optimizer="adam", learning_rate=5e-3, weight_decay=0)
    course = Course(*split.part("train"), recipe, 0)
    train(model, TrainingState.capture(0, model), course, until=course.total_steps).restore_(model)
    return Target(model), split


@pytest.mark.slow
@pytest.mark.parametrize("by", ["noise", "moves"])
def test_a_trained_net_is_not_caught_worse_than_by_its_gap(overfitted, by):
    target, split = overfitted
    pools = split.audit("fit"), split.audit("verdict")
    gap, label_only = (auc_of(attack, target, *pools).value for attack in (Gap(), LabelOnly(by=by)))
    assert gap > 0.52
    assert label_only >= gap - 0.03


@pytest.mark.slow
def test_rows_that_the_net_never_saw_are_not_told_apart(overfitted):
    target, split = overfitted
    drawn = torch.from_numpy(derive(0, "null").permutation(np.setdiff1d(np.arange(1797), split.indices["train"])))
    fit_pool, verdict_pool = (
        AuditData(split.dataset.features[part], split.dataset.labels[part], np.arange(600) < 300)
        for part in (drawn[:600], drawn[600:1200])
    )
    found = auc_of(LabelOnly(), target, fit_pool, verdict_pool)
    assert found.interval.low <= 0.5 <= found.interval.high


# --- what it reads


def test_only_labels_are_read():
    """Logits a million times as large, the same labels: the same scores to the bit."""
    audit = near_and_far()
    targets = [Target(Side(scale)) for scale in (1.0, 1e6)]
    scores = [fitted(LabelOnly(), target, audit).score(target, near_and_far(1)) for target in targets]
    assert np.array_equal(*scores)


def test_the_model_is_asked_once_for_the_row_and_once_for_each_copy():
    model, audit = Side(), near_and_far()
    attacker = fitted(LabelOnly(queries=11), Target(model), audit)
    model.num_rows = 0
    attacker.score(Target(model), audit)
    assert model.num_rows == 12 * len(audit.labels)


def test_shares_by_hand():
    """A flip of all features turns 1 into 0 (class 0), -1 into 2 (class 1) and leaves 0.5; a flip of none, all."""
    audit = rows([1.0, 1.0, -1.0, 0.5], labels=[1, 0, 0, 1])
    copies = (Copy("flip", 1.0, 1), Copy("flip", 1.0, 0), Copy("flip", 0.0, 1))
    shares = right_shares(Target(Side()), audit, copies, 0)
    assert shares.tolist() == [[1, 0, 0.5], [0, 1, 0.5], [1, 0, 0.5], [1, 1, 1]]


def test_shares_against_one_row_and_one_copy_at_a_time():
    audit, attack = near_and_far(), LabelOnly(queries=15)
    attacker = fitted(attack, Target(Side()), audit)
    shares = right_shares(Target(Side()), audit, attacker.copies, attacker.seed)
    for row in (0, 7, 61, 119):
        hits, asked = np.zeros(6), np.zeros(6)
        for number, copy in enumerate(attacker.copies):
            direction = derive(attacker.seed, "copy", number).normal(size=6)
            features = audit.features[row].numpy()
            moved = features + copy.size * np.sqrt((features**2).mean()) * direction
            hits[copy.group] += (moved.mean() > 0) == bool(audit.labels[row])
            asked[copy.group] += 1
        assert np.allclose(shares[row], [1, *(hits / asked)])


def test_the_score_is_the_weighted_sum_of_shares():
    audit, copies = near_and_far(), tuple(Copy("noise", size, group) for group, size in enumerate((0.5, 2.0)))
    attacker = FittedLabelOnly(copies, 3, np.array([10.0, 1.0, -2.0]))
    shares = right_shares(Target(Side()), audit, copies, 3)
    assert np.allclose(attacker.score(Target(Side()), audit), shares @ [10, 1, -2])


# --- how rows are moved


def test_noise_has_the_rows_own_size_and_one_direction_for_all_rows():
    features = torch.tensor([[3.0, -4.0], [0.3, -0.4], [0.0, 0.0]])
    moved = Copy("noise", 0.5, 0).of(features, seed=1, number=2)
    direction = torch.from_numpy(derive(1, "copy", 2).normal(size=2)).float()
    assert torch.allclose(moved[0] - features[0], 0.5 * 12.5**0.5 * direction, atol=1e-6)
    assert torch.allclose(moved[1] - features[1], (moved[0] - features[0]) / 10, atol=1e-6)
    assert torch.equal(moved[2], features[2])


def test_flips_turn_about_their_share_of_features_over_and_the_same_in_all_rows():
    features = (torch.rand(5, 4000, generator=torch.Generator().manual_seed(0)) < 0.3).float()
    moved = Copy("flip", 0.05, 0).of(features, seed=0, number=0)
    is_flipped = moved != features
    assert torch.equal(moved[is_flipped], 1 - features[is_flipped])
    assert (is_flipped == is_flipped[0]).all()
    assert is_flipped[0].float().mean().item() == pytest.approx(0.05, abs=0.015)


def test_a_row_is_moved_alike_wherever_it_stands():
    images = torch.randn(4, 1, 5, 5, generator=torch.Generator().manual_seed(0))
    for copy in (Copy("noise", 0.5, 0), Copy("flip", 0.5, 0), Copy("move", 5, 0)):
        assert torch.equal(copy.of(images, 1, 3)[[2, 0]], copy.of(images[[2, 0]], 1, 3))


def test_copies_differ_from_each_other_and_leave_the_rows_as_they_are():
    features = torch.ones(1, 50)
    moved = [Copy("noise", 0.5, 0).of(features, seed, number) for seed in (0, 1) for number in (0, 1)]
    assert len({tuple(copy[0].tolist()) for copy in moved}) == 4
    assert torch.equal(features, torch.ones(1, 50))


def test_every_size_gets_its_share_of_the_queries():
    attack = LabelOnly(queries=20, sizes=(0.1, 1.0, 2.0))
    copies = attack._copies(torch.tensor([[0.5, 1.0]]))
    assert [copy.size for copy in copies[:4]] == [0.1, 1.0, 2.0, 0.1]
    assert np.bincount([copy.group for copy in copies]).tolist() == [7, 7, 6]
    assert {copy.kind for copy in copies} == {"noise"}


def test_features_of_0_and_1_are_flipped_as_well_and_nothing_else_is():
    attack = LabelOnly(queries=10, sizes=(0.5,), flips=(0.1, 0.2))
    binary = torch.tensor([[0.0, 1.0], [1.0, 1.0]])
    assert [(copy.kind, copy.size) for copy in attack._copies(binary)[:4]] == [
        ("noise", 0.5), ("flip", 0.1), ("flip", 0.2), ("noise", 0.5),
    ]  # fmt: skip
    assert {copy.kind for copy in attack._copies(binary + 1)} == {"noise"}
    assert {copy.kind for copy in attack._copies(torch.tensor([[0.0, 0.5]]))} == {"noise"}


def test_fewer_queries_than_sizes_leave_sizes_out():
    audit = near_and_far()
    assert fitted(LabelOnly(queries=2), Target(Side()), audit).weights_G.shape == (3,)


@pytest.mark.parametrize("queries", [1, 5, 20, 64])
def test_moves_are_the_fixed_variants_in_order_in_at_most_six_groups(queries):
    images = torch.randn(3, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    copies = LabelOnly(by="moves", queries=queries)._copies(images)
    assert [copy.size for copy in copies] == list(range(1, queries + 1))
    groups = [copy.group for copy in copies]
    assert groups == sorted(groups)
    assert set(groups) == set(range(min(6, queries)))
    for copy in copies:
        assert torch.equal(copy.of(images, 0, 0), vary(images, int(copy.size)))


# --- weights


def test_surviving_noise_can_count_against_membership():
    """The fitting pool decides: where members are the rows near the boundary, the weight is the same, below 0."""
    audit = near_and_far()
    turned = AuditData(audit.features, audit.labels, ~audit.is_member)
    sizes = LabelOnly(sizes=(1.0,), queries=16)
    target = Target(Side())
    straight, against = (fitted(sizes, target, pool).weights_G[1] for pool in (audit, turned))
    assert straight > 1
    assert against == pytest.approx(-straight, rel=1e-3)


def test_a_pool_that_says_nothing_weighs_all_alike():
    target, audit = Target(ConstantModel([1.0, 0.0])), rows([1.0, -1.0, 1.0, -1.0])
    attacker = fitted(LabelOnly(), target, audit)
    assert attacker.weights_G.tolist() == [1.0] * 7
    assert np.allclose(attacker.score(target, audit), [0, 7, 0, 7])


def test_a_pool_of_one_side_is_left_to_the_framework_to_refuse():
    audit = near_and_far()
    members = AuditData(audit.features, audit.labels, np.ones(120, dtype=bool))
    assert fitted(LabelOnly(), Target(Side()), members).weights_G.tolist() == [1.0] * 7
    refused = simulate_attacker(LabelOnly(), Target(Side()), members, generator=np.random.default_rng(0))
    assert "120 members and 0 non-members" in refused.error


def test_a_model_that_is_never_wrong_is_no_broken_attack():
    """Right answers all round, whatever the noise: one score for all rows, and an AUC of 0.5."""
    audit = rows([1.0, 2.0, 1.0, 2.0])
    target = Target(nn.Linear(4, 2))
    nn.init.zeros_(target.model.weight)
    target.model.weight.data[1] = 1e-9
    target.model.bias.data = torch.tensor([0.0, 1.0])
    assert auc_of(LabelOnly(), target, audit, audit).value == 0.5
    assert not LabelOnly().varies(target, audit)
    assert LabelOnly().varies(target, rows([1.0, -1.0]))
    assert not LabelOnly().varies(target, rows([-1.0, -2.0]))


# --- chance


def test_the_same_generator_gives_the_same_attacker_and_another_one_another():
    target, audit = Target(Side()), near_and_far()
    first, again, other = (fitted(LabelOnly(), target, audit, seed).score(target, audit) for seed in (0, 0, 1))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_global_generators_neither_matter_nor_move():
    target, audit = Target(Side()), near_and_far()
    torch.manual_seed(1)
    first = fitted(LabelOnly(), target, audit).score(target, audit)
    torch.manual_seed(2)
    state = torch.random.get_rng_state()
    assert np.array_equal(first, fitted(LabelOnly(), target, audit).score(target, audit))
    assert torch.equal(state, torch.random.get_rng_state())


# --- limits


def test_rows_that_are_no_images_cannot_be_shifted():
    with pytest.raises(AttackError, match=r"\(120, 6\)\. Ask for by=\"noise\""):
        fitted(LabelOnly(by="moves"), Target(Side()), near_and_far())


def test_an_unknown_way_is_refused_with_its_close_match():
    with pytest.raises(UsageError, match=r"'moves'\? Allowed: moves, noise"):
        LabelOnly(by="move")


@pytest.mark.parametrize(
    "options",
    [
        {"queries": 0}, {"sizes": ()}, {"sizes": (0.0,)}, {"sizes": (0.5, np.inf)}, {"sizes": (float("nan"),)},
        {"flips": (0.0,)}, {"flips": (0.1, 1.0)},
    ],
)  # fmt: skip
def test_options_that_cannot_work_are_refused(options):
    ((name, value),) = options.items()
    with pytest.raises(UsageError) as caught:
        LabelOnly(**options)
    assert f"{name}={value}" in str(caught.value)


def test_of_texts_shares_of_tokens_are_left_out() -> None:
    random = np.random.default_rng(0)
    tokens = torch.from_numpy(random.integers(1, 9, size=(80, 12)).astype(np.int32))
    is_member = np.arange(80) < 40
    tokens[is_member, 1:-1] = 8  # a word that decides, and stays whatever is left out
    audit = AuditData(tokens, torch.ones(80, dtype=torch.int64), is_member)

    class Word(nn.Module):
        """Class 1 where most tokens are the word 8; padding counts for nothing."""

        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(()))

        def forward(self, tokens: torch.Tensor) -> torch.Tensor:
            share = (tokens == 8).sum(1) / (tokens >= 0).sum(1)
            return torch.stack([0.3 - share, share - 0.3], dim=1) * self.weight

    fitted_attack = fitted(LabelOnly(queries=10), Target(Word()), audit)
    assert {copy.kind for copy in fitted_attack.copies} == {"drop"}
    assert (
        fitted_attack.score(Target(Word()), audit)[:40].mean() > fitted_attack.score(Target(Word()), audit)[40:].mean()
    )


def test_shares_of_tokens_lie_between_none_and_all() -> None:
    with pytest.raises(UsageError, match="drops in"):
        LabelOnly(drops=(0.0, 0.5))
