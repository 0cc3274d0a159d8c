"""A training run: its folders, its history, its checkpoint and its progress, whatever GAN it trains."""

import contextlib
import math
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from mnist_gan.drawing.curves import write_history
from mnist_gan.drawing.pictures import grid_path, read_grids, remove_later_grids, save_figure, write_gif
from mnist_gan.files import locked_folders
from mnist_gan.running.checkpoints import finite_values, load_checkpoint, require_checkpoint, restore, save_checkpoint
from mnist_gan.running.command_line import readable_time
from mnist_gan.running.distribution import is_chief, require_agreement
from mnist_gan.running.settings import print_settings, record_settings, write_settings

PROGRESS_COLUMNS = ("d_loss", "g_loss", "matching_loss")  # columns of a history that are shown while it grows


def batches_per_epoch(settings) -> int:
    """Return in how many batches every training image is used once."""
    return math.ceil(settings.train_size / settings.batch_size)


def shuffled_batches(settings, epoch) -> Iterator[tuple]:
    """Yield (step, indices) for one shuffled pass over the training images; `epoch` counts from 0.

    `step`, an int32 tensor, counts the batches since the run began; `indices` are int32 (batch_size,). Where the last
    batch has too few, the shuffled indices start over: all batches have one shape and are compiled once.
    """
    batches = batches_per_epoch(settings)
    order = np.random.default_rng((settings.seed, epoch)).permutation(settings.train_size)
    order = tf.constant(np.resize(order, (batches, settings.batch_size)), tf.int32)
    for batch in range(batches):
        yield tf.constant(epoch * batches + batch), order[batch]


@contextlib.contextmanager
def open_run(settings, images, labels, columns, first_grid=1, mode="L") -> Iterator["Run"]:
    """Yield the `Run` that `settings` describe, and keep other runs out of its folders until the context ends.

    `images` uint8 (n, 28, 28) and `labels` (n,) are its training data, `columns` name the columns of its history. Its
    grids count from `first_grid` and are gray, or in colours with the `mode` "RGB".
    Raises InputError, before any file of the run is written, if the folders, the checkpoint to resume or another
    worker's settings cannot be used.
    """
    run = Run(settings, record_settings(settings, images, labels), columns, first_grid, mode)
    if settings.resume:
        require_checkpoint(run.checkpoint)
    require_agreement(run.record, settings.resume and run.checkpoint)
    with locked_folders(*(run.outputs, run.plots) if is_chief() else ()) as run.require_in_place:
        if settings.resume:
            run.epoch, run.seconds, run.history, run.saved_values = load_checkpoint(
                run.checkpoint, run.record, columns)
        elif is_chief() and any(path.exists() for path in (run.checkpoint, grid_path(run.outputs, 1))):
            advice = "; stop now and add --resume to continue it" if run.checkpoint.exists() else ""
            print(f"This run replaces the earlier one in {run.outputs}{advice}.")
        print_settings(run.record)
        yield run


