"""What a user's own code raises is told as the user's, with its place; an error of the package stays the package's."""

import json
import re
import sys
import textwrap

import pytest
from toy_run import world, write_log

from swirl_lightning import commands
from swirl_lightning.blame import fault_of
from swirl_lightning.commands import main
from swirl_lightning.ending import ending_of
from swirl_lightning.types import InputError

CODE = """
import lightning as L

from swirl_lightning.engine.rollouts import Rollouts
from swirl_lightning.environments.log import LogDataModule
from swirl_lightning.metrics.base import PredictionMetric
from swirl_lightning.models import Policy
from swirl_lightning.rewards import Rewards, ScoringTask


def look_up(name):
    return {}[name]


class Reward:
    def __init__(self, limit: int = 1) -> None:
        self.limit = 1 // limit

    def __call__(self, rollouts: Rollouts, task: ScoringTask, scorer: Policy) -> Rewards:
        return look_up("door")


class Callback(L.Callback):
    def on_train_batch_start(self, trainer, module, batch, batch_idx):
        raise RuntimeError("first\\x1b[31m\\nsecond")


class Leaves(L.Callback):
    def on_train_batch_start(self, trainer, module, batch, batch_idx):
        raise SystemExit(0)


class Data(LogDataModule):
    def read(self):
        return super().read()["nothing"]


class Metric(PredictionMetric):
    def score(self, transition, prediction):
        return 1 / 0


class Measured(LogDataModule):
    def metrics(self):
        return {"fwm_mine": Metric()}


class Odd(Metric):
    def score(self, transition, prediction):
        return float("nan")


class Oddly(LogDataModule):
    def metrics(self):
        return {"fwm_odd": Odd()}


class Narrow(Reward):
    def __call__(self, rollouts: Rollouts, task: ScoringTask, scorer: Policy) -> Rewards:
        return Rewards(rollouts.logp[:, :1])


class HalfFinite(Reward):
    def __call__(self, rollouts: Rollouts, task: ScoringTask, scorer: Policy) -> Rewards:
        total = rollouts.logp.sum(1)
        return Rewards(total, {"half": total, "other": total * float("nan")})


class Ended(Reward):
    def __call__(self, rollouts: Rollouts, task: ScoringTask, scorer: Policy) -> Rewards:
        return next(iter(()))  # of a reward


class Silent(Reward):
    def __init__(self) -> None:
        raise ValueError  # and says nothing


class Unannotated:
    def __call__(self, rollouts, task, scorer):
        return None


class EndedBatch(L.Callback):
    def on_train_batch_end(self, *args):
        next(iter(()))  # after an update


class EndedEvaluation(L.Callback):
    def on_validation_batch_end(self, *args):
        next(iter(()))  # within an evaluation


class Long(L.Callback):
    def on_fit_start(self, *args):
        raise ValueError("x" * 100_000)


class Halved(LogDataModule):
    def read(self):
        return {"labelled": super().read()["labelled"]}
"""
CONFIG = """
trainer:
  accelerator: cpu
  logger: false
  default_root_dir: {root}/run
  enable_progress_bar: false
  warmup: [{{phase: sft, updates: 1}}, {{phase: vim, updates: 1}}]
  iterations: 0
model:
  base: {{class_path: swirl_lightning.models.ScratchLM, init_args: {{hidden_size: 32, num_layers: 1, vocab_size: 300}}}}
  fwm: {{class_path: ForwardWorldModel, init_args: {{max_new_tokens: 4, grpo: {{group_size: 2}}}}}}
  idm: {{class_path: InverseDynamicsModel, init_args: {{max_new_tokens: 4, grpo: {{group_size: 2}}}}}}
  max_tokens: 100
data:
  class_path: {data}
  init_args: {{path: {root}/log.jsonl, batch_size: 2, eval_limit: 2, num_labels: null}}
"""


@pytest.fixture
def fit(tmp_path, monkeypatch, capsys):
    """Runs ``swirl fit`` with classes of a file: exit code and error output."""
    (tmp_path / "mine.py").write_text(CODE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "mine", raising=False)
    write_log(tmp_path / "log.jsonl", world())

    def run(*options, data="LogDataModule"):
        (tmp_path / "c.yaml").write_text(CONFIG.format(root=tmp_path, data=data))
        code = main(["fit", f"--config={tmp_path / 'c.yaml'}", *options])
        return code, capsys.readouterr().err

    yield run
    sys.modules.pop("mine", None)


