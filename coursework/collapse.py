"""Mode collapse, vanishing gradients and non-convergence: provoked, measured, and what each remedy does about them."""

import functools

import keras
import numpy as np
import tensorflow as tf
from cgan_mnist import CGAN, generate_images
from coursework.figures import METRICS, draw_variants
from coursework.short_trainings import (BATCH_SIZE, VANILLA, cached_training, score_generator, score_real_images,
                                        summarize, train, train_against_real_images, train_and_score)
from coursework.variants import OtherGeneratedLoss, log, probabilities
from matplotlib.figure import Figure
from mnist_gan.data.mnist import DIGITS, scale_images


def draw_batch(generator, count, seed):
    """Return images (count, 28, 28, 1) that a generator draws, and their labels (count,), for a discriminator."""
    labels = np.arange(count, dtype=np.int32) % DIGITS
    return generate_images(generator, labels, seed), labels


def train_generator_alone(context, batches, seed):
    """Return the scores of the vanilla recipe's generator after it alone learned on for each number of `batches`."""
    gan, history = cached_training(context, seed, "vanilla")
    train_generator = tf.function(gan.train_generator, jit_compile=not context.quick, autograph=False)
    scores = []
    for start, stop in zip((0, *batches), batches, strict=False):
        for step in range(start, stop):
            train_generator(tf.constant(len(history) + step))
        fooled = probabilities(gan.discriminator, *draw_batch(gan.generator, 500, seed))
        scores.append({**score_generator(context, gan.generator), "fooled": float(tf.reduce_mean(fooled))})
    return scores


def train_fast_generator(context, seed):
    """Return the scores of a generator with ten times the rate, against a discriminator with a tenth of it."""
    gan, history = train(context, seed, (*VANILLA, "--generator-learning-rate", "2e-2",
                                         "--discriminator-learning-rate", "1e-4"))
    return {**score_generator(context, gan.generator), "fooled": float(history[-100:, 5].mean())}


def mode_collapse(context):
    """Mode collapse provoked: the generator trained on against a discriminator that stands still, or far too fast."""
    batches = (0, 50, 100, 200, 400) if not context.quick else (0, 10)
    found = context.cached_for_seeds("generator alone", functools.partial(train_generator_alone, context, batches))
    columns = {f"{count} batches of G alone" if count else "trained pair": [scores[number] for scores in found]
               for number, count in enumerate(batches)}
    columns["G's rate × 10, D's ÷ 10"] = context.cached_for_seeds(
        "fast generator", functools.partial(train_fast_generator, context))
    columns["real images"] = [context.cached("real images", functools.partial(score_real_images, context))]
    results = {name: summarize(scores) for name, scores in columns.items()}
    figure = draw_variants(results, {name: scores[0]["images"] for name, scores in columns.items()},
                           "Mode collapse, provoked in the vanilla recipe (last weights)",
                           {**METRICS, "fooled": ("D on generated", 1)})
    return {"variants": results}, figure


# ---------------------------------------------------------------------------------------- gradients

# Without Keras's cut at 1e-7, so that what vanishes here vanishes by the loss alone.
LOSSES = {"log_d": lambda p: -tf.math.log(tf.maximum(p, 1e-35)), "log_1_minus_d": lambda p: log(1 - p)}


def image_gradient_norm(discriminator, images, labels, loss):
    """Return the mean norm of the gradients of `loss` at each of images (n, 28, 28, 1)."""
    images = tf.convert_to_tensor(images)
    with tf.GradientTape() as tape:
        tape.watch(images)
        total = tf.reduce_sum(loss(probabilities(discriminator, images, labels)))
    gradient = tf.reshape(tape.gradient(total, images), (len(images), -1))
    return float(tf.reduce_mean(tf.norm(gradient, axis=1)))


def gradient_norms(gan, seed, count=500):
    """Return the norms of the generator's gradients for both losses, at images that `seed` determines.

    `log_d` is that of mean -log D(G(z)), `log_1_minus_d` that of mean log(1 - D(G(z))), both with respect to the
    generator's weights; those with respect to the images, the mean over the images, have `_image` behind their names.
    """
    noise = tf.random.stateless_normal((count, gan.generator.inputs[0].shape[1]), (seed, -100))
    labels = tf.range(count) % DIGITS
    norms = {}
    for name, loss in LOSSES.items():
        with tf.GradientTape() as tape:
            images = gan.generator([noise, labels], training=True)
            value = tf.reduce_mean(loss(probabilities(gan.discriminator, images, labels)))
        gradient = tape.gradient(value, gan.generator.trainable_variables)
        norms[name] = float(tf.linalg.global_norm(gradient))
        norms[f"{name}_image"] = image_gradient_norm(gan.discriminator, images, labels, loss)
    return norms


