"""A network of ours, written in the layout of NVIDIA's pickles, is read back as it was."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from distillkit_edm.importers import NvPickle, StateDict

from distillkit.networks import network_file
from distillkit.recipe import choice_from_table
from distillkit.testing.toys import catalog

SMALL = {"model_channels": 16, "channel_mult": [1, 2], "num_blocks": 1, "attn_resolutions": [4]}


@pytest.mark.parametrize(
    ("use", "more"),
    [
        ("edm-ddpmpp", {"augment_dim": 9}),
        ("edm-ncsnpp", {"augment_dim": 9}),
        ("edm-adm", {"channels_per_head": 8}),
        ("edm2", {"channels_per_head": 8}),
        ("edm2", {"channels_per_head": 8, "dropout_resolution": 4}),  # ECT's
    ],
)
@pytest.mark.parametrize("label_dim", [0, 3])
def test_a_written_network_is_read_with_the_same_bits(
    use: str, more: dict[str, Any], label_dim: int, tmp_path: Path
) -> None:
    choice = choice_from_table("network", {"use": use, **SMALL, **more, "dropout": 0.13}, catalog(), "here")
    network = network_file.new_network(choice, 8, 2, label_dim)
    importer = NvPickle(NvPickle.Config())
    assert importer.write(tmp_path / "a.pkl", network)
    card, tensors = importer.read(tmp_path / "a.pkl")
    assert (card["resolution"], card["channels"], card["label_dim"]) == (8, 2, label_dim)
    assert choice_from_table("network", card["network"], catalog(), "there").config == choice.config
    ours = network.state_dict()
    assert ours.keys() == tensors.keys() and all(torch.equal(ours[name], tensors[name]) for name in ours)


def test_an_importer_that_only_reads_says_so(tmp_path: Path) -> None:
    assert not StateDict(StateDict.Config()).write(tmp_path / "a.bin", torch.nn.Linear(1, 1))
    assert list(tmp_path.iterdir()) == []
