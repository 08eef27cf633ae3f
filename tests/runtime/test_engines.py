"""Engines of an artifact: all answer as PyTorch does, for any density, sizes and number of rows, or are not offered."""

from __future__ import annotations

import sys
import warnings

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

from safecompress import runtime
from safecompress.errors import ArtifactError, DataError, UsageError
from safecompress.export import Artifact, TaskInfo
from safecompress.models import ModelSpec
from safecompress.runtime import kernels
from safecompress.runtime.chain import Layer, read_chain
from safecompress.runtime.engines import offer_chain
from safecompress.runtime.kernels import matrix_kernels, vector_kernels
from safecompress.runtime.network import TorchEngine
from safecompress.runtime.sparse import MOST, MOST_FEW, CsrEngine
from safecompress.seeding import derive, seeded

NUMBERS_OF_ROWS = (0, 1, 2, MOST_FEW, MOST_FEW + 1, MOST, MOST + 1)


def make_artifact(spec: ModelSpec, density: float, *, scaled: bool = True, names: tuple[str, ...] = ()) -> Artifact:
    """A random network of which each matrix keeps a ``density`` of its weights, give or take chance."""
    with seeded(0, spec.name, int(1000 * density)):
        model = spec.build().eval()
        masks = {name: torch.rand(w.shape) < density for name, w in model.named_parameters() if w.dim() > 1}
        with torch.no_grad():
            for name, mask in masks.items():
                model.get_parameter(name)[~mask] = 0
        transform = (torch.rand(spec.input_shape) * 3, torch.rand(spec.input_shape) + 0.5) if scaled else (None, None)
    return Artifact(model.state_dict(), masks, spec, TaskInfo(spec.num_classes, names, spec.input_shape, *transform))


def mlp(hidden=(12, 6), shape=(8,), num_classes=3) -> ModelSpec:
    return ModelSpec("mlp", {"hidden": hidden, "dropout": 0.25}, shape, num_classes)


def rows(num: int, shape: tuple[int, ...]) -> np.ndarray:
    return (derive(0, "rows", num).standard_normal((num, *shape)) * 2 + 1).astype(np.float32)


def assert_close(got: np.ndarray, wanted: np.ndarray) -> None:
    assert got.shape == wanted.shape
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-5)


# --- equality


@pytest.mark.slow
@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.too_slow])
@given(
    density=st.sampled_from([0.0, 0.02, 0.3, 1.0]),
    hidden=st.lists(st.integers(1, 40), max_size=3).map(tuple),
    num_features=st.integers(1, 40),
    num_classes=st.integers(2, 9),
    scaled=st.booleans(),
)
def test_csr_answers_as_torch_does(density, hidden, num_features, num_classes, scaled):
    artifact = make_artifact(mlp(hidden, (num_features,), num_classes), density, scaled=scaled)
    engine = offer_chain(artifact.build(), artifact.task)
    assert isinstance(engine, CsrEngine)
    plain = TorchEngine(artifact.build(), artifact.task)
    for num_rows in NUMBERS_OF_ROWS[1:]:
        samples = rows(num_rows, (num_features,))
        assert_close(engine.logits(samples), plain.logits(samples))


@settings(deadline=None, max_examples=25)
@given(
    density=st.sampled_from([0.0, 0.1, 1.0]),
    sizes=st.tuples(st.integers(1, 30), st.integers(1, 30)),
    num_rows=st.sampled_from([1, 3, 17, 130]),
    has_relu=st.booleans(),
)
def test_every_kernel_computes_the_layer(density, sizes, num_rows, has_relu):
    """Which one the clock chooses is chance: each must be right."""
    noise = derive(0, "layer", *sizes)
    weight = (noise.standard_normal(sizes) * (noise.random(sizes) < density)).astype(np.float32)
    bias = noise.standard_normal(sizes[0]).astype(np.float32)
    inputs = noise.standard_normal((sizes[1], num_rows)).astype(np.float32)
    wanted = weight @ inputs + bias[:, None]
    wanted = np.maximum(wanted, 0) if has_relu else wanted
    layer = Layer(weight, bias, has_relu)
    matrix, vector = matrix_kernels(layer), vector_kernels(layer)
    assert (list(matrix), list(vector)) == (["bag", "spmm", "dense"], ["spmv", "dense"])
    with torch.inference_mode():
        for kernel in matrix.values():
            assert_close(kernel(torch.from_numpy(inputs)).numpy(), wanted)
    for kernel in vector.values():
        before = inputs[:, 0].copy()
        assert_close(kernel(before), wanted[:, 0])
        assert np.array_equal(before, inputs[:, 0])
    np.testing.assert_array_equal(layer.bias_O, bias)  # kernels add into a copy


