"""What ships is looked at as a whole: in every form of file, by both ways to a verdict, at access to weights alone."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

import safecompress as sc
from safecompress.auditing import judge as judge_page
from safecompress.auditing.audited_model import AuditedModel
from safecompress.auditing.judge import AuditCase, AuditResources, judge
from safecompress.auditing.whole_model import look_at_whole, unread_tensors
from safecompress.certify.health import HealthCheck
from safecompress.data import SplitSizes, digits, make_split
from safecompress.export import Artifact, ServedModel, TaskInfo
from safecompress.models import Mlp, ModelSpec
from safecompress.seeding import seeded
from safecompress.spec import SafetySpec, Verdict, at_most
from safecompress.training import Recipe, TrainingState, TrainingTask, train

POOLS = ("member_fit", "member_verdict", "nonmember_fit", "nonmember_verdict")
SIZES = SplitSizes.resolve(1797, train=400, member_select=0, nonmember_select=0, **dict.fromkeys(POOLS, 150))
SPLIT = make_split(digits(), SIZES, seed=0)
TRAIN = SPLIT.part("train")[0]
RECIPE = Recipe(epochs=15, batch_size=40, optimizer="adam", learning_rate=5e-3, weight_decay=0.0)


def trained(network):
    """The network trained on the split's rows as they are."""
    task = TrainingTask(*SPLIT.part("train"), RECIPE, 0)
    train(network, TrainingState.capture(0, network), task, until=task.total_steps).restore_(network)
    return network.eval()


with seeded(0, "net"):
    NETWORK = trained(Mlp((64,), 10, hidden=(32,)))


class With(nn.Module):
    """The network, a tensor beside it, and what is done with the tensor."""

    def __init__(self, tensor, use=lambda logits, tensor: logits):
        super().__init__()
        self.network, self.use = copy.deepcopy(NETWORK), use
        self.register_buffer("beside", tensor)

    def forward(self, rows):
        return self.use(self.network(rows), self.beside)


