"""Text datasets from every layout on disk: the same rows, and each thing that can be wrong with a file, named."""

import gzip
import json
import lzma
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from safecompress.data import DATASETS, ag_news, read_text, sst2, yelp5
from safecompress.data.text.rows import chosen_rows
from safecompress.errors import DataError, UsageError

pytest.importorskip("tokenizers")

SHARED = Path(__file__).resolve().parents[3].parent / "shared" / "data"
LETTERS = [chr(code) for code in range(ord("a"), ord("z") + 1)]
WORDS = ["good", "bad", "fine", "film", "news", "reuters", "the", "a1", ".", ",", '"', *"0123456789"]
PIECES = [
    "[PAD]",
    "[UNK]",
    "[CLS]",
    "[SEP]",
    *WORDS,
    *LETTERS,
    *(f"##{letter}" for letter in "0123456789" + "".join(LETTERS)),
]


@pytest.fixture(scope="module")
def vocab(tmp_path_factory):
    path = tmp_path_factory.mktemp("tokenizer") / "vocab.txt"
    path.write_text("\n".join(dict.fromkeys(PIECES)) + "\n", encoding="utf-8")
    return path


def spelt(data):
    """What each row says, its pieces put together again, without marks."""
    pieces = list(dict.fromkeys(PIECES))
    rows = [" ".join(pieces[number] for number in row if number >= 0) for row in data.features.tolist()]
    assert all(row.startswith("[CLS]") and row.endswith("[SEP]") for row in rows)
    return [row[6:-6].replace(" ##", "") for row in rows]


ROWS = [{"text": text, "label": label} for text, label in [("good film", 1), ("bad film", 0), ("fine .", 1)]]


def write_csv(path, rows=ROWS):
    lines = ["text,label", *(f'"{row["text"]}",{row["label"]}' for row in rows)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def write_tsv(path, rows=ROWS):
    path.write_text("".join(f"{a}\t{b}\n" for a, b in [("text", "label"), *(row.values() for row in rows)]))


def write_jsonl(path, rows=ROWS):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def write_gz(path, rows=ROWS):
    with gzip.open(path, "wt", encoding="utf-8") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)


def write_xz(path, rows=ROWS):
    with lzma.open(path, "wt", encoding="utf-8-sig") as file:
        file.write("text,label\n" + "".join(f"{row['text']},{row['label']}\n" for row in rows))


def write_parquet(path, rows=ROWS, names=None):
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    table = pyarrow.Table.from_pylist(rows)
    if names is not None:
        features = {"label": {"names": names, "_type": "ClassLabel"}, "text": {"dtype": "string", "_type": "Value"}}
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    parquet.write_table(table, path)


def write_saved(folder, rows=ROWS, names=None, pieces=2):
    """As ``Dataset.save_to_disk`` does: Arrow streams, what they are, and how the classes are called."""
    pyarrow = pytest.importorskip("pyarrow")
    folder.mkdir()
    files = [f"data-{piece:05d}-of-{pieces:05d}.arrow" for piece in range(pieces)]
    for name, chosen in zip(files, np.array_split(np.arange(len(rows)), pieces), strict=True):
        table = pyarrow.Table.from_pylist([rows[row] for row in chosen], pyarrow.Table.from_pylist(rows).schema)
        with pyarrow.OSFile(str(folder / name), "wb") as sink, pyarrow.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table)
    (folder / "state.json").write_text(json.dumps({"_data_files": [{"filename": name} for name in files]}))
    features = {} if names is None else {"label": {"names": names, "_type": "ClassLabel"}}
    (folder / "dataset_info.json").write_text(json.dumps({"features": features}))


FORMATS = {
    "train.csv": write_csv,
    "train.tsv": write_tsv,
    "train.jsonl": write_jsonl,
    "train.json.gz": write_gz,
    "train.csv.xz": write_xz,
    "TRAIN.JSON.GZ": write_gz,
    "train.parquet": write_parquet,
    "train": write_saved,
}


@pytest.mark.parametrize("name", FORMATS)
def test_every_layout_gives_the_same_rows(tmp_path, vocab, name):
    FORMATS[name](tmp_path / name)
    in_folder = [] if name.isupper() else [(tmp_path, "train")]
    for root, part in (*in_folder, (tmp_path / name, "all")):
        data = read_text(root, tokenizer=vocab, part=part)
        assert spelt(data) == ["good film", "bad film", "fine ."]
        assert data.labels.tolist() == [1, 0, 1] and data.class_names == ("0", "1")
        assert data.is_tokens and data.vocab_size == len(set(PIECES)) and data.features.dtype == torch.int32


