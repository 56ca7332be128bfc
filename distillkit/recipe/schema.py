"""The tables of a recipe as frozen values; nothing here is built yet."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from attrs import field, frozen
from attrs.validators import and_, ge, gt, in_, le, lt, optional

from distillkit.api import (
    FILE,
    INFINITE,
    NO_BITS,
    Adapter,
    AuxiliaryLoss,
    Choice,
    Component,
    Dataset,
    Evaluate,
    GeneratorLoss,
    Logger,
    Network,
    Optimizer,
    Sample,
    TeacherScore,
    added_later,
)
from distillkit.recipe import shipped

C = TypeVar("C", bound=Component)
DEVICES = "auto", "cpu", "cuda", *(f"cuda:{i}" for i in range(8)), "mps", "xpu"
# attrs types a bound by its number: a default of 0.05 hides that None is allowed.
POSITIVE: Callable[[Any, Any, Any], None] = optional(gt(0))


@frozen(kw_only=True)
class Guard:
    """[run.guard]: when a run is called collapsed, and what is done then; inf, or 0 of a least value: never."""

    action: str = field(default="warn", validator=in_(("warn", "stop", "return", "off")))
    """on a collapse: go on with a warning, end with exit code 4, or with the last healthy average; "off": no guard"""
    looks: int = field(default=2, validator=ge(1))  # evaluations or pictures in a row with a sign before it counts
    first: int = field(default=25, validator=ge(0))
    """iterations in which images and discriminators may look like anything"""
    saturated: float = field(default=0.5, validator=gt(0), metadata=INFINITE)
    """largest share of values at their limits, of those that are not there in real images"""
    shift: float = field(default=1.5, validator=gt(0), metadata=INFINITE)
    """largest distance of a channel's mean from that of real images, in standard deviations of real values"""
    spread: float = field(default=2.0, validator=gt(1), metadata=INFINITE)
    """largest standard deviation of values, in that of real ones"""
    contrast: float = field(default=0.1, validator=ge(0))
    """least standard deviation within an image, as a share of that of real ones"""
    diversity: float = field(default=0.1, validator=ge(0))
    """least variance among images, of one class where classes are known, as a share of that of real ones; where it was
    less from the start, half of the most that it was"""
    worse: float = field(default=2.0, validator=gt(0), metadata=INFINITE)
    """largest distance (or its inverse, where more is better), in those of the teacher's one step, untouched"""
    winning: float = field(default=0.9, validator=gt(0), metadata=INFINITE)
    """largest distance between a discriminator's logits of real and of generated images, in their deviations, while the
    metric does not improve"""
    fooled: float = field(default=0.2, validator=ge(0))
    """the same, where it takes generated images for real ones rather than real ones: it does not learn"""
    grad_norm: float = field(default=100.0, validator=gt(1), metadata=INFINITE)
    """largest gradient norm of a network, in medians of the run so far"""
    skipped: float = field(default=0.1, validator=gt(0), metadata=INFINITE)
    """largest share of updates that are not finite"""


