"""Atomic writes, arrays from untrusted files, folders and their locks."""

import contextlib
import errno
import json
import os
import secrets
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from mnist_gan.errors import InputError

try:
    import fcntl
except ImportError:  # on Windows
    import msvcrt
    fcntl = None


def atomic_write(path, write) -> None:
    """Make the file `path` by `write(partial)` so that it holds its old or its new content, never a part.

    `write` gets a path beside it with the same ending, of its own for every call, which is renamed once it is complete.
    Raises OSError if that fails; `path` is then as it was.
    """
    partial = path.with_name(f".partial-{secrets.token_hex(4)}{path.suffix}")
    try:
        with open(partial, "xb") as file:
            if fcntl:  # so that `remove_partial_files` of another process spares it
                lock(file.fileno())
            write(partial)
            os.fsync(file.fileno())
        os.replace(partial, path)
    except OSError as error:
        raise OSError(f"cannot write {path} ({error.strerror or error})") from error
    finally:
        with contextlib.suppress(OSError):
            partial.unlink()


def write_json(path, content) -> None:
    """Write `content` as a whole JSON file, with null for what is not a finite number, which JSON does not know."""
    content = json.loads(json.dumps(content), parse_constant=lambda name: None)
    atomic_write(path, lambda partial: partial.write_text(json.dumps(content, indent=1) + "\n"))


def read_npz(path, names=None) -> dict:
    """Return the arrays of an npz archive as a dictionary, all of them or those in `names`.

    Nothing in the file is ever executed: arrays that need pickle are refused.
    Raises InputError if the file is missing, damaged, not an npz, lacks a name, or needs pickle.
    """
    if not os.path.isfile(path):
        raise InputError(f"{path} is not a file: check the path")
    try:
        with np.load(path, allow_pickle=False) as archive:
            names = archive.files if names is None else names
            missing = [name for name in names if name not in archive.files]
            if not missing:
                arrays = {name: archive[name] for name in names}
                if all(isinstance(array, np.ndarray) for array in arrays.values()):
                    return arrays
                raise ValueError("a member is no array")
    except Exception as error:  # a damaged archive can fail in numpy, zipfile and zlib, each in its own way
        if "allow_pickle" in str(error) and zipfile.is_zipfile(path):
            raise InputError(f"{path} holds pickled Python objects, which are never loaded: "
                             "save plain arrays with numpy.savez") from error
        raise InputError(f"{path} cannot be read as an npz archive ({type(error).__name__}): "
                         "it is damaged, protected or something else, replace it") from error
    raise InputError(f"{path} lacks {', '.join(missing)}: it must hold {', '.join(names)}")


def open_folder(path) -> Path:
    """Make the folder `path` if needed and return it as a Path; raise InputError if it cannot be written to.

    What processes have left there that were killed while they wrote a file is removed.
    """
    try:
        Path(path).mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            remove_partial_files(Path(path))
            return Path(path)
    except OSError as error:
        raise InputError(f"cannot write to the folder {path} ({error.strerror}); choose another one") from error


def remove_partial_files(folder) -> None:
    """Remove from `folder` what `atomic_write` has left in processes that were killed, as far as it can be locked."""
    for partial in folder.glob(f".partial-{8 * '[0-9a-f]'}*"):
        with contextlib.suppress(OSError):  # as on Windows while a file is open, so that it needs no lock there
            with open(partial, "rb+") as file:
                if fcntl:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            partial.unlink()


def lock(descriptor) -> bool:
    """Lock an open file or folder until it is closed, also by the end of the process; return whether that was possible.

    It is not if another process has the lock. A file system without locks, as some on a network, counts as locked.
    """
    try:
        if fcntl:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        else:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
    except OSError as error:
        return error.errno not in (errno.EWOULDBLOCK, errno.EACCES)
    return True


def lock_path(folder) -> Path:
    """Return what is locked for `folder`: itself, so that no file has to be left in it, but not on Windows."""
    return folder if fcntl else folder / ".lock"


def lock_folder(folder) -> int:
    """Lock `folder` and return the file descriptor whose closing, also by the end of the process, frees it.

    Raises InputError if another process holds the lock or the folder cannot be opened.
    """
    try:
        descriptor = os.open(lock_path(folder), os.O_RDONLY if fcntl else os.O_RDWR | os.O_CREAT)
    except OSError as error:
        raise InputError(f"cannot open the folder {folder} ({error.strerror}); choose another one") from error
    if not lock(descriptor):
        os.close(descriptor)
        raise InputError(f"another run is writing to the folder {folder}; "
                         "wait until it has ended or choose another folder")
    return descriptor


@contextlib.contextmanager
def locked_folders(*folders) -> Iterator[Callable]:
    """Make the `folders` if needed and keep other runs out of them until the context ends.

    The locks are the system's, so that nothing is left of them when the process dies, however it dies.
    Yields a function that raises OSError if a folder has been moved, so that its path leads elsewhere.
    Raises InputError if a folder cannot be written to or another run is using it.
    """
    with contextlib.ExitStack() as held:
        locked = {}
        for folder in map(open_folder, folders):
            if not any(folder.samefile(other) for other in locked):  # or the run would keep itself out
                locked[folder] = lock_folder(folder)
                held.callback(os.close, locked[folder])

        def require_in_place():
            for folder, descriptor in locked.items():
                path = lock_path(folder)
                if not path.exists() or not os.path.samestat(os.fstat(descriptor), path.stat()):
                    raise OSError(f"the folder {folder} has been moved while the run was writing to it")
        yield require_in_place
