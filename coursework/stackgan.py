"""What each stage of the StackGAN does with its inputs, and ways to upsample."""

import functools
from types import SimpleNamespace

import keras
import numpy as np
import tensorflow as tf
from coursework.comparison import summarize
from coursework.figures import COLORS, MARKERS, images_to_text, text_to_images
from coursework.timing import time_in_turns
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from mnist_gan.data.mnist import SIDE, blocks
from mnist_gan.data.painting import enlarge, full_size, halve, paint
from mnist_gan.data.sentences import ATTRIBUTES, read
from mnist_gan.drawing.pictures import tile_images
from mnist_gan.drawing.stackgan import draw_embedded, embed
from mnist_gan.encoders import CONDITION_DIM
from mnist_gan.metrics.attributes import ALL_FIVE, attribute_accuracy, checkerboard_energy, conditional_diversity
from mnist_gan.networks import multiply_adds
from mnist_gan.running.run import shuffled_batches
from stackgan_mnist import SHOWN_SENTENCES, Stage2, parse_arguments

BATCHES, QUICK_BATCHES = 250, 4
PLACES = (*ATTRIBUTES, ALL_FIVE)


def random_inputs(latent_dim, count, seed):
    """Return noise (count, latent_dim) and both stages' condition noise (2, count, 64), standard normal."""
    random = np.random.default_rng((seed, 7))
    return (random.standard_normal((count, latent_dim), np.float32),
            random.standard_normal((2, count, CONDITION_DIM), np.float32))


def latent_dim(stage1):
    """Return the latent_dim of a generator of Stage I."""
    return stage1.inputs[0].shape[1]


def draw_in_blocks(generator, *inputs):
    """Return the pictures (n, h, w, 3) that a stage's generator draws from arrays of its inputs, (n, ...) each."""
    return np.concatenate([generator(list(batch), training=False)[0]
                           for batch in zip(*map(blocks, inputs), strict=True)])


def draw_apart(networks, first, second, noise, epsilons):
    """Draw as `draw_embedded` does, with the embeddings `first` (n, 64) for Stage I and `second` for Stage II."""
    rough = draw_in_blocks(networks.stage1, noise, epsilons[0], first)
    return rough, draw_in_blocks(networks.stage2, rough, epsilons[1], second)


# --------------------------------------------------------------------------------------- both stages


def measure_sentences(context, embeddings, seed):
    """Return the attribute accuracy of each stage if one is told less, and which of two sentences wins."""
    networks, scene = context.stackgan_networks, context.scenes["seen"]
    count = len(embeddings)
    noise, epsilons = random_inputs(latent_dim(networks.stage1), count, seed)
    nothing = np.tile(embeddings.mean(axis=0), (count, 1))  # what all sentences have in common
    found = {}
    for name, (first, second) in {"right": (embeddings, embeddings), "withheld from II": (embeddings, nothing),
                                  "withheld from I": (nothing, embeddings)}.items():
        found[name] = [attribute_accuracy(context.find_attributes(pictures)[0], scene.asked)
                       for pictures in draw_apart(networks, first, second, noise, epsilons)]
    other = np.roll(np.arange(count), 1)
    asked_of_stages = {"I": scene.asked, "II": scene.asked[other]}
    shown, _ = context.find_attributes(draw_apart(networks, embeddings, embeddings[other], noise, epsilons)[1])
    wins = {}
    for place, name in enumerate(ATTRIBUTES):
        differ = scene.asked[:, place] != scene.asked[other, place]
        wins[name] = {stage: float((shown[differ, place] == asked[differ, place]).mean())
                      for stage, asked in asked_of_stages.items()}
    return {"Stage I": found["right"][0], "Stage II": found["right"][1],
            "Stage II, sentence withheld": found["withheld from II"][1],
            "Stage II, withheld from Stage I": found["withheld from I"][1], "wins": wins}


def measure_condition_noise(context, embeddings, unsaid, scale, seed):
    """Return attribute accuracy and conditional diversity with the condition noise of both stages times `scale`."""
    networks, scene, free = context.stackgan_networks, context.scenes["seen"], context.scenes["unsaid"]
    noise, epsilons = random_inputs(latent_dim(networks.stage1), len(embeddings), seed)
    said, left_out = (context.find_attributes(draw_embedded(networks, asked, noise, scale * epsilons)[1])[0]
                      for asked in (embeddings, unsaid))
    return {ALL_FIVE: attribute_accuracy(said, scene.asked)[ALL_FIVE],
            **conditional_diversity(left_out, free.asked, free.real)}