def test_without_scipys_private_kernel_the_public_product_serves(monkeypatch):
    monkeypatch.setattr(kernels, "csr_matvec", None)
    weight, bias = np.eye(3, 4, dtype=np.float32), np.float32([1, 2, -9])
    spmv = vector_kernels(Layer(weight, bias, True))["spmv"]
    np.testing.assert_array_equal(spmv(np.float32([1, 2, 3, 4])), [2, 4, 0])


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["torch", "csr", "onnxruntime", "auto"])
def test_all_engines_predict_as_the_artifact_does(engine, tmp_path):
    artifact = make_artifact(mlp(shape=(1, 4, 2)), 0.3, names=("a", "b", "ç"))
    artifact.save(tmp_path / "a.safetensors")
    predictor = runtime.load(tmp_path / "a.safetensors", engine=engine)
    if engine != "auto":
        assert predictor.engine == engine
    assert predictor.classes == ("a", "b", "ç")
    for num_rows in (*NUMBERS_OF_ROWS, 2500):
        samples = rows(num_rows, (1, 4, 2))
        got = predictor.predict(samples)
        assert_close(got, artifact.predict(samples).numpy())
        assert_close(got.sum(axis=1), np.ones(num_rows, np.float32))


def test_answers_of_one_call_are_not_overwritten_by_the_next(tmp_path):
    make_artifact(mlp(), 0.3).save(tmp_path / "a.safetensors")
    for engine in ("torch", "csr"):
        predictor = runtime.load(tmp_path / "a.safetensors", engine=engine)
        for num_rows in (1, 5, 40):
            first = predictor.logits(rows(num_rows, (8,)))
            kept = first.copy()
            predictor.logits(-rows(num_rows, (8,)))
            np.testing.assert_array_equal(first, kept)


@pytest.mark.slow
def test_a_convolutional_network_is_asked_densely(tmp_path):
    artifact = make_artifact(ModelSpec("cnn", {"channels": (4, 6)}, (1, 8, 8), 3), 0.3)
    artifact.save(tmp_path / "a.safetensors")
    predictor = runtime.load(tmp_path / "a.safetensors")
    assert "Conv2d before any linear" in predictor.why
    assert "onnxruntime" in predictor.why.split("; ")[0]
    assert_close(predictor.predict(rows(5, (1, 8, 8))), artifact.predict(rows(5, (1, 8, 8))).numpy())
    with pytest.raises(UsageError, match=r"'csr':.*Conv2d"):
        runtime.load(tmp_path / "a.safetensors", engine="csr")


# --- chains, and what is none


