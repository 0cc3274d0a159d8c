"""Mode collapse, vanishing gradients and non-convergence: provoked, measured, and what each remedy does about them."""

import keras
import numpy as np
import tensorflow as tf
from cgan_mnist import generate_images
from coursework.runs import (BATCH_SIZE, FIGURES, RECIPES, draw_variants, judge, cached_training, score, score_real,
                             summarize, train, train_and_score)
from coursework.training import against_a_perfect_generator, log, with_losses
from matplotlib.figure import Figure
from mnist_gan.data.mnist import DIGITS, scale_images


def mode_collapse(options, part):
    """Mode collapse provoked: the generator trained on against a discriminator that stands still, or far too fast."""
    stages = (0, 50, 100, 200, 400) if not options.quick else (0, 10)

    def collapse(seed):
        training = cached_training(options, seed, "vanilla")
        scores, first = [], len(training.history)
        train_generator = tf.function(training.train_generator, jit_compile=not options.quick, autograph=False)
        for start, stop in zip((0, *stages), stages, strict=False):
            for step in range(start, stop):
                train_generator(tf.constant(first + step))
            images, labels = draw_inputs(training.generator, 500, seed)
            fooled = judge(training.discriminator, images, labels)
            scores.append({**score(options, training.generator), "fooled": float(tf.reduce_mean(fooled))})
        return scores
    found = [part(f"generator alone, seed {seed}", lambda seed=seed: collapse(seed)) for seed in options.seeds]
    columns = {"trained pair" if steps == 0 else f"{steps} batches of G alone": [scores[number] for scores in found]
               for number, steps in enumerate(stages)}

    def hurry(seed):
        training = train(options, seed, (*RECIPES["vanilla"], "--generator-learning-rate", "2e-2",
                                         "--discriminator-learning-rate", "1e-4"))
        return {**score(options, training.generator), "fooled": float(training.history[-100:, 5].mean())}
    columns["G's rate × 10, D's ÷ 10"] = [part(f"fast generator, seed {seed}", lambda seed=seed: hurry(seed))
                                          for seed in options.seeds]
    columns["real images"] = [part("real images", lambda: score_real(options))]
    results = {name: summarize(scores) for name, scores in columns.items()}
    figure = draw_variants(results, {name: scores[0]["images"] for name, scores in columns.items()},
                           "Mode collapse, provoked in the vanilla recipe (last weights)",
                           {**FIGURES, "fooled": ("D on generated", 1)})
    return {"variants": results}, figure


def draw_inputs(generator, count, seed):
    """Return images (count, 28, 28, 1) that a generator draws, and their labels (count,), for a discriminator."""
    labels = np.arange(count, dtype=np.int32) % DIGITS
    return generate_images(generator, labels, seed), labels


def gradient_norms(training, seed, count=500):
    """Return the norms of the generator's gradients for both losses, at images that `seed` determines.

    `log_d` is that of mean -log D(G(z)), `log_1_minus_d` that of mean log(1 - D(G(z))), both with respect to the
    generator's weights; those with respect to the images, the mean over the images, have `_image` behind their names.
    """
    noise = tf.random.stateless_normal((count, training.generator.inputs[0].shape[1]), (seed, -100))
    labels = tf.range(count) % DIGITS
    norms = {}
    for name, loss in LOSSES.items():
        with tf.GradientTape() as tape:
            images = training.generator([noise, labels], training=True)
            value = tf.reduce_mean(loss(judge(training.discriminator, images, labels)))
        gradient = tape.gradient(value, training.generator.trainable_variables)
        norms[name] = float(tf.linalg.global_norm(gradient))
        norms[f"{name}_image"] = image_gradient_norm(training.discriminator, images, labels, loss)
    return norms


# Without Keras's cut at 1e-7, so that what vanishes here vanishes by the loss alone.
LOSSES = {"log_d": lambda p: -tf.math.log(tf.maximum(p, 1e-35)), "log_1_minus_d": lambda p: log(1 - p)}


