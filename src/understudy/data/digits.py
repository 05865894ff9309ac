"""The embedded data set: 1,797 handwritten digits of 8 x 8 pixels, shipped inside scikit-learn."""

import torch

from understudy.data.images import ImageSet, Split


def load_digits(split: Split) -> ImageSet:
    """Return one part of the fixed stratified split: 1,297 digits to train on, 500 to test on.

    Alpaydin and Kaynak (1998), Optical Recognition of Handwritten Digits, UCI, as scikit-learn ships it. Its
    grey levels 0..16 are stretched to 0..255 and rounded.
    """
    from sklearn.datasets import load_digits as load
    from sklearn.model_selection import train_test_split

    digits = load()
    train, test = train_test_split(range(len(digits.target)), test_size=500, random_state=0, stratify=digits.target)
    rows = {"train": train, "test": test}[split]
    levels = torch.from_numpy(digits.images[rows]).unsqueeze(1)  # (n, 1, 8, 8)
    return ImageSet(
        name="digits",
        split=split,
        images=(levels * (255 / 16)).round().to(torch.uint8),
        labels=torch.from_numpy(digits.target[rows]).to(torch.int64),
        classes=tuple(str(name) for name in digits.target_names),
    )
