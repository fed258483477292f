import pytest

from swirl_lightning.metrics.judge.rubric import RUBRICS, known_rubrics, read_rubric
from swirl_lightning.types import InputError


@pytest.mark.parametrize(
    ("name", "states", "bounds", "criteria", "score", "by_turn"),
    [
        ("aurora", "images", (0, 10), ["instruction", "preservation"], "lowest", False),
        ("bytemorph", "images", (0, 100), ["score"], "lowest", False),
        ("worldprediction", "images", (0, 10), ["score"], "lowest", True),
        ("agentworld", "text", (1, 5), ["format", "factuality", "consistency", "realism", "quality"], "mean", False),
    ],
)
def test_the_scales_are_those_of_the_benchmarks(name, states, bounds, criteria, score, by_turn):
    rubric = read_rubric(name)
    assert (rubric.states, rubric.least, rubric.most, list(rubric.criteria)) == (states, *bounds, criteria)
    assert (rubric.score, rubric.by_turn) == (score, by_turn)


def test_all_of_them_are_tested():
    assert known_rubrics() == ["agentworld", "aurora", "bytemorph", "worldprediction"]


def test_scores():
    assert read_rubric("aurora").total({"instruction": 7, "preservation": 3}) == 3
    assert read_rubric("agentworld").total(dict.fromkeys("abcd", 2) | {"e": 5}) == pytest.approx(2.6)


@pytest.mark.parametrize(
    "answer",
    [
        '{"instruction": 7, "preservation": 3.5}',
        '```json\n{"preservation": 3.5, "instruction": 7, "why": "{no}"}\n```',
        'The set {a, b} is fine. {"instruction": 7, "preservation": 3.5} As I said: '
        '{"instruction": 7, "preservation": 3.5}',
        '{"other": 1} {"instruction": 7, "preservation": 3.5}',
    ],
)
def test_answers_that_are_read(answer):
    assert read_rubric("aurora").read_answer(answer) == {"instruction": 7, "preservation": 3.5}


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ("", "found no JSON object"),
        ("10 out of 10", "found no JSON object"),
        ('{"instruction": 10}', "found no JSON object with instruction, preservation"),
        ("[10, 10]", "found no JSON object"),
        ('{"instruction": 10, "preservation": 11}', "preservation: found 11, expected a number from 0 to 10"),
        ('{"instruction": -1, "preservation": 1}', "instruction: found -1"),
        ('{"instruction": true, "preservation": 1}', "instruction: found True"),
        ('{"instruction": "10", "preservation": 1}', "instruction: found '10'"),
        ('{"instruction": NaN, "preservation": 1}', "instruction: found nan"),
        ('{"instruction": Infinity, "preservation": 1}', "instruction: found inf"),
        (
            '{"instruction": 1, "preservation": 1} or {"instruction": 10, "preservation": 10}',
            "2 JSON objects that differ",
        ),
        ('{"instruction": 10, "preservation": 1', "found no JSON object"),
        ("{" * 100_000, "found no JSON object"),
    ],
)
def test_answers_that_are_none(answer, said):
    with pytest.raises(ValueError, match=said):
        read_rubric("aurora").read_answer(answer)


def test_your_own_rubric(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("{states: text, least: 0, most: 1, score: mean, task: Judge., criteria: {right: It is right.}}")
    assert read_rubric(str(path)).criteria == {"right": "It is right."}


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("states: images", "states: sounds", "states: found 'sounds', expected one of images, text"),
        ("most: 10", "most: 0", "most: found 0, expected above 0"),
        ("most: 10", "most: ten", "most: found 'ten', expected a number"),
        ("least: 0\n", "", "least: missing"),
        ("least: 0", "lest: 0", "found the key 'lest', expected the keys"),
        ("score: lowest", "score: best", "score: found 'best'"),
        ("  preservation: >-", "  preservation: 3\n  other: >-", "preservation: found 3, expected words"),
        ("states: images", "states: [", "found no valid YAML"),
    ],
)
def test_rubrics_that_are_none(tmp_path, old, new, said):
    text = (RUBRICS / "aurora.yaml").read_text()
    assert old in text
    (tmp_path / "mine.yaml").write_text(text.replace(old, new, 1))
    with pytest.raises(InputError, match="mine.yaml") as caught:
        read_rubric(str(tmp_path / "mine.yaml"))
    assert said in str(caught.value)
    with pytest.raises(InputError, match="--rubric: found 'best', expected one of agentworld, aurora"):
        read_rubric("best")
