"""SparseTraining in a loop of one's own: counts, times, the dense gradient, skipped steps, and resuming to the bit."""

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from safecompress.errors import UsageError
from safecompress.integrations.common import check_options
from safecompress.seeding import seeded
from safecompress.sparsity import (
    GROW_RULES,
    ConstantSchedule,
    DropMagnitude,
    GrowGradient,
    GrowRandom,
    SparseTraining,
)
from safecompress.storage import read_tensors, write_tensors
from safecompress.training import gap_gradient


def net(seed=0):
    with seeded(seed, "net"):
        return nn.Sequential(nn.Linear(20, 32), nn.ReLU(), nn.Linear(32, 16), nn.ReLU(), nn.Linear(16, 4))


def sgd(parameters):
    return torch.optim.SGD(parameters, lr=0.05, momentum=0.9, nesterov=True, weight_decay=5e-4)


def fused_adam(parameters):
    return torch.optim.Adam(parameters, lr=1e-2, fused=True)


with seeded(0, "data"):
    INPUTS = torch.randn(64, 20)
    LABELS = (INPUTS @ torch.randn(20, 4)).argmax(1)


def train(model, optimizer, sparse, steps, watch=lambda step: None):
    for step in steps:
        rows = slice(step * 16 % 64, step * 16 % 64 + 16)
        optimizer.zero_grad()
        cross_entropy(model(INPUTS[rows]), LABELS[rows]).backward()
        optimizer.step()
        sparse.step()
        watch(step)


def counts(sparse):
    return {name: int(mask.sum()) for name, mask in sparse.pattern.masks.items()}


def assert_inactive_is_plus_zero(model, sparse):
    for parameter, mask in sparse.pattern.pairs(model):
        inactive = parameter.detach()[~mask]
        assert not inactive.any() and not torch.signbit(inactive).any()


@pytest.mark.slow
@pytest.mark.parametrize("drop", ["magnitude", "threshold", "set", "taylor"])
@pytest.mark.parametrize("grow", GROW_RULES.names())
def test_counts_hold_for_hundreds_of_steps(drop, grow):
    model = net()
    optimizer = sgd(model.parameters())
    sparse = SparseTraining(model, optimizer, density=0.2, total_steps=200, every=5, drop=drop, grow=grow)
    start, first = counts(sparse), sparse.pattern.digest()
    assert sum(start.values()) == round(0.2 * (640 + 512 + 64)) == sparse.pattern.num_active

    def watch(step):
        assert counts(sparse) == start
        assert_inactive_is_plus_zero(model, sparse)

    train(model, optimizer, sparse, range(200), watch)
    assert sparse.pattern.digest() != first
    assert sparse.num_rewires == 30  # every 5 of the first 150


@pytest.mark.slow
def test_it_learns_at_a_tenth_of_the_weights():
    model = net()
    optimizer = sgd(model.parameters())
    sparse = SparseTraining(model, optimizer, density=0.2, total_steps=400, every=20)
    train(model, optimizer, sparse, range(400))
    assert (model(INPUTS).argmax(1) == LABELS).float().mean() > 0.9


def test_weights_move_at_the_right_steps_and_rest_after_stop():
    model = net()
    optimizer = sgd(model.parameters())
    sparse = SparseTraining(
        model, optimizer, density=0.2, total_steps=100, every=10, stop=0.5, grow="random", schedule="constant"
    )
    digests = [sparse.pattern.digest()]
    due = []

    def watch(step):
        digests.append(sparse.pattern.digest())

    for step in range(100):
        due += [step] if sparse.is_due() else []
        train(model, optimizer, sparse, [step], watch)
    changed = [step for step in range(100) if digests[step] != digests[step + 1]]
    assert changed == due == [10, 20, 30, 40, 50]
    assert sparse.num_rewires == 5 and sparse.num_steps == 100


def test_each_rewire_moves_what_the_schedule_says():
    model = net()
    optimizer = sgd(model.parameters())
    sparse = SparseTraining(
        model, optimizer, density=0.3, total_steps=40, every=10, stop=1.0, allocation="uniform", schedule="cosine"
    )
    masks = dict(sparse.pattern.masks)
    moved = []

    def watch(step):
        moved.append(sum(int((masks[n] & ~m).sum()) for n, m in sparse.pattern.masks.items()))
        masks.update(sparse.pattern.masks)

    train(model, optimizer, sparse, range(40), watch)
    # 192, 154 and 19 active weights; the cosine from .5 to .005 at 1/4, 1/2 and 3/4 is .4275, .2525 and .0775
    assert [moved[step] for step in (10, 20, 30)] == [82 + 66 + 8, 48 + 39 + 5, 15 + 12 + 1]
    assert sum(moved) == sum(moved[step] for step in (10, 20, 30))


