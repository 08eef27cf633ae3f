"""What ships is what is judged: shrunk, rounded, or as an ONNX file; and models that were trained elsewhere."""

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

import safecompress as sc
from safecompress.auditing.audited_model import AuditedModel
from safecompress.data.pools import split_of
from safecompress.errors import UsageError
from safecompress.export import TaskInfo
from safecompress.models import ModelSpec
from safecompress.seeding import seeded
from whole_runs import BY_LOSS, report_of, run_cli, write_spec

pytestmark = pytest.mark.slow
pytest.importorskip("torch_pruning")
pytest.importorskip("onnxruntime")

UNITS = {
    "compress": {"density": 0.2, "shape": "unit"},
    "search": {"rounds": 2, "branches": ["magnitude+random", "keep"]},
}
LOSS = {"metric": "loss.auc", "at_most": 0.9}


def compressed(folder, require=(LOSS,), **changes):
    spec = write_spec(folder / "spec.toml", **UNITS, safety=BY_LOSS, require=list(require), **changes)
    ended = run_cli("compress", spec, "--out", folder / "run")
    assert ended.code == 3, ended.err  # two attacks are no reference set
    return ended, report_of(folder / "run")


def test_dead_units_leave_weights_are_rounded_and_the_model_as_trained_stands_beside(tmp_path, without_control):
    ratio = {"metric": "compression.ratio", "at_least": 5}
    ended, report = compressed(
        tmp_path, [LOSS, ratio, {"metric": "density", "at_most": 0.2}], deploy={"shrink": True, "precision": "int8"}
    )
    artifact = sc.Artifact.load(tmp_path / "run" / "artifact.safetensors")
    assert artifact.precision == "int8" and artifact.is_resized and artifact.num_weights == 64 * 128 + 128 * 10
    assert [f["verdict"] for f in report["findings"]] == ["PASS"] * 3
    assert report["measurements"]["density"]["value"] == artifact.density < 0.2
    assert report["trained"]["accuracy"]["value"] == pytest.approx(
        report["measurements"]["accuracy"]["value"], abs=0.02
    )
    assert report["trained"]["loss.auc"] != report["measurements"]["loss.auc"]
    assert set(report["trained_verdicts"]) == {"loss.auc ≤ 0.9"}
    assert "as trained" in ended.out and "int8 weights, dead units" in ended.out
    again = run_cli("audit", tmp_path / "run" / "artifact.safetensors", "--spec", tmp_path / "run" / "spec.toml",
                    "--out", tmp_path / "audit")  # fmt: skip
    assert again.code == 3 and report_of(tmp_path / "audit")["measurements"] == report["measurements"]


def test_without_packing_nothing_stands_beside(finished):
    report = report_of(finished / "run")
    assert report["trained"] == {} == report["trained_verdicts"]
    assert "| as trained" not in (finished / "run" / "report.md").read_text()


def test_shadows_are_rounded_as_the_model_is(tmp_path, without_control):
    """The whole reference set with four shadows: their mode says so, and the model as trained has its own figure."""
    lira = {"attacks": ["loss", {"name": "lira", "num_shadows": 4}]}
    spec = write_spec(tmp_path / "spec.toml", safety=lira, require=[LOSS], deploy={"precision": "int8"},
                      search={"rounds": 1, "branches": ["keep"], "rank": False})  # fmt: skip
    run_cli("compress", spec, "--out", tmp_path / "run")
    report = report_of(tmp_path / "run")
    assert report["shadows"] == "final pattern only, rounded to int8"
    assert report["errors"] == {} and {"lira.auc"} <= set(report["trained"]) & set(report["measurements"])


@pytest.fixture(scope="module")
def shipped_as_onnx(tmp_path_factory):
    folder = tmp_path_factory.mktemp("onnx")
    latency = {"metric": "latency.p50_ms", "at_most": 1000.0}
    deploy = {"shrink": True, "precision": "int8", "format": "onnx"}
    return folder, *compressed(folder, [LOSS, latency], deploy=deploy)


def test_an_onnx_file_is_judged_in_its_own_runtime(shipped_as_onnx):
    folder, ended, report = shipped_as_onnx
    file = folder / "run" / "artifact.onnx"
    assert (
        report["artifact"]["size_bytes"]
        == file.stat().st_size
        == report["measurements"]["artifact.size_bytes"]["value"]
    )
    assert report["artifact"]["format"] == "onnx" and report["artifact"]["precision"] == "int8"
    assert "ONNX file, int8 weights," in ended.out
    (latency,) = [f for f in report["findings"] if f["metric"] == "latency.p50_ms"]
    assert latency["verdict"] == "PASS" and 0 < latency["measurement"]["low"] <= latency["measurement"]["value"]
    from safecompress.runtime import load

    x = sc.data.digits().features[:50].numpy()
    source = sc.Artifact.load(folder / "run" / "artifact.safetensors")
    assert np.abs(load(file).predict(x) - source.predict(x).numpy()).max() < 0.1


