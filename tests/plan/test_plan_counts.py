"""What `distillkit plan` counts: networks by hand and by the fixtures, work by FlopCounterMode, memory by itself."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from distillkit import noise
from distillkit.assets.table import table
from distillkit.dry import parts
from distillkit.dry.meta import Live, blank
from distillkit.networks import network_file
from distillkit.plan import dry
from distillkit.plan.roles import Role, roles
from distillkit.plan.stages import Stage, stages
from distillkit.recipe import choice_from_table, read
from distillkit.registry import Catalog
from distillkit.train import build as engine
from distillkit.train.iterate import iterate

# Weights are copied without numbers, which `plan` and `check` do not tell either.
pytestmark = pytest.mark.filterwarnings("ignore:for .*copying from a non-meta parameter:UserWarning")

ROOT = Path(__file__).parents[2]
ARCHES = ROOT / "plugins/distillkit-edm/tests/data"
ARCH = json.loads((ARCHES / "edm_arch.json").read_text())
BATCH = 4
UNET = {"use": "edm-ddpmpp", "model_channels": 32, "channel_mult": [1, 2], "num_blocks": 1, "attn_resolutions": [4],
        "dropout": 0.0}  # fmt: skip
RECIPE = """
schema = 1
[run]
kimg = 1
batch = 4
threads = 1
device = "cpu"
[dataset]
use = "digits"
[teacher_score]
use = "network"
checkpoint = "{teacher}"
[generator_loss]
use = "{loss}"
"""


@pytest.fixture
def recipe(tmp_path: Path) -> Callable[..., Path]:
    """A method's name -> a recipe whose teacher is a small U-Net."""

    def write(loss: str, more: str = "") -> Path:
        network = network_file.new_network(choice_from_table("network", UNET, Catalog.installed(), "here"), 8, 1, 10)
        network_file.save(tmp_path / "teacher", network, {})
        path = tmp_path / "recipe.toml"
        path.write_text(RECIPE.format(teacher=tmp_path / "teacher", loss=loss) + more)
        return path

    return write


def planned(path: Path, tmp_path: Path, *sets: str) -> Stage:
    return stages(path, sets, tmp_path / "runs", Catalog.installed())[-1]


@pytest.mark.parametrize("name", list(ARCH))
def test_a_released_network_is_known_without_its_file(name: str) -> None:
    catalog = Catalog.installed()
    network = parts.network(parts.published()["network"][f"{name}.pkl"], catalog)
    assert {k: list(v.shape) for k, v in network.state_dict().items()} == ARCH[name]["state_dict"]
    assert sum(p.numel() for p in network.parameters()) == ARCH[name]["num_params"]
    assert all(p.is_meta for p in network.parameters())


def test_edm2_networks_have_the_released_ones_parameters() -> None:
    sizes = json.loads((ARCHES / "edm2_arch.json").read_text())
    known = {name: card for name, card in parts.published()["network"].items() if name.startswith("edm2-")}
    assert len(known) >= 7
    for name, card in known.items():
        size = re.match(r"edm2-img\d+-[a-z]+", name)[0]
        network = parts.network(card, Catalog.installed())
        assert sum(p.numel() for p in network.parameters()) == sizes[size]["num_params"], name


def test_every_teacher_of_the_asset_table_is_known_by_its_architecture() -> None:
    teachers = {asset.name: asset.network for asset in table().values() if asset.kind == "teacher"}
    known = parts.published()["network"]
    assert {name: known[name]["network"]["use"] for name in teachers} == teachers


@pytest.mark.parametrize(
    ("recipe_name", "asset", "parameters"),
    [("cifar10_uncond_sid", "edm-cifar10-32x32-uncond-vp.pkl", 55_733_891),
     ("afhq_sid", "edm-afhqv2-64x64-uncond-vp.pkl", 61_805_571)],
)  # fmt: skip
def test_bytes_by_role_are_those_worked_by_hand(recipe_name: str, asset: str, parameters: int) -> None:
    catalog = Catalog.installed()
    card = parts.card_of(asset, catalog)
    with blank() as live:
        state = dry.build(read(ROOT / "recipes" / f"{recipe_name}.toml"), {asset: card}, catalog, live)
        assert all(p.is_meta for network in state.networks.values() for p in network.parameters())
        found = {role.name: role for role in roles(state, live.bytes)}
    filters = found["teacher"].weights - 4 * parameters  # resampling filters, which are no parameters
    assert 0 < filters < 1000
    for name in ("generator", "fake_score"):
        role = found[name]
        assert role.parameters == parameters
        assert (role.weights, role.gradients, role.optimizer) == (
            4 * parameters + filters,
            4 * parameters,
            8 * parameters,
        )
    for name in ("generator's average", "teacher"):
        assert (found[name].parameters, found[name].gradients, found[name].optimizer) == (parameters, 0, 0)
    assert found["features and averages kept"].weights < 1000
    assert sum(role.weights + role.optimizer for role in found.values()) == live.bytes


