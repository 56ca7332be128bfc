"""A student exported, and put on the Hub."""

from __future__ import annotations

import tempfile
from pathlib import Path

from distillkit import __version__
from distillkit.api import UsageError
from distillkit.networks.export import Exported, export
from distillkit.networks.hub import LOGIN, NAMES, library, repository, told
from distillkit.networks.hub_metadata import Home


def push(source: Path, to: str, dtype: str, home: Home, private: bool, update: bool) -> tuple[str, Exported]:
    """Export a student and upload the folder as one commit -> its address, and what was written.

    Raises UsageError without a login, or where the repository exists and is not to get an `update`.
    """
    repo, hub = repository(home.repo or ""), library()
    if hub.constants.HF_HUB_OFFLINE:
        raise UsageError("HF_HUB_OFFLINE is set: nothing can be pushed")
    if hub.get_token() is None:
        raise UsageError(f"nobody is logged in to {hub.constants.ENDPOINT}: {LOGIN}")
    with tempfile.TemporaryDirectory(prefix="distillkit-push-") as place:
        folder = Path(place) / repo.partition("/")[2]
        exported = export(source, to, folder, dtype, home)
        with told(hub, repo):
            api = hub.HfApi(library_name="distillkit", library_version=__version__)
            api.create_repo(repo, private=private or None, exist_ok=update)
            message = f"{to}, {dtype}, by distillkit {__version__}"
            old = NAMES if update else None  # files of another format do not stay
            done = api.upload_folder(repo_id=repo, folder_path=folder, commit_message=message, delete_patterns=old)
    return str(getattr(done, "commit_url", done)), exported