def test_the_onnx_file_of_a_run_is_audited_with_its_shadows(shipped_as_onnx, tmp_path, without_control):
    folder, _, report = shipped_as_onnx
    spec = write_spec(tmp_path / "spec.toml", **UNITS, require=[LOSS],
                      safety={"attacks": ["loss", {"name": "lira", "num_shadows": 4}]})  # fmt: skip
    ended = run_cli("audit", folder / "run" / "artifact.onnx", "--spec", spec, "--out", tmp_path / "audit")
    audited = report_of(tmp_path / "audit")
    assert ended.code == 3 and audited["errors"] == {} and audited["shadows"] == "final pattern only, rounded to int8"
    assert audited["measurements"]["loss.auc"]["value"] == report["measurements"]["loss.auc"]["value"]
    assert audited["notes"] == []  # the run folder proves who the members are


def test_an_onnx_file_and_its_artifact_away_from_the_run_are_no_run(shipped_as_onnx, tmp_path):
    """Or an attack by shadows would break down for want of a recipe."""
    folder, _, _ = shipped_as_onnx
    for name in ("artifact.onnx", "artifact.safetensors"):
        (tmp_path / name).write_bytes((folder / "run" / name).read_bytes())
    ended = run_cli("audit", tmp_path / "artifact.onnx", "--spec", folder / "run" / "spec.toml")
    assert ended.code == 2 and "folder of a" in " ".join(ended.err.split())


# --- models that were trained elsewhere


def memorised():
    """A network that knows 300 members by heart, the members, and others."""
    data = sc.data.digits()
    order = torch.from_numpy(np.random.default_rng(0).permutation(data.num_rows))
    noisy = torch.randint(10, (300,), generator=torch.Generator().manual_seed(0))
    labels = torch.where(torch.arange(300) % 2 == 0, noisy, data.labels[order[:300]])
    with seeded(0, "net"):
        net = nn.Sequential(nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 10))
        optimizer = torch.optim.Adam(net.parameters(), 1e-2)
        for _ in range(150):
            optimizer.zero_grad()
            nn.functional.cross_entropy(net(data.features[order[:300]]), labels).backward()
            optimizer.step()
    return (
        net.eval(),
        (data.features[order[:300]], labels),
        (data.features[order[300:800]], data.labels[order[300:800]]),
    )


def make():
    """For --model."""
    return nn.Sequential(nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 10))


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory):
    folder = tmp_path_factory.mktemp("elsewhere")
    net, members, others = memorised()
    for name, (x, y) in (("members", members), ("others", others)):
        np.savez(folder / f"{name}.npz", x=x.numpy(), y=y.numpy())
    save_file(net.state_dict(), folder / "weights.safetensors")
    from safecompress.export.onnx import export_onnx

    export_onnx(net, TaskInfo(10, (), (64,)), folder / "model.onnx")
    (folder / "limits.toml").write_text(
        'name = "elsewhere"\n[safety]\nattacks = ["loss", "whitebox"]\n'
        '[[require]]\nmetric = "loss.auc"\nat_most = 0.65\n[[require]]\nmetric = "whitebox.auc"\nat_most = 0.65\n'
    )
    return folder


def audit(folder, file, *options):
    rows = ("--members", folder / "members.npz", "--non-members", folder / "others.npz")
    return run_cli("audit", folder / file, "--spec", folder / "limits.toml", *rows, "--out", folder / "out", *options)


def test_an_onnx_file_that_leaks_fails(elsewhere):
    ended = audit(elsewhere, "model.onnx")
    report = report_of(elsewhere / "out")
    assert ended.code == 1, ended.err
    assert [f["verdict"] for f in report["findings"]] == ["FAIL", "FAIL"]
    assert report["name"] == "elsewhere" and report["errors"] == {}
    doubted = [check["check"] for check in report["health"] if check["outcome"] != "PASS"]
    assert doubted == ["members", "layer_gradients"]  # nobody knows its members, nor the network it was exported from


def test_bare_weights_and_a_network_of_ones_own_give_the_same_figures(elsewhere, monkeypatch):
    """As the ONNX file of the same network; attackers start from the same seeds."""
    onnx = AuditedModel.of_onnx(elsewhere / "model.onnx")
    ended = audit(elsewhere, "weights.safetensors", "--model", f"{__name__}:make")
    assert ended.code == 1, ended.err
    loss = report_of(elsewhere / "out")["measurements"]["loss.auc"]["value"]
    assert onnx.num_classes == 10
    audit(elsewhere, "model.onnx")
    assert report_of(elsewhere / "out")["measurements"]["loss.auc"]["value"] == pytest.approx(loss, abs=1e-4)


