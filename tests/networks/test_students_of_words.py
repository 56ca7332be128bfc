"""A student that takes words, outside of distillkit: the folder for diffusers, and the code of its cards."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import attrs
import numpy as np
import pytest
import torch

import distillkit
from distillkit.api import Layout, Prompts, UsageError
from distillkit.networks import export, network_file
from distillkit.networks.asked import Asking
from distillkit.recipe import choice_from_table
from distillkit.registry import Catalog
from distillkit.testing.words import tiny_text_encoder

for needed in ("transformers", "diffusers"):
    pytest.importorskip(needed, reason=f"exports of students of words were not tried: {needed} is missing")

WORDS = ["a small five", "a small six", "a six"]
KEYS = {"use": "text-dit", "patch_size": 4, "hidden_size": 8, "depth": 1, "num_heads": 1}
BLOCKED = """
import sys
sys.modules["distillkit"] = None  # what imports it fails
import numpy, torch
from diffusers import DiffusionPipeline
pipe = DiffusionPipeline.from_pretrained("out", trust_remote_code=True).to("cpu")
asked = ["a small five", "a six six", "a six"]
for file, more in (("images.npy", {}), ("strong.npy", {"guidance_scale": 3.0})):
    seeds = [torch.Generator().manual_seed(i) for i in range(3)]
    numpy.save(file, pipe(prompt=asked, generator=seeds, output_type="np", **more).images)
for wrong in ({"prompt": ["a", "b"], "batch_size": 3}, {}, {"prompt": "a six", "guidance_scale": 9}):
    try:
        pipe(**wrong)
    except ValueError as error:
        print(error)
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a text encoder, `encoder`, a student of words and guidance scales, `net`, and `out` of that."""
    folder = tmp_path_factory.mktemp("words")
    encoder = tiny_text_encoder(folder / "encoder", "a small five six".split(), width=8, tokens=6)
    layout = Layout(tokens=5, width=8, pooled=8, guidance=True)
    asking = Asking(layout=layout, scales={"low": 1.0, "high": 4.0, "usual": 2.0})
    rows = asking.rows(WORDS, encoder)
    known = {"path": str(encoder), "sha256": asking.encoder(encoder, "").sha256}
    asking = attrs.evolve(asking, prompts=Prompts(words=tuple(WORDS), rows=rows, encoder=known))
    choice = choice_from_table(
        "network", {**KEYS, "tokens": 5, "token_width": 8, "pooled": 8, "guidance": True}, Catalog.installed(), "here"
    )
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        net = network_file.new_network(choice, 8, 1, layout.size)
        for weight in net.parameters():
            weight.add_(0.3 * torch.randn_like(weight))
    facts = {"sample": {"use": "one-step", "sigma_init": 2.0}, "seed": 0, "nimg": 5000, **asking.facts()}
    network_file.save(folder / "net", net, facts)
    asking.write(folder / "net")
    assert export.export(folder / "net", "diffusers", folder / "out").difference < 1e-5
    return folder


def code_of(page: Path) -> str:
    (code,) = re.findall(r"^```python\n(.*?)^```$", page.read_text(encoding="utf-8"), re.S | re.M)
    return str(code)


def ran(code: str, folder: Path) -> str:
    """What a process of its own prints, without the Hub."""
    env = {**os.environ, "HF_HOME": str(folder / "hf"), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, env=env, capture_output=True, text=True, check=True)
    return done.stdout


def test_the_folder_for_diffusers_draws_from_prompts_without_distillkit(made: Path) -> None:
    card = f"{code_of(made / 'out/README.md')}\nprint(len(images), images[0].size)"
    told = ran(BLOCKED + card, made).splitlines()
    assert told == [
        "prompt: words for 3 images, one text for all or a list of 3, got ['a', 'b']",
        "prompt: words for 1 images, one text for all or a list of 1, got None",
        "guidance_scale: from 1 to 4, got 9",
        "3 (8, 8)",
    ]
    student = distillkit.load(made / "net")
    for file, scale in (("images.npy", None), ("strong.npy", 3.0)):
        ours = student(3, prompts=["a small five", "a six six", "a six"], guidance=scale, device="cpu").clamp(-1, 1)
        theirs = torch.from_numpy(np.load(made / file)).permute(0, 3, 1, 2) * 2 - 1
        torch.testing.assert_close(theirs, ours, rtol=0, atol=1e-5)
    assert not np.array_equal(np.load(made / "images.npy"), np.load(made / "strong.npy"))


def test_the_folder_holds_the_encoder_as_data_and_says_what_it_is(made: Path) -> None:
    index = json.loads((made / "out/model_index.json").read_text())
    assert index["text_encoder"] == ["transformers", "CLIPTextModel"]
    assert index["tokenizer"] == ["transformers", "PreTrainedTokenizerFast"]
    assert {path.suffix for part in ("text_encoder", "tokenizer") for path in (made / "out" / part).iterdir()} == {
        ".json", ".safetensors",
    }  # fmt: skip
    page = (made / "out/README.md").read_text()
    for words in ("pipeline_tag: \"text-to-image\"", '| labels | words, such as "a small five" |',
                  'prompt=["a small five", "a small six", "a six"]', "5 embedded tokens of 8 numbers"):  # fmt: skip
        assert words in page


@pytest.mark.parametrize("to", ["safetensors", "torch-export", "onnx"])
def test_the_code_of_its_card_runs(to: str, made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    missing = [name for name in export.ONNX if to == "onnx" and not importlib.util.find_spec(name)]
    if missing:
        pytest.skip(f"the code of a card for onnx was not run: {', '.join(missing)} is missing")
    monkeypatch.chdir(made)
    export.export(Path("net"), to, Path(to))
    Path("code.py").write_text(code_of(Path(to, "README.md")))
    assert tuple(runpy.run_path("code.py")["x"].shape) == (16, 1, 8, 8)


def test_an_encoder_that_is_not_at_hand_or_another_one_is_told(made: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="another text encoder than that of the data"):
        other = tiny_text_encoder(tmp_path / "other", ["a"], width=8, tokens=6, seed=1)
        export.export(made / "net", "diffusers", tmp_path / "out", text_encoder=other)
    with pytest.raises(UsageError, match="--to onnx holds no text encoder; --to diffusers does"):
        export.export(made / "net", "onnx", tmp_path / "out", text_encoder=other)
    assert not (tmp_path / "out").exists()