class Run:
    """The state of a training run except its networks; `open_run` makes it.

    `outputs` and `plots` are its folders. `epoch` counts its finished epochs, `seconds` the time that they took;
    `history` is float32 (batches, columns), a row for each batch of these epochs.
    """

    def __init__(self, settings, record, columns, first_grid, mode):
        self.settings, self.record, self.columns = settings, record, columns
        self.first_grid, self.mode = first_grid, mode
        self.outputs, self.plots = Path(settings.output_dir), Path(settings.plots_dir)
        self.checkpoint = self.outputs / "checkpoint.npz"
        self.epoch, self.seconds, self.history = 0, 0.0, np.empty((0, len(columns)), np.float32)
        self.saved_values = None  # what --resume gives to the variables
        self.started, self.losses, self.title, self.bar = time.perf_counter(), [], "", None
        self.took = 0.0  # seconds, the last epoch
        self.require_in_place = None  # what `locked_folders` yields

    def restore(self, variables) -> bool:
        """Give `variables` their values in the checkpoint, if the run continues one, and return whether it does.

        Raises InputError, and changes none, if the checkpoint holds other networks.
        """
        if self.saved_values is None:
            return False
        restore(variables, self.saved_values, self.checkpoint)
        print(f"Continuing after epoch {self.epoch} of {self.settings.epochs}.")
        return True

    def epochs(self) -> Iterator[int]:
        """Yield the number, from 0, of every epoch that is still to be trained; `finish_epoch` must end each."""
        while self.epoch < self.settings.epochs:
            self.started, self.losses = time.perf_counter(), []
            yield self.epoch

    def batches(self, title) -> Iterator[tuple]:
        """Yield the `shuffled_batches` of the present epoch; on a terminal, show its `title` and a progress bar."""
        self.title = title
        if sys.stdout.isatty():
            print(f"{title}, " + (f"{self.time_left()} left" if self.took else "first compiling for some seconds"))
            self.bar = keras.utils.Progbar(batches_per_epoch(self.settings))
        yield from shuffled_batches(self.settings, self.epoch)

    def log(self, values) -> None:
        """Add `values`, float32 (columns,), to the history; raise FloatingPointError if one of them is not finite."""
        self.losses.append(np.asarray(values))
        if not np.isfinite(self.losses[-1]).all():
            raise FloatingPointError(
                f"a loss is no longer finite in epoch {self.epoch + 1}, batch {len(self.losses)}")
        if self.bar:
            self.bar.update(len(self.losses), list(self.progress(self.losses[-1])))

    def progress(self, values) -> Iterator[tuple]:
        """Yield (name, value) for those of `values` (columns,) that are shown while the training goes on."""
        return ((name, value) for name, value in zip(self.columns, values, strict=True) if name in PROGRESS_COLUMNS)

    def finish_epoch(self, variables, figure) -> None:
        """Count the present epoch as finished: save its grid `figure`, the history and a checkpoint of `variables`.

        Raises FloatingPointError if a variable is not finite, before anything is saved.
        """
        values = finite_values(variables, self.epoch + 1)
        self.epoch, self.history = self.epoch + 1, np.concatenate([self.history, np.stack(self.losses)])
        self.save(values, figure)
        self.took = time.perf_counter() - self.started
        if not sys.stdout.isatty():
            losses = "".join(f"{name} {value:.4f}, " for name, value in self.progress(np.mean(self.losses, axis=0)))
            print(f"{self.title}: {losses}{self.took:.1f} s, {self.time_left()} left", flush=True)

    def time_left(self) -> str:
        """Return how long the other epochs will take if each takes as long as the last."""
        return readable_time(self.took * (self.settings.epochs - self.epoch))

    def save(self, values, figure) -> None:
        """Save the grid `figure`, the history and a checkpoint of `values`, arrays, after `epoch` finished epochs."""
        self.seconds += time.perf_counter() - self.started
        if not is_chief():
            return
        self.require_in_place()
        save_figure(grid_path(self.outputs, self.epoch), figure)
        if self.epoch:
            write_history(self.outputs / "history.csv", self.columns, self.history, self.epoch)
        # Last, so that whatever a checkpoint counts as finished is already on the disk.
        save_checkpoint(self.checkpoint, self.record, self.epoch, self.seconds, self.history, values)

    def finish(self, gif) -> None:
        """Write settings.json, the history and the GIF of all grids as `gif`; remove the grids of a longer run."""
        self.require_in_place()
        remove_later_grids(self.outputs, self.epoch)
        write_history(self.outputs / "history.csv", self.columns, self.history, self.epoch)
        write_settings(self.outputs / "settings.json", self.record, self.seconds)
        grids = read_grids(self.outputs, self.epoch, self.mode, self.first_grid)
        for path in (path for path, grid in grids.items() if grid is None):
            print(f"{path} is missing or damaged: {gif} goes without it")
        if frames := [grid for grid in grids.values() if grid is not None]:
            write_gif(self.outputs / gif, frames)
