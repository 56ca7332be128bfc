"""Files that a reader of network pickles must refuse, in groups of name -> bytes: made up, or what is never done."""

from __future__ import annotations

import pickle
import struct
from collections.abc import Callable
from typing import Any

import torch
from nvidia_files import Call, described, dumped, snapshot, tiny_network
from torch import nn

PERSISTENT = "torch_utils.persistence._reconstruct_persistent_obj"
CALLS = """os.system subprocess.Popen subprocess.check_output builtins.exec builtins.eval builtins.compile
builtins.__import__ builtins.open importlib.import_module socket.create_connection torch.load torch.hub.load
numpy.load pickle.loads runpy.run_path ctypes.CDLL shutil.rmtree operator.attrgetter functools.partial
types.FunctionType types.CodeType webbrowser.open urllib.request.urlopen pty.spawn code.interact
torch.storage._load_from_bytes.__globals__ torch.serialization._open_file torch_utils.persistence.exec
collections.OrderedDict.fromkeys builtins.getattr.__class__ numpy.core.multiarray.frombuffer""".split()
EVIL = Call("builtins.exec", "raise SystemExit('ran')")


def edited(edit: Callable[[nn.Module], Any]) -> bytes:
    """A snapshot of a network that something was done to."""
    network = tiny_network()
    edit(network)
    return snapshot(network)


def calls() -> dict[str, bytes]:
    """One call before a good network."""
    return {name: snapshot(before=Call(name, "echo ran")) for name in CALLS}


def places() -> dict[str, bytes]:
    """The same call everywhere in a snapshot."""

    def put(key: str, value: Any) -> bytes:
        return snapshot(change=lambda meta: meta["state"].update({key: value}))

    def layer(key: str, name: str, value: Any) -> bytes:
        return edited(lambda net: vars(net.model.map_layer0)[key].update({name: value}))

    made = {f"state {key}": put(key, EVIL) for key in ("training", "_parameters", "_init_args", "_init_kwargs", "more")}
    made |= {f"hooks {i}": put("_forward_hooks", {i: EVIL}) for i in (0, 1)}
    made |= {f"meta {key}": snapshot(change=lambda meta, key=key: meta.update({key: EVIL}))
             for key in ("type", "version", "module_src", "class_name", "state")}  # fmt: skip
    rebuild = Call("torch._utils._rebuild_parameter", EVIL, False, {})
    container = Call("torch.nn.modules.container.ModuleDict", state=EVIL)
    return made | {
        "after": snapshot(after=EVIL),
        "instead": dumped({"ema": EVIL}),
        "as state of a function": snapshot(before=Call("os.system", state={"a": 1})),
        "as state of a module": snapshot(before=Call(PERSISTENT, {}, state={"a": 1})),
        "parameter": layer("_parameters", "weight", EVIL),
        "parameter's data": layer("_parameters", "weight", rebuild),
        "buffer": layer("_buffers", "u", EVIL),
        "module": layer("_modules", "m", EVIL),
        "container called": layer("_modules", "m", container),
        "getattr used": layer("_parameters", "weight", Call("builtins.getattr", {}, "data")),
    }


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value.encode())) + value.encode()


def stream(
    magic: int = 0x1950A86A20F9469CFC6C,
    version: int = 1001,
    little: bool = True,
    kind: str = "torch\nFloatStorage",
    numel: int = 4,
    keys: tuple[str, ...] = ("0",),
    data: bytes = bytes(16),
    first: bytes = b"",
    header: int | None = None,
) -> bytes:
    """torch's legacy stream of one storage."""
    system = {"protocol_version": 1001, "little_endian": little, "type_sizes": {}}
    reference = b"\x80\x02(" + text("storage") + b"c" + kind.encode() + b"\n" + text("0") + text("cpu")
    reference += b"J" + struct.pack("<i", numel) + b"NtQ."
    parts = [first or pickle.dumps(magic, 2), pickle.dumps(version, 2), pickle.dumps(system, 2), reference]
    return b"".join(parts) + pickle.dumps(list(keys), 2) + struct.pack("<q", numel if header is None else header) + data


