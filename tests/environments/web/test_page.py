import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from swirl_lightning.environments.web.html_parser import parse_page
from swirl_lightning.environments.web.page import Node, count_tokens, describe, find, prune, render
from swirl_lightning.types import InputError

SHOP = """<!DOCTYPE html><html><head><title>Shop</title><style>p { color: red }</style></head>
<body class="a"><script>if (a < b) { "<p>no</p>" }</script>
<div><div key=1 data-key="1"><h1 data-key=2><span data-key=3>Shoes <b>and</b> boots</span></h1></div></div>
<form action="/find"><label>Search <input id=q type="text" name="q" value="red  shoes"></label>
<button type=submit data-key=4 aria-label="Go"><svg data-key=5><path d="M0"></svg></button></form>
<ul><li><a data-key=6 href="https://shop.example/a/b?x=1#y">Red</a><li><a href="#top"><i class="icon-up"></i></a></ul>
<select name=size><option value=1>S<option value=2 selected>M</select>
<div style="display:none"><p>Thank you</p><input type=checkbox checked></div>
<div id="r-1234567"><div></div></div>
<p>Some &lt;text&gt; &amp; <em>more</em></p>
</body></html>"""
SHOWN = """\
<h1> Shoes and boots
<form>
  <label> Search
    <input id=q type=text name=q value="red shoes">
  <button aria-label=Go>
<ul>
  <li>
    <a href=/a/b> Red
  <li>
    <a class=icon-up href=#top>
<select name=size>
  <option> S
  <option selected> M
<div hidden>
  <p> Thank you
  <input type=checkbox checked>
<p> Some <text> & more"""
DISTANT = "".join(f"<p>line {n}</p>" for n in range(12))

PIECES = [
    "<div>", "</div>", "<p id=x>", "<ul><li>", "</ul>", "<button>", "<a href='", "'>", "<input ", 'value="', '"', ">",
    "<b>", "</", "text\u2028", "<!--", "-->", "<script>", "&lt;", "hidden ", "<option>",
]  # fmt: skip
html_texts = st.text() | st.lists(st.sampled_from(PIECES)).map("".join)


def test_a_page_as_text():
    assert render(parse_page(SHOP)) == SHOWN


@pytest.mark.parametrize(
    ("html", "shown"),
    [
        ("<div><p>a<a>b</p></div>c", "<html> c\n  <p> a\n    <a> b"),
        ("<ul><li>a<li>b</ul>", "<ul>\n  <li> a\n  <li> b"),
        ("<tr><td>1<td>2<tr><td>3", "<tr>\n  <td> 1\n  <td> 2\n<tr>\n  <td> 3"),
        ("</p></div><a>x", "<a> x"),
        ("<input value='say \"hi\" > you'>", "<input value=\"say 'hi' > you\">"),
        ("<a title=More>More</a>", "<a> More"),
        ('<a href="/a/very/long/path/to/some/page/of/it.html">x</a>', "<a href=...ong/path/to/some/page/of/it.html> x"),
        ("<div hidden><a hidden>x</a></div>", "<div hidden>\n  <a> x"),
        ('<input input_value="a" aria_label="b" input_checked="true">', "<input aria-label=b value=a checked>"),
        ('<div is_clickable="true" disabled><text>Go</text></div>', "<div disabled clickable> Go"),
        ("<button><i class='fa fa-x'></i></button>", '<button class="fa fa-x">'),
        ("<div id=menu><span></span></div><hr>", ""),
        ("<div id=a hidden>x<p>y</div>", "<div id=a hidden>\n  <text> x\n  <p> y"),
    ],
)
def test_lines(html, shown):
    assert render(parse_page(html)) == shown


@given(html_texts)
def test_any_text_is_a_page_with_one_line_an_element(html):
    page = parse_page(html)
    lines = render(page).split("\n")
    assert len(lines) == max(1, len(page))
    assert all(line.split() == line.strip(" ").split(" ") for line in lines if page)
    assert render(parse_page(html)) == "\n".join(lines)


