"""Conditional GAN on MNIST: train a Dense generator and discriminator, then draw any digit on demand.

    python cgan_mnist.py                                  train for 20 epochs
    python cgan_mnist.py --generate 31415 --samples 4     draw digits with the trained generator

The script reads from top to bottom in the order in which things happen:
data, networks, training, pictures, command line.

Goodfellow et al. 2014, Generative Adversarial Nets, https://arxiv.org/abs/1406.2661
Mirza & Osindero 2014, Conditional Generative Adversarial Nets, https://arxiv.org/abs/1411.1784
"""

import argparse
import contextlib
import importlib.metadata
import json
import math
import os
import platform
import re
import shlex
import sys
import tempfile
import time
import zipfile
import zlib
from pathlib import Path
from types import SimpleNamespace

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ["KERAS_BACKEND"] = "tensorflow"  # whatever the user's Keras is set to: the training step is TensorFlow's


@contextlib.contextmanager
def silenced_stderr():
    """Discard what native code writes to file descriptor 2, which no log level of TensorFlow silences."""
    sys.stderr.flush()
    saved = os.dup(2)
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 2)
    try:
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        os.close(null)


with silenced_stderr():
    import tensorflow as tf

import imageio.v3 as iio
import keras
import numpy as np
from keras import layers
from matplotlib.figure import Figure

DIGITS = 10
SIDE = 28
PIXELS = SIDE * SIDE
BUNDLED_DATA = Path(__file__).resolve().parent / "data" / "mnist.npz"


class InputError(Exception):
    """Something the user gave cannot be used; the message is one line that says what and what to do."""


# ------------------------------------------------------------------------------------------------ data


def read_npz(path, names=None):
    """Return the arrays of an npz archive as a dictionary, all of them or those in `names`.

    Nothing in the file is ever executed: arrays that need pickle are refused.
    Raises InputError if the file is missing, damaged, not an npz, lacks a name, or needs pickle.
    """
    if not Path(path).is_file():
        raise InputError(f"{path} is not a file: check the path")
    try:
        with np.load(path, allow_pickle=False) as archive:
            names = archive.files if names is None else names
            missing = [name for name in names if name not in archive.files]
            if not missing:
                return {name: archive[name] for name in names}
    except Exception as error:  # a damaged archive can fail in numpy, zipfile and zlib, each in its own way
        if "allow_pickle" in str(error) and zipfile.is_zipfile(path):
            raise InputError(f"{path} holds pickled Python objects, which are never loaded: "
                             "save plain arrays with numpy.savez") from error
        raise InputError(f"{path} cannot be read as an npz archive ({type(error).__name__}): "
                         "it is damaged or something else, replace it") from error
    raise InputError(f"{path} lacks {', '.join(missing)}: it must hold {', '.join(names)}")


def load_data(path=None):
    """Load a data set in Keras's MNIST layout: `x_train`, `y_train`, `x_test`, `y_test`.

    `path` is an npz file; None means the MNIST bundled beside this script or, if that file is
    missing, `keras.datasets.mnist`.
    Returns `(x_train, y_train), (x_test, y_test)`: images uint8 (n, 28, 28) in 0..255 and
    labels int32 (n,) in 0..9.
    Raises InputError if the file cannot be read or does not have this layout.
    """
    if path is None and not BUNDLED_DATA.is_file():
        try:
            (x_train, y_train), (x_test, y_test) = keras.datasets.mnist.load_data()
        except Exception as error:  # the download can fail in urllib, ssl, hashlib, zipfile, ...
            raise InputError(f"{BUNDLED_DATA} is missing and Keras cannot download MNIST: "
                             "restore it with 'git checkout data/mnist.npz' or give --data FILE") from error
        arrays = dict(x_train=x_train, y_train=y_train, x_test=x_test, y_test=y_test)
    else:
        path = BUNDLED_DATA if path is None else path
        arrays = read_npz(path, ("x_train", "y_train", "x_test", "y_test"))
    for part in ("train", "test"):
        x, y = arrays[f"x_{part}"], arrays[f"y_{part}"]
        if x.ndim != 3 or x.shape[1:] != (SIDE, SIDE) or x.dtype != np.uint8:
            raise InputError(f"{path}: x_{part} is {x.dtype} {x.shape}, it must be uint8 (n, {SIDE}, {SIDE})")
        if y.ndim != 1 or not np.issubdtype(y.dtype, np.integer):
            raise InputError(f"{path}: y_{part} is {y.dtype} {y.shape}, it must be integers of shape (n,)")
        if len(x) != len(y):
            raise InputError(f"{path}: x_{part} has {len(x)} rows and y_{part} has {len(y)}, they must be equal")
        if len(x) == 0:
            raise InputError(f"{path}: x_{part} and y_{part} have no rows, give at least one image")
        if y.min() < 0 or y.max() >= DIGITS:
            raise InputError(f"{path}: y_{part} has labels from {y.min()} to {y.max()}, they must be 0 to 9")
    # An npz may hold arrays in Fortran's order, of which no checksum can be taken.
    return ((np.ascontiguousarray(arrays["x_train"]), arrays["y_train"].astype(np.int32)),
            (np.ascontiguousarray(arrays["x_test"]), arrays["y_test"].astype(np.int32)))


def scale_images(images):
    """Scale uint8 images (n, 28, 28) in 0..255 to float32 (n, 28, 28, 1) in [-1, 1]: x / 127.5 - 1."""
    return tf.cast(images, tf.float32)[..., tf.newaxis] / 127.5 - 1.0


