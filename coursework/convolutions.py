"""Transposed convolutions: what they compute, and a DCGAN of them beside the Dense networks."""

import functools

import keras
import numpy as np
import tensorflow as tf
from cgan_mnist import build_networks
from coursework.figures import METRICS, draw_variants
from coursework.short_trainings import build, short_settings, train_and_score
from coursework.timing import time_in_turns
from keras import layers
from matplotlib.figure import Figure
from mnist_gan.data.mnist import DIGITS, PIXELS, SIDE, scale_images
from mnist_gan.data.painting import enlarge
from mnist_gan.drawing.pictures import tile_images
from mnist_gan.networks import multiply_adds


def convolution_matrix(kernel, side, stride=1, padding="VALID"):
    """Return the matrix (outputs, side²) of a convolution, kernel (k, k), of images (side, side), as rows of pixels."""
    basis = np.eye(side * side, dtype=np.float32).reshape(-1, side, side, 1)
    columns = tf.nn.conv2d(basis, kernel[:, :, np.newaxis, np.newaxis], stride, padding)
    return columns.numpy().reshape(side * side, -1).T


def transpose_convolution(y, kernel, side, stride=1, padding="VALID"):
    """Return the transposed convolution, images (n, side, side, 1), of y (n, h, w, 1) with a kernel (k, k)."""
    return tf.nn.conv2d_transpose(y, kernel[:, :, np.newaxis, np.newaxis], (len(y), side, side, 1), stride,
                                  padding).numpy()


def distance_from_images(images, restored):
    """Return |images - s restored| / |images| for rows (n, d) of pixels and the best factor s."""
    scale = (images * restored).sum() / np.square(restored).sum()
    return float(np.linalg.norm(images - scale * restored) / np.linalg.norm(images))


def transposed_convolution(context):
    """What a transposed convolution computes: the transpose of a convolution's matrix, which is not its inverse."""
    # The case that Dumoulin & Visin 2016 write out: 3 x 3 pixels of a 4 x 4 image into each of 2 x 2.
    kernel = np.arange(1, 10, dtype=np.float32).reshape(3, 3)
    matrix = convolution_matrix(kernel, 4)
    y = np.random.default_rng(0).standard_normal((1, 2, 2, 1), np.float32)
    small = transpose_convolution(y, kernel, 4)
    # On digits: the smallest blur, at every second pixel, as encoders and discriminators halve their images.
    blur = np.outer((1, 2, 1), (1, 2, 1)).astype(np.float32) / 16
    images = scale_images(context.x_test[:1000]).numpy() / 2 + 0.5
    halved = tf.nn.conv2d(images, blur[:, :, np.newaxis, np.newaxis], 2, "SAME").numpy()
    back = transpose_convolution(halved, blur, SIDE, 2, "SAME")
    digits_matrix = convolution_matrix(blur, SIDE, 2, "SAME")
    pixels = images.reshape(-1, PIXELS)
    best = pixels @ digits_matrix.T @ np.linalg.pinv(digits_matrix).T
    overlaps = {k: transpose_convolution(np.ones((1, 6, 6, 1), np.float32), np.ones((k, k), np.float32), 12, 2,
                                         "SAME")[0, 2:-2, 2:-2, 0] for k in (3, 4, 5)}
    results = {
        "difference_from_transpose": float(np.abs(small.reshape(-1) - y.reshape(-1) @ matrix).max()),
        "difference_from_transpose_on_digits": float(np.abs(
            back.reshape(-1, PIXELS) - halved.reshape(len(images), -1) @ digits_matrix).max()),
        "rank": int(np.linalg.matrix_rank(matrix)), "outputs": len(matrix), "inputs": matrix.shape[1],
        "distance_of_transposed_from_images": distance_from_images(pixels, back.reshape(-1, PIXELS)),
        "distance_of_pseudo_inverse_from_images": distance_from_images(pixels, best),
        "overlaps": {str(k): {"fewest": float(count.min()), "most": float(count.max())}
                     for k, count in overlaps.items()}}
    return results, draw_transposed_convolution(matrix, overlaps, images, halved, back, best)


def draw_transposed_convolution(matrix, overlaps, images, halved, back, best):
    """Draw the small matrix and its transpose, digits before and after, and how many kernels overlap in each pixel."""
    figure = Figure((9, 8.4), dpi=100, layout="constrained")
    above, middle, below = figure.subfigures(3, 1, height_ratios=(1, 2, 1.6))
    matrices, digits = middle.subfigures(1, 2, width_ratios=(1, 2.6))
    for axes, shown, title in ((above.subplots(), matrix, "convolution: 16 pixels → 4"),
                               (matrices.subplots(), matrix.T, "transposed: 4 → 16")):
        axes.imshow(np.where(shown, shown, np.nan), cmap="YlGnBu", vmin=0, vmax=14)
        for (row, column), value in np.ndenumerate(shown):
            axes.text(column, row, f"{value:.0f}" if value else "·", ha="center", va="center", fontsize=9)
        axes.set_title(title, fontsize=11)
        axes.set(xticks=range(shown.shape[1]), yticks=range(shown.shape[0]))
        axes.set_xlabel("pixel that goes in", fontsize=9)
        axes.set_ylabel("pixel that comes out", fontsize=9)
        axes.tick_params(labelsize=8)
    count, axes = 5, digits.subplots()
    rows = [images[:count], enlarge(halved[:count]), back[:count], best[:count].reshape(-1, SIDE, SIDE, 1)]
    rows = [row / row.max((1, 2, 3), keepdims=True) for row in rows]  # for a factor is not what matters
    axes.imshow(tile_images(np.concatenate(rows), count), cmap="gray", vmin=0, vmax=1)
    axes.set_title("on test digits, 28 × 28 pixels → 14 × 14 → 28 × 28", fontsize=11)
    axes.set_yticks((np.arange(4) + 0.5) * SIDE, ["digit", "convolution", "then the\ntransposed one",
                                                  "or the best\ninverse"], fontsize=10)
    axes.set_xticks([])
    for axes, (k, count) in zip(below.subplots(1, 3), overlaps.items(), strict=True):
        picture = axes.imshow(count, cmap="cividis", vmin=0, vmax=9)
        for (row, column), value in np.ndenumerate(count):
            axes.text(column, row, f"{value:.0f}", ha="center", va="center", fontsize=9,
                      color="white" if value < 6 else "black")
        axes.set_title(f"kernel {k} × {k}, stride 2" + (": even" if k % 2 == 0 else ": uneven"), fontsize=11)
        axes.set(xticks=[], yticks=[])
    below.colorbar(picture, ax=below.axes, label="kernels over a pixel")
    return figure