def test_parts_of_a_folder(tmp_path, vocab):
    write_jsonl(tmp_path / "train.jsonl")
    write_csv(tmp_path / "dev.csv", [{"text": "the news", "label": 0}, {"text": "the film", "label": 1}])
    assert spelt(read_text(tmp_path, tokenizer=vocab, part="test")) == ["the news", "the film"]
    assert spelt(read_text(tmp_path, tokenizer=vocab)) == ["good film", "bad film", "fine .", "the news", "the film"]
    write_csv(tmp_path / "train.csv")
    with pytest.raises(DataError, match=r"'train' .*train\.csv, train\.jsonl"):
        read_text(tmp_path, tokenizer=vocab)
    with pytest.raises(UsageError, match=r"part = 'test' names .*dev\.csv"):
        read_text(tmp_path / "dev.csv", tokenizer=vocab, part="test")
    with pytest.raises(UsageError, match=r"part 'tets'.*'test'"):
        read_text(tmp_path, tokenizer=vocab, part="tets")


def test_parquet_in_pieces_needs_all_of_them(tmp_path, vocab):
    (tmp_path / "data").mkdir()
    for piece, row in enumerate(ROWS):
        write_parquet(tmp_path / "data" / f"train-{piece:05d}-of-00003.parquet", [row])
    assert spelt(read_text(tmp_path, tokenizer=vocab, part="train")) == ["good film", "bad film", "fine ."]
    (tmp_path / "data" / "train-00001-of-00003.parquet").unlink()
    with pytest.raises(DataError, match=r"data lacks train-00001-of-00003\.parquet:.*'train'"):
        read_text(tmp_path, tokenizer=vocab, part="train")


@pytest.mark.parametrize("write", [write_parquet, write_saved])
def test_class_names_that_a_file_states(tmp_path, vocab, write):
    write(tmp_path / "train.parquet", names=["no", "yes"])
    assert read_text(tmp_path / "train.parquet", tokenizer=vocab).class_names == ("no", "yes")
    ours = read_text(tmp_path / "train.parquet", tokenizer=vocab, class_names=["bad", "good"])
    assert ours.class_names == ("bad", "good") and ours.labels.tolist() == [1, 0, 1]


def test_labels_are_numbers_names_or_whatever_there_is(tmp_path, vocab):
    def labels(*given, **options):
        write_jsonl(tmp_path / "a.jsonl", [{"text": "film", "label": label} for label in given])
        data = read_text(tmp_path / "a.jsonl", tokenizer=vocab, **options)
        return data.labels.tolist(), data.class_names

    assert labels(10, 9, "9", 10.0) == ([1, 0, 0, 1], ("9", "10"))
    assert labels("spam", "ham", " spam") == ([1, 0, 1], ("ham", "spam"))
    assert labels("spam", 0, 1, class_names=["spam", "ham"]) == ([0, 0, 1], ("spam", "ham"))
    assert labels(5, 4, class_names=["4", "5"]) == ([1, 0], ("4", "5"))
    for given, options, message in (
        ((1, None, 0), {}, r"1 line \(2\) of .*a\.jsonl have no 'label'"),
        ((1, True, 0.5, ""), {}, r"3 lines \(2, 3, 4\) of .* empty, a fraction, true, false or half"),
        ((1, -1, 0), {}, r"1 line \(2\) of .* have the 'label' -1, which stands for no label"),
        (("ham", "egg"), {"class_names": ["ham", "spam"]}, r"1 line \(2\) .*'egg'.*Allowed: 0 \.\. 1, or ham, spam"),
        ((0, 2), {"class_names": ["a", "b"]}, r"of no class \('2'\)"),
    ):
        with pytest.raises(DataError, match=message):
            labels(*given, **options)


def test_several_columns_make_a_text_and_authors_stay_together(tmp_path, vocab):
    (tmp_path / "a.csv").write_text('1,good,"film, ""the"" news",ann\n2,bad,news,bob\n1,fine,film,ann\n')
    data = read_text(
        tmp_path / "a.csv",
        tokenizer=vocab,
        columns=["stars", "title", "body", "author"],
        text=["title", "body"],
        label="stars",
        group="author",
    )
    assert spelt(data) == ['good film , " the " news', "bad news", "fine film"]
    assert data.groups.tolist() == [0, 1, 0] and data.class_names == ("1", "2")