# -------------------------------------------------------------------------------------------- networks


def build_generator(latent_dim=100, embedding_range=0.05):
    """Build the generator: noise (n, latent_dim), standard normal, and label (n,), integers 0..9,
    to images (n, 28, 28, 1) in [-1, 1].

    The label's embedding, which starts uniform within ± `embedding_range`, is multiplied into the
    noise; BatchNormalization has momentum 0.8. The defaults are those of the coursework's text and of Keras.
    """
    noise = keras.Input((latent_dim,), name="noise")
    label = keras.Input((), dtype="int32", name="label")
    start = keras.initializers.RandomUniform(-embedding_range, embedding_range)
    embedding = layers.Embedding(DIGITS, latent_dim, embeddings_initializer=start, name="label_embedding")(label)
    x = layers.Multiply(name="noise_times_label")([noise, embedding])
    x = layers.Dense(256)(x)
    x = layers.LeakyReLU(negative_slope=0.2)(x)
    x = layers.BatchNormalization(momentum=0.8)(x)
    x = layers.Dense(512)(x)
    x = layers.LeakyReLU(negative_slope=0.2)(x)
    x = layers.BatchNormalization(momentum=0.8)(x)
    x = layers.Dense(1024)(x)
    x = layers.LeakyReLU(negative_slope=0.2)(x)
    x = layers.BatchNormalization(momentum=0.8)(x)
    x = layers.Dense(PIXELS, activation="tanh")(x)
    image = layers.Reshape((SIDE, SIDE, 1), name="image")(x)
    return keras.Model([noise, label], image, name="generator")


def build_discriminator(dropout=0.4, first_units=512):
    """Build the discriminator: image (n, 28, 28, 1) in [-1, 1] and label (n,), integers 0..9,
    to the probability (n, 1) that the image is real, given the label.

    The label's embedding is multiplied into the flattened image; the first of the three Dense
    layers has `first_units`. The defaults are those of the coursework's text.
    """
    image = keras.Input((SIDE, SIDE, 1), name="image")
    label = keras.Input((), dtype="int32", name="label")
    pixels = layers.Flatten(name="pixels")(image)
    embedding = layers.Embedding(DIGITS, PIXELS, name="label_embedding")(label)
    x = layers.Multiply(name="pixels_times_label")([pixels, embedding])
    x = layers.Dense(first_units)(x)
    x = layers.LeakyReLU(negative_slope=0.2)(x)
    x = layers.Dense(512)(x)
    x = layers.LeakyReLU(negative_slope=0.2)(x)
    x = layers.Dropout(dropout)(x)
    x = layers.Dense(512)(x)
    x = layers.LeakyReLU(negative_slope=0.2)(x)
    x = layers.Dropout(dropout)(x)
    probability = layers.Dense(1, activation="sigmoid", name="probability")(x)
    return keras.Model([image, label], probability, name="discriminator")


# -------------------------------------------------------------------------------------------- training

HISTORY_COLUMNS = ("d_loss_real", "d_loss_fake", "d_loss", "g_loss", "d_probability_real", "d_probability_fake")

# What a checkpoint must share with the run that continues it; everything else may differ.
RESUMED_SETTINGS = ("batch_size", "latent_dim", "generator_learning_rate", "discriminator_learning_rate", "dropout",
                    "discriminator_units", "label_smoothing", "wrong_label_weight", "mode_seeking_weight",
                    "embedding_range", "averaging_decay", "seed", "train_size", "data_crc32")