class Odd(nn.Module):
    """A network that its leaves do not tell all of: ``kind`` says what."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind
        self.second, self.first = nn.Linear(6, 3), nn.Linear(8, 6, bias=False)  # not in the order of their calls
        self.unused, self.relu = nn.Conv2d(1, 1, 1), nn.ReLU()

    def forward(self, inputs):
        hidden = self.first(inputs.flatten(1))
        if self.kind == "functional relu":
            hidden = hidden.relu()
        elif self.kind == "skip":
            hidden = self.relu(hidden) + inputs.flatten(1)[:, :6]
        elif self.kind == "scaled":
            hidden = self.relu(hidden) * 1.001
        elif self.kind != "linear":
            hidden = self.relu(hidden)
        return self.second(hidden) if self.kind != "wide" else self.first(inputs.flatten(1))


TASK = TaskInfo(3, (), (2, 4), torch.full((2, 4), 5.0), torch.full((2, 4), 0.1))


@pytest.mark.parametrize("kind", ["plain", "linear"])
def test_layers_are_read_in_the_order_of_their_calls(kind):
    network = Odd(kind).eval()
    engine = offer_chain(network, TASK)
    assert isinstance(engine, CsrEngine)
    samples = rows(9, (2, 4))
    assert_close(engine.logits(samples), TorchEngine(network, TASK).logits(samples))


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("functional relu", "more than its"),
        ("skip", "more than its"),
        ("scaled", "more than its"),
        ("wide", "follow one another"),
    ],
)
def test_what_is_no_chain_is_not_offered_as_one(kind, reason):
    assert reason in offer_chain(Odd(kind).eval(), TASK)


@pytest.mark.parametrize(
    ("layers", "reason"),
    [
        ([nn.Flatten(), nn.Linear(8, 4), nn.Tanh(), nn.Linear(4, 3)], "calls a Tanh"),
        ([nn.Flatten(), nn.ReLU(), nn.Linear(8, 3)], "ReLU before"),
        ([nn.Flatten(), nn.Linear(8, 4), nn.Linear(4, 3), nn.Softmax(1)], "calls a Softmax"),
        ([nn.Linear(4, 3), nn.Flatten(), nn.Linear(6, 3)], "follow one another"),
        ([nn.Flatten(), nn.Identity()], "follow one another"),
    ],
)
def test_the_reason_is_told(layers, reason):
    assert reason in read_chain(nn.Sequential(*layers).eval(), TASK)


def test_a_layer_that_is_called_twice_counts_twice():
    shared = nn.Linear(8, 8)
    network = nn.Sequential(nn.Flatten(), shared, nn.ReLU(), nn.Dropout(), shared, nn.ReLU(), nn.Linear(8, 3)).eval()
    layers = read_chain(network, TASK)
    assert [layer.has_relu for layer in layers] == [True, True, False]
    assert isinstance(offer_chain(network, TASK), CsrEngine)


def test_reading_a_chain_leaves_no_hook():
    network = Odd("plain").eval()
    read_chain(network, TASK)
    assert not any(module._forward_hooks for module in network.modules())


def test_a_transform_that_cancels_digits_is_computed_as_torch_does():
    """Folded into the first layer, a shift of a million would leave noise."""
    task = TaskInfo(3, (), (8,), torch.full((8,), 1e6), torch.full((8,), 0.5))
    network = mlp().build().eval()
    engine = offer_chain(network, task)
    samples = (rows(7, (8,)) + np.float32(1e6)).astype(np.float32)
    assert_close(engine.logits(samples), TorchEngine(network, task).logits(samples))


def test_dense_weights_and_zeros_take_what_is_quickest():
    artifact = make_artifact(mlp((400, 300), (200,)), 1.0)
    engine = offer_chain(artifact.build(), artifact.task)
    assert set(engine.kernels) == {1, 8, 64}
    assert all(len(names) == 3 for names in engine.kernels.values())
    assert engine.describe().startswith("1 row ")


# --- asking


@pytest.fixture(scope="module")
def predictor(tmp_path_factory):
    path = tmp_path_factory.mktemp("artifact") / "a.safetensors"
    make_artifact(mlp(), 0.3).save(path)
    return runtime.load(path, engine="csr")


def test_classes_without_names_are_numbers(predictor):
    assert predictor.classes == ("0", "1", "2")


@pytest.mark.parametrize("samples", [rows(4, (8,)).tolist(), rows(4, (8,)).astype(np.float64), torch.zeros(4, 8)])
def test_numbers_of_any_kind_are_read(samples, predictor):
    np.testing.assert_array_equal(predictor.predict(samples), predictor.predict(np.float32(samples)))


def test_rows_that_do_not_lie_in_order_are_read_right(predictor):
    samples = rows(8, (8,))
    np.testing.assert_array_equal(predictor.logits(samples.T[:, ::2].T), predictor.logits(samples[::2].copy()))


@pytest.mark.parametrize(
    ("samples", "words"),
    [
        (rows(2, (9,)), r"shape \(8,\).* \(2, 9\)"),
        (rows(2, (8,))[0], r"\(8,\)..*samples\[None\]"),
        (rows(2, (2, 4)), r"array of \(2, 2, 4\)"),
        (3.0, r"array of \(\)"),
        (np.array(["a"]), "array of <U1"),
        ([[1.0, 2.0], [1.0]], "got a list"),
        (None, r"array of \(\)"),
    ],
)
def test_samples_that_do_not_fit(samples, words, predictor):
    with pytest.raises(DataError, match=words):
        predictor.predict(samples)


@pytest.mark.parametrize("num_rows", [1, 5, 40])
def test_extreme_logits_give_probabilities(num_rows, predictor):
    probabilities = predictor.predict(rows(num_rows, (8,)) * np.float32(1e30))
    assert np.isfinite(probabilities).all()


# --- choosing


def test_auto_says_what_it_chose_and_what_the_others_took(tmp_path):
    make_artifact(mlp(), 0.3).save(tmp_path / "a.safetensors")
    predictor = runtime.load(tmp_path / "a.safetensors", batch_sizes=(32, 1))
    first, second, *notes = predictor.why.split("; ")
    assert first.startswith("1 row: ")
    assert second.startswith("32 rows: ")
    for line in (first, second):
        assert "torch " in line
        assert "csr " in line
        assert " ms" in line
    assert notes[0].startswith("csr by 1 row ")
    assert notes[1] == "onnxruntime not tried, as exporting takes seconds"


class Named:
    """An engine that answers its own number."""

    def __init__(self, name: str, answer: float) -> None:
        self.name, self.answer = name, answer

    def logits(self, samples_N):
        return np.full((len(samples_N), 2), self.answer, np.float32)


def test_a_call_takes_the_engine_of_the_largest_size_that_it_reaches():
    predictor = runtime.Predictor(
        runtime.InputOutputSpec((1,), 2), ((1, Named("one", 1)), (10, Named("ten", 10))), "why"
    )
    assert predictor.engine == "one, ten from 10 rows"
    for num_rows, answer in ((1, 1), (9, 1), (10, 10), (5000, 10)):
        logits = predictor.logits(np.zeros((num_rows, 1)))
        assert logits.shape == (num_rows, 2)
        assert (logits == answer).all()
    late = runtime.Predictor(runtime.InputOutputSpec((1,), 2), ((10, Named("ten", 10)),), "why")
    assert (late.logits(np.zeros((1, 1))) == 10).all()
    assert late.logits(np.zeros((0, 1))).shape == (0, 2)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"engine": "tensorflow"}, "engine 'tensorflow'.*auto, csr, onnxruntime, torch"),
        ({"engine": "onnx_runtime"}, "mean 'onnxruntime'"),
        ({"batch_sizes": ()}, "batch_sizes .* 1"),
        ({"batch_sizes": (0, 1)}, r"got \(0, 1\)"),
    ],
)
def test_what_cannot_be_asked_for(arguments, words, tmp_path):
    make_artifact(mlp(), 0.3).save(tmp_path / "a.safetensors")
    with pytest.raises(UsageError, match=words):
        runtime.load(tmp_path / "a.safetensors", **arguments)


def test_other_files_are_refused(tmp_path):
    with pytest.raises(UsageError, match=r"ONNX model \(.onnx\)"):
        runtime.load(tmp_path / "model.pt")
    with pytest.raises(ArtifactError):
        runtime.load(tmp_path / "missing.safetensors")
    (tmp_path / "broken.safetensors").write_bytes(b"x" * 100)
    with pytest.raises(ArtifactError):
        runtime.load(tmp_path / "broken.safetensors")


def test_a_network_of_the_users_own_class_is_refused_in_words(tmp_path):
    artifact = make_artifact(mlp(), 0.3)
    Artifact(artifact.state, artifact.masks, None, artifact.task).save(tmp_path / "a.safetensors")
    with pytest.raises(ArtifactError, match="user's own class"):
        runtime.load(tmp_path / "a.safetensors")


def test_without_the_extra_auto_does_without_and_onnxruntime_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    make_artifact(ModelSpec("cnn", {"channels": (4,)}, (1, 4, 4), 3), 0.3).save(tmp_path / "a.safetensors")
    predictor = runtime.load(tmp_path / "a.safetensors")
    assert predictor.engine == "torch"
    assert "pip install torch-pruning onnx onnxscript onnxruntime" in predictor.why
    with pytest.raises(UsageError, match=r"pip install torch-pruning onnx onnxscript onnxruntime"):
        runtime.load(tmp_path / "a.safetensors", engine="onnxruntime")


def test_loading_warns_of_nothing(tmp_path):
    make_artifact(mlp(), 0.3).save(tmp_path / "a.safetensors")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        runtime.load(tmp_path / "a.safetensors").predict(rows(3, (8,)))