@frozen(kw_only=True)
class Run:
    """[run]: how long, how large, on what."""

    kimg: float = field(validator=and_(gt(0.0), le(1e9)))  # images seen in the whole run, in thousands
    batch: int = field(validator=ge(1))  # images per iteration, over all micro-batches
    micro_batch: int | None = field(default=None, validator=optional(ge(1)))  # images per forward pass
    seed: int = field(default=0, validator=and_(ge(0), lt(2**32)))  # of every random number of the run
    device: str = field(default="auto", validator=in_(DEVICES), metadata=NO_BITS)
    """auto, cpu, cuda, cuda:1, xpu; with "auto": a CUDA GPU where there is one"""
    precision: str = field(default="fp32", validator=in_(("fp32", "tf32", "bf16", "fp64")))
    """what networks compute in; weights are float32 but for "fp64"."""
    compile: bool = field(default=False, metadata=added_later(as_before=False))
    """the networks' passes in training are compiled by torch.compile (docs/speed.md)"""
    channels_last: bool = field(default=False, metadata=added_later(as_before=False))
    """images and weights of convolutions lie in memory with their channels side by side (docs/speed.md)"""
    checkpoint_activations: bool = field(default=False, metadata=NO_BITS)
    """blocks of networks keep their inputs alone and are computed again in the backward pass (docs/speed.md)"""
    state_bits: int = field(default=32, validator=in_((8, 32)), metadata=added_later(as_before=32))
    """of each number of the optimizers' moments; 8: by torchao, a quarter of their memory"""
    deterministic: bool = field(default=False, metadata=NO_BITS)
    """on a GPU: the same bits in every run on that kind of GPU, slower; a CPU always has them"""
    ema_device: str | None = field(default=None, validator=optional(in_(("cpu",))), metadata=NO_BITS)
    """"cpu": a GPU's run keeps the average of the weights in the memory of the host; unset: on the GPU"""
    offload: bool = field(default=False, metadata=NO_BITS)
    """a GPU's run keeps optimizers' states and the average in the memory of the host, but while they are used"""
    teacher_dtype: str | None = field(default=None, validator=optional(in_(("bf16",))))
    """"bf16": the teacher's weights, and what its layers compute in; unset: as run.precision (docs/speed.md)"""
    threads: int | None = field(default=None, validator=optional(ge(1)), metadata=NO_BITS)
    """threads of the CPU; unset: probed at the start"""
    tick_kimg: float | None = field(default=None, validator=optional(gt(0)), metadata={**NO_BITS, **INFINITE})
    """images between lines of the log; inf: the last one alone; unset: a twentieth of the run"""
    checkpoint_kimg: float | None = field(default=None, validator=optional(gt(0)), metadata={**NO_BITS, **INFINITE})
    """images between checkpoints; inf: by minutes alone; unset: a fifth of the run"""
    checkpoint_minutes: float = field(default=15.0, validator=gt(0), metadata=NO_BITS)
    """training between checkpoints, at most, but for 2 % of the time that saving may take"""
    keep_best: str | None = None
    """a metric such as "frechet/fd": the result is the average where it was best; unset: the last one"""
    keep_checkpoints: int = field(default=2, validator=ge(2), metadata=NO_BITS)
    """how many are kept; the newest may be damaged"""
    max_nonfinite: int = field(default=3, validator=ge(0))  # skipped updates in a row before the run stops
    grid: int = field(default=80, validator=and_(ge(1), le(1000)), metadata=NO_BITS)
    """pictures in each file of samples/"""
    triptych: bool = field(default=True, metadata=NO_BITS)
    """beside each, what teacher and fake score make of the student's images, where the method has a fake score"""
    guard: Guard = field(factory=Guard, metadata=NO_BITS)  # signs of a collapse


@frozen(kw_only=True)
class Generator:
    """[generator]: the student network, its optimizer and its average."""

    init: str = field(default="teacher", validator=in_(("teacher", "scratch")))
    """where the weights come from: a copy of the teacher, or random ones of `network`"""
    from_: str | None = None  # start from the result of that recipe, such as "other.toml"
    checkpoint: str | None = field(default=None, metadata=FILE)
    """start from a result folder, a student.safetensors, or a file that an importer reads"""
    network: Choice[Network] | None = None
    """architecture; its weights are random for init = "scratch", and by their names the teacher's for "teacher", too"""
    adapter: Choice[Adapter] | None = None
    """few weights that train beside the frozen ones which student, critics and teacher share"""
    network_keys: dict[str, Any] = field(factory=dict, metadata=added_later(as_before={}))
    """keys that the student's network has otherwise than the one it starts from: second_time = true"""
    new_weights: tuple[str, ...] = field(default=(), metadata=added_later(as_before=()))
    """names, with * as in file names, of weights that a student of another form may begin with random ones"""
    unused_weights: tuple[str, ...] = field(default=(), metadata=added_later(as_before=()))
    """names of weights that it may leave behind"""
    dropout: float | None = field(default=None, validator=optional(and_(ge(0), lt(1))))
    """of the student and of critics that are copies; unset: as the network was made"""
    dropout_resolution: int | None = field(default=None, validator=optional(ge(1)))
    """network `edm2`: no dropout at resolutions above this one"""
    freeze: tuple[str, ...] = ()  # names of parameters that do not train, with * as in file names
    optimizer: Optimizer = field(factory=Optimizer)  # of the generator
    ema: str = field(default="halflife", validator=in_(("halflife", "power", "none")))
    """average of the weights that is the result: of a half-life, of a power function, or the weights themselves"""
    ema_halflife_kimg: float = field(default=500.0, validator=gt(0))
    """with "halflife": images after which a weight counts half"""
    ema_rampup_ratio: float | None = field(default=0.05, validator=POSITIVE, metadata=INFINITE)
    """with "halflife": at most this share of the images so far; inf, or unset: no such limit"""
    ema_gamma: float = field(default=6.94, validator=gt(0))  # "power": exponent gamma of arXiv:2312.02696, Eq. (121)
    ema_every: int = field(default=1, validator=ge(1), metadata=added_later(as_before=1))
    """iterations between its updates, each of which makes up for all of them; some codes: 16, to save time"""

    def __attrs_post_init__(self) -> None:
        if self.ema == "none" and self.ema_every > 1:
            raise ValueError("'ema_every' is of an average, and there is none with 'ema' \"none\"")


