"""All that continues a run bit for bit, in one file.

`tf.train.CheckpointManager` spreads a checkpoint over several files, which no single rename replaces,
and has no place for the settings and the history that belong to it.
"""

import json
import math
import os

import keras
import numpy as np

from mnist_gan.errors import InputError
from mnist_gan.files import atomic_write, read_npz

# The settings in which a run may differ from the one that it continues; the data is compared by its checksum.
MAY_DIFFER = ("epochs", "output_dir", "plots_dir", "data")


def finite_values(variables, epoch) -> list:
    """Return the values of `variables` after `epoch`, a list of arrays; FloatingPointError if one is not finite."""
    values = [variable.numpy() for variable in variables]
    if not all(np.isfinite(value).all() for value in values):
        raise FloatingPointError(f"a weight is no longer finite at the end of epoch {epoch}")
    return values


def save_checkpoint(path, settings, epoch, seconds, history, values) -> None:
    """Write all that continues a run into one npz file, replaced as a whole.

    `settings` is a dictionary, `epoch` the number of finished epochs, `seconds` the time they took,
    `history` float32 (batches, columns), `values` the arrays of all variables.
    """
    atomic_write(path, lambda partial: np.savez(
        partial, settings=json.dumps(settings), epoch=epoch, seconds=seconds, history=history,
        **{f"variable_{number:03d}": value for number, value in enumerate(values)}))


def require_checkpoint(path) -> None:
    """Raise InputError if there is no checkpoint at `path`; to be called before a folder is made for the run."""
    if not os.path.isfile(path):
        raise InputError(f"--resume: there is no checkpoint {path}; train without --resume first")


def load_checkpoint(path, settings, columns) -> tuple:
    """Read the checkpoint at `path` for a run with `settings`, a dictionary, whose history has `columns`, names.

    Returns (epoch, seconds, history, values) as they were given to `save_checkpoint`.
    Raises InputError if it is missing or damaged, or if it was made with other settings; only those in MAY_DIFFER may
    be others.
    """
    arrays = read_npz(path)
    try:
        saved, history = json.loads(str(arrays.pop("settings"))), arrays.pop("history")
        epoch, seconds = int(arrays.pop("epoch")), float(arrays.pop("seconds"))
        differing = [name for name in settings if name not in MAY_DIFFER and saved[name] != settings[name]]
        batches = math.ceil(saved["train_size"] / saved["batch_size"])
        fits = (saved.keys() == settings.keys() and epoch >= 0 and math.isfinite(seconds)
                and history.dtype == np.float32 and np.isfinite(history).all()
                and history.shape == (epoch * batches, len(columns)))
    except (AttributeError, KeyError, TypeError, ValueError, ArithmeticError, RecursionError):
        fits = False
    if not fits:
        raise InputError(f"--resume: {path} is no checkpoint of this version of the script; train without --resume")
    if differing:
        raise InputError(f"--resume: {path} was made with other settings ("
                         + ", ".join(f"{name}: {saved[name]} there, {settings[name]} here" for name in differing)
                         + "); give the same settings or train without --resume")
    if epoch > settings["epochs"]:
        raise InputError(f"--resume: {path} has finished {epoch} epochs; give --epochs {epoch} or more")
    return epoch, seconds, history, [arrays[name] for name in sorted(arrays)]


def restore(variables, values, path) -> None:
    """Give `variables` the `values` that `load_checkpoint` read from `path`.

    Raises InputError, and changes none, if the values are those of other variables.
    """
    if ([(value.shape, value.dtype) for value in values]
            != [(tuple(variable.shape), keras.backend.standardize_dtype(variable.dtype)) for variable in variables]):
        raise InputError(f"--resume: {path} holds other networks; train without --resume")
    if not all(np.isfinite(value).all() for value in values):
        raise InputError(f"--resume: {path} holds weights that are not finite; train without --resume")
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)