def image_gradient_norm(discriminator, images, labels, loss):
    """Return the mean norm of the gradients of `loss` at each of images (n, 28, 28, 1)."""
    images = tf.convert_to_tensor(images)
    with tf.GradientTape() as tape:
        tape.watch(images)
        total = tf.reduce_sum(loss(judge(discriminator, images, labels)))
    gradient = tf.reshape(tape.gradient(total, images), (len(images), -1))
    return float(tf.reduce_mean(tf.norm(gradient, axis=1)))


def discriminator_accuracy(options, training, images, labels):
    """Return (share of right answers to real test images and generated `images`, mean answer to the generated)."""
    _, _, x_test, y_test = options.data
    real = judge(training.discriminator, scale_images(x_test[:1000]), y_test[:1000]).numpy()
    generated = judge(training.discriminator, images, labels).numpy()
    return float(((real > 0.5).mean() + (generated <= 0.5).mean()) / 2), float(generated.mean(dtype=np.float64))


def gradients(options, part):
    """The generator's gradient for both losses, while the discriminator alone learns on."""
    stages = (0, 25, 50, 100, 200, 400, 800) if not options.quick else (0, 10)

    def measure(training, seed):
        images, labels = draw_inputs(training.generator, 1000, seed)
        accuracy, said = discriminator_accuracy(options, training, images, labels)
        return {"accuracy": accuracy, "said_of_generated": said, **gradient_norms(training, seed)}

    def learn_on(seed):
        training = cached_training(options, seed, "vanilla")
        rows = np.random.default_rng(seed).integers(0, len(options.data[0]), (max(stages), BATCH_SIZE), np.int32)
        rows = tf.constant(rows)
        first = len(training.history)

        def update(step):
            chosen = tf.gather(rows, step - first)  # a slice would make XLA compile anew for every step
            training.train_on_real(chosen)
            training.train_on_generated(chosen, step)
        found = []
        compiled = tf.function(update, jit_compile=not options.quick, autograph=False)
        for start, stop in zip((0, *stages), stages, strict=False):
            for step in range(start, stop):
                compiled(tf.constant(first + step))
            found.append(measure(training, seed))
        return found

    def perfect(seed):
        discriminator, _ = against_a_perfect_generator(options, seed)
        _, _, x_test, y_test = options.data
        images, labels = scale_images(x_test[:500]), y_test[:500]
        return {"said_of_generated": float(tf.reduce_mean(judge(discriminator, images, labels))),
                **{f"{name}_image": image_gradient_norm(discriminator, images, labels, loss)
                   for name, loss in LOSSES.items()}}
    found = [part(f"discriminator alone, seed {seed}", lambda seed=seed: learn_on(seed)) for seed in options.seeds]
    ideal = [part(f"perfect generator, seed {seed}", lambda seed=seed: perfect(seed)) for seed in options.seeds]
    return ({"batches_of_d_alone": {str(batches): summarize([stage[number] for stage in found])
                                    for number, batches in enumerate(stages)},
             "perfect_generator": summarize(ideal)}, draw_gradients(stages, found, ideal))


def draw_gradients(stages, found, ideal):
    """Draw how sure the discriminator is and the norms of both losses' gradients; arguments as `gradients` has them."""
    figure = Figure((15, 4.8), dpi=100, layout="constrained")
    sure, weights, image = figure.subplots(1, 3)
    for number, (curve, optimum) in enumerate(zip(found, ideal, strict=True)):
        def column(name, curve=curve):
            return [stage[name] for stage in curve]

        def label(text, number=number):
            return None if number else text
        sure.plot(stages, column("accuracy"), "o-", color="tab:green", label=label("right answers (share)"))
        sure.plot(stages, column("said_of_generated"), "o-", color="tab:red", label=label("mean D on generated images"))
        for name, text, color in (("log_d", "−log D", "tab:blue"), ("log_1_minus_d", "log(1 − D)", "tab:orange")):
            weights.plot(stages, column(name), "o-", color=color, label=label(text))
            image.plot(column("said_of_generated"), column(f"{name}_image"), "o-", color=color, label=label(text))
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


