import pytest

from swirl_lightning.types import Transition

ACTIONS = ("take coin", "take coin", "take coin", "drop coin", "open safe")


@pytest.fixture
def episode():
    """Makes the transitions of one episode; three in five are of one kind of action."""

    def make(name, length=5, actions=True):
        return [
            Transition(name, i, f"{name} {i}", f"{name} {i + 1}", ACTIONS[i % len(ACTIONS)] if actions else None)
            for i in range(length)
        ]

    return make
