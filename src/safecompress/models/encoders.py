"""What a configuration of a transformer may say: the keys and values that make a network of one kind, and no more.

The package looks for code by some keys (an attention of ``org/repo`` is fetched and run), and takes any size. A
configuration comes from a spec, from a file that ships, or from a folder of somebody else's, so it is read by a list.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping
from typing import Any

from safecompress.errors import ModelError, suggest
from safecompress.storage import parse_json

ENCODERS = (
    *("albert", "bert", "camembert", "deberta", "deberta-v2", "distilbert", "electra", "mpnet", "rembert", "roberta"),
    "xlm-roberta",
)
"""Kinds of encoders that are built: plain layers of PyTorch, whose configuration names sizes, rates and words."""

FORGOTTEN = (
    *("_name_or_path", "architectures", "transformers_version", "id2label", "label2id", "problem_type", "auto_map"),
    *("dtype", "torch_dtype", "return_dict", "output_attentions", "output_hidden_states"),
)
"""Entries that say nothing of the network, or name a place or code; a saved configuration has them."""

ATTENTIONS = ("eager", "sdpa")
"""Implementations of attention that come with the packages."""

MAX_TEXT, MAX_SIZE, MAX_LAYERS = 1 << 20, 1 << 24, 1000

_NAMES_CODE = (
    *("attn_implementation", "_attn_implementation", "_attn_implementation_internal", "experts_implementation"),
    *("quantization_config", "compression_config", "use_kernels", "kernel_config", "custom_pipelines"),
    "trust_remote_code",
)
_ACTIVATIONS = ("hidden_act", "activation", "pooler_hidden_act", "summary_activation", "conv_act")
_WORDS = frozenset(
    {"absolute", "relative_key", "relative_key_query", "first", "last", "mean", "cls_index"}
    | {"c2p", "p2c", "p2p", "layer_norm", "none"}
)
_LAYERS = ("num_hidden_layers", "n_layers", "num_hidden_groups", "inner_group_num")
_POSITIVE = (
    *("vocab_size", "hidden_size", "dim", "intermediate_size", "hidden_dim", "embedding_size", "input_embedding_size"),
    *("num_attention_heads", "n_heads", "max_position_embeddings", "type_vocab_size", *_LAYERS),
)


def read_entries(text: str) -> tuple[str, dict[str, Any]]:
    """The kind of encoder, and the entries of its configuration that the text gives. Raises ModelError."""
    if len(text) > MAX_TEXT:
        raise ModelError(
            f"The configuration of the transformer has {len(text):,} letters; at most {MAX_TEXT:,} are read."
        )
    try:
        entries = parse_json(text)
    except ValueError as error:
        raise ModelError(f"The configuration of the transformer is no JSON ({error}).") from error
    kind = entries.get("model_type") if isinstance(entries, dict) else None
    if not isinstance(kind, str) or kind not in ENCODERS:
        raise ModelError(
            f"The configuration is of the kind {kind!r}, which is not built. {suggest(str(kind), ENCODERS)}"
        )
    return kind, {
        name: value for name, value in entries.items() if name not in (*FORGOTTEN, "model_type", "num_labels")
    }


def checked_entries(
    kind: str, entries: Mapping[str, Any], defaults: Mapping[str, Any], activations: Mapping[str, Any]
) -> dict[str, Any]:
    """Those of ``entries`` that a network of ``kind`` has, which are those of ``defaults``.

    Others say nothing of the network as it is built, and are left out. Raises ModelError, with every fault, for entries
    that name code, for values of another type, for words that are not known, and for sizes that cannot be meant.
    """
    faults = [*_code(entries)]
    kept = {name: value for name, value in entries.items() if name in defaults and name not in _NAMES_CODE}
    for name, value in kept.items():
        fault = _fault(name, value, activations)
        if fault is not None:
            faults.append(f"{name} = {str(value)[:60]!r} {fault}")
    if not faults:
        faults += _too_large({**defaults, **kept})
    if faults:
        raise ModelError.from_faults(f"The configuration of the {kind}", faults)
    return kept


def _code(entries: Mapping[str, Any]) -> Iterator[str]:
    for name in _NAMES_CODE:
        value = entries.get(name)
        if value in (None, False) or (name.endswith("attn_implementation") and value in ATTENTIONS):
            continue
        yield (
            f"{name} = {str(value)[:60]!r} would have the package look for code or other weights, and a configuration "
            "is data. Leave it out."
        )


def _fault(name: str, value: Any, activations: Mapping[str, Any]) -> str | None:
    """What is wrong with one entry, or None."""
    if name in _ACTIVATIONS:
        is_known = isinstance(value, str) and value in activations
        return None if is_known else f"is no activation. {suggest(str(value), activations)}"
    if name in _POSITIVE:
        most = MAX_LAYERS if name in _LAYERS else MAX_SIZE
        is_size = isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= most
        return (
            None if is_size and (value > 0 or name == "type_vocab_size") else f"must be a whole number, 1 .. {most:,}."
        )
    values = value if isinstance(value, list) else [value]
    for one in values:
        if isinstance(one, str) and not (one in _WORDS or all(part in _WORDS for part in one.split("|"))):
            return f"is a word that is not known. {suggest(one, _WORDS)}"
        if isinstance(one, dict | list):
            return "must be a number, true, false, or a word."
        if isinstance(one, int | float) and abs(one) > MAX_SIZE:
            return f"must lie within {-MAX_SIZE:,} .. {MAX_SIZE:,}."
    return None


def _too_large(entries: Mapping[str, Any]) -> Iterator[str]:
    """A fault where the weights, counted roughly, do not fit the machine's memory."""

    def size(*names: str) -> int:
        return next((int(entries[name]) for name in names if isinstance(entries.get(name), int)), 1)

    hidden, inner = size("hidden_size", "dim"), size("intermediate_size", "hidden_dim")
    embedded = size("embedding_size", "input_embedding_size", "hidden_size", "dim")
    layers = size("num_hidden_groups") if "num_hidden_groups" in entries else size("num_hidden_layers", "n_layers")
    rows = size("vocab_size") + size("max_position_embeddings") + size("type_vocab_size")
    weights = rows * embedded + layers * (4 * hidden * hidden + 2 * hidden * inner)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else math.inf
    if 4 * weights > memory:
        yield (
            f"its sizes make about {weights:,} weights, {4 * weights / 2**30:,.0f} GiB, more than this machine's "
            f"memory ({memory / 2**30:,.0f} GiB). No sizes of a small classifier are like that."
        )
