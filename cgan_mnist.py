"""Conditional GAN on MNIST: train a Dense generator and discriminator, then draw any digit on demand.

    python cgan_mnist.py                                  train for 20 epochs
    python cgan_mnist.py --generate 31415 --samples 4     draw digits with the trained generator

The script reads from top to bottom in the order in which things happen: networks, updates, training, pictures,
command line. What is not about GANs (data, files, checkpoints, curves) is in `mnist_gan/`.

Goodfellow et al. 2014, Generative Adversarial Nets, https://arxiv.org/abs/1406.2661
Mirza & Osindero 2014, Conditional Generative Adversarial Nets, https://arxiv.org/abs/1411.1784
"""

import argparse
import math
import os
import sys
import time
from pathlib import Path
from types import SimpleNamespace

# Before Keras, because the package starts TensorFlow without its messages.
from mnist_gan.running.ema import update_batch_norm, update_ema
from mnist_gan.running.checkpoints import finite_values, load_checkpoint, require_checkpoint, restore, save_checkpoint
from mnist_gan.running.command_line import (add_file_options, add_repetition_options, digit_string, fraction_below,
                                    one_line_errors, path_name, positive_number, readable_time, run, run_training,
                                    whole_number)
from mnist_gan.drawing.diagrams import draw_network
from mnist_gan.running.distribution import (compile_step, is_chief, normal_numbers, own_pairs, own_part, replicas,
                                    require_agreement, synchronize)
from mnist_gan.errors import InputError
from mnist_gan.files import locked_folders, open_folder
from mnist_gan.drawing.curves import draw_curves, draw_losses, write_history
from mnist_gan.data.mnist import DIGITS, PIXELS, SIDE, load_training_images, scale_images
from mnist_gan.networks import load_network, save_network
from mnist_gan.drawing.pictures import draw_grid, grid_path, read_grids, remove_later_grids, save_figure, write_gif
from mnist_gan.running.settings import print_settings, record_settings, write_settings

import keras
import numpy as np
import tensorflow as tf
from keras import layers, ops

# ------------------------------------------------------------------------------------------- networks


def build_generator(latent_dim=100, embedding_range=0.05, box_filter=0):
    """Build the generator: noise (n, latent_dim), standard normal, and label (n,), integers 0..9,
    to images (n, 28, 28, 1) in [-1, 1].

    The label's embedding, which starts uniform within ± `embedding_range`, is multiplied into the noise. `box_filter`
    times, every pixel becomes the mean of itself and its neighbours before the tanh. The defaults are usual values.
    """
    noise = keras.Input((latent_dim,), name="noise")
    label = keras.Input((), dtype="int32", name="label")
    start = keras.initializers.RandomUniform(-embedding_range, embedding_range)
    embedding = layers.Embedding(DIGITS, latent_dim, embeddings_initializer=start, name="label_embedding")(label)
    x = layers.Multiply(name="noise_times_label")([noise, embedding])
    for units in (256, 512, 1024):
        x = layers.Dense(units)(x)
        x = layers.LeakyReLU(negative_slope=0.2)(x)
        x = layers.BatchNormalization(momentum=0.8)(x)
    x = layers.Dense(PIXELS)(x)
    x = layers.Reshape((SIDE, SIDE, 1))(x)
    # Neighbours share what they are made of, so that single pixels do not stand out as specks; the tanh sharpens again.
    # Along columns, then along rows: the mean of 3 × 3 pixels, faster than at once.
    for _ in range(box_filter):
        x = layers.AveragePooling2D((3, 1), strides=1, padding="same")(x)
        x = layers.AveragePooling2D((1, 3), strides=1, padding="same")(x)
    image = layers.Activation("tanh", name="image")(x)
    return keras.Model([noise, label], image, name="generator")


