"""Write files: whole or not at all, line by line with a sync, and by one process at a time. Nothing else does."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from filelock import BaseFileLock

LOCK = ".lock"


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a path beside ``path`` to write to. At the end it is synced and takes the place of ``path`` in one step.

    If the block raises, ``path`` stays as it was.

    Raises:
        OSError: the file cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
        sync_folder(path.parent)
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def existing(text: str) -> Path | None:
    """Return the path that a text names, with a ``~`` at its beginning resolved; None where nothing is there."""
    try:
        path = Path(text).expanduser()
        return path if text and path.exists() else None
    except (OSError, ValueError, RuntimeError):  # too long, with a zero byte, or the home of nobody
        return None


def is_folder(path: Path) -> bool:
    """Return whether a path is a folder; False for one that no file system can have."""
    try:
        return path.is_dir()
    except (OSError, ValueError):  # too long, or with a zero byte
        return False


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file, whole or not at all, and wait until it is on the disk.

    Raises:
        OSError: the file cannot be written.
    """
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def sync_folder(folder: Path) -> None:
    """Wait until the names in a folder are on the disk, where the system can do that."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def append_synced(file: IO[bytes], content: bytes) -> None:
    """Write at the end of an open file and wait until it is on the disk.

    Raises:
        OSError: the file cannot be written.
    """
    file.write(content)
    file.flush()
    os.fsync(file.fileno())


def cut_unfinished_line(file: IO[bytes]) -> None:
    """Cut off a last line that a crash left without its end, and go to the end of the file."""
    size = file.seek(0, os.SEEK_END)
    end = size
    while end:
        start = max(0, end - 65536)
        file.seek(start)
        newline = file.read(end - start).rfind(b"\n")
        if newline >= 0:
            end = start + newline + 1
            break
        end = start
    if end < size:
        file.truncate(end)
        os.fsync(file.fileno())
    file.seek(end)


def hold(folder: Path) -> BaseFileLock | None:
    """Keep other processes out of a folder until the lock is given to ``release`` or this process ends.

    Returns:
        The lock, or None where another process has it.

    Raises:
        OSError: the folder cannot be written.
    """
    from filelock import FileLock, Timeout

    while True:
        lock = FileLock(folder / LOCK, timeout=0)
        try:
            lock.acquire()
        except Timeout:
            return None
        if (folder / LOCK).exists():
            return lock
        lock.release()  # its last holder has just removed the file that this one opened


def release(lock: BaseFileLock) -> None:
    """Let other processes at a folder, and leave no trace of the lock in it."""
    with contextlib.suppress(OSError):  # Windows removes no open file; what is left there does no harm
        Path(lock.lock_file).unlink()
    lock.release()
