"""Every shipped configuration and every option: they parse, they are explained, and a wrong key is named."""

import json
import sys
from pathlib import Path

import pytest
import yaml
from jsonargparse import ArgumentParser

from swirl_lightning import callbacks, models, modules, rewards
from swirl_lightning.codecs import Layout
from swirl_lightning.commands import main
from swirl_lightning.commands.fit import SwirlCLI
from swirl_lightning.environments.aurora import AuroraDataModule
from swirl_lightning.environments.bytemorph import ByteMorphDataModule
from swirl_lightning.environments.crafter import CrafterDataModule
from swirl_lightning.environments.log import LogDataModule
from swirl_lightning.environments.minigrid import MiniGridDataModule
from swirl_lightning.environments.mixture import MixtureDataModule
from swirl_lightning.environments.physics import PhysicsDataModule
from swirl_lightning.environments.textworld import TextWorldDataModule
from swirl_lightning.environments.tool import ToolDataModule
from swirl_lightning.environments.web import WebDataModule
from swirl_lightning.environments.webtool import WebToolDataModule
from swirl_lightning.environments.worldprediction import WorldPredictionDataModule
from swirl_lightning.modules.schedule import Stage
from swirl_lightning.trainer import SwirlTrainer

ROOT = Path(__file__).parents[1]
CONFIGS = sorted(ROOT.glob("configs/**/*.yaml"))
DEBUG = ROOT / "configs/debug.yaml"
COMMANDS = ("fit", "validate", "test", "predict")
CLASSES = (
    modules.SWIRL, modules.ForwardWorldModel, modules.InverseDynamicsModel, models.ScratchLM, models.PretrainedLM,
    models.ScratchPictureLM, CrafterDataModule, MiniGridDataModule, LogDataModule, TextWorldDataModule,
    PhysicsDataModule, WebDataModule, ToolDataModule, MixtureDataModule, WebToolDataModule, AuroraDataModule,
    ByteMorphDataModule,
    WorldPredictionDataModule, SwirlTrainer, Stage, Layout, rewards.LikelihoodReward,
    rewards.NextStateReward, rewards.WeightedSum, callbacks.PhaseCheckpoint, callbacks.PhaseProgress,
    callbacks.RunRecorder, callbacks.OpenLoop, callbacks.BestOfN, callbacks.PredictionWriter,
    callbacks.PlanChoice, callbacks.DiscEdit,
)  # fmt: skip

every_config = pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)


@pytest.fixture
def parsed(monkeypatch):
    """Makes a SwirlCLI that has parsed its arguments and does no more: no model, no data, no trainer."""
    for step in ("_set_seed", "instantiate_classes", "after_instantiate_classes", "_run_subcommand"):
        monkeypatch.setattr(SwirlCLI, step, lambda self, *args: None)
    monkeypatch.setattr(sys, "argv", ["swirl"])
    return lambda *args: SwirlCLI(list(args))


@every_config
def test_config_fits_the_signatures(parsed, path):
    config = parsed("fit", f"--config={path}").config.fit
    assert config.trainer.default_root_dir == f"runs/{path.stem}"
    stages = [*config.trainer.warmup, *config.trainer.iteration]
    phases = {stage.phase for stage in stages}
    assert phases >= {"sft", "elbo"}
    assert phases & {"vim", "bootstrap"}


@every_config
def test_config_says_how_to_run_it_and_what_it_is(path):
    lines = path.read_text().splitlines()
    assert lines[0] == f"# swirl fit --config {path.relative_to(ROOT)}"
    assert lines[1].startswith("# ")


@pytest.mark.parametrize("name", ["warmup", "iteration"])
@pytest.mark.parametrize("form", ["--trainer.{}={}", "--trainer.{} {}"])
def test_stages_that_are_given_anew_have_nothing_of_the_old_ones(parsed, name, form):
    """As many of them as the configuration has, and other ones."""
    old = parsed("fit", f"--config={ROOT}/configs/textworld.yaml").config.fit.trainer[name]
    assert any(stage.until or stage.learning_rate for stage in old)
    words = form.format(name, json.dumps([{"phase": "vim", "passes": 1}] * len(old), separators=(",", ":"))).split()
    new = parsed("fit", f"--config={ROOT}/configs/textworld.yaml", *words).config.fit.trainer[name]
    assert [(s.phase, s.updates, s.passes, s.until, s.learning_rate) for s in new] == [
        ("vim", None, 1, None, None)
    ] * len(old)
    one_more = f"--trainer.{name}+=" + json.dumps({"phase": "vim"})
    assert parsed("fit", f"--config={ROOT}/configs/textworld.yaml", one_more).config.fit.trainer[name][:-1] == old


@every_config
def test_any_command_takes_the_config_of_fit(parsed, path, tmp_path):
    with pytest.raises(ValueError, match="needs a trained model"):
        parsed("test", f"--config={path}", f"--trainer.default_root_dir={tmp_path}")


def test_there_are_configs():
    assert {"debug", "quickstart"} <= {path.stem for path in CONFIGS}


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_has_a_help_text(parsed, command, tmp_path, monkeypatch):
    cli = parsed("fit", f"--config={DEBUG}", f"--trainer.default_root_dir={tmp_path}")
    actions = cli._subcommand_parsers[command]._actions
    assert len(actions) > 50
    assert not [action.option_strings or action.dest for action in actions if not (action.help or "").strip()]


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_every_argument_of_a_class_has_a_help_text(kind):
    assert undocumented(kind) == []


def test_an_argument_without_help_would_be_seen():
    class Bare:
        """Says nothing of its argument."""

        def __init__(self, size: int = 1) -> None: ...

    assert undocumented(Bare) == ["size"]


def undocumented(kind):
    parser = ArgumentParser()
    names = parser.add_class_arguments(kind, "it")
    actions = {action.dest: action for action in parser._actions}
    return [name.removeprefix("it.") for name in names if not (actions[name].help or "").strip()]


def test_help_of_a_command_ends_well(capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["fit", "--help"])
    assert stopped.value.code == 0
    help_text = capsys.readouterr().out
    for option in ("--trainer.iterations", "--model.max_tokens", "--ckpt_path", "how often they are repeated"):
        assert option in help_text


@pytest.mark.parametrize(
    "place",
    ["", "trainer", "trainer.warmup.0", "model", "model.base.init_args", "model.fwm.init_args", "data.init_args"],
)
def test_an_unknown_key_is_named(place, tmp_path, capsys):
    config = yaml.safe_load(DEBUG.read_text())
    node = config
    for key in filter(None, place.split(".")):
        node = node[int(key) if key.isdigit() else key]
    node["wobble"] = 1
    (tmp_path / "wrong.yaml").write_text(yaml.safe_dump(config))
    assert main(["fit", f"--config={tmp_path / 'wrong.yaml'}"]) == 2
    assert "wobble" in capsys.readouterr().err


def test_an_unknown_option_is_named(capsys):
    assert main(["fit", f"--config={DEBUG}", "--model.wobble=1"]) == 2
    assert "wobble" in capsys.readouterr().err


def test_the_printed_config_is_a_config(parsed, tmp_path, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["fit", f"--config={DEBUG}", "--data.batch_size=3", "--print_config"])
    assert stopped.value.code == 0
    (tmp_path / "printed.yaml").write_text(capsys.readouterr().out)
    config = parsed("fit", f"--config={tmp_path / 'printed.yaml'}").config.fit
    assert config.data.init_args.batch_size == 3
    assert config.as_dict().keys() == parsed("fit", f"--config={DEBUG}").config.fit.as_dict().keys()
