"""The flagship recipe from an empty home to an exported student, with small files of the published formats."""

from __future__ import annotations

import hashlib
import json
import os
import resource
import shlex
from functools import partial
from pathlib import Path

import attrs
import numpy as np
import pytest
import torch
from distillkit_edm.nvpickle.write import pickled
from distillkit_metrics import torchscript
from PIL import Image

import distillkit
from distillkit.assets import get
from distillkit.assets.fetch import Rules
from distillkit.assets.table import table
from distillkit.cli.main import main
from distillkit.networks import network_file
from distillkit.recipe import choice_from_table
from distillkit.registry import Catalog
from distillkit.run import stand_ins

ROOT = Path(__file__).parents[2]
FLAGSHIP = ROOT / "recipes/afhq_sid2a_el.toml"
TEACHER, IMAGES, INCEPTION = "edm-afhqv2-64x64-uncond-vp.pkl", "afhqv2-64x64.zip", "inception-2015-12-05.pt"
REFERENCE = "afhqv2-64x64.npz"
PIXELS = 16  # of an image
UNET = {"model_channels": 8, "channel_mult": [1, 2], "num_blocks": 1, "attn_resolutions": [8], "augment_dim": 9}
MISSING = """\
4 files are missing for {recipe}; nothing was run.

  afhqv2-64x64.zip   data, about 190 MB, licence: unknown
      prepare it: `distillkit data pack AFHQ afhqv2-64x64.zip --resolution 64` of AFHQv2's training images at 512x512
  edm-afhqv2-64x64-uncond-vp.pkl   teacher, about 247 MB, licence: CC BY-NC-SA 4.0
      https://nvlabs-fi-cdn.nvidia.com/edm/pretrained/edm-afhqv2-64x64-uncond-vp.pkl
  inception-2015-12-05.pt   features, about 96 MB, licence: unknown
      https://nvlabs-fi-cdn.nvidia.com/stylegan2-ada-pytorch/pretrained/metrics/inception-2015-12-05.pt
  afhqv2-64x64.npz   reference, about 34 MB, licence: unknown
      https://nvlabs-fi-cdn.nvidia.com/edm/fid-refs/afhqv2-64x64.npz

Put them into {home}/assets, or name your own paths in the recipe.
To download: distillkit assets get edm-afhqv2-64x64-uncond-vp.pkl inception-2015-12-05.pt afhqv2-64x64.npz
To try the wiring without them, in seconds: distillkit run {recipe} --smoke
"""
# The stages on 16 images: what the published recipes say of time and size, replaced.
SHORT = """
schema = 1
extends = "{published}"
[run]
kimg = 0.008
tick_kimg = 0.004
batch = 4
micro_batch = 2
device = "cpu"
threads = 1
"""
SETS = (
    "evaluate.0.images=8", "evaluate.0.every_kimg=0.004", "auxiliary_loss.0.copies=1", "auxiliary_loss.0.real_batch=8",
    "generator_loss.generator_after_kimg=0", "generator_loss.gan_after_kimg=0",
)  # fmt: skip
MEASURED = """
[[evaluate]]
use = "fid"
images = 8
reference = "afhqv2-64x64.npz"
features = { use = "inception", network = "inception-2015-12-05.pt" }
"""


def teacher() -> bytes:
    """A random network as NVIDIA's code would have pickled it."""
    choice = choice_from_table("network", {"use": "edm-ddpmpp", "dropout": 0.25, **UNET}, Catalog.installed(), "here")
    return pickled(network_file.new_network(choice, PIXELS, 3, 0))


def photographs(folder: Path) -> None:
    """Twenty pictures in three folders, larger than they are wanted."""
    noise = np.random.default_rng(0).integers(0, 256, (20, 20, 20, 3), np.uint8)
    for i, pixels in enumerate(noise):
        path = folder / ("cat", "dog", "wild")[i % 3] / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)


