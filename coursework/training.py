"""How a GAN is trained: two recipes and what each part of them does, the objective, other losses."""

import functools
import json
import math

import numpy as np
from coursework.collapse import train_against_real_images
from coursework.comparison import compare, summarize
from coursework.context import COMMITTED
from coursework.trainings import RECIPES, Variant
from coursework.variants import DecayedWeights, PrintedLosses, SaturatingLoss, with_momentum, without_normalization
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator
from mnist_gan.drawing.curves import best_answer


def baseline(context):
    """The default recipe and the coursework's, which the other experiments change one thing of."""
    return compare(context, RECIPES, "Both recipes")


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
    committed, best, epochs = read_committed_run()
    per_epoch = committed.reshape(epochs, -1)
    low, high = np.percentile(per_epoch, (5, 95), axis=1)
    last = slice(-len(perfect[0]) // 5, None)
    return {
        "log_4": math.log(4),
        "against_real_images": summarize([{"sum_of_losses": float(np.mean(curve[last]))} for curve in perfect]),
        "committed": {"best": best, "epochs": epochs,
                      **{name: {"mean": float(per_epoch[epoch].mean()), "low": float(low[epoch]),
                                "high": float(high[epoch])}
                         for name, epoch in (("first_epoch", 0), ("middle_epoch", epochs // 2), ("last_epoch", -1))}},
    }, draw_objective(per_epoch, low, high, best, perfect)


def draw_objective(per_epoch, low, high, best, perfect):
    """Draw the committed run's losses (epochs, batches) and FID, those against real images, the printed objective."""
    figure = Figure((9, 3.8), dpi=100, layout="constrained")
    run, short, printed = figure.subplots(1, 3)
    position = np.arange(1, len(per_epoch) + 1)
    run.fill_between(position, low, high, color="#88CCEE", alpha=0.5, label="losses, 90% of the batches")
    run.plot(position, per_epoch.mean(axis=1), color="#332288", marker="o", markersize=3, label="losses, mean")
    run.axhline(best, color="black", linestyle="--", label=f"{best:.3f}: cannot tell")
    run.set(ylim=(0, 2 * best), xlabel="epoch", ylabel="sum of D's losses (nats)")
    run.set_title("the committed run", fontsize=11)
    quality = np.genfromtxt(COMMITTED / "cgan" / "quality.csv", delimiter=",", names=True)
    fid = run.twinx()
    fid.plot(quality["epoch"], quality["fid"], color="#CC6677", marker="s", markersize=3, label="FID")
    fid.set(yscale="log", ylabel="FID")
    fid.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    fid.yaxis.set_major_formatter("{x:g}")
    fid.minorticks_off()
    lines, texts = zip(*(axes.get_legend_handles_labels() for axes in (run, fid)), strict=True)
    fid.legend(sum(lines, []), sum(texts, []), fontsize=8, loc="upper right")
    for number, curve in enumerate(perfect):
        width = max(1, len(curve) // 50)
        smooth = np.convolve(curve, np.ones(width) / width, "valid")
        short.plot(np.arange(len(smooth)) + width, smooth, color="#117733", linewidth=1,
                   label=None if number else f"losses, mean of {width} batches")
    short.axhline(math.log(4), color="black", linestyle="--", label="log 4 = 1.386")
    short.set(xlabel="batch", ylim=(1.3, 1.6))
    short.set_title("real images as generated", fontsize=11)
    answer = np.linspace(1e-3, 1 - 1e-3, 400)
    for share, color in ((0.3, "#CC6677"), (0.7, "#332288")):
        printed.plot(answer, share * np.log(answer) + (1 - share) * np.log(1 - answer), color=color,
                     label=f"log(1 − D), {share:.0%} real")
        printed.plot(answer, share * np.log(answer) + (1 - share) * (1 - np.log(answer)), color=color, linestyle="--",
                     label=f"1 − log D, {share:.0%} real")
    printed.set(xlabel="D's answer", ylabel="nats", ylim=(-3, 4.5))
    printed.set_title("what D maximizes", fontsize=11)
    run.xaxis.get_major_locator().set_params(integer=True)
    for axes in (short, printed):
        axes.legend(fontsize=8)
    for axes in (run, short, printed):
        axes.grid(alpha=0.3)
    return figure


# ------------------------------------------------------------------- one thing of a recipe changed

ABLATION = {
    "default": RECIPES["default"],
    **{name: Variant(arguments=(option, "0")) for name, option in {
        "last weights": "--ema-decay", "no mode seeking": "--mode-seeking-weight",
        "no wrong labels": "--wrong-label-weight", "no stretched grays": "--gray-stretch",
        "no box filter": "--box-filter"}.items()}}
ADDITIONS = {
    "coursework": RECIPES["coursework"],
    **{name: Variant("coursework", arguments) for name, arguments in {
        "EMA": ("--ema-decay", "0.9998"), "mode seeking": ("--mode-seeking-weight", "0.4"),
        "wrong labels": ("--wrong-label-weight", "0.1"), "stretched grays": ("--gray-stretch", "1"),
        "box filter": ("--box-filter", "1")}.items()}}
REMEDIES = {
    "coursework": RECIPES["coursework"],
    "no label smoothing": Variant("coursework", ("--label-smoothing", "0")),
    "no dropout": Variant("coursework", ("--dropout", "0")),
    "weight decay": Variant("coursework", model=DecayedWeights)}
LOSSES = {
    "coursework": RECIPES["coursework"],
    "log(1 − D) for G": Variant("coursework", model=SaturatingLoss),
    "1 − log D, printed": Variant("coursework", model=PrintedLosses)}
NORMALIZATION = {
    **RECIPES,
    "default without": Variant(networks=without_normalization),
    "coursework without": Variant("coursework", networks=without_normalization),
    "coursework, momentum 0.99": Variant("coursework", networks=functools.partial(with_momentum, momentum=0.99))}


def ablation(context):
    """The default recipe with each of its additions left out alone."""
    return compare(context, ABLATION, "The default without each of its additions")


def additions(context):
    """The coursework's recipe with each of the default's additions alone."""
    return compare(context, ADDITIONS, "The coursework's recipe with each addition alone")


def remedies(context):
    """What the coursework names against collapse and vanishing gradients, left out or added in its recipe."""
    return compare(context, REMEDIES, "The coursework's recipe without its remedies, and with weight decay")


def losses(context):
    """Other losses in the coursework's recipe: log(1 - D) for the generator, and 1 - log D as the coursework prints."""
    return compare(context, LOSSES, "Losses (coursework: −log D for the generator)")


def normalization(context):
    """The generator without BatchNormalization in both recipes, and with a momentum of 0.99 (Keras's own) for 0.8."""
    return compare(context, NORMALIZATION, "BatchNormalization (both recipes: momentum 0.8)")