CASES = {
    "a reward": ("mine.Reward", "return {}[name]", "KeyError: 'door'", {"option": "--model.reward=mine.Reward"}),
    "a reward that cannot be made": (
        "mine.Reward", "self.limit = 1 // limit", "ZeroDivisionError: integer division or modulo by zero",
        {"option": '--model.reward={"class_path": "mine.Reward", "init_args": {"limit": 0}}'},
    ),
    "a callback": (
        "mine.Callback", "raise RuntimeError", "RuntimeError: first\\x1b[31m",
        {"option": '--trainer.callbacks=[{"class_path": "mine.Callback"}]'},
    ),
    "a callback that ends the process": (
        "mine.Leaves", "raise SystemExit(0)", "SystemExit: 0",
        {"option": '--trainer.callbacks=[{"class_path": "mine.Leaves"}]'},
    ),
    "a data module": ("mine.Data", 'super().read()["nothing"]', "KeyError: 'nothing'", {"data": "mine.Data"}),
    "a reward that says nothing": (
        "mine.Silent", "raise ValueError  # and", "ValueError", {"option": "--model.reward=mine.Silent"},
    ),
    "a reward that ends an iterator": (
        "mine.Ended", "# of a reward", "StopIteration", {"option": "--model.reward=mine.Ended"},
    ),
    "a callback that ends an iterator after an update": (
        "mine.EndedBatch", "# after an update", "StopIteration",
        {"option": '--trainer.callbacks=[{"class_path": "mine.EndedBatch"}]'},
    ),
    "a callback that ends an iterator in an evaluation": (
        "mine.EndedEvaluation", "# within an evaluation", "StopIteration",
        {"option": '--trainer.callbacks=[{"class_path": "mine.EndedEvaluation"}]'},
    ),
    "a metric": ("mine.Metric", "return 1 / 0", "ZeroDivisionError: division by zero", {"data": "mine.Measured"}),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_what_users_code_raises_is_told_as_theirs(name, fit, tmp_path):
    named, line, raised, given = CASES[name]
    code, err = fit(*filter(None, [given.get("option")]), data=given.get("data", "LogDataModule"))
    assert code == 1
    *before, last = err.strip().splitlines()
    number = next(n for n, its in enumerate(CODE.splitlines(), start=1) if line in its)
    assert last == f"error: code of your own failed: {named} ({tmp_path / 'mine.py'}, line {number}): {raised}"
    assert "error of swirl-lightning" not in err
    trace = before[before.index("Traceback (most recent call last):") :]
    assert trace[1].startswith(f'  File "{tmp_path / "mine.py"}", line ')
    assert not any("\x1b" in its for its in trace)


@pytest.mark.parametrize(
    ("text", "line", "raised"),
    [
        ("import os\nos.nothing\n", 2, "AttributeError: module 'os' has no attribute 'nothing'"),
        ("import no_such_package_here\n", 1, "ModuleNotFoundError: No module named 'no_such_package_here'"),
        ("x = 1\ndef f(:\n", 2, "SyntaxError: invalid syntax (mine.py, line 2)"),
    ],
)
def test_a_module_that_cannot_be_imported(fit, tmp_path, text, line, raised):
    (tmp_path / "mine.py").write_text(text)
    code, err = fit("--model.reward=mine.Reward")
    assert code == 1
    assert (
        err.splitlines()[-1] == f"error: code of your own failed: mine ({tmp_path / 'mine.py'}, line {line}): {raised}"
    )


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (
            {"option": "--model.reward=mine.Narrow"},
            r"error: model\.reward: mine\.Narrow returned as its total a tensor of torch\.float32, \[\d+, 1\], "
            r"expected a tensor \[\d+\] of real numbers, one for each distinct completion",
        ),
        (
            {"option": "--model.reward=mine.Unannotated"},
            r"error: swirl fit: --model\.reward: found mine\.Unannotated, expected a class that has the methods of "
            "Reward, with the same arguments and annotations",
        ),
        (
            {"data": "mine.Oddly"},
            r"error: mine\.Odd: episode '.*', step \d+: found a score of nan, expected a finite .*",
        ),
        (
            {"data": "mine.Halved"},
            r"error: data: mine\.Halved\.read returned \['labelled'\], expected transitions for each of labelled, .*",
        ),
    ],
    ids=["a reward of another form", "a reward without annotations", "a score", "splits"],
)
def test_what_users_code_returns_and_cannot_be_used_is_told_in_a_line(given, told, fit):
    code, err = fit(*filter(None, [given.get("option")]), data=given.get("data", "LogDataModule"))
    assert code == 2
    assert re.fullmatch(told, err.splitlines()[-1])
    assert "Traceback" not in err