def tensor(blob: Any, offset: Any = 0, size: Any = (4,), stride: Any = (1,)) -> Call:
    storage = Call("torch.storage._load_from_bytes", blob)
    return Call("torch._utils._rebuild_tensor_v2", storage, offset, size, stride, False, {})


def weight(value: Any) -> bytes:
    """A network with something in the place of a bias [4]."""
    return edited(lambda net: vars(net.model.dec["4x4_aux_norm"])["_parameters"].update({"bias": value}))


def streams() -> dict[str, bytes]:
    """A storage that is not what it says."""
    execute = b"\x80\x02cbuiltins\nexec\n" + text("ran") + b"\x85R."
    nested = b"\x80\x02ctorch.storage\n_load_from_bytes\n" + text("x") + b"\x85R."
    made = {
        "call in its magic": stream(first=execute), "stream in a stream": stream(first=nested),
        "magic": stream(magic=1), "version": stream(version=1002), "big-endian": stream(little=False),
        "type": stream(kind="torch\nQInt8Storage"), "type of evil": stream(kind="os\nsystem"),
        "no key": stream(keys=()), "two keys": stream(keys=("0", "1")), "other key": stream(keys=("1",)),
        "too long": stream(data=bytes(20)), "too short": stream(data=bytes(12)), "length": stream(header=5),
        "negative length": stream(numel=-4), "huge length": stream(numel=2**31 - 1), "only a head": stream()[:60],
        "empty": b"", "opcodes": b"\x80\x02" + b"N0" * 2000 + b"N.", "zip": b"PK\x03\x04" + bytes(60),
    }  # fmt: skip
    made = {name: weight(tensor(blob)) for name, blob in made.items()}
    return made | {"text": weight(tensor("numbers")), "no storage": weight(tensor(None)), "evil": weight(tensor(EVIL))}


def opcodes() -> dict[str, bytes]:
    """Opcodes that networks do not need, and steps without their values."""
    codes = {
        "INST": b"(ios\nsystem\n", "OBJ": b"(cos\nsystem\no", "NEWOBJ_EX": b"N)}\x92", "EXT1": b"\x82\x01",
        "EXT2": b"\x83\x01\x00", "EXT4": b"\x84\x01\0\0\0", "PERSID": b"Pid\n", "BINPERSID": b"NQ", "DUP": b"N2",
        "LONG4": b"\x8b\x01\0\0\0\x01", "NEXT_BUFFER": b"\x97", "READONLY_BUFFER": b"N\x98", "LIST": b"(Nl",
        "BYTEARRAY8": b"\x96" + bytes(8), "FROZENSET": b"(\x91", "DICT": b"(NNd", "INT": b"I1\n", "LONG": b"L1L\n",
        "FLOAT": b"F1\n", "STRING": b"S'a'\n", "BINSTRING": b"T\x01\0\0\0a", "SHORT_BINSTRING": b"U\x01a",
        "UNICODE": b"Va\n", "GET": b"N\x940g0\n", "PUT": b"Np0\n", "unknown": b"\xff", "second protocol": b"\x80\x04N",
        "REDUCE of text": b"\x8c\x01a)R", "REDUCE without args": b"cbuiltins\nset\nNR", "NEWOBJ of None": b"N)\x81",
        "BUILD on a function": b"ctorch.storage\n_load_from_bytes\n}b", "BUILD on a dict": b"}}b",
        "call of a container": b"ctorch.nn.modules.container\nModuleDict\n)R",
        "new of a function": b"cbuiltins\nset\n]\x85\x81", "set of lists": b"\x8f(]\x90", "POP of nothing": b"0N",
        "pop past a mark": b"N(0", "TUPLE without mark": b"Nt", "APPEND to None": b"NNa", "SETITEM on a list": b"]NNs",
        "odd dict": b"}(NNNu", "dict of dicts": b"}}Ns", "key twice": b"}(K\x01NK\x01Nu",
        "name of numbers": b"K\x01K\x02\x93",
        "dotted name": b"\x8c\x0btorch_utils\x8c\x0bpersistence\x93", "no end of a name": b"cos", "BINGET": b"h\x07",
        "not UTF-8": b"\x8c\x01\xff", "frame": b"\x95" + b"\xff" * 8 + b"N", "two values": b"NN", "no value": b"",
    }  # fmt: skip
    made = {name: b"\x80\x04" + code + b"." for name, code in codes.items()}
    return made | {f"protocol {n}": b"\x80" + bytes([n]) + b"N." for n in (0, 1, 6, 255)} | {"no protocol": b"N."}