def by_hand(density=0.5, optimizer=None, **options):
    """A 2x4 weight with gradients set by hand; density 1/2, a quarter of the active weights moved at each step."""
    model = nn.Linear(4, 2, bias=False)
    made = (optimizer or torch.optim.SGD)(model.parameters(), lr=0.1)
    sparse = SparseTraining(
        model, made, density=density, total_steps=100, every=1, schedule=ConstantSchedule(0.25), **options
    )
    mask = torch.tensor([[1, 1, 1, 1], [0, 0, 0, 0]], dtype=torch.bool)
    sparse.load_state_dict(
        {"masks": {"weight": mask}, "fired": {"weight": mask}, "momentum": {}, "num_steps": 1, "num_rewires": 0}
    )
    model.weight.data.copy_(torch.tensor([[4.0, 3.0, -2.0, 5.0], [0.0, 0.0, 0.0, 0.0]]))
    return model, made, sparse


def test_gradient_growth_sees_the_dense_gradient_of_the_very_step():
    model, optimizer, sparse = by_hand(drop=DropMagnitude(), grow=GrowGradient())
    model.weight.grad = torch.tensor([[9.0, 9.0, 9.0, 9.0], [1.0, -3.0, 2.0, 0.0]])
    optimizer.step()
    # -2 is the smallest weight; -3 the largest gradient of an inactive one, and what grew takes this step's gradient
    assert sparse.pattern.masks["weight"].tolist() == [[True, True, False, True], [False, True, False, False]]
    assert torch.allclose(model.weight, torch.tensor([[3.1, 2.1, 0.0, 4.1], [0.0, 0.3, 0.0, 0.0]]))
    assert not torch.signbit(model.weight.detach()[~sparse.pattern.masks["weight"]]).any()


def test_momentum_growth_sees_the_average_with_this_step_in_it():
    model, optimizer, sparse = by_hand(grow="momentum")
    sparse.num_steps = 0
    for gradient in ([0.0, -3.0, 1.0, 2.0], [0.0, -3.0, -9.0, 2.0]):  # averages .01 x (0, -57, -81, 38)
        model.weight.grad = torch.tensor([[0.0] * 4, gradient])
        optimizer.step()
        sparse.step()
    assert sparse.pattern.masks["weight"][1].tolist() == [False, False, True, False]


@pytest.mark.parametrize("is_fused", [False, True])
def test_a_step_that_a_gradient_scaler_skips_is_rewired_at_the_next(is_fused):
    def adam(parameters, lr):
        return torch.optim.Adam(parameters, lr=lr, fused=is_fused)

    model, optimizer, sparse = by_hand(grow=GrowGradient(), optimizer=adam)
    before = model.weight.detach().clone()
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0)
    for inactive_gradient in ([float("inf"), 0.0, 0.0, 0.0], [1.0, -3.0, 2.0, 0.0]):
        optimizer.zero_grad()
        scaler.scale((model.weight[1] * torch.tensor(inactive_gradient)).sum()).backward()
        scaler.step(optimizer)
        scaler.update()
        sparse.step()
        if inactive_gradient[0] > 1:
            assert sparse.num_rewires == 0 and sparse.is_due() and torch.equal(model.weight, before)
    assert sparse.pattern.masks["weight"].tolist() == [[True, True, False, True], [False, True, False, False]]
    assert sparse.num_rewires == 2 and torch.isfinite(model.weight).all()


def to_tensors(model, optimizer, sparse):
    """Everything of a checkpoint as flat named tensors, so that safetensors can hold it."""
    flat = {f"model/{n}": t for n, t in model.state_dict().items()}
    for index, states in optimizer.state_dict()["state"].items():
        flat |= {f"optimizer/{index}/{n}": t for n, t in states.items() if torch.is_tensor(t)}
    state = sparse.state_dict()
    for group in ("masks", "fired", "momentum"):
        flat |= {f"{group}/{n}": t for n, t in state.pop(group).items()}
    return {n: t.clone() for n, t in flat.items()}, {n: str(value) for n, value in state.items()}