def test_a_column_has_one_role_and_a_group_for_every_row(tmp_path, vocab):
    write_jsonl(tmp_path / "a.jsonl", [{"text": "film", "label": row % 2, "who": row} for row in range(4)])
    assert read_text(tmp_path / "a.jsonl", tokenizer=vocab, group="who").groups.tolist() == [0, 1, 2, 3]
    for options in ({"text": []}, {"text": ["text", "label"]}, {"group": "label"}, {"text": ["text", "text"]}):
        with pytest.raises(UsageError, match="name one column"):
            read_text(tmp_path / "a.jsonl", tokenizer=vocab, **options)
    write_jsonl(tmp_path / "a.jsonl", [{"text": "film", "label": 0, "who": who} for who in ("x", " ", 1.5, True, 7)])
    with pytest.raises(DataError, match=r"3 lines \(2, 3, 4\).*'who'"):
        read_text(tmp_path / "a.jsonl", tokenizer=vocab, group="who")


def test_a_column_of_texts_is_no_column_of_classes(tmp_path, vocab):
    write_jsonl(tmp_path / "a.jsonl", [{"text": "film", "label": f"words {row}"} for row in range(1001)])
    with pytest.raises(DataError, match=r"'label'.*1,001 different.*most 1,000"):
        read_text(tmp_path / "a.jsonl", tokenizer=vocab)


def test_half_a_character_is_named(tmp_path, vocab):
    (tmp_path / "a.jsonl").write_text('{"text": "good", "label": 1}\n{"text": "film \\ud83d", "label": 0}\n')
    with pytest.raises(DataError, match=r"1 line \(2\).* half .*'text'"):
        read_text(tmp_path / "a.jsonl", tokenizer=vocab)
    (tmp_path / "a.jsonl").write_text('{"text": "good", "label": "\\ud83d"}\n{"text": "film", "label": "x"}\n')
    with pytest.raises(DataError, match=r"1 line \(1\).* half a character"):
        read_text(tmp_path / "a.jsonl", tokenizer=vocab)


