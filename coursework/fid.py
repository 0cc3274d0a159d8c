"""The Fréchet distance (FID): what it depends on, what it sees, and what it does not."""

import functools

import keras
import numpy as np
import tensorflow as tf
from cgan_mnist import generate_images, load_generator
from coursework.comparison import summarize
from coursework.context import COMMITTED
from coursework.figures import COLORS, MARKERS, SHOWN_DIGITS, images_to_text, text_to_images
from coursework.trainings import RECIPES, load_trained, score_images
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator
from mnist_gan.data.mnist import DIGITS, PIXELS, blocks, scale_images
from mnist_gan.drawing.pictures import tile_images
from mnist_gan.metrics.classifiers import build_classifier, classify, cosine_adam, cross_entropy
from mnist_gan.metrics.distances import frechet_distance, nearest, precision_recall

COPIES = "training images, copied"
SIZES, QUICK_SIZES = (500, 1000, 2000, 3000, 5000, 10000), (200, 300, 500)


def draw_committed(count, seed):
    """Return images (count, 28, 28, 1) of the committed generator, as many of each digit, and their labels (count,)."""
    labels = np.arange(count) % DIGITS
    return generate_images(load_generator(COMMITTED / "cgan" / "generator.keras"), labels, seed), labels


# -------------------------------------------------------------------------------- number of images


def mean_kernel(a, b):
    """Return the mean of the kernel (x · y / d + 1)³ over all pairs of rows of a (n, d) and b (m, d), float64."""
    return sum(((block @ b.T / a.shape[1] + 1)**3).sum() for block in blocks(a)) / (len(a) * len(b))


def mean_kernel_within(a):
    """Return the mean of the same kernel over all pairs of different rows of a (n, d)."""
    with_itself = ((np.square(a).sum(1) / a.shape[1] + 1)**3).mean()
    return (len(a) * mean_kernel(a, a) - with_itself) / (len(a) - 1)


def kernel_distances(a, b, sizes):
    """Return the unbiased kernel distances (KID) of the first `sizes` rows of a (n, d) from b (m, d), a list.

    Each is a squared maximum mean discrepancy (Bińkowski et al. 2018, https://arxiv.org/abs/1801.01401, section 3).
    """
    a, b = a.astype(np.float64), b.astype(np.float64)
    within_b = mean_kernel_within(b)
    return [float(mean_kernel_within(a[:size]) + within_b - 2 * mean_kernel(a[:size], b)) for size in sizes]


def draw_gaussian(features, random):
    """Return as many rows as `features` (n, d) drawn from a Gaussian with their mean and covariance."""
    return random.multivariate_normal(features.mean(0), np.cov(features, rowvar=False), len(features), method="eigh")


def measure_sizes(context, sizes, seed):
    """Return FID and KID of `sizes` images against all test images, lists by kind of images.

    "known" are features drawn from two Gaussians, whose distance is known: that of the generator's features.
    """
    random = np.random.default_rng(seed)
    # Shuffled, because equal numbers of every digit in a small set would be a bias of their own.
    features = {name: classify(context.classifier, random.permutation(images))[0] for name, images in
                (("real images", context.draw_real_images(seed)[0]),
                 ("generator", draw_committed(context.samples, seed)[0]))}
    test = dict.fromkeys(features, context.all_test_features)
    features["known"], test["known"] = (draw_gaussian(rows.astype(np.float64), random)
                                        for rows in (features["generator"], context.all_test_features))
    return {"fid": {name: [float(frechet_distance(rows[:size], test[name])) for size in sizes]
                    for name, rows in features.items()},
            "kid": {name: kernel_distances(rows, test[name], sizes) for name, rows in features.items()}}


def fid_sample_size(context):
    """FID and KID against the number of images: the bias of FID, and its extrapolation along 1/N in a known case."""
    sizes = QUICK_SIZES if context.quick else SIZES
    found = context.cached_for_seeds("all sizes", functools.partial(measure_sizes, context, sizes))
    # The smallest number of images is off the line.
    fits = {name: [np.polyfit(1 / np.array(sizes[1:]), entry["fid"][name][1:], 1) for entry in found]
            for name in found[0]["fid"]}
    results = {metric: {name: summarize([{
        **{str(size): value for size, value in zip(sizes, entry[metric][name], strict=True)},
        **({"extrapolated": float(fit[1])} if metric == "fid" else {})}
        for entry, fit in zip(found, fits[name], strict=True)]) for name in fits} for metric in ("fid", "kid")}
    return {**results, "test_images": len(context.x_test)}, draw_sizes(sizes, found, fits)