def measure_noise_sources(context, unsaid, seed, samples=8):
    """Return how much pictures of one sentence differ, as gray digits, if only some of the random inputs do."""
    networks = context.stackgan_networks
    noise, epsilons = random_inputs(latent_dim(networks.stage1), samples * len(unsaid), seed)
    same_noise, same_epsilons = noise[::samples].repeat(samples, 0), epsilons[:, ::samples].repeat(samples, 1)
    sources = {"everything": (noise, epsilons), "noise": (noise, same_epsilons),
               "condition noise": (same_noise, epsilons),
               "condition noise of Stage II": (same_noise, np.stack([same_epsilons[0], epsilons[1]]))}
    found = {}
    for name, inputs in sources.items():
        pictures = draw_embedded(networks, unsaid.repeat(samples, axis=0), *inputs)[1]
        found[name] = float(pictures.reshape(len(unsaid), samples, -1).std(axis=1).mean())
    return found


def stages(context):
    """What each stage of the committed StackGAN does: one stage against two, other sentences, other noise."""
    networks, scene = context.stackgan_networks, context.scenes["seen"]
    embeddings, unsaid = (embed(networks, context.scenes[name].sentences) for name in ("seen", "unsaid"))
    accuracies = context.cached_for_seeds("sentences", functools.partial(measure_sentences, context, embeddings))
    noisy = {str(scale): context.cached_for_seeds(
        f"condition noise × {scale}", functools.partial(measure_condition_noise, context, embeddings, unsaid, scale))
        for scale in (0, 0.5, 1, 1.5, 2)}
    varied = context.cached_for_seeds("noise", functools.partial(measure_noise_sources, context, unsaid[:200]))
    painted = paint(scene.images, scene.real[:, 1], scene.real[:, 2])
    real = {name: attribute_accuracy(context.find_attributes(pictures.numpy())[0], scene.asked)
            for name, pictures in (("real halved", halve(painted)), ("real", painted))}
    results = {
        "sentences": len(scene.sentences),
        "attribute_accuracy": {**{name: summarize([entry[name] for entry in accuracies])
                                  for name in accuracies[0] if name != "wins"},
                               **{name: summarize([accuracy]) for name, accuracy in real.items()}},
        "other_sentence_for_stage2": {name: summarize([entry["wins"][name] for entry in accuracies])
                                      for name in ATTRIBUTES},
        "condition_noise": {scale: summarize(scores) for scale, scores in noisy.items()},
        "deviation_of_pixels": summarize(varied)}
    return results, draw_stages(networks, scene, results)


def draw_rows(networks, scene):
    """Return rows of 8 pictures (8, 28, 28, 3) of both stages under right and other sentences and noise, by name.

    The last row has the images of `scene` that fit the sentence best, painted as it says.
    """
    sentence, other = SHOWN_SENTENCES[0], "a thin white four leaning left on a blue background"
    wanted = np.array(read(sentence))
    nearest = np.argsort((scene.real != wanted)[:, [0, 3, 4]] @ (4, 1, 1), kind="stable")[:8]
    real = paint(scene.images[nearest], *(np.full(8, wanted[place]) for place in (1, 2))).numpy()
    own, others = embed(networks, [sentence]).repeat(8, 0), embed(networks, [other]).repeat(8, 0)
    noise, epsilons = random_inputs(latent_dim(networks.stage1), 8, 0)
    rough, fine = draw_apart(networks, own, own, noise, epsilons)
    return {"Stage I": enlarge(rough), "Stage II": fine,
            "II is told “thin white four\nleaning left on blue”": draw_apart(networks, own, others, noise, epsilons)[1],
            "one noise vector,\ncondition noise varies": draw_embedded(
                networks, own, noise[:1].repeat(8, 0), epsilons)[1],
            "condition noise × 0": draw_embedded(networks, own, noise, 0 * epsilons)[1],
            "condition noise × 2": draw_embedded(networks, own, noise, 2 * epsilons)[1], "real images": real}


