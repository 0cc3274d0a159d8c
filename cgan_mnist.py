"""Conditional GAN on MNIST: train a Dense generator and discriminator, then draw any digit on demand.

    python cgan_mnist.py                                  train for 20 epochs
    python cgan_mnist.py --generate 31415 --samples 4     draw digits with the trained generator

The script reads from top to bottom in the order in which things happen: networks, updates, training, pictures,
command line. What is not about GANs (data, files, checkpoints, curves) is in `mnist_gan/`.

Goodfellow et al. 2014, Generative Adversarial Nets, https://arxiv.org/abs/1406.2661
Mirza & Osindero 2014, Conditional Generative Adversarial Nets, https://arxiv.org/abs/1411.1784
"""

import os
import sys
from pathlib import Path

# Before Keras, because the package starts TensorFlow without its messages.
from mnist_gan.data.mnist import DIGITS, PIXELS, SIDE, load_training_images, scale_images
from mnist_gan.drawing.curves import best_answer, draw_discriminator_output, draw_losses, draw_quality
from mnist_gan.drawing.diagrams import draw_network
from mnist_gan.drawing.pictures import draw_grid, save_figure
from mnist_gan.errors import InputError
from mnist_gan.files import open_folder
from mnist_gan.metrics import quality
from mnist_gan.networks import load_network, save_network
from mnist_gan.running import command_line as cli, distribution
from mnist_gan.running.ema import update_batch_norm, update_ema
from mnist_gan.running.run import open_run

import keras
import numpy as np
import tensorflow as tf
from keras import layers, ops

# ------------------------------------------------------------------------------------------- networks


def build_generator(latent_dim=100, embedding_range=0.05, dark_start=0.0, box_filter=0):
    """Build the generator: noise (n, latent_dim), standard normal, and label (n,), integers 0..9,
    to images (n, 28, 28, 1) in [-1, 1].

    The label's embedding, which starts uniform within ± `embedding_range`, is multiplied into the noise. The biases of
    the pixels start at minus `dark_start`. A box filter of 3 × 3 pixels is applied `box_filter` times before the tanh.
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
    # Real images are mostly black; a discriminator that finds gray ones at first sight teaches nothing about digits.
    x = layers.Dense(PIXELS, bias_initializer=keras.initializers.Constant(-dark_start))(x)
    x = layers.Reshape((SIDE, SIDE, 1))(x)
    # A box filter of 3 × 3 pixels, along columns and then along rows, which is faster than at once. No single pixel can
    # stand out as a speck, and the tanh makes the strokes sharp again.
    for _ in range(box_filter):
        x = layers.AveragePooling2D((3, 1), strides=1, padding="same")(x)
        x = layers.AveragePooling2D((1, 3), strides=1, padding="same")(x)
    return keras.Model([noise, label], layers.Activation("tanh", name="image")(x), name="generator")


def build_discriminator(dropout=0.4, first_units=512, embedding_mean=0.0, gray_stretch=0):
    """Build the discriminator: image (n, 28, 28, 1) in [-1, 1] and label (n,), integers 0..9,
    to the logit (n, 1) of the probability that the image is real, given the label.

    The label's embedding, which starts uniform within 0.05 of `embedding_mean`, is multiplied into the flattened image,
    whose grays near black and white are pulled apart by `gray_stretch` before.
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
    # Keras's start is centred on 0, so half of the pixels would change their sign, which hides the strokes.
    start = keras.initializers.RandomUniform(embedding_mean - 0.05, embedding_mean + 0.05)
    embedding = layers.Embedding(DIGITS, PIXELS, embeddings_initializer=start, name="label_embedding")(label)
    x = layers.Multiply(name="pixels_times_label")([pixels, embedding])
    x = layers.Dense(first_units)(x)
    x = layers.LeakyReLU(negative_slope=0.2)(x)
    for _ in range(2):
        x = layers.Dense(512)(x)
        x = layers.LeakyReLU(negative_slope=0.2)(x)
        x = layers.Dropout(dropout)(x)
    return keras.Model([image, label], layers.Dense(1, name="logit")(x), name="discriminator")


def build_networks(settings):
    """Return a new generator, another one for the EMA of its weights, and a discriminator."""
    return (*(build_generator(settings.latent_dim, settings.embedding_range, settings.dark_start, settings.box_filter)
              for _ in range(2)),
            build_discriminator(settings.dropout, settings.discriminator_units, settings.discriminator_embedding_mean,
                                settings.gray_stretch))


# -------------------------------------------------------------------------------------------- updates

