"""A configuration of a transformer is data: what names code, other types, unknown words and absurd sizes is refused."""

import json

import pytest

from safecompress.errors import ModelError
from safecompress.models import ModelSpec
from safecompress.models.encoders import checked_entries, read_entries

DEFAULTS = {
    "vocab_size": 30522, "hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12,
    "intermediate_size": 3072, "hidden_act": "gelu", "max_position_embeddings": 512, "type_vocab_size": 2,
    "hidden_dropout_prob": 0.1, "pos_att_type": None, "pad_token_id": 0, "is_decoder": False,
}  # fmt: skip
ACTIVATIONS = {"gelu": None, "relu": None, "silu": None}


def checked(**entries):
    return checked_entries("bert", entries, DEFAULTS, ACTIVATIONS)


def test_sound_entries_are_kept_and_others_left_out():
    sound = {"vocab_size": 40, "hidden_act": "relu", "pos_att_type": ["c2p", "p2c"], "pad_token_id": None}
    assert checked(**sound, pooler_fc_size=768, directionality="bidi", attn_implementation="sdpa") == sound
    assert checked(use_kernels=False, quantization_config=None) == {}


@pytest.mark.parametrize(
    ("entries", "said"),
    [
        ({"attn_implementation": "org/repo"}, "would have the package look for code"),
        ({"_attn_implementation": "org/repo:layer"}, "would have the package look for code"),
        ({"_attn_implementation": {"": "org/repo"}}, "would have the package look for code"),
        ({"experts_implementation": "org/repo"}, "would have the package look for code"),
        ({"quantization_config": {"quant_method": "awq"}}, "other weights"),
        ({"trust_remote_code": True}, "is data"),
        ({"hidden_act": "gelo"}, "Did you mean 'gelu'?"),
        ({"hidden_act": 7}, "is no activation"),
        ({"vocab_size": 10**12}, "must be a whole number, 1 .. 16,777,216"),
        ({"num_hidden_layers": 10**6}, "1 .. 1,000"),
        ({"hidden_size": 0}, "must be a whole number"),
        ({"hidden_size": "768"}, "must be a whole number"),
        ({"hidden_size": True}, "must be a whole number"),
        ({"hidden_size": 2**24, "intermediate_size": 2**24}, "more than this machine's memory"),
        ({"hidden_dropout_prob": "rm -rf"}, "is a word that is not known"),
        ({"hidden_dropout_prob": {"a": 1}}, "must be a number"),
        ({"hidden_dropout_prob": 1e300}, "must lie within"),
    ],
)
def test_what_is_no_size_and_no_word_is_refused(entries, said):
    with pytest.raises(ModelError) as caught:
        checked(**entries)
    assert said in str(caught.value)


def test_every_fault_is_told_at_once():
    with pytest.raises(ModelError, match="3 faults"):
        checked(attn_implementation="org/repo", hidden_act="x", vocab_size=-1)


@pytest.mark.parametrize(
    "text", ["[" * 10000, '{"model_type": ["bert"]}', '{"model_type": "gpt2"}', "1e999", " " * 2**21]
)
def test_texts_that_are_no_configuration(text):
    with pytest.raises(ModelError):
        read_entries(text)


@pytest.mark.slow
def test_no_loader_is_asked_for_code(monkeypatch):
    transformers = pytest.importorskip("transformers")
    monkeypatch.setattr(
        transformers.PreTrainedModel, "__init__", lambda *args, **options: pytest.fail("a network was begun")
    )
    config = json.dumps({"model_type": "bert", "hidden_size": 16, "attn_implementation": "kernels-community/flash"})
    with pytest.raises(ModelError, match="look for code"):
        ModelSpec("transformer", {"config": config}, (7,), 3).build()


@pytest.mark.slow
@pytest.mark.parametrize(
    "entries", [{"hidden_size": 10, "num_attention_heads": 3}, {"hidden_act": "nope"}, {"pad_token_id": 10**6}]
)
def test_sizes_that_do_not_go_together_are_refused_in_words(entries):
    pytest.importorskip("transformers")
    sound = {"vocab_size": 40, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = json.dumps({"model_type": "bert", "intermediate_size": 16, **sound, **entries})
    with pytest.raises(ModelError):
        ModelSpec("transformer", {"config": config}, (7,), 3).build()