def build_training(settings, x_train, y_train, jit_compile=True):
    """Build both networks, their optimizers and the compiled training step.

    `settings` comes from `parse_arguments`; `x_train` is uint8 (n, 28, 28), `y_train` int32 (n,).
    `jit_compile` compiles the step with XLA, which fuses whatever is not a matrix product.

    Returns a namespace with

    - `generator`, `averaged_generator`, `discriminator`: the networks;
    - `variables`: all that must be kept to continue bit for bit, random states included;
    - `train_on_real(rows)`: update the discriminator on the training images `rows`, int32 (batch_size,);
    - `train_on_generated(rows, step)`: update the discriminator on images generated for batch number
      `step` and, unless their weight is 0, on half of the training images `rows` with wrong labels;
    - `train_generator(step)`: update the generator through the frozen discriminator, and its average;
      the loss that it returns is the cross-entropy, without the term of mode seeking;
    - `train_batch(rows, step)`: these three in this order, compiled; returns float32 (6,), HISTORY_COLUMNS.

    Frozen means that only the gradients of a network's own variables are taken and applied. The
    `trainable` flag of older scripts would not do: on Keras 3, `compile` keeps no snapshot of it,
    and the discriminator would stay untrained, with no more than a warning.
    """
    keras.utils.set_random_seed(settings.seed)  # the initial weights and the dropout masks
    generator = build_generator(settings.latent_dim, settings.embedding_range)
    averaged_generator = build_generator(settings.latent_dim, settings.embedding_range)
    averaged_generator.set_weights(generator.get_weights())
    discriminator = build_discriminator(settings.dropout, settings.discriminator_units)
    generator_optimizer = keras.optimizers.Adam(settings.generator_learning_rate, beta_1=0.5)
    discriminator_optimizer = keras.optimizers.Adam(settings.discriminator_learning_rate, beta_1=0.5)
    generator_optimizer.build(generator.trainable_variables)
    discriminator_optimizer.build(discriminator.trainable_variables)
    cross_entropy = keras.losses.BinaryCrossentropy()
    x_train, y_train = tf.constant(x_train), tf.constant(y_train)
    batch_size = settings.batch_size

    def draw(step, stream):
        """Draw noise and labels that depend on nothing but the seed, the batch number and the stream."""
        noise = tf.random.stateless_normal((batch_size, settings.latent_dim), (settings.seed, 5 * step + stream))
        labels = tf.random.stateless_uniform((batch_size,), (settings.seed, 5 * step + stream + 1),
                                             maxval=DIGITS, dtype=tf.int32)
        return noise, labels

    def real_images(rows):
        return scale_images(tf.gather(x_train, rows)), tf.gather(y_train, rows)

    def train_discriminator(images, labels, target, wrong_label_weight=0.0):
        """Update the discriminator; whatever follows the first `batch_size` rows has a wrong label."""
        with tf.GradientTape() as tape:
            probability = discriminator([images, labels], training=True)
            right, wrong = probability[:batch_size], probability[batch_size:]
            loss = objective = cross_entropy(tf.fill((batch_size, 1), target), right)
            if wrong_label_weight:
                rejection = cross_entropy(tf.zeros_like(wrong), wrong)
                objective = (1.0 - wrong_label_weight) * loss + wrong_label_weight * rejection
        variables = discriminator.trainable_variables
        discriminator_optimizer.apply(tape.gradient(objective, variables), variables)
        return loss, tf.reduce_mean(right)

    def train_on_real(rows):
        # One-sided label smoothing (Salimans et al. 2016, section 3.4): only the target for real images moves.
        return train_discriminator(*real_images(rows), 1.0 - settings.label_smoothing)

    def train_on_generated(rows, step):
        noise, labels = draw(step, 0)
        # Not in training mode, which would move the generator's BatchNormalization statistics.
        images = generator([noise, labels], training=False)
        if settings.wrong_label_weight:
            # Real images with a wrong label are to be rejected, too, so that the discriminator has to compare
            # image and label (Reed et al. 2016, Generative Adversarial Text to Image Synthesis, section 4.2).
            other_images, right_labels = real_images(rows[:batch_size // 2])
            shift = tf.random.stateless_uniform(right_labels.shape, (settings.seed, 5 * step + 4),
                                                minval=1, maxval=DIGITS, dtype=tf.int32)
            images = tf.concat([images, other_images], 0)
            labels = tf.concat([labels, (right_labels + shift) % DIGITS], 0)
        return train_discriminator(images, labels, 0.0, settings.wrong_label_weight)

    def train_generator(step):
        noise, labels = draw(step, 2)
        half = batch_size // 2
        if settings.mode_seeking_weight:
            labels = tf.concat([labels[:-half], labels[:half]], 0)  # the two halves draw the same digits

        def distances(batch):
            return tf.reduce_mean(tf.reshape(tf.abs(batch[:half] - batch[-half:]), (half, -1)), axis=1)

        variables = generator.trainable_variables
        with tf.GradientTape() as tape:
            images = generator([noise, labels], training=True)
            loss = objective = cross_entropy(tf.ones((batch_size, 1)), discriminator([images, labels], training=True))
            if settings.mode_seeking_weight:
                # Other noise should give another image of the digit (Mao et al. 2019, Mode Seeking Generative
                # Adversarial Networks for Diverse Image Synthesis, https://arxiv.org/abs/1903.05628).
                sameness = distances(noise) / (distances(images) + 1e-3)  # 1e-3 for identical images
                objective += settings.mode_seeking_weight * tf.reduce_mean(sameness)
        generator_optimizer.apply(tape.gradient(objective, variables), variables)
        # The decay rises to its setting, so that the average does not keep the initial weights for epochs.
        done = tf.cast(step + 1, tf.float32)
        decay = tf.minimum(settings.averaging_decay, done / (done + 3.0))
        for average, current in zip(averaged_generator.trainable_variables, variables, strict=True):
            average.assign(decay * average + (1.0 - decay) * current)
        return loss

    @tf.function(jit_compile=jit_compile, autograph=False)
    def train_batch(rows, step):
        loss_real, probability_real = train_on_real(rows)
        loss_fake, probability_fake = train_on_generated(rows, step)
        g_loss = train_generator(step)
        return tf.stack([loss_real, loss_fake, (loss_real + loss_fake) / 2, g_loss, probability_real, probability_fake])

    return SimpleNamespace(
        generator=generator, averaged_generator=averaged_generator, discriminator=discriminator,
        variables=[variable for part in (generator, averaged_generator, discriminator,
                                         generator_optimizer, discriminator_optimizer)
                   for variable in part.variables],
        train_on_real=train_on_real, train_on_generated=train_on_generated, train_generator=train_generator,
        train_batch=train_batch)


def write_whole(path, write):
    """Make the file `path` by `write(partial)` so that it holds its old or its new content, never a part.

    `write` gets a path beside it with the same ending, which is renamed once it is complete.
    Raises OSError if that fails; `path` is then as it was.
    """
    partial = path.with_name(f".partial-{path.name}")
    try:
        write(partial)
        with open(partial, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(partial, path)
    except OSError as error:
        raise OSError(f"cannot write {path} ({error.strerror or error})") from error
    finally:
        partial.unlink(missing_ok=True)


def save_checkpoint(path, settings, epoch, seconds, history, values):
    """Write all that continues a run into one npz file, replaced as a whole.

    `settings` is a dictionary, `epoch` the number of finished epochs, `seconds` the time they took,
    `history` float32 (batches, 6), `values` the arrays of all variables.
    """
    write_whole(path, lambda partial: np.savez(
        partial, settings=json.dumps(settings), epoch=epoch, seconds=seconds, history=history,
        **{f"variable_{number:03d}": value for number, value in enumerate(values)}))


def load_checkpoint(path, settings):
    """Read the checkpoint at `path` for a run with `settings` (a dictionary).

    Returns (epoch, seconds, history, values) as they were given to `save_checkpoint`.
    Raises InputError if there is none, if it is damaged, or if it was made with other settings.
    """
    if not path.is_file():
        raise InputError(f"--resume: there is no checkpoint {path}; train without --resume first")
    arrays = read_npz(path)
    try:
        saved, history = json.loads(str(arrays.pop("settings"))), arrays.pop("history")
        epoch, seconds = int(arrays.pop("epoch")), float(arrays.pop("seconds"))
        differing = [name for name in RESUMED_SETTINGS if saved[name] != settings[name]]
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"--resume: {path} is no checkpoint of this script; train without --resume") from error
    if differing:
        raise InputError(f"--resume: {path} was made with other settings ("
                         + ", ".join(f"{name}: {saved[name]} there, {settings[name]} here" for name in differing)
                         + "); give the same settings or train without --resume")
    if epoch > settings["epochs"]:
        raise InputError(f"--resume: {path} has finished {epoch} epochs; give --epochs {epoch} or more")
    return epoch, seconds, history, [arrays[name] for name in sorted(arrays)]


def recalibrate(generator, seed):
    """Set the BatchNormalization statistics of an averaged generator to those of its own activations.

    Averaging the statistics of the weights that were averaged would give those of no network at all.
    With momentum 0.8, 30 batches leave 0.8^30 = 0.1% of the old statistics.
    """
    @tf.function(autograph=False)
    def update_statistics(number):
        noise = tf.random.stateless_normal((250, generator.inputs[0].shape[1]), (seed, -1 - number))
        generator([noise, tf.range(250) % DIGITS], training=True)

    for number in range(30):
        update_statistics(tf.constant(number))


def train_epoch(training, settings, epoch):
    """Train for one full shuffled pass over the training images; `epoch` counts from 0.

    Returns the history of the epoch, float32 (batches, 6), with the columns HISTORY_COLUMNS.
    Raises FloatingPointError as soon as a loss is not finite.
    """
    batches = math.ceil(settings.train_size / settings.batch_size)
    # The shuffled rows start over where the last batch has too few: one shape, compiled once.
    order = np.random.default_rng((settings.seed, epoch)).permutation(settings.train_size)
    order = tf.constant(np.resize(order, (batches, settings.batch_size)), tf.int32)
    bar = keras.utils.Progbar(batches) if sys.stdout.isatty() else None
    history = np.empty((batches, len(HISTORY_COLUMNS)), np.float32)
    for batch in range(batches):
        history[batch] = training.train_batch(order[batch], tf.constant(epoch * batches + batch))
        if not np.isfinite(history[batch]).all():
            raise FloatingPointError(f"a loss is no longer finite in epoch {epoch + 1}, batch {batch + 1}")
        if bar:
            bar.update(batch + 1, [("d_loss", history[batch, 2]), ("g_loss", history[batch, 3])])
    return history


def train(settings):
    """Train as `settings` from `parse_arguments` say and write everything that a run leaves.

    Raises InputError for input that cannot be used, before any training; FloatingPointError when a
    loss or a weight is no longer finite; OSError when a file cannot be written. The checkpoint of
    the last finished epoch stays as it is in each case.
    """
    (x_train, y_train), _ = load_data(settings.data)
    settings.train_size = settings.train_size or len(x_train)
    if settings.train_size > len(x_train):
        raise InputError(f"--train-size {settings.train_size}: the data has {len(x_train)} training images")
    if settings.batch_size > settings.train_size:
        raise InputError(f"--batch-size {settings.batch_size}: only {settings.train_size} training images are used")
    x_train, y_train = x_train[:settings.train_size], y_train[:settings.train_size]
    outputs, plots = Path(settings.output_dir), Path(settings.plots_dir)

    record = {name: value for name, value in vars(settings).items() if name not in UNRECORDED_OPTIONS}
    record["data_crc32"] = zlib.crc32(y_train, zlib.crc32(x_train))
    epoch, seconds, history, values = 0, 0.0, np.empty((0, len(HISTORY_COLUMNS)), np.float32), None
    if settings.resume:
        epoch, seconds, history, values = load_checkpoint(outputs / "checkpoint.npz", record)
        read_grids(outputs, epoch)
    open_folder(outputs)
    open_folder(plots)
    print("Settings:")
    for name, value in record.items():
        print(f"  {name.replace('_', ' '):<28}{value}")

    training = build_training(settings, x_train, y_train)
    if settings.resume:
        if [value.shape for value in values] != [tuple(variable.shape) for variable in training.variables]:
            raise InputError(f"--resume: {outputs / 'checkpoint.npz'} holds other networks; train without --resume")
        for variable, value in zip(training.variables, values, strict=True):
            variable.assign(value)
        print(f"Continuing after epoch {epoch} of {settings.epochs}.")

    digits = np.tile(np.arange(DIGITS), 10)
    while epoch < settings.epochs:
        started = time.perf_counter()
        if sys.stdout.isatty():
            print(f"Epoch {epoch + 1}/{settings.epochs}")
        rows = train_epoch(training, settings, epoch)
        recalibrate(training.averaged_generator, settings.seed)
        values = [variable.numpy() for variable in training.variables]
        if not all(np.isfinite(value).all() for value in values):
            raise FloatingPointError(f"a weight is no longer finite at the end of epoch {epoch + 1}")
        epoch, history = epoch + 1, np.concatenate([history, rows])
        images = generate_images(training.averaged_generator, digits, settings.seed)
        save_figure(grid_path(outputs, epoch), draw_grid(images, range(DIGITS), f"Epoch {epoch}"))
        write_history(outputs / "history.csv", history, epoch)
        seconds += time.perf_counter() - started
        # Last, so that whatever a checkpoint counts as finished is already on the disk.
        save_checkpoint(outputs / "checkpoint.npz", record, epoch, seconds, history, values)
        if not sys.stdout.isatty():
            print(f"Epoch {epoch}/{settings.epochs}: d_loss {rows[:, 2].mean():.4f}, g_loss {rows[:, 3].mean():.4f}, "
                  f"{time.perf_counter() - started:.1f} s, "
                  f"{readable_time(seconds / epoch * (settings.epochs - epoch))} left", flush=True)

    for grid in outputs.glob("epoch_[0-9][0-9][0-9].png"):
        if grid.name > grid_path(outputs, epoch).name:
            grid.unlink()  # of an earlier, longer run in this folder
    save_network(outputs / "generator.keras", training.averaged_generator)
    save_figure(plots / "loss_curves.png", draw_losses(history, epoch))
    save_figure(plots / "discriminator_output.png", draw_discriminator_output(
        history, epoch, settings.label_smoothing, settings.wrong_label_weight))
    save_figure(plots / "generator.png", draw_network(training.generator))
    save_figure(plots / "discriminator.png", draw_network(training.discriminator))
    write_gif(outputs / "cgan.gif", read_grids(outputs, epoch))
    versions = {name: importlib.metadata.version(name)
                for name in ("tensorflow", "keras", "numpy", "matplotlib", "imageio")}
    write_whole(outputs / "settings.json", lambda partial: partial.write_text(json.dumps(
        {**record, "wall_time_seconds": round(seconds, 1), "python": platform.python_version(), **versions},
        indent=2) + "\n"))
    print(f"""
Trained {epoch} epochs in {readable_time(seconds)}. What the run left:
  {outputs / "cgan.gif"}: the digits forming, epoch by epoch
  {grid_path(outputs, 1)} ... {grid_path(outputs, epoch).name}: the same, one grid per epoch
  {plots / "loss_curves.png"}: the losses of both networks
  {plots / "discriminator_output.png"}: what the discriminator says of real and generated images
  {plots / "generator.png"}, {plots / "discriminator.png"}: the networks
  {outputs / "history.csv"}: the numbers behind the curves
  {outputs / "settings.json"}: the settings and versions of this run
  {outputs / "generator.keras"}: the trained generator, for --generate
  {outputs / "checkpoint.npz"}: for --resume""")


# -------------------------------------------------------------------------------------------- pictures


def generate_images(generator, labels, seed):
    """Draw one image for each of `labels`, integers (n,) in 0..9, from noise that `seed` determines.

    Returns float32 (n, 28, 28, 1) in [-1, 1].
    """
    noise = np.random.default_rng(seed).standard_normal((len(labels), generator.inputs[0].shape[1]), np.float32)
    return generator([noise, np.asarray(labels, np.int32)], training=False).numpy()


def save_figure(path, figure):
    """Write a matplotlib figure as a whole PNG."""
    write_whole(path, figure.savefig)


def tile_images(images, columns):
    """Lay images (rows * columns, 28, 28, 1) out row by row in one picture (rows * 28, columns * 28)."""
    return images.reshape(-1, columns, SIDE, SIDE).transpose(0, 2, 1, 3).reshape(-1, columns * SIDE)


def draw_grid(images, columns, title=None):
    """Draw images (rows * len(columns), 28, 28, 1) in [-1, 1], row by row, with the digits `columns` above.

    Every image pixel takes exactly 2 x 2 pixels of the figure.
    """
    mosaic = tile_images(images, len(columns))
    height, width = mosaic.shape
    margin, top = 20, 68 if title else 40  # in pixels of the figure, which has 100 to the inch
    figure_width, figure_height = 2 * width + 2 * margin, 2 * height + margin + top
    figure = Figure((figure_width / 100, figure_height / 100), dpi=100)
    axes = figure.add_axes((margin / figure_width, margin / figure_height,
                            2 * width / figure_width, 2 * height / figure_height))
    axes.imshow(mosaic, cmap="gray", vmin=-1, vmax=1, interpolation="nearest")
    axes.set_xticks(np.arange(len(columns)) * SIDE + SIDE / 2, columns, fontsize=14)
    axes.set_yticks([])
    axes.tick_params(top=True, labeltop=True, bottom=False, labelbottom=False, length=0)
    if title:
        axes.set_title(title, fontsize=16)
    return figure


def grid_path(outputs, epoch):
    """Return the path of the grid of `epoch`, which counts from 1."""
    return outputs / f"epoch_{epoch:03d}.png"


def read_grids(outputs, epochs):
    """Read the grids of epochs 1 to `epochs` as uint8 (height, width) in gray.

    Raises InputError if one is missing or damaged.
    """
    grids = []
    for epoch in range(1, epochs + 1):
        path = grid_path(outputs, epoch)
        try:
            grids.append(iio.imread(path, mode="L"))
        except Exception as error:  # Pillow fails in many ways on a damaged file
            raise InputError(f"--resume: {path}, a frame of the GIF, is missing or damaged; "
                             "train without --resume") from error
    return grids


def write_gif(path, grids):
    """Write the `grids` as a looping GIF, 0.3 s each and 2.5 s for the last, in 16 grays to keep it small."""
    frames = np.stack(grids) // 16 * 17
    durations = [300] * (len(frames) - 1) + [2500] if len(frames) > 1 else 2500  # Pillow wants no list for one frame
    write_whole(path, lambda partial: iio.imwrite(partial, frames, duration=durations, loop=0))


def write_history(path, history, epochs):
    """Write the history (batches, 6) of `epochs` epochs as CSV, one row per batch."""
    batches = len(history) // epochs
    number = np.arange(len(history))
    table = np.column_stack([number // batches + 1, number % batches + 1, history])
    write_whole(path, lambda partial: np.savetxt(
        partial, table, fmt=["%d", "%d"] + ["%.7g"] * len(HISTORY_COLUMNS), delimiter=",",
        header=",".join(("epoch", "batch") + HISTORY_COLUMNS), comments=""))


def draw_curves(history, epochs, curves, ylabel, title, reference, reference_label):
    """Draw columns of the history (batches, 6): every batch thin, the mean of every epoch bold.

    `curves` maps the label of a curve to (column, color); `reference` is a level to mark.
    """
    figure = Figure((9, 6), dpi=100, layout="constrained")
    axes = figure.subplots()
    position = (np.arange(len(history)) + 1) * epochs / len(history)
    for label, (column, color) in curves.items():
        values = history[:, HISTORY_COLUMNS.index(column)]
        axes.plot(position, values, color=color, linewidth=0.4, alpha=0.35)
        axes.plot(np.arange(epochs) + 0.5, values.reshape(epochs, -1).mean(1), color=color, linewidth=2.5,
                  marker="o", markersize=4, label=f"{label}: epoch mean (thin: every batch)")
    axes.axhline(reference, color="black", linestyle="--", linewidth=1, label=reference_label)
    axes.set(xlabel="epoch", ylabel=ylabel, title=title, xlim=(0, epochs))
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.grid(alpha=0.3)
    figure.legend(loc="outside lower center")
    return figure


def draw_losses(history, epochs):
    """Draw the losses of both networks over `epochs` epochs from the history (batches, 6)."""
    figure = draw_curves(
        history, epochs, {"generator (the combined model's loss)": ("g_loss", "tab:orange"),
                          "discriminator (mean of real and generated)": ("d_loss", "tab:blue")},
        "binary cross-entropy (nats)", "Losses of generator and discriminator", math.log(2),
        "ln 2 = 0.693: either loss if the discriminator answered 1/2 to everything")
    # The first batches, whose losses are several times as high, would squeeze all the rest.
    figure.axes[0].set_ylim(0, 1.2 * history[:, 2:4].reshape(epochs, -1, 2).mean(1).max())
    return figure


def draw_discriminator_output(history, epochs, label_smoothing, wrong_label_weight):
    """Draw the discriminator's mean probability on real and on generated images over `epochs` epochs.

    Where both kinds of images are equally frequent, the best answer d makes the sum of the losses
    -(1 - `label_smoothing`) log d - `label_smoothing` log(1 - d) and -(1 - `wrong_label_weight`) log(1 - d)
    smallest (Goodfellow et al. 2014, proposition 1, where both are 0 and the best answer is 1/2).
    """
    undecided = (1 - label_smoothing) / (2 - wrong_label_weight)
    figure = draw_curves(
        history, epochs, {"real images": ("d_probability_real", "tab:green"),
                          "generated images": ("d_probability_fake", "tab:red")},
        "mean probability of being real", "What the discriminator says, in its own updates", undecided,
        f"{undecided:.3g}: the best answer to images that could as well be real as generated")
    figure.axes[0].set_ylim(0, 1)
    return figure


def describe_layer(layer):
    """Return the kind of a layer with the number that matters most about it, such as "Dense 512"."""
    kind = type(layer).__name__
    details = {"InputLayer": lambda: layer.name, "Dense": lambda: layer.units, "Dropout": lambda: layer.rate,
               "Embedding": lambda: f"{layer.input_dim} → {layer.output_dim}",
               "LeakyReLU": lambda: layer.negative_slope, "BatchNormalization": lambda: f"momentum {layer.momentum}"}
    text = f"{kind.replace('InputLayer', 'Input')} {details.get(kind, str)()}"
    activation = getattr(getattr(layer, "activation", None), "__name__", "linear")
    return text if activation == "linear" else f"{text}, {activation}"


def draw_network(network):
    """Draw a network of this script: two inputs, the product with the label's embedding, the stack after it.

    Every box names a layer, the shape of its output for one example, and its parameters.
    """
    product = [type(layer).__name__ for layer in network.layers].index("Multiply")
    label_branch = [layer for layer in network.layers[:product] if layer.name.startswith("label")]
    main_branch = [layer for layer in network.layers[:product] if layer not in label_branch]
    stack = network.layers[product:]
    figure = Figure((9, 0.55 * (len(stack) + 3)), dpi=100, layout="constrained")
    axes = figure.subplots()
    axes.set(title=f"{network.name.capitalize()}: {network.count_params():,} parameters",
             xlim=(-2, 2), ylim=(len(stack) - 0.5, -2.5))
    axes.axis("off")
    # The branches start in row -2, above the product that heads the stack in row 0.
    for x, first_row, column in ((-1, -2, main_branch), (1, -2, label_branch), (0, 0, stack)):
        boxes = [(x, first_row + number) for number in range(len(column))]
        for (x, row), layer in zip(boxes, column, strict=True):
            shape = " × ".join(map(str, layer.output.shape[1:])) or "integer 0 to 9"
            parameters = f"   {layer.count_params():,} parameters" if layer.count_params() else ""
            axes.text(x, row, f"{describe_layer(layer)}   [{shape}]{parameters}", ha="center", va="center",
                      bbox=dict(boxstyle="round", facecolor="lightblue" if parameters else "white"))
        ends = boxes[1:] if column is stack else [*boxes[1:], (0.2 * x, 0)]
        for (start_x, start_row), (end_x, end_row) in zip(boxes, ends, strict=column is not stack):
            axes.annotate("", (end_x, end_row - 0.28), (start_x, start_row + 0.28), arrowprops=dict(arrowstyle="->"))
    return figure


# ---------------------------------------------------------------------------------------- command line

UNRECORDED_OPTIONS = ("generate", "samples", "generator", "resume")


def open_folder(path):
    """Make the folder `path` if needed and return it as a Path; raise InputError if it cannot be written to."""
    try:
        Path(path).mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            return Path(path)
    except OSError as error:
        raise InputError(f"cannot write to the folder {path} ({error.strerror}); choose another one") from error


def readable_time(seconds):
    """Return a duration as text, such as "45 s" or "5 min 40 s"."""
    minutes, seconds = divmod(round(seconds), 60)
    return f"{minutes} min {seconds} s" if minutes else f"{seconds} s"


def save_network(path, network):
    """Write a network as a .keras file whose bytes depend on nothing but its weights and the versions."""
    def write(partial):
        network.save(partial)
        with zipfile.ZipFile(partial) as archive:
            members = {name: archive.read(name) for name in archive.namelist()}
        metadata = json.loads(members["metadata.json"])
        del metadata["date_saved"]
        members["metadata.json"] = json.dumps(metadata)
        addresses = {}  # Keras numbers shared objects by their place in memory; number them by their order instead
        members["config.json"] = re.sub(
            rb'(?<="shared_object_id": )\d+',
            lambda match: b"%d" % addresses.setdefault(match[0], len(addresses)), members["config.json"])
        with zipfile.ZipFile(partial, "w") as archive:
            for name, content in members.items():
                archive.writestr(zipfile.ZipInfo(name), content)  # a ZipInfo says 1980 unless told otherwise
    write_whole(path, write)


def load_network(path, accepts, remedy):
    """Load a network that `save_network` wrote, without executing anything that the file contains.

    Raises InputError, which ends with `remedy`, if the file is damaged or `accepts(network)` is false.
    """
    try:
        network = keras.models.load_model(path, compile=False, safe_mode=True)
        if accepts(network):
            return network
    except Exception as error:  # Keras, h5py and zipfile fail in many ways on a damaged file
        raise InputError(f"{path} is damaged, not a .keras file, or of a newer Keras; {remedy}") from error
    raise InputError(f"{path} holds another network; {remedy}")


def load_generator(path):
    """Load the generator that training wrote to `path`; raise InputError if there is none or it is unusable."""
    remedy = "train first with 'python cgan_mnist.py'"
    if not Path(path).is_file():
        raise InputError(f"there is no generator {path}; {remedy}")
    return load_network(path, lambda network: (
        len(network.inputs) == 2 and len(network.inputs[0].shape) == 2 and len(network.inputs[1].shape) == 1
        and network.output_shape == (None, SIDE, SIDE, 1)
        and {"label_embedding", "noise_times_label"} <= {layer.name for layer in network.layers}), remedy)


def generate(settings):
    """Write `generated.png`: the digits of `settings.generate` in their order, `settings.samples` rows.

    Raises InputError if there is no usable generator, OSError if the picture cannot be written.
    """
    generator = load_generator(settings.generator or Path(settings.output_dir) / "generator.keras")
    digits = [int(digit) for digit in settings.generate]
    images = generate_images(generator, digits * settings.samples, settings.seed)
    path = open_folder(settings.output_dir) / "generated.png"
    save_figure(path, draw_grid(images, digits))
    print(f"{path}: {settings.generate} in {settings.samples} row{'s' * (settings.samples > 1)}")


def checked(kind, accept, requirement):
    """Return an argparse type: text to `kind` (int or float) if `accept` holds for it; `requirement` says when."""
    def parse(text):
        with contextlib.suppress(ValueError):
            if accept(kind(text)):
                return kind(text)
        raise argparse.ArgumentTypeError(f"must be {requirement}, not {text!r}")
    return parse


def whole_number(low, high):
    """Return an argparse type for whole numbers from `low` to `high`."""
    return checked(int, lambda value: low <= value <= high, f"a whole number from {low} to {high}")


positive_number = checked(float, lambda value: 0 < value < math.inf, "a positive finite number")


def fraction_below(limit):
    """Return an argparse type for numbers in [0, limit)."""
    return checked(float, lambda value: 0 <= value < limit, f"at least 0 and below {limit}")


def digit_string(text):
    """Check the argument of --generate and return it."""
    if not (text.isascii() and text.isdigit() and len(text) <= 100):
        raise argparse.ArgumentTypeError(f"must be 1 to 100 digits such as 31415, not {text!r}")
    return text


def one_line_errors(parser):
    """Let an argparse `parser` answer bad input with one line on stderr and exit status 2."""
    parser.error = lambda message: parser.exit(2, f"{parser.prog}: error: {message} (see --help)\n")
    return parser


def parse_arguments(arguments=None):
    """Parse the command line (a list of strings; None means that of the process) into a namespace."""
    parser = one_line_errors(argparse.ArgumentParser(
        description="Train a conditional GAN on MNIST, or draw digits with a trained one.", allow_abbrev=False,
        formatter_class=argparse.ArgumentDefaultsHelpFormatter))
    training = parser.add_argument_group("training")
    training.add_argument("--epochs", type=whole_number(1, 999), default=20,
                          help="full passes over the training images")
    training.add_argument("--batch-size", type=whole_number(2, 10**6), default=64,
                          help="images per update; larger is faster per image but updates less often")
    training.add_argument("--latent-dim", type=whole_number(1, 10**4), default=200,
                          help="length of the noise vector from which a digit is generated")
    training.add_argument("--generator-learning-rate", type=positive_number, default=3e-4,
                          help="step size of Adam for the generator")
    training.add_argument("--discriminator-learning-rate", type=positive_number, default=1e-3,
                          help="step size of Adam for the discriminator")
    training.add_argument("--dropout", type=fraction_below(1), default=0.0,
                          help="share of its activations that the discriminator drops while it trains")
    training.add_argument("--discriminator-units", type=whole_number(1, 10**4), default=1024,
                          help="units of the discriminator's first Dense layer; the other two have 512")
    training.add_argument("--label-smoothing", type=fraction_below(0.5), default=0.1,
                          help="how far below 1 the discriminator's target for real images is (one-sided)")
    training.add_argument("--wrong-label-weight", type=fraction_below(1), default=0.1,
                          help="share of real images with a wrong label in what the discriminator learns to "
                               "reject, the rest being generated; 0 trains on generated images alone")
    training.add_argument("--mode-seeking-weight", type=fraction_below(100), default=0.15,
                          help="weight of the term that makes the generator draw a digit in different ways "
                               "from different noise; 0 for none")
    training.add_argument("--embedding-range", type=positive_number, default=1.0,
                          help="the generator's label embedding starts uniform within ± this; Keras's own "
                               "default of 0.05 covers fewer of the ways in which digits are written")
    training.add_argument("--averaging-decay", type=fraction_below(1), default=0.9998,
                          help="decay per batch of the running average of the generator's weights that "
                               "pictures and files show; in batch n it is n / (n + 3) as long as that is "
                               "less; 0 shows the last weights")
    training.add_argument("--seed", type=whole_number(0, 2**31 - 1), default=0,
                          help="start of all random numbers: the same seed repeats a run bit for bit, and another "
                               "one draws other digits with --generate")
    training.add_argument("--train-size", type=whole_number(2, 10**9), metavar="N",
                          help="use only the first N training images, to try things out")
    files = parser.add_argument_group("files")
    files.add_argument("--data", metavar="FILE",
                       help="train on another npz file in Keras's MNIST layout instead of the bundled MNIST")
    files.add_argument("--output-dir", default="outputs", metavar="DIR",
                       help="folder for grids, GIF, history, generator and checkpoint")
    files.add_argument("--plots-dir", default="plots", metavar="DIR",
                       help="folder for the curves and the diagrams of the networks")
    mode = parser.add_argument_group("other than training from the start").add_mutually_exclusive_group()
    mode.add_argument("--resume", action="store_true",
                      help="continue after the last finished epoch of the run in the output folder")
    mode.add_argument("--generate", type=digit_string, metavar="DIGITS",
                      help="draw these digits in this order with a trained generator, without training")
    drawing = parser.add_argument_group("with --generate")
    drawing.add_argument("--samples", type=whole_number(1, 100), default=1, metavar="N",
                         help="rows of the picture, each from other noise")
    drawing.add_argument("--generator", metavar="FILE",
                         help="trained generator to draw with, OUTPUT_DIR/generator.keras if not given")
    settings = parser.parse_args(arguments)
    if not settings.generate and (settings.generator or settings.samples > 1):
        parser.error("--samples and --generator need --generate DIGITS; without it the script would train")
    return settings


def run(work, advice=lambda: ""):
    """Call `work()` and return the exit status, with one line on stderr for whatever a user can meet.

    `advice()` is what to do when the work stopped half-way.
    """
    tf.config.experimental.enable_op_determinism()  # a GPU repeats bit for bit only with it
    try:
        work()
        return 0
    except InputError as error:
        status, message = 2, f"error: {error}"
    except FloatingPointError as error:
        status, message = 1, (f"stopped: {error}; lower the learning rates and train without --resume "
                              "(the checkpoint of the last finished epoch is kept)")
    except OSError as error:
        status, message = 1, f"stopped: {error}. {advice()}"
    except KeyboardInterrupt:
        status, message = 130, f"interrupted. {advice()}"
    print(f"{Path(sys.argv[0]).name}: {message.rstrip()}", file=sys.stderr)
    return status


def main():
    """Run the command line and return the exit status."""
    settings = parse_arguments()
    if settings.generate:
        return run(lambda: generate(settings))
    checkpoint, started = Path(settings.output_dir) / "checkpoint.npz", time.time()

    def advice():
        if checkpoint.is_file() and (settings.resume or checkpoint.stat().st_mtime >= started):
            words = [word for word in sys.argv if word != "--resume"]
            return "Continue after the last finished epoch with: " + shlex.join(["python", *words, "--resume"])
        return "No epoch is finished yet, start again."
    return run(lambda: train(settings), advice)


if __name__ == "__main__":
    sys.exit(main())
