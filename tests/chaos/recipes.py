"""Random recipes from the catalog: each is refused by `distillkit check`, or `distillkit run` takes it to its end.

A recipe is a likely one of random parts, at tiny sizes, in which some keys are changed to random values. What `run`
refuses though `check` did not is late, also where it is a metric that fails at the end; a traceback is a bug.
"""

from __future__ import annotations

import contextlib
import io
import os
import random
import re
from pathlib import Path
from typing import Any

import numpy as np
import sklearn.datasets  # noqa: F401  warm, too
import torch
import torch._dynamo
from PIL import Image

from distillkit.api import Picture
from distillkit.cli.main import main
from distillkit.explain.keys import keys_of
from distillkit.images.pack import pack
from distillkit.recipe import choice_from_table, table_of, tiny
from distillkit.recipe.schema import Generator, Run
from distillkit.recipe.write import toml
from distillkit.registry import Catalog
from distillkit.run import refuse, runner, stage  # noqa: F401  warm: what every trial would import
from distillkit.testing import save_network
from distillkit.testing.toys import ToyImages
from tests.chaos.drawn import component, page, value

torch.set_num_threads(1)
Table = dict[str, Any]
CATALOG = Catalog.installed()
SHARED = Path()  # files that recipes name: images, and networks to start from
DATA: dict[str, Table] = {
    "points": {"use": "gaussian-mixture", "size": 64},
    "digits": {"use": "digits"},
    "plain": {"use": "image-folder", "path": "images", "labels": False},
    "classes": {"use": "image-folder", "path": "images"},
    "packed": {"use": "image-zip", "path": "images.zip"},
    "array": {"use": "npz", "path": "images.npz", "held_out": 8},
}
SHAPES = {"points": (2, 1, 0), "digits": (1, 8, 10), "plain": (3, 8, 0), "classes": (3, 8, 3), "packed": (3, 8, 3),
          "array": (1, 8, 4)}  # fmt: skip
UNET = {"use": "edm-ddpmpp", "model_channels": 8, "channel_mult": [1, 2], "num_blocks": 1, "attn_resolutions": [4]}
PUBLISHED = ("fid", "inception-score", "precision-recall")  # metrics that ask for features
MLP = {"use": "mlp", "width": 16, "depth": 2}


def prepare(folder: Path) -> None:
    """Write what the recipes read, once for all trials."""
    global SHARED  # noqa: PLW0603  the trials are forks of this process
    SHARED = folder.resolve()
    Catalog.installed = lambda: CATALOG  # type: ignore[method-assign, assignment]  # looking for plugins takes long
    os.environ["DISTILLKIT_HOME"] = str(SHARED / "home")
    u = np.random.default_rng(0).integers(0, 256, (40, 8, 8, 3), dtype=np.uint8)
    for i, pixels in enumerate(u):
        path = SHARED / "images" / "abc"[i % 3] / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)
    pack((Picture(str(i), x, i % 3) for i, x in enumerate(u)), SHARED / "images.zip", None)
    np.savez(SHARED / "images.npz", images=u[..., 0], labels=np.arange(40) % 4)
    for data, (channels, size, labels) in SHAPES.items():
        network = choice_from_table("network", MLP if size == 1 else UNET, CATALOG, where="chaos")
        config = ToyImages.Config(resolution=size, channels=channels, label_dim=labels)
        save_network(SHARED / f"{data}-teacher", network, ToyImages(config))


def trial(seed: int, folder: Path) -> str | None:
    """Draw the recipe of `seed`, check it and, where that finds nothing, run it -> what was wrong; None: nothing."""
    tables = drawn(random.Random(seed))
    (folder / "recipe.toml").write_text(toml(tables), encoding="utf-8")
    (folder / "teacher.toml").write_text(toml(teacher(tables["dataset"])), encoding="utf-8")
    for path in SHARED.iterdir():
        (folder / path.name).symlink_to(path)
    os.chdir(folder)
    code, told = command("check", "recipe.toml")
    if code not in (0, 2, 3) or bug(told):
        return f"check ended with {code}: {told[-300:]}"
    if code:
        (folder / "outcome").write_text("refused by check", encoding="utf-8")
        named = re.search(r"(recipe|teacher)\.toml:\d+ +[\w.\[\]-]+ |input|^error: ", told)
        return None if named else f"check names no key: {told[-300:]}"
    code, told = command("run", "recipe.toml")
    if code in (1, 5) or bug(told):
        return f"run ended with {code}: {told[-300:]}"
    if code in (2, 3) or (late := re.search(r"failed: (Usage|Input|Plugin)?Error.*", told)):
        return f"late refusal, {code}: {late[0] if code == 0 else told[-300:]}"
    (folder / "outcome").write_text({0: "ran to the end", 4: "diverged"}.get(code, str(code)), encoding="utf-8")
    return None


def bug(told: str) -> bool:
    return "Traceback" in told or "bug: " in told or bool(re.search(r"failed: (?!Usage|Input|Plugin)\w+: ", told))