def from_tensors(tensors, numbers, model, optimizer, sparse):
    def group(prefix):
        return {n.removeprefix(prefix + "/"): t for n, t in tensors.items() if n.startswith(prefix + "/")}

    model.load_state_dict(group("model"))
    states = {}
    for name, tensor in group("optimizer").items():
        index, _, key = name.partition("/")
        states.setdefault(int(index), {})[key] = tensor
    optimizer.load_state_dict({**optimizer.state_dict(), "state": states})
    sparse.load_state_dict(
        {
            **{n: group(n) for n in ("masks", "fired", "momentum")},
            **{n: v if n == "settings" else int(v) for n, v in numbers.items()},
        }
    )


@pytest.mark.slow
@pytest.mark.parametrize("grow", GROW_RULES.names())
@pytest.mark.parametrize("make_optimizer", [sgd, fused_adam])
def test_resuming_from_a_file_ends_in_the_same_bits(grow, make_optimizer, tmp_path):
    options = {"density": 0.2, "total_steps": 60, "every": 4, "drop": "threshold", "grow": grow, "seed": 3}

    def fresh(seed=0):
        model = net(seed)
        optimizer = make_optimizer(model.parameters())
        return model, optimizer, SparseTraining(model, optimizer, **options)

    whole = fresh()
    train(*whole, range(60))
    part = fresh()
    train(*part, range(26))
    write_tensors(tmp_path / "state.safetensors", *to_tensors(*part))
    resumed = fresh(seed=9)
    from_tensors(*read_tensors(tmp_path / "state.safetensors"), *resumed)
    assert resumed[2].coverage == part[2].coverage
    train(*resumed, range(26, 60))
    (expected, expected_numbers), (got, numbers) = to_tensors(*whole), to_tensors(*resumed)
    assert numbers == expected_numbers
    assert (numbers["num_steps"], numbers["num_rewires"]) == ("60", "11")
    assert got.keys() == expected.keys() and any(n.startswith("optimizer/") for n in got)
    assert [n for n in got if not torch.equal(got[n], expected[n])] == []
    assert resumed[2].pattern.digest() == whole[2].pattern.digest()


def test_a_loaded_state_is_not_changed_by_training_on():
    model = net()
    optimizer = sgd(model.parameters())
    sparse = SparseTraining(model, optimizer, density=0.2, total_steps=60, every=4, grow="momentum")
    train(model, optimizer, sparse, range(10))
    saved = {
        key: {n: t.clone() for n, t in value.items()} if isinstance(value, dict) else value
        for key, value in sparse.state_dict().items()
    }
    copies = {key: {n: t.clone() for n, t in saved[key].items()} for key in ("masks", "fired", "momentum")}
    sparse.load_state_dict(saved)
    train(model, optimizer, sparse, range(10, 30))
    assert all(torch.equal(saved[key][n], t) for key, tensors in copies.items() for n, t in tensors.items())


def test_coverage_grows_and_counts_what_was_ever_active():
    model = net()
    optimizer = sgd(model.parameters())
    sparse = SparseTraining(
        model, optimizer, density=0.1, total_steps=100, every=5, grow="random-unfired", schedule="constant"
    )
    assert sparse.coverage == sparse.pattern.density == 122 / 1216
    seen = {n: m.clone() for n, m in sparse.pattern.masks.items()}
    coverage = [sparse.coverage]

    def watch(step):
        for name, mask in sparse.pattern.masks.items():
            seen[name] |= mask
        coverage.append(sparse.coverage)
        assert sparse.coverage == sum(int(m.sum()) for m in seen.values()) / 1216

    train(model, optimizer, sparse, range(100), watch)
    assert coverage == sorted(coverage)
    # random-unfired never repeats itself while there is room: 15 rewires of .3 of each layer, or the whole layer
    sizes = {name: mask.numel() for name, mask in seen.items()}
    fired = {name: min(sizes[name], n + 15 * round(0.3 * n)) for name, n in counts(sparse).items()}
    assert fired["0.weight"] < 640 and fired["4.weight"] == 64
    assert coverage[-1] == sum(fired.values()) / 1216


def test_without_a_rewire_coverage_is_density():
    model = net()
    optimizer = sgd(model.parameters())
    sparse = SparseTraining(model, optimizer, density=0.1, total_steps=50, stop=0.0, every=5)
    train(model, optimizer, sparse, range(50))
    assert sparse.num_rewires == 0 and sparse.coverage == sparse.pattern.density