def measure_discriminator(context, gan, seed):
    """Return how sure the discriminator is, and both gradients that it gives the generator, a dictionary."""
    images, labels = draw_batch(gan.generator, 1000, seed)
    real = probabilities(gan.discriminator, scale_images(context.x_test[:1000]), context.y_test[:1000]).numpy()
    generated = probabilities(gan.discriminator, images, labels).numpy()
    return {"accuracy": float(((real > 0.5).mean() + (generated <= 0.5).mean()) / 2),
            "said_of_generated": float(generated.mean(dtype=np.float64)), **gradient_norms(gan, seed)}


def train_discriminator_alone(context, batches, seed):
    """Return what is measured of the vanilla recipe after D alone learned on for each number of `batches`."""
    gan, history = cached_training(context, seed, "vanilla")
    indices = np.random.default_rng(seed).integers(0, len(context.x_train), (max(batches), BATCH_SIZE), np.int32)

    @tf.function(jit_compile=not context.quick, autograph=False)
    def train_discriminator(indices, step):
        gan.train_on_real(indices)
        gan.train_on_generated(indices, step)

    found = []
    for start, stop in zip((0, *batches), batches, strict=False):
        for step in range(start, stop):
            train_discriminator(tf.constant(indices[step]), tf.constant(len(history) + step))
        found.append(measure_discriminator(context, gan, seed))
    return found


def measure_perfect_generator(context, seed):
    """Return how sure a discriminator is of a perfect generator's images, and the gradients that it gives for them."""
    discriminator, _ = train_against_real_images(context, seed)
    images, labels = scale_images(context.x_test[:500]), context.y_test[:500]
    return {"said_of_generated": float(tf.reduce_mean(probabilities(discriminator, images, labels))),
            **{f"{name}_image": image_gradient_norm(discriminator, images, labels, loss)
               for name, loss in LOSSES.items()}}


def gradients(context):
    """The generator's gradient for both losses, while the discriminator alone learns on."""
    batches = (0, 25, 50, 100, 200, 400, 800) if not context.quick else (0, 10)
    found = context.cached_for_seeds("discriminator alone",
                                     functools.partial(train_discriminator_alone, context, batches))
    ideal = context.cached_for_seeds("perfect generator", functools.partial(measure_perfect_generator, context))
    return ({"batches_of_d_alone": {str(count): summarize([curve[number] for curve in found])
                                    for number, count in enumerate(batches)},
             "perfect_generator": summarize(ideal)}, draw_gradients(batches, found, ideal))


def draw_gradients(batches, found, ideal):
    """Draw how sure the discriminator is and the norms of both losses' gradients; arguments as `gradients` has them."""
    figure = Figure((15, 4.8), dpi=100, layout="constrained")
    sure, weights, image = figure.subplots(1, 3)
    for number, (curve, optimum) in enumerate(zip(found, ideal, strict=True)):
        columns = {name: [stage[name] for stage in curve] for name in curve[0]}

        def label(text, number=number):
            return None if number else text
        sure.plot(batches, columns["accuracy"], "o-", color="tab:green", label=label("right answers (share)"))
        sure.plot(batches, columns["said_of_generated"], "o-", color="tab:red",
                  label=label("mean D on generated images"))
        for name, text, color in (("log_d", "−log D", "tab:blue"), ("log_1_minus_d", "log(1 − D)", "tab:orange")):
            weights.plot(batches, columns[name], "o-", color=color, label=label(text))
            image.plot(columns["said_of_generated"], columns[f"{name}_image"], "o-", color=color, label=label(text))
            image.plot(optimum["said_of_generated"], optimum[f"{name}_image"], "*", color=color, markersize=14,
                       label=label(f"{text}, real images as generated"))
    sure.set(title="The discriminator, trained on alone", xlabel="batches of the discriminator alone", ylim=(0, 1.02))
    weights.set(title="Gradient for the generator's weights", xlabel="batches of the discriminator alone",
                ylabel="norm", yscale="log")
    image.set(title="Gradient for one image", xlabel="mean D on these images", ylabel="mean norm", xscale="log",
              yscale="log")
    for axes in figure.axes:
        axes.legend(fontsize=10)
        axes.grid(alpha=0.3)
    return figure


# ----------------------------------------------------------------------------------------- remedies


