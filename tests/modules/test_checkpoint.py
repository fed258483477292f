"""A checkpoint whose bytes have changed is refused, wherever they have; what changes nothing that is read may pass."""

import os
import random

import pytest
import torch

from swirl_lightning.modules.checkpoint import is_whole, read_checkpoint
from swirl_lightning.types import InputError


def saved(path, age=0):
    torch.manual_seed(3)
    content = {"swirl": {"version": "x" * 40}, "state_dict": {"w": torch.randn(60, 50), "n": torch.arange(5)}}
    torch.save(content, path)
    os.utime(path, (10**9 - age, 10**9 - age))
    return content


def same(a, b):
    return a["swirl"] == b["swirl"] and all(torch.equal(a["state_dict"][k], b["state_dict"][k]) for k in "wn")


def test_no_flipped_byte_changes_what_is_read(tmp_path):
    content = saved(tmp_path / "last.ckpt")
    data = (tmp_path / "last.ckpt").read_bytes()
    rng = random.Random(0)
    ends = [*range(1200), *range(len(data) - 2000, len(data))]  # names, lengths and the directory of the archive
    refused = 0
    for place in rng.sample(ends, 300) + rng.sample(range(1200, len(data) - 2000), 100):
        path = tmp_path / f"{place}.ckpt"  # a file of its own: the tensors stay on disk
        path.write_bytes(data[:place] + bytes([data[place] ^ 255]) + data[place + 1 :])
        try:
            assert same(read_checkpoint(path, "key"), content)
        except InputError:
            refused += 1
        path.unlink()
    assert refused > 300


@pytest.mark.parametrize("damage", [lambda d: d[:5000], lambda d: d[:4000] + bytes(2000) + d[6000:], lambda d: b""])
def test_the_newest_whole_one_beside_it_is_named(tmp_path, damage):
    for name, age in (("last", 0), ("warmup", 9), ("vim-1", 2)):
        saved(tmp_path / f"{name}.ckpt", age)
    path = tmp_path / "last.ckpt"
    path.write_bytes(damage(path.read_bytes()))
    (tmp_path / "elbo-1.ckpt").write_bytes(b"newer, and damaged too")
    with pytest.raises(InputError, match=r"^key: .*last\.ckpt .*checksum differs.*newest whole one .*vim-1\.ckpt$"):
        read_checkpoint(path, "key")
    assert is_whole(tmp_path / "warmup.ckpt")
