"""Errors of the system and of torch that are no bug of ours, as the ones that a user reads."""

from __future__ import annotations

import errno

from distillkit.api.errors import FULL, DistillkitError, ResourceError, UsageError

_FAILING = (errno.EIO, errno.EROFS, errno.ENODEV, errno.ENXIO, getattr(errno, "ESTALE", errno.EIO))
_SHORT = (errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.EAGAIN)
_NAMES = (errno.ENAMETOOLONG, errno.ELOOP, errno.ENOTDIR, errno.EISDIR, errno.EACCES, errno.EPERM)
# What RuntimeErrors say that stand for memory: torch on a CPU, oneDNN inside it, C++.
_MEMORY = ("DefaultCPUAllocator", "could not create a primitive", "could not create a memory", "std::bad_alloc")
_COMPILER = ("torch._dynamo.exc", "torch._inductor.exc")


def explained(error: BaseException) -> DistillkitError | None:
    """The error that says which file or resource it is; None for what may be a bug."""
    if isinstance(error, DistillkitError):
        return error
    if short := _of_memory(error):
        return ResourceError(f"out of memory: {short}; lower run.micro_batch, or --batch")
    if isinstance(error, OSError):
        return _of_system(error)
    return _of_compiler(error) or (_of_order(str(error)) if isinstance(error, RuntimeError) else None)


def _of_system(error: OSError) -> DistillkitError | None:
    where, why = _name(error), error.strerror or type(error).__name__
    if error.errno in FULL:
        return ResourceError(f"disk full: {why}: {where}; make room, then the same command again")
    if error.errno in (*_FAILING, *_SHORT):
        return ResourceError(f"{why}: {where}")
    return UsageError(f"{where}: {why}") if error.errno in _NAMES and error.filename is not None else None


def _of_memory(error: BaseException) -> str:
    """What is said of the memory that was asked for; "": it is no such error."""
    text = " ".join(str(error).partition("\n")[0].split())
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return text or "no more is there"
    if isinstance(error, RuntimeError) and any(word in text for word in _MEMORY):
        return text[text.find("you tried") :] if "you tried" in text else text
    return ""


def _of_order(text: str) -> DistillkitError | None:
    """What torch says under `run.deterministic` of an operation whose sums have no fixed order."""
    if "Deterministic behavior" in text and "CUBLAS_WORKSPACE_CONFIG" in text:
        return UsageError("run.deterministic: the environment has to say CUBLAS_WORKSPACE_CONFIG=:4096:8")
    name, found, _ = text.partition(" does not have a deterministic implementation")
    if not found:
        return None
    return UsageError(f"run.deterministic: {name.split()[-1]} adds up in no fixed order here; set it to false")


def _of_compiler(error: BaseException) -> DistillkitError | None:
    """What a backend raised, or what torch's compiler says by itself."""
    if isinstance(error, RuntimeError) and "does not currently support double backward" in str(error):
        return UsageError("a loss here takes gradients of gradients, which compiled networks have not: no run.compile")
    if type(error).__module__ not in _COMPILER:
        return None
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    told = lines[1] if len(lines) > 1 and lines[0].endswith("raised:") else lines[0]
    return ResourceError(f"torch cannot compile: {told[:200]}; without run.compile it need not")


def _name(error: OSError) -> str:
    """The file, or the beginning of a name that is too long to be read."""
    name = "standard output" if error.filename is None else str(error.filename)
    return name if len(name) <= 200 else f"{name[:100]}... ({len(name)} characters)"