@pytest.mark.parametrize("loss", ["sid", "diff-instruct"])
def test_the_work_is_what_flop_counter_mode_sees_in_a_real_iteration(
    recipe: Callable[..., Path], tmp_path: Path, loss: str
) -> None:
    path = recipe(loss)
    state = engine.build(read(path), Catalog.installed())
    iterate(state)  # what is made once, is made
    with FlopCounterMode(display=False) as counter:
        iterate(state)
    cost = planned(path, tmp_path).cost
    assert cost.flops == counter.get_total_flops()


@pytest.mark.parametrize("lever", ["run.batch=64", "run.checkpoint_activations=true", 'run.teacher_dtype="bf16"'])
def test_the_memory_is_that_of_a_real_iteration(recipe: Callable[..., Path], tmp_path: Path, lever: str) -> None:
    path, sets = recipe("sid"), ("run.batch=64", "run.micro_batch=32", lever)
    with Live(torch.device("cpu")) as live:
        state = engine.build(read(path, sets), Catalog.installed())
        iterate(state)
        live.restart()
        iterate(state)
    # A CPU's autocast leaves norms in bfloat16; counted is a GPU's, which takes more.
    bound = 0.1 if "bf16" in lever else 0.05
    assert planned(path, tmp_path, *sets).cost.largest.peak == pytest.approx(live.peak, rel=bound)


def test_compiled_passes_keep_less_and_do_the_same_work(recipe: Callable[..., Path], tmp_path: Path) -> None:
    """How much less is measured in benchmarks/results/speed.md; compiling takes minutes."""
    whole, less = (planned(recipe("sid"), tmp_path, "run.batch=64", *sets) for sets in ((), ("run.compile=true",)))
    assert 0.6 * whole.cost.largest.peak < less.cost.largest.peak < 0.9 * whole.cost.largest.peak
    assert less.cost.flops == whole.cost.flops
    assert less.roles == whole.roles


def test_sid_costs_eleven_forward_passes_with_micro_batches_too(recipe: Callable[..., Path], tmp_path: Path) -> None:
    for sets in ((), ("run.micro_batch=1",)):
        stage = planned(recipe("sid"), tmp_path, *sets)
        assert stage.cost.flops / BATCH / stage.forward == pytest.approx(11, rel=0.02)
        assert stage.flops == pytest.approx(stage.cost.flops / BATCH * 1000)


def test_a_warm_up_is_no_part_of_later_iterations(recipe: Callable[..., Path], tmp_path: Path) -> None:
    none, some = (planned(recipe("rcm"), tmp_path, f"generator_loss.tangent_warmup={n}") for n in (0, 2))
    assert [turn.name for turn in some.cost.turns if turn.over] == ["warmup"]
    assert some.cost.flops == pytest.approx(none.cost.flops, rel=1e-3)


def test_a_student_of_several_steps_costs_their_passes_whose_noise_is_its_own(
    recipe: Callable[..., Path], tmp_path: Path
) -> None:
    """Forward and backward once more in the generator's turn, forward once more in the fake score's."""
    one, two = (
        planned(recipe("sid"), tmp_path, *sets) for sets in ((), ("sample={use='few-step', sigmas=[80.0, 1.0]}",))
    )
    assert (two.cost.flops - one.cost.flops) / BATCH / one.forward == pytest.approx(4, rel=0.02)


def test_a_term_on_the_whole_batch_costs_one_more_forward_pass_with_micro_batches(
    recipe: Callable[..., Path], tmp_path: Path
) -> None:
    path = recipe("sid", '[[auxiliary_loss]]\nuse = "embedding"\n[[auxiliary_loss.embeddings]]\nuse = "pixels"\n')
    whole, parted = planned(path, tmp_path), planned(path, tmp_path, "run.micro_batch=1")
    more = (parted.cost.flops - whole.cost.flops) / BATCH
    assert more == pytest.approx(whole.forward, rel=0.03)


def test_memory_of_other_micro_batches_is_told_before_it_is_tried(recipe: Callable[..., Path], tmp_path: Path) -> None:
    path = recipe("sid")
    small, large = (planned(path, tmp_path, "run.batch=64", f"run.micro_batch={m}") for m in (8, 32))
    assert small.peak(32) == pytest.approx(large.cost.largest.peak, rel=0.05)
    assert large.cost.largest.peak > 2 * small.cost.largest.peak


