"""make_split around known members, data sets of other libraries, channels, and classes without rows."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import Subset, TensorDataset

from safecompress.data import PARTS, Dataset, SplitSizes, make_split
from safecompress.data.sizes import MEMBER_POOLS, SEPARATE
from safecompress.errors import DataError

DRAW = np.random.default_rng(0)
X, Y = DRAW.normal(size=(600, 5)).astype("float32"), np.arange(600) % 3
DATA = Dataset.from_arrays(X, Y)
MEMBERS = np.arange(0, 600, 2)


def rows_of(split, part):
    return set(split.indices[part].tolist())


def test_all_members_are_train_and_all_else_is_drawn_from_others():
    split = make_split(DATA, members=MEMBERS, seed=0)
    split.check()
    assert rows_of(split, "train") == set(MEMBERS.tolist())
    outside = [rows_of(split, part) for part in SEPARATE if part != "train"]
    assert set.union(*outside) == set(range(1, 600, 2)) and sum(map(len, outside)) == 300
    sizes = [split.size(part) for part in (*MEMBER_POOLS, "nonmember_fit", "nonmember_verdict")]
    assert sizes == [42] * 5  # a seventh of 300
    assert make_split(DATA, members=MEMBERS, seed=0).indices["test"].tolist() == split.indices["test"].tolist()
    assert make_split(DATA, members=MEMBERS, seed=1).indices["test"].tolist() != split.indices["test"].tolist()


@pytest.mark.parametrize(
    "members",
    [
        MEMBERS.tolist(),
        torch.from_numpy(MEMBERS),
        np.arange(600) % 2 == 0,
        Subset(TensorDataset(torch.zeros(600)), MEMBERS),
    ],
    ids=["list", "tensor", "mask", "subset"],
)
def test_members_are_named_in_any_way(members):
    assert rows_of(make_split(DATA, members=members, seed=0), "train") == set(MEMBERS.tolist())


def test_non_members_may_be_fewer_than_the_rest():
    split = make_split(DATA, members=MEMBERS, nonmembers=range(1, 301, 2), seed=0)
    assert max(max(rows_of(split, part), default=0) for part in PARTS if part not in ("train", *MEMBER_POOLS)) < 300


def test_two_data_sets_are_joined_by_the_names_of_their_classes():
    """One side has no row of class b; its numbers differ, its names do not."""
    inside = Dataset.from_arrays(X[:300], np.array(["a", "b", "c"])[Y[:300]])
    outside = Dataset.from_arrays(X[300:], np.array(["a", "c", "c"])[Y[300:]])
    split = make_split(members=inside, nonmembers=outside, seed=0)
    assert split.dataset.class_names == ("a", "b", "c")
    features, labels = split.part("validation")
    for row, label in zip(features, labels, strict=True):
        number = int(np.flatnonzero((row.numpy() == X).all(1))[0])
        assert split.dataset.class_names[label] == ["a", "c", "c"][Y[number]]
    pairs = TensorDataset(torch.from_numpy(X), torch.from_numpy(Y))
    split = make_split(members=Subset(pairs, range(300)), nonmembers=Subset(pairs, range(300, 600)), seed=0)
    assert split.size("train") == 300


def test_rows_that_a_member_shares_are_left_unused():
    """Equal rows and rows of one group: the model knows them."""
    x = X.copy()
    x[1] = x[0]
    groups = np.arange(600)
    groups[3] = groups[2]
    split = make_split(Dataset.from_arrays(x, Y, groups=groups), members=MEMBERS, seed=0)
    split.check()
    used = set.union(*(rows_of(split, part) for part in SEPARATE))
    assert not used & {1, 3} and 5 in used


def test_large_groups_stay_together():
    split = make_split(Dataset.from_arrays(X, Y, groups=np.arange(600) // 6), members=range(300), seed=0)
    split.check()
    assert split.size("nonmember_verdict") == split.size("nonmember_fit")


def test_sizes_may_be_given_around_the_members():
    sizes = SplitSizes(300, 100, 100, 100, 20, 40, 60, 60, 60, 60)
    assert make_split(DATA, sizes, members=MEMBERS, seed=0).size("member_verdict") == 100
    with pytest.raises(DataError, match=r"All 300 members .*sizes\.train is 200"):
        make_split(DATA, SplitSizes(200, 50, 50, 50, 20, 40, 60, 60, 60, 60), members=MEMBERS, seed=0)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"dataset": DATA, "nonmembers": [1]}, "which rows are members"),
        ({"members": DATA}, "never saw, too"),
        ({"members": [1, 2], "nonmembers": [3]}, "nothing says of which dataset"),
        ({"dataset": DATA, "members": [0, 1], "nonmembers": [1, 2]}, "members and non-members at once"),
        ({"dataset": DATA, "members": [0, 600]}, "0 .. 599"),
        ({"dataset": DATA, "members": [0, 0]}, "names 1 rows twice"),
        ({"dataset": DATA, "members": DATA}, "numbers of rows"),
        ({"dataset": DATA, "members": range(560)}, "at least 70 non-members"),
        ({}, "make_split\\(dataset, seed=0\\)"),
    ],
    ids=["only others", "only members", "no dataset", "both", "outside", "twice", "a dataset", "few", "nothing"],
)
def test_what_names_no_members_is_refused(arguments, words):
    with pytest.raises(DataError, match=words):
        make_split(**arguments, seed=0)


# --- data sets of other libraries


def test_images_with_their_channels_last_are_asked_about_and_moved():
    images = DRAW.integers(0, 256, size=(30, 8, 9, 3), dtype=np.uint8)
    labels = np.arange(30) % 2
    for make in (Dataset.from_arrays, Dataset.from_pixels):
        with pytest.raises(DataError, match=r"\(8, 9, 3\) look as if their channels came last.*channels='last'"):
            make(images, labels)
        moved = make(images, labels, channels="last")
        assert moved.input_shape == (3, 8, 9)
        assert moved.stored[4, 1, 2, 3] == images[4, 2, 3, 1]
        assert make(images, labels, channels="first").input_shape == (8, 9, 3)


@pytest.mark.parametrize("shape", [(30, 3, 8, 8), (30, 1, 8, 8), (30, 3, 8, 3), (30, 8, 8, 8), (30, 8, 8)])
def test_other_shapes_are_left_alone(shape):
    assert Dataset.from_arrays(np.zeros(shape) + DRAW.normal(size=shape), np.arange(30) % 2).input_shape == shape[1:]


@pytest.mark.parametrize(("mode", "shape"), [("RGB", (3, 5, 7)), ("L", (1, 5, 7))])
def test_pictures_get_their_channels_in_front(mode, shape):
    pairs = [(Image.new(mode, (7, 5)), number % 2) for number in range(10)]
    assert Dataset.from_map_style(pairs).input_shape == shape


class Column(list):
    """Rows as dicts, and a label with names, as Hugging Face's datasets have them."""

    @property
    def features(self):
        return {"label": type("ClassLabel", (), {"names": ["cat", "dog"]})}