@pytest.fixture
def published(https, tmp_path, monkeypatch) -> dict[str, bytes]:
    """What the server has; the table of assets leads there. The test runs in an empty folder with an empty home."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DISTILLKIT_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(torchscript, "INCEPTION_WIDTH", stand_ins.WIDTH)  # so that it is an FID
    monkeypatch.setattr(get, "Rules", partial(Rules, timeout=0.5))
    torch.manual_seed(0)
    photographs(Path("AFHQ"))
    stand_ins.script(Path("net.pt"))
    assert main(["data", "pack", "AFHQ", "small.zip", "--resolution", str(PIXELS), "--labels", "none"]) == 0
    assert main(["data", "stats", "small.zip", "stats.npz", "--network", "net.pt"]) == 0
    files = {TEACHER: teacher(), INCEPTION: Path("net.pt").read_bytes(), REFERENCE: Path("stats.npz").read_bytes()}
    for name, body in files.items():
        url, digest = https.url.replace("file.bin", name), hashlib.sha256(body).hexdigest()
        monkeypatch.setitem(table(), name, attrs.evolve(table()[name], url=url, sha256=digest))
    https.behaviour = partial(whole, files)
    return files


def whole(files, handler) -> None:
    handler.reply(files[handler.path[1:]])


def test_an_empty_home_is_told_what_is_missing_from_where_how_large_and_where_to(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DISTILLKIT_HOME", str(tmp_path / "home"))
    assert main(["run", str(FLAGSHIP)]) == 3
    assert capsys.readouterr().err == MISSING.format(recipe=FLAGSHIP.stem, home=tmp_path / "home")
    assert list(tmp_path.iterdir()) == []


ELSEWHERE = {"Location": "https://example.org/file.pkl"}
PLAIN = {"Location": "http://127.0.0.1/file.pkl"}
FAULTS = {  # what the server does with the request for a body -> what the line says
    "cut": (lambda h, body: h.reply(body[:999], Content_Length=str(len(body)), ETag='"v1"'), "again to go on"),
    "resumed elsewhere": (lambda h, body: h.reply(body[5:], 206, Content_Range=f"bytes 5-{len(body) - 1}/{len(body)}"),
                          "asked to go on at byte 999, it begins at another"),
    "reset": (lambda h, body: h.reset(), "again to go on"),
    "stalled": (lambda h, body: h.server.release.wait(2), "timed out"),
    "not there": (lambda h, body: h.reply(b"no", 404), "the server answers 404"),
    "broken": (lambda h, body: h.reply(b"no", 500), "the server answers 500"),
    "another host": (lambda h, body: h.reply(b"", 302, **ELSEWHERE), "example.org is none of the hosts"),
    "no https": (lambda h, body: h.reply(b"", 302, **PLAIN), "not https"),
    "web page": (lambda h, body: h.reply(b"<html>Sign in</html>"), "a web page, not the file"),
    "endless": (lambda h, body: h.reply(body, Content_Length=str(10**12)), "at most 309000000 were expected"),
    "no length": (lambda h, body: h.reply(body, Content_Length="None"), "does not say how long"),
    "no http": (lambda h, body: h.wfile.write(b"220 ready\r\n"), "again to go on"),
    "flipped bit": (lambda h, body: h.reply(body[:-1] + bytes([body[-1] ^ 1])), "sha256 is"),
}  # fmt: skip


def refused(capsys, words: str, code: int = 3) -> None:
    """`assets get` fails in one line, and nothing is there under the teacher's name."""
    capsys.readouterr()
    assert main(["assets", "get", TEACHER]) == code
    told = capsys.readouterr()
    assert told.out == "" and len(told.err.splitlines()) == 1 and words in told.err, told.err
    assert not Path("home/assets", TEACHER).exists() and not Path("home/assets/assets.lock").exists()