def test_bf16_layers_take_less_than_fp32_ones_and_more_than_half(recipe: Callable[..., Path], tmp_path: Path) -> None:
    path = recipe("sid")
    full, half = (
        planned(path, tmp_path, "run.batch=64", f'run.precision="{p}"').cost.largest.peak for p in ("fp32", "bf16")
    )
    assert 0.5 * full < half < full


def test_blocks_computed_again_are_those_of_the_first_pass_in_bf16_too(
    recipe: Callable[..., Path], tmp_path: Path
) -> None:
    path, again = recipe("sid"), "run.checkpoint_activations=true"
    full, half = (planned(path, tmp_path, "run.batch=64", again, f'run.precision="{p}"').cost for p in ("fp32", "bf16"))
    assert 0.5 * full.largest.peak < half.largest.peak < full.largest.peak
    assert full.flops == half.flops
    once = planned(path, tmp_path, "run.batch=64").cost
    assert 1.2 * once.flops < full.flops < 4 / 3 * once.flops  # where gradients go, one more forward pass


def test_what_lies_with_the_host_takes_none_of_the_devices_memory(recipe: Callable[..., Path], tmp_path: Path) -> None:
    def counted(*sets: str) -> tuple[dict[str, Role], float]:
        found = planned(recipe("sid"), tmp_path, "run.batch=64", 'run.device="auto"', *sets)
        return {role.name: role for role in found.roles}, found.cost.largest.peak

    roles, peak = counted()
    average, (moved, without) = roles["generator's average"], counted('run.ema_device="cpu"')
    assert (moved["generator's average"].weights, moved["generator's average"].parameters) == (0, average.parameters)
    assert peak - without == pytest.approx(average.weights, rel=0.01)
    moved, without = counted("run.offload=true")
    moments = sum(role.optimizer for role in roles.values())
    assert not any(role.optimizer for role in moved.values())
    assert peak - without == pytest.approx(average.weights + moments, rel=0.01)
    assert counted('run.device="cpu"', "run.offload=true")[1] == peak


def test_a_teacher_of_half_the_bytes_is_counted_as_that(recipe: Callable[..., Path], tmp_path: Path) -> None:
    whole, half = (planned(recipe("sid"), tmp_path, *sets) for sets in ((), ('run.teacher_dtype="bf16"',)))
    (teacher, rounded), (student, same) = (
        [next(role.weights for role in stage.roles if role.name == name) for stage in (whole, half)]
        for name in ("teacher", "generator")
    )
    assert rounded == pytest.approx(teacher / 2, rel=0.01) and same == student
    assert half.cost.largest.peak < whole.cost.largest.peak - teacher / 3


def test_a_resized_image_is_in_full_precision_under_autocast() -> None:
    with blank(), torch.autocast("meta", torch.bfloat16):
        x = torch.empty(1, 3, 4, 4, device="meta", dtype=torch.bfloat16)
        assert torch.nn.functional.interpolate(x, scale_factor=2).dtype == torch.float32


def test_counting_leaves_no_trace_in_torch() -> None:
    autocast, again = torch.autocast, noise.masks_again
    with blank() as live:
        kept = torch.empty(3, 5, device="meta")
        assert live.bytes == 60
        kept.view(5, 3)
        (kept + kept).sum()
        assert (live.bytes, live.peak) == (60, 124)  # a view takes nothing; a sum and its total are gone
        assert [kept.sum().item(), bool(kept.sum()), kept[0].tolist()] == [1.0, True, [1.0] * 5]
    assert torch.autocast is autocast and noise.masks_again is again


def test_what_is_trained_from_scratch_on_released_images_is_counted_without_them(tmp_path: Path) -> None:
    stage = planned(ROOT / "recipes/cifar10_uncond_ct.toml", tmp_path)
    assert stage.cost is not None and stage.flops > 0, stage.unknown


def test_released_images_are_of_the_shape_that_their_networks_have() -> None:
    shapes, networks = parts.published()["shape"], parts.published()["network"]
    assert shapes.keys() == parts.published()["images"].keys()
    for data, start in (("cifar-10-python.tar.gz", "edm-cifar10-"), ("imagenet-64x64.zip", "edm-imagenet-64x64-"),
                        ("ffhq-64x64.zip", "edm-ffhq-"), ("afhqv2-64x64.zip", "edm-afhqv2-"),
                        ("img512-sd.zip", "edm2-img512-")):  # fmt: skip
        channels, resolution, classes = shapes[data]
        cards = [card for name, card in networks.items() if name.startswith(start)]
        assert cards and all((c["channels"], c["resolution"]) == (channels, resolution) for c in cards)
        assert all(c["label_dim"] in (0, classes) for c in cards)