def build_discriminator(dropout=0.4, first_units=512, embedding_mean=0.0, gray_stretch=0):
    """Build the discriminator: image (n, 28, 28, 1) in [-1, 1] and label (n,), integers 0..9,
    to the probability (n, 1) that the image is real, given the label.

    The label's embedding, which starts uniform within 0.05 of `embedding_mean`, is multiplied into the flattened image;
    the first of the three Dense layers has `first_units`. `gray_stretch` is how far grays near black and white are
    pulled apart before. The defaults are those of the scripts that people copy.
    """
    def stretch_grays(pixels):
        # With 1, what the generator's tanh u drew is seen as tanh(u / 2), but for the 0.002, which limits the slope.
        return pixels / (1.0 + gray_stretch * ops.sqrt(1.002 - pixels**2))

    image = keras.Input((SIDE, SIDE, 1), name="image")
    label = keras.Input((), dtype="int32", name="label")
    pixels = layers.Flatten(name="pixels")(image)
    if gray_stretch:
        # Real digits are black and white but for their edges. Grays of 5 or 250 where real pixels have 0 or 255 are
        # next to nothing in a sum of 784 pixels; a discriminator that misses them leaves smudges and dull strokes.
        pixels = layers.Activation(stretch_grays, name="stretched_pixels")(pixels)
    # Around 0, Keras's start, it flips the signs of half of the pixels, in each label others, and hides the strokes.
    start = keras.initializers.RandomUniform(embedding_mean - 0.05, embedding_mean + 0.05)
    embedding = layers.Embedding(DIGITS, PIXELS, embeddings_initializer=start, name="label_embedding")(label)
    x = layers.Multiply(name="pixels_times_label")([pixels, embedding])
    x = layers.Dense(first_units)(x)
    x = layers.LeakyReLU(negative_slope=0.2)(x)
    for _ in range(2):
        x = layers.Dense(512)(x)
        x = layers.LeakyReLU(negative_slope=0.2)(x)
        x = layers.Dropout(dropout)(x)
    probability = layers.Dense(1, activation="sigmoid", name="probability")(x)
    return keras.Model([image, label], probability, name="discriminator")


# -------------------------------------------------------------------------------------------- updates

HISTORY_COLUMNS = ("d_loss_real", "d_loss_fake", "d_loss", "g_loss", "d_probability_real", "d_probability_fake")


def build_networks(settings):
    """Return a new generator, another of its kind for the average of its weights, and a discriminator."""
    return (*(build_generator(settings.latent_dim, settings.embedding_range, settings.box_filter) for _ in range(2)),
            build_discriminator(settings.dropout, settings.discriminator_units, settings.discriminator_embedding_mean,
                                settings.gray_stretch))


