import hashlib

import numpy as np
from sklearn.datasets import load_digits

from understudy.data import load_images


def test_the_split_is_fixed_to_the_byte() -> None:
    train, test = load_images("digits", "train"), load_images("digits", "test")
    assert (len(train), len(test)) == (1297, 500)
    assert train.shape == test.shape == (1, 8, 8)
    assert train.classes == tuple("0123456789")
    # A changed splitter in scikit-learn would move rows between the parts: published numbers stand on these.
    content = [hashlib.sha256(part.images.numpy().tobytes()).hexdigest()[:16] for part in (train, test)]
    assert content == ["3f5e02c83122b9fc", "322404a7068b556c"]


def test_the_two_parts_are_the_whole_and_share_no_row() -> None:
    parts = [load_images("digits", "train"), load_images("digits", "test")]
    rows = [
        (*image.flatten().tolist(), int(label))
        for part in parts
        for image, label in zip(part.images, part.labels, strict=True)
    ]
    source = load_digits()
    levels = np.floor(source.images.reshape(-1, 64) * 255 / 16 + 0.5).astype(int)  # 8 of 16 is 127.5, up to 128
    assert sorted(rows) == sorted(
        (*image.tolist(), int(label)) for image, label in zip(levels, source.target, strict=True)
    )


def test_every_class_keeps_its_share() -> None:
    test = load_images("digits", "test")
    shares = np.bincount(load_digits().target) * 500 / 1797
    assert np.abs(test.labels.bincount().numpy() - shares).max() < 1
