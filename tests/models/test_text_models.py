"""Networks for texts: a bag of tokens, and encoders of the BERT family from sizes and from a folder."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from safecompress.attacks.lastlayer import predict_with_hidden
from safecompress.digests import digest_tensors
from safecompress.errors import ArtifactError, ModelError
from safecompress.export import Artifact, ServedModel, TaskInfo
from safecompress.models import ModelSpec, TokenBag
from safecompress.seeding import seeded

BERT = {
    "model_type": "bert",
    "vocab_size": 40,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "max_position_embeddings": 12,
    "pad_token_id": 0,
}
ROBERTA = {**BERT, "model_type": "roberta", "pad_token_id": 1, "max_position_embeddings": 14}
DISTILBERT = {"model_type": "distilbert", "vocab_size": 40, "dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 24,
              "max_position_embeddings": 12}  # fmt: skip

TEXTS = torch.tensor([[2, 5, 6, 7, 3, -1, -1], [2, 5, 3, -1, -1, -1, -1], [2, 9, 9, 9, 9, 9, 3]], dtype=torch.int32)


def encoder(config: dict = BERT, **options: object) -> torch.nn.Module:
    pytest.importorskip("transformers")
    with seeded(0):
        return ModelSpec("transformer", {"config": json.dumps(config), **options}, (7,), 3).build().eval()


def saved(folder: Path, config: dict = BERT) -> Path:
    """A pretrained model's folder, as people have it."""
    transformers = pytest.importorskip("transformers")
    with seeded(1):
        transformers.AutoModel.from_config(transformers.AutoConfig.for_model(**config)).save_pretrained(folder)
    return folder


def test_a_bag_of_tokens_by_hand() -> None:
    bag = TokenBag((4,), 2, vocab_size=5, width=2, hidden=2)
    with torch.no_grad():
        bag.embeddings.weight.copy_(torch.tensor([[1.0, 0], [3, 2], [0, 0], [9, 9], [9, 9]]))
        bag.body[0].weight.copy_(torch.eye(2))
        bag.body[0].bias.zero_()
        bag.head.weight.copy_(torch.tensor([[1.0, 1], [1, -1]]))
        bag.head.bias.zero_()
    assert bag(torch.tensor([[0, 1, -1, -1], [1, -1, -1, -1]])).tolist() == [[3, 1], [5, 1]]
    assert bag(torch.tensor([[0.0, 1.0, -1.0, -1.0]])).tolist() == [[3, 1]]  # a device reads float32


@pytest.mark.parametrize("config", [BERT, ROBERTA, DISTILBERT], ids=["bert", "roberta", "distilbert"])
def test_padding_says_nothing(config: dict) -> None:
    model = encoder(config)
    with torch.no_grad():
        whole = model(TEXTS)
        assert whole.shape == (3, 3)
        assert torch.allclose(model(TEXTS[:2, :5]), whole[:2], atol=1e-5)  # the longest of the two has 5 tokens
        assert torch.equal(model(TEXTS.float()), whole)
        changed = TEXTS.clone()
        changed[0, 4] = 8
        assert not torch.allclose(model(changed)[0], whole[0])


def test_attacks_read_the_last_layer_of_an_encoder() -> None:
    model = encoder()
    logits, hidden, _ = predict_with_hidden(model, TEXTS)
    assert hidden is not None and hidden.shape == (3, 16)
    head = model.network.classifier
    assert torch.allclose(torch.as_tensor(hidden) @ head.weight.T + head.bias, torch.as_tensor(logits), atol=1e-5)


@pytest.mark.slow
def test_pretrained_weights_are_where_every_fresh_network_begins(tmp_path: Path) -> None:
    folder = saved(tmp_path / "bert")
    spec = ModelSpec("transformer", {"folder": str(folder)}, (7,), 3)
    with seeded(0):
        first, second = spec.build(), spec.build()
    encoders = [digest_tensors(model.network.bert.state_dict()) for model in (first, second)]
    assert encoders[0] == encoders[1] != digest_tensors(encoder().network.bert.state_dict())
    assert not torch.equal(first.network.classifier.weight, second.network.classifier.weight)
    assert all(parameter.requires_grad for parameter in first.parameters())
    assert (
        len(ModelSpec("transformer", {"folder": str(folder), "layers": 1}, (7,), 3).build().network.bert.encoder.layer)
        == 1
    )