# ---------------------------------------------------------------------------------------------- DCGAN


def build_dcgan_generator(latent_dim, embedding_range, channels=(35, 43)):
    """Build a generator as `cgan_mnist.build_generator` does, with transposed convolutions for two Dense layers.

    Radford et al. 2016, https://arxiv.org/abs/1511.06434, with kernels that the stride divides and LeakyReLU as in the
    Dense generator; the label enters as it does there. Its kernels overlap, so that neighbouring pixels come out
    similar without a box filter.
    """
    noise = keras.Input((latent_dim,), name="noise")
    label = keras.Input((), dtype="int32", name="label")
    start = keras.initializers.RandomUniform(-embedding_range, embedding_range)
    embedding = layers.Embedding(DIGITS, latent_dim, embeddings_initializer=start, name="label_embedding")(label)
    x = layers.Multiply(name="noise_times_label")([noise, embedding])
    x = layers.Dense(7 * 7 * channels[0])(x)
    x = layers.LeakyReLU(negative_slope=0.2)(x)
    x = layers.BatchNormalization(momentum=0.8)(x)
    x = layers.Reshape((7, 7, channels[0]))(x)
    x = layers.Conv2DTranspose(channels[1], 4, strides=2, padding="same")(x)
    x = layers.LeakyReLU(negative_slope=0.2)(x)
    x = layers.BatchNormalization(momentum=0.8)(x)
    image = layers.Conv2DTranspose(1, 4, strides=2, padding="same", activation="tanh", name="image")(x)
    return keras.Model([noise, label], image, name="generator")


def build_dcgan_discriminator(dropout, channels=(20, 34)):
    """Build a discriminator as `cgan_mnist.build_discriminator` does, with convolutions of stride 2 for its layers."""
    image = keras.Input((SIDE, SIDE, 1), name="image")
    label = keras.Input((), dtype="int32", name="label")
    embedding = layers.Embedding(DIGITS, PIXELS, name="label_embedding")(label)
    x = layers.Multiply(name="pixels_times_label")([image, layers.Reshape((SIDE, SIDE, 1))(embedding)])
    for width in channels:
        x = layers.Conv2D(width, 4, strides=2, padding="same")(x)
        x = layers.LeakyReLU(negative_slope=0.2)(x)
        x = layers.Dropout(dropout)(x)
    logit = layers.Dense(1, name="logit")(layers.Flatten()(x))
    return keras.Model([image, label], logit, name="discriminator")


def build_dcgan(settings):
    """Build networks as `cgan_mnist.build_networks` does, of convolutions and with as many multiply-adds."""
    return (build_dcgan_generator(settings.latent_dim, settings.embedding_range),
            build_dcgan_generator(settings.latent_dim, settings.embedding_range),
            build_dcgan_discriminator(settings.dropout))


# XLA makes Dense layers faster and convolutions slower.
DCGAN = {"networks": build_dcgan, "jit_compile": False}


def time_dcgan(context):
    """Return the milliseconds that a batch takes in both kinds of networks, and their ratio, a dictionary."""
    settings = short_settings(context, 0)
    indices, first = tf.range(settings.batch_size), tf.constant(0)
    gans = build(context, settings), build(context, settings, **DCGAN)
    dense, convolutional = time_in_turns([lambda gan=gan: gan.train_step(indices, first).numpy() for gan in gans],
                                         3 if context.quick else 40)
    return {"dense_milliseconds": 1000 * dense, "dcgan_milliseconds": 1000 * convolutional,
            "ratio": convolutional / dense}


def dcgan(context):
    """A small DCGAN beside the Dense networks, with as many multiply-adds: quality and time per batch."""
    seconds = context.cached("time", functools.partial(time_dcgan, context))
    results, pictures = train_and_score(context, {"default": None, "DCGAN": DCGAN})
    names = {"default": "Dense (default)"}
    results = {names.get(name, name): metrics for name, metrics in results.items()}
    pictures = {names.get(name, name): images for name, images in pictures.items()}
    settings, sizes = short_settings(context, 0), {}
    for name, networks in (("Dense (default)", build_networks), ("DCGAN", build_dcgan)):
        generator, _, discriminator = networks(settings)
        sizes[name] = {"generator_multiply_adds": multiply_adds(generator),
                       "generator_weights": generator.count_params(),
                       "discriminator_multiply_adds": multiply_adds(discriminator),
                       "discriminator_weights": discriminator.count_params()}
    figure = draw_variants(results, pictures, "Convolutions for Dense layers, with as many multiply-adds",
                           {**METRICS, "precision": ("precision", 1)})
    return {"time": seconds, "sizes": sizes, "variants": results}, figure
