"""Mode collapse, vanishing gradients and non-convergence: provoked and measured."""

import functools
import itertools

import keras
import numpy as np
import tensorflow as tf
from cgan_mnist import build_discriminator, generate_images
from coursework.comparison import summarize
from coursework.figures import images_to_text, text_to_images
from coursework.trainings import RECIPES, load_trained, score_images, variant_settings
from coursework.variants import probabilities
from matplotlib.figure import Figure
from mnist_gan.data.mnist import DIGITS, SIDE, scale_images
from mnist_gan.drawing.pictures import tile_images
from mnist_gan.running.run import shuffled_batches

RECIPE = RECIPES["coursework"]  # it has none of the additions of the default
SHOWN = np.full(14, 4)  # a digit that is written in several ways

# What the generator minimizes, of the logits (n, 1) of its images: exact also where the discriminator is sure.
LOSSES = {"log_d": lambda logits: tf.nn.softplus(-logits), "log_1_minus_d": lambda logits: -tf.nn.softplus(logits)}


def judge(discriminator, images, labels):
    """Return the logits (n, 1) of images (n, 28, 28, 1) with labels (n,)."""
    return discriminator([tf.convert_to_tensor(images), tf.convert_to_tensor(labels, tf.int32)], training=False)


def image_gradient_norm(discriminator, images, labels, loss):
    """Return the mean norm of the gradients of `loss` at each of images (n, 28, 28, 1)."""
    images = tf.convert_to_tensor(images)
    with tf.GradientTape() as tape:
        tape.watch(images)
        total = tf.reduce_sum(loss(judge(discriminator, images, labels)))
    return float(tf.reduce_mean(tf.norm(tf.reshape(tape.gradient(total, images), (len(images), -1)), axis=1)))


def weights_gradient_norm(gan, images_of, labels, loss):
    """Return the norm of the gradient of the mean `loss` of what `images_of()` draws for the generator's weights."""
    with tf.GradientTape() as tape:
        value = tf.reduce_mean(loss(judge(gan.discriminator, images_of(), labels)))
    return float(tf.linalg.global_norm(tape.gradient(value, gan.generator.trainable_variables)))


def measure_pair(context, gan):
    """Return how sure a pair's discriminator is, and both gradients that it gives the generator, a dictionary.

    `log_d` is the norm of the gradient of mean -log D(G(z)) for the generator's weights, `log_1_minus_d` that of mean
    log(1 - D(G(z))); the means of the norms for single images have `_image` behind their names.
    """
    labels = np.arange(1000, dtype=np.int32) % DIGITS
    noise = np.random.default_rng(0).standard_normal((len(labels), gan.settings.latent_dim), np.float32)

    def draw():
        return gan.generator([noise, labels], training=False)
    generated = probabilities(gan.discriminator, draw(), labels).numpy()
    real = probabilities(gan.discriminator, scale_images(context.x_test[:1000]), context.y_test[:1000]).numpy()
    return {"accuracy": float(((real > 0.5).mean() + (generated <= 0.5).mean()) / 2),
            "said_of_generated": float(generated.mean(dtype=np.float64)),
            **{name: weights_gradient_norm(gan, draw, labels, loss) for name, loss in LOSSES.items()},
            **{f"{name}_image": image_gradient_norm(gan.discriminator, draw(), labels, loss)
               for name, loss in LOSSES.items()}}


def train_alone(context, seed, update, counts, measure):
    """Return what `measure(gan)` says of a trained pair after `update(gan, indices, step)` alone for each of `counts`.

    The batches are those that a longer training would have had next.
    """
    gan = load_trained(context, "coursework", seed, RECIPE)
    compiled = tf.function(functools.partial(update, gan), jit_compile=not context.quick, autograph=False)
    epochs = itertools.count(gan.settings.epochs)
    batches = itertools.chain.from_iterable(shuffled_batches(gan.settings, epoch) for epoch in epochs)
    found = []
    for before, after in zip((0, *counts), counts, strict=False):
        for step, indices in itertools.islice(batches, after - before):
            compiled(indices, step)
        found.append(measure(gan))
    return found


# ------------------------------------------------------------------------------------------- collapse


def mode_collapse(context):
    """Mode collapse provoked: the generator of a trained pair learns on against a discriminator that stands still."""
    counts = (0, 100, 300, 1000, 3000) if not context.quick else (0, 3)

    def measure(gan):
        gan.finish_ema_generator()  # without an EMA, the generator as it is
        labels = context.real_images[1]
        return {**score_images(context, generate_images(gan.ema_generator, labels, 0), labels),
                **measure_pair(context, gan),
                "images": images_to_text(generate_images(gan.ema_generator, SHOWN, 0))}

    found = context.cached_for_seeds("generator alone", lambda seed: train_alone(
        context, seed, lambda gan, indices, step: gan.train_generator(step), counts, measure))
    stages = {str(count): summarize([stages[number] for stages in found]) for number, count in enumerate(counts)}
    return {"batches_of_g_alone": stages}, draw_collapse(counts, found)