ANIMALS = Column({"image": Image.new("RGB", (4, 4)), "age": n, "weight": n / 2, "label": n % 2, "owner": n // 2}
                 for n in range(20))  # fmt: skip


def test_hugging_face_rows():
    images = Dataset.from_hugging_face(ANIMALS, features="image", label="label", group="owner")
    assert (images.input_shape, images.class_names) == ((3, 4, 4), ("cat", "dog"))
    assert len(np.unique(images.groups)) == 10
    numbers = Dataset.from_hugging_face(ANIMALS, features=["age", "weight"], label="label")
    assert numbers.features[6].tolist() == [6.0, 3.0]
    with pytest.raises(DataError, match="no column 'colour'"):
        Dataset.from_hugging_face(ANIMALS, features="colour", label="label")


def test_hugging_face_itself():
    datasets = pytest.importorskip("datasets")
    rows = datasets.Dataset.from_dict({"x": X.tolist(), "y": Y.tolist()})
    assert Dataset.from_hugging_face(rows, features="x", label="y").features.numpy() == pytest.approx(X)


def test_a_memmap_is_read(tmp_path):
    np.save(tmp_path / "x.npy", X)
    rows = np.load(tmp_path / "x.npy", mmap_mode="r")
    assert Dataset.from_arrays(rows, Y).features.numpy() == pytest.approx(X)


# --- classes without rows


def test_classes_without_rows_are_allowed_where_somebody_says_so():
    with pytest.raises(DataError, match="missing_classes=True"):
        Dataset.from_arrays(X, Y, class_names="abcd")
    sample = Dataset.from_arrays(X, Y, class_names="abcd", missing_classes=True)
    assert sample.num_classes == 4
    make_split(sample, seed=0).check()