def test_the_seed_decides_the_first_pattern_and_every_draw():
    def digests(seed):
        model = net()
        optimizer = sgd(model.parameters())
        options = {"density": 0.2, "total_steps": 40, "every": 10, "grow": GrowRandom(), "seed": seed}
        sparse = SparseTraining(model, optimizer, **options)
        found = []
        train(model, optimizer, sparse, range(40), lambda step: found.append(sparse.pattern.digest()))
        return found

    assert digests(0) == digests(0)
    assert not set(digests(0)) & set(digests(1))


def test_a_start_from_scratch_is_rescaled_and_a_dense_one_keeps_its_largest_weights():
    model = net()
    before = {n: p.detach().clone() for n, p in model.named_parameters()}
    sparse = SparseTraining(model, sgd(model.parameters()), density=0.2, total_steps=9, stop=0, start="dense")
    for name, mask in sparse.pattern.masks.items():
        assert torch.equal(dict(model.named_parameters())[name], torch.where(mask, before[name], 0.0))
        assert before[name][mask].abs().min() >= before[name][~mask].abs().max()
    model = net()
    sparse = SparseTraining(model, sgd(model.parameters()), density=0.2, total_steps=9, stop=0)
    for name, mask in sparse.pattern.masks.items():
        factor = (mask.shape[1] / mask.sum(1).clamp(min=1)).sqrt()[:, None]
        assert torch.allclose(dict(model.named_parameters())[name], torch.where(mask, before[name] * factor, 0.0))


@pytest.mark.parametrize("grow", ["gradient", "momentum"])
def test_a_layer_that_a_step_does_not_use_has_no_gradient_and_keeps_its_count(grow):
    model = nn.ModuleDict({"unused": nn.Linear(8, 8), "used": nn.Linear(8, 8)})
    optimizer = sgd(model.parameters())
    sparse = SparseTraining(model, optimizer, density=0.25, total_steps=20, every=2, grow=grow, drop="taylor")
    start = counts(sparse)
    for _ in range(10):
        optimizer.zero_grad()
        model["used"](torch.ones(3, 8)).square().sum().backward()
        optimizer.step()
        sparse.step()
    assert sparse.num_rewires == 4 and counts(sparse) == start
    assert_inactive_is_plus_zero(model, sparse)


def test_bfloat16_models_rewire():
    model = net().bfloat16()
    optimizer = sgd(model.parameters())
    sparse = SparseTraining(model, optimizer, density=0.2, total_steps=20, every=4, grow="momentum")
    first = sparse.pattern.digest()
    for _ in range(10):
        optimizer.zero_grad()
        cross_entropy(model(INPUTS.bfloat16()).float(), LABELS).backward()
        optimizer.step()
        sparse.step()
    assert sparse.pattern.digest() != first
    assert_inactive_is_plus_zero(model, sparse)


def test_a_model_at_full_density_trains_as_if_dense():
    models = [net(), net()]
    optimizers = [sgd(model.parameters()) for model in models]
    sparse = SparseTraining(models[0], optimizers[0], density=1.0, total_steps=30, every=3)
    train(models[0], optimizers[0], sparse, range(30))

    class Dense:
        def step(self):
            """Nothing to count."""

    train(models[1], optimizers[1], Dense(), range(30))
    assert all(torch.equal(a, b) for a, b in zip(models[0].parameters(), models[1].parameters(), strict=True))
    assert sparse.pattern.density == 1.0


def test_globs_choose_what_is_sparse():
    model = net()
    sparse = SparseTraining(model, sgd(model.parameters()), density=0.1, total_steps=9, stop=0, exclude=["4.*"])
    assert list(sparse.pattern.masks) == ["0.weight", "2.weight"]
    assert model[4].weight.detach().all()