def draw_sizes(sizes, found, fits):
    """Draw `found`, what `measure_sizes` returns for every seed, and the lines in 1 / N through it, `fits`."""
    figure, inverse = Figure((9, 3.8), dpi=100, layout="constrained"), 1000 / np.array(sizes)
    fid, extrapolated, kid = figure.subplots(1, 3)
    for name, color, marker in zip(fits, ("black", "#CC6677", "#332288"), "os^", strict=True):
        for number, (entry, fit) in enumerate(zip(found, fits[name], strict=True)):
            label = None if number else {"known": "two Gaussians, as far apart as the generator"}.get(name, name)
            style = {"color": color, "marker": marker, "markersize": 4, "alpha": 0.8}
            fid.plot(sizes, entry["fid"][name], **style, label=label)
            extrapolated.plot(inverse, entry["fid"][name], **style, linestyle="none")
            reach = np.array([0, inverse[0]])
            extrapolated.plot(reach, np.polyval(fit, reach / 1000), color=color, linewidth=1)
            kid.plot(sizes, 1000 * np.array(entry["kid"][name]), **style)
    truth = np.mean([entry["fid"]["generator"][-1] for entry in found])
    extrapolated.axhline(truth, color="#332288", linestyle=":", label="the Gaussians' distance")
    fid.set_title("FID", fontsize=11)
    extrapolated.set_title("FID along a line in 1 / N", fontsize=11)
    kid.set_title("KID × 1000", fontsize=11)
    extrapolated.set(xlabel="1000 / N", ylim=(0, None))
    extrapolated.legend(fontsize=8)
    for axes in (fid, kid):
        axes.set(xlabel="number of images N", xscale="log", ylim=(0, None) if axes is fid else None)
        axes.set_xticks(sizes[::2], [f"{size:,}" for size in sizes[::2]], fontsize=8)
        axes.minorticks_off()
    for axes in figure.axes:
        axes.grid(alpha=0.3)
    figure.legend(*fid.get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize=9)
    return figure


# ------------------------------------------------------------------------------------- degradations


def blur(images, width):
    """Average images (n, 28, 28, 1) over areas of width x width pixels, without moving or shrinking them."""
    return tf.nn.avg_pool2d(images, width, 1, "SAME").numpy()


def shift(images, pixels):
    """Move images (n, 28, 28, 1) to the right, with black coming in from the left."""
    moved = np.roll(images, pixels, axis=2)
    moved[:, :, :pixels] = -1
    return moved


def degrade(images, labels, seed):
    """Return training images and what becomes of them, pairs of images (n, 28, 28, 1) and labels (n,) by name."""
    random = np.random.default_rng(seed)

    def noisy(scale):
        return np.clip(images + scale * random.standard_normal(images.shape, np.float32), -1, 1)
    others = labels != 7
    refilled = np.where(others, np.arange(len(labels)), random.choice(np.flatnonzero(others), len(labels)))
    few = np.resize(np.concatenate([np.flatnonzero(labels == digit)[:5] for digit in range(DIGITS)]), len(labels))
    return {COPIES: (images, labels), "blur 2 × 2": (blur(images, 2), labels),
            "blur 3 × 3": (blur(images, 3), labels), "noise 0.1": (noisy(0.1), labels),
            "noise 0.3": (noisy(0.3), labels), "shifted 1 pixel": (shift(images, 1), labels),
            "shifted 3 pixels": (shift(images, 3), labels), "other digits for 7": (images[refilled], labels),
            "50 images repeated": (images[few], labels[few])}


