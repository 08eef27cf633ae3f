"""The two tokenizers that are older than tokenizer.json, put together from their vocabularies: BERT's and RoBERTa's."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safecompress.errors import DataError


def word_piece_tokenizer(vocab: Mapping[str, int], *, lowercase: bool | None = None) -> Any:
    """BERT's: clean, split at blanks and punctuation, then the longest pieces; [CLS] before and [SEP] after.

    ``lowercase`` None: small letters, unless a token of the vocabulary has a capital.
    """
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    if lowercase is None:
        lowercase = not any(token != token.lower() for token in vocab if not token.startswith("["))
    tokenizer = Tokenizer(models.WordPiece(dict(vocab), unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=lowercase)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", vocab["[SEP]"]), ("[CLS]", vocab["[CLS]"]))
    tokenizer.add_special_tokens([mark for mark in ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]") if mark in vocab])
    return tokenizer


def byte_pair_tokenizer(vocab: Path, merges: Path) -> Any:
    """RoBERTa's: bytes merged in pairs, <s> before and </s> after. Raises DataError for files that are not its."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    try:
        tokenizer = Tokenizer(models.BPE.from_file(str(vocab), str(merges)))
    except Exception as error:  # the package raises nothing narrower
        raise DataError(
            f"{vocab} and {merges.name} beside it are no BPE vocabulary ({error}). Copy both from the model's folder."
        ) from error
    numbers = {mark: tokenizer.token_to_id(mark) for mark in ("<s>", "</s>", "<pad>", "<unk>", "<mask>")}
    if numbers["<s>"] is None or numbers["</s>"] is None:
        raise DataError(
            f"{vocab} has no <s> and </s>, so it is not RoBERTa's, and how to frame a text is not known. Give the "
            "tokenizer.json of its model."
        )
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    ends = (("</s>", numbers["</s>"]), ("<s>", numbers["<s>"]))
    tokenizer.post_processor = processors.RobertaProcessing(*ends, add_prefix_space=False)
    tokenizer.add_special_tokens([mark for mark, number in numbers.items() if number is not None])
    return tokenizer