def test_how_many_rows(tmp_path, vocab):
    rows = [{"text": f"film {number}", "label": number // 5} for number in range(10)]
    write_jsonl(tmp_path / "a.jsonl", rows)

    def kept(**options):
        return [int(text[-1]) for text in spelt(read_text(tmp_path / "a.jsonl", tokenizer=vocab, **options))]

    four, six = kept(rows=4), kept(rows=6)
    assert set(four) < set(six) and four == sorted(four) and len(six) == 6 and kept(rows=4) == four
    assert kept(rows=10) == kept() == list(range(10))
    assert kept(per_class=2) == [0, 1, 5, 6]
    for options, message in (
        ({"rows": 11}, r"rows = 11 is out of range: there are 10 texts"),
        ({"rows": 0}, "rows = 0 is out of range"),
        ({"per_class": 6}, "per_class = 6 is out of range: each class has at least 5 texts"),
        ({"rows": 4, "per_class": 2}, "rows = 4 and per_class = 2 both say how many"),
    ):
        with pytest.raises(UsageError, match=message):
            kept(**options)


def test_rows_are_drawn_by_lot():
    """Neither the first of a sorted file nor every fifth of one that deals five classes in turn."""
    for labels in (np.repeat(np.arange(5), 200), np.tile(np.arange(5), 200)):
        drawn = labels[chosen_rows(labels, 100, None, num_classes=5)]
        assert np.bincount(drawn, minlength=5).min() >= 10  # 20 each on average, standard deviation 3.8


def test_how_wide_rows_are(tmp_path, vocab):
    write_jsonl(tmp_path / "a.jsonl")
    assert read_text(tmp_path / "a.jsonl", tokenizer=vocab).features.shape == (3, 4)
    assert read_text(tmp_path / "a.jsonl", tokenizer=vocab, max_length=3).features.shape == (3, 3)
    assert read_text(tmp_path / "a.jsonl", tokenizer=vocab, max_length=9, pad_to_max=True).features.shape == (3, 9)


def test_texts_that_cannot_be_read(tmp_path, vocab):
    texts = ["good", " ", "\u2603", *["fine film news"] * 4, "\u2603 \u2603", "bad"]
    write_jsonl(tmp_path / "a.jsonl", [{"text": text, "label": row % 2} for row, text in enumerate(texts)])
    with pytest.raises(DataError, match=r"^1 line \(2\) .*a\.jsonl .*skip_unreadable = true"):
        read_text(tmp_path / "a.jsonl", tokenizer=vocab)
    data = read_text(tmp_path / "a.jsonl", tokenizer=vocab, skip_unreadable=True)
    assert data.num_rows == 6 and data.labels.tolist() == [0, 1, 0, 1, 0, 0]
    texts[1] = "film"
    write_jsonl(tmp_path / "a.jsonl", [{"text": text, "label": row % 2} for row, text in enumerate(texts)])
    with pytest.raises(DataError, match=r"^2 lines \(3, 8\).*vocab\.txt knows"):
        read_text(tmp_path / "a.jsonl", tokenizer=vocab)


def test_a_tokenizer_of_another_language(tmp_path, vocab):
    write_jsonl(tmp_path / "a.jsonl", [{"text": "\u2603 film \u2603", "label": 0}, {"text": "\u2603 good", "label": 1}])
    with pytest.raises(DataError, match=r"vocab\.txt does .*a\.jsonl:.*know 60%"):
        read_text(tmp_path / "a.jsonl", tokenizer=vocab)
    with pytest.raises(DataError, match="does not know 60%"):  # leaving texts out does not make it fit
        read_text(tmp_path / "a.jsonl", tokenizer=vocab, skip_unreadable=True)
    for text in ("\u2603", ""):
        write_jsonl(tmp_path / "a.jsonl", [{"text": text, "label": 0}])
        with pytest.raises(DataError, match=r"^No text of .* knows"):
            read_text(tmp_path / "a.jsonl", tokenizer=vocab, skip_unreadable=True)
    with pytest.raises(DataError, match=r"1 line \(1\).* empty text"):
        read_text(tmp_path / "a.jsonl", tokenizer=vocab)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", b"text,label\ngood,1\nbad film,0,2\nfine\n", r"2 cells.*2 lines \(3, 4\)"),
        ("a.tsv", b"text\tlabel\nthe\tfilm\t1\n", r"1 line \(2\).* tab inside"),
        ("a.csv", b'text,label\n"good,1\n', "kind .*unclosed quote"),
        ("a.csv", b"text,label\ngood,1\nb\xe4d,0\ngood,1\n\xff,1\n", r"UTF-8,.*2 lines \(3, 5\)"),
        ("a.csv", b"text,text\ngood,1\n", r"1 name \(text\)"),
        ("a.csv", b"text,label\n", "a header and"),
        ("a.csv", b"", "a header and"),
        ("a.jsonl", b"", "at least one"),
        ("a.jsonl", b'{"text": "good"}\n\n[1]\n{"text"\n', r"2 lines \(3, 4\).*one object"),
        ("a.jsonl", b'{"text": "good", "label": 1}\n{"label": 0}\n', r"1 line \(2\) of .*a\.jsonl have no 'text'"),
        ("a.jsonl", b'{"text": 7, "label": 1}\n', r"1 line \(1\) .* type int"),
        ("a.jsonl", b'{"txt": "good", "label": 1}\n', r"'txt'\? Allowed: label, txt"),
        ("a.txt", b"good\n", r"read from\. .*\.csv.*compressed \(\.gz, \.xz\)"),
        ("a.jsonl.gz", b'{"text": "good"}\n', "gzipped file"),
        ("a.csv.xz", lzma.compress(b"text,label\ngood,1\n")[:-9], "cut download"),
        ("a.csv.xz", lzma.compress(b"text,label\n\xff,1\n")[:-9], "cut download"),
        ("a.parquet", b"PAR1", r"a\.parquet cannot be read"),
    ],
)
def test_broken_files_are_named(tmp_path, vocab, name, content, message):
    (tmp_path / name).write_bytes(content)
    if name.endswith(".parquet"):
        pytest.importorskip("pyarrow")
    with pytest.raises(DataError, match=message) as caught:
        read_text(tmp_path / name, tokenizer=vocab)
    assert name in str(caught.value)


