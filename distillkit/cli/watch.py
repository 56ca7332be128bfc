"""`distillkit watch`: runs in a browser, kept fresh while they go."""

from __future__ import annotations

import webbrowser
from argparse import ArgumentParser, Namespace
from pathlib import Path

from distillkit.api.errors import UsageError
from distillkit.cli import arguments
from distillkit.cli.runs import run_path


def add(parser: ArgumentParser) -> None:
    parser.add_argument("run", type=run_path, nargs="?", default=Path("runs"), metavar="RUN",
                        help="a run, or a folder of runs (%(default)s)")  # fmt: skip
    parser.add_argument("--port", type=arguments.whole(0, 65535), default=0, metavar="N",
                        help="of the address (0: one that is free)")  # fmt: skip
    parser.add_argument("--open", action="store_true", help="open a browser on this machine")


def main(args: Namespace) -> int:
    """Serve until Ctrl-C -> exit code."""
    from distillkit.watch.server import Watch

    path = args.run
    if not path.is_dir():
        raise UsageError(f"{path}: no such folder; give a run, or the folder that has them")
    one = (path / "run.json").is_file()
    with Watch(path.resolve().parent if one else path, args.port) as server:
        url = server.url(path.resolve().name if one else "")
        print(f"{url}\nfor this machine alone, and read-only; Ctrl-C ends it", flush=True)
        if args.open:
            webbrowser.open(url)
        server.serve_forever()
    return 0