def draw_collapse(counts, found):
    """Draw the images and the metrics of `found`, for each seed a list of what is measured after each of `counts`."""
    figure = Figure((9, 5.2), dpi=100, layout="constrained")
    above, below = figure.subfigures(2, 1, height_ratios=(0.4 * len(counts) + 0.5, 2.6))
    axes = above.subplots()
    mosaic = tile_images(np.concatenate([text_to_images(stage["images"]) for stage in found[0]]), len(SHOWN))
    axes.imshow(mosaic, cmap="gray", vmin=-1, vmax=1)
    names = [f"after {count:,} batches" for count in counts]
    axes.set_yticks((np.arange(len(counts)) + 0.5) * SIDE, names, fontsize=10)
    axes.set_xticks([])
    axes.tick_params(length=0)
    above.suptitle(f"{len(SHOWN)} noises for the digit 4, while the generator alone learns on", fontsize=12)
    for axes, (name, label) in zip(below.subplots(1, 3), (
            ("variance", "variance within digits\n(test images: 1)"), ("said_of_generated", "D on generated images"),
            ("log_d", "gradient of −log D\nfor G's weights, norm")), strict=True):
        for stages in found:
            axes.plot(counts, [stage[name] for stage in stages], "o-", color="black", markersize=4)
        axes.set_xscale("symlog", linthresh=counts[1])
        axes.set_xticks(counts, [f"{count:,}" for count in counts], fontsize=8)
        axes.minorticks_off()
        axes.set_title(label, fontsize=11)
        axes.set_xlabel("batches of G alone", fontsize=10)
        axes.set_ylim(0)
        axes.grid(alpha=0.3)
    return figure


# ------------------------------------------------------------------------------------------ gradients


