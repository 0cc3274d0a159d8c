"""Stacked MNIST: a thousand modes, three digits in the channels of one picture, and what each remedy does there."""

import functools

import numpy as np
import tensorflow as tf
from coursework.comparison import summarize
from coursework.figures import images_to_text, text_to_images
from coursework.ring import Game, forward, train
from matplotlib.figure import Figure
from mnist_gan.data.mnist import DIGITS, PIXELS, SIDE, scale_images
from mnist_gan.drawing.pictures import tile_images
from mnist_gan.metrics.classifiers import classify

MODES, CHANNELS = DIGITS**3, 3
DRAWN, QUICK_DRAWN = 26_000, 1000  # as in the literature (Metz et al. 2017, https://arxiv.org/abs/1611.02163)
STEPS, QUICK_STEPS = 10_000, 10
SHOWN = 10  # pictures
REMEDIES = {"vanilla": {}, "label smoothing": {"smoothing": 0.1}, "mode seeking": {"mode_seeking": 0.1},
            "packing": {"packed": 2}, "R1": {"r1": 0.1}, "WGAN-GP": {"wasserstein": True, "d_steps": 5}}


class StackedGame(Game):
    """The game of Dense networks about pictures (n, 2352) in [-1, 1] of three of the `images` uint8 (m, 28, 28)."""

    batch = 64
    generator_sizes, discriminator_sizes = (64, 256, 512, CHANNELS * PIXELS), (CHANNELS * PIXELS, 256, 128, 1)

    def __init__(self, images, seed, **remedy):
        super().__init__(seed, **remedy)
        self.images = tf.constant(images.reshape(-1, PIXELS))

    def generate(self, noise, weights=None):
        return tf.tanh(forward(weights or self.generator, noise))

    def real(self, stream):
        shape, seed = (self.batch, CHANNELS), (self.seed, stream)
        indices = tf.random.stateless_uniform(shape, seed, 0, len(self.images), tf.int32)
        return tf.reshape(scale_images(tf.gather(self.images, indices)), (self.batch, -1))


def split_channels(pictures):
    """Return the channels (3 n, 28, 28, 1) of pictures (n, 2352), picture by picture."""
    return pictures.reshape(-1, SIDE, SIDE, 1)


def count_modes(digits):
    """Return (modes, KL) of what the classifier sees in pictures, `digits` (n, 3).

    The KL divergence, in nats, is that of the shares of the thousand modes from equal ones.
    """
    shares = np.bincount(digits @ (100, 10, 1), minlength=MODES) / len(digits)
    found = shares[shares > 0]
    return len(found), float((found * np.log(found * MODES)).sum())


def measure(context, pictures):
    """Return the modes of pictures (n, 2352), how unequal they are, and the text of the first pictures' channels."""
    modes, divergence = count_modes(classify(context.classifier, split_channels(pictures))[1].reshape(-1, CHANNELS))
    return {"modes": modes, "kl": divergence, "images": images_to_text(split_channels(pictures[:SHOWN]))}


def play(context, steps, count, remedy, seed):
    """Return what `measure` returns of `count` pictures after one game of so many steps."""
    game = StackedGame(context.x_train, seed, **REMEDIES[remedy])
    train(game, steps)
    return measure(context, game.draw(count))


def draw_real(context, count, seed):
    """Return what `measure` returns of `count` pictures made of real images."""
    chosen = np.random.default_rng(seed).integers(0, len(context.x_train), (count, CHANNELS))
    return measure(context, scale_images(context.x_train[chosen]).numpy().reshape(count, -1))


def stacked_mnist(context):
    """Stacked MNIST, three digits in a picture: how many of a thousand modes Dense networks find, with each remedy."""
    steps, count = (QUICK_STEPS, QUICK_DRAWN) if context.quick else (STEPS, DRAWN)
    found = context.cached_for_variants(REMEDIES, functools.partial(play, context, steps, count))
    found["real images"] = context.cached_for_seeds("real images", functools.partial(draw_real, context, count))
    results = {name: summarize(entries) for name, entries in found.items()}
    return {"steps": steps, "pictures": count, "variants": results}, draw_stacked(found)


def draw_stacked(found):
    """Draw `found`, what `measure` returned for each remedy and seed: pictures of the first seed, modes and KL."""
    names = list(found)
    figure = Figure((9, 0.55 * len(names) + 1.1), dpi=100, layout="constrained")
    pictures, modes, divergence = figure.subplots(1, 3, width_ratios=(2.2, 1, 1))
    channels = np.concatenate([text_to_images(entries[0]["images"]) for entries in found.values()])
    stacks = channels.reshape(-1, CHANNELS, SIDE, SIDE).transpose(0, 2, 3, 1)
    pictures.imshow((tile_images(stacks, SHOWN) + 1) / 2, aspect="auto", extent=(0, SHOWN, len(names) - 0.5, -0.5))
    pictures.set_yticks(range(len(names)), names, fontsize=10)
    pictures.set_xticks([])
    pictures.set_title("drawn with the first seed", fontsize=11)
    for axes, name, title in ((modes, "modes", "modes of 1,000"), (divergence, "kl", "KL (nats)")):
        for row, entries in enumerate(found.values()):
            axes.plot([entry[name] for entry in entries], [row] * len(entries), "o", color="black", alpha=0.7)
        axes.set(ylim=(len(names) - 0.5, -0.5), yticks=range(len(names)), yticklabels=[], xlim=(0, None))
        axes.set_title(title, fontsize=11)
        axes.grid(alpha=0.3)
    return figure
