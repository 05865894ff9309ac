import pytest
import torch

from understudy.data import TextSet
from understudy.errors import DataError


def texts(
    *sentences: str, labels: tuple[int, ...] | None = None, classes: tuple[str, ...] = ("no", "yes"), **more: object
) -> TextSet:
    found = labels if labels is not None else tuple(row % 2 for row in range(len(sentences)))
    return TextSet("films", "train", sentences, torch.tensor(found, dtype=torch.int64), classes, **more)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: texts(), "the data set is empty"),
        (lambda: texts("a", labels=(0, 1)), r"columns of \[1, 2\] rows"),
        (lambda: texts("a", "b", contexts=("c",)), r"columns of \[1, 2\] rows"),
        (lambda: texts("a", classes=("no",)), "1 class"),
        (lambda: texts("a", labels=(2,)), "label 2 lies outside the 2 classes"),
        (lambda: texts("a", labels=(-1,)), "label -1 lies outside"),
    ],
)
def test_what_does_not_go_together_is_refused(make, message: str) -> None:
    with pytest.raises(DataError, match=message):
        make()


def test_taken_rows_keep_their_order_and_contexts() -> None:
    data = texts("a", "b", "c", contexts=("x", "y", "z"))
    for rows in ([2, 0], torch.tensor([2, 0]), (row for row in (2, 0))):
        taken = data.take(rows)
        assert (taken.texts, taken.contexts, taken.labels.tolist()) == (("c", "a"), ("z", "x"), [0, 0])
    with pytest.raises(DataError, match="empty"):
        data.take([])


def test_the_hash_sees_the_content_and_not_the_name() -> None:
    data = texts("a", "b c")
    same = TextSet("other", "test", data.texts, data.labels.clone(), data.classes)
    assert data.sha256 == same.sha256
    others = [
        texts("a", "b  c"),
        texts("a b", "c"),
        texts("a", "b c", labels=(1, 1)),
        texts("a", "b c", classes=("yes", "no")),
        texts("a", "b c", contexts=("", "")),
        data.take([1, 0]),
    ]
    assert len({data.sha256, *(other.sha256 for other in others)}) == 7


def test_repeated_sentences_are_counted() -> None:
    assert texts("a b", "A  b ", "c").repeated == 1
    assert texts("a b", "a b", contexts=("x", "y")).repeated == 0


def test_rows_that_are_tested_on_are_left_out() -> None:
    train, test = texts("one", "Two  words", "three", "one"), texts("two words", "four", "ONE")
    kept, removed = train.without(test)
    assert (kept.texts, kept.labels.tolist(), removed) == (("three",), [0], 3)
    assert train.without(texts("five"))[0] is train
    with pytest.raises(DataError, match="every sentence of the train split stands in the train split too"):
        test.without(test)


def test_a_pair_is_the_same_if_both_halves_are() -> None:
    train = texts("a", "a", contexts=("x", "y"))
    kept, removed = train.without(texts("a", contexts=("y",)))
    assert (kept.contexts, removed) == (("x",), 1)


def test_labels_counted_in_other_classes() -> None:
    data = texts("a", "b", "c", labels=(0, 2, 2), classes=("x", "y", "z"))
    moved = data.with_classes(("z", "w", "x"))
    assert (moved.labels.tolist(), moved.classes) == ([2, 0, 0], ("z", "w", "x"))  # no row is of class y
    assert data.with_classes(data.classes) is data
    with pytest.raises(DataError, match="labels that training never shows: 'x'"):
        data.with_classes(("y", "z"))