def bombs() -> dict[str, bytes]:
    """Small files that ask for much."""
    shared: dict[str, Any] = {"_parameters": {}, "_buffers": {}, "_modules": {}}
    for _ in range(60):  # 2**60 modules
        node = Call(PERSISTENT, {**described(nn.Module()), "state": shared})
        shared = {"_parameters": {}, "_buffers": {}, "_modules": {"a": node, "b": node}}
    chain: dict[str, Any] = {"_parameters": {}, "_buffers": {}, "_modules": {}}
    for _ in range(70):
        node = Call(PERSISTENT, {**described(nn.Module()), "state": chain})
        chain = {"_parameters": {}, "_buffers": {}, "_modules": {"a": node}}
    ring: dict[str, Any] = {"_parameters": {}, "_buffers": {}, "_modules": {}}
    ring["_modules"]["again"] = Call(PERSISTENT, {**described(nn.Module()), "state": ring})
    blob = stream(numel=5000, data=bytes(20_000))
    many = {f"p{i}": tensor(blob) for i in range(50)}
    return {
        "memo": b"\x80\x04Nr\xff\xff\xff\x0f.",
        "stack": b"\x80\x04" + b"N" * 150_000 + b".",
        "marks": b"\x80\x04" + b"(" * 150_000 + b".",
        "text of 4 GB": b"\x80\x04X\xff\xff\xff\xff.",
        "text of 2**62 bytes": b"\x80\x04\x8d" + struct.pack("<Q", 2**62) + b".",
        "bytes of 2**63 bytes": b"\x80\x04\x8e" + struct.pack("<Q", 2**63) + b".",
        "tuples in tuples": b"\x80\x04)" + b"\x85" * 90_000 + b".",
        "shared modules": snapshot(change=lambda meta: meta["state"]["_modules"].update(shared["_modules"])),
        "deep modules": snapshot(change=lambda meta: meta["state"]["_modules"].update(chain["_modules"])),
        "modules in a ring": snapshot(change=lambda meta: meta["state"]["_modules"].update(ring["_modules"])),
        "one storage many times": edited(lambda net: vars(net.model)["_parameters"].update(many)),
        "stride 0": weight(tensor(stream(), size=(1 << 20, 1 << 19), stride=(0, 0))),
        "number of 255 bytes": weight(tensor(stream(), size=(1 << 2000,))),
    }


def views() -> dict[str, bytes]:
    """Tensors that do not lie within their storage."""
    odd: dict[str, dict[str, Any]] = {
        "offset": {"offset": 1}, "offset -1": {"offset": -1}, "offset 2**62": {"offset": 1 << 62},
        "size": {"size": (5,)}, "size -1": {"size": (-1,)}, "size True": {"size": (True,)},
        "size 4.0": {"size": (4.0,)},
        "stride": {"stride": (2,)}, "stride -1": {"stride": (-1,)}, "stride missing": {"stride": ()},
        "list": {"size": [4]}, "nine dimensions": {"size": (1,) * 9, "stride": (1,) * 9}, "text": {"size": "4"},
        "stride 0": {"size": (8,), "stride": (0,)}, "empty beyond": {"size": (0,), "offset": 9},
        "offset None": {"offset": None}, "product": {"size": (1 << 21, 1 << 21, 1 << 22), "stride": (0, 0, 0)},
    }  # fmt: skip
    return {name: weight(tensor(stream(), **view)) for name, view in odd.items()}


def unframed(data: bytes) -> bytes:
    """The same pickle without its frame, whose length would tell that something is missing."""
    return data[:2] + data[11:]