HISTORY_COLUMNS = ("d_loss_real", "d_loss_fake", "d_loss", "g_loss", "d_probability_real", "d_probability_fake")


def cross_entropy(target, logits):
    """Return the mean binary cross-entropy in nats between `target`, in [0, 1], and `logits` (n, 1)."""
    return tf.reduce_mean(keras.losses.binary_crossentropy(tf.fill(logits.shape, target), logits, from_logits=True))


def halves_apart(batch):
    """Return the mean absolute differences (n // 2,) between the first and the second half of `batch` (n, ...)."""
    half = batch.shape[0] // 2
    return tf.reduce_mean(tf.reshape(tf.abs(batch[:half] - batch[-half:]), (half, -1)), axis=1)


def mode_seeking(noise, images):
    """Return the mean ratio of the distances of `noise` (n, k) and of `images` (n, 28, 28, 1) between both halves.

    The second half shows the digits of the first. Other noise should give another image of a digit (Mao et al. 2019,
    Mode Seeking GANs, https://arxiv.org/abs/1903.05628): another shape, not bolder strokes, so images are compared with
    equal ink. Both 1e-3 are for images without ink or without difference.
    """
    ink = images + 1.0
    ink /= tf.sqrt(tf.reduce_mean(ink**2, axis=(1, 2, 3), keepdims=True) + 1e-3)
    return tf.reduce_mean(halves_apart(noise) / (halves_apart(ink) + 1e-3))


