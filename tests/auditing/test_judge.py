"""What is judged: a file that is what it is said to be, timed on one thread, and what the ledger knows of a verdict."""

import numpy as np
import pytest
import torch

from safecompress.auditing import latency as latency_page
from safecompress.auditing.audited_model import AuditedModel
from safecompress.auditing.judge import AuditCase, AuditResources, open_rows, verdict_key
from safecompress.auditing.latency import latency
from safecompress.auditing.shadow_training import RoundWeights, TrainingProvenance
from safecompress.certify import Ledger
from safecompress.data import Dataset, DataSplit
from safecompress.errors import ArtifactError
from safecompress.export import Artifact, Packing, TaskInfo
from safecompress.metrics.measurement import Levels
from safecompress.models import ModelSpec
from safecompress.seeding import seeded
from safecompress.spec import SafetySpec, at_least, at_most
from safecompress.training import Recipe

SPEC = ModelSpec("mlp", {"hidden": (8,)}, (6,), 3)
TASK = TaskInfo(3, (), (6,))


def artifact_of(seed=0):
    with seeded(seed, "net"):
        state = SPEC.build().state_dict()
    masks = {name: torch.ones_like(weight, dtype=torch.bool) for name, weight in state.items() if weight.ndim > 1}
    masks["head.weight"][:, :3] = False  # three units that nobody reads
    state["head.weight"][:, :3] = 0.0
    return Artifact(state, masks, SPEC, TASK)


@pytest.mark.slow
def test_an_onnx_file_that_is_not_the_artifact_beside_it_is_refused(tmp_path):
    """The dense model's, say: its density would be the artifact's."""
    pytest.importorskip("onnxruntime")
    from safecompress.export.onnx import export_onnx

    artifact = artifact_of()
    export_onnx(artifact.build(), TASK, tmp_path / "a.onnx")
    counted = {one.name: one.value for one in AuditedModel.of_onnx(tmp_path / "a.onnx", original=artifact).counted}
    assert counted["density"] == artifact.density
    with pytest.raises(ArtifactError, match="artifact beside"):
        AuditedModel.of_onnx(tmp_path / "a.onnx", original=artifact_of(1))


@pytest.mark.slow
def test_shadows_of_an_onnx_file_are_rounded_as_its_weights_were(tmp_path):
    """Also where it keeps them in float32: it may come of an artifact that was rounded before."""
    pytest.importorskip("onnxruntime")
    from safecompress.export.onnx import export_onnx

    for precision, finish in (("float32", None), ("int8", RoundWeights("int8")), ("float16", RoundWeights("float16"))):
        source = artifact_of().to_precision(precision)
        export_onnx(source.build(), TASK, tmp_path / "a.onnx")
        assert AuditedModel.of_onnx(tmp_path / "a.onnx", original=source).finish == finish


def test_latency_is_of_one_thread(monkeypatch):
    """Whatever the rest of the process is given; and the rest has its own again afterwards."""
    seen, timed = [], latency_page.in_turns

    def watched(calls, **options):
        seen.append(torch.get_num_threads())
        return timed(calls, rounds=3)

    monkeypatch.setattr(latency_page, "in_turns", watched)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        latency(AuditedModel.of_network(artifact_of().build(), (6,), 3), Levels(0.05, 1))
        assert seen == [1] and torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_shadows_without_dead_units_are_another_question():
    """An audit has only what is left of the network, so that its shadows are not the run's."""
    pytest.importorskip("torch_pruning")
    whole, lineage = artifact_of(), TrainingProvenance(SPEC.build(), SPEC, TASK, Recipe(), Recipe())
    shrunk = Packing(shrink=True)(whole)
    assert shrunk.is_resized
    by_shadows, alone = (SafetySpec([name], [at_most(f"{name}.auc", 0.9)]) for name in ("lira", "loss"))
    asked = [verdict_key(by_shadows, 0, None, lineage, {}, into=into) for into in (None, whole, shrunk)]
    assert asked[0] == asked[1] != asked[2]
    assert len({verdict_key(alone, 0, None, lineage, {}, into=into) for into in (None, whole, shrunk)}) == 1


def test_a_verdict_uses_the_test_rows_that_its_requirements_read(tmp_path):
    """Splits that share nothing but their test rows: a second use where the accuracy is bounded, else a first."""
    rows = Dataset.from_arrays(np.arange(120.0).reshape(20, 6), np.arange(20) % 3)
    pools = [
        {"train": [0, 1, 2], "member_verdict": [0, 1], "nonmember_verdict": [3, 4], "test": [18, 19]},
        {"train": [6, 7, 8], "member_verdict": [6, 7], "nonmember_verdict": [9, 10], "test": [18, 19]},
    ]
    subject = AuditedModel.of_network(artifact_of().build(), (6,), 3)
    numbers = {}
    for name, requirement in (("accuracy", at_least("accuracy", 0.5)), ("density", at_most("density", 1.0))):
        spec = SafetySpec(["loss"], [at_most("loss.auc", 0.9), requirement])
        resources = AuditResources(Ledger(tmp_path / name / "ledger.jsonl"))
        cases = [AuditCase(subject, DataSplit.from_indices(rows, indices), spec, 0) for indices in pools]
        numbers[name] = [open_rows(case, resources) for case in cases]
    assert numbers == {"accuracy": [1, 2], "density": [1, 1]}
