"""MirrorAPI's character BLEU: the number that NLTK gives, on the response alone."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from swirl_lightning.environments.tool.char_bleu import char_bleu, flatten, response_of

TEXTS = st.text(alphabet="abcde \n", max_size=30)


@pytest.fixture(scope="module")
def nltk_bleu():
    bleu = pytest.importorskip("nltk.translate.bleu_score")
    smoothing = bleu.SmoothingFunction().method3

    def score(prediction, target):
        return 100 * bleu.sentence_bleu([list(target)], list(prediction), smoothing_function=smoothing)

    return score


@given(prediction=TEXTS, target=TEXTS)
@settings(max_examples=300, deadline=None)
def test_it_is_the_number_of_nltk(nltk_bleu, prediction, target):
    assert char_bleu(prediction, target) == pytest.approx(nltk_bleu(prediction, target), abs=1e-9)


@pytest.mark.parametrize(
    ("prediction", "target", "score"),
    [
        ("abcdef", "abcdef", 100.0),
        ("", "abc", 0.0),
        ("abc", "", 0.0),
        ("", "", 0.0),
        ("xyz", "abc", 0.0),
        ("a", "a", 100 * 2 ** (-(1 + 2 + 3) / 4)),  # 1/1, then 1/2, 1/4, 1/8 of no n-gram
        ("abcd", "abcdabcd", 100 * 2.718281828459045 ** (1 - 8 / 4)),  # all match, half as long
    ],
)
def test_by_hand(prediction, target, score):
    assert char_bleu(prediction, target) == pytest.approx(score)


def test_error_and_response_are_flattened():
    assert flatten('{"error": "", "response": "{\'sum\': 1}"}') == "ERROR: \nRESPONSE: {'sum': 1}"
    assert flatten('{"error": "", "response": {"sum": 1}}') == "ERROR: \nRESPONSE: {'sum': 1}"
    for text in ("no JSON", '{"error": "x"}', "[1]", "3", "[" * 10_000):
        assert flatten(text) == text


def test_the_response_is_what_follows_the_state():
    assert response_of("a\nb", "a\nb\nc\nd") == "c\nd"
    assert response_of("a\nb", "a\nb") == ""
    assert response_of("a\nb", "a\nx\nc") == "x\nc"
