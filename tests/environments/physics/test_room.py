"""What the agent sees in ScienceWorld, as text."""

import pytest

from swirl_lightning.codecs import encode_delta
from swirl_lightning.environments.physics.room import describe

LOOK = """This room is called the kitchen. In it, you see: 
\tthe agent
\ta chair. On the chair is: nothing.
\ta fridge. The fridge door is closed. 
\ta drawer
\ta drawer
You also see:
\tA door to the hallway (that is open)
"""  # noqa: W291
INVENTORY = "In your inventory, you see:\n\tan orange\n"


def test_a_state_is_what_the_agent_sees_as_sorted_distinct_facts():
    assert describe("The cupboard  is\nnow open.", LOOK, INVENTORY).split("\n") == [
        "carried: an orange",
        "door: A door to the hallway (that is open)",
        "here: a chair. On the chair is: nothing.",
        "here: a drawer",
        "here: a drawer (2)",
        "here: a fridge. The fridge door is closed.",
        "here: the agent",
        "room: kitchen",
        "said: The cupboard is now open.",
    ]


@pytest.mark.parametrize(("observation", "said"), [(LOOK.rstrip(), "the room"), (INVENTORY, "the inventory")])
def test_what_is_seen_anyway_is_not_said_twice(observation, said):
    assert describe(observation, LOOK, INVENTORY).endswith(f"said: {said}")


def test_a_room_outside_has_a_name_too():
    look = "This outside location is called the outside. Here you see: \n\tthe agent\n"
    assert describe("Hm.", look, "Your inventory is empty.\n") == "here: the agent\nroom: outside\nsaid: Hm."


def test_one_thing_that_moves_is_one_edit():
    before = describe("Done.", LOOK, INVENTORY)
    after = describe("Done.", LOOK.replace("\tthe agent\n", ""), INVENTORY + "\tthe agent\n")
    assert encode_delta(before, after) == "- here: the agent\n+ carried: the agent"
