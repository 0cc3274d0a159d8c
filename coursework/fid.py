"""The Fréchet distance (FID): what it depends on, what it sees, and what it does not."""

import keras
import numpy as np
import tensorflow as tf
from cgan_mnist import generate_images, load_generator
from coursework.runs import RECIPES, decode, draw_variants, encode, cached_training, real_images, score_images, summarize
from coursework.training import COMMITTED
from matplotlib.figure import Figure
from mnist_gan.metrics.classifiers import build_classifier, classify, cosine_adam, cross_entropy
from mnist_gan.metrics.distances import frechet_distance, nearest, precision_recall
from mnist_gan.data.mnist import DIGITS, PIXELS, scale_images
from mnist_gan.drawing.pictures import tile_images

COPIES = "training images, copied"
QUICK_SIZES, SIZES = (200, 300, 500), (500, 1000, 2000, 3000, 5000, 10000)


def draw_committed(count, seed):
    """Return images (count, 28, 28, 1) of the committed generator, as many of each digit, and their labels (count,)."""
    labels = np.arange(count) % DIGITS
    return generate_images(load_generator(COMMITTED / "generator.keras"), labels, seed), labels


def fid_sample_size(options, part):
    """FID against the number of images: its bias, its extrapolation along 1/N, and its range over seeds."""
    sizes = QUICK_SIZES if options.quick else SIZES
    classifier, x_train = real_images(options).classifier, options.data[0]

    def curves(seed):
        test_features = classify(classifier, scale_images(options.data[2]).numpy())[0]
        rows = np.random.default_rng(seed).permutation(len(x_train))[:max(sizes)]
        sets = {"real images": scale_images(x_train[rows]).numpy(), "generator": draw_committed(max(sizes), seed)[0]}
        features = {name: classify(classifier, images)[0] for name, images in sets.items()}
        return {name: [float(frechet_distance(values[:size], test_features)) for size in sizes]
                for name, values in features.items()}
    found = [part(f"seed {seed}", lambda seed=seed: curves(seed)) for seed in options.seeds]
    inverse, results = 1 / np.array(sizes), {}
    figure = Figure((12, 4.4), dpi=100, layout="constrained")
    plain, extrapolated = figure.subplots(1, 2)
    for name, color in (("generator", "tab:orange"), ("real images", "black")):
        fits = [np.polyfit(inverse[1:], entry[name][1:], 1) for entry in found]  # the smallest is off the line
        for number, (entry, fit) in enumerate(zip(found, fits, strict=True)):
            plain.plot(sizes, entry[name], "o-", color=color, label=None if number else name, alpha=0.7)
            extrapolated.plot(1000 * inverse, entry[name], "o", color=color, alpha=0.7)
            reach = np.array([0, inverse[0]])
            extrapolated.plot(1000 * reach, np.polyval(fit, reach), "--", color=color,
                              label=None if number else f"{name}, line through N ≥ {sizes[1]}")
        results[name] = summarize([{**{f"{size}": value for size, value in zip(sizes, entry[name], strict=True)},
                                    "extrapolated": float(fit[1])} for entry, fit in zip(found, fits, strict=True)])
    plain.set(title="The fewer images, the higher", xlabel="number of images N", ylabel="FID", xscale="log")
    extrapolated.set(title="A line in 1/N: where it meets 0 is the FID of infinitely many",
                     xlabel="1000 / N", ylabel="FID")
    for axes in figure.axes:
        axes.set_ylim(bottom=0)
        axes.legend(fontsize=10)
        axes.grid(alpha=0.3)
    return {"images": results, "test_images": len(options.data[2])}, figure


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
    kept = labels != 7
    refilled = np.where(kept, np.arange(len(labels)), random.choice(np.flatnonzero(kept), len(labels)))
    few = np.resize(np.concatenate([np.flatnonzero(labels == digit)[:max(1, len(labels) // 1000)]
                                    for digit in range(DIGITS)]), len(labels))
    return {COPIES: (images, labels), "blur 2 × 2": (blur(images, 2), labels),
            "blur 3 × 3": (blur(images, 3), labels), "noise 0.1": (noisy(0.1), labels),
            "noise 0.3": (noisy(0.3), labels), "shifted 1 pixel": (shift(images, 1), labels),
            "shifted 3 pixels": (shift(images, 3), labels), "other digits for 7": (images[refilled], labels),
            f"{len(np.unique(few))} images repeated": (images[few], labels[few])}


def sample_real(options, seed):
    """Return `SAMPLES` of the training images, float32 (n, 28, 28, 1) in [-1, 1], and their labels (n,)."""
    x_train, y_train, _, _ = options.data
    rows = np.random.default_rng((seed, 1)).permutation(len(x_train))[:real_images(options).samples]
    return scale_images(x_train[rows]).numpy(), y_train[rows]


def memorized_share(options, images):
    """Return the share of the first 300 of images (n, 28, 28, 1) that are copies of training images."""
    pixels = scale_images(options.data[0]).numpy().reshape(-1, PIXELS)
    # Distances come with rounding errors; the nearest pair of different images is farther apart than 0.1.
    return float((nearest(images[:300].reshape(-1, PIXELS), pixels)[0] < 0.1).mean())


def fid_degradations(options, part):
    """FID of real images after blur, noise, shifts, a missing digit and copies, beside the other figures."""
    def measure(seed):
        kinds = degrade(*sample_real(options, seed), seed)
        kinds["committed generator"] = draw_committed(real_images(options).samples, seed)
        found = {}
        for name, (images, labels) in kinds.items():
            shown = [np.flatnonzero(labels == digit)[number] if (labels == digit).sum() > number else 0
                     for digit, number in [*((digit, 0) for digit in range(DIGITS)), *((4, n) for n in range(1, 5))]]
            found[name] = {**score_images(options, images, labels), "copies": memorized_share(options, images),
                           "images": encode(images[shown])}
        return found
    found = [part(f"seed {seed}", lambda seed=seed: measure(seed)) for seed in options.seeds]
    results = {name: summarize([entry[name] for entry in found]) for name in found[0]}
    figure = draw_variants(results, {name: entry["images"] for name, entry in found[0].items()},
                           "What FID sees beside the other figures (training images against test images)",
                           {"fid": ("FID", 1), "label_accuracy": ("label accuracy (%)", 100),
                            "precision": ("precision", 1), "recall": ("recall", 1),
                            "copies": ("copies of training\nimages (%)", 100)})
    return {"variants": results}, figure


def extractors(options):
    """Return feature networks, a dictionary from a name to a function of images (n, 28, 28, 1) to features (n, d)."""
    x_train, y_train, _, _ = options.data
    classifier = real_images(options).classifier
    found = {"evaluate.py's": lambda images: classify(classifier, images)[0]}
    few = x_train[:20000], y_train[:20000]
    pixels = scale_images(few[0]).numpy()
    for seed in (1, 2):
        keras.utils.set_random_seed(seed)
        network = build_classifier(f"seed_{seed}")
        network.compile(cosine_adam(2 * -(-len(pixels) // 128)), cross_entropy())
        network.fit(pixels, few[1], 128, 1 if options.quick else 2, verbose=0)
        found[f"seed {seed}, 2 epochs"] = lambda images, network=network: classify(network, images)[0]
    for seed in (1, 2):
        keras.utils.set_random_seed(seed)
        network = build_classifier(f"random_{seed}")
        found[f"random weights {seed}"] = lambda images, network=network: classify(network, images)[0]
    rows = pixels[:5000].reshape(-1, PIXELS)
    _, axes = np.linalg.eigh(np.cov(rows, rowvar=False))
    found["pixels, 64 axes"] = lambda images: images.reshape(-1, PIXELS) @ axes[:, -64:].astype(np.float32)
    return found


def rank_correlation(a, b):
    """Return Spearman's correlation of the ranks of a (n,) and b (n,), without ties."""
    return float(np.corrcoef(np.argsort(np.argsort(a)), np.argsort(np.argsort(b)))[0, 1])


def fid_networks(options, part):
    """FID in other features: other seeds, random weights, raw pixels, and whether they rank the same images alike."""
    def measure():
        samples = real_images(options).samples
        kinds = {name: images for name, (images, _) in degrade(*sample_real(options, 0), 0).items()}
        kinds["committed generator"] = draw_committed(samples, 0)[0]
        for recipe in RECIPES:
            for seed in options.seeds:
                generator = cached_training(options, seed, recipe).ema_generator
                kinds[f"{recipe} recipe, seed {seed}"] = generate_images(generator, np.arange(samples) % DIGITS, seed)
        x_test = scale_images(options.data[2][::max(1, len(options.data[2]) // samples)]).numpy()
        distances = {}
        for name, extract in extractors(options).items():
            test_features = extract(x_test)
            distances[name] = {kind: float(frechet_distance(extract(images), test_features))
                               for kind, images in kinds.items()}
        return distances
    distances = part("distances", measure)
    own = next(iter(distances))
    kinds = sorted(distances[own], key=distances[own].get)
    trained = [kind for kind in kinds if "recipe" in kind or "generator" in kind]
    columns = {name: np.array([values[kind] for kind in kinds]) for name, values in distances.items()}
    results = {"distances": distances, "rank_correlation": {
        name: {"all": rank_correlation(values, columns[own]),
               "generators": rank_correlation([distances[name][kind] for kind in trained],
                                              [distances[own][kind] for kind in trained])}
        for name, values in columns.items() if name != own}}
    figure = Figure((12, 0.36 * len(kinds) + 1.6), dpi=100, layout="constrained")
    size, ranks = figure.subplots(1, 2, width_ratios=(1.1, 1))
    for number, (name, values) in enumerate(columns.items()):
        size.plot(values / values[kinds.index(COPIES)], range(len(kinds)), "o-", color=f"C{number}", label=name)
    size.set_xscale("log")
    size.set(title="Distance, copied training images = 1", yticks=range(len(kinds)), yticklabels=kinds)
    size.invert_yaxis()
    size.legend(fontsize=9)
    size.grid(alpha=0.3)
    order = np.stack([np.argsort(np.argsort(values)) + 1 for values in columns.values()], axis=1)
    ranks.imshow(order, cmap="RdYlGn_r", aspect="auto")
    for (row, column), value in np.ndenumerate(order):
        ranks.text(column, row, value, ha="center", va="center", fontsize=10)
    ranks.set(title="Rank, 1 is the best", yticks=[], xticks=range(len(columns)))
    ranks.set_xticklabels([name.replace(", ", ",\n").replace("weights", "\nweights") for name in columns], fontsize=9)
    return results, figure


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


def fid_moments(options, part):
    """Two clearly different distributions with equal mean and covariance, between which FID sees no difference."""
    count = 400 if options.quick else 2000
    images = sample_real(options, 0)[0][:count]
    classifier = real_images(options).classifier
    test_features = real_images(options).test_features[:count]

    def measure(seed):
        pixels = images.reshape(-1, PIXELS).astype(np.float64)
        features = classify(classifier, images)[0].astype(np.float64)
        mixed = mix(pixels, seed)
        mixed_images = mixed.reshape(images.shape).astype(np.float32)
        mixed_features = mix(features, seed)
        others = test_features.astype(np.float64)

        def compare(a, b):
            precision, recall = precision_recall(a, b)
            return {"fid": float(frechet_distance(a, b)), "precision": float(precision), "recall": float(recall)}
        return {"pixels": compare(pixels, mixed), "features_of_mixed_images": compare(
                    features, classify(classifier, mixed_images)[0].astype(np.float64)),
                "features": compare(features, mixed_features), "other_real_images": compare(features, others),
                "images": encode(mixed_images[:20])}
    found = [part(f"seed {seed}", lambda seed=seed: measure(seed)) for seed in options.seeds]
    names = {"other_real_images": "real against other real images, in features",
             "features": "features against mixed features",
             "pixels": "images against mixed images, in pixels",
             "features_of_mixed_images": "the same images, in features"}
    results = {name: summarize([entry[name] for entry in found]) for name in names}
    figure = Figure((13, 4.6), dpi=100, layout="constrained")
    *pictures, distance, shares = figure.subplots(1, 4, width_ratios=(1, 1, 1.4, 1.1))
    for axes, shown, title in ((pictures[0], images[:20], "real images"),
                               (pictures[1], decode(found[0]["images"]), "mixtures: equal mean\nand covariance")):
        axes.imshow(tile_images(shown, 4), cmap="gray", vmin=-1, vmax=1)
        axes.set_title(title, fontsize=12)
        axes.set(xticks=[], yticks=[])
    for row, name in enumerate(names):
        values = [abs(value) for value in results[name]["fid"]["seeds"]]
        distance.plot(np.maximum(values, 1e-12), [row] * len(values), "o", color="tab:blue", markersize=8)
        for kind, color in (("precision", "tab:green"), ("recall", "tab:purple")):
            values = results[name][kind]["seeds"]
            shares.plot(values, [row] * len(values), "o", color=color, alpha=0.6, markersize=8,
                        label=None if row else kind)
    distance.set_yticks(range(len(names)), [name.replace(", ", ",\n").replace(" against ", "\nagainst ")
                                            for name in names.values()], fontsize=10)
    distance.set(title="Fréchet distance", xscale="log", ylim=(len(names) - 0.5, -0.5))
    shares.set(title="precision and recall", xlim=(-0.03, 1), ylim=(len(names) - 0.5, -0.5), yticks=range(len(names)),
               yticklabels=[])
    shares.legend()
    for axes in (distance, shares):
        axes.grid(alpha=0.4)
    return {"images": count, **results}, figure