def test_a_part_of_a_reward_that_is_not_finite_stops_the_run(fit):
    code, err = fit("--model.reward=mine.HalfFinite")
    assert code == 1
    assert err.splitlines()[-1].startswith("training stopped: vim update 0: a reward part is not finite")


def test_a_very_long_message_is_cut(fit):
    code, err = fit('--trainer.callbacks=[{"class_path": "mine.Long"}]')
    assert code == 1
    assert err.splitlines()[-1].endswith("x ... (100,000 characters)")
    assert len(err.splitlines()[-1]) < 1300


def test_a_class_of_a_library_that_refuses_its_options_is_named(fit):
    """It is neither an error of this package nor code of the user's."""
    checkpoint = '{"class_path": "lightning.pytorch.callbacks.ModelCheckpoint", "init_args": {"save_top_k": -5}}'
    code, err = fit(f"--trainer.callbacks=[{checkpoint}]")
    assert code == 2
    assert err.count("\n") == 1
    assert re.match(r"error: lightning\.\S+\.ModelCheckpoint: Invalid value for save_top_k=-5", err)


def call(text, file, **names):
    """A function ``call`` of a file."""
    exec(compile(textwrap.dedent(text), str(file), "exec"), names)
    return names["call"]


OURS = commands.__file__


@pytest.fixture
def mine(tmp_path):
    (tmp_path / "mine.py").touch()
    return tmp_path / "mine.py"


def raised(function):
    try:
        function()
    except BaseException as error:
        error.__traceback__ = error.__traceback__.tb_next  # without this file, which is no user's here
        return error


def test_an_error_in_this_package_stays_ours():
    error = raised(call("def call(): return {}['a']", OURS))
    assert fault_of(error) is None
    assert ending_of(error).code == 70


def test_what_this_package_raises_for_users_code_says_so(mine):
    """A wrong call, or an error of ours below a method that is extended: both can be read from the traceback."""
    ours = call("def call(): return {}['a']", OURS)
    ending = ending_of(raised(call("def call(): return ours()", mine, ours=ours)))
    assert ending.code == 1
    assert ending.line.endswith("KeyError: 'a'; it was raised in swirl_lightning, which is called there")
    assert ending.trace.splitlines()[1].startswith(f'  File "{mine}"')


@pytest.mark.parametrize(
    ("text", "code", "line"),
    [
        ("raise InputError('facts.json: found no facts')", 2, "error: facts.json: found no facts"),
        ("raise OSError(28, 'No space left on device', 'a/b')", 2, "error: a/b: No space left on device"),
        ("raise FloatingPointError('a reward is not finite')", 1, "training stopped: a reward is not finite"),
    ],
)
def test_what_has_a_line_of_its_own_keeps_it_where_users_code_asked_for_it(mine, text, code, line):
    """As where a data module of one's own lets ours read a file that is not there."""
    ours = call(f"def call(): {text}", OURS, InputError=InputError)
    assert ending_of(raised(call("def call(): return ours()", mine, ours=ours)))[:2] == (code, line)


@pytest.mark.parametrize("text", ["raise ConnectionError('no judge')", "raise FloatingPointError('underflow')"])
def test_what_users_code_raises_itself_is_theirs_whatever_it_is(mine, text):
    ending = ending_of(raised(call(f"def call(): {text}", mine)))
    assert ending.code == 1
    assert ending.line.startswith(f"error: code of your own failed: .call ({mine}, line 1): ")


def test_an_input_error_of_users_code_is_a_line(mine):
    error = raised(call("def call(): raise InputError('mine: found 1')", mine, InputError=InputError))
    assert ending_of(error)[:2] == (2, "error: mine: found 1")


def test_the_standard_library_and_installed_packages_are_no_users(mine):
    assert fault_of(raised(call("def call(): return json.loads('{')", OURS, json=json))) is None
    assert fault_of(raised(call("def call(): return json.loads('{')", mine, json=json))) is not None


@pytest.mark.parametrize("link", ["__cause__", "__context__"])
def test_exceptions_that_go_round_in_a_circle_come_to_an_end(link):
    first, second = (raised(call("def call(): return {}['a']", OURS)) for _ in range(2))
    setattr(first, link, second)
    setattr(second, link, first)
    first.__suppress_context__ = second.__suppress_context__ = False
    assert fault_of(first) is None
    assert ending_of(first).code == 70
