"""What `distillkit` alone says: the commands in groups, and three lines to begin with."""

from __future__ import annotations

import argparse
from difflib import get_close_matches

from distillkit.cli import plugged

GROUPS = {  # a module here for each command, with add(parser) and main(args)
    "train": {
        "run": "run a recipe, and first the recipes it builds on",
        "check": "say whether a recipe can run, and all that is wrong with many",
        "check-teacher": "say whether a teacher is right, and which mistake it has",
        "plan": "say what a recipe takes and whether it fits; run nothing",
        "study": "run many recipes and seeds from one file, and compare them",
        "tune": "find better settings of a recipe, and test them with fresh seeds",
        "launch": "run a recipe on machines of a scheduler, or print what does",
    },
    "look": {
        "watch": "show runs in a browser while they go",
        "compare": "show runs side by side, and write a page of their curves",
        "report": "write the report.html of a run again",
        "eval": "measure the student of a finished run again",
    },
    "use a student": {
        "sample": "draw images of a finished student",
        "export": "write a finished student in a format of others, and compare both",
        "push": "put a finished student on the Hub of Hugging Face, with a card",
        "pull": "get a student from there, as a folder",
    },
    "recipes, data, networks": {
        "recipes": "list the recipes that come with distillkit, or copy one to edit",
        "data": "pack images into a data set, check one, or measure it for fid",
        "assets": "list the published files that recipes name, or download them",
        "convert": "turn a network of another make (.pkl, .bin, .pt) into ours",
    },
    "plugins and this machine": {
        "plugins": "list what a recipe can name, or explain one",
        "new": "start a plugin: a distribution that installs, is tested and runs",
        "schema": "print a JSON Schema of recipes, by which editors complete them",
        "completion": "print a script by which a shell completes commands and names",
        "doctor": "say whether everything is here that a run needs",
    },
}
COMMANDS = {name: told for group in GROUPS.values() for name, told in group.items()}
EXAMPLES = {
    "distillkit sample digits/sid2a_el": "draw with a student that comes along",
    "distillkit run digits_sid": "train such a student, in minutes",
    "distillkit plugins": "what recipes of your own may name",
}


class Overview(argparse.ArgumentParser):
    """The parser of the whole command line, whose help has the commands in groups."""

    def format_help(self) -> str:
        lines = ["usage: distillkit COMMAND ...   (distillkit COMMAND --help explains one)", "", str(self.description)]
        for group, commands in GROUPS.items():
            lines += ["", group, *(f"  {name:14}{told}" for name, told in commands.items())]
        plugins = plugged.offers()
        width = max([14, *(len(name) + 2 for name in plugins)])
        more = [f"  {name:{width}}{offer.summary}" for name, offer in plugins.items()]
        more += [f"  left out: {told}" for told in plugged.left_out()]
        lines += ["", "of plugins", *more] if more else []
        wide = max(map(len, EXAMPLES))
        lines += ["", "to begin with", *(f"  {line:{wide}}   {told}" for line, told in EXAMPLES.items())]
        return "\n".join([*lines, "", "options: --help, --version", ""])


def unknown(command: str) -> str:
    """What is said of a command that there is not; "": there is."""
    if command in COMMANDS or command in plugged.offers():
        return ""
    for told in plugged.left_out():
        if f'"{command}"' in told:
            return told
    from distillkit.registry.known import KNOWN  # which imports packaging: for what nobody knows

    if dist := KNOWN.get(("command", command)):
        return f"no command {command[:40]!r}; pip install {dist} adds it"
    near = get_close_matches(command, [*COMMANDS, *plugged.offers()], n=1)
    meant = f"did you mean {near[0]}?   " if near else ""
    return f"no command {command[:40]!r}; {meant}distillkit alone lists them"