def files() -> dict[str, bytes]:
    """Things that are no snapshot."""
    good, shares = snapshot(), (0.001, 0.01, 0.1, 0.3, 0.5, 0.7, 0.9, 0.99)
    cut = {f"cut at {share}": good[: int(share * len(good))] for share in shares}
    cut |= {f"unframed, {name}": unframed(data) for name, data in cut.items() if len(data) > 99}
    return cut | {
        "empty": b"", "a byte": b"\x80", "zeros": bytes(100), "JSON": b'{"ema": 1}', "zip": b"PK\x03\x04" + good,
        "without STOP": good[:-1], "second pickle": good + b"\x80\x04N.",
        "zip behind": good + b"PK\x05\x06" + bytes(18),
        "newline": good + b"\n", "None": dumped(None), "list": dumped([1]), "no ema": dumped({"net": 1}),
        "ema None": dumped({"ema": None}), "ema a dict": dumped({"ema": {"a": 1}}), "first bit": b"\x00" + good[1:],
    }  # fmt: skip


def trees() -> dict[str, bytes]:
    """Networks that are not as their class has them."""
    names = ["a.b", "../x", "a\nb", "", "x" * 200, "\u00e4", 7]
    made = {f"name {name!r:.9}": edited(lambda net, n=name: vars(net.model)["_parameters"].update({n: torch.ones(1)}))
            for name in names}  # fmt: skip
    layer = "_parameters"
    return made | {
        "missing": edited(lambda net: vars(net.model.map_layer0)[layer].pop("weight")),
        "more": edited(lambda net: vars(net.model.map_layer0)[layer].update(more=torch.ones(1))),
        "shape": edited(lambda net: vars(net.model.map_layer0)[layer].update(weight=torch.ones(2))),
        "number": edited(lambda net: vars(net.model.map_layer0)[layer].update(weight=1.0)),
        "in both": edited(lambda net: vars(net.model.map_layer0)["_buffers"].update(weight=torch.ones(1))),
        "no model": snapshot(change=lambda meta: meta["state"].update(_modules={})),
        "no parameters": snapshot(change=lambda meta: meta["state"].pop("_parameters")),
        "modules None": snapshot(change=lambda meta: meta["state"].update(_modules=None)),
        "hidden buffers": snapshot(change=lambda meta: meta["state"].update(_non_persistent_buffers_set=[])),
    }


def arguments() -> dict[str, bytes]:
    """Classes and constructor arguments that no network here has."""
    odd: list[dict[str, Any]] = [
        {"img_resolution": 0}, {"img_resolution": -4}, {"img_resolution": 1 << 40}, {"img_resolution": 4.0},
        {"img_channels": 0}, {"img_channels": True}, {"label_dim": "2"}, {"model_channels": 1 << 30},
        {"model_channels": 5}, {"num_blocks": 1 << 20}, {"num_blocks": 0}, {"channel_mult": []}, {"channel_mult": 1},
        {"channel_mult": [1] * 9}, {"channel_mult": [0]}, {"channel_mult": [1 << 20]}, {"channel_mult": [1, 1, 1, 1]},
        {"dropout": float("nan")}, {"dropout": -1.0}, {"dropout": 1.0}, {"dropout": None}, {"sigma_data": 0.0},
        {"sigma_data": float("inf")}, {"embedding_type": "other"}, {"resample_filter": [1, 2, 1]}, {"more": 1},
        {"resample_filter": [[1], [1]]}, {"model_type": "os"}, {"model_type": None}, {"model_type": "DhariwalUNet"},
        {"channel_mult_noise": 2}, {"attn_resolutions": [1 << 30]}, {"augment_dim": 3}, {7: 7}, {"label_dim": 3},
        {"logvar_channels": 3}, {"clip_act": 1.0},
    ]  # fmt: skip
    classes = ("VPPrecond", "VEPrecond", "iDDPMPrecond", "Precond", "EDM_2_Precond_Generator", "os.system", "", "x\ny")
    made = {f"class {name!r}": snapshot(change=lambda meta, n=name: meta.update(class_name=n)) for name in classes}
    made |= {
        f"{change}": snapshot(change=lambda meta, c=change: meta["state"]["_init_kwargs"].update(c)) for change in odd
    }
    return made | {
        "eight by position": snapshot(change=lambda meta: meta["state"].update(_init_args=(1,) * 8)),
        "version 7": snapshot(change=lambda meta: meta.update(version=7)),
        "a function": snapshot(change=lambda meta: meta.update(type="function")),
    }


GROUPS = (calls, places, streams, opcodes, bombs, views, files, trees, arguments)