def memorized_share(context, images):
    """Return the share of about 300 of images (n, 28, 28, 1) that are copies of training images."""
    pixels = scale_images(context.x_train).numpy().reshape(-1, PIXELS)
    some = images[::-(-len(images) // 300)]
    # Distances come with rounding errors; the nearest pair of different images is farther apart than 0.1.
    return float((nearest(some.reshape(-1, PIXELS), pixels)[0] < 0.1).mean())


def choose_shown(labels):
    """Return the positions in `labels` (n,) of images of SHOWN_DIGITS, each another one, 0 where there are too few."""
    chosen = []
    for number, digit in enumerate(SHOWN_DIGITS):
        positions, before = np.flatnonzero(labels == digit), SHOWN_DIGITS[:number].count(digit)
        chosen.append(positions[before] if before < len(positions) else 0)
    return chosen


def measure_degradations(context, seed):
    """Return the metrics of degraded training images and of the committed generator, by name."""
    kinds = degrade(*context.draw_real_images(seed), seed)
    kinds["committed generator"] = draw_committed(context.samples, seed)
    return {name: {**score_images(context, images, labels), "copies": memorized_share(context, images),
                   "images": images_to_text(images[choose_shown(labels)])}
            for name, (images, labels) in kinds.items()}


def fid_degradations(context):
    """FID of real images after blur, noise, shifts, a missing digit and copies, beside the other metrics."""
    found = context.cached_for_seeds("all images", functools.partial(measure_degradations, context))
    results = {name: summarize([entry[name] for entry in found]) for name in found[0]}
    return {"variants": results}, draw_degradations(
        results, {name: entry["images"] for name, entry in found[0].items()})


def draw_degradations(results, pictures):
    """Draw a row for each kind of images in `results`: some of the first seed and a dot in each metric for every seed.

    `results` maps a kind to what `summarize` returns, `pictures` to the text of its images of SHOWN_DIGITS.
    """
    metrics = ("FID", "precision", "recall")
    names = list(results)
    figure = Figure((9, 0.3 * len(names) + 1.6), dpi=100, layout="constrained")
    grid = figure.add_gridspec(1, 1 + len(metrics), width_ratios=[4.2, 1.2, 1.2, 1.2])
    axes = figure.add_subplot(grid[0])
    mosaic = tile_images(np.concatenate([text_to_images(pictures[name]) for name in names]), len(SHOWN_DIGITS))
    axes.imshow(mosaic, cmap="gray", vmin=-1, vmax=1, aspect="auto",
                extent=(0, len(SHOWN_DIGITS), len(names) - 0.5, -0.5))
    axes.set_yticks(range(len(names)), names, fontsize=9)
    axes.set_xticks(np.arange(len(SHOWN_DIGITS)) + 0.5, SHOWN_DIGITS, fontsize=9)
    axes.set_xlabel("drawn with the first seed, digit asked for", fontsize=9)
    axes.tick_params(length=0)
    for number, metric in enumerate(metrics, 1):
        axes = figure.add_subplot(grid[number])
        for row, kind in enumerate(names):
            values = results[kind][metric.lower()]["seeds"]
            axes.plot(values, [row] * len(values), "o", color=COLORS[row > 0], alpha=0.7, markersize=5)
        axes.set(ylim=(len(names) - 0.5, -0.5), yticks=range(len(names)), yticklabels=[])
        axes.set_title(metric, fontsize=10)
        axes.tick_params(labelsize=8)
        axes.grid(alpha=0.4)
        if metric == "FID":
            axes.set_xscale("log")
            axes.xaxis.set_major_locator(LogLocator(subs=(1, 3)))
            axes.xaxis.set_major_formatter("{x:g}")
            axes.xaxis.set_minor_formatter("")
        else:
            axes.set_xlim(0, 1.08 * axes.get_xlim()[1])  # no dot is cut off
    figure.suptitle("What FID sees beside other metrics: training images against test images", fontsize=11)
    return figure


# ---------------------------------------------------------------------------------- other features


def classifier_features(network):
    """Return a function of images (n, 28, 28, 1) to the features (n, 128) of a classifier."""
    return lambda images: classify(network, images)[0]


def build_extractors(context):
    """Return feature networks, a dictionary from a name to a function of images (n, 28, 28, 1) to features (n, d)."""
    extractors = {"evaluate.py's": classifier_features(context.classifier)}
    pixels, digits = scale_images(context.x_train[:20000]).numpy(), context.y_train[:20000]
    for seed in (1, 2):
        keras.utils.set_random_seed(seed)
        network = build_classifier(f"seed_{seed}")
        network.compile(cosine_adam(2 * -(-len(pixels) // 128)), cross_entropy())
        network.fit(pixels, digits, 128, 1 if context.quick else 2, verbose=0)
        extractors[f"seed {seed}, 2 epochs"] = classifier_features(network)
    for seed in (1, 2):
        keras.utils.set_random_seed(seed)
        extractors[f"random weights {seed}"] = classifier_features(build_classifier(f"random_{seed}"))
    _, axes = np.linalg.eigh(np.cov(pixels[:5000].reshape(-1, PIXELS), rowvar=False))
    extractors["pixels, 64 axes"] = lambda images: images.reshape(-1, PIXELS) @ axes[:, -64:].astype(np.float32)
    return extractors


def measure_networks(context):
    """Return the distances from test images of all kinds of images, in the features of all kinds of networks."""
    kinds = {name: images for name, (images, _) in degrade(*context.real_images, 0).items()}
    kinds["committed generator"] = draw_committed(context.samples, 0)[0]
    for recipe in RECIPES:
        for seed in context.seeds:
            generator = load_trained(context, recipe, seed, RECIPES[recipe]).ema_generator
            kinds[f"{recipe} recipe, seed {seed}"] = generate_images(
                generator, np.arange(context.samples) % DIGITS, seed)
    x_test = scale_images(context.x_test).numpy()
    distances = {}
    for name, extract in build_extractors(context).items():
        test_features = extract(x_test)
        distances[name] = {kind: float(frechet_distance(extract(images), test_features))
                           for kind, images in kinds.items()}
    return distances


def rank_correlation(a, b):
    """Return Spearman's correlation of the ranks of a (n,) and b (n,), without ties."""
    return float(np.corrcoef(np.argsort(np.argsort(a)), np.argsort(np.argsort(b)))[0, 1])


def fid_networks(context):
    """FID in other features: other seeds, random weights, raw pixels, and whether they rank the same images alike."""
    distances = context.cached("distances", functools.partial(measure_networks, context))
    own = next(iter(distances))
    kinds = sorted(distances[own], key=distances[own].get)
    trained = [kind for kind in kinds if "recipe" in kind or "generator" in kind]
    columns = {name: np.array([values[kind] for kind in kinds]) for name, values in distances.items()}
    results = {"distances": distances, "rank_correlation": {
        name: {"all": rank_correlation(values, columns[own]),
               "generators": rank_correlation([distances[name][kind] for kind in trained],
                                              [distances[own][kind] for kind in trained])}
        for name, values in columns.items() if name != own}}
    return results, draw_networks(kinds, columns)


def draw_networks(kinds, columns):
    """Draw the distances of `kinds` of images, and their ranks, in each network's features, a dictionary `columns`."""
    figure = Figure((9, 0.33 * len(kinds) + 1.6), dpi=100, layout="constrained")
    size, ranks = figure.subplots(1, 2)
    for name, color, marker, values in zip(columns, COLORS, MARKERS, columns.values(), strict=False):
        size.plot(values / values[kinds.index(COPIES)], range(len(kinds)), color=color, marker=marker, markersize=5,
                  linewidth=1, label=name)
    size.set(xscale="log", yticks=range(len(kinds)))
    size.set_title("distance, copied training images = 1", fontsize=11)
    size.set_yticklabels(kinds, fontsize=9)
    size.xaxis.set_major_formatter("{x:g}")
    size.invert_yaxis()
    size.grid(alpha=0.3)
    figure.legend(*size.get_legend_handles_labels(), loc="outside lower center", ncols=len(columns), fontsize=8,
                  columnspacing=1)
    order = np.stack([np.argsort(np.argsort(values)) + 1 for values in columns.values()], axis=1)
    ranks.imshow(order, cmap="cividis_r", aspect="auto")
    for (row, column), value in np.ndenumerate(order):
        ranks.text(column, row, value, ha="center", va="center", fontsize=9,
                   color="white" if value > len(kinds) / 2 else "black")
    ranks.set(yticks=[], xticks=range(len(columns)))
    ranks.set_title("rank, 1 is the best", fontsize=11)
    ranks.set_xticklabels([name.replace(", ", ",\n").replace("weights", "\nweights").replace("evaluate.py's",
                           "evaluate\n.py's") for name in columns], fontsize=8)
    return figure


# -------------------------------------------------------------------------------------- equal moments


def mix(rows, seed):
    """Return rows (n, d) of exactly the mean and covariance of `rows` (n, d), each a mixture of all of them.

    The centred rows are multiplied with a random matrix that is orthogonal on what sums to 0, which changes neither
    moment; sums of many independent terms are nearly Gaussian, whatever the rows are.
    """
    random, count = np.random.default_rng(seed), len(rows)

    def basis():
        """Return an orthonormal basis (n, n - 1) of the vectors whose entries sum to 0."""
        start = np.column_stack([np.ones(count), random.standard_normal((count, count - 1))])
        return np.linalg.qr(start)[0][:, 1:]
    mean = rows.mean(axis=0)
    return mean + basis() @ (basis().T @ (rows - mean))


def compare_sets(features, others):
    """Return FID, precision and recall of `others` (n, d) against `features` (n, d), a dictionary."""
    precision, recall = precision_recall(features, others)
    return {"fid": float(frechet_distance(features, others)), "precision": float(precision), "recall": float(recall)}


def measure_moments(context, images, seed):
    """Return how far `images` (n, 28, 28, 1) are from mixtures with equal moments, in pixels and in features."""
    def extract(images):
        return classify(context.classifier, images)[0].astype(np.float64)

    pixels, features = images.reshape(-1, PIXELS).astype(np.float64), extract(images)
    mixed, others = mix(pixels, seed), context.all_test_features[::5][:len(images)]
    mixed_images = mixed.reshape(images.shape).astype(np.float32)
    return {"pixels": compare_sets(pixels, mixed),
            "features_of_mixed_images": compare_sets(features, extract(mixed_images)),
            "features": compare_sets(features, mix(features, seed)),
            "other_real_images": compare_sets(features, others.astype(np.float64)),
            "images": images_to_text(mixed_images[:20])}


MOMENTS = {"other_real_images": "real against other real images, in features",
           "features": "features against mixed features",
           "pixels": "images against mixed images, in pixels",
           "features_of_mixed_images": "the same images, in features"}


def fid_moments(context):
    """Two clearly different distributions with equal mean and covariance, between which FID sees no difference."""
    images = np.random.default_rng(0).permutation(context.real_images[0])[:400 if context.quick else 2000]
    found = context.cached_for_seeds("mixtures", functools.partial(measure_moments, context, images))
    results = {name: summarize([entry[name] for entry in found]) for name in MOMENTS}
    return {"images": len(images), **results}, draw_moments(results, images, text_to_images(found[0]["images"]))


def draw_moments(results, images, mixed):
    """Draw `images` (n, 28, 28, 1) and 20 `mixed` ones, and the numbers in `results` for each of MOMENTS."""
    figure = Figure((9, 4), dpi=100, layout="constrained")
    *pictures, distance, shares = figure.subplots(1, 4, width_ratios=(1, 1, 1.1, 1.1))
    for axes, shown, title in ((pictures[0], images[:20], "real images"),
                               (pictures[1], mixed, "mixtures: equal mean\nand covariance")):
        axes.imshow(tile_images(shown, 4), cmap="gray", vmin=-1, vmax=1)
        axes.set_title(title, fontsize=10)
        axes.set(xticks=[], yticks=[])
    for row, name in enumerate(MOMENTS):
        values = [abs(value) for value in results[name]["fid"]["seeds"]]
        distance.plot(np.maximum(values, 1e-12), [row] * len(values), "o", color="black", markersize=6)
        for kind, color, marker in (("precision", "#117733", "o"), ("recall", "#CC6677", "s")):
            values = results[name][kind]["seeds"]
            shares.plot(values, [row] * len(values), marker, color=color, alpha=0.7, markersize=6,
                        label=None if row else kind)
    distance.set_yticks(range(len(MOMENTS)), [name.replace(", ", ",\n").replace(" against ", "\nagainst ")
                                              for name in MOMENTS.values()], fontsize=8)
    distance.set(xscale="log", ylim=(len(MOMENTS) - 0.5, -0.5))
    distance.set_title("Fréchet distance", fontsize=10)
    shares.set(xlim=(-0.05, 1.05), ylim=(len(MOMENTS) - 0.5, -0.5), yticks=range(len(MOMENTS)), yticklabels=[])
    shares.set_title("precision and recall", fontsize=10)
    figure.legend(*shares.get_legend_handles_labels(), loc="outside lower right", ncols=2, fontsize=9)
    for axes in (distance, shares):
        axes.grid(alpha=0.3)
    return figure
