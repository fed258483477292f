"""The one request, against a judge on this machine."""

import logging
import threading
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from fake_judge import SILENT, FakeJudge, completion, serving

from swirl_lightning.metrics.judge import endpoint
from swirl_lightning.metrics.judge.endpoint import Endpoint, OutOfBudget, Unanswered
from swirl_lightning.types import InputError

BUSY = 429, {"Retry-After": "0.3"}, '{"error": "slow down"}'


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(endpoint, "FIRST_PAUSE", 0.02)
    monkeypatch.setenv("no_proxy", "127.0.0.1")


def test_the_request():
    with serving(FakeJudge(completion("so"))) as judge:
        asked = Endpoint(judge.url + "/", key="secret")
        assert asked.ask({"model": "m", "messages": [1]}) == "so"
    assert judge.paths == ["/v1/chat/completions"]
    assert judge.bodies == [{"model": "m", "messages": [1]}]
    assert judge.headers[0]["Authorization"] == "Bearer secret"
    assert judge.headers[0]["Content-Type"] == "application/json"
    assert "secret" not in repr(asked)


def test_without_a_key_none_is_sent():
    with serving(FakeJudge(completion("so"))) as judge:
        Endpoint(judge.url).ask({})
    assert "Authorization" not in judge.headers[0]


def test_it_waits_as_long_as_it_is_told():
    with serving(FakeJudge(BUSY, completion("so"))) as judge:
        asked = Endpoint(judge.url)
        assert asked.ask({}) == "so"
    assert asked.requests == 2
    assert 0.3 <= judge.times[1] - judge.times[0] < 5


def test_one_that_is_told_to_wait_makes_all_wait():
    """Two threads; the second begins while the first one waits."""
    with serving(FakeJudge((429, {"Retry-After": "0.6"}, ""), completion("so"))) as judge:
        asked = Endpoint(judge.url)
        first = threading.Thread(target=asked.ask, args=({},))
        first.start()
        while not asked._not_before:
            time.sleep(0.01)
        asked.ask({})
        first.join()
    assert len(judge.times) == 3
    assert min(judge.times[1:]) - judge.times[0] >= 0.6


def test_pauses_grow(caplog):
    caplog.set_level(logging.INFO)
    with serving(FakeJudge(*[(503, {}, "")] * 3, completion("so"))) as judge:
        assert Endpoint(judge.url).ask({}) == "so"
    pauses = [b - a for a, b in zip(judge.times, judge.times[1:], strict=False)]
    for pause, expected in zip(pauses, (0.02, 0.04, 0.08), strict=True):
        assert pause >= 0.75 * expected
    assert "503" in caplog.text


def test_a_time_out_is_asked_again_and_then_given_up():
    with serving(FakeJudge(SILENT, completion("so"))) as judge:
        assert Endpoint(judge.url, timeout=0.2).ask({}) == "so"
    with serving(FakeJudge(SILENT)) as judge:
        asked = Endpoint(judge.url, timeout=0.2, retries=1)
        with pytest.raises(Unanswered, match=r"no answer \(timed out\), 2 times"):
            asked.ask({})
    assert asked.requests == 2


def test_nobody_there():
    with serving(FakeJudge(completion("so"))) as judge:
        pass
    with pytest.raises(Unanswered, match=r"no answer \(.*refused.*\), 2 times"):
        Endpoint(judge.url, retries=1).ask({})


@pytest.mark.parametrize("code", [401, 403, 404, 302])
def test_what_no_retry_mends_ends_at_once_and_hides_the_key(code):
    told = code, {"Location": "http://127.0.0.1:9/v1"}, '{"error": "wrong key\x1b s3cret"}'
    with serving(FakeJudge(told)) as judge:
        asked = Endpoint(judge.url, key="s3cret")
        with pytest.raises(InputError, match=rf"found the answer {code} .*wrong key") as caught:
            asked.ask({})
    assert asked.requests == 1
    assert "s3cret" not in str(caught.value)
    assert "\x1b" not in str(caught.value)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ((400, {}, "too long"), "found the answer 400 too long"),
        ((200, {}, "<html>"), "found no chat completion"),
        ((200, {}, '{"choices": []}'), "found no chat completion"),
        ((200, {}, "[" * 100_000), "found no chat completion"),
        ((200, {}, '{"choices": [{"message": {"content": null}}]}'), "found NoneType in the answer"),
    ],
)
def test_an_answer_of_no_use_costs_one_request(answer, said):
    with serving(FakeJudge(answer)) as judge:
        asked = Endpoint(judge.url)
        with pytest.raises(Unanswered, match=said):
            asked.ask({})
    assert asked.requests == 1


def test_the_budget_counts_every_request():
    with serving(FakeJudge(completion("a"), (500, {}, ""), completion("b"))) as judge:
        asked = Endpoint(judge.url, budget=2)
        assert asked.ask({}) == "a"
        with pytest.raises(OutOfBudget):
            asked.ask({})
        with pytest.raises(OutOfBudget):
            asked.ask({})
    assert len(judge.bodies) == 2


def test_retry_after():
    soon = format_datetime(datetime.now(UTC) + timedelta(seconds=30), usegmt=True)
    assert 28 < endpoint._retry_after(soon) <= 30
    assert endpoint._retry_after("Mon, 01 Jan 2001 00:00:00 GMT") == 0
    assert endpoint._retry_after("7") == 7
    for nothing in (None, "soon", "nan", "inf", ""):
        assert endpoint._retry_after(nothing) is None


@pytest.mark.parametrize(
    "url", ["", "127.0.0.1:80/v1", "file:///etc/passwd", "http://me:key@host/v1", "http://h/v1?key=k"]
)
def test_addresses_that_are_none(url):
    with pytest.raises(InputError, match="--url: found"):
        Endpoint(url)


def test_a_key_that_no_header_can_hold():
    with pytest.raises(InputError, match="no header can hold") as caught:
        Endpoint("http://host/v1", key="a\nb")
    assert "a\nb" not in str(caught.value)