class DecayedWeights(CGAN):
    """The discriminator's weights decay by the learning rate in every update, as in AdamW."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.discriminator_optimizer.weight_decay = 1.0


class FallingRates(CGAN):
    """Both learning rates fall along a cosine."""

    def __init__(self, settings, *arguments):
        super().__init__(settings, *arguments)
        batches = settings.train_size // settings.batch_size
        self.generator_optimizer.learning_rate = self.schedule(settings.generator_learning_rate, batches)
        # Two updates in every batch.
        self.discriminator_optimizer.learning_rate = self.schedule(settings.discriminator_learning_rate, 2 * batches)

    def schedule(self, rate, updates):
        """Return the schedule of a learning rate over a number of updates."""
        return keras.optimizers.schedules.CosineDecay(rate, updates)


class FourTimesFallingRates(FallingRates):
    """Both learning rates fall along a cosine four times, each time from the top."""

    def schedule(self, rate, updates):
        return keras.optimizers.schedules.CosineDecayRestarts(rate, max(1, updates // 4), t_mul=1.0)


class TwoSidedSmoothing(OtherGeneratedLoss):
    """The discriminator's target for generated images is 0.1."""

    def generated_loss(self, probability):
        return -0.1 * log(probability) - 0.9 * log(1 - probability)


REMEDIES = {
    "vanilla": None,
    "dropout 0.4": {"arguments": (*VANILLA, "--dropout", "0.4")},
    "weight decay": {"arguments": VANILLA, "model": DecayedWeights},
    "smoothing 0.1": {"arguments": (*VANILLA, "--label-smoothing", "0.1")},
    "smoothing 0.3": {"arguments": (*VANILLA, "--label-smoothing", "0.3")},
    "smoothing 0.1, two-sided": {"arguments": (*VANILLA, "--label-smoothing", "0.1"), "model": TwoSidedSmoothing},
    "rates fall (cosine)": {"arguments": VANILLA, "model": FallingRates},
    "rates fall four times": {"arguments": VANILLA, "model": FourTimesFallingRates},
    "mode seeking": {"arguments": (*VANILLA, "--mode-seeking-weight", "0.24")},
}


def remedies(context):
    """Remedies, one at a time in the vanilla recipe: modes, quality, and the gradient that reaches the generator."""
    def measure(gan, history):
        return {"gradient": gradient_norms(gan, 0)["log_d"], "said_of_generated": float(history[-100:, 5].mean())}

    def score_last_weights(seed):
        return score_generator(context, cached_training(context, seed, "vanilla")[0].generator)

    results, pictures = train_and_score(context, REMEDIES, measure)
    scores = context.cached_for_seeds("last weights", score_last_weights)
    results = {"vanilla": results.pop("vanilla"), "vanilla, without EMA": summarize(scores), **results}
    pictures["vanilla, without EMA"] = scores[0]["images"]
    return {"variants": results}, draw_variants(
        results, pictures, "Remedies, one at a time in the vanilla recipe",
        {**METRICS, "gradient": ("gradient for G's\nweights, norm", 1), "said_of_generated": ("D on generated", 1)})


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
    results, figure = {"rate": rate, "steps": steps}, Figure((15, 5.4), dpi=100, layout="constrained")
    *drawn, distance = figure.subplots(1, 3)
    for axes, (name, alternating) in zip(drawn, (("simultaneous", False), ("alternating", True)), strict=True):
        path = play_bilinear_game(rate, steps, alternating)
        mean = np.cumsum(path, axis=0) / np.arange(1, steps + 2)[:, np.newaxis]
        axes.plot(*path.T, linewidth=1, label="the players")
        axes.plot(*mean.T, linewidth=2.5, label="the average of all their steps so far")
        axes.plot(0, 0, "k+", markersize=14, label="the equilibrium")
        axes.set(title=f"{name} steps", xlabel="x, which minimizes xy", ylabel="y, which maximizes xy", aspect="equal")
        axes.legend(fontsize=9, loc="upper center", bbox_to_anchor=(0.5, -0.14))  # below what the players fill
        axes.locator_params(axis="x", nbins=5)
        for label, curve in ((name, path), (f"{name}, averaged", mean)):
            distance.semilogy(np.linalg.norm(curve, axis=1), label=label)
        results[name] = {
            "largest_distance": float(np.linalg.norm(path, axis=1).max()),
            "smallest_distance": float(np.linalg.norm(path, axis=1).min()),
            "last_distance_of_average": float(np.linalg.norm(mean[-1])),
            "last_distance": float(np.linalg.norm(path[-1]))}
    results["predicted_simultaneous_distance"] = float((1 + rate**2) ** (steps / 2))
    distance.set(title="Distance from the equilibrium", xlabel="step", ylabel="distance (start: 1)")
    distance.legend(fontsize=9)
    distance.grid(alpha=0.3)
    return results, figure
