"""Contract of what reads networks of another make."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from distillkit.api import InputError
from distillkit.networks import imported
from distillkit.testing import toys
from distillkit.testing.component import ComponentContract


class ImporterContract(ComponentContract):
    """A file or folder is read as data, into one of our networks; what is damaged is refused. `files` writes it."""

    kind = "importer"

    @property
    def path(self) -> Path:
        """Where `files` must put a network: a file, or the folder "network.mine.folder"."""
        return Path(f"network.{self.use}")

    @property
    def weights(self) -> Path:
        """The file, or the largest one of the folder."""
        if self.path.is_file():
            return self.path
        return max((file for file in self.path.rglob("*") if file.is_file()), key=lambda file: file.stat().st_size)

    def test_a_card_and_finite_tensors_are_read_the_same_each_time(self) -> None:
        (card, tensors), (again, same) = self.choice.build().read(self.path), self.choice.build().read(self.path)
        assert json.loads(json.dumps(card)) == card == again
        assert set(card) == {"network", "resolution", "channels", "label_dim"}
        assert tensors and set(tensors) == set(same)
        for name, tensor in tensors.items():
            assert tensor.isfinite().all() and torch.equal(tensor, same[name]), name

    def test_it_makes_a_network_which_is_read_once(self) -> None:
        net = imported.load_network(self.path, toys.catalog())
        kept = imported.load_network(self.path, toys.catalog())
        _, tensors = self.choice.build().read(self.path)
        x, sigma = torch.zeros(2, net.channels, net.resolution, net.resolution), torch.ones(2, 1, 1, 1)
        assert torch.equal(net(x, sigma), kept(x, sigma))
        for name, tensor in net.state_dict().items():
            assert torch.equal(tensor, tensors[name].to(tensor.dtype)), name

    def test_it_takes_its_own_file_and_says_why_it_declines_another(self) -> None:
        importer = self.choice.build()
        assert not importer.declines(self.path), "it declines the file that it reads"
        other = self.path.with_name(f"other{self.path.suffix}")
        if self.path.is_dir():
            other.mkdir()
        else:
            other.write_bytes(b"no network")
        why = importer.declines(other)
        assert why is None or (why and "\n" not in why), "a file of another make is declined in a line"

    @pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.99])
    def test_a_file_that_was_cut_off_is_refused(self, share: float) -> None:
        data = self.weights.read_bytes()
        self.weights.write_bytes(data[: int(share * len(data))])
        with pytest.raises(InputError) as refusal:
            self.choice.build().read(self.path)
        assert str(self.path) in str(refusal.value) and "\n" not in str(refusal.value)
