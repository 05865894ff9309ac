"""The embedded sentences: always the same, balanced, each once, and neither trivial nor hopeless."""

import hashlib

import pytest
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression

from understudy.data import load_texts
from understudy.data.reviews import review_words

SPLITS = ("train", "validation", "test")


def test_sizes_classes_and_balance() -> None:
    for split, rows in zip(SPLITS, (1200, 200, 300), strict=True):
        data = load_texts("reviews", split)
        assert (len(data), data.classes, data.split) == (rows, ("negative", "positive"), split)
        assert data.labels.bincount().tolist() == [rows // 2, rows // 2]


def test_no_sentence_stands_twice() -> None:
    found = [text for split in SPLITS for text in load_texts("reviews", split).texts]
    assert len(set(found)) == len(found) == 1700


def test_they_are_the_same_everywhere() -> None:
    digest = hashlib.sha256("\n".join(load_texts("reviews", "train").texts).encode()).hexdigest()
    assert digest.startswith("575ba09b2b6b6d9a")


def test_the_vocabulary_covers_them() -> None:
    words = set(review_words())
    found = {word for split in SPLITS for text in load_texts("reviews", split).texts for word in text.split()}
    assert {word for word in found if word.isalpha()} <= words
    assert {word for word in found if not word.isalpha()} <= {",", ";", ":"}


@pytest.mark.parametrize("kind", ["never", "but"])
def test_some_classes_are_no_matter_of_single_words(kind: str) -> None:
    data = load_texts("reviews", "train")
    labels = [label for text, label in zip(data.texts, data.labels.tolist(), strict=True) if f" {kind} " in text]
    assert 0 < sum(labels) < len(labels)


def test_counting_words_goes_a_long_way_and_not_all_of_it() -> None:
    train, test = load_texts("reviews", "train"), load_texts("reviews", "test")
    counts = CountVectorizer(token_pattern=r"\S+")
    model = LogisticRegression(max_iter=2000).fit(counts.fit_transform(train.texts), train.labels)
    assert 0.85 < model.score(counts.transform(test.texts), test.labels) < 0.97
