"""MNIST, or another data set in its layout, checked."""

import zlib
from collections.abc import Iterator
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from mnist_gan.errors import InputError
from mnist_gan.files import read_npz

DIGITS = 10
SIDE = 28
PIXELS = SIDE * SIDE
BUNDLED_DATA = Path(__file__).resolve().parents[2] / "data" / "mnist.npz"


def load_data(path=None) -> tuple:
    """Load a data set in Keras's MNIST layout: `x_train`, `y_train`, `x_test`, `y_test`.

    `path` is an npz file; None means the MNIST bundled with the scripts or, if that file is
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
            raise InputError(f"{path}: x_{part} has {len(x)} images and y_{part} {len(y)} labels: give one each")
        if len(x) == 0:
            raise InputError(f"{path}: x_{part} and y_{part} are empty, give at least one image")
        if x.max() <= 1:
            raise InputError(f"{path}: no pixel of x_{part} is brighter than {x.max()}, white must be 255")
        if y.min() < 0 or y.max() >= DIGITS:
            raise InputError(f"{path}: y_{part} has labels from {y.min()} to {y.max()}, they must be 0 to 9")
    # An npz may hold arrays in Fortran's order, of which no checksum can be taken.
    return ((np.ascontiguousarray(arrays["x_train"]), arrays["y_train"].astype(np.int32)),
            (np.ascontiguousarray(arrays["x_test"]), arrays["y_test"].astype(np.int32)))


def load_training_images(path, train_size, batch_size) -> tuple:
    """Load the first `train_size` training images of a data set, all of them for None; `path` as for `load_data`.

    Returns images uint8 (n, 28, 28) in 0..255 and labels int32 (n,) in 0..9.
    Raises InputError if the data cannot be used or has fewer images than `train_size` or `batch_size`.
    """
    (images, labels), _ = load_data(path)
    train_size = train_size or len(images)
    if train_size > len(images):
        raise InputError(f"--train-size {train_size}: the data has {len(images)} training images")
    if batch_size > train_size:
        raise InputError(f"--batch-size {batch_size}: only {train_size} training images are used")
    return images[:train_size], labels[:train_size]


def scale_images(images) -> tf.Tensor:
    """Scale uint8 images (n, 28, 28) in 0..255 to float32 (n, 28, 28, 1) in [-1, 1]: x / 127.5 - 1."""
    return tf.cast(images, tf.float32)[..., tf.newaxis] / 127.5 - 1.0


def checksum(images, labels) -> int:
    """Return the CRC-32 of images and labels, an int by which a file knows the data that it was made with."""
    return zlib.crc32(labels, zlib.crc32(images))


def blocks(array, size=1000) -> Iterator[np.ndarray]:
    """Yield `array` in blocks of at most `size` entries, so that what is computed from each fits into memory."""
    return (array[start:start + size] for start in range(0, len(array), size))