def test_a_network_in_memory(elsewhere):
    net, members, others = memorised()
    rows = [sc.Dataset.from_arrays(*part, class_names=map(str, range(10))) for part in (members, others)]
    split = split_of(*rows, num_classes=10, seed=0)
    spec = sc.SafetySpec(["loss"], [sc.at_most("loss.auc", 0.65)])
    report = sc.audit(net, split, spec=spec)
    assert report.verdict == "FAIL" and report.artifact["num_weights"] == 64 * 256 + 2560
    assert report.artifact["format"] == "Sequential" and "size_bytes" not in report.artifact


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--members", "members.npz"], "--members and --non-members go together"),
        (["--members", "members.npz", "--non-members", "members.npz"], "300 rows are members"),
        (["--members", "nowhere.npz", "--non-members", "others.npz"], "nowhere.npz cannot be read"),
        (["--members", "pickle.npz", "--non-members", "others.npz"], "whole .npz file"),
    ],
)
def test_rows_that_cannot_be_used_are_refused(elsewhere, options, said):
    (elsewhere / "pickle.npz").write_bytes(b"\x80\x04]q\x00.")
    named = [elsewhere / word if word.endswith(".npz") else word for word in options]
    ended = run_cli("audit", elsewhere / "model.onnx", "--spec", elsewhere / "limits.toml", *named)
    assert ended.code == 2 and said in " ".join(ended.err.split())


@pytest.mark.parametrize("option", ["--dense", "--cache", "--released"])
def test_what_an_audit_by_named_rows_does_not_read_is_refused(elsewhere, option):
    ended = audit(elsewhere, "model.onnx", option, elsewhere / "weights.safetensors")
    assert ended.code == 2 and f"{option}: nothing is compared with" in " ".join(ended.err.split())


def test_bare_weights_need_a_network(elsewhere):
    ended = audit(elsewhere, "weights.safetensors")
    assert ended.code == 2 and "holds bare weights." in " ".join(ended.err.split())


def make_pair():
    """For --model: what gives two tensors."""

    class Pair(nn.Sequential):
        def forward(self, rows):
            return super().forward(rows), rows

    return Pair(*make())


def make_narrow():
    """For --model: what reads other rows, with weights of the right sizes."""

    class Narrow(nn.Sequential):
        def forward(self, rows):
            return super().forward(rows[:, :63])

    return Narrow(*make())


@pytest.mark.parametrize(
    ("factory", "said"), [("make_pair", "are a tensor (N, C) with 10 classes"), ("make_narrow", "cannot read the")]
)
def test_a_network_that_does_not_fit_the_rows_is_told(elsewhere, factory, said):
    ended = audit(elsewhere, "weights.safetensors", "--model", f"{__name__}:{factory}")
    assert ended.code == 2 and said in " ".join(ended.err.split())


def test_an_artifact_of_ones_own_class_is_audited_by_named_rows(elsewhere):
    net = memorised()[0]
    sc.Artifact(net.state_dict(), {}, None, TaskInfo(10, (), (64,))).save(elsewhere / "own.safetensors")
    ended = audit(elsewhere, "own.safetensors")
    assert ended.code == 2 and "makes it: --model" in " ".join(ended.err.split())
    assert audit(elsewhere, "own.safetensors", "--model", f"{__name__}:make").code == 1


def test_packing_that_cannot_be_is_refused_before_training(tmp_path, monkeypatch):
    spec = write_spec(tmp_path / "spec.toml", deploy={"format": "onnx", "precision": "float16"})
    ended = run_cli("compress", spec, "--out", tmp_path / "run")
    assert ended.code == 2 and "float16 is for artifacts" in " ".join(ended.err.split())
    monkeypatch.setitem(__import__("sys").modules, "torch_pruning", None)
    ended = run_cli("compress", write_spec(tmp_path / "b.toml", deploy={"shrink": True}), "--out", tmp_path / "run")
    assert ended.code == 2 and "pip install torch-pruning" in ended.err and not (tmp_path / "run").exists()


def test_a_network_that_onnx_cannot_hold_is_told_before_training(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "onnxruntime", None)
    with pytest.raises(UsageError, match="ONNX needs"):
        sc.compress(
            ModelSpec("mlp", {"hidden": (8,)}, (64,), 10),
            sc.make_split(sc.data.digits(), seed=0),
            spec=sc.SafetySpec(["loss"], [sc.at_most("loss.auc", 0.9)]),
            packing=sc.Packing(format="onnx"),
            out=tmp_path / "run",
        )
    assert not (tmp_path / "run").exists()


def test_a_finished_run_of_an_onnx_file_is_the_same_opening(shipped_as_onnx):
    folder, _, report = shipped_as_onnx
    spec = folder / "spec.toml"
    assert run_cli("compress", spec, "--out", folder / "run").code == 3
    again = report_of(folder / "run")
    assert again["ledger"] == report["ledger"] and again["prospects"] == report["prospects"]
    assert again["digests"]["artifact"] == report["digests"]["artifact"]
