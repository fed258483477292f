"""A checkpoint in which someone has changed what stands beside the weights."""

import pytest
import torch

from swirl_lightning.modules.checkpoint import VERSION, WEIGHTS, WHOLE, read_checkpoint
from swirl_lightning.types import InputError

GOOD = {name: kind() for name, kind in WHOLE.items()} | {VERSION: "2.6.0"}


@pytest.mark.parametrize("key", ["--ckpt_path", "model.init_from"])
@pytest.mark.parametrize("found", [..., None, "a word", ()])
@pytest.mark.parametrize("name", WHOLE)
def test_an_entry_of_another_kind_is_named(tmp_path, name, found, key):
    """Weights alone are enough to begin from; a run that goes on needs all of it."""
    saved = {k: v for k, v in GOOD.items() if k != name} | ({} if found is ... else {name: found})
    torch.save(saved, tmp_path / "a.ckpt")
    fits = isinstance(found, WHOLE[name]) and name != VERSION
    if fits or (key == "model.init_from" and name not in WEIGHTS):
        read_checkpoint(tmp_path / "a.ckpt", key)
        return
    with pytest.raises(InputError, match=rf"{key}: .*a\.ckpt.* {name}|has no '{name}' entry"):
        read_checkpoint(tmp_path / "a.ckpt", key)