@frozen(kw_only=True)
class About:
    """[about]: what the recipe is, for readers and `distillkit recipes`; no run depends on it."""

    data: str | None = None  # short name of the data: "afhq"
    images: str | None = None  # the data in words
    method: str | None = None  # short name of the method: "sid"
    paper: str | None = None  # the method in words, with its source
    loss: str | None = None  # a further loss: "embedding"
    fid: float | None = None  # published for this combination
    source: str | None = None  # where that FID is published
    remark: str | None = None  # on published numbers
    runs_on: str | None = None  # a GPU, or a CPU and for how long

    @property
    def published(self) -> str:
        """The published number and where it is from, in a line; empty where there is none."""
        number = "" if self.fid is None else f"FID {self.fid:g}" + (f" ({self.source})" if self.source else "")
        return "; ".join(filter(None, (number, self.remark)))


@frozen(kw_only=True)
class Tables:
    """What a recipe holds, beside `extends`: the recipes that it lies over, by path or as they are shipped."""

    schema: int = field(validator=in_((1,)))  # version of the format
    run: Run  # how long, how large, on what
    dataset: Choice[Dataset]  # real images, for training and as a reference
    teacher_score: Choice[TeacherScore] | None = None  # what is distilled; methods without a teacher have none
    generator: Generator = field(factory=Generator)  # the student
    sample: Choice[Sample]  # how the student generates images
    generator_loss: Choice[GeneratorLoss]  # the method
    auxiliary_loss: tuple[Choice[AuxiliaryLoss], ...] = ()  # further losses beside the method's
    evaluate: tuple[Choice[Evaluate], ...] = ()  # what is measured of the student
    logger: tuple[Choice[Logger], ...] = field(default=(), metadata=NO_BITS)  # who else is told of a run as it goes
    about: About = field(factory=About, metadata=NO_BITS)  # what the recipe is, in words


def by_logged_name(parts: Sequence[Choice[C]]) -> dict[str, Choice[C]]:
    """The components of a list by what logs and metrics call them: the second of a name is "name.1"."""
    named: dict[str, Choice[C]] = {}
    for i, choice in enumerate(parts):
        named[f"{choice.name}.{i}" if choice.name in named else choice.name] = choice
    return named


def group_of(method: Choice[GeneratorLoss]) -> int:
    """So many neighbouring images of a batch are in one pass; a method that does not say so is not built for that."""
    return 1 if method.cls.group is GeneratorLoss.group else method.build().group


@frozen(kw_only=True)
class Recipe(Tables):
    """A whole recipe: every default filled in, every name resolved to a class, nothing built."""

    path: Path
    written: Mapping[tuple[str | int, ...], str] = field(factory=dict, eq=False, repr=False)
    """paths that its files spell otherwise, by key"""

    @property
    def name(self) -> str:
        return self.path.stem

    @property
    def group(self) -> int:
        """So many neighbouring images of a batch are in one pass, as the method says."""
        return group_of(self.generator_loss)

    @property
    def starts_from(self) -> dict[str, str]:
        """Recipes whose results this one needs: table -> file name as written."""
        teacher = self.teacher_score.slot.from_ if self.teacher_score else None
        named = {"teacher_score": teacher, "generator": self.generator.from_}
        return {table: file for table, file in named.items() if file}

    @property
    def start_paths(self) -> dict[str, Path]:
        """The files of `starts_from`."""
        return {table: shipped.path_of(file, self.path.parent) for table, file in self.starts_from.items()}