def test_thirteen_faults_of_the_server_and_four_of_ours_are_one_line_each(published, https, monkeypatch, capsys):
    body = published[TEACHER]
    for act, words in FAULTS.values():
        https.behaviour = lambda handler, act=act: act(handler, body)
        refused(capsys, words)
    https.behaviour = partial(whole, published)
    with monkeypatch.context() as trusting_nobody:
        trusting_nobody.setenv("SSL_CERT_FILE", os.devnull)
        trusting_nobody.setenv("SSL_CERT_DIR", os.devnull)
        refused(capsys, "CERTIFICATE_VERIFY_FAILED")
    with monkeypatch.context() as offline:
        offline.setenv("DISTILLKIT_OFFLINE", "1")
        refused(capsys, f"DISTILLKIT_OFFLINE is set; put what {https.url.replace('file.bin', TEACHER)} holds at")
    with monkeypatch.context() as no_folder:
        no_folder.setenv("DISTILLKIT_HOME", os.devnull)
        refused(capsys, "Not a directory; set DISTILLKIT_HOME", 2)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, limits[1]))  # a full disk, as far as a test can have one
    try:
        refused(capsys, "make room, then `get` again to go on", 5)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert main(["assets", "get", TEACHER]) == 0
    assert Path("home/assets", TEACHER).read_bytes() == body


def test_from_an_empty_home_to_an_exported_student(published, tmp_path, capsys):
    capsys.readouterr()
    assert main(["run", str(FLAGSHIP)]) == 3
    download = capsys.readouterr().err.splitlines()[-2].removeprefix("To download: distillkit ")
    assert main(shlex.split(download)) == 0
    packed = ["data", "pack", "AFHQ", f"home/assets/{IMAGES}", "--resolution", str(PIXELS), "--labels", "none"]
    assert main(packed) == 0
    for name in ("afhq_sid", "afhq_sid2a_el"):
        own = SHORT.format(published=os.path.relpath(ROOT / f"recipes/{name}.toml", tmp_path))
        Path(f"{name}.toml").write_text(own + MEASURED * (name == "afhq_sid"))
    assert main(["run", "afhq_sid2a_el.toml", *(word for each in SETS for word in ("--set", each))]) == 0
    sid, run = sorted(Path("runs").glob("0*"))
    check_run(sid, "sid")
    check_run(run, "sid2a")
    check_student(run, capsys)


def check_run(run: Path, method: str) -> None:
    """It was trained and measured as the recipe says."""
    assert json.loads((run / "exit.json").read_text())["code"] == 0
    resolved = (run / "resolved.toml").read_text()
    assert all(f'"{name}"' in resolved for name in (TEACHER, IMAGES, INCEPTION, REFERENCE)) and method in resolved
    found = json.loads((run / "result/metrics.json").read_text())
    assert found["metrics"]["fid/fid"] > 0 and found["metrics"]["fid/fid_floor"] > 0
    assert found["protocol"]["fid"]["reference"].startswith(REFERENCE)
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    told = {name for row in rows for name in row}
    assert ("weight/embedding" in told) == (method == "sid2a")
    assert (run / "report.html").stat().st_size > 10_000


def check_student(run: Path, capsys) -> None:
    """It draws, is exported, and is the same student afterwards."""
    assert main(["sample", str(run), "--out", "drawn.zip", "--seeds", "0-3"]) == 0
    assert main(["data", "check", "drawn.zip"]) == 0
    assert "4 images, 16x16x3" in capsys.readouterr().out
    assert main(["export", str(run), "--to", "safetensors", "student"]) == 0
    told = capsys.readouterr()
    assert "largest difference from the student 0 over" in told.out
    assert f"warning: student is not for commercial use: made with {TEACHER} (CC BY-NC-SA 4.0)" in told.err
    ours, theirs = distillkit.load(run), distillkit.load("student")
    x = ours(n=2, seed=0, device="cpu")
    assert x.shape == (2, 3, PIXELS, PIXELS) and torch.equal(x, theirs(n=2, seed=0, device="cpu"))
    page = Path("student/README.md").read_text()
    assert f"network, {TEACHER}" in page and "not for commercial use" in page
    assert ours.card["licence"] == theirs.card["licence"] == {TEACHER: "CC BY-NC-SA 4.0", IMAGES: "unknown"}
    assert f"the student is not for commercial use: made with {TEACHER}" in (run / "log.txt").read_text()
