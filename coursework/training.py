"""How a GAN is trained: its objective, other losses, what the best discriminator costs, and BatchNormalization."""

import json
import math
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from cgan_mnist import best_answer, build_discriminator, build_networks
from coursework.runs import (BATCH_SIZE, FIGURES, RECIPES, draw_variants, cached_training, rewire, short_settings,
                             summarize, train_and_score)
from keras import layers
from matplotlib.figure import Figure
from mnist_gan.running.ema import update_ema
from mnist_gan.data.mnist import DIGITS, scale_images

COMMITTED = Path(__file__).resolve().parent.parent / "outputs"  # the default run of cgan_mnist.py
SMALLEST = keras.config.epsilon()  # 1e-7, where Keras cuts probabilities off before it takes their logarithm


def log(probability):
    """Return the logarithm of probabilities (n, 1), cut off as in Keras's cross-entropy."""
    return tf.math.log(tf.clip_by_value(probability, SMALLEST, 1 - SMALLEST))


def with_losses(generated=None, generator=None):
    """Return a function for `train`'s `change` that gives the vanilla recipe other losses, means over the batch.

    `generated(p)` is what the discriminator minimizes on generated images of which it says p (n, 1), `generator(p)`
    what the generator minimizes; None leaves the script's own update.
    """
    def change(training, settings):
        def draw(step, stream):
            seeds = (settings.seed, 5 * step + stream), (settings.seed, 5 * step + stream + 1)
            return [tf.random.stateless_normal((BATCH_SIZE, settings.latent_dim), seeds[0]),
                    tf.random.stateless_uniform((BATCH_SIZE,), seeds[1], maxval=DIGITS, dtype=tf.int32)]

        def update(network, optimizer, loss, inputs, training_mode):
            with tf.GradientTape() as tape:
                images = training.generator(inputs, training=training_mode)
                probability = training.discriminator([images, inputs[1]], training=True)
                value = tf.reduce_mean(loss(probability))
            optimizer.apply(tape.gradient(value, network.trainable_variables), network.trainable_variables)
            return value, tf.reduce_mean(probability)

        @tf.function(jit_compile=training.jit_compile, autograph=False)
        def train_batch(rows, step):
            loss_real, probability_real = training.train_on_real(rows)
            if generated:
                loss_fake, probability_fake = update(
                    training.discriminator, training.discriminator_optimizer, generated, draw(step, 0), False)
            else:
                loss_fake, probability_fake = training.train_on_generated(rows, step)
            if generator:
                g_loss, _ = update(training.generator, training.generator_optimizer, generator, draw(step, 2), True)
                update_ema(training.ema_generator, training.generator, settings.ema_decay, step)
            else:
                g_loss = training.train_generator(step)
            return tf.stack([loss_real, loss_fake, (loss_real + loss_fake) / 2, g_loss,
                             probability_real, probability_fake])
        training.train_batch = train_batch
    return change


def losses(options, part):
    """Other losses in the vanilla recipe: the generator's log(1 - D), and 1 - log D as the coursework prints it."""
    vanilla = RECIPES["vanilla"]
    results, pictures = train_and_score(options, part, {
        "vanilla": None,
        "log(1 − D) for G": dict(arguments=vanilla, change=with_losses(generator=lambda p: log(1 - p))),
        # What the printed objective makes the discriminator maximize, it minimizes with the other sign.
        "1 − log D, printed": dict(arguments=vanilla, change=with_losses(generated=log, generator=lambda p: 1 - log(p))),
    }, lambda training: {"said_of_real": float(training.history[-100:, 4].mean()),
                         "said_of_generated": float(training.history[-100:, 5].mean())})
    figures = {**FIGURES, "said_of_generated": ("D on generated,\nlast 100 batches", 1)}
    return {"variants": results}, draw_variants(results, pictures, "Losses (vanilla: −log D for the generator)", figures)


