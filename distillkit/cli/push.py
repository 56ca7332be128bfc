"""`distillkit push`: a finished student to the Hub."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from distillkit.cli import arguments


def add(parser: ArgumentParser) -> None:
    arguments.student(parser)
    parser.add_argument("repo", metavar="USER/NAME", help="a repository of models; made where there is none")
    parser.add_argument("--private", action="store_true", help="a new repository is for you alone")
    parser.add_argument("--update", action="store_true", help="replace the student that is there, by a commit")
    parser.add_argument("--format", default="safetensors", choices=arguments.FORMATS,
                         help="as of export; only safetensors can be sampled after a pull (%(default)s)")  # fmt: skip
    arguments.dtype(parser)
    parser.add_argument("--license", metavar="ID", help="as the Hub has it, such as apache-2.0; see the card")
    parser.add_argument("--base-model", metavar="USER/NAME", help="the teacher on the Hub")
    parser.add_argument("--dataset", action="append", default=[], metavar="USER/NAME",
                         help="its data on the Hub (may be repeated)")  # fmt: skip


def main(args: Namespace) -> int:
    """Export, upload and tell the address -> exit code."""
    from distillkit.networks.hub_metadata import Home
    from distillkit.networks.push import push

    home = Home(args.repo, args.license, args.base_model, tuple(args.dataset))
    url, exported = push(args.run, args.format, args.dtype, home, args.private, args.update)
    print(f"pushed {exported.size / 1e6:.2f} MB: {url}")
    print(f"distillkit sample hf://{home.repo}")
    return 0