def test_a_file_keeps_sizes_and_names_no_place(tmp_path: Path) -> None:
    spec = ModelSpec("transformer", {"folder": str(saved(tmp_path / "bert")), "layers": 1}, (7,), 3)
    with seeded(0):
        model = spec.build().eval()
    artifact = Artifact(model.state_dict(), {}, spec, TaskInfo(3, ("a", "b", "c"), (7,)))
    artifact.save(tmp_path / "small.safetensors")
    (tmp_path / "bert" / "config.json").unlink()
    loaded = Artifact.load(tmp_path / "small.safetensors")
    assert loaded.model_spec is not None and str(tmp_path) not in repr(loaded.model_spec)
    with torch.no_grad():
        assert torch.equal(loaded.build()(TEXTS), model(TEXTS))
    assert loaded.model_spec.stored() is loaded.model_spec == artifact.model_spec
    assert artifact.build()(TEXTS).shape == (3, 3)


def test_a_line_about_it_names_no_place_of_this_machine(tmp_path: Path) -> None:
    spec = ModelSpec("transformer", {"folder": str(tmp_path / "bert"), "layers": 1}, (7,), 3)
    assert spec.describe() == "folder='bert', layers=1, input_shape=(7,), num_classes=3"
    hub = ModelSpec("transformer", {"hub": "google/bert"}, (7,), 3)
    assert hub.describe() == "hub='google/bert', input_shape=(7,), num_classes=3"


def test_a_file_that_names_a_folder_is_none_of_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = ModelSpec("transformer", {"folder": str(saved(tmp_path / "bert"))}, (7,), 3)
    task = TaskInfo(3, ("a", "b", "c"), (7,))
    monkeypatch.setattr(ModelSpec, "stored", lambda self: self)
    Artifact(spec.build().state_dict(), {}, spec, task).save(tmp_path / "altered.safetensors")
    with pytest.raises(ArtifactError, match="names files"):
        Artifact.load(tmp_path / "altered.safetensors")


def test_controls_of_an_encoder_are_small(tmp_path: Path) -> None:
    served = ServedModel(encoder(), TaskInfo(3, ("a", "b", "c"), (7,)))
    assert isinstance(served.twin, ServedModel) and isinstance(served.twin.network, TokenBag)
    assert served.twin(TEXTS).shape == (3, 3)
    plain = ServedModel(TokenBag((7,), 3, vocab_size=40), TaskInfo(3, ("a", "b", "c"), (7,)))
    assert plain.twin is plain


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, "one of: folder"),
        ({"config": "{}", "hub": "a/b"}, "got ['hub', 'config']"),
        ({"config": "no json"}, "is no JSON"),
        ({"config": '{"model_type": "vit"}'}, "kind 'vit'"),
        ({"config": json.dumps(BERT), "layers": 3}, "keeps 1 .. 2 layers"),
        ({"config": json.dumps({**BERT, "max_position_embeddings": 6})}, "at most 6 tokens"),
        ({"config": json.dumps({**ROBERTA, "max_position_embeddings": 8})}, "at most 6 tokens"),
        ({"hub": "nobody/has-this"}, "hf download nobody/has-this --local-dir FOLDER"),
    ],
)
def test_what_makes_no_encoder_is_refused_with_a_remedy(options: dict, said: str) -> None:
    pytest.importorskip("transformers")
    with pytest.raises(ModelError) as caught:
        ModelSpec("transformer", options, (7,), 3).build()
    assert said in str(caught.value)


def test_a_folder_that_lacks_files_says_which(tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    (tmp_path / "config.json").write_text(json.dumps(BERT))
    (tmp_path / "pytorch_model.bin").write_bytes(b"pickled")
    with pytest.raises(ModelError, match=r"model.safetensors is not there.*not safetensors"):
        ModelSpec("transformer", {"folder": str(tmp_path)}, (7,), 3).build()
    (tmp_path / "model.safetensors").write_bytes(b"cut short")
    with pytest.raises(ModelError, match="cannot be read"):
        ModelSpec("transformer", {"folder": str(tmp_path)}, (7,), 3).build()


def test_images_are_no_texts() -> None:
    with pytest.raises(ModelError, match="reads texts"):
        TokenBag((3, 8, 8), 2, vocab_size=4)
