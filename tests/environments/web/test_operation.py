import pytest

from swirl_lightning.environments.web.operation import Operation, parse_operation


@pytest.mark.parametrize(
    "operation",
    [
        Operation("CLICK", "<button> Search"),
        Operation("CLICK", "<a> 1 + 1"),
        Operation("TYPE", "<input id=q>", "shoes"),
        Operation("TYPE", "<input id=q> (2 of 3)", "a = b"),
        Operation("TYPE", '<input aria-label="size > 3 = large">', "<b> = 1"),
        Operation("TYPE", "<input id=q>", ""),
        Operation("WAIT"),
    ],
)
def test_an_action_comes_apart_as_it_was_put_together(operation):
    assert parse_operation(str(operation)) == operation


@pytest.mark.parametrize("text", ["", "  ", "CLICK", "<button", '<a "', " = ", "CLICK the = button", "\n="])
def test_any_text_has_parts(text):
    assert isinstance(parse_operation(text), Operation)