def train_against_real_images(context, seed):
    """Train a discriminator of the coursework's recipe, without smoothing, against real images in place of generated.

    These are what a perfect generator would draw. Returns the discriminator and the sum of its losses in every batch
    (batches,), whose best value is log 4.
    """
    settings = variant_settings(context, RECIPE, seed)
    keras.utils.set_random_seed(seed)
    discriminator = build_discriminator(settings.dropout, settings.discriminator_units)
    optimizer = keras.optimizers.Adam(settings.discriminator_learning_rate, beta_1=0.5)
    optimizer.build(discriminator.trainable_variables)
    x_train, y_train = tf.constant(context.x_train), tf.constant(context.y_train)
    # The first half of the images is "real", the second "generated": no image is in both.
    indices = np.random.default_rng(seed).integers(
        0, len(x_train) // 2, (20 if context.quick else 938, 2, settings.batch_size))
    indices[:, 1] += len(x_train) // 2

    @tf.function(jit_compile=not context.quick, autograph=False)
    def train_step(real, generated):
        total = 0.0
        for sign, chosen in ((-1, real), (1, generated)):
            with tf.GradientTape() as tape:
                images = scale_images(tf.gather(x_train, chosen))
                logits = discriminator([images, tf.gather(y_train, chosen)], training=True)
                value = tf.reduce_mean(tf.nn.softplus(sign * logits))
            optimizer.apply(tape.gradient(value, discriminator.trainable_variables), discriminator.trainable_variables)
            total += value
        return total
    return discriminator, np.array([train_step(*tf.constant(pair)).numpy() for pair in indices])


def measure_perfect_generator(context, seed):
    """Return how sure a discriminator is of a perfect generator's images, and the gradients that it gives for them."""
    discriminator, _ = train_against_real_images(context, seed)
    images, labels = scale_images(context.x_test[:1000]), context.y_test[:1000]
    return {"said_of_generated": float(tf.reduce_mean(probabilities(discriminator, images, labels))),
            **{f"{name}_image": image_gradient_norm(discriminator, images, labels, loss)
               for name, loss in LOSSES.items()}}


def gradients(context):
    """The generator's gradient for both losses, while the discriminator of a trained pair alone learns on."""
    counts = (0, 100, 300, 1000, 3000, 10_000) if not context.quick else (0, 3)

    def update(gan, indices, step):
        gan.train_on_real(indices)
        gan.train_on_generated(indices, step)

    found = context.cached_for_seeds("discriminator alone", lambda seed: train_alone(
        context, seed, update, counts, functools.partial(measure_pair, context)))
    ideal = context.cached_for_seeds("perfect generator", functools.partial(measure_perfect_generator, context))
    return ({"batches_of_d_alone": {str(count): summarize([curve[number] for curve in found])
                                    for number, count in enumerate(counts)},
             "perfect_generator": summarize(ideal)}, draw_gradients(counts, found, ideal))


def draw_gradients(counts, found, ideal):
    """Draw how sure the discriminator is and the norms of both losses' gradients; arguments as `gradients` has them."""
    figure = Figure((9, 3.6), dpi=100, layout="constrained")
    sure, weights, image = figure.subplots(1, 3)
    for number, (curve, optimum) in enumerate(zip(found, ideal, strict=True)):
        columns = {name: [stage[name] for stage in curve] for name in curve[0]}

        def label(text, number=number):
            return None if number else text
        sure.plot(counts, columns["said_of_generated"], "o-", color="black", markersize=4)
        for name, text, color in (("log_d", "−log D", "#332288"), ("log_1_minus_d", "log(1 − D)", "#CC6677")):
            weights.plot(counts, columns[name], "o-", color=color, markersize=4, label=label(text))
            image.plot(columns["said_of_generated"], columns[f"{name}_image"], "o-", color=color, markersize=4)
            image.plot(optimum["said_of_generated"], optimum[f"{name}_image"], "*", color=color, markersize=11,
                       fillstyle="full" if name == "log_d" else "none", label=label(f"{text}, real images"))
    sure.set_title("D on generated images", fontsize=11)
    weights.set_title("gradient for G's weights, norm", fontsize=11)
    image.set_title("gradient for one image, norm", fontsize=11)
    for axes in (sure, weights):
        axes.set_xscale("symlog", linthresh=counts[1])
        axes.set_xticks(counts, [f"{count:,}" for count in counts], fontsize=7)
        axes.minorticks_off()
        axes.set_xlabel("batches of D alone", fontsize=10)
    image.set(xscale="log", xlabel="D on these images")
    for axes in figure.axes:
        axes.set_yscale("log")
        axes.grid(alpha=0.3)
    for axes in (weights, image):
        axes.legend(fontsize=8)
    return figure


# ---------------------------------------------------------------------------------- non-convergence


def play_bilinear_game(rate, steps, alternating):
    """Return the players' positions (steps + 1, 2) in min over x, max over y of xy by gradient steps from (1, 0)."""
    path = np.empty((steps + 1, 2))
    path[0] = 1, 0
    for step in range(steps):
        x, y = path[step]
        new_x = x - rate * y
        path[step + 1] = new_x, y + rate * (new_x if alternating else x)
    return path


def bilinear_game(context):
    """Non-convergence in the smallest game, min over x, max over y of xy, and what averaging does there."""
    rate, steps = 0.1, 500
    results, figure = {"rate": rate, "steps": steps}, Figure((9, 3.9), dpi=100, layout="constrained")
    *drawn, distance = figure.subplots(1, 3)
    for axes, (name, alternating) in zip(drawn, (("simultaneous", False), ("alternating", True)), strict=True):
        path = play_bilinear_game(rate, steps, alternating)
        mean = np.cumsum(path, axis=0) / np.arange(1, steps + 2)[:, np.newaxis]
        axes.plot(*path.T, linewidth=1, color="#CC6677", label="the players")
        axes.plot(*mean.T, linewidth=2.5, color="#332288", label="the average of all their steps so far")
        axes.plot(0, 0, "k+", markersize=14, linestyle="none", label="the equilibrium")
        axes.set(xlabel="x, which minimizes xy", ylabel="y, which maximizes xy", aspect="equal")
        axes.set_title(f"{name} steps", fontsize=11)
        axes.locator_params(axis="x", nbins=5)
        for color, curve in (("#CC6677", path), ("#332288", mean)):
            distance.semilogy(np.linalg.norm(curve, axis=1), color=color, linestyle="-" if alternating else "--")
        results[name] = {
            "largest_distance": float(np.linalg.norm(path, axis=1).max()),
            "smallest_distance": float(np.linalg.norm(path, axis=1).min()),
            "late_distance_of_average": float(np.linalg.norm(mean[-100:], axis=1).max()),  # more than a round
            "last_distance": float(np.linalg.norm(path[-1]))}
    results["predicted_simultaneous_distance"] = float((1 + rate**2) ** (steps / 2))
    distance.set(xlabel="step", ylabel="distance from the equilibrium", ylim=(1e-3, 20))
    distance.set_title("both (dashed: simultaneous)", fontsize=11)
    figure.legend(*drawn[0].get_legend_handles_labels(), loc="outside lower left", fontsize=9, ncols=3)
    distance.grid(alpha=0.3)
    return results, figure
