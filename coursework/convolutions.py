"""Transposed convolutions: what they compute, and a DCGAN of them beside the Dense networks."""

import functools

import numpy as np
import tensorflow as tf
from coursework.comparison import compare
from coursework.timing import time_in_turns
from coursework.trainings import RECIPES, Variant, build, variant_settings
from coursework.variants import build_dcgan
from matplotlib.figure import Figure
from mnist_gan.data.mnist import PIXELS, SIDE, scale_images
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

# XLA makes Dense layers faster and convolutions slower.
NETWORKS = {"default": RECIPES["default"], "DCGAN": Variant(networks=build_dcgan, jit_compile=False)}


def time_dcgan(context):
    """Return the milliseconds that a batch takes in both kinds of networks, and their ratio, a dictionary."""
    gans = [build(context, variant, 0) for variant in NETWORKS.values()]
    indices, first = tf.range(gans[0].settings.batch_size), tf.constant(0)
    dense, convolutional = time_in_turns([lambda gan=gan: gan.train_step(indices, first).numpy() for gan in gans],
                                         3 if context.quick else 40)
    return {"dense_milliseconds": 1000 * dense, "dcgan_milliseconds": 1000 * convolutional,
            "ratio": convolutional / dense}


def dcgan(context):
    """A small DCGAN beside the Dense networks, with as many multiply-adds: quality and time per batch."""
    seconds, sizes = context.cached("time", functools.partial(time_dcgan, context)), {}
    for name, variant in NETWORKS.items():
        generator, _, discriminator = variant.networks(variant_settings(context, variant, 0))
        sizes[name] = {"generator_multiply_adds": multiply_adds(generator),
                       "generator_weights": generator.count_params(),
                       "discriminator_multiply_adds": multiply_adds(discriminator),
                       "discriminator_weights": discriminator.count_params()}
    results, figure = compare(context, NETWORKS, "Convolutions for Dense layers, with as many multiply-adds")
    return {"time": seconds, "sizes": sizes, **results}, figure
