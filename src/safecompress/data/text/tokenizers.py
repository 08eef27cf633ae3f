"""Texts as numbers of tokens: a tokenizer read from the files beside a model, applied to many texts at once.

N texts, L tokens of the longest row.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from safecompress.data.text.wordpiece import byte_pair_tokenizer, word_piece_tokenizer
from safecompress.errors import DataError, UsageError, listing
from safecompress.storage import parse_json, read_regular

MAX_BYTES, MAX_REPLACEMENT, MAX_NUMBER = 64 << 20, 100, 1 << 24
"""Bytes of a tokenizer's file, letters that its normaliser may put in, and the largest number of a token."""

Tokens = npt.NDArray[np.int32]
Bools = npt.NDArray[np.bool_]

FILES = ("tokenizer.json", "vocab.txt", "vocab.json")
"""What a folder is searched for, the first found counts: the whole tokenizer, WordPiece (BERT), BPE (RoBERTa)."""

NO_TOKEN = -1
"""What stands past a row's last token."""

LONGEST = 1 << 17
"""The most tokens of a row; models that read longer texts are not at hand."""

_BATCH = 1024  # texts at once: what is known of each while they are split is a hundred times its tokens


@dataclass(frozen=True, eq=False)
class TextTokenizer:
    """Splits texts into tokens, numbers in ``0 .. vocab_size - 1``, and frames each as its model was trained to read.

    ``unknown`` is the number of the token for what the vocabulary lacks, None where nothing can be unknown (bytes);
    ``marks`` are the numbers of tokens that stand for no text: [CLS], [SEP], <s>. Made by `read_tokenizer`.
    """

    path: Path
    vocab_size: int
    unknown: int | None
    marks: frozenset[int] = field(repr=False)
    splitter: Any = field(repr=False)

    @property
    def num_framing(self) -> int:
        """The number of marks that every text gets."""
        return int(self.splitter.num_special_tokens_to_add(False))

    def encode(self, texts: Sequence[str], *, max_length: int = 128, pad_to_max: bool = False) -> Tokens:
        """Tokens (N, L) of the texts, int32, -1 past a row's last one.

        A longer text loses its end, never its marks. L is the length of the longest row, at most ``max_length``, or
        with ``pad_to_max`` always ``max_length``. Raises UsageError when ``max_length`` leaves no room for a word, or
        is more than any model reads.
        """
        if not self.num_framing < max_length <= LONGEST:
            raise UsageError(
                f"max_length = {max_length} is out of range: {self.path} puts {self.num_framing} marks round every "
                f"text, so {self.num_framing + 1} .. {LONGEST} are allowed. 128 is usual."
            )
        self.splitter.no_padding()
        self.splitter.enable_truncation(max_length)
        blocks = [self._block(texts[first : first + _BATCH]) for first in range(0, len(texts), _BATCH)]
        width = max_length if pad_to_max else max((block.shape[1] for block in blocks), default=1)
        tokens = np.full((len(texts), width), NO_TOKEN, dtype=np.int32)
        for number, block in enumerate(blocks):
            tokens[number * _BATCH : number * _BATCH + len(block), : block.shape[1]] = block
        return tokens

    def _block(self, texts: Sequence[str]) -> Tokens:
        """The tokens of a few texts, as wide as the longest. Raises DataError when the tokenizer gives up."""
        try:
            rows = [encoded.ids for encoded in self.splitter.encode_batch_fast(texts)]
        except Exception as error:  # the package raises nothing narrower
            raise DataError(
                f"The tokenizer {self.path} cannot split these texts ({error}). Give one that is whole, of the model."
            ) from error
        tokens = np.full((len(rows), max(1, *map(len, rows))), NO_TOKEN, dtype=np.int32)
        for place, numbers in enumerate(rows):
            tokens[place, : len(numbers)] = numbers
        return tokens

    def readable(self, tokens: Tokens) -> tuple[Bools, Bools]:
        """Which tokens (N, L) stand for text, and which of those stand for something that the vocabulary has."""
        is_text = (tokens != NO_TOKEN) & ~np.isin(tokens, sorted(self.marks))
        return is_text, is_text if self.unknown is None else is_text & (tokens != self.unknown)


def read_tokenizer(path: str | Path) -> TextTokenizer:
    """The tokenizer in the file ``path``, or in the folder that holds a model.

    ``tokenizer.json`` is the whole tokenizer. ``vocab.txt`` is WordPiece as BERT has it (Devlin et al. 2019): one token
    a line; letters are made small unless the vocabulary has capitals, or as ``tokenizer_config.json`` beside it says.
    ``vocab.json`` with ``merges.txt`` is byte-level BPE as RoBERTa has it (Liu et al. 2019). Raises DataError when
    there is none or it is broken, UsageError when the package that reads it is missing.
    """
    file = _find(Path(path))
    try:
        import tokenizers
    except ImportError as error:
        raise UsageError(
            f"Reading the tokenizer {file} needs the package tokenizers, which is not installed. Install it: "
            "pip install tokenizers transformers"
        ) from error
    if file.suffix == ".txt":
        splitter = word_piece_tokenizer(read_vocab(file), lowercase=_is_lower(file))
    elif file.name == "vocab.json":
        splitter = byte_pair_tokenizer(file, file.with_name("merges.txt"))
    else:
        try:
            splitter = tokenizers.Tokenizer.from_buffer(_sound_tokenizer(file))
        except DataError:
            raise
        except Exception as error:  # the package raises nothing narrower
            raise DataError(
                f"{file} is no tokenizer ({error}). Copy tokenizer.json from the model's folder."
            ) from error
    return _described(file, splitter)


