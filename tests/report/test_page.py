import re
import xml.etree.ElementTree as ET

import pytest

from swirl_lightning.report import write_report
from swirl_lightning.report.samples import line_diff

NAUGHTY = "<script>alert('x')</script> & \"q\" \x1b[0m \ud800"


def page(folder):
    return write_report(folder).read_text(encoding="utf-8")


def tree(text):
    """The page is well-formed XML, its charts with it."""
    return ET.fromstring(text)


def words(element):
    return "".join(element.itertext())


def test_a_whole_run_makes_every_section(write, results, history, samples):
    body = tree(page(write(results, history, samples)))
    titles = [words(title) for title in body.iter("h2")]
    assert titles == ["Before and after", "Held-out metrics by stage", "Training", "Time and tokens", "Samples",
                      "Configuration"]  # fmt: skip
    captions = [words(caption.find("b")) for caption in body.iter("figcaption")]
    assert captions == ["exact match", "log-prob, nats/token", "unique actions", "Reward", "KL to the reference",
                        "Supervised loss"]  # fmt: skip


def test_the_summary_says_what_rose_what_fell_and_what_stayed(write, results):
    lead = next(p for p in tree(page(write(results))).iter("p") if p.get("class") == "lead").text
    assert "(FWM) gained: exact match went from 34.6% to 61.1% (+26.5 points)" in lead
    assert "(IDM) did not change: exact match went from 30.0% to 30.0% (+0.0 points)" in lead
    assert "Worse: FWM log-prob, nats/token (-0.500 to -0.750)" in lead
    assert "between warmup and elbo-1 (300 updates, 20 s)" in lead


def test_differences_are_coloured_by_sign_and_monitors_are_not(write, results):
    results["stages"][-1]["metrics"]["idm/unique"] = 0.1
    moves = [span for span in tree(page(write(results))).iter("span") if "move" in span.get("class")]
    assert [(span.get("class"), span.text) for span in moves] == [
        ("move up", "+0.265"), ("move down", "-0.250"), ("move same", "+0.000"), ("move ", "-0.400"),
    ]  # fmt: skip


def test_user_text_is_escaped_everywhere(write, results, history, samples):
    results["stages"][-1]["stage"] = NAUGHTY
    results["stages"][-1]["phase"] = NAUGHTY
    results["stages"][-1]["metrics"]["fwm/" + NAUGHTY] = 1.0
    results["config"][NAUGHTY] = NAUGHTY
    results["versions"][NAUGHTY] = results["seed"] = NAUGHTY
    for row in history:
        row["stage"] = row["stage"].replace("elbo-1", NAUGHTY)
    for key in ("stage", "episode", "step", "state", "action", "next_state", "predicted_action"):
        samples[1][key] = NAUGHTY
    text = page(write(results, history, samples))
    assert "<script" not in text
    assert "&lt;script&gt;" in text
    tree(text)


def test_nothing_is_loaded_from_outside(write, results, history, samples):
    text = page(write(results, history, samples))
    assert re.search(r"https?://|\bsrc=|\bhref=|url\(|@import|<script|<link", text) is None


def test_the_same_run_gives_the_same_bytes(write, results, history, samples):
    folder = write(results, history, samples)
    first = write_report(folder).read_bytes()
    assert write_report(folder).read_bytes() == first


def test_unknown_metrics_come_last_by_name(write, results):
    results["stages"][-1]["metrics"] |= {f"fwm/{name}": 0.5 for name in "zbyacx"}
    body = tree(page(write(results)))
    captions = [words(caption.find("b")) for caption in body.iter("figcaption")]
    assert captions == ["exact match", "log-prob, nats/token", "unique actions", *"abcxyz"]


@pytest.mark.parametrize("finished", [0, 1, 2, 3])
def test_an_unfinished_run_is_shown_as_far_as_it_went(write, results, history, finished):
    results["stages"] = results["stages"][:finished]
    text = page(write(results, history))
    assert ("Before and after" in text) == (finished >= 2)
    assert ("nothing to compare yet" in text) == (finished == 2)
    assert "Reward" in text  # from the history of stages that have no results yet
    tree(text)


def test_nan_and_nothing_never_break_the_page(write, results, history, samples):
    for row in history[5:8]:
        row["reward"] = row["kl"] = float("nan")
        row["reward_std"] = None
    bare = {"stage": "elbo-2", "seconds": None, "metrics": {"fwm/exact_match": float("nan"), "idm/exact_match": None}}
    results["stages"] += [bare, {"stage": "vim-3"}]
    samples[0]["state"] = samples[0]["next_state"] = samples[1]["predicted_action"] = None
    text = page(write(results, history, samples))
    tree(text)
    assert not re.search(r"\bnan\b|\binf\b", text)


def test_an_update_made_again_after_a_resume_counts_once(write, results):
    rows = [{"stage": "vim-1", "update": i, "reward": value} for value in (-9.0, -1.0) for i in range(3)]
    figure = next(f for f in tree(page(write(results, rows))).iter("figure") if "Reward" in words(f))
    (line,) = figure.iter("polyline")
    assert len({point.split(",")[1] for point in line.get("points").split()}) == 1


def test_time_is_split_by_its_shares(write, results, history):
    body = tree(page(write(results, history)))
    bar = next(svg for svg in body.iter("svg") if svg.get("aria-label").startswith("generation 50%"))
    widths = [float(rect.get("width")) for rect in bar]
    assert widths == pytest.approx([50, 25, 15, 10])  # vim-1, the longest stage


def test_samples_show_before_and_after_with_the_truth(write, results, samples):
    (card,) = (d for d in tree(page(write(results, None, samples))).iter("details") if d.find("summary/b") is not None)
    assert words(card.find("summary")) == "episode e1, step 4 warmup: action ✗ state ✗ elbo-1: action ✓ state ✗"
    assert "malformed" in words(card)
    rows = [(span.get("class"), words(span)) for span in card.iter("span") if span.get("class", "").startswith("row")]
    assert ("row new", " cup carried") in rows
    assert rows[-3:] == [("row missing", "-cup carried"), ("row extra", "+cup eaten"), ("row ", " lamp on desk")]


def test_the_last_sampled_stage_stands_in_for_one_not_sampled(write, results, samples):
    samples[1]["stage"] = "vim-1"
    text = page(write(results, None, samples))
    assert "Action after warmup" in text
    assert "Action after vim-1" in text


def test_long_equal_runs_are_folded():
    truth = "\n".join(f"line {i}" for i in range(50))
    rows = [words(row) for row in tree(line_diff(truth, truth.replace("line 25", "x")))]
    assert rows == [
        "23 equal lines",
        " line 23",
        " line 24",
        "-line 25",
        "+x",
        " line 26",
        " line 27",
        "22 equal lines",
    ]
    assert len(tree(line_diff(truth, truth))) == 50


def test_open_loop_rollouts_are_one_chart_a_score(write, results):
    for stage in results["stages"][1:]:
        stage["metrics"] |= {f"fwm/open_loop_{k}/{m}": 0.5 / k for k in (1, 2) for m in ("exact_match", "delta_f1")}
    body = tree(page(write(results)))
    assert "Open-loop rollouts" in [words(title) for title in body.iter("h2")]
    notes = [words(caption) for caption in body.iter("figcaption")]
    assert sum("by step of a rollout" in note for note in notes) == 2
    assert not any("step 1" in note for note in notes)  # no chart a step
