import json
import random
import shutil
import sys
from collections import Counter
from importlib.util import find_spec

import pytest

from swirl_lightning.codecs import encode_delta
from swirl_lightning.environments.physics import PhysicsDataModule
from swirl_lightning.environments.physics import collect as physics_collect
from swirl_lightning.environments.physics.collect import LEFT_OUT, Engine, collect_physics, draw_action
from swirl_lightning.environments.splits import SPLITS
from swirl_lightning.types import InputError

SECTIONS = {"room", "here", "door", "carried", "said"}
TASKS = ["lifespan-longest-lived", "power-component"]


def test_the_random_policy_draws_kinds_evenly_and_leaves_out_what_ends_or_undoes():
    valid = [f"move {n} to {m}" for n in range(9) for m in range(9)]
    valid += ["open door", "wait", "focus on door", "reset", "task"]
    rng = random.Random(0)
    drawn = Counter(draw_action(valid, rng).split()[0] for _ in range(600))
    assert set(drawn) == {"move", "open", "wait"}
    assert all(150 < count < 250 for count in drawn.values())
    assert draw_action(valid, random.Random(5)) == draw_action(valid[::-1], random.Random(5))


def test_a_missing_package_is_said_with_its_cure(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "scienceworld", None)
    with pytest.raises(InputError, match=r"pip install 'swirl-lightning\[physics\]'"):
        collect_physics(tmp_path / "made")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": 0}, "steps: found 0, expected at least 1"),
        ({"variations": (1, 0, 1)}, "dev: found 0, expected at least 1"),
    ],
)
def test_sizes_must_be_positive(tmp_path, options, message):
    with pytest.raises(InputError, match=message):
        collect_physics(tmp_path, **options)


needs_package = pytest.mark.skipif(find_spec("scienceworld") is None, reason="scienceworld is not installed")


@needs_package
def test_absent_java_is_said_with_the_package_that_has_it(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError, match="found no 'java' on the PATH.*default-jre-headless"):
        collect_physics(tmp_path / "made")


@needs_package
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_java_that_does_not_start_is_said(monkeypatch, tmp_path):
    java = tmp_path / "java"
    java.write_text("#!/bin/sh\nexit 1\n")
    java.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    with pytest.raises(InputError, match="Java does not start ScienceWorld.*default-jre-headless"):
        collect_physics(tmp_path / "made")


@pytest.fixture(scope="module")
def engine():
    engine = Engine()
    yield engine
    engine.close()


@pytest.fixture(scope="module")
def collect(engine):
    """Collects with the engine that runs."""

    def run(*args, **options):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(physics_collect, "Engine", lambda: engine)
            patch.setattr(engine, "close", lambda: None)
            collect_physics(*args, **options)

    return run


@pytest.fixture(scope="module")
def folder(collect, tmp_path_factory):
    folder = tmp_path_factory.mktemp("physics") / "made"
    collect(folder, tasks=TASKS, variations=(2, 1, 1), steps=14)
    return folder


@needs_package
@pytest.mark.skipif(shutil.which("java") is None, reason="ScienceWorld needs Java (default-jre-headless)")
class TestEngine:
    """What needs the engine: one start of Java for all."""

    def test_a_collection_is_whole_and_from_the_official_variations(self, folder, engine):
        data = PhysicsDataModule(folder)
        data.setup()  # checks the hashes and that no episode has a gap
        record = json.loads((folder / "collection.json").read_text())
        official = {}
        for task in TASKS:
            engine.load((task, 0), "easy")
            official[task] = {
                "labelled": engine.wrapper.get_variations_train(), "state_only": engine.wrapper.get_variations_train(),
                "validation": engine.wrapper.get_variations_dev(), "test": engine.wrapper.get_variations_test(),
            }  # fmt: skip
        worlds = {}
        for split in SPLITS:
            episodes = {t.episode for t in getattr(data, split)}
            assert set(record["scores"][split]) == episodes
            assert len(episodes) == 4  # two tasks, two policies
            for episode in episodes:
                task, variation, policy = episode.rsplit("-", 2)
                assert int(variation) in official[task][split]
                assert worlds.setdefault((task, variation), split) == split
                assert policy in ("gold", "random")
                assert policy == "random" or record["scores"][split][episode] == 100
        assert not any(t.action for t in data.state_only)

    def test_states_are_facts_and_edits_short(self, folder):
        data = PhysicsDataModule(folder)
        data.setup()
        for t in data.labelled + data.test:
            for state in (t.state, t.next_state):
                assert state.split("\n") == sorted(set(state.split("\n")))
                assert {line.split(": ")[0] for line in state.split("\n")} <= SECTIONS
                assert state.count("room: ") == 1
            assert "@" not in encode_delta(t.state, t.next_state)
        assert {"go", "look"} <= {t.action.split()[0] for t in data.labelled}
        assert not {t.action.split()[0] for t in data.labelled if "random" in t.episode} & set(LEFT_OUT)

    def test_valid_actions_are_those_of_the_package(self, engine):
        engine.load((TASKS[0], 1), "easy")
        first_words = Counter(action.split()[0] for action in engine.wrapper.get_valid_action_object_combinations())
        assert Counter(action.split()[0] for action in engine.valid()) == first_words  # names of things vary by call
        assert len(first_words) > 10

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"tasks": ["boil", "bake"]}, "tasks: found 'bake', expected some of boil, "),
            ({"simplification": "easy,lazy"}, "simplification: found 'lazy', expected some of easy, "),
            ({"tasks": ["power-component"], "simplification": "noElectricalAction"}, "requires electrical actions"),
            ({"tasks": ["boil"], "variations": (1, 1, 1)}, "variations: found 1 train variation in all"),
        ],
    )
    def test_arguments_that_do_not_fit_are_named(self, collect, tmp_path, options, message):
        with pytest.raises(InputError, match=message):
            collect(tmp_path / "made", **options)
        assert not (tmp_path / "made").exists()
