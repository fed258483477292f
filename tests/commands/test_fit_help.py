"""``swirl fit --help`` shows the options of the classes of a run, and a misspelt one is told which it may be."""

import re
from contextlib import redirect_stdout
from dataclasses import fields
from io import StringIO
from pathlib import Path

import pytest

from swirl_lightning.commands import main
from swirl_lightning.engine import Sampling
from swirl_lightning.modules import ForwardWorldModel, InverseDynamicsModel
from swirl_lightning.modules.learning import GRPOOptions

CONFIG = Path(__file__).parents[2] / "configs/debug.yaml"


def test_an_option_misspelt_in_a_group_of_a_file_is_told(tmp_path, refused):
    config = tmp_path / "misspelt.yaml"
    config.write_text(CONFIG.read_text().replace("grpo: {group_size: 4, beta: 0.04", "grpo: {grup_size: 4, beta: 0.04"))
    said = refused("fit", f"--config={config}")
    assert said.endswith(
        "misspelt.yaml: --model.fwm: ForwardWorldModel has no option grpo.grup_size; did you mean grpo.group_size?"
    )


@pytest.fixture(scope="module")
def classes_help():
    """What the help of a command says of each class of a run."""
    with redirect_stdout(StringIO()) as out, pytest.raises(SystemExit):
        main(["fit", "--help"])
    _, *sections = re.split(r"(?m)^With (--\S+ \w+):$", out.getvalue())
    return dict(zip(sections[::2], sections[1::2], strict=True))


@pytest.mark.parametrize("role", [ForwardWorldModel, InverseDynamicsModel])
def test_help_has_all_options_of_the_roles(classes_help, role):
    key = f"--model.{role.role}"
    groups = {"sampling": Sampling, "grpo": GRPOOptions}
    names = ["learning_rate", "max_new_tokens", *(["prior", "reads"] if role.role == "idm" else [])]
    names += [f"{group}.{field.name}" for group, kind in groups.items() for field in fields(kind)]
    found = re.findall(rf"(?m)^  ({key}\S+)", classes_help[f"{key} {role.__name__}"])
    assert sorted(found) == sorted(f"{key}.init_args.{name}" for name in names)


def test_help_has_the_options_of_an_own_log_and_of_both_bases(classes_help):
    assert "--data.init_args.num_labels NUM_LABELS\n" in classes_help["--data LogDataModule"]
    assert "--model.base.init_args.vocab_size VOCAB_SIZE\n" in classes_help["--model.base ScratchLM"]
    assert "--model.base.init_args.lora_rank LORA_RANK\n" in classes_help["--model.base PretrainedLM"]
    assert not any(re.search(r"init_args\.seed| CONFIG$", section, re.M) for section in classes_help.values())


def test_the_help_of_one_class_is_of_that_class_alone(swirl):
    code, out, _ = swirl("fit", "--model.idm.help")
    assert code == 0
    assert "--model.idm.prior {posterior,state}" in out
    assert "With --" not in out


REWARD = "swirl_lightning.rewards.WeightedSum"
NESTED = {
    "fit": [
        "--model.fwm.help", "--model.idm.help=InverseDynamicsModel", "--model.base.help=PretrainedLM",
        f"--model.reward.help={REWARD}", "--model.layout.help", "--data.help", "--data.help=LogDataModule",
        "--trainer.callbacks.help=PhaseGate", "--trainer.logger.help=TensorBoardLogger",
    ],
    "validate": ["--model.fwm.help"],
    "test": ["--data.help=LogDataModule"],
    "predict": ["--model.base.help=ScratchLM"],
    "plan": ["--model.fwm.help", "--data.help=LogDataModule"],
}  # fmt: skip


@pytest.mark.parametrize(("command", "option"), [(name, option) for name in NESTED for option in NESTED[name]])
def test_a_nested_help_is_of_the_command_that_was_given(command, option, swirl):
    """And of no Python file."""
    swirl("report", "--help")  # another command before it leaves no trace
    code, out, _ = swirl(command, option)
    assert code == 0
    assert out.startswith(f"usage: swirl {command}")


GROUPS = {
    "--model.fwm.grpo": ["fit", "--model.fwm.grpo.help"],
    "--model.idm.sampling": ["test", f"--config={CONFIG}", "--model.idm.init_args.sampling.help"],
    "--model.idm.grpo": ["plan", "--model.idm.grpo.help"],
    "--trainer": ["validate", "--trainer.help"],
    "--model": ["predict", "--model.help"],
    "--model.optimizer": ["fit", "--model.optimizer.help"],
}


@pytest.mark.parametrize("group", GROUPS)
def test_the_help_of_a_group_is_of_that_group_alone(group, swirl):
    command, *options = GROUPS[group]
    code, out, _ = swirl(command, *options)
    assert code == 0
    assert out.startswith(f"usage: swirl {command} [options]")
    shown = re.findall(r"(?m)^  (--[\w.]+)", out)
    assert len(shown) > 2
    assert all(name.startswith(f"{group}.") for name in shown)


def test_the_help_of_a_group_has_all_its_options(swirl):
    shown = re.findall(r"(?m)^  --model\.fwm\.grpo\.(\w+)", swirl("fit", "--model.fwm.grpo.help")[1])
    assert sorted(shown) == sorted(field.name for field in fields(GRPOOptions))


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["fit", "--model.fwm.grup.help"], "; did you mean --model.fwm.grpo.help? (--model.fwm.help "),
        (["test", "--trainr.help"], "did you mean --trainer.help? (--help shows all options)"),
        (["fit", "--model.base.lora.help"], "of a class that is not known; ask for --model.base.help=CLASS"),
        (["plan", "--data.init_args.help"], "of a class that is not known; ask for --data.help=CLASS"),
        (["fit", "--model.fwm.learning_rate.help"], "--model.fwm.learning_rate is one option, found "),
        (["predict", "--trainer.devices.help"], "; --trainer.help shows it"),
        (["collect", "textworld", "--games.help"], "textworld: --games is one option, found --games.help"),
        (["judge", "--options.help"], "--help shows it"),
        (["label", "r", "l", "--model.fwm.grpo.help"], "ask for swirl fit --model.fwm.grpo.help"),
        (["export", "r", "--model.base.help"], "ask for swirl fit --model.base.help"),
        (["report", "--run.help"], "no such group of options: --run.help (--help shows all options)"),
    ],
)  # fmt: skip
def test_a_help_that_there_is_not_says_which_to_ask_for(args, said, refused):
    assert said in refused(*args)
