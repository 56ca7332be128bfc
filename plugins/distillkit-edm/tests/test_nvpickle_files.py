"""Pickles that the reference implementations wrote: the same tensors bit for bit, the same images from our networks."""

from __future__ import annotations

import io
import pickletools
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from distillkit_edm.edm2.layers import MPConv, normalize
from distillkit_edm.edm2.network import Edm2
from distillkit_edm.networks import Adm, DdpmPP, NcsnPP
from distillkit_edm.nvpickle import mapped, read_pickle
from distillkit_edm.nvpickle.modules import read_tensors, read_tree
from distillkit_edm.precond import EdmPrecond
from nvidia_files import snapshot
from torch import Tensor

DATA = Path(__file__).parent / "data"
CLASSES = {"edm-ddpmpp": DdpmPP, "edm-ncsnpp": NcsnPP, "edm-adm": Adm, "edm2": Edm2}
PICKLES = sorted(path.stem for path in DATA.glob("*.pkl"))


def tensors_of(name: str) -> dict[str, torch.Tensor]:
    data = mapped(DATA / f"{name}.pkl")
    return read_tensors(data, read_tree(data))


def network_of(name: str) -> EdmPrecond:
    return network_at(DATA / f"{name}.pkl")


def network_at(path: Path) -> EdmPrecond:
    card, tensors = read_pickle(path)
    keys = {key: tuple(value) if isinstance(value, list) else value for key, value in card["network"].items()}
    cls = CLASSES[keys.pop("use")]
    net = cls(cls.Config(**keys)).module(card["resolution"], card["channels"], card["label_dim"])
    net.load_state_dict(tensors)
    return net.eval().requires_grad_(False)


def test_all_ten_pickles_are_here() -> None:
    assert len(PICKLES) == 10


@pytest.mark.parametrize("name", [name for name in PICKLES if name not in ("di_tiny", "sida_edm2_tiny")])
def test_tensors_are_the_reference_state_dict_bit_for_bit(
    edm_data: Callable[[str], dict[str, Tensor]], name: str
) -> None:
    want, got = edm_data(f"{name.removesuffix('_torch213')}_state_dict"), tensors_of(name)
    assert set(got) == set(want)
    for key, tensor in want.items():
        assert got[key].dtype == tensor.dtype and got[key].is_contiguous() and torch.equal(got[key], tensor), key


@pytest.mark.filterwarnings("ignore:TypedStorage is deprecated")
@pytest.mark.parametrize("name", PICKLES)
def test_tensors_are_what_torch_reads_from_each_storage_of_the_file(name: str) -> None:
    """Python's disassembler finds the storages, torch's restricted loader reads them."""
    found = set()
    for op, value, _ in pickletools.genops((DATA / f"{name}.pkl").read_bytes()):
        if "BINBYTES" in op.name and value.startswith(b"\x80\x02\x8a"):
            storage = torch.load(io.BytesIO(value), weights_only=True).untyped()
            found.add(torch.empty(0, dtype=torch.uint8).set_(storage).numpy().tobytes())
    for key, tensor in tensors_of(name).items():
        assert tensor.numel() and tensor.reshape(-1).view(torch.uint8).numpy().tobytes() in found, key


# The tolerance is that of the fixtures, some of which another torch computed.
@pytest.mark.parametrize("name", [name for name in PICKLES if name not in ("di_tiny", "sida_edm2_tiny")])
def test_our_network_denoises_as_the_reference_does(edm_data: Callable[[str], dict[str, Tensor]], name: str) -> None:
    net, io = network_of(name), edm_data(f"{name.removesuffix('_torch213')}_io")
    x, sigma, labels = io["x"], io["sigma"].reshape(-1, 1, 1, 1), io.get("class_labels")
    got = {"denoised": net(x, sigma, labels)}
    if "denoised_augment" in io:
        got["denoised_augment"] = net(x, sigma, labels, io["augment_labels"])
    if "denoised_no_labels" in io:
        got["denoised_no_labels"] = net(x, sigma)
    if "encoder_logits" in io:
        got["encoder_logits"] = net.encoder(x, sigma, labels)
    if "onestep_2p5" in io:
        got["onestep_2p5"] = net(2.5 * io["latents"], 2.5, io.get("sampler_class_labels"))
    for key, value in got.items():
        torch.testing.assert_close(
            value, io[key].to(value.dtype), rtol=1e-4, atol=1e-4, msg=lambda m, key=key: f"{key}: {m}"
        )


def test_the_consistency_form_of_ect_is_chosen_by_the_name_of_the_class() -> None:
    card, _ = read_pickle(DATA / "ect_tiny.pkl")
    assert card["network"]["preconditioning"] == "ect" and card["network"]["boundary"] == 0.003


def test_of_two_networks_the_generator_is_taken() -> None:
    card, tensors = read_pickle(DATA / "di_tiny.pkl")  # beside its fake score, `Sg`
    assert card["label_dim"] == 10 and len(tensors) == 149


def test_the_generator_of_sida_for_edm2_denoises_as_the_reference_does(
    edm_data: Callable[[str], dict[str, Tensor]],
) -> None:
    net, io = network_of("sida_edm2_tiny"), edm_data("sida_edm2_tiny_io")
    for layer in net.modules():  # its hooks normalise the weights once more than a call does: nothing, once trained
        if isinstance(layer, MPConv):
            layer.weight.copy_(normalize(layer.weight, tuple(range(1, layer.weight.ndim))))
    got = net(io["x"], io["sigma"].reshape(-1, 1, 1, 1), io["class_labels"])
    torch.testing.assert_close(got, io["denoised"], rtol=1e-4, atol=1e-4)


def test_reading_leaves_the_global_generator_alone() -> None:
    before = torch.get_rng_state()
    read_pickle(DATA / "sid_tiny.pkl")
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("name", "form"),
    [("EDMPrecond", ("edm", 0.0)), ("EDMPrecond_EncoderDecoder", ("edm", 0.0)), ("ECMPrecond", ("ect", 0.003)),
     ("GDDPrecond", ("consistency", 0.002))],
)  # fmt: skip
def test_the_class_alone_tells_the_form_of_the_preconditioning(
    tmp_path: Path, name: str, form: tuple[str, float]
) -> None:
    path = tmp_path / "network.pkl"
    path.write_bytes(snapshot(change=lambda meta: meta.update(class_name=name)))
    net = network_at(path)
    s, sigma = 0.5, torch.tensor([0.002, 0.5, 80.0])
    torch.testing.assert_close(net.scalings(sigma)[0], s**2 / ((sigma - form[1]) ** 2 + s**2))
    assert read_pickle(path)[0]["network"].get("preconditioning", "edm") == form[0]
