"""The training steps of this repository as contenders of `turns.py`.

Their settings are those of the script with its default options, but for the batch size, and two more: `jit_compile`,
whether XLA compiles the step, and `eager`, whether it runs without any compilation. Those of a stage have its number.
"""

import cgan_mnist
import stackgan_mnist
from mnist_gan.data.described import prepare_data
from mnist_gan.data.mnist import load_data
from mnist_gan.data.sentences import sentence_table
from mnist_gan.encoders import SENTENCE_DIM, build_digit_classifier, build_picture_encoder

import tensorflow as tf


def cgan_settings(batch_size, jit_compile=True, eager=False):
    """Return the settings of the step of `cgan_mnist.py`, a dictionary."""
    return {**vars(cgan_mnist.parse_arguments(["--batch-size", str(batch_size)])),
            "jit_compile": jit_compile, "eager": eager}


def stage_settings(stage, batch_size, jit_compile, eager=False):
    """Return the settings of the step of Stage I or II of `stackgan_mnist.py`, a dictionary; `stage` is 1 or 2."""
    return {**vars(stackgan_mnist.parse_arguments(["--batch-size", str(batch_size)])),
            "stage": stage, "jit_compile": jit_compile, "eager": eager}


def build_cgan(settings):
    """Build the training of `cgan_mnist.py` on all training images."""
    (x_train, y_train), _ = load_data()
    settings.train_size = len(x_train)
    return cgan_mnist.CGAN(settings, x_train, y_train, jit_compile=settings.jit_compile)


def build_stage(settings):
    """Build Stage I or II of `stackgan_mnist.py` on 10,000 training images.

    The sentences have random embeddings, since no time depends on what they say.
    """
    (x_train, y_train), _ = load_data()
    settings.train_size = 10_000
    data = prepare_data(x_train[:settings.train_size], y_train[:settings.train_size])
    embeddings = tf.Variable(tf.random.stateless_normal((len(sentence_table(0)), SENTENCE_DIM), (0, 0)),
                             trainable=False)
    inputs = settings, data, embeddings, build_picture_encoder(), build_digit_classifier()
    if settings.stage == 1:
        return stackgan_mnist.Stage1(*inputs, jit_compile=settings.jit_compile)
    return stackgan_mnist.Stage2(*inputs, stackgan_mnist.build_stage1_generator(), jit_compile=settings.jit_compile)


def train(built, settings):
    """Return a function of the batch number that calls the step of a CGAN or a stage and waits for its losses."""
    tf.config.experimental.enable_op_determinism()  # as the scripts do
    tf.config.run_functions_eagerly(settings.eager)
    indices = tf.range(settings.batch_size)
    return lambda step: built.train_step(indices, tf.constant(step)).numpy()


def cgan(settings):
    """Return a function of the batch number: the step of `cgan_mnist.py`."""
    return train(build_cgan(settings), settings)


def stage(settings):
    """Return a function of the batch number: the step of Stage I or II of `stackgan_mnist.py`."""
    return train(build_stage(settings), settings)
