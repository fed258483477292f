from collections import Counter

import pytest

from swirl_lightning.environments.splits import SPLITS, assign_splits, divide, kind, take_turns
from swirl_lightning.types import InputError

KEYS = [f"e{i:02d}" for i in range(50)]
FRACTIONS = (0.2, 0.6, 0.06, 0.14)


def test_shares_are_kept_and_no_split_is_empty():
    assert Counter(assign_splits(KEYS, FRACTIONS, 0, "game").values()) == dict(zip(SPLITS, (10, 30, 3, 7), strict=True))
    assert Counter(assign_splits(KEYS[:5], (0.4, 0.4, 0.1, 0.1), 0, "game").values()) == dict(
        zip(SPLITS, (2, 1, 1, 1), strict=True)
    )


def test_splits_follow_from_the_seed_and_not_from_the_order():
    splits = assign_splits(KEYS, FRACTIONS, 0, "game")
    assert splits == assign_splits(reversed(KEYS), FRACTIONS, 0, "game")
    assert splits != assign_splits(KEYS, FRACTIONS, 1, "game")


def test_items_of_one_key_stay_together_and_in_their_order():
    items = [(key, (turn, key)) for turn in range(3) for key in reversed(KEYS)]
    split_of, parts = assign_splits(KEYS, FRACTIONS, 0, "game"), divide(iter(items), FRACTIONS, 0, "game")
    assert list(parts) == list(SPLITS)
    assert parts == {split: [item for key, item in items if split_of[key] == split] for split in SPLITS}


@pytest.mark.parametrize("fractions", [(0.5, 0.5, 0.1, 0.1), (1.0, 0.0, 0.0, 0.0), (0.5, 0.5), (1.2, -0.4, 0.1, 0.1)])
def test_wrong_fractions_are_refused(fractions):
    with pytest.raises(InputError, match="fractions: found"):
        assign_splits(KEYS, fractions, 0, "game")


def test_too_few_keys_are_refused():
    with pytest.raises(InputError, match=r"found 3 episode\(s\), expected at least 4"):
        assign_splits(KEYS[:3], FRACTIONS, 0, "episode")


def test_turns_cover_every_key_and_are_nested(episode):
    labelled = episode("a", 40)
    order = take_turns(labelled, lambda t: kind(t.action), "0/labels")
    assert Counter(kind(t.action) for t in order[:9]) == {"take": 3, "drop": 3, "open": 3}
    assert sorted(t.step for t in order) == list(range(40))
    assert set(order[:9]) != set(take_turns(labelled, lambda t: kind(t.action), "1/labels")[:9])
    assert order == take_turns(labelled, lambda t: kind(t.action), "0/labels")