def command(*argv: str) -> tuple[int, str]:
    """Run a command line -> exit code, and all that it wrote."""
    told = io.StringIO()
    with contextlib.redirect_stdout(told), contextlib.redirect_stderr(told):
        code = main(list(argv))
    print(told.getvalue())  # kept beside the recipe
    return code, told.getvalue()


def drawn(rng: random.Random) -> Table:
    """A likely recipe of random parts, and up to four changes of keys."""
    data = rng.choice(list(DATA))
    method = cheap("generator_loss", component(rng, "generator_loss"))
    tables: Table = {
        "schema": 1,
        "run": run(rng),
        "dataset": dict(DATA[data]),
        "generator": {"optimizer": {"lr": 1e-3}},
        "sample": cheap("sample", component(rng, "sample")),
        "generator_loss": method,
        "auxiliary_loss": several(rng, "auxiliary_loss", (0, 0, 1, 1, 2)),
        "evaluate": several(rng, "evaluate", (0, 1, 1, 2), measures(data)),
    }  # fmt: skip
    trains = method["use"] in ("edm", "edm2", "ct")
    if not trains or rng.random() < 0.2:
        tables["teacher_score"] = taught(rng, data)
    exact = tables.get("teacher_score", {}).get("use") == "gaussian-mixture"
    if trains or rng.random() < (0.9 if exact else 0.1):
        network = component(rng, "network") if rng.random() < 0.2 else dict(MLP if data == "points" else UNET)
        network = {"use": "edm2"} if method["use"] == "edm2" and rng.random() < 0.8 else network
        tables["generator"] |= {"init": "scratch", "network": cheap("network", network)}
    for _ in range(rng.choice((0, 1, 1, 2, 3, 4))):
        change(rng, tables)
    return {key: table for key, table in tables.items() if table != []}


def several(rng: random.Random, kind: str, numbers: tuple[int, ...], names: tuple[str, ...] = ()) -> list[Table]:
    return [cheap(kind, component(rng, kind, names)) for _ in range(rng.choice(numbers))]


def run(rng: random.Random) -> Table:
    batch = rng.choice((4, 8, 16))
    return {"kimg": 4 * batch / 1000, "batch": batch, "device": "cpu", "threads": 1, "grid": 10}


def measures(data: str) -> tuple[str, ...]:
    likely = ("mixture", "power-ema") if data == "points" else ("frechet", "rel-fid", "power-ema", "fid")
    return (*likely * 5, "layer-activation", "mixture", "frechet", "inception-score")


def taught(rng: random.Random, data: str) -> Table:
    if data == "points" and rng.random() < 0.7:
        return {"use": "gaussian-mixture"}
    table: Table = {"use": "network"}
    if rng.random() < 0.15:
        table["guidance"] = component(rng, "guidance", ("classifier-free",))
    return table | ({"from": "teacher.toml"} if rng.random() < 0.2 else {"checkpoint": f"{data}-teacher"})


def teacher(dataset: Table) -> Table:
    """The recipe that `from` names, which trains for two iterations."""
    network = MLP if dataset["use"] == "gaussian-mixture" else UNET
    return {
        "schema": 1, "run": {"kimg": 0.008, "batch": 4, "device": "cpu", "threads": 1, "grid": 10},
        "dataset": dataset, "generator": {"init": "scratch", "network": network},
        "sample": {"use": "heun", "steps": 2}, "generator_loss": {"use": "edm"},
    }  # fmt: skip


def cheap(kind: str, table: Table) -> Table:
    """The table over its component's `tiny`, parts included."""
    if table["use"] in PUBLISHED:
        table |= {"features": {"use": "digits-classifier"}}
    return table_of(tiny(choice_from_table(kind, table, CATALOG, where="chaos"))) | table


def change(rng: random.Random, tables: Table) -> None:
    """Give one key of one table another value."""
    name = rng.choice([name for name, table in tables.items() if isinstance(table, dict | list) and table])
    table = rng.choice(tables[name]) if isinstance(tables[name], list) else tables[name]
    if name in ("run", "generator"):
        keys = keys_of(Run if name == "run" else Generator)
    else:
        keys = page(name, table["use"]).keys
    fixed = {"kimg", "batch", "device", "threads", "path", "checkpoint", "from"}
    keys = tuple(key for key in keys if key.name not in fixed)
    if keys:
        key = rng.choice(keys)
        made = filled(value(rng, key))
        if name == "run" and key.name == "keep_best":
            made = rng.choice(("frechet/fd", "frechet/recall", "mixture/sw2", "frechet/nope", "fid/fd"))
        table.pop(key.name, None) if made is None else table.__setitem__(key.name, made)


def filled(made: Any) -> Any:
    """The value; parts that need a file or features are given some."""
    if isinstance(made, list):
        return [filled(part) for part in made]
    if isinstance(made, dict) and made.get("use") == "autoguidance":
        return made | {"guide": "digits-teacher"}
    return made