def draw_stages(networks, scene, results):
    """Draw pictures of both stages under right and other sentences and noise, and the numbers in `results`."""
    rows = draw_rows(networks, scene)
    figure = Figure((9, 9.6), dpi=100, layout="constrained")
    above, middle, below = figure.subfigures(3, 1, height_ratios=(2.1, 1, 1.1))
    axes = above.subplots()
    axes.imshow((tile_images(np.concatenate(list(rows.values())), 8) + 1) / 2, interpolation="nearest")
    axes.set_yticks((np.arange(len(rows)) + 0.5) * SIDE, list(rows), fontsize=10)
    axes.set_xticks([])
    axes.set_title(f"“{SHOWN_SENTENCES[0]}”", fontsize=11)
    accuracy = middle.subplots()
    draw_bars(accuracy, {name: [100 * metrics[place]["mean"] for place in PLACES]
                         for name, metrics in results["attribute_accuracy"].items()}, PLACES)
    accuracy.set_title("attribute accuracy (%)", fontsize=11)
    accuracy.legend(fontsize=9, loc="center left", bbox_to_anchor=(1, 0.5))
    wins, augmentation = below.subplots(1, 2)
    found = results["other_sentence_for_stage2"]
    draw_bars(wins, {f"Stage {stage}'s": [100 * found[name][stage]["mean"] for name in ATTRIBUTES]
                     for stage in ("I", "II")}, ATTRIBUTES)
    wins.set_title("two sentences: whose is shown (%)?", fontsize=11)
    wins.legend(fontsize=9, ncols=2, loc="upper center", bbox_to_anchor=(0.5, -0.12))
    scales = [float(scale) for scale in results["condition_noise"]]
    for name, color, marker in zip((ALL_FIVE, *ATTRIBUTES[1:]), COLORS, MARKERS, strict=False):
        values = np.array([metrics[name]["seeds"] for metrics in results["condition_noise"].values()])
        label = "all five right" if name == ALL_FIVE else f"{name} varies"
        augmentation.plot(scales, values.mean(axis=1), marker=marker, markersize=5, color=color, label=label)
    augmentation.set(xlabel="factor of the condition noise (1 in training)", ylim=(0, None))
    augmentation.set_title("share, or relative to real", fontsize=11)
    augmentation.legend(fontsize=9)
    augmentation.grid(alpha=0.3)
    return figure


def draw_bars(axes, columns, places):
    """Draw groups of bars at `places`, one for each of `columns`, a dictionary from a name to percentages (n,)."""
    width = 0.85 / len(columns)
    for number, (name, heights) in enumerate(columns.items()):
        axes.bar(np.arange(len(places)) + (number - (len(columns) - 1) / 2) * width, heights, width,
                 color=COLORS[number], label=name)
    axes.set_xticks(range(len(places)), [place.replace("_", " ") for place in places], fontsize=9)
    axes.set_ylim(0, 100)
    axes.grid(alpha=0.3, axis="y")


# --------------------------------------------------------------------------------- short trainings


def count_batches(context):
    """Return the batches of a short training of Stage II."""
    return QUICK_BATCHES if context.quick else BATCHES


def build_stage(context, settings):
    """Return Stage II before its first batch; it starts from the committed Stage I."""
    stage1_generator = context.stackgan_networks.stage1  # loaded before the seed: loading draws random numbers
    inputs = context.stage_inputs
    keras.utils.set_random_seed(settings.seed)
    return Stage2(settings, *inputs, stage1_generator)


def train_stage(context, seed, arguments=()):
    """Train Stage II for a few hundred batches and return it.

    `arguments` are those of the command line. Its `ema_generator` is ready to draw.
    """
    settings = parse_arguments(["--seed", str(seed), "--stage1-epochs", "1", "--stage2-epochs", "1", *arguments])
    settings.train_size = min(count_batches(context) * settings.batch_size, len(context.x_train))
    stage = build_stage(context, settings)
    history = np.stack([stage.train_step(indices, step).numpy() for step, indices in shuffled_batches(settings, 1)])
    if not np.isfinite(history).all():
        raise FloatingPointError("a loss is no longer finite in a short training")
    stage.update_batch_norm()
    return stage


def score_stage(context, draw):
    """Return metrics of what `draw(embeddings)`, pictures of either stage for sentences, draws for three scenes.

    `images` is the text of pictures of the first six SHOWN_SENTENCES.
    """
    networks, found = context.stackgan_networks, {}
    for name in ("seen", "never_seen", "unsaid"):
        scene = context.scenes[name]
        shown, gray = context.find_attributes(draw(embed(networks, scene.sentences)))
        metrics = (conditional_diversity(shown, scene.asked, scene.real) if name == "unsaid"
                   else attribute_accuracy(shown, scene.asked))
        found |= {f"{name}_{place}": value for place, value in metrics.items()}
        if name == "seen":
            found["checkerboard"] = float(checkerboard_energy(gray).mean())
    return {**found, "images": images_to_text(full_size(draw(embed(networks, SHOWN_SENTENCES[:6]))))}


UPSAMPLINGS = ("pixelshuffle", "transposed", "nearest")