def against_a_perfect_generator(options, seed):
    """Train a discriminator of the vanilla recipe against real images in the place of generated ones.

    Returns it and the sum of its losses in every batch (batches,), whose best value is log 4.
    """
    settings = short_settings(options, seed, RECIPES["vanilla"])
    keras.utils.set_random_seed(seed)
    discriminator = build_discriminator(settings.dropout, settings.discriminator_units)
    optimizer = keras.optimizers.Adam(settings.discriminator_learning_rate, beta_1=0.5)
    x_train, y_train, _, _ = options.data
    x_train, y_train, batches = tf.constant(x_train), tf.constant(y_train), settings.train_size // BATCH_SIZE
    # The first half of the images is "real", the second "generated": no image is in both.
    rows = np.random.default_rng(seed).integers(0, len(options.data[0]) // 2, (batches, 2, BATCH_SIZE))
    rows[:, 1] += len(options.data[0]) // 2

    @tf.function(jit_compile=not options.quick, autograph=False)
    def train_batch(rows):
        total = 0.0
        for loss, chosen in ((lambda p: -log(p), rows[0]), (lambda p: -log(1 - p), rows[1])):
            with tf.GradientTape() as tape:
                images = scale_images(tf.gather(x_train, chosen))
                value = tf.reduce_mean(loss(discriminator([images, tf.gather(y_train, chosen)], training=True)))
            optimizer.apply(tape.gradient(value, discriminator.trainable_variables), discriminator.trainable_variables)
            total += value
        return total
    optimizer.build(discriminator.trainable_variables)
    return discriminator, np.array([train_batch(tf.constant(chosen)).numpy() for chosen in rows])


def read_committed_run():
    """Return (losses, best, epochs) of the committed run.

    `losses` (batches,) is the sum of the discriminator's two losses in every batch, `best` its value with the best
    answer to images that could as well be real as generated, without the wrong labels' own part, which the history
    does not have.
    """
    settings = json.loads((COMMITTED / "settings.json").read_text())
    table = np.genfromtxt(COMMITTED / "history.csv", delimiter=",", names=True)
    s = settings["label_smoothing"]
    d = best_answer(s, settings["wrong_label_weight"])
    return (table["d_loss_real"] + table["d_loss_fake"],
            -(1 - s) * math.log(d) - s * math.log(1 - d) - math.log(1 - d), int(table["epoch"][-1]))


def objective(options, part):
    """The objective: log 4 against a perfect generator, the committed run's way to a band, the objective as printed."""
    perfect = [part(f"perfect generator, seed {seed}",
                    lambda seed=seed: against_a_perfect_generator(options, seed)[1].astype(float).tolist())
               for seed in options.seeds]
    vanilla = [cached_training(options, seed, "vanilla").history for seed in options.seeds]
    trained = [(history[:, 0] + history[:, 1]).astype(float) for history in vanilla]
    committed, best, epochs = read_committed_run()
    per_epoch = committed.reshape(epochs, -1)
    low, high = np.percentile(per_epoch, (5, 95), axis=1)
    last = slice(-len(perfect[0]) // 5, None)

    figure = Figure((15, 4.6), dpi=100, layout="constrained")
    run, short, printed = figure.subplots(1, 3)
    position = np.arange(epochs) + 0.5
    run.fill_between(position, low, high, color="tab:blue", alpha=0.3, label="90% of the batches of an epoch")
    run.plot(position, per_epoch.mean(axis=1), color="tab:blue", marker="o", markersize=4, label="their mean")
    run.axhline(best, color="black", linestyle="--", label=f"{best:.3f}: cannot tell, with this run's smoothing")
    run.set(title="The committed run", xlabel="epoch", ylabel="sum of the discriminator's losses (nats)",
            ylim=(0, 1.1 * best))
    for curves, color, label in ((trained, "tab:orange", "against the vanilla recipe's generator"),
                                 (perfect, "tab:green", "against real images")):
        for number, curve in enumerate(curves):
            width = max(1, len(curve) // 50)
            smooth = np.convolve(curve, np.ones(width) / width, "valid")
            short.plot(np.arange(len(smooth)) + width, smooth, color=color, label=None if number else label)
    short.axhline(math.log(4), color="black", linestyle="--", label="log 4 = 1.386")
    short.set(title="A perfect generator: real images", xlabel="batch",
              ylabel="sum of the discriminator's losses (nats)", ylim=(0, 2.5))
    answer = np.linspace(1e-3, 1 - 1e-3, 400)
    for share, color in ((0.3, "tab:red"), (0.7, "tab:purple")):
        printed.plot(answer, share * np.log(answer) + (1 - share) * np.log(1 - answer), color=color,
                     label=f"log(1 − D), {share:.0%} of such images are real")
        printed.plot(answer, share * np.log(answer) + (1 - share) * (1 - np.log(answer)), color=color, linestyle="--",
                     label=f"1 − log D, {share:.0%} of such images are real")
    printed.set(title="What the discriminator maximizes", xlabel="its answer D", ylabel="nats", ylim=(-3, 4))
    run.xaxis.get_major_locator().set_params(integer=True)
    for axes in figure.axes:
        axes.legend(fontsize=9)
        axes.grid(alpha=0.3)
    return {
        "log_4": math.log(4),
        "against_real_images": summarize([{"sum_of_losses": float(np.mean(curve[last]))} for curve in perfect]),
        "against_the_bare_generator": summarize([{
            "sum_of_losses": float(curve[last].mean()), "said_of_real": float(history[last, 4].mean()),
            "said_of_generated": float(history[last, 5].mean())}
            for curve, history in zip(trained, vanilla, strict=True)]),
        "committed": {"best": best, "epochs": epochs,
                      **{name: {"mean": float(per_epoch[row].mean()), "low": float(low[row]), "high": float(high[row])}
                         for name, row in (("first_epoch", 0), ("middle_epoch", epochs // 2), ("last_epoch", -1))}},
    }, figure


def without_normalization(settings):
    """Build networks as `build_networks` does, the generators without BatchNormalization."""
    *generators, discriminator = build_networks(settings)
    skipped = {layer.name: lambda x: x for layer in generators[0].layers
               if isinstance(layer, layers.BatchNormalization)}
    generators = [rewire(generators[0], skipped) for _ in generators]
    return *generators, discriminator


def with_momentum(settings, momentum=0.99):
    """Build networks as `build_networks` does, the trained generator's BatchNormalization with another momentum.

    The averaged generator keeps its own, with which its statistics are measured anew before it draws.
    """
    generator, ema_generator, discriminator = build_networks(settings)
    for layer in generator.layers:
        if isinstance(layer, layers.BatchNormalization):
            layer.momentum = momentum
    return generator, ema_generator, discriminator


def normalization(options, part):
    """The generator without BatchNormalization, and with a momentum of 0.99 (Keras's own) for 0.8."""
    results, pictures = train_and_score(options, part, {
        "default": None, "momentum 0.99": dict(networks=with_momentum),
        "no BatchNormalization": dict(networks=without_normalization)})
    return {"variants": results}, draw_variants(results, pictures, "BatchNormalization (the default: momentum 0.8)")
