"""Transposed convolutions and PixelShuffle: what they compute and cost, and a DCGAN beside the Dense networks."""

import time

import keras
import numpy as np
import tensorflow as tf
from cgan_mnist import build_networks, build_training
from coursework.runs import FIGURES, draw_variants, short_settings, summarize, train_and_score
from keras import layers, ops
from matplotlib.figure import Figure
from mnist_gan.data.mnist import DIGITS, PIXELS, SIDE, scale_images
from mnist_gan.networks import multiply_adds
from mnist_gan.metrics.attributes import checkerboard_energy
from mnist_gan.data.painting import enlarge, halve
from mnist_gan.drawing.pictures import tile_images
from stackgan_mnist import upsample


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


def transposed_convolution(options, part):
    """What a transposed convolution computes: the transpose of a convolution's matrix, which is not its inverse."""
    # The case that Dumoulin & Visin 2016 write out: 3 x 3 pixels of a 4 x 4 image into each of 2 x 2.
    kernel = np.arange(1, 10, dtype=np.float32).reshape(3, 3)
    matrix = convolution_matrix(kernel, 4)
    y = np.random.default_rng(0).standard_normal((1, 2, 2, 1), np.float32)
    small = transpose_convolution(y, kernel, 4)
    # On digits: the smallest blur, at every second pixel, as encoders and discriminators halve their images.
    blur = np.outer((1, 2, 1), (1, 2, 1)).astype(np.float32) / 16
    images = scale_images(options.data[2][:1000]).numpy() / 2 + 0.5
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
    figure = Figure((14, 7.6), dpi=100, layout="constrained")
    above, below = figure.subfigures(2, 1, height_ratios=(1.25, 1))
    forth, back_and_forth, transposed = above.subplots(1, 3, width_ratios=(2.3, 1, 3.2))
    for axes, shown, title in ((forth, matrix, "convolution: 16 pixels → 4"),
                               (back_and_forth, matrix.T, "transposed: 4 → 16")):
        axes.imshow(np.where(shown, shown, np.nan), cmap="YlGnBu", vmin=0, vmax=14)
        for (row, column), value in np.ndenumerate(shown):
            axes.text(column, row, f"{value:.0f}" if value else "·", ha="center", va="center", fontsize=10)
        axes.set_title(title, fontsize=13)
        axes.set(xlabel="pixel that goes in", ylabel="pixel that comes out", xticks=range(shown.shape[1]),
                 yticks=range(shown.shape[0]))
        axes.tick_params(labelsize=8)
    digits = [7, 2, 1, 0, 4]
    rows = [images[:len(digits)], enlarge(halved[:len(digits)]), back[:len(digits)],
            best[:len(digits)].reshape(-1, SIDE, SIDE, 1)]
    rows = [row / row.max((1, 2, 3), keepdims=True) for row in rows]  # for a factor is not what matters
    transposed.imshow(tile_images(np.concatenate(rows), len(digits)), cmap="gray", vmin=0, vmax=1)
    transposed.set_title("on test digits, 28 × 28 pixels → 14 × 14 → 28 × 28", fontsize=13)
    transposed.set_yticks((np.arange(4) + 0.5) * SIDE, ["digit", "convolution", "then the\ntransposed one",
                                                        "or the best\ninverse"], fontsize=11)
    transposed.set_xticks([])
    for axes, (k, count) in zip(below.subplots(1, 3), overlaps.items(), strict=True):
        picture = axes.imshow(count, cmap="magma", vmin=0, vmax=9)
        for (row, column), value in np.ndenumerate(count):
            axes.text(column, row, f"{value:.0f}", ha="center", va="center", fontsize=10,
                      color="white" if value < 6 else "black")
        axes.set_title(f"kernel {k} × {k}, stride 2" + (": even" if k % 2 == 0 else ": a checkerboard"), fontsize=13)
        axes.set(xticks=[], yticks=[])
    below.colorbar(picture, ax=below.axes, label="kernels that overlap\nin a pixel")
    return figure


# ---------------------------------------------------------------------------------------- PixelShuffle


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


UPSAMPLERS = ("transposed 3 × 3", "transposed 4 × 4", "transposed 5 × 5", "nearest", "PixelShuffle",
              "PixelShuffle, ICNR")


def time_in_turns(functions, repeats):
    """Return the median seconds of each of `functions`, called in turns, so that other load meets all alike."""
    seconds = []
    for _ in range(repeats + 1):
        seconds.append([])
        for function in functions:
            started = time.perf_counter()
            function()
            seconds[-1].append(time.perf_counter() - started)
    return np.median(seconds[1:], axis=0).tolist()


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


