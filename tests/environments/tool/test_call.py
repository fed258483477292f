"""Calls as text and back."""

from hypothesis import given
from hypothesis import strategies as st

from swirl_lightning.environments.splits import kind
from swirl_lightning.environments.tool.call import read_call, write_call

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(arguments=st.dictionaries(st.text(), JSON, max_size=4))
def test_a_call_comes_back(arguments):
    text = write_call("open_nodes", arguments)
    assert "\n" not in text
    assert read_call(text) == ("open_nodes", arguments)
    assert kind(text) == "open_nodes"


def test_the_tool_is_one_word():
    assert write_call("List  Languages (old)", {"a": 1}) == 'List_Languages_(old) {"a": 1}'
    assert write_call("find", "{'no': json}") == "find {'no': json}"
    assert read_call("find {'no': json}") == ("find", "{'no': json}")
    assert read_call("") == ("", "")
    assert read_call("find " + "[" * 10_000)[0] == "find"