def time_upsamplings(context):
    """Return what Stage II's generator costs with each of UPSAMPLINGS, and the time of a batch in training."""
    steps, sizes = [], []
    for name in UPSAMPLINGS:
        settings = parse_arguments(["--upsampling", name])
        settings.train_size = len(context.x_train)
        stage = build_stage(context, settings)
        indices, first = tf.range(settings.batch_size), tf.constant(0)
        steps.append(lambda stage=stage, indices=indices, first=first: stage.train_step(indices, first).numpy())
        sizes.append((multiply_adds(stage.generator), stage.generator.count_params()))
    seconds = time_in_turns(steps, 2 if context.quick else 12)
    return {name: {"multiply_adds": products, "weights": weights,
                   "time_ratio": took / seconds[UPSAMPLINGS.index("transposed")]}
            for name, (products, weights), took in zip(UPSAMPLINGS, sizes, seconds, strict=True)}


def stackgan_upsampling(context):
    """PixelShuffle, transposed convolution and nearest neighbour in Stage II of the StackGAN, in short trainings."""
    stage1 = context.stackgan_networks.stage1

    def compute(name, seed):
        networks = SimpleNamespace(
            stage1=stage1, stage2=train_stage(context, seed, ("--upsampling", name)).ema_generator)

        def draw(sentences):
            inputs = random_inputs(latent_dim(stage1), len(sentences), 0)
            return draw_embedded(networks, sentences, *inputs)[1]
        return score_stage(context, draw)
    results, figure = compare_stages(context, context.cached_for_variants(UPSAMPLINGS, compute), {
        "checkerboard": ("checkerboard\nenergy (%)", 100), "seen_all_five": ("all five right (%)", 100),
        "seen_digit": ("digit right (%)", 100), "seen_thickness": ("thickness right (%)", 100),
        "unsaid_thickness": ("thickness varies,\nreal = 1", 1)})
    return {**results, "generators": context.cached("time", functools.partial(time_upsamplings, context))}, figure


def compare_stages(context, scores, metrics):
    """Return (results, figure) of variants of Stage II, with the `metrics` that are drawn.

    `scores` maps the name of a variant to what `score_stage` returns for every seed.
    """
    batches = count_batches(context)
    results = {name: summarize(columns) for name, columns in scores.items()}
    pictures = [text_to_images(columns[0]["images"], 3) for columns in scores.values()]
    return ({"batches": batches, "sentences": len(context.scenes["seen"].sentences), "variants": results},
            draw_comparison(results, pictures, f"Stage II after {batches} batches", metrics))


def draw_comparison(results, pictures, title, metrics):
    """Draw a row for each variant in `results`: its `pictures` of SHOWN_SENTENCES and a dot in each metric per seed."""
    names, columns = list(results), len(pictures[0])
    figure = Figure((4.4 + 1.9 * len(metrics), 0.62 * len(names) + 2.1), dpi=100, layout="constrained")
    grid = figure.add_gridspec(1, 1 + len(metrics), width_ratios=(3.6, *[1.9] * len(metrics)))
    axes = figure.add_subplot(grid[0])
    axes.imshow((tile_images(np.concatenate(pictures), columns) + 1) / 2, interpolation="nearest", aspect="auto",
                extent=(0, columns, len(names) - 0.5, -0.5))
    axes.set_yticks(range(len(names)), names, fontsize=11)
    axes.set_xticks(np.arange(columns) + 0.5, range(1, columns + 1), fontsize=11)
    axes.tick_params(length=0, top=True, labeltop=True, labelbottom=False)
    sentences = [f"{number}: {sentence}" for number, sentence in enumerate(SHOWN_SENTENCES[:columns], 1)]
    figure.supxlabel("     ".join(sentences), fontsize=9)
    for column, (name, (label, factor)) in enumerate(metrics.items(), 1):
        axes = figure.add_subplot(grid[column])
        for row, variant in enumerate(names):
            values = factor * np.array(results[variant][name]["seeds"])
            axes.plot(values, [row] * len(values), "o", color=f"C{row}", alpha=0.7, clip_on=False)
            axes.plot([values.min(), values.max()], [row, row], color=f"C{row}")
        axes.set(ylim=(len(names) - 0.5, -0.5), yticks=range(len(names)), yticklabels=[])
        axes.set_xlim(0, 1.08 * max(axes.get_xlim()[1], 1e-3))
        # Without the last number, which would touch the 0 of the next axes.
        axes.xaxis.set_major_locator(MaxNLocator(4, steps=(1, 2, 5, 10), prune="upper"))
        axes.set_title(label, fontsize=11)
        axes.grid(alpha=0.4)
    figure.suptitle(title, fontsize=14)
    return figure