def test_a_rule_that_reads_the_gap_is_given_it_at_each_rewire():
    model, asked = net(), []
    optimizer = sgd(model.parameters())

    def gap():
        asked.append({name: p.detach().clone() for name, p in model.named_parameters()})
        return gap_gradient(model, (INPUTS[:32], LABELS[:32]), (INPUTS[32:], LABELS[32:]), masks)

    options = {"density": 0.3, "total_steps": 40, "every": 10, "stop": 1.0}
    sparse = SparseTraining(model, optimizer, drop="leak", signals={"gap_gradient": gap}, **options)
    masks = dict(sparse.pattern.masks)
    train(model, optimizer, sparse, range(9))
    assert not asked
    before = sparse.pattern.masks["0.weight"].clone()
    train(model, optimizer, sparse, range(9, 12))
    (weights,) = asked
    flat, active = weights["0.weight"].flatten(), before.flatten().nonzero().flatten().tolist()
    with torch.no_grad():
        for name, p in model.named_parameters():
            p.copy_(weights[name])  # as they were when the gap was read
    scores = (flat * gap()["0.weight"].flatten()).tolist()
    half = sorted(active, key=lambda i: abs(flat[i].item()))[: -(-len(active) // 2)]
    dropped = (before & ~sparse.pattern.masks["0.weight"]).flatten().nonzero().flatten().tolist()
    assert dropped and dropped == sorted(sorted(half, key=lambda i: -scores[i])[: len(dropped)])


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({}, r"every sparse parameter.*'0\.weight' it is missing and should be \(32, 20\)"),
        ({"0.weight": torch.zeros(20, 32)}, r"is \(20, 32\) and should be \(32, 20\)"),
    ],
)
def test_a_signal_of_the_wrong_shape_teaches(tensors, message):
    model = net()
    optimizer, gap = sgd(model.parameters()), {"gap_gradient": lambda: tensors}
    sparse = SparseTraining(model, optimizer, density=0.3, total_steps=40, every=1, drop="leak", signals=gap)
    with pytest.raises(UsageError, match=message):
        train(model, optimizer, sparse, range(3))


def test_a_signal_that_no_rule_reads_is_not_asked_for():
    model = net()
    optimizer = sgd(model.parameters())

    def never():
        raise AssertionError("asked")

    options = {"density": 0.3, "total_steps": 40, "every": 1, "signals": {"gap_gradient": never}}
    train(model, optimizer, SparseTraining(model, optimizer, **options), range(3))


def test_after_detach_nothing_is_masked_or_moved():
    model = net()
    optimizer = sgd(model.parameters())
    sparse = SparseTraining(model, optimizer, density=0.2, total_steps=40, every=2)
    digest = sparse.pattern.digest()
    sparse.detach()
    train(model, optimizer, sparse, range(10))
    assert sparse.pattern.digest() == digest
    assert model[0].weight.detach()[~sparse.pattern.masks["0.weight"]].any()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"every": 0}, "every and total_steps .* 1, got 0"),
        ({"total_steps": 0}, "got 100 and 0"),
        ({"total_steps": 80}, r"every 100 steps, and no later than step 60 .*Give every=6 .* or stop=0"),
        ({"total_steps": 1, "every": 1}, r"no later than step 0 .*more steps, or give stop=0"),
        ({"stop": -1.0}, r"stop must lie in \[0, 1\], got -1\.0"),
        ({"stop": float("nan")}, r"stop must lie in \[0, 1\], got nan"),
        ({"drop": "magnitud"}, "mean 'magnitude'"),
        ({"grow": "gradients"}, "mean 'gradient'"),
        ({"schedule": "cosin"}, "mean 'cosine'"),
        ({"allocation": "ERK!"}, "Unknown allocation"),
        ({"density": 0}, "density must lie"),
        ({"density": 1e-4}, "model's 3 sparse layers"),
        ({"include": ["head.*"]}, "matches no weight"),
        ({"drop": "leak"}, "reads gap_gradient.*signals={'gap_gradient': function}.*gap_gradient computes it"),
        ({"signals": {"gap": dict}}, "Unknown signal 'gap'.*gap_gradient"),
    ],
)
def test_what_cannot_be_done_is_said_at_once_and_leaves_the_model_alone(options, message):
    model = net()
    before = [p.detach().clone() for p in model.parameters()]
    with pytest.raises(UsageError, match=message):
        SparseTraining(model, sgd(model.parameters()), **{"density": 0.1, "total_steps": 200, **options})
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))


def test_an_unknown_start_teaches():
    model = net()
    with pytest.raises(UsageError, match=r"start 'warm'\. Allowed: dense, pretrained, scratch"):
        SparseTraining(model, sgd(model.parameters()), density=0.1, total_steps=200, start="warm")


def test_an_optimizer_of_another_model_leaves_the_model_alone():
    model = net()
    before = [p.detach().clone() for p in model.parameters()]
    with pytest.raises(UsageError, match="does not hold"):
        SparseTraining(model, sgd(net().parameters()), density=0.1, total_steps=200)
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))