def schedule(make):
    """Return a function for `train`'s `change` that gives both optimizers the schedule `make(rate, updates)`."""
    def change(training, settings):
        batches = settings.train_size // settings.batch_size
        training.generator_optimizer.learning_rate = make(settings.generator_learning_rate, batches)
        # Two updates in every batch.
        training.discriminator_optimizer.learning_rate = make(settings.discriminator_learning_rate, 2 * batches)
    return change


def decay_weights(training, settings, rate=1.0):
    """Let the discriminator's weights decay by `rate` times the learning rate in every update, as in AdamW."""
    training.discriminator_optimizer.weight_decay = rate


def remedies(options, part):
    """Remedies, one at a time in the vanilla recipe: modes, quality, and the gradient that reaches the generator."""
    vanilla = RECIPES["vanilla"]

    def decaying(rate, updates):
        return keras.optimizers.schedules.CosineDecay(rate, updates)

    def cyclic(rate, updates):
        return keras.optimizers.schedules.CosineDecayRestarts(rate, max(1, updates // 4), t_mul=1.0)
    variants = {
        "vanilla": None,
        "dropout 0.4": dict(arguments=(*vanilla, "--dropout", "0.4")),
        "weight decay": dict(arguments=vanilla, change=decay_weights),
        "smoothing 0.1": dict(arguments=(*vanilla, "--label-smoothing", "0.1")),
        "smoothing 0.3": dict(arguments=(*vanilla, "--label-smoothing", "0.3")),
        "smoothing 0.1, two-sided": dict(
            arguments=(*vanilla, "--label-smoothing", "0.1"),
            change=with_losses(generated=lambda p: -0.1 * log(p) - 0.9 * log(1 - p))),
        "rates fall (cosine)": dict(arguments=vanilla, change=schedule(decaying)),
        "rates fall four times": dict(arguments=vanilla, change=schedule(cyclic)),
        "mode seeking": dict(arguments=(*vanilla, "--mode-seeking-weight", "0.24")),
    }

    def measure(training):
        return {"gradient": gradient_norms(training, 0)["log_d"],
                "said_of_generated": float(training.history[-100:, 5].mean())}
    results, pictures = train_and_score(options, part, variants, measure)
    scores = [part(f"last weights, seed {seed}",
                   lambda seed=seed: score(options, cached_training(options, seed, "vanilla").generator))
              for seed in options.seeds]
    results = {"vanilla": results.pop("vanilla"), "vanilla, without EMA": summarize(scores), **results}
    pictures["vanilla, without EMA"] = scores[0]["images"]
    return {"variants": results}, draw_variants(
        results, pictures, "Remedies, one at a time in the vanilla recipe",
        {**FIGURES, "gradient": ("gradient for G's\nweights, norm", 1), "said_of_generated": ("D on generated", 1)})


def bilinear_game(options, part):
    """Non-convergence in the smallest game, min over x, max over y of xy, and what averaging does there."""
    rate, steps = 0.1, 500

    def play(alternating):
        path = np.empty((steps + 1, 2))
        path[0] = 1, 0
        for step in range(steps):
            x, y = path[step]
            new_x = x - rate * y
            path[step + 1] = new_x, y + rate * (new_x if alternating else x)
        return path
    results, figure = {"rate": rate, "steps": steps}, Figure((15, 5.4), dpi=100, layout="constrained")
    *drawn, distance = figure.subplots(1, 3)
    for axes, (name, alternating) in zip(drawn, (("simultaneous", False), ("alternating", True)), strict=True):
        path = play(alternating)
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