def pixelshuffle(options, part):
    """PixelShuffle: its indices, equality with a transposed convolution, checkerboards before training, cost."""
    count = 20 if options.quick else 200
    x_test = options.data[2]
    images = scale_images(x_test[:count]).numpy()
    rough = halve(images).numpy()
    networks = {name: upsampler(name) for name in UPSAMPLERS}
    x = tf.random.stateless_normal((64, SIDE // 2, SIDE // 2, 32), (0, 0))
    compiled = [tf.function(network, autograph=False) for network in networks.values()]
    times = part("time", lambda: time_in_turns([lambda f=f: f(x) for f in compiled], 5 if options.quick else 50))
    cheapest = multiply_adds(networks["transposed 4 × 4"])
    ways, maps = {}, {}
    for (name, network), seconds in zip(networks.items(), times, strict=True):
        drawn = [untrained_maps(name, rough, seed) for seed in range(3 if options.quick else 20)]
        maps[name] = drawn[0]
        ways[name] = {**summarize([{"checkerboard": float(checkerboard_energy(batch[..., 0]).mean())}
                                   for batch in drawn]),
                      "multiply_adds": multiply_adds(network), "weights": network.count_params(),
                      "multiply_adds_ratio": multiply_adds(network) / cheapest,
                      "time_ratio": seconds / times[UPSAMPLERS.index("transposed 4 × 4")]}
    # Three layers of 3 x 3 kernels that work at 14 x 14 pixels and shuffle last, and at 28 x 28 pixels throughout.
    low, high = (super_resolution(late) for late in (True, False))
    batch = tf.random.stateless_normal((64, SIDE // 2, SIDE // 2, 1), (0, 0))
    compiled = [tf.function(network, autograph=False) for network in (high, low)]
    high_time, low_time = part("super-resolution", lambda: time_in_turns([lambda f=f: f(batch) for f in compiled],
                                                                         2 if options.quick else 20))
    results = {"equality": check_equalities(0), "ways": ways,
               "checkerboard_of_digits": float(checkerboard_energy(images[..., 0] / 2 + 0.5).mean()),
               "super_resolution": {"multiply_adds_ratio": multiply_adds(high) / multiply_adds(low),
                                    "time_ratio": high_time / low_time}}
    return results, draw_pixelshuffle(results, maps)


def super_resolution(late, channels=32):
    """Return a network (n, 14, 14, 1) to (n, 28, 28, 1) that enlarges at its end by PixelShuffle, or at its start."""
    x = given = keras.Input((SIDE // 2, SIDE // 2, 1))
    x = x if late else layers.UpSampling2D()(x)
    x = layers.Conv2D(channels, 3, padding="same", activation="relu")(x)
    x = layers.Conv2D(channels, 3, padding="same", activation="relu")(x)
    x = layers.Conv2D(4 if late else 1, 3, padding="same")(x)
    return keras.Model(given, ops.depth_to_space(x, 2) if late else x)


def draw_pixelshuffle(results, maps):
    """Draw where PixelShuffle puts 2 x 2 pixels of four channels, maps before training, checkerboards and costs."""
    figure = Figure((14, 7.4), dpi=100, layout="constrained")
    above, below = figure.subfigures(2, 1, height_ratios=(1, 1.1))
    indices = np.arange(16).reshape(4, 2, 2).transpose(1, 2, 0)[np.newaxis]  # channel by channel
    shuffled = ops.convert_to_numpy(ops.depth_to_space(tf.constant(indices), 2))[0, :, :, 0]
    panels = above.subplots(1, 6, width_ratios=(1, 1, 1, 1, 0.25, 2.1))
    panels[4].text(0.5, 0.5, "→", fontsize=40, ha="center", va="center")
    panels[4].set_axis_off()
    for axes, grid, title in [*((panels[channel], indices[0, :, :, channel], f"channel {channel}")
                                for channel in range(4)), (panels[5], shuffled, "one channel, 4 × 4")]:
        axes.imshow(grid // 4, cmap="Pastel1", vmin=0, vmax=8)
        for (row, column), value in np.ndenumerate(grid):
            axes.text(column, row, value, ha="center", va="center", fontsize=16)
        axes.set_title(title, fontsize=13)
        axes.set(xticks=[], yticks=[])
    picture, energy, cost = below.subplots(1, 3, width_ratios=(2.2, 1, 1))
    names = list(maps)
    shown = np.concatenate([maps[name][:10] for name in names])
    shown = shown / np.abs(shown).max((1, 2, 3), keepdims=True)
    picture.imshow(tile_images(shown, 10), cmap="gray", vmin=-1, vmax=1, interpolation="nearest")
    picture.set_yticks((np.arange(len(names)) + 0.5) * SIDE, names, fontsize=11)
    picture.set_xticks([])
    picture.set_title("of test digits of 14 × 14 pixels,\nbefore any training", fontsize=13)
    for row, name in enumerate(names):
        way = results["ways"][name]
        seeds = 100 * np.array(way["checkerboard"]["seeds"])
        energy.plot(seeds, [row] * len(seeds), "o", color="tab:blue", alpha=0.4)
        cost.plot(way["multiply_adds_ratio"], row, "s", color="tab:orange", label=None if row else "multiply-adds")
        cost.plot(way["time_ratio"], row, "o", color="tab:green", label=None if row else "time")
    energy.axvline(100 * results["checkerboard_of_digits"], color="black", linestyle="--", label="test digits")
    energy.set_title(f"checkerboard energy (%),\n{len(seeds)} random starts", fontsize=13)
    cost.set_title("cost, transposed 4 × 4 = 1", fontsize=13)
    cost.set_xlim(left=0)
    for axes in (energy, cost):
        axes.set(yticks=range(len(names)), yticklabels=[], ylim=(len(names) - 0.5, -0.5))
        axes.grid(alpha=0.4)
        axes.legend(fontsize=10)
    return figure


# ---------------------------------------------------------------------------------------------- DCGAN


def build_dcgan_generator(latent_dim, embedding_range, channels=(35, 43)):
    """Build a generator as `cgan_mnist.build_generator` does, with transposed convolutions for two Dense layers.

    Radford et al. 2016, https://arxiv.org/abs/1511.06434, with kernels that the stride divides and LeakyReLU as in the
    Dense generator; the label enters as it does there. Its kernels overlap, so that neighbouring pixels share what they
    are made of without being averaged.
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
    probability = layers.Dense(1, activation="sigmoid", name="probability")(layers.Flatten()(x))
    return keras.Model([image, label], probability, name="discriminator")


def build_dcgan(settings):
    """Build networks as `cgan_mnist.build_networks` does, of convolutions and with as many multiply-adds."""
    return (build_dcgan_generator(settings.latent_dim, settings.embedding_range),
            build_dcgan_generator(settings.latent_dim, settings.embedding_range),
            build_dcgan_discriminator(settings.dropout))


def without_xla(training, settings):
    """Let a training's step run without XLA, which makes Dense layers faster and convolutions slower."""
    training.train_batch = tf.function(training.train_batch.python_function, autograph=False)


def dcgan(options, part):
    """A small DCGAN beside the Dense networks, with as many multiply-adds: quality and time per batch."""
    def time_batches():
        steps = []
        for networks in (build_networks, build_dcgan):
            settings = short_settings(options, 0)
            training = build_training(settings, *options.data[:2], jit_compile=not options.quick, networks=networks)
            if networks is build_dcgan:
                without_xla(training, settings)
            rows = tf.range(settings.batch_size)
            steps.append(lambda step=training.train_batch, rows=rows: step(rows, tf.constant(0)).numpy())
        dense, convolutional = time_in_turns(steps, 3 if options.quick else 40)
        return {"dense_milliseconds": 1000 * dense, "dcgan_milliseconds": 1000 * convolutional,
                "ratio": convolutional / dense}
    seconds = part("time", time_batches)
    results, pictures = train_and_score(options, part, {
        "default": None, "DCGAN": dict(networks=build_dcgan, change=without_xla)})
    results = {{"default": "Dense (default)"}.get(name, name): figures for name, figures in results.items()}
    pictures = {{"default": "Dense (default)"}.get(name, name): images for name, images in pictures.items()}
    settings = short_settings(options, 0)
    networks = {"Dense (default)": build_networks(settings), "DCGAN": build_dcgan(settings)}
    sizes = {name: {"generator_multiply_adds": multiply_adds(parts[0]), "generator_weights": parts[0].count_params(),
                    "discriminator_multiply_adds": multiply_adds(parts[-1]),
                    "discriminator_weights": parts[-1].count_params()} for name, parts in networks.items()}
    figure = draw_variants(results, pictures, "Convolutions for Dense layers, with as many multiply-adds",
                           {**FIGURES, "precision": ("precision", 1)})
    return {"time": seconds, "sizes": sizes, "variants": results}, figure
