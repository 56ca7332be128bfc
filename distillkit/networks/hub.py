"""Students on the Hub of Hugging Face, or what speaks its HTTP: $HF_ENDPOINT, $HF_TOKEN and $HF_HUB_OFFLINE count."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

from distillkit import __version__
from distillkit.api import DistillkitError, InputError, UsageError
from distillkit.assets.folder import cache
from distillkit.disk import files, manifest
from distillkit.networks import asked, network_file
from distillkit.networks.hub_metadata import ID

PREFIX = "hf://"
WORDS = "text_encoder", "tokenizer"  # folders of a student of words for diffusers
NAMES = [  # what is downloaded: nothing else of a repository is ours
    network_file.WEIGHTS, network_file.CARD, asked.FILE, manifest.NAME, "metrics.json", "samples.png", "README.md",
    "student.onnx", "student.onnx.data", "student.pt2", "model_index.json", "pipeline.py",
    *(f"student/{name}" for name in ("config.json", "student.py", "student.pt2", manifest.NAME)),
    *(f"{part}/*.{kind}" for part in WORDS for kind in ("json", "safetensors", "txt", "model")),
]  # fmt: skip
LOGIN = "set HF_TOKEN, or run `hf auth login`"
_HTTP = ("huggingface_hub", "httpx", "httpx2", "requests", "urllib3")  # whose errors are no bugs of ours


def pull(repo: str, out: Path, revision: str | None = None) -> dict[str, Any]:
    """Download a student to a new folder, and check its hashes -> its card.

    Raises UsageError where the folder exists, InputError where there is no such student, or it is not what was pushed.
    """
    if os.path.lexists(out) or not out.name:
        raise UsageError(f"{out} exists already; choose another folder with --to")
    with files.staged(out) as folder:
        card = _download(repository(repo), folder, revision)
        files.remove(folder / ".cache")  # the library's own notes
        os.replace(folder, out)
    return card


def found(text: str) -> Path:
    """The folder of USER/NAME or USER/NAME@REVISION, in the cache; what the Hub has newer is downloaded."""
    repo, _, revision = text.removeprefix(PREFIX).partition("@")
    repository(repo)
    folder = cache() / "hub" / repo.replace("/", "--")
    if revision:
        folder = folder.with_name(f"{folder.name}@{revision.replace('/', '--')}")
    _download(repo, folder, revision or None)
    return folder


def repository(text: str) -> str:
    """USER/NAME as it is. Raises UsageError for anything else."""
    name = text.removeprefix(PREFIX)
    if not ID.fullmatch(name) or ".." in name or "--" in name:
        raise UsageError(f"{text[:80]!r} is no repository: USER/NAME, of letters, digits and . _ -")
    return name


def library() -> Any:
    """huggingface_hub. Raises UsageError where it is missing."""
    try:
        hub = import_module("huggingface_hub")
        for part in ("constants", "errors", "utils"):
            import_module(f"huggingface_hub.{part}")
    except ImportError as error:
        raise UsageError(f"the Hub needs huggingface_hub: pip install 'distillkit[hub]' ({error})") from error
    if not sys.stderr.isatty():
        hub.utils.disable_progress_bars()
    return hub


def _download(repo: str, folder: Path, revision: str | None) -> dict[str, Any]:
    hub = library()
    with told(hub, repo):
        api = hub.HfApi(library_name="distillkit", library_version=__version__)
        api.snapshot_download(repo, revision=revision, local_dir=folder, allow_patterns=NAMES)
    if not (folder / network_file.CARD).is_file():
        raise InputError(f"{repo} has no {network_file.CARD}: it is no student of distillkit")
    try:
        for place in (folder, *(folder / part for part in ("student", *WORDS))):
            manifest.check_result(place)
    except InputError as error:
        raise InputError(f"{repo} is not what was pushed: {error.__cause__}") from error
    if not (folder / manifest.NAME).is_file():
        warnings.warn(f"{repo} has no {manifest.NAME}: its files are not checked", stacklevel=3)
    return network_file.checked_card(folder / network_file.CARD)


@contextmanager
def told(hub: Any, repo: str) -> Iterator[None]:
    """Inside, what the library and its HTTP raise is one line that says the way out."""
    try:
        yield
    except Exception as error:
        if type(error).__module__.partition(".")[0] not in _HTTP:
            raise
        raise _explained(hub, error, repo) from error


def _explained(hub: Any, error: Exception, repo: str) -> DistillkitError:
    where, kinds = hub.constants.ENDPOINT, hub.errors
    status = getattr(getattr(error, "response", None), "status_code", None)
    known: list[tuple[bool, type[DistillkitError], str]] = [
        (status == 409, UsageError, f"{repo} exists already at {where}: --update replaces what is there"),
        (isinstance(error, kinds.RevisionNotFoundError), InputError, f"{repo} has no such branch, tag or commit"),
        (isinstance(error, kinds.GatedRepoError), InputError, f"{repo} asks for consent first, at {where}/{repo}"),
        (isinstance(error, kinds.RepositoryNotFoundError), InputError,
         f"no {repo} at {where}, or it is private: {LOGIN}"),
        (status in (401, 403), UsageError, f"{where} refuses ({status}): this token may not write {repo}; {LOGIN}"),
        (bool(hub.constants.HF_HUB_OFFLINE), InputError, f"HF_HUB_OFFLINE is set, so {repo} cannot be downloaded"),
        (status is not None, InputError, f"{where} answers {status}: {_line(error)}"),
        (True, InputError, f"{where} cannot be reached: {_line(error)}"),
    ]  # fmt: skip
    return next(kind(text) for holds, kind, text in known if holds)


def _line(error: Exception) -> str:
    cause = error
    while cause.__cause__ is not None:
        cause = cause.__cause__  # type: ignore[assignment]
    return next((line.strip() for line in str(cause).splitlines() if line.strip()), type(cause).__name__)[:160]