# --- loops that are somebody else's


def test_automatic_counts_the_optimizers_steps():
    model, twin = net(), net()
    options = {"density": 0.2, "total_steps": 40, "every": 5}
    optimizer, other = sgd(model.parameters()), sgd(twin.parameters())
    sparse = SparseTraining(model, optimizer, automatic=True, **options)
    by_hand = SparseTraining(twin, other, **options)
    for step in range(40):
        rows = slice(step * 16 % 64, step * 16 % 64 + 16)
        optimizer.zero_grad()
        cross_entropy(model(INPUTS[rows]), LABELS[rows]).backward()
        optimizer.step()
    train(twin, other, by_hand, range(40))
    assert sparse.num_steps == 40 and sparse.num_rewires == by_hand.num_rewires == 6
    assert sparse.pattern.digest() == by_hand.pattern.digest()
    assert all(torch.equal(p, q) for p, q in zip(model.parameters(), twin.parameters(), strict=True))
    with pytest.raises(UsageError, match=r"leave out sparse\.step\(\)"):
        sparse.step()
    sparse.detach()
    optimizer.step()
    assert sparse.num_steps == 40


def test_going_on_from_a_state_leaves_the_weights_as_they_are():
    model = net()
    optimizer = sgd(model.parameters())
    options = {"density": 0.2, "total_steps": 60, "every": 4, "automatic": True}
    sparse = SparseTraining(model, optimizer, **options)
    for _ in range(10):
        optimizer.zero_grad()
        cross_entropy(model(INPUTS), LABELS).backward()
        optimizer.step()
    sparse.detach()
    before = [p.detach().clone() for p in model.parameters()]
    again = SparseTraining(model, optimizer, state=sparse.state_dict(), **options)
    assert all(torch.equal(p, q) for p, q in zip(model.parameters(), before, strict=True))
    assert (again.num_steps, again.num_rewires) == (10, sparse.num_rewires)
    assert again.pattern.digest() == sparse.pattern.digest() and again.coverage == sparse.coverage
    with pytest.raises(UsageError, match=r"density 0\.1998,.*density=0\.1"):
        SparseTraining(model, optimizer, state=sparse.state_dict(), **{**options, "density": 0.1})


@pytest.mark.parametrize("grow", ["gradient", "momentum"])
def test_masked_before_clipping_the_norm_is_of_active_weights_and_nothing_else_changes(grow):
    def run(clip, early):
        model = net()
        optimizer = sgd(model.parameters())
        sparse = SparseTraining(model, optimizer, density=0.2, total_steps=20, every=4, grow=grow, automatic=True)
        norms = []
        for step in range(20):
            rows = slice(step * 16 % 64, step * 16 % 64 + 16)
            optimizer.zero_grad()
            cross_entropy(model(INPUTS[rows]), LABELS[rows]).backward()
            if early:
                sparse.mask_gradients()
            norms.append(torch.nn.utils.clip_grad_norm_(model.parameters(), clip).item())
            optimizer.step()
        return norms, sparse, model

    loose, late, first = run(1e9, early=False)
    norms, early, second = run(1e9, early=True)
    assert late.pattern.digest() == early.pattern.digest() and late.num_rewires == early.num_rewires == 3
    assert all(torch.equal(p, q) for p, q in zip(first.parameters(), second.parameters(), strict=True))
    assert all(masked < dense for masked, dense in zip(norms, loose, strict=True))


def test_a_gradient_that_overflowed_rewires_nothing():
    """Before a gradient scaler skips its step, `mask_gradients` may see it."""
    model = net()
    optimizer = sgd(model.parameters())
    sparse = SparseTraining(model, optimizer, density=0.2, total_steps=20, every=1, automatic=True)
    cross_entropy(model(INPUTS), LABELS).backward()
    optimizer.step()
    digest = sparse.pattern.digest()
    assert sparse.is_due()
    model[0].weight.grad[0, 0] = float("inf")
    sparse.mask_gradients()
    assert sparse.is_due() and sparse.pattern.digest() == digest


def test_adapters_of_trainers_pass_signals_on():
    check_options({"drop": "leak", "signals": {"gap_gradient": dict}})
    with pytest.raises(UsageError, match="mean 'signals'"):
        check_options({"signal": {}})
