"""How a GAN is trained: two recipes, the objective, other losses, and BatchNormalization."""

import functools
import json
import math

import numpy as np
from coursework.context import COMMITTED
from coursework.figures import METRICS, draw_variants
from coursework.short_trainings import (BATCH_SIZE, HURRIED, RECIPES, VANILLA, cached_training, summarize,
                                        train_against_real_images, train_and_score)
from coursework.variants import PrintedLosses, SaturatingLoss, with_momentum, without_normalization
from matplotlib.figure import Figure
from mnist_gan.drawing.curves import best_answer


def baseline(context):
    """The default recipe and a vanilla one in short trainings, which the other experiments change one thing of."""
    results, pictures = train_and_score(context, dict.fromkeys(RECIPES))
    batches = len(cached_training(context, context.seeds[0])[1])
    return ({"batches": batches, "batch_size": BATCH_SIZE, "hurried": HURRIED, "samples": context.samples,
             "training_images_reached_by_test_images": context.reached_by_test_images, "variants": results},
            draw_variants(results, pictures, f"Both recipes after {batches} batches"))


# ------------------------------------------------------------------------------------ the objective


def read_committed_run():
    """Return (losses, best, epochs) of the committed run.

    `losses` (batches,) is the sum of the discriminator's two losses in every batch, `best` its value with the best
    answer to images that could as well be real as generated, without the wrong labels' own part, which the history
    does not have.
    """
    settings = json.loads((COMMITTED / "cgan" / "settings.json").read_text())
    table = np.genfromtxt(COMMITTED / "cgan" / "history.csv", delimiter=",", names=True)
    s = settings["label_smoothing"]
    d = best_answer(s, settings["wrong_label_weight"])
    return (table["d_loss_real"] + table["d_loss_fake"],
            -(1 - s) * math.log(d) - s * math.log(1 - d) - math.log(1 - d), int(table["epoch"][-1]))


def objective(context):
    """The objective: log 4 against a perfect generator, the committed run's way to a band, the objective as printed."""
    perfect = context.cached_for_seeds(
        "perfect generator", lambda seed: train_against_real_images(context, seed)[1].astype(float).tolist())
    vanilla = [cached_training(context, seed, "vanilla")[1] for seed in context.seeds]
    trained = [(history[:, 0] + history[:, 1]).astype(float) for history in vanilla]
    committed, best, epochs = read_committed_run()
    per_epoch = committed.reshape(epochs, -1)
    low, high = np.percentile(per_epoch, (5, 95), axis=1)
    last = slice(-len(perfect[0]) // 5, None)
    return {
        "log_4": math.log(4),
        "against_real_images": summarize([{"sum_of_losses": float(np.mean(curve[last]))} for curve in perfect]),
        "against_the_vanilla_generator": summarize([{
            "sum_of_losses": float(curve[last].mean()), "said_of_real": float(history[last, 4].mean()),
            "said_of_generated": float(history[last, 5].mean())}
            for curve, history in zip(trained, vanilla, strict=True)]),
        "committed": {"best": best, "epochs": epochs,
                      **{name: {"mean": float(per_epoch[epoch].mean()), "low": float(low[epoch]),
                                "high": float(high[epoch])}
                         for name, epoch in (("first_epoch", 0), ("middle_epoch", epochs // 2), ("last_epoch", -1))}},
    }, draw_objective(per_epoch, low, high, best, trained, perfect)


def draw_objective(per_epoch, low, high, best, trained, perfect):
    """Draw the committed run's losses (epochs, batches), those of short trainings, and the objective as printed."""
    figure = Figure((15, 4.6), dpi=100, layout="constrained")
    run, short, printed = figure.subplots(1, 3)
    position = np.arange(len(per_epoch)) + 0.5
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
    return figure


# ------------------------------------------------------------------------------------- other losses


def losses(context):
    """Other losses in the vanilla recipe: the generator's log(1 - D), and 1 - log D as the coursework prints it."""
    def measure(gan, history):
        return {"said_of_real": float(history[-100:, 4].mean()), "said_of_generated": float(history[-100:, 5].mean())}

    results, pictures = train_and_score(context, {
        "vanilla": None,
        "log(1 − D) for G": {"arguments": VANILLA, "model": SaturatingLoss},
        "1 − log D, printed": {"arguments": VANILLA, "model": PrintedLosses}}, measure)
    return {"variants": results}, draw_variants(
        results, pictures, "Losses (vanilla: −log D for the generator)",
        {**METRICS, "said_of_generated": ("D on generated,\nlast 100 batches", 1)})


# ------------------------------------------------------------------------------- BatchNormalization


def normalization(context):
    """The generator without BatchNormalization, and with a momentum of 0.99 (Keras's own) for 0.8."""
    results, pictures = train_and_score(context, {
        "default": None, "momentum 0.99": {"networks": functools.partial(with_momentum, momentum=0.99)},
        "no BatchNormalization": {"networks": without_normalization}})
    return {"variants": results}, draw_variants(results, pictures, "BatchNormalization (the default: momentum 0.8)")
