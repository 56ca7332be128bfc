"""What lies in an exported folder: a page whose code runs, metadata that the Hub's own reader takes, hashes."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
import safetensors
import torch

import distillkit
from distillkit.api import InputError, UsageError
from distillkit.cli.main import main
from distillkit.disk import results
from distillkit.networks import export, network_file
from distillkit.networks.hub_metadata import Home
from distillkit.recipe import choice_from_table
from distillkit.registry import Catalog

NEEDS = {"onnx": export.ONNX, "diffusers": ("diffusers",)}
NETWORKS = {4: {"use": "edm-ddpmpp", "model_channels": 4, "channel_mult": [1], "num_blocks": 1}, 0: {"use": "mlp"}}


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def saved(folder: str, labels: int = 4, **card: object) -> Path:
    torch.manual_seed(0)
    choice = choice_from_table("network", NETWORKS[labels], Catalog.installed(), "here")
    net = network_file.new_network(choice, 8, 3, labels)
    with torch.no_grad():
        for weight in net.parameters():
            weight.add_(0.05 * torch.randn_like(weight))
    facts = {"sample": {"use": "one-step", "sigma_init": 2.0}, "seed": 0, "nimg": 5000, **card}
    network_file.save(Path(folder), net, facts)
    return Path(folder)


def blocks(page: Path) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```$", page.read_text(encoding="utf-8"), re.S | re.M)


@pytest.mark.parametrize(("labels", "dtype"), [(4, "fp16"), (0, "fp32")])
@pytest.mark.parametrize("to", export.FORMATS)
def test_the_code_of_a_card_runs(to: str, labels: int, dtype: str, tmp_path: Path) -> None:
    missing = [name for name in NEEDS.get(to, ()) if not importlib.util.find_spec(name)]
    if missing:
        pytest.skip(f"the code of a card for {to} was not run: {', '.join(missing)} is missing")
    assert export.export(saved("net", labels), to, Path("out"), dtype).difference <= export.DTYPES[dtype].tolerance
    (code,) = blocks(Path("out/README.md"))
    Path("code.py").write_text(code)
    if to == "diffusers":  # which keeps the code that it trusts where HF_HOME was when it was imported
        ask = f"{code}\nassert (len(images), images[0].size) == (4, (8, 8))"
        env = {**os.environ, "HF_HOME": str(tmp_path / "hf"), "HF_HUB_OFFLINE": "1"}
        subprocess.run([sys.executable, "-c", ask], env=env, check=True, capture_output=True)
    else:
        assert tuple(runpy.run_path("code.py")["x"].shape) == (16, 3, 8, 8)


@pytest.mark.parametrize(("dtype", "size"), [("fp16", 0.5), ("bf16", 0.5), ("fp32", 1)])
def test_half_the_file_is_the_same_student_but_for_rounding(dtype: str, size: float) -> None:
    net, told = saved("net"), export.export(saved("net"), "safetensors", Path("out"), dtype)
    ours, theirs = distillkit.load("net")(7, device="cpu"), distillkit.load("out")(7, device="cpu")
    assert float((ours - theirs).abs().max()) <= export.DTYPES[dtype].tolerance and theirs.dtype == torch.float32
    assert (told.difference > 0) == (dtype != "fp32")
    with safetensors.safe_open("out/student.safetensors", "pt") as file:
        weights = [file.get_tensor(name) for name in file.keys()]  # noqa: SIM118
        facts = file.metadata()
    assert sum(w.nbytes for w in weights) <= (size + 0.05) * (net / "student.safetensors").stat().st_size
    assert json.loads(facts["sample"]) == {"use": "one-step", "sigma_init": 2.0} and facts["label_dim"] == "4"
    assert f"| weights | stored as {dtype}, computed with in fp32 |" in Path("out/README.md").read_text()


def test_the_same_student_is_the_same_file() -> None:
    saved("net", 0)
    for folder in ("one", "two"):
        export.export(Path("net"), "safetensors", Path(folder))
    one, two = (Path(folder, "student.safetensors") for folder in ("one", "two"))
    assert one.read_bytes() == two.read_bytes(), "its metadata has one order"
    assert int.from_bytes(one.read_bytes()[:8], "little") % 8 == 0, "what follows is aligned"


def test_a_number_too_large_for_fp16_is_told_and_nothing_kept(capsys: pytest.CaptureFixture[str]) -> None:
    net = saved("net", 0)
    tensors = safetensors.torch.load_file(net / "student.safetensors")
    name = next(iter(tensors))
    tensors[name] = tensors[name] * 1e6
    safetensors.torch.save_file(tensors, net / "student.safetensors")
    with pytest.raises((UsageError, InputError), match=r"fp16|not finite"):
        export.export(net, "safetensors", Path("out"), "fp16")
    assert main(["export", "net", "--to", "torch-export", "--dtype", "fp16", "out"]) == 2
    assert "--dtype fp16: differs from the student by" in capsys.readouterr().err
    assert not Path("out").exists()
    assert main(["export", "net", "--to", "torch-export", "out"]) == 0


def test_the_hub_reads_what_stands_at_the_top(tmp_path: Path) -> None:
    cards = pytest.importorskip("huggingface_hub", reason="the Hub's own reader of cards is missing")
    protocol = {"fid": {"reference": 'a: "b" # c', "images": "50000 \u2014 all"}}
    scores = results.Scores(
        student={"fid/fid": 2.5, "fid/fid_sd": 0.1, "fid/odd": float("nan")}, nfe=1, protocol=protocol,
        better={"fid/fid": "lower"}, teacher={"fid/fid": 1.5}, teacher_nfe=35, teacher_protocol=protocol,
    )  # fmt: skip
    net = saved("net", method="sid", data="cifar10", recipe="mine: #1", licence={"a.pkl": "CC BY-NC-SA 4.0"})
    results.write_file(net / "metrics.json", scores)
    home = Home(base_model="they/teacher", datasets=("they/images",))
    with pytest.warns(UserWarning, match="not for commercial use"):
        export.export(net, "safetensors", Path("out"), home=home)
    data = cards.ModelCard.load("out/README.md").data
    assert (data.license, data.library_name, data.pipeline_tag) == (
        "cc-by-nc-sa-4.0", "distillkit", "unconditional-image-generation"
    )  # fmt: skip
    assert data.base_model == "they/teacher" and data.datasets == ["they/images"] and data.model_name == "mine: #1"
    assert data.tags == ["distillkit", "diffusion", "distillation", "one-step", "sid", "edm-ddpmpp"]
    (one,) = data.eval_results  # what is not finite is no number of JSON's
    assert (one.metric_type, one.metric_name, one.metric_value) == ("fid", "fid/fid", 2.5)
    assert one.dataset_args == protocol["fid"] and one.metric_args == {"spread": 0.1, "teacher": 1.5, "better": "lower"}


def test_all_json_of_a_folder_is_strict_and_its_hashes_are_checked() -> None:
    net = saved("net", 0)
    results.write_file(net / "metrics.json", results.Scores(student={"a/b": float("nan"), "a/c": float("inf")}))
    export.export(net, "safetensors", Path("out"))

    def refuse(word: str) -> None:
        raise AssertionError(f"{word} is not JSON")

    for path in Path("out").glob("*.json"):
        json.loads(path.read_text(), parse_constant=refuse)
    assert results.read_file(Path("out/metrics.json")).student["a/c"] == float("inf")
    Path("out/README.md").write_text("people edit it")
    distillkit.load("out")
    weights = Path("out/student.safetensors")
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x01")
    with pytest.raises(InputError, match=r"student.safetensors has sha256"):
        distillkit.load("out")


@pytest.mark.parametrize(
    ("generator", "last", "told"),
    [
        ('ema = "power"\nema_gamma = 3.0', None, "power (ema_gamma 3.0)"),
        ('ema = "none"', None, "the weights themselves"),
        (
            "ema_halflife_kimg = 2.0",
            {"a/b": 2.0},
            "halflife (ema_halflife_kimg 2.0); not the last, but the best by a/b",
        ),
    ],
)
def test_a_card_says_which_average_is_the_result(generator: str, last: dict | None, told: str) -> None:
    Path("run").mkdir()
    saved("run/result")
    Path("run/resolved.toml").write_text(f'schema = 1\n[run]\nkeep_best = "a/b"\n[generator]\n{generator}\n')
    results.write(Path("run"), results.Scores(student={"a/b": 1.0}, last=last))
    export.export(Path("run"), "safetensors", Path("out"))
    export.export(Path("out"), "safetensors", Path("again"), "fp16")  # which has no recipe beside it
    assert distillkit.load("again").card["average"] == told
    page = Path("again/README.md").read_text()
    assert f"| average | {told} |" in page and "Measured before the weights were rounded to fp16." in page


def test_a_student_that_comes_along_is_told_by_the_recipe_that_does() -> None:
    export.export(Path("digits/sid2a_el"), "safetensors", Path("out"))
    card = distillkit.load("out").card
    assert (card["method"], card["data"], card["teacher"]) == ("sid2a", "digits", "network, digits_teacher.toml")
    assert card["average"].startswith("power") and '- "sid2a"' in Path("out/README.md").read_text()
