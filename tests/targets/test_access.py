"""Access: what covers what, and who is refused before the first query."""

from itertools import product

import pytest

from understudy.errors import AccessError, ConfigError
from understudy.targets import Access, check_access
from understudy.targets.target import parse_access

LADDER = ["labels", "top-k", "logits", "weights"]


@pytest.mark.parametrize(("has", "needed"), list(product(Access, Access)))
def test_more_covers_less_and_embeddings_stand_apart(has: Access, needed: Access) -> None:
    if "embeddings" in (has.value, needed.value):
        expected = has is needed or has is Access.WEIGHTS
    else:
        expected = LADDER.index(has.value) >= LADDER.index(needed.value)
    assert has.covers(needed) is expected


def test_a_target_is_declared_with_what_it_answers() -> None:
    assert parse_access("top-k") is Access.TOP_K
    assert parse_access(Access.EMBEDDINGS) is Access.EMBEDDINGS
    with pytest.raises(ConfigError, match="did you mean 'embeddings'"):
        parse_access("embedings")
    with pytest.raises(ConfigError, match="a target cannot give access 'weights'"):
        parse_access(Access.WEIGHTS)


def test_a_method_that_needs_more_is_refused_and_nothing_is_asked(known) -> None:
    check_access(known, Access.EMBEDDINGS, what="rda")
    known.access = Access.LABELS
    with pytest.raises(AccessError, match="rda needs a target that gives embeddings; known gives labels only") as error:
        check_access(known, Access.EMBEDDINGS, what="rda")
    assert "understudy methods --access labels" in str(error.value)
    assert known.calls == []
