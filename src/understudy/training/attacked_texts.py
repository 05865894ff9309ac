"""Sentences to train on, made from attacked ones: a data set for each known attack (section 2.1 of AdpMixup's setting).

The true label stays with the changed text. Skipped sentences are left out, and so are those that no change was found
for; what failed to fool the classifier, but was changed, is kept.
"""

from collections.abc import Sequence
from dataclasses import replace

import torch

from understudy.attacks.text.base import Record
from understudy.data.text_set import TextSet
from understudy.errors import DataError
from understudy.runs.seeds import stream


def usable(records: Sequence[Record]) -> list[Record]:
    """Return the records to train on: tried, and changed."""
    return [record for record in records if record.status != "skipped" and record.attacked != record.text]


def attacked_texts(data: TextSet, records: Sequence[Record], *, anchor_ratio: float, seed: int) -> TextSet:
    """Return the attacked sentences with their true labels, and unchanged ones beside them.

    Attacked sentences are by selection such that the clean classifier is wrong on them. What is trained on them alone
    learns to say the opposite; unchanged sentences, the anchors, prevent it.

    Args:
        data: what the records were made from.
        records: of one or more attacks; those that are not `usable` are left out.
        anchor_ratio: unchanged sentences for each attacked one, 0 or more; a part of them is drawn by the seed.
        seed: of the draw.

    Raises:
        DataError: there is no usable record.
    """
    kept = usable(records)
    if not kept:
        raise DataError(
            f"none of {len(records)} attacked sentences can be trained on",
            where=records[0].attack if records else data.name,
            expected="at least one that was classified right and then changed",
            fix="attack more sentences (n_adv), or leave this attack out of the known ones",
        )
    whole, part = divmod(round(anchor_ratio * len(kept)), len(kept))
    drawn = torch.randperm(len(kept), generator=stream(seed, "anchors"))[:part].sort().values.tolist()
    anchors = [*(kept * whole), *(kept[at] for at in drawn)]
    contexts = None if data.contexts is None else tuple(record.context or "" for record in [*kept, *anchors])
    return replace(
        data,
        texts=tuple([record.attacked for record in kept] + [record.text for record in anchors]),
        labels=torch.tensor([record.label for record in [*kept, *anchors]], dtype=torch.int64),
        contexts=contexts,
    )


def joined(first: TextSet, *others: TextSet) -> TextSet:
    """Return the rows of several sets of the same classes, one after the other."""
    sets = (first, *others)
    contexts = None
    if first.contexts is not None:
        contexts = tuple(context for each in sets for context in each.contexts or ())
    return replace(
        first,
        texts=tuple(text for each in sets for text in each.texts),
        labels=torch.cat([each.labels for each in sets]),
        contexts=contexts,
    )
