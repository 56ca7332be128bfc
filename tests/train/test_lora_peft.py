"""LoRA as PEFT has it: the same outputs from the same files, both ways."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import Tensor, nn

from distillkit.api import Choice
from distillkit.builtin.lora import Lora, adapted
from distillkit.networks import adapter_file

peft = pytest.importorskip("peft")  # an oracle, and nothing that anybody else needs


class Net(nn.Module):
    """Layers of all the kinds that go by PEFT's path: linear ones and convolutions, one with a stride."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 12, 3, padding=1, stride=2)
        self.mix = nn.Conv2d(12, 10, 1)
        self.body = nn.Sequential(nn.Linear(160, 24), nn.SiLU(), nn.Linear(24, 16))

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.body(self.mix(self.conv(x)).flatten(1))
        return found


def choice() -> Choice[Any]:
    return Choice("adapter", "lora", Lora, Lora.Config(rank=4, alpha=6.0))


def ours(base: nn.Module) -> nn.Module:
    net = copy.deepcopy(base).requires_grad_(False)
    torch.manual_seed(1)
    choice().build().apply(net)
    with torch.no_grad():
        for _, module in adapted(net):
            nn.init.normal_(module.get_parameter("lora_B"), std=0.1)
    return net


@pytest.fixture
def base() -> nn.Module:
    torch.manual_seed(0)
    return Net()


def test_peft_reads_our_files_and_computes_the_same(base: nn.Module, tmp_path: Path) -> None:
    net = ours(base)
    names = {name for name, _ in net.named_parameters() if "lora_" not in name}
    adapter_file.save(tmp_path, choice(), net, names, "teacher.toml")
    theirs = peft.PeftModel.from_pretrained(copy.deepcopy(base), str(tmp_path))
    x = torch.randn(5, 3, 8, 8)
    torch.testing.assert_close(theirs(x), net(x), rtol=1e-6, atol=1e-6)
    merged = theirs.merge_and_unload()
    choice().build().merge(net)
    for name, tensor in merged.state_dict().items():
        torch.testing.assert_close(net.state_dict()[name], tensor, rtol=1e-6, atol=1e-6)


def test_what_peft_writes_is_named_and_shaped_as_ours(base: nn.Module, tmp_path: Path) -> None:
    net = ours(base)
    config = peft.LoraConfig(r=4, lora_alpha=6, target_modules=[name for name, _ in adapted(net)])
    theirs = peft.get_peft_model(copy.deepcopy(base), config)
    theirs.save_pretrained(str(tmp_path))
    written = safetensors.torch.load_file(tmp_path / adapter_file.WEIGHTS)
    _, own = choice().build().saved(net)
    assert {name: tensor.shape for name, tensor in written.items()} == {name: t.shape for name, t in own.items()}
    told = json.loads((tmp_path / adapter_file.CONFIG).read_text())
    assert (told["r"], told["lora_alpha"]) == (4, 6) and sorted(told["target_modules"]) == sorted(config.target_modules)
    with torch.no_grad():  # and theirs in our network computes what it does there
        for name, module in adapted(net):
            for part in ("lora_A", "lora_B"):
                getattr(module, part).copy_(written[f"base_model.model.{name}.{part}.weight"])
    x = torch.randn(5, 3, 8, 8)
    torch.testing.assert_close(net(x), theirs(x), rtol=1e-6, atol=1e-6)