class CGAN:
    """Both networks, their optimizers and the updates that train them in alternation.

    `settings` comes from `parse_arguments`; `x_train` is uint8 (n, 28, 28), `y_train` int32 (n,). `networks` is a
    function like `build_networks`. `jit_compile` compiles the step with XLA, which fuses all but the matrix products.

    `ema_generator` has the exponential moving average of the weights of `generator`. An update applies the gradients of
    one network's own variables: the other one is frozen. The `trainable` flag of older scripts would not do: on Keras 3
    `compile` keeps no snapshot of it, and the discriminator would stay untrained.
    """

    def __init__(self, settings, x_train, y_train, networks=build_networks, jit_compile=True):
        keras.utils.set_random_seed(settings.seed)  # the initial weights and the dropout masks
        self.settings = settings
        self.generator, self.ema_generator, self.discriminator = networks(settings)
        self.ema_generator.set_weights(self.generator.get_weights())
        # Large steps at first, or the discriminator, which learns faster, leaves the generator behind.
        rate = keras.optimizers.schedules.PolynomialDecay(
            settings.first_generator_learning_rate, 1000, settings.generator_learning_rate)
        self.generator_optimizer = keras.optimizers.Adam(rate, beta_1=0.5)
        self.discriminator_optimizer = keras.optimizers.Adam(settings.discriminator_learning_rate, beta_1=0.5)
        self.generator_optimizer.build(self.generator.trainable_variables)
        self.discriminator_optimizer.build(self.discriminator.trainable_variables)
        self.x_train, self.y_train = tf.constant(x_train), tf.constant(y_train)
        distribution.synchronize(self.generator)
        self.random_normal = distribution.normal_numbers(jit_compile)
        self.train_step = distribution.compile_step(self.train_step, jit_compile)

    @property
    def variables(self):
        """All that a checkpoint needs to continue bit for bit, random states included: a list."""
        return [variable for part in (self.generator, self.ema_generator, self.discriminator, self.generator_optimizer,
                                      self.discriminator_optimizer) for variable in part.variables]

    def sample(self, step, stream):
        """Draw noise (n, latent_dim) and labels (n,) that depend on the seed, the batch number and the stream alone."""
        shape, seed = (self.settings.batch_size, self.settings.latent_dim), 5 * step + stream
        noise = self.random_normal(shape, (self.settings.seed, seed))
        labels = tf.random.stateless_uniform(shape[:1], (self.settings.seed, seed + 1), maxval=DIGITS, dtype=tf.int32)
        return distribution.share_pairs(noise), distribution.share_pairs(labels)

    def wrong_labels(self, labels, step):
        """Return for each of `labels` (n // 2,) one of the nine other digits."""
        shift = tf.random.stateless_uniform((self.settings.batch_size // 2,), (self.settings.seed, 5 * step + 4),
                                            minval=1, maxval=DIGITS, dtype=tf.int32)
        return (labels + distribution.share(shift)) % DIGITS

    def real_batch(self, indices):
        """Return the training images (n, 28, 28, 1) in [-1, 1] and labels (n,) at `indices`, int32 (n,)."""
        return scale_images(tf.gather(self.x_train, indices)), tf.gather(self.y_train, indices)

    def update_discriminator(self, images, labels, size, target):
        """Update the discriminator and return its loss and its mean probability on the first `size` images.

        `target` is that of the first `size` images. The others, if any, have a wrong label and the target 0.
        """
        weight = self.settings.wrong_label_weight
        with tf.GradientTape() as tape:
            logits = self.discriminator([images, labels], training=True)
            loss = objective = cross_entropy(target, logits[:size])
            if images.shape[0] > size:
                objective = (1.0 - weight) * loss + weight * cross_entropy(0.0, logits[size:])
        distribution.minimize(objective, tape, self.discriminator.trainable_variables, self.discriminator_optimizer)
        return loss, tf.reduce_mean(tf.sigmoid(logits[:size]))

    def train_on_real(self, indices):
        """Update the discriminator on the training images at `indices`; return its loss and mean probability."""
        # One-sided label smoothing (Salimans et al. 2016, section 3.4): only the target for real images moves.
        target = 1.0 - self.settings.label_smoothing
        return self.update_discriminator(*self.real_batch(indices), indices.shape[0], target)

    def train_on_generated(self, indices, step):
        """Update the discriminator on generated images and, with `wrong_label_weight`, on half of the real ones.

        These, at `indices`, get a wrong label and are to be rejected, too, so that the discriminator has to compare
        image and label (Reed et al. 2016, Generative Adversarial Text to Image Synthesis, section 4.2). Returns its
        loss and mean probability on the generated images.
        """
        noise, labels = self.sample(step, 0)
        # Not in training mode, which would move the generator's BatchNormalization statistics.
        images, size = self.generator([noise, labels], training=False), labels.shape[0]
        if self.settings.wrong_label_weight:
            real_images, right_labels = self.real_batch(indices[:size // 2])
            images = tf.concat([images, real_images], 0)
            labels = tf.concat([labels, self.wrong_labels(right_labels, step)], 0)
        return self.update_discriminator(images, labels, size, 0.0)

    def train_generator(self, step):
        """Update the generator through the frozen discriminator, and its EMA; return the cross-entropy alone."""
        settings = self.settings
        noise, labels = self.sample(step, 2)
        half = labels.shape[0] // 2
        if settings.mode_seeking_weight:
            labels = tf.concat([labels[:-half], labels[:half]], 0)  # the two halves draw the same digits
        with tf.GradientTape() as tape:
            images = self.generator([noise, labels], training=True)
            loss = objective = cross_entropy(1.0, self.discriminator([images, labels], training=True))
            if settings.mode_seeking_weight:
                objective += settings.mode_seeking_weight * mode_seeking(noise, images)
        distribution.minimize(objective, tape, self.generator.trainable_variables, self.generator_optimizer)
        update_ema(self.ema_generator, self.generator, settings.ema_decay, step)
        return loss

    def train_step(self, indices, step):
        """Take the three updates of one batch, `indices` int32 (batch_size,); return float32 (6,), HISTORY_COLUMNS."""
        indices = distribution.share_pairs(indices)
        loss_real, probability_real = self.train_on_real(indices)
        loss_fake, probability_fake = self.train_on_generated(indices, step)
        g_loss = self.train_generator(step)
        return tf.stack([loss_real, loss_fake, (loss_real + loss_fake) / 2, g_loss, probability_real, probability_fake])

    def finish_ema_generator(self):
        """Measure the BatchNormalization statistics of the EMA generator; without an EMA, make it the generator."""
        if self.settings.ema_decay:
            recalibrate(self.ema_generator, self.settings.seed)
        else:
            self.ema_generator.set_weights(self.generator.get_weights())


def recalibrate(generator, seed):
    """Measure the BatchNormalization statistics of an EMA generator, on noise that `seed` determines."""
    def draw(number):
        noise = tf.random.stateless_normal((250, generator.inputs[0].shape[1]), (seed, -1 - number))
        return [noise, tf.range(250) % DIGITS]
    update_batch_norm(generator, draw)


# ------------------------------------------------------------------------------------------- training


def train(settings):
    """Train as `settings` from `parse_arguments` say and write everything that a run leaves.

    Raises InputError for input that cannot be used, before any training; FloatingPointError when a loss or a weight is
    no longer finite; OSError when a file cannot be written. The last checkpoint stays as it is in each case.
    """
    x_train, y_train = load_training_images(settings.data, settings.train_size, settings.batch_size)
    settings.train_size = len(x_train)
    with open_run(settings, x_train, y_train, HISTORY_COLUMNS) as run:
        gan = CGAN(settings, x_train, y_train)
        run.restore(gan.variables)
        scores = quality.QualityLog(run.outputs, settings.data, run.epoch) if settings.evaluate_every else None
        for epoch in run.epochs():
            for step, indices in run.batches(f"Epoch {epoch + 1}/{settings.epochs}"):
                run.log(gan.train_step(indices, step))
            gan.finish_ema_generator()
            if scores and (epoch + 1) % settings.evaluate_every == 0:
                scores.add(epoch + 1, generate_images(gan.ema_generator, quality.LABELS, settings.seed))
            images = generate_images(gan.ema_generator, np.tile(np.arange(DIGITS), 10), settings.seed)
            run.finish_epoch(gan.variables, draw_grid(images, range(DIGITS), f"Epoch {epoch + 1}"))
        if distribution.is_chief():
            write_results(run, gan, scores)


def write_results(run, gan, scores):
    """Write and announce what a finished training leaves beside its grids, history and checkpoint."""
    settings, outputs, plots = run.settings, run.outputs, run.plots
    save_network(outputs / "generator.keras", gan.ema_generator)
    save_figure(plots / "loss_curves.png", draw_losses(settings.epochs, *run.history[:, 2:4].T))
    save_figure(plots / "discriminator_output.png", draw_discriminator_output(
        settings.epochs, *run.history[:, 4:].T, best_answer(settings.label_smoothing, settings.wrong_label_weight)))
    if scores:
        save_figure(plots / "quality.png", draw_quality(settings.epochs, *run.history[:, 2:4].T, *scores.rows.T))
    elif not settings.resume:  # those of the run that this one replaces
        for stale in (outputs / "quality.csv", plots / "quality.png"):
            stale.unlink(missing_ok=True)
    save_figure(plots / "generator.png", draw_network(gan.generator))
    save_figure(plots / "discriminator.png", draw_network(gan.discriminator))
    run.finish("cgan.gif")
    print(f"""
Trained {settings.epochs} epochs in {cli.readable_time(run.seconds)}. What the run left:
  {outputs / "cgan.gif"}, epoch_001.png ... epoch_{settings.epochs:03d}.png: the digits, epoch by epoch
  {plots}: loss_curves.png, discriminator_output.png (the training in curves), generator.png, discriminator.png
  {outputs / "history.csv"}, settings.json: the numbers behind the curves, and the settings
  {outputs / "generator.keras"}, checkpoint.npz: the trained generator, for --generate, and all that --resume needs""")
    if scores:
        print(f"  {outputs / 'quality.csv'}, {plots / 'quality.png'}: FID and label accuracy, epoch by epoch")


# ------------------------------------------------------------------------------------------- pictures


def generate_images(generator, labels, seed):
    """Return images (n, 28, 28, 1) in [-1, 1] of `labels`, (n,) in 0..9, from noise that `seed` determines."""
    noise = np.random.default_rng(seed).standard_normal((len(labels), generator.inputs[0].shape[1]), np.float32)
    return generator([noise, np.asarray(labels, np.int32)], training=False).numpy()


# --------------------------------------------------------------------------------------- command line


def load_generator(path):
    """Load the generator that training wrote to `path`; raise InputError if there is none or it is unusable."""
    remedy = "train first with 'python cgan_mnist.py'"
    if not os.path.isfile(path):
        raise InputError(f"there is no generator {Path(path).absolute()}; {remedy}"
                         + cli.offer("--generator", Path(__file__).parent / "outputs" / "generator.keras"))
    return load_network(path, lambda network: (
        [len(given.shape) for given in network.inputs] == [2, 1] and network.output_shape == (None, SIDE, SIDE, 1)
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


OPTIONS = (  # of a training: name, type, default, help
    ("--epochs", cli.whole_number(1, 999), 20, "passes over the training images"),
    ("--batch-size", cli.whole_number(2, 10**6), 64, "images per update; larger is faster, but updates less often"),
    ("--latent-dim", cli.whole_number(1, 10**4), 100, "length of the noise from which a digit is generated"),
    ("--generator-learning-rate", cli.positive_number, 5e-4, "step size of Adam for the generator after 1000 batches"),
    ("--first-generator-learning-rate", cli.positive_number, 2e-3, "the same in the first batch; it changes evenly"),
    ("--discriminator-learning-rate", cli.positive_number, 1e-3, "step size of Adam for the discriminator"),
    ("--dropout", cli.fraction_below(1), 0.0, "share of its activations that the discriminator drops in training"),
    ("--discriminator-units", cli.whole_number(1, 10**4), 1024, "units of the discriminator's first Dense layer"),
    ("--discriminator-embedding-mean", cli.fraction_below(100), 0.2,
     "the discriminator's label embedding starts uniform within 0.05 of this (Keras: 0)"),
    ("--gray-stretch", cli.fraction_below(100), 1.0, "how far D pulls grays near black and white apart; 0 for none"),
    ("--label-smoothing", cli.fraction_below(0.5), 0.1, "how far below 1 D's target for real images is (one-sided)"),
    ("--wrong-label-weight", cli.fraction_below(1), 0.1,
     "share of wrongly labelled real images in what the discriminator learns to reject"),
    ("--mode-seeking-weight", cli.fraction_below(100), 0.4,
     "weight of the mode-seeking term, which makes different noise draw different images; 0 for none"),
    ("--embedding-range", cli.positive_number, 1.0, "the generator's embedding starts within ± this (Keras: 0.05)"),
    ("--dark-start", cli.fraction_below(10), 1.0,
     "the biases of the generator's pixels start at minus this, so that its first images are dark (Keras: 0)"),
    ("--box-filter", cli.whole_number(0, 9), 1, "how often the generator averages every pixel with its neighbours"),
    ("--ema-decay", cli.fraction_below(1), 0.9998,
     "decay per batch of the moving average of the generator's weights that files show; 0 for none"),
)

# What `--recipe coursework` changes: what the coursework leaves open, as most scripts that people copy have it.
COURSEWORK = {
    "--batch-size": 128, "--generator-learning-rate": 2e-4, "--first-generator-learning-rate": 2e-4,
    "--discriminator-learning-rate": 2e-4, "--dropout": 0.4, "--discriminator-units": 512,
    "--discriminator-embedding-mean": 0.0, "--gray-stretch": 0.0, "--wrong-label-weight": 0.0,
    "--mode-seeking-weight": 0.0, "--embedding-range": 0.05, "--dark-start": 0.0, "--box-filter": 0, "--ema-decay": 0.0}


def parse_arguments(arguments=None):
    """Parse the command line (a list of strings; None means that of the process) into a namespace."""
    parser = cli.Parser(__file__, "Train a conditional GAN on MNIST, or draw digits with a trained one.")
    parser.add_renamed(averaging_decay="--ema-decay", smoothing="--box-filter")
    training = parser.add_argument_group("training")
    for option, kind, default, text in OPTIONS:
        training.add_argument(option, type=kind, default=default, help=text)
    training.add_argument("--recipe", choices=("default", "coursework"), default="default", help=(
        "coursework: what the coursework asks for and nothing else, with what scripts like this usually have: "
        + " ".join(f"{option} {value:g}" for option, value in COURSEWORK.items()) + "; options beside it prevail"))
    training.add_argument("--evaluate-every", type=cli.whole_number(0, 999), default=0, metavar="N", help=(
        "after every N epochs, measure FID and label accuracy as evaluate.py does, for quality.csv and a curve"))
    cli.add_repetition_options(training)
    cli.add_file_options(parser, "outputs", "plots")
    mode = parser.add_argument_group("other than training from the start").add_mutually_exclusive_group()
    mode.add_argument("--resume", action="store_true",
                      help="continue after the last finished epoch of the run in the output folder")
    mode.add_argument("--generate", type=cli.digit_string, metavar="DIGITS",
                      help="draw these digits in this order without training; of its options only --seed matters")
    drawing = parser.add_argument_group("with --generate")
    drawing.add_argument("--samples", type=cli.whole_number(1, 100), metavar="N",
                         help="rows, each from new noise; 1 if not given")
    drawing.add_argument("--generator", type=cli.path_name, metavar="FILE",
                         help="trained generator; if not given, that in OUTPUT_DIR")
    if parser.parse_known_args(arguments)[0].recipe == "coursework":
        parser.set_defaults(**{option[2:].replace("-", "_"): value for option, value in COURSEWORK.items()})
    settings = parser.parse_args(arguments)
    if not settings.generate and (settings.generator or settings.samples):
        parser.error("--samples and --generator need --generate DIGITS; without it the script would train")
    settings.samples = settings.samples or 1
    return settings


def main(argv=None):
    """Run the command line, `argv` or that of the process, and return the exit status."""
    settings = parse_arguments(argv)
    if settings.generate:
        return cli.run(__file__, lambda: generate(settings))
    return cli.run_training(__file__, train, settings, argv)


if __name__ == "__main__":
    sys.exit(main())
