"""PixelShuffle: where it puts pixels, what it equals, its checkerboards before training, and what it costs."""

import functools

import keras
import numpy as np
import tensorflow as tf
from coursework.comparison import summarize
from coursework.timing import time_in_turns
from keras import layers, ops
from matplotlib.figure import Figure
from mnist_gan.data.mnist import SIDE, scale_images
from mnist_gan.data.painting import enlarge, halve
from mnist_gan.drawing.pictures import tile_images
from mnist_gan.metrics.attributes import checkerboard_energy
from mnist_gan.networks import multiply_adds
from stackgan_mnist import upsample

UPSAMPLERS = ("transposed 3 × 3", "transposed 4 × 4", "transposed 5 × 5", "nearest", "PixelShuffle",
              "PixelShuffle, ICNR")


def to_transposed_kernel(kernel, factor):
    """Return the kernel of the transposed convolution that equals a convolution followed by PixelShuffle.

    `kernel` (k, k, inputs, factor² channels), k odd, is that of a convolution of stride 1 with "same" padding; the
    returned one (k factor, k factor, channels, inputs) has the stride `factor`: the pixel (a, b) of each block has its
    own kernel, and these interleave, mirrored (Shi et al. 2016, https://arxiv.org/abs/1609.07009).
    """
    k, _, inputs, outputs = kernel.shape
    blocks = kernel[::-1, ::-1].reshape(k, k, inputs, factor, factor, outputs // factor**2)
    return blocks.transpose(0, 3, 1, 4, 5, 2).reshape(k * factor, k * factor, outputs // factor**2, inputs)


def upsampler(name):
    """Return a network (n, 14, 14, 32) to (n, 28, 28, 16), the last upsampling of Stage II, in the way `name`."""
    given = keras.Input((SIDE // 2, SIDE // 2, 32))
    if name.startswith("transposed"):
        kernel = int(name.split()[1])
        return keras.Model(given, layers.Conv2DTranspose(16, kernel, strides=2, padding="same")(given))
    if name == "PixelShuffle":
        return keras.Model(given, ops.depth_to_space(layers.Conv2D(64, 3, padding="same")(given), 2))
    return keras.Model(given, upsample(given, 16, {"PixelShuffle, ICNR": "pixelshuffle"}.get(name, name)))


def check_equalities(seed):
    """Return the largest differences between networks that ought to be equal, relative to their largest output."""
    keras.utils.set_random_seed(seed)
    x = tf.random.normal((4, 7, 7, 8))
    convolution = layers.Conv2D(4 * 5, 3, padding="same", use_bias=False)
    shuffled = ops.depth_to_space(convolution(x), 2).numpy()
    kernel = to_transposed_kernel(convolution.kernel.numpy(), 2)
    transposed = tf.nn.conv2d_transpose(x, kernel, shuffled.shape, 2, "SAME").numpy()
    convolution.kernel.assign(np.tile(convolution.kernel.numpy()[..., :5], 4))  # ICNR
    icnr = ops.depth_to_space(convolution(x), 2).numpy()
    nearest = enlarge(convolution(x).numpy()[..., :5])
    return {"transposed": float(np.abs(shuffled - transposed).max() / np.abs(shuffled).max()),
            "icnr_and_nearest": float(np.abs(icnr - nearest).max() / np.abs(nearest).max()),
            "transposed_kernel": kernel.shape[0]}


def untrained_maps(name, images, seed):
    """Return maps (n, 28, 28, 1) that an upsampler with its initial weights makes of rough images (n, 14, 14, 1).

    A random layer turns these into the 32 channels that it works on; the maps are the first of its 16 channels.
    """
    keras.utils.set_random_seed(seed)
    lift = layers.Dense(32, activation="leaky_relu")
    return upsampler(name)(lift(images), training=False).numpy()[..., :1]


def super_resolution(late, channels=32):
    """Return a network (n, 14, 14, 1) to (n, 28, 28, 1) that enlarges at its end by PixelShuffle, or at its start."""
    x = given = keras.Input((SIDE // 2, SIDE // 2, 1))
    x = x if late else layers.UpSampling2D()(x)
    x = layers.Conv2D(channels, 3, padding="same", activation="relu")(x)
    x = layers.Conv2D(channels, 3, padding="same", activation="relu")(x)
    x = layers.Conv2D(4 if late else 1, 3, padding="same")(x)
    return keras.Model(given, ops.depth_to_space(x, 2) if late else x)


def time_networks(networks, side, channels, repeats):
    """Return the median seconds that each of `networks` takes for 64 images (side, side, channels), in turns."""
    x = tf.random.stateless_normal((64, side, side, channels), (0, 0))
    compiled = [tf.function(network, autograph=False) for network in networks]
    return time_in_turns([functools.partial(network, x) for network in compiled], repeats)


def pixelshuffle(context):
    """PixelShuffle: its indices, equality with a transposed convolution, checkerboards before training, cost."""
    images = scale_images(context.x_test[:20 if context.quick else 200]).numpy()
    rough = halve(images).numpy()
    networks = {name: upsampler(name) for name in UPSAMPLERS}
    times = context.cached("time", lambda: time_networks(networks.values(), SIDE // 2, 32, 5 if context.quick else 50))
    reference = UPSAMPLERS.index("transposed 4 × 4")
    cheapest = multiply_adds(networks[UPSAMPLERS[reference]])
    ways, maps = {}, {}
    for (name, network), seconds in zip(networks.items(), times, strict=True):
        drawn = [untrained_maps(name, rough, seed) for seed in range(3 if context.quick else 20)]
        maps[name] = drawn[0]
        ways[name] = {**summarize([{"checkerboard": float(checkerboard_energy(batch[..., 0]).mean())}
                                   for batch in drawn]),
                      "multiply_adds": multiply_adds(network), "weights": network.count_params(),
                      "multiply_adds_ratio": multiply_adds(network) / cheapest,
                      "time_ratio": seconds / times[reference]}
    # Three layers of 3 x 3 kernels that work at 14 x 14 pixels and shuffle last, and at 28 x 28 pixels throughout.
    low, high = super_resolution(late=True), super_resolution(late=False)
    high_time, low_time = context.cached(
        "super-resolution", lambda: time_networks((high, low), SIDE // 2, 1, 2 if context.quick else 20))
    results = {"equality": check_equalities(0), "ways": ways,
               "checkerboard_of_digits": float(checkerboard_energy(images[..., 0] / 2 + 0.5).mean()),
               "super_resolution": {"multiply_adds_ratio": multiply_adds(high) / multiply_adds(low),
                                    "time_ratio": high_time / low_time}}
    return results, draw_pixelshuffle(results, maps)


def draw_pixelshuffle(results, maps):
    """Draw where PixelShuffle puts 2 x 2 pixels of four channels, maps before training, checkerboards and costs."""
    figure = Figure((9, 5.8), dpi=100, layout="constrained")
    above, below = figure.subfigures(2, 1, height_ratios=(1, 1.5))
    indices = np.arange(16).reshape(4, 2, 2).transpose(1, 2, 0)[np.newaxis]  # channel by channel
    shuffled = ops.convert_to_numpy(ops.depth_to_space(tf.constant(indices), 2))[0, :, :, 0]
    panels = above.subplots(1, 6, width_ratios=(1, 1, 1, 1, 0.4, 2))
    panels[4].text(0.5, 0.5, "→", fontsize=24, ha="center", va="center")
    panels[4].set_axis_off()
    for axes, grid, title in [*((panels[channel], indices[0, :, :, channel], f"channel {channel}")
                                for channel in range(4)), (panels[5], shuffled, "one channel, 4 × 4")]:
        axes.imshow(grid // 4, cmap="Pastel1", vmin=0, vmax=8)
        for (row, column), value in np.ndenumerate(grid):
            axes.text(column, row, value, ha="center", va="center", fontsize=12)
        axes.set_title(title, fontsize=11)
        axes.set(xticks=[], yticks=[])
    picture, energy, cost = below.subplots(1, 3, width_ratios=(2, 1, 1))
    names = list(maps)
    shown = np.concatenate([maps[name][:8] for name in names])
    shown = shown / np.abs(shown).max((1, 2, 3), keepdims=True)
    picture.imshow(tile_images(shown, 8), cmap="gray", vmin=-1, vmax=1, interpolation="nearest")
    picture.set_yticks((np.arange(len(names)) + 0.5) * SIDE, names, fontsize=9)
    picture.set_xticks([])
    picture.set_title("of test digits of 14 × 14 pixels,\nbefore any training", fontsize=11)
    for row, name in enumerate(names):
        way = results["ways"][name]
        seeds = 100 * np.array(way["checkerboard"]["seeds"])
        energy.plot(seeds, [row] * len(seeds), "o", color="#332288", alpha=0.4, markersize=5)
        cost.plot(way["multiply_adds_ratio"], row, "s", color="#CC6677", label=None if row else "multiply-adds")
        cost.plot(way["time_ratio"], row, "o", color="#117733", label=None if row else "time")
    energy.axvline(100 * results["checkerboard_of_digits"], color="black", linestyle="--", label="test digits")
    energy.set_title(f"checkerboard energy (%),\n{len(seeds)} random starts", fontsize=11)
    cost.set_title("cost,\ntransposed 4 × 4 = 1", fontsize=11)
    cost.set_xlim(left=0)
    for axes in (energy, cost):
        axes.set(yticks=range(len(names)), yticklabels=[], ylim=(len(names) - 0.5, -0.5))
        axes.tick_params(labelsize=9)
        axes.grid(alpha=0.4)
    handles = [handle for axes in (energy, cost) for handle in axes.get_legend_handles_labels()[0]]
    below.legend(handles=handles, loc="outside lower right", ncols=3, fontsize=9)
    return figure