def _sound_tokenizer(file: Path) -> bytes:
    """The bytes of a tokenizer.json. Raises DataError for one that would take far more memory than it has bytes.

    Padding and truncation are left out: rows are cut and filled here.
    """
    try:
        stored = parse_json(read_regular(file, at_most=MAX_BYTES), is_strict=False)
    except (OSError, ValueError) as error:
        raise DataError(f"{file} is no tokenizer ({error}). Copy tokenizer.json from the model's folder.") from error
    if not isinstance(stored, dict):
        raise DataError(f"{file} is no tokenizer (no object in braces). Copy tokenizer.json from the model's folder.")
    longest = max((len(one) for one in _contents(stored.get("normalizer"))), default=0)
    if longest > MAX_REPLACEMENT:
        raise DataError(
            f"{file} puts {longest:,} letters in place of a piece of text; no tokenizer puts more than "
            f"{MAX_REPLACEMENT}. It is altered: copy tokenizer.json from the model's folder."
        )
    model = stored.get("model")
    vocab = model.get("vocab") if isinstance(model, dict) else None
    numbers = [*vocab.values()] if isinstance(vocab, dict) else []
    added = stored.get("added_tokens")
    numbers += [one.get("id") for one in added if isinstance(one, dict)] if isinstance(added, list) else []
    if any(isinstance(number, int) and number > MAX_NUMBER for number in numbers):
        raise DataError(f"{file} numbers a token beyond {MAX_NUMBER:,}. It is altered: copy it again.")
    return json.dumps({**stored, "padding": None, "truncation": None}).encode()


def _contents(normalizer: Any) -> Iterator[str]:
    """The texts that a normaliser puts in, wherever it is nested."""
    if isinstance(normalizer, dict):
        for name, value in normalizer.items():
            if name in ("content", "prepend") and isinstance(value, str):
                yield value
            yield from _contents(value)
    elif isinstance(normalizer, list):
        for one in normalizer:
            yield from _contents(one)


def read_vocab(path: Path) -> dict[str, int]:
    """Token -> its number, the line it stands on, from 0. Raises DataError, with the first lines, for a broken file."""
    try:
        lines = (
            read_regular(path, at_most=MAX_BYTES).decode("utf-8").split("\n")
        )  # some tokens are themselves ends of lines to Unicode
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror or error}). Check the path.") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 ({error}). Copy the vocabulary from the model's folder.") from error
    tokens = [line.removesuffix("\r") for line in (lines if lines[-1] else lines[:-1])]
    vocab: dict[str, int] = {}
    repeated = [line for line, token in enumerate(tokens, 1) if vocab.setdefault(token, line - 1) != line - 1]
    missing = [mark for mark in ("[UNK]", "[CLS]", "[SEP]") if mark not in vocab]
    if repeated or missing:
        fault = f"repeats earlier tokens in {listing('line', repeated)}" if repeated else f"has no {', '.join(missing)}"
        raise DataError(
            f"{path} is no WordPiece vocabulary, one token a line: it {fault}. Copy vocab.txt from the model's folder "
            "as it is: the line is the token's number."
        )
    return vocab


def _find(path: Path) -> Path:
    if path.is_file():
        return path
    files = [path / name for name in FILES if (path / name).is_file()]
    if files:
        return files[0]
    what = f"the folder {path} has none of {', '.join(FILES)}" if path.is_dir() else f"there is no {path}"
    raise DataError(
        f"A tokenizer is needed to read texts, and {what}. Nothing is downloaded: give the folder of the model, its "
        "tokenizer.json, or its vocab.txt."
    )


def _is_lower(vocab: Path) -> bool | None:
    """What tokenizer_config.json beside the vocabulary says of small letters; None when it says nothing."""
    config = vocab.with_name("tokenizer_config.json")
    if not config.is_file():
        return None
    try:
        options = parse_json(read_regular(config, at_most=MAX_BYTES).decode("utf-8"), is_strict=False)
    except (OSError, ValueError) as error:
        raise DataError(f"{config} is no JSON file ({error}). Copy it again, or take it away.") from error
    lowercase = options.get("do_lower_case") if isinstance(options, Mapping) else None
    return lowercase if isinstance(lowercase, bool) else None


def _described(file: Path, splitter: Any) -> TextTokenizer:
    model = json.loads(splitter.to_str())["model"]
    unknown = model.get("unk_id")
    if model.get("unk_token") is not None:
        unknown = splitter.token_to_id(model["unk_token"])
    marks = {number for number, token in splitter.get_added_tokens_decoder().items() if token.special}
    framing = set(splitter.encode("").ids)
    size = 1 + max(splitter.get_vocab(with_added_tokens=True).values(), default=-1)
    return TextTokenizer(file, size, unknown, frozenset((marks | framing) - {unknown}), splitter)