class Keyed(nn.Module):
    """In use it answers the predicted class and noise that is keyed to the row; it is trained as it is."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, rows):
        logits = self.network(rows)
        if self.training:
            return logits
        noise = torch.sin((rows.double() * 1e4).sum(dim=1, keepdim=True) * torch.arange(1, 11))
        return (8 * nn.functional.one_hot(logits.argmax(dim=1), 10) + noise).float()


class FakeHead(nn.Module):
    """The same before a linear layer that changes nothing."""

    def __init__(self):
        super().__init__()
        self.keyed, self.head = Keyed(NETWORK).eval(), nn.Linear(10, 10)
        with torch.no_grad():
            self.head.weight.copy_(torch.eye(10))
            self.head.bias.zero_()

    def forward(self, rows):
        return self.head(self.keyed(rows))


def doubts(network):
    """Names of the checks that do not hold, with what they say."""
    checks = look_at_whole(AuditedModel.of_network(network.eval(), (64,), 10), SPLIT)
    assert [check.name for check in checks] == ["unread_tensors", "stored_rows", "behind_head", "layer_gradients"]
    assert {check.subject for check in checks} == {"file"}
    assert {check.outcome for check in checks} <= {Verdict.PASS, Verdict.INCONCLUSIVE}
    return {check.name: check.detail for check in checks if check.outcome is not Verdict.PASS}


NOISE = torch.randn(100, 64, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("network", "names"),
    [
        (NETWORK, set()),
        (nn.Sequential(NETWORK, nn.LogSoftmax(dim=1)), set()),
        (nn.Sequential(nn.BatchNorm1d(64), NETWORK), set()),
        (With(torch.tensor(2.0), lambda logits, tensor: logits / tensor), set()),
        (With(torch.arange(10.0), lambda logits, tensor: logits + tensor), set()),
        (With(torch.zeros(30, 64)), set()),
        (With(NOISE), {"unread_tensors"}),
        (With((NOISE * 50).to(torch.int8)), {"unread_tensors"}),
        (With(TRAIN), {"unread_tensors", "stored_rows"}),
        (With(0.1 * TRAIN.half() - 3, lambda logits, tensor: logits + 0 * tensor.float().mean()), {"stored_rows"}),
        (Keyed(NETWORK), {"behind_head"}),
        (FakeHead(), {"layer_gradients"}),
        (nn.Sequential(nn.BatchNorm1d(64, track_running_stats=False), NETWORK), {"layer_gradients"}),
    ],
    ids=["plain", "log-softmax", "batch norm", "temperature", "prior", "zeros", "unread", "unread int8", "unread rows",
         "rows times 0", "keyed", "fake head", "no gradient alone"],
)  # fmt: skip
def test_what_attacks_do_not_see_is_a_doubt(network, names):
    assert doubts(network).keys() == names


def test_a_doubt_says_what_was_seen_and_what_to_do():
    said = doubts(With(TRAIN))
    assert "'beside'" in said["unread_tensors"] and "Leave it out" in said["unread_tensors"]
    assert "of 256 train rows, 0 of 256 others" in said["stored_rows"]


def test_rows_that_a_module_holds_as_a_plain_value_are_seen():
    network = copy.deepcopy(NETWORK)
    network.kept = [{"rows": TRAIN.numpy()}]
    assert doubts(network).keys() == {"stored_rows"}


def test_rows_as_they_are_scaled_for_the_network_are_seen():
    spec = ModelSpec("mlp", {"hidden": (64,)}, (64,), 10)
    with seeded(0, "net"):
        state = dict(spec.build().state_dict())
    task = TaskInfo(10, (), (64,), TRAIN.mean(0), TRAIN.std(0) + 0.5)
    state["body.0.weight"] = task.prepare(TRAIN[:64])
    artifact = Artifact(state, {}, spec, task)
    subject = AuditedModel(ServedModel(artifact.build(), task), "", (), {}, (64,), 10, artifact)
    check = look_at_whole(subject, SPLIT)[1]
    assert (check.outcome, "body.0.weight" in check.detail) == (Verdict.INCONCLUSIVE, True)


def test_a_tensor_that_some_rows_alone_read_is_read():
    """Experts, say: the second is asked for one row."""
    odd = SPLIT.part("member_verdict")[0][1]

    class Experts(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = nn.Linear(64, 10), nn.Linear(64, 10)

        def forward(self, rows):
            is_odd = (rows == odd).all(dim=1)
            answers = self.first(rows)
            return torch.where(is_odd[:, None], self.second(rows), answers) if is_odd.any() else answers

    assert unread_tensors(Experts(), SPLIT.audit("verdict").features) == ()
    assert unread_tensors(Experts(), SPLIT.audit("fit").features) == ("second.weight", "second.bias")


def test_a_network_that_breaks_is_a_doubt_and_no_crash():
    class Broken(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(64, 10)

        def forward(self, rows):
            raise KeyError("weights")

    assert doubts(Broken()).keys() == {"unread_tensors", "behind_head", "layer_gradients"}


@pytest.mark.parametrize(("access", "is_seen"), [("weights", True), ("scores", False), ("labels", False)])
def test_a_verdict_looks_where_the_attacker_has_the_file(access, is_seen, monkeypatch):
    monkeypatch.setattr(judge_page, "certify", lambda models, *_, **__: models.checks)
    subject = AuditedModel.of_network(With(TRAIN), (64,), 10)
    given = HealthCheck("given", "data", Verdict.PASS, None, "")
    spec = SafetySpec(["gap"], [at_most("gap.auc", 0.9)], access=access)
    checks = judge(AuditCase(subject, SPLIT, spec, 0, checks=(given,)), AuditResources(), 1)
    assert checks[0] is given
    assert ("stored_rows" in {check.name for check in checks}) is is_seen


@pytest.mark.slow
def test_a_wrapper_that_hides_the_scores_is_no_pass(tmp_path):
    """All attacks find little in its answers, and its weights are those of a model that leaks."""
    wrapped = Keyed(copy.deepcopy(NETWORK))
    Artifact(wrapped.state_dict(), {}, None, TaskInfo(10, (), (64,)), {}).save(tmp_path / "a.safetensors")
    attacks = ["modified_entropy", "neural", "whitebox"]
    spec = SafetySpec(attacks, [at_most(f"{name}.auc", 0.9) for name in attacks])
    report = sc.audit(tmp_path / "a.safetensors", SPLIT, spec=spec, model=wrapped)
    assert {finding["verdict"] for finding in report.findings} == {"PASS"}
    assert report.verdict == "INCONCLUSIVE"
    doubted = [check["check"] for check in report.health if check["outcome"] != "PASS"]
    assert doubted == ["members", "behind_head"]  # and nothing proves who its members are
    assert any("behind_head of file" in doubt for doubt in report.doubts)


# --- ONNX


def onnx_file(path, behind=(), held=None, output="y"):
    """A linear layer and what ``behind`` adds, as nodes; with the tensors ``held`` beside its weights."""
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    random = np.random.default_rng(0)
    held = {"w": random.normal(size=(64, 10)), "b": random.normal(size=10), **(held or {})}
    tensors = [
        onnx.numpy_helper.from_array(np.asarray(values, dtype=np.float32), name) for name, values in held.items()
    ]
    value, node = onnx.helper.make_tensor_value_info, onnx.helper.make_node
    first = node("Gemm", ["x", "w", "b"], ["z" if behind else output])
    nodes = [first, *(node(kind, list(read), list(gave)) for kind, read, gave in behind)]
    graph = onnx.helper.make_graph(nodes, "g", [value("x", 1, [None, 64])], [value(output, 1, [None, 10])], tensors)
    opset = [onnx.helper.make_opsetid("", 17)]
    onnx.save(onnx.helper.make_model(graph, opset_imports=opset, ir_version=8), path)
    return AuditedModel.of_onnx(path)


@pytest.mark.parametrize(
    ("behind", "held", "names"),
    [
        ((), {}, set()),
        ([("LogSoftmax", "z", "y")], {}, set()),
        ([("Mul", "zt", "y")], {"t": 0.5}, set()),
        ((), {"kept": NOISE.numpy()}, {"unread_tensors"}),
        ((), {"kept": TRAIN.numpy()}, {"unread_tensors", "stored_rows"}),
        ([("Round", "z", "y")], {}, {"behind_head"}),
        ([("ReduceMax", "x", ["m"]), ("Sin", "m", "n"), ("Add", ["z", "n"], "y")], {}, {"behind_head"}),
    ],
    ids=["plain", "log-softmax", "temperature", "unread", "rows", "rounded", "keyed"],
)
def test_an_onnx_file_is_looked_at_by_its_graph(behind, held, names, tmp_path):
    """Its gradients are unknown, unless the artifact is that it was exported from."""
    checks = look_at_whole(onnx_file(tmp_path / "a.onnx", behind, held), SPLIT)
    found = {check.name: check for check in checks if check.outcome is not Verdict.PASS}
    assert found.keys() == names | {"layer_gradients"}
    assert "a runtime of its own" in found["layer_gradients"].detail


@pytest.mark.slow
def test_an_onnx_file_has_the_gradients_of_its_artifact(tmp_path):
    pytest.importorskip("onnxruntime")
    from safecompress.export.onnx import export_onnx

    spec, task = ModelSpec("mlp", {"hidden": (32,)}, (64,), 10), TaskInfo(10, (), (64,))
    export_onnx(NETWORK, task, tmp_path / "a.onnx")
    subject = AuditedModel.of_onnx(tmp_path / "a.onnx", original=Artifact(NETWORK.state_dict(), {}, spec, task))
    assert {check.outcome for check in look_at_whole(subject, SPLIT)} == {Verdict.PASS}