def build_training(settings, x_train, y_train, jit_compile=True, networks=build_networks):
    """Build both networks, their optimizers and the compiled training step.

    `settings` comes from `parse_arguments`; `x_train` is uint8 (n, 28, 28), `y_train` int32 (n,).
    `jit_compile` compiles the step with XLA, which fuses whatever is not a matrix product.
    `networks` is a function like `build_networks`, for networks other than those of this script.

    Returns a namespace with

    - `generator`, `ema_generator`, `discriminator`: the networks;
    - `generator_optimizer`, `discriminator_optimizer`: their optimizers;
    - `variables`: all that must be kept to continue bit for bit, random states included;
    - `train_on_real(rows)`: update the discriminator on the training images `rows`, int32 (batch_size,);
    - `train_on_generated(rows, step)`: update it on images generated for batch number `step` and, unless their weight
      is 0, on half of the training images `rows` with wrong labels;
    - `train_generator(step)`: update the generator through the frozen discriminator, and its average; the loss that it
      returns is the cross-entropy, without the terms of mode seeking and total variation;
    - `train_batch(rows, step)`: these three in this order, compiled; returns float32 (6,), HISTORY_COLUMNS.

    Frozen means that only the gradients of a network's own variables are applied. The `trainable` flag of older
    scripts would not do: on Keras 3 `compile` keeps no snapshot of it, and the discriminator would stay untrained.
    """
    keras.utils.set_random_seed(settings.seed)  # the initial weights and the dropout masks
    generator, ema_generator, discriminator = networks(settings)
    ema_generator.set_weights(generator.get_weights())
    generator_optimizer = keras.optimizers.Adam(settings.generator_learning_rate, beta_1=0.5)
    discriminator_optimizer = keras.optimizers.Adam(settings.discriminator_learning_rate, beta_1=0.5)
    generator_optimizer.build(generator.trainable_variables)
    discriminator_optimizer.build(discriminator.trainable_variables)
    x_train, y_train = tf.constant(x_train), tf.constant(y_train)
    synchronize(generator)
    batch_size, size = settings.batch_size, settings.batch_size // replicas()  # of all devices and of this one

    def draw(step, stream):
        """Draw noise and labels that depend on nothing but the seed, the batch number and the stream."""
        noise = normal_numbers(jit_compile)((batch_size, settings.latent_dim), (settings.seed, 5 * step + stream))
        labels = tf.random.stateless_uniform((batch_size,), (settings.seed, 5 * step + stream + 1),
                                             maxval=DIGITS, dtype=tf.int32)
        return own_pairs(noise), own_pairs(labels)

    def real_images(rows):
        return scale_images(tf.gather(x_train, rows)), tf.gather(y_train, rows)

    def train_discriminator(images, labels, target, wrong_label_weight=0.0):
        """Update the discriminator; whatever follows the first `size` rows has a wrong label."""
        targets = tf.concat([tf.fill((size, 1), target), tf.zeros((images.shape[0] - size, 1))], 0)
        with tf.GradientTape() as tape:
            # Whole, not in slices, whose logits Keras does not know: probabilities within 1e-7 of 0 or 1 would have no
            # gradient, and a discriminator that is as sure of what is wrong would never learn again.
            probability = discriminator([images, labels], training=True)
            losses = keras.losses.binary_crossentropy(targets, probability)
            loss = objective = tf.reduce_mean(losses[:size])
            if wrong_label_weight:
                rejection = tf.reduce_mean(losses[size:])
                objective = (1.0 - wrong_label_weight) * loss + wrong_label_weight * rejection
            objective /= replicas()  # because the optimizers add up the gradients of all devices
        variables = discriminator.trainable_variables
        discriminator_optimizer.apply(tape.gradient(objective, variables), variables)
        return loss, tf.reduce_mean(probability[:size])

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
            other_images, right_labels = real_images(rows[:size // 2])
            shift = tf.random.stateless_uniform((batch_size // 2,), (settings.seed, 5 * step + 4),
                                                minval=1, maxval=DIGITS, dtype=tf.int32)
            images = tf.concat([images, other_images], 0)
            labels = tf.concat([labels, (right_labels + own_part(shift)) % DIGITS], 0)
        return train_discriminator(images, labels, 0.0, settings.wrong_label_weight)

    def train_generator(step):
        noise, labels = draw(step, 2)
        half = size // 2
        if settings.mode_seeking_weight:
            labels = tf.concat([labels[:-half], labels[:half]], 0)  # the two halves draw the same digits

        def distances(batch):
            return tf.reduce_mean(tf.reshape(tf.abs(batch[:half] - batch[-half:]), (half, -1)), axis=1)

        variables = generator.trainable_variables
        with tf.GradientTape() as tape:
            images = generator([noise, labels], training=True)
            probability = discriminator([images, labels], training=True)
            loss = objective = tf.reduce_mean(keras.losses.binary_crossentropy(tf.ones((size, 1)), probability))
            if settings.mode_seeking_weight:
                # Other noise should give another image of the digit (Mao et al. 2019, Mode Seeking GANs for Diverse
                # Image Synthesis, https://arxiv.org/abs/1903.05628): another shape, not bolder strokes, so that images
                # are compared with equal ink. Both 1e-3 are for images that have no ink or do not differ.
                ink = images + 1.0
                ink /= tf.sqrt(tf.reduce_mean(ink**2, axis=(1, 2, 3), keepdims=True) + 1e-3)
                sameness = distances(noise) / (distances(ink) + 1e-3)
                objective += settings.mode_seeking_weight * tf.reduce_mean(sameness)
            # A speck, which the discriminator hardly sees, has more outline than a stroke of as much ink (Rudin et al.
            # 1992, Nonlinear Total Variation Based Noise Removal Algorithms). From the start, it costs variety.
            settling = tf.cast(step >= settings.settle_after * math.ceil(x_train.shape[0] / batch_size), tf.float32)
            variation = settling * tf.reduce_mean(tf.image.total_variation(images)) / PIXELS
            objective = (objective + settings.total_variation_weight * variation) / replicas()
        generator_optimizer.apply(tape.gradient(objective, variables), variables)
        update_ema(ema_generator, generator, settings.ema_decay, step)
        return loss

    def train_batch(rows, step):
        rows = own_pairs(rows)
        loss_real, probability_real = train_on_real(rows)
        loss_fake, probability_fake = train_on_generated(rows, step)
        g_loss = train_generator(step)
        return tf.stack([loss_real, loss_fake, (loss_real + loss_fake) / 2, g_loss, probability_real, probability_fake])

    return SimpleNamespace(
        generator=generator, ema_generator=ema_generator, discriminator=discriminator,
        generator_optimizer=generator_optimizer, discriminator_optimizer=discriminator_optimizer,
        variables=[variable for part in (generator, ema_generator, discriminator, generator_optimizer,
                                         discriminator_optimizer) for variable in part.variables],
        train_on_real=train_on_real, train_on_generated=train_on_generated, train_generator=train_generator,
        train_batch=compile_step(train_batch, jit_compile))


# ------------------------------------------------------------------------------------------- training

# What a checkpoint must share with the run that continues it; everything else may differ.
RESUMED_SETTINGS = ("batch_size", "latent_dim", "generator_learning_rate", "discriminator_learning_rate", "dropout",
                    "discriminator_units", "discriminator_embedding_mean", "gray_stretch", "label_smoothing",
                    "wrong_label_weight", "mode_seeking_weight", "total_variation_weight", "settle_after",
                    "embedding_range", "box_filter", "ema_decay", "seed", "train_size", "data_crc32")


def recalibrate(generator, seed):
    """Measure the BatchNormalization statistics of an averaged generator, on noise that `seed` determines."""
    def draw(number):
        noise = tf.random.stateless_normal((250, generator.inputs[0].shape[1]), (seed, -1 - number))
        return [noise, tf.range(250) % DIGITS]
    update_batch_norm(generator, draw)


def train_epoch(training, settings, epoch):
    """Train for one full shuffled pass over the training images; `epoch` counts from 0.

    Returns its history, float32 (batches, 6); raises FloatingPointError as soon as a loss is not finite.
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


def train_epochs(settings, record, x_train, y_train, outputs):
    """Train up to epoch `settings.epochs`, from the start or the checkpoint, and save every epoch in `outputs`.

    Returns the training, the history, float32 (batches, 6), and the seconds that it took; raises as `train` does.
    """
    checkpoint = outputs / "checkpoint.npz"
    epoch, seconds, history = 0, 0.0, np.empty((0, len(HISTORY_COLUMNS)), np.float32)
    if settings.resume:
        epoch, seconds, history, values = load_checkpoint(checkpoint, record, RESUMED_SETTINGS, HISTORY_COLUMNS)
        read_grids(outputs, epoch)  # so that a missing frame of the GIF is refused now, not after the training
    print_settings(record)
    training = build_training(settings, x_train, y_train)
    if settings.resume:
        restore(training.variables, values, checkpoint)
        print(f"Continuing after epoch {epoch} of {settings.epochs}.")

    while epoch < settings.epochs:
        started = time.perf_counter()
        if sys.stdout.isatty():
            print(f"Epoch {epoch + 1}/{settings.epochs}")
        # Lower and lower rates at the end: the two networks stop chasing each other, and the average settles.
        share = 0.5**max(0, epoch + 1 - settings.settle_after)
        training.generator_optimizer.learning_rate = share * settings.generator_learning_rate
        training.discriminator_optimizer.learning_rate = share * settings.discriminator_learning_rate
        rows = train_epoch(training, settings, epoch)
        recalibrate(training.ema_generator, settings.seed)
        values = finite_values(training.variables, epoch + 1)
        epoch, history = epoch + 1, np.concatenate([history, rows])
        seconds += time.perf_counter() - started
        if is_chief():
            images = generate_images(training.ema_generator, np.tile(np.arange(DIGITS), 10), settings.seed)
            save_figure(grid_path(outputs, epoch), draw_grid(images, range(DIGITS), f"Epoch {epoch}"))
            write_history(outputs / "history.csv", HISTORY_COLUMNS, history, epoch)
            # Last, so that whatever a checkpoint counts as finished is already on the disk.
            save_checkpoint(checkpoint, record, epoch, seconds, history, values)
        if not sys.stdout.isatty():
            print(f"Epoch {epoch}/{settings.epochs}: d_loss {rows[:, 2].mean():.4f}, g_loss {rows[:, 3].mean():.4f}, "
                  f"{time.perf_counter() - started:.1f} s, "
                  f"{readable_time(seconds / epoch * (settings.epochs - epoch))} left", flush=True)
    return training, history, seconds


def write_results(settings, record, training, history, seconds, outputs, plots):
    """Write and announce what a finished training leaves beside its grids, history and checkpoint."""
    remove_later_grids(outputs, settings.epochs)
    save_network(outputs / "generator.keras", training.ema_generator)
    save_figure(plots / "loss_curves.png", draw_losses(settings.epochs, history[:, 2], history[:, 3]))
    save_figure(plots / "discriminator_output.png", draw_discriminator_output(
        history, settings.epochs, settings.label_smoothing, settings.wrong_label_weight))
    save_figure(plots / "generator.png", draw_network(training.generator))
    save_figure(plots / "discriminator.png", draw_network(training.discriminator))
    write_gif(outputs / "cgan.gif", read_grids(outputs, settings.epochs))
    write_settings(outputs / "settings.json", record, seconds)
    print(f"""
Trained {settings.epochs} epochs in {readable_time(seconds)}. What the run left:
  {outputs / "cgan.gif"}: the digits forming, epoch by epoch
  {grid_path(outputs, 1)} ... {grid_path(outputs, settings.epochs).name}: the same, one grid per epoch
  {plots / "loss_curves.png"}, {plots / "discriminator_output.png"}: the training in curves
  {plots / "generator.png"}, {plots / "discriminator.png"}: the networks
  {outputs / "history.csv"}, {outputs / "settings.json"}: the numbers behind the curves, and the settings
  {outputs / "generator.keras"}: the trained generator, for --generate
  {outputs / "checkpoint.npz"}: for --resume""")


def train(settings):
    """Train as `settings` from `parse_arguments` say and write everything that a run leaves.

    Raises InputError for input that cannot be used, before any training; FloatingPointError when a loss or a weight is
    no longer finite; OSError when a file cannot be written. The last checkpoint stays as it is in each case.
    """
    x_train, y_train = load_training_images(settings.data, settings.train_size, settings.batch_size)
    settings.train_size = len(x_train)
    record = record_settings(settings, x_train, y_train)
    outputs, plots = Path(settings.output_dir), Path(settings.plots_dir)
    if settings.resume:
        require_checkpoint(outputs / "checkpoint.npz")
    require_agreement(record, settings.resume and outputs / "checkpoint.npz")
    with locked_folders(*(outputs, plots) if is_chief() else ()):
        training, history, seconds = train_epochs(settings, record, x_train, y_train, outputs)
        if is_chief():
            write_results(settings, record, training, history, seconds, outputs, plots)


# ------------------------------------------------------------------------------------------- pictures


def generate_images(generator, labels, seed):
    """Return images (n, 28, 28, 1) in [-1, 1] of `labels`, (n,) in 0..9, from noise that `seed` determines."""
    noise = np.random.default_rng(seed).standard_normal((len(labels), generator.inputs[0].shape[1]), np.float32)
    return generator([noise, np.asarray(labels, np.int32)], training=False).numpy()


def best_answer(label_smoothing, wrong_label_weight):
    """Return the discriminator's best answer d to images that are equally frequent among real and generated ones.

    It makes the sum of the losses -(1 - `label_smoothing`) log d - `label_smoothing` log(1 - d) and
    -(1 - `wrong_label_weight`) log(1 - d) smallest (Goodfellow et al. 2014, proposition 1, where both are 0 and the
    best answer is 1/2).
    """
    return (1 - label_smoothing) / (2 - wrong_label_weight)


def draw_discriminator_output(history, epochs, label_smoothing, wrong_label_weight):
    """Draw the discriminator's mean probability on real and on generated images over `epochs` epochs."""
    undecided = best_answer(label_smoothing, wrong_label_weight)
    figure = draw_curves(
        epochs, {"real images": (history[:, 4], "tab:green"), "generated images": (history[:, 5], "tab:red")},
        "mean probability of being real", "What the discriminator says, in its own updates", undecided,
        f"{undecided:.3g}: the best answer to images that could as well be real as generated")
    figure.axes[0].set_ylim(0, 1)
    return figure


# --------------------------------------------------------------------------------------- command line


def load_generator(path):
    """Load the generator that training wrote to `path`; raise InputError if there is none or it is unusable."""
    remedy = "train first with 'python cgan_mnist.py'"
    if not os.path.isfile(path):
        raise InputError(f"there is no generator {path}; {remedy}")
    return load_network(path, lambda network: (
        len(network.inputs) == 2 and len(network.inputs[0].shape) == 2 and len(network.inputs[1].shape) == 1
        and network.output_shape == (None, SIDE, SIDE, 1)
        and "noise_times_label" in {layer.name for layer in network.layers}
        and network.get_layer("label_embedding").input_dim == DIGITS), remedy)


def generate(settings):
    """Write `generated.png`, `settings.samples` rows of the digits `settings.generate`; raise as `load_generator`."""
    generator = load_generator(settings.generator or Path(settings.output_dir) / "generator.keras")
    digits = [int(digit) for digit in settings.generate]
    images = generate_images(generator, digits * settings.samples, settings.seed)
    path = open_folder(settings.output_dir) / "generated.png"
    save_figure(path, draw_grid(images, digits))
    print(f"{path}: {settings.generate} in {settings.samples} row{'s' * (settings.samples > 1)}")


def parse_arguments(arguments=None):
    """Parse the command line (a list of strings; None means that of the process) into a namespace."""
    parser = one_line_errors(argparse.ArgumentParser(
        description="Train a conditional GAN on MNIST, or draw digits with a trained one.", allow_abbrev=False,
        formatter_class=argparse.ArgumentDefaultsHelpFormatter))
    training = parser.add_argument_group("training")
    training.add_argument("--epochs", type=whole_number(1, 999), default=20, help="passes over the training images")
    training.add_argument("--batch-size", type=whole_number(2, 10**6), default=64,
                          help="images per update; larger is faster per image but updates less often")
    training.add_argument("--latent-dim", type=whole_number(1, 10**4), default=100,
                          help="length of the noise vector from which a digit is generated")
    training.add_argument("--generator-learning-rate", type=positive_number, default=5e-4,
                          help="step size of Adam for the generator")
    training.add_argument("--discriminator-learning-rate", type=positive_number, default=1e-3,
                          help="step size of Adam for the discriminator")
    training.add_argument("--dropout", type=fraction_below(1), default=0.0,
                          help="share of its activations that the discriminator drops while it trains")
    training.add_argument("--discriminator-units", type=whole_number(1, 10**4), default=1024,
                          help="units of the discriminator's first Dense layer; the other two have 512")
    training.add_argument("--discriminator-embedding-mean", type=fraction_below(100), default=0.2, metavar="MEAN",
                          help="the discriminator's label embedding starts uniform within 0.05 of this (Keras: 0)")
    training.add_argument("--gray-stretch", type=fraction_below(100), default=1.0,
                          help="how far the discriminator pulls grays near black and white apart; 0 for not at all")
    training.add_argument("--label-smoothing", type=fraction_below(0.5), default=0.1,
                          help="how far below 1 the discriminator's target for real images is (one-sided)")
    training.add_argument("--wrong-label-weight", type=fraction_below(1), default=0.1,
                          help="share of wrongly labelled real images in what the discriminator learns to reject")
    training.add_argument("--mode-seeking-weight", type=fraction_below(100), default=0.4,
                          help="weight of the term that makes other noise give another image; 0 for none")
    training.add_argument("--total-variation-weight", type=fraction_below(100), default=3.0,
                          help="weight of the differences between neighbouring pixels after --settle-after; 0 for none")
    training.add_argument("--settle-after", type=whole_number(0, 9999), default=16, metavar="EPOCHS",
                          help="epochs after which both learning rates halve with every further epoch")
    training.add_argument("--embedding-range", type=positive_number, default=1.0,
                          help="the generator's label embedding starts uniform within ± this (Keras: 0.05)")
    training.add_argument("--box-filter", type=whole_number(0, 9), default=1,
                          help="how often the generator averages every pixel with its neighbours, against specks")
    training.add_argument("--ema-decay", type=fraction_below(1), default=0.9998,
                          help="decay per batch of the average of the generator's weights that files show; 0 for none")
    add_repetition_options(training)
    add_file_options(parser, "outputs", "plots")
    mode = parser.add_argument_group("other than training from the start").add_mutually_exclusive_group()
    mode.add_argument("--resume", action="store_true",
                      help="continue after the last finished epoch of the run in the output folder")
    mode.add_argument("--generate", type=digit_string, metavar="DIGITS",
                      help="draw these digits in this order, without training, of whose options only --seed counts")
    drawing = parser.add_argument_group("with --generate")
    drawing.add_argument("--samples", type=whole_number(1, 100), default=argparse.SUPPRESS, metavar="N",
                         help="rows, each from new noise (default: 1)")
    drawing.add_argument("--generator", type=path_name, metavar="FILE",
                         help="trained generator; if not given, that in OUTPUT_DIR")
    settings = parser.parse_args(arguments, argparse.Namespace(samples=None))
    if not settings.generate and (settings.generator or settings.samples):
        parser.error("--samples and --generator need --generate DIGITS; without it the script would train")
    settings.samples = settings.samples or 1
    return settings


def main():
    """Run the command line and return the exit status."""
    settings = parse_arguments()
    return run(lambda: generate(settings)) if settings.generate else run_training(train, settings)


if __name__ == "__main__":
    sys.exit(main())
