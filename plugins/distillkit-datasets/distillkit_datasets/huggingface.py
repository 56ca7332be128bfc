"""Images of the library `datasets`: saved to a folder, in parquet files, or on the Hub of Hugging Face."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

from attrs import evolve

from distillkit.api import FILE, InputError, UsageError, field, frozen, min_len, optional
from distillkit_datasets.files import Files
from distillkit_datasets.held_out import PictureSet
from distillkit_datasets.labels import Labels
from distillkit_datasets.told import some, tell
from distillkit_datasets.zipsafe import one_line

HUB = "hf://datasets/"
COMMIT = re.compile("[0-9a-f]{40}")


class HuggingFace(PictureSet):
    """Images of the library `datasets`: on the Hub, saved to a folder, or parquet files.

    Every image has an index, and keeps it: a run goes on at the very image where it stopped. No code of theirs is run.
    """

    @frozen(kw_only=True)
    class Config(PictureSet.Config):
        path: str = field(validator=min_len(1), metadata=FILE)
        """hf://datasets/USER/NAME, a folder that `save_to_disk` wrote, or one of .parquet files"""
        split: str = field(default="train", validator=min_len(1))
        """which part, where there are several; train[:10%] and the like as the library has it"""
        held_out_split: str | None = field(default=None, validator=optional(min_len(1)))
        """in place of held_out: a part that is never trained on, such as "test\""""
        image: str = field(default="image", validator=min_len(1))  # the column of images
        label: str = field(default="label", validator=min_len(1))  # the column of classes
        subset: str | None = field(default=None, validator=optional(min_len(1)))
        """which of several sets under one name: the library calls it a configuration"""
        revision: str | None = field(default=None, validator=optional(min_len(1)))
        """a commit, tag or branch on the Hub; unset: what is newest when it is read"""
        fingerprint: str | None = field(default=None, validator=optional(min_len(1)))
        """what the library's own fingerprint has to be: another is refused"""

    def _read(self, path: Path) -> Files:
        config = self.config
        where = config.path if config.path.startswith(HUB) else str(path)
        if not config.path.startswith(HUB) and not path.is_dir():
            raise InputError(f"{path}: no such folder")
        rows = opened(config, path, self.cache)
        if config.fingerprint not in (None, rows._fingerprint):
            raise InputError(f"{where}: it has changed: fingerprint {rows._fingerprint}, not {config.fingerprint}")
        return Rows(where, rows, config)

    def _hold_out(self, root: Path) -> None:
        config = self.config
        if config.held_out_split is None:
            return super()._hold_out(root)
        if config.held_out or config.held_out_path:
            raise InputError("held_out_split is given beside held_out or held_out_path; keep one")
        apart = {"held_out_split": None, "xflip": False, "max_size": None, "fingerprint": None}
        self._twin = self._beside(root, evolve(config, split=config.held_out_split, **apart), config.held_out_split)
        return None


class Rows(Files):
    """The images of a table, in its order; their names are their numbers."""

    def __init__(self, where: str, rows: Any, config: Any) -> None:
        self._rows, self._column = rows, config.image
        kind = type(_feature(where, rows, config.image)).__name__
        if kind == "Image":
            self._rows = rows.cast_column(config.image, type(rows.features[config.image])(decode=False))
        elif getattr(rows.features[config.image], "dtype", "") not in ("binary", "large_binary"):
            raise InputError(f"{where}: column {config.image!r} is {kind}: images, or bytes of their files, are read")
        self._config, names = config, [f"{i:09d}" for i in range(len(rows))]
        super().__init__(where, names, self._content, upright=config.orientation == "exif")

    def holds(self, name: str) -> bool:
        return True

    def _find_labels(self, entries: Any) -> Labels | None:
        """Of the column of classes; without one of the usual name there are none. Raises InputError."""
        config = self._config
        if config.label not in self._rows.features and config.label == "label":
            return None
        feature = _feature(self.where, self._rows, config.label)
        classes = [*self._rows[config.label]]
        without = [name for name, label in zip(self.names, classes, strict=True) if label in (None, -1)]
        if without:
            raise InputError(f"{len(without)} images without a class in {config.label!r}: {some(without)}")
        return Labels.of(classes, self.names, tuple(getattr(feature, "names", None) or ()))

    def _content(self, name: str) -> bytes:
        try:
            found = self._rows[int(name)][self._column]
            if isinstance(found, dict):
                found = found["bytes"] or Path(found["path"]).read_bytes()
        except Exception as error:  # the library and the systems of files below it raise nearly anything
            raise InputError(f"{self.where}: {name}: cannot be read ({one_line(error)})") from error
        if not isinstance(found, bytes):
            raise InputError(f"{self.where}: {name}: there is no image")
        return found


def opened(config: HuggingFace.Config, path: Path, cache: Path | None) -> Any:
    """The rows of one split. Raises UsageError without the library, InputError where there is no such set."""
    try:
        import datasets
    except ImportError as error:
        raise UsageError(f"dataset huggingface: pip install 'distillkit-datasets[hf]' ({one_line(error)})") from error
    if not sys.stderr.isatty():
        datasets.disable_progress_bars()
    try:
        return _opened(datasets, config, path, cache)
    except InputError:
        raise
    except Exception as error:  # nearly anything again
        raise InputError(f"{config.path}: {type(error).__name__}: {one_line(error)[:200]}") from error


def _opened(datasets: Any, config: HuggingFace.Config, path: Path, cache: Path | None) -> Any:
    if config.path.startswith(HUB):
        name, revision = config.path.removeprefix(HUB), config.revision
        if revision is None or not COMMIT.fullmatch(revision):
            tell(config.path, "revision names no commit: the same recipe may read other images another day")
        return datasets.load_dataset(name, config.subset, split=config.split, revision=revision)
    if any((path / name).is_file() for name in ("state.json", "dataset_dict.json")):
        found = datasets.load_from_disk(str(path))
        if not isinstance(found, dict):
            return found
        if config.split not in found:
            raise InputError(f"{path}: no split {config.split!r}; there are {some(list(found))}")
        return found[config.split]
    files = sorted(str(file) for file in path.glob("**/*.parquet"))
    named = [file for file in files if Path(file).name.startswith(f"{config.split}-")] or files
    if not files:
        raise InputError(f"{path}: neither a folder of save_to_disk nor one of .parquet files")
    place = None if cache is None else str(cache / "datasets")
    return datasets.load_dataset("parquet", data_files=named, split="train", cache_dir=place)


def _feature(where: str, rows: Any, column: str) -> Any:
    if column not in rows.features:
        raise InputError(f"{where}: no column {column!r}; there are {some(list(rows.features))}")
    return rows.features[column]
