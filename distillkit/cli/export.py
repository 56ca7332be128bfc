"""`distillkit export`: a finished student for other programs, in a folder with its cards."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

from distillkit.cli import arguments


def add(parser: ArgumentParser) -> None:
    arguments.student(parser)
    parser.add_argument("--to", required=True, choices=arguments.FORMATS, help="the format")
    arguments.dtype(parser)
    parser.add_argument(
        "--adapters",
        default="merged",
        choices=("merged", "apart"),
        help="of a run with [generator.adapter]: in the weights, or alone, as PEFT reads them (%(default)s)",
    )
    parser.add_argument("--text-encoder", type=Path, metavar="FOLDER",
                        help="of a student of words, for diffusers (where its data have it from)")  # fmt: skip
    parser.add_argument("out", type=Path, metavar="DIR", help="a new folder, for the student and its cards")


def main(args: Namespace) -> int:
    """Write, compare and tell how far apart the two are -> exit code."""
    from distillkit.api import UsageError
    from distillkit.networks.export import PASSES, adapters, export

    if args.adapters == "apart":
        if (args.to, args.dtype) != ("safetensors", "fp32"):
            raise UsageError("--adapters apart goes with --to safetensors, in fp32: other formats hold a whole student")
        size, base = adapters(args.run, args.out)
        print(f"{args.out}: adapters as PEFT reads them, {size / 1e6:.2f} MB, of weights whose sum is {base[:16]}")
        return 0
    done = export(args.run, args.to, args.out, args.dtype, text_encoder=args.text_encoder)
    print(
        f"{args.out}: {args.to}, {args.dtype}, {done.size / 1e6:.2f} MB; "
        f"largest difference from the student {done.difference:.2g} over {sum(PASSES)} images"
    )
    return 0
