"""Texts become numbers: each kind of tokenizer file, how rows are cut and padded, and files that are no tokenizer."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from safecompress.data.text.tokenizers import read_tokenizer, read_vocab
from safecompress.errors import DataError, UsageError

BERT = Path(__file__).resolve().parents[3].parent / "shared" / "data" / "bert_vocab"
PIECES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "film", "is", "good", "##ness", ".", "b", "##ad"]

tokenizers = pytest.importorskip("tokenizers")


@pytest.fixture
def vocab(tmp_path):
    return write_vocab(tmp_path / "vocab.txt")


def write_vocab(path, pieces=PIECES):
    path.write_text("".join(f"{piece}\n" for piece in pieces), encoding="utf-8")
    return path


def numbers(*pieces):
    return [PIECES.index(piece) if piece else -1 for piece in pieces]


def test_words_become_the_longest_pieces_between_the_marks(vocab):
    tokenizer = read_tokenizer(vocab)
    tokens = tokenizer.encode(["The film is goodness.", "bad", "Zzz film"])
    assert tokens.dtype == np.int32
    assert tokens.tolist() == [
        numbers("[CLS]", "the", "film", "is", "good", "##ness", ".", "[SEP]"),
        numbers("[CLS]", "b", "##ad", "[SEP]", "", "", "", ""),
        numbers("[CLS]", "[UNK]", "film", "[SEP]", "", "", "", ""),
    ]
    assert (tokenizer.vocab_size, tokenizer.unknown, tokenizer.num_framing) == (len(PIECES), 1, 2)


def test_a_long_text_loses_its_end_but_no_mark(vocab):
    tokenizer = read_tokenizer(vocab)
    assert tokenizer.encode(["the film is good", "bad"], max_length=4).tolist() == [
        numbers("[CLS]", "the", "film", "[SEP]"),
        numbers("[CLS]", "b", "##ad", "[SEP]"),
    ]
    assert tokenizer.encode(["good"], max_length=5, pad_to_max=True).tolist() == [
        numbers("[CLS]", "good", "[SEP]", "", "")
    ]
    assert tokenizer.encode(["the film"], max_length=3).tolist() == [numbers("[CLS]", "the", "[SEP]")]
    for wrong in (2, 0, -1, 10**12):
        with pytest.raises(
            UsageError, match=rf"max_length = {wrong} is out of range: .* 2 marks .* so 3 \.\. 131072 are"
        ):
            tokenizer.encode(["good"], max_length=wrong)


def test_a_row_does_not_depend_on_the_rows_beside_it(vocab, monkeypatch):
    monkeypatch.setattr("safecompress.data.text.tokenizers._BATCH", 2)
    tokenizer = read_tokenizer(vocab)
    texts = ["good", "the film is bad", "", "film .", "bad bad bad"]
    together = tokenizer.encode(texts)
    assert together.shape == (5, 8)
    for text, row in zip(texts, together, strict=True):
        alone = tokenizer.encode([text])[0]
        assert row.tolist() == [*alone.tolist(), *[-1] * (8 - len(alone))]


def test_what_can_be_read_of_a_row(vocab):
    tokenizer = read_tokenizer(vocab)
    is_text, is_known = tokenizer.readable(tokenizer.encode(["good zzz", "", "zzz yyy"]))
    assert is_text.tolist() == [[False, True, True, False], [False] * 4, [False, True, True, False]]
    assert is_known.tolist() == [[False, True, False, False], [False] * 4, [False] * 4]


def test_capitals_count_where_the_vocabulary_or_the_folder_says_so(tmp_path):
    vocab = write_vocab(tmp_path / "vocab.txt", [*PIECES, "Film"])
    assert read_tokenizer(vocab).encode(["Film The"]).tolist() == [[2, len(PIECES), 1, 3]]
    config = tmp_path / "tokenizer_config.json"
    config.write_text('{"do_lower_case": true}')
    assert read_tokenizer(tmp_path).encode(["Film The"]).tolist() == [[2, 6, 5, 3]]
    config.write_text("{")
    with pytest.raises(DataError, match=r"tokenizer_config\.json.*JSON file"):
        read_tokenizer(tmp_path)


def test_a_whole_tokenizer_says_the_same_and_comes_first_in_a_folder(tmp_path, vocab):
    one = read_tokenizer(vocab)
    one.splitter.enable_padding(length=12, pad_id=0)  # a file may say so, and must not be obeyed
    one.splitter.save(str(tmp_path / "tokenizer.json"))
    write_vocab(vocab, PIECES[:4])
    other = read_tokenizer(tmp_path)
    assert other.path.name == "tokenizer.json"
    assert (other.vocab_size, other.unknown, other.marks) == (one.vocab_size, one.unknown, one.marks)
    assert other.encode(["The goodness film", "zz"]).tolist() == [[2, 5, 8, 9, 6, 3], [2, 1, 3, -1, -1, -1]]


def test_the_vocabulary_reaches_to_the_largest_number(tmp_path):
    whole = json.loads(read_tokenizer(write_vocab(tmp_path / "vocab.txt")).splitter.to_str())
    whole["model"]["vocab"]["film"] = 99
    (tmp_path / "tokenizer.json").write_text(json.dumps(whole))
    assert read_tokenizer(tmp_path).vocab_size == 100


def test_bytes_in_pairs_know_every_text(tmp_path):
    alphabet = sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())
    pieces = ["<s>", "<pad>", "</s>", "<unk>", "<mask>", *alphabet, "go", "goo", "good"]
    (tmp_path / "vocab.json").write_text(json.dumps({piece: number for number, piece in enumerate(pieces)}))
    (tmp_path / "merges.txt").write_text("#version: 0.2\ng o\ngo o\ngoo d\n")
    tokenizer = read_tokenizer(tmp_path)
    tokens = tokenizer.encode(["good", "go\u2603", ""])
    assert (tokenizer.vocab_size, tokenizer.unknown, tokenizer.marks) == (len(pieces), None, {0, 1, 2, 3, 4})
    assert tokens[0].tolist() == [0, pieces.index("good"), 2, *[-1] * (tokens.shape[1] - 3)]
    assert (tokens[1] >= 0).sum() == 2 + 1 + 3  # a snowman is three bytes
    assert tokenizer.readable(tokens)[1].any(1).tolist() == [True, True, False]
    (tmp_path / "merges.txt").write_text("#version: 0.2\ng z\n")
    with pytest.raises(DataError, match=r"merges\.txt beside.*BPE vocabulary"):
        read_tokenizer(tmp_path)
    (tmp_path / "merges.txt").write_text("#version: 0.2\n")
    (tmp_path / "vocab.json").write_text(json.dumps({piece: number for number, piece in enumerate(alphabet)}))
    with pytest.raises(DataError, match=r"<s>.*</s>,.*RoBERTa's"):
        read_tokenizer(tmp_path)


def test_a_tokenizer_that_gives_up_is_named(tmp_path):
    whole = json.loads(read_tokenizer(write_vocab(tmp_path / "vocab.txt")).splitter.to_str())
    whole["added_tokens"] = []
    del whole["model"]["vocab"]["[UNK]"]
    (tmp_path / "tokenizer.json").write_text(json.dumps(whole))
    tokenizer = read_tokenizer(tmp_path)
    assert tokenizer.encode(["the film"]).tolist() == [[2, 5, 6, 3]]
    with pytest.raises(DataError, match=r"tokenizer\.json.*texts \(.*UNK"):
        tokenizer.encode(["zzz"])


def test_vocabularies_are_read_as_they_stand(tmp_path):
    pieces = [*PIECES, "\u2028", "\x85", ""]  # ends of lines to Unicode, and a token without a letter
    assert list(read_vocab(write_vocab(tmp_path / "a.txt", pieces))) == pieces
    (tmp_path / "b.txt").write_bytes("\r\n".join(PIECES).encode())
    assert list(read_vocab(tmp_path / "b.txt")) == PIECES


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"[UNK]\n[CLS]\n[SEP]\nthe\nthe\n[UNK]\n", r"2 lines \(5, 6\)\. Copy vocab\.txt"),
        (b"the\n[CLS]\n", r"no \[UNK\], \[SEP\]"),
        (b"[UNK]\n\xff\n", r"is not UTF-8"),
        (b"", r"no \[UNK\], \[CLS\], \[SEP\]"),
    ],
)
def test_broken_vocabularies_are_named(tmp_path, content, message):
    (tmp_path / "vocab.txt").write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_tokenizer(tmp_path)


def test_what_is_no_tokenizer_is_named(tmp_path, monkeypatch):
    with pytest.raises(
        DataError, match=r"the folder .* has none of tokenizer\.json, vocab\.txt, vocab\.json\. Nothing"
    ):
        read_tokenizer(tmp_path)
    with pytest.raises(DataError, match=r"away\. Nothing is downloaded"):
        read_tokenizer(tmp_path / "away")
    (tmp_path / "tokenizer.json").write_text('{"version": "1.0"}')
    with pytest.raises(DataError, match=r"tokenizer\.json is no tokenizer"):
        read_tokenizer(tmp_path)
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(UsageError, match=r"pip install tokenizers transformers"):
        read_tokenizer(tmp_path)


@pytest.mark.skipif(not BERT.is_dir(), reason="BERT's vocabulary is not there")
def test_the_published_vocabulary():
    tokenizer = read_tokenizer(BERT)
    assert (tokenizer.vocab_size, tokenizer.unknown, tokenizer.marks) == (30522, 100, {0, 101, 102, 103})
    # unaffable: una ##ffa ##ble (Devlin et al. 2019, the tokenizer's own example)
    assert tokenizer.encode(["Hello, world! Unaffable."]).tolist() == [
        [101, 7592, 1010, 2088, 999, 14477, 20961, 3468, 1012, 102]
    ]