@pytest.mark.parametrize(
    "odd", ["<![foo[ x ]]>", "<![", "<![if !IE]>", "<!>", "<!x", "<![CDATA[ x ]]>", "<?", "<!--", "<!DOCTYPE"]
)
def test_odd_declarations_are_comments(odd):
    assert "Go" in render(parse_page(f"<button>Go</button>{odd}"))
    assert "First" in render(parse_page(f"<p>First</p>{odd}<button>Go</button>"))


def test_deep_nesting_is_read():
    page = parse_page("<ul><li>" * 3000 + "<a data-key=9>x</a>")
    assert find(page, "9").line == "<a> x"


def test_an_element_is_found_by_its_key_or_by_that_of_what_it_took_in():
    page = parse_page(SHOP)
    assert [find(page, key).tag for key in "123456"] == ["h1", "h1", "h1", "button", "button", "a"]
    assert find(page, "7") is None


def test_equal_lines_are_told_apart_by_their_place():
    page = parse_page("<input><a>x</a><input>")
    assert [describe(page, node) for node in page] == ["<input> (1 of 2)", "<a> x", "<input> (2 of 2)"]
    assert describe(page, Node(0, "a", text="gone")) == "<a> gone"


def test_tokens_do_not_depend_on_a_tokenizer():
    assert count_tokens("<a href=/x> Red boots 42!") == 1 + 1 + 1 + 1 + 1 + 1 + 1 + 1 + 1 + 2 + 1
    assert count_tokens("") == count_tokens(" \n ") == 0
    assert count_tokens("a" * 17) == 3
    assert count_tokens("über") == 2


def tags(page, budget):
    return [node.tag for node in prune(page, budget)]


def sizes(page):
    return {node.tag: count_tokens(node.line) for node in page}


def test_the_groups_leave_in_their_order():
    page = parse_page(
        f"<h1>far</h1>{DISTANT}<h2>near</h2><button>x</button><select><option>s</select><div hidden>h</div><a>y</a>"
    )
    whole = sum(count_tokens(node.line) for node in page)
    assert prune(page, whole) == page
    order, last = [], [node.tag for node in page]
    for budget in reversed(range(sizes(page)["button"], whole)):
        now = tags(page, budget)
        order += [tag for tag in dict.fromkeys(last) if last.count(tag) > now.count(tag)]
        last = now
    assert list(dict.fromkeys(order)) == ["text", "div", "p", "h1", "h2", "option", "a", "select"]
    assert last == ["button"]


def test_each_group_leaves_from_the_end():
    page = parse_page(f"<button>x</button>{DISTANT}")
    shown = render(prune(page, sum(count_tokens(node.line) for node in page) - 1))
    assert "line 10" in shown
    assert "line 11" not in shown


def test_what_is_around_what_stays_stays_and_what_is_emptied_leaves():
    page = parse_page("<a>1</a><ul><li><a>22</a></li></ul><form><button>3</button></form>")
    sizes = [count_tokens(node.line) for node in page]
    assert tags(page, sum(sizes) - 1) == ["a", "ul", "li", "a"]
    assert tags(page, sum(sizes[:4]) - 1) == ["a"]


def test_a_page_that_cannot_be_brought_under_the_budget():
    page = parse_page("<p>a</p><form><button>" + "word " * 50 + "</button></form>")
    with pytest.raises(
        InputError, match=r"task 7: found a page over the budget: 60 tokens .* 56 must stay.*at most 20"
    ):
        prune(page, 20, "task 7")


@settings(max_examples=50)
@given(html_texts, st.integers(0, 60))
def test_pruning_takes_whole_elements_and_no_more_than_is_needed(html, budget):
    page = parse_page(html)
    try:
        kept = prune(page, budget)
    except InputError:
        return
    assert sum(count_tokens(node.line) for node in kept) <= budget
    rest = iter(page)
    assert all(any(node is other for other in rest) for node in kept)
    assert prune(page, budget) == kept
    depth = -1
    for node in kept:
        assert node.depth <= depth + 1  # nothing hangs in the air
        depth = node.depth