def test_faults_of_several_files_are_told_file_by_file(tmp_path, vocab):
    write_jsonl(tmp_path / "train.jsonl", [*ROWS, {"text": "", "label": 0}])
    write_jsonl(tmp_path / "test.jsonl", [{"text": "", "label": 0}, *ROWS])
    message = r"^1 line \(4\) of .*train\.jsonl and 1 line \(1\) of .*test\.jsonl have an empty text"
    with pytest.raises(DataError, match=message):
        read_text(tmp_path, tokenizer=vocab)


def test_broken_saved_datasets_are_named(tmp_path, vocab):
    folder = tmp_path / "saved"
    write_saved(folder)
    state = json.loads((folder / "state.json").read_text())
    for faulty, message in (
        ({"_data_files": []}, "must name the dataset's files, in this folder"),
        ({"_data_files": [{"filename": "../data.arrow"}]}, "must name the dataset's files, in this folder"),
        ({"_data_files": [{"filename": "away.arrow"}]}, r"away\.arrow cannot be read"),
        ({**state, "_indices_data_files": [{"filename": "i.arrow"}]}, r"Save dataset\.flatten_indices\(\)"),
        ([], r"state\.json says of its dataset is no JSON \(no object in braces\)"),
    ):
        (folder / "state.json").write_text(json.dumps(faulty))
        with pytest.raises(DataError, match=message):
            read_text(folder, tokenizer=vocab)


def test_offsets_past_the_end_of_a_saved_dataset_are_refused_not_read(tmp_path, vocab):
    write_saved(tmp_path / "saved", pieces=1)
    file = tmp_path / "saved" / "data-00000-of-00001.arrow"
    right = np.array([0, 9, 17, 23], dtype="<i4")  # where each of the three texts begins and ends
    wrong = np.array([0, 9, 17, 1 << 30], dtype="<i4")
    content = file.read_bytes()
    assert content.count(right.tobytes()) == 1
    file.write_bytes(content.replace(right.tobytes(), wrong.tobytes()))
    with pytest.raises(DataError, match=r"data-00000-of-00001\.arrow cannot be read"):
        read_text(tmp_path / "saved", tokenizer=vocab)


def test_what_is_not_installed_is_named(tmp_path, vocab, monkeypatch):
    (tmp_path / "a.parquet").write_bytes(b"PAR1")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(UsageError, match=r"a\.parquet needs pyarrow.*pip install pyarrow"):
        read_text(tmp_path / "a.parquet", tokenizer=vocab)


def test_what_is_not_there_is_named(tmp_path, vocab):
    with pytest.raises(DataError, match=r"away\.csv\. Nothing is downloaded"):
        read_text(tmp_path / "away.csv", tokenizer=vocab)
    with pytest.raises(DataError, match=r"part 'train', .*empty\. Nothing"):
        read_text(tmp_path, tokenizer=vocab)
    (tmp_path / "notes.md").write_text("-")
    with pytest.raises(DataError, match=r"SST-2, part 'test',.*holds 1 name \('notes\.md'\)\."):
        sst2(tmp_path, tokenizer=vocab, part="test")
    with pytest.raises(DataError, match=r"Yelp reviews, part 'train', .*\(No such"):
        yelp5(tmp_path / "away", tokenizer=vocab)


NEWS = [("1", "the film", r"a\b news"), ("2", "news", "b"), ("3", "", "c, d"), ("4", "news", "e")]


def test_ag_news_as_released_and_as_others_keep_it(tmp_path, vocab):
    folder = tmp_path / "ag_news_csv"
    folder.mkdir()
    lines = "".join(f'"{number}","{title}","{text}"\n' for number, title, text in NEWS)
    (folder / "train.csv").write_text(lines)
    released = ag_news(tmp_path, tokenizer=vocab)
    assert spelt(released) == ["the film a b news", "news b", "c , d", "news e"]
    assert released.labels.tolist() == [0, 1, 2, 3] and released.class_names[3] == "Sci/Tech"
    (folder / "train.csv").write_text("Class Index,Title,Description\n" + lines)
    assert torch.equal(ag_news(folder, tokenizer=vocab).features, released.features)
    (folder / "train.csv").write_text(lines.replace('"2"', '"0"').replace('"3"', '"5"'))
    with pytest.raises(DataError, match=r"2 lines \(2, 3\).*class \('0', '5'\)\..*1 \.\. 4,"):
        ag_news(folder, tokenizer=vocab)
    (folder / "train.csv").write_text(lines)
    write_csv(folder / "test.csv", [{"text": "film", "label": label} for label in range(4)])
    with pytest.raises(DataError, match=r"count from 1,.* from 0"):
        ag_news(folder, tokenizer=vocab, part="all")


def test_the_style_of_ag_news_sources_gives_nothing_away(tmp_path, vocab):
    train = [
        {"text": text, "label": row, "src": "hk" if row % 2 else "alps"}
        for row, text in enumerate(["Reuters - the, film", 'reuters the " film', "NEWS.", "news"])
    ]
    write_jsonl(tmp_path / "train_subset.jsonl", train)
    write_jsonl(tmp_path / "test.jsonl", [{"text": "A1, a-b!", "label": row, "title": "x"} for row in range(4)])
    assert spelt(ag_news(tmp_path, tokenizer=vocab)) == ["reuters the film"] * 2 + ["news"] * 2
    assert spelt(ag_news(tmp_path, tokenizer=vocab, part="test")) == ["a1 a b"] * 4  # alike, or a test would mislead
    both = spelt(ag_news(tmp_path, tokenizer=vocab, part="all"))
    assert both == ["reuters the film"] * 2 + ["news"] * 2 + ["a1 a b"] * 4
    with pytest.raises(UsageError, match=r"apart.*Leave words_only"):
        ag_news(tmp_path, tokenizer=vocab, words_only=False)


def test_yelp_as_released_and_by_fields(tmp_path, vocab):
    rows = [f'"{stars}","good \\"" film\\n\\nfine{stars}"\n' for stars in range(1, 6)]
    (tmp_path / "train.csv").write_text("".join(rows))
    released = yelp5(tmp_path, tokenizer=vocab)
    assert spelt(released)[0] == 'good " film fine1' and released.labels.tolist() == [0, 1, 2, 3, 4]
    assert released.class_names == ("1 star", "2 stars", "3 stars", "4 stars", "5 stars")
    (tmp_path / "train.csv").unlink()
    write_parquet(
        tmp_path / "train-00000-of-00001.parquet",
        [{"label": stars, "text": f'good " film fine{stars + 1}'} for stars in range(5)],
    )
    assert torch.equal(yelp5(tmp_path, tokenizer=vocab).features, released.features)


def test_sst2_as_glue_has_it(tmp_path, vocab):
    (tmp_path / "train.tsv").write_text('sentence\tlabel\ngood " film \t1\nbad\t0\n')
    (tmp_path / "dev.tsv").write_text("sentence\tlabel\nfine\t1\nbad , bad\t0\n")
    assert spelt(sst2(tmp_path, tokenizer=vocab)) == ['good " film', "bad"]
    data = sst2(tmp_path, tokenizer=vocab, part="all")
    assert spelt(data) == ['good " film', "bad", "fine", "bad , bad"] and data.class_names == ("negative", "positive")
    (tmp_path / "dev.tsv").write_text("index\tsentence\n0\tfine\n")
    with pytest.raises(DataError, match=r"no column 'label'\."):
        sst2(tmp_path, tokenizer=vocab, part="test")


def test_the_registry_knows_them():
    assert {"ag_news", "yelp5", "sst2", "text"} <= set(DATASETS.names())
    assert DATASETS.describe()["text"][1].startswith("Labelled texts of a file or folder")


@pytest.mark.skipif(not (SHARED / "ag_news").is_dir(), reason="AG News is not there")
def test_ag_news_at_hand():
    data = ag_news(SHARED / "ag_news", tokenizer=SHARED / "bert_vocab", part="test", per_class=100, max_length=32)
    assert data.features.shape == (400, 32) and data.vocab_size == 30522
    with lzma.open(SHARED / "ag_news" / "test.jsonl.xz", "rt", encoding="utf-8") as file:
        first = " ".join(re.findall("[a-z0-9]+", json.loads(next(file))["text"].lower()))
    words = (SHARED / "bert_vocab" / "vocab.txt").read_text(encoding="utf-8").split("\n")
    row = " ".join(words[number] for number in data.features[0].tolist() if number >= 0)
    assert row.replace(" ##", "") == f"[CLS] {first} [SEP]"


@pytest.mark.skipif(not (SHARED / "sst2").is_dir(), reason="SST-2 is not there")
def test_sst2_at_hand():
    data = sst2(SHARED / "sst2", tokenizer=SHARED / "bert_vocab", part="test")
    assert data.num_rows == 872 and torch.bincount(data.labels).tolist() == [428, 444]
