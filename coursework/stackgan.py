"""What each stage of the StackGAN does with its inputs, what its parts give, and ways to upsample."""

from types import SimpleNamespace

import keras
import numpy as np
import tensorflow as tf
from coursework.convolutions import time_in_turns
from coursework.runs import decode, encode, summarize
from coursework.training import COMMITTED
from evaluate import prepare_scenes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from mnist_gan.running.ema import update_batch_norm
from mnist_gan.metrics.classifiers import classify, load_classifier
from mnist_gan.data.mnist import SIDE
from mnist_gan.networks import multiply_adds
from mnist_gan.metrics.attributes import ALL_FIVE, checkerboard_energy, find_attributes, attribute_accuracy, conditional_diversity
from mnist_gan.data.painting import enlarge, full_size, halve, paint, shape_cuts
from mnist_gan.drawing.pictures import tile_images
from mnist_gan.data.sentences import ATTRIBUTES, read
from stackgan_mnist import (CONDITION_DIM, SHOWN_SENTENCES, build_picture_encoder, build_stage, draw_embedded, embed,
                            load_networks, parse_arguments, prepare_data, sentence_table, train_encoders, train_epoch)

SENTENCES, QUICK_SENTENCES = 2000, 100
STAGE1_BATCHES, STAGE2_BATCHES, QUICK_BATCHES = 600, 250, 4
ENCODER_EPOCHS = 2
PARTS = (*ATTRIBUTES, ALL_FIVE)


def prepare(options):
    """Return the committed networks and what their pictures are judged by, a namespace; made once.

    `networks`; `scenes`, what `prepare_scenes` returns for some test images; `judge(pictures)`, which returns the
    descriptions (n, 5) and gray images (n, 28, 28) of pictures of either stage.
    """
    if not hasattr(options, "stackgan"):
        x_train, y_train, x_test, y_test = options.data
        cuts, count = shape_cuts(x_train), QUICK_SENTENCES if options.quick else SENTENCES
        every = max(1, len(x_test) // count)
        classifier = load_classifier(options.classifiers, "classifier", "that says which digit a picture shows",
                                     x_train, y_train)

        def judge(pictures):
            return find_attributes(full_size(pictures), cuts, lambda images: classify(classifier, images)[1])
        scenes = prepare_scenes(x_test[::every][:count], y_test[::every][:count], cuts, 0)
        options.stackgan = SimpleNamespace(networks=load_networks(COMMITTED / "stackgan"), scenes=scenes, judge=judge)
    return options.stackgan


def random_inputs(networks, count, seed):
    """Return noise (count, latent_dim) and both stages' condition noise (2, count, 64), standard normal."""
    random = np.random.default_rng((seed, 7))
    return (random.standard_normal((count, networks.stage1.inputs[0].shape[1]), np.float32),
            random.standard_normal((2, count, CONDITION_DIM), np.float32))


def draw_apart(networks, first, second, noise, epsilons):
    """Draw as `draw_embedded` does, with the embeddings `first` (n, 64) for Stage I and `second` for Stage II."""
    rough, _ = draw_embedded(networks, first, noise, epsilons)
    fine = [networks.stage2([rough[start:start + 1000], epsilons[1, start:start + 1000], second[start:start + 1000]],
                            training=False)[0] for start in range(0, len(rough), 1000)]
    return rough, np.concatenate(fine)


def stages(options, part):
    """What each stage of the committed StackGAN does: one stage against two, other sentences, other noise."""
    ready = prepare(options)
    networks, scene, free = ready.networks, ready.scenes["seen"], ready.scenes["unsaid"]
    count = len(scene.sentences)
    sentences, unsaid = embed(networks, scene.sentences), embed(networks, free.sentences)
    nothing = np.tile(sentences.mean(axis=0), (count, 1))  # what all sentences have in common
    other = np.roll(np.arange(count), 1)

    def obedience(seed):
        noise, epsilons = random_inputs(networks, count, seed)
        found = {}
        for name, (first, second) in {"right": (sentences, sentences), "withheld from II": (sentences, nothing),
                                      "withheld from I": (nothing, sentences)}.items():
            drawn = draw_apart(networks, first, second, noise, epsilons)
            found[name] = [attribute_accuracy(ready.judge(pictures)[0], scene.asked) for pictures in drawn]
        shown = ready.judge(draw_apart(networks, sentences, sentences[other], noise, epsilons)[1])[0]
        differ = scene.asked != scene.asked[other]
        wins = {}
        for place, name in enumerate(ATTRIBUTES):
            rows = differ[:, place]
            wins[name] = {stage: float((shown[rows, place] == asked[rows, place]).mean())
                          for stage, asked in (("I", scene.asked), ("II", scene.asked[other]))}
        return {"Stage I": found["right"][0], "Stage II": found["right"][1],
                "Stage II, sentence withheld": found["withheld from II"][1],
                "Stage II, withheld from Stage I": found["withheld from I"][1], "wins": wins}

    def condition_noise(scale, seed):
        noise, epsilons = random_inputs(networks, count, seed)
        said = ready.judge(draw_embedded(networks, sentences, noise, scale * epsilons)[1])[0]
        left_out = ready.judge(draw_embedded(networks, unsaid, noise, scale * epsilons)[1])[0]
        return {ALL_FIVE: attribute_accuracy(said, scene.asked)[ALL_FIVE], **conditional_diversity(left_out, free.asked, free.real)}

    def sources(seed, samples=8, chosen=200):
        """Return how much pictures of one sentence differ, as gray digits, if only some of the random inputs do."""
        few = unsaid[:min(chosen, count)]
        noise, epsilons = random_inputs(networks, samples * len(few), seed)
        same_noise, same_epsilons = noise[::samples].repeat(samples, 0), epsilons[:, ::samples].repeat(samples, 1)
        repeated, found = few.repeat(samples, axis=0), {}
        for name, inputs in {"everything": (noise, epsilons), "noise": (noise, same_epsilons),
                             "condition noise": (same_noise, epsilons),
                             "condition noise of Stage II": (same_noise, np.stack([same_epsilons[0], epsilons[1]])),
                             }.items():
            pictures = draw_embedded(networks, repeated, *inputs)[1]
            found[name] = float(pictures.reshape(len(few), samples, -1).std(axis=1).mean())
        return found
    obedient = [part(f"sentences, seed {seed}", lambda seed=seed: obedience(seed)) for seed in options.seeds]
    scales = (0, 0.5, 1, 1.5, 2)
    noisy = {scale: [part(f"condition noise × {scale}, seed {seed}",
                          lambda seed=seed, scale=scale: condition_noise(scale, seed)) for seed in options.seeds]
             for scale in scales}
    varied = [part(f"noise, seed {seed}", lambda seed=seed: sources(seed)) for seed in options.seeds]
    real = ready.judge(paint(scene.images, scene.real[:, 1], scene.real[:, 2]).numpy())[0]
    halved = ready.judge(halve(paint(scene.images, scene.real[:, 1], scene.real[:, 2])).numpy())[0]
    results = {
        "sentences": count,
        "obedience": {**{name: summarize([entry[name] for entry in obedient])
                         for name in obedient[0] if name != "wins"},
                      "real halved": summarize([attribute_accuracy(halved, scene.asked)]),
                      "real": summarize([attribute_accuracy(real, scene.asked)])},
        "other_sentence_for_stage2": {name: summarize([entry["wins"][name] for entry in obedient])
                                      for name in ATTRIBUTES},
        "condition_noise": {str(scale): summarize(figures) for scale, figures in noisy.items()},
        "deviation_of_pixels": summarize(varied)}
    return results, draw_stages(networks, scene, results)


def draw_stages(networks, scene, results):
    """Draw pictures of both stages under right and other sentences and noise, and the figures in `results`.

    Beside them are the images of `scene` that fit the sentence best, painted as it says.
    """
    sentence, other = SHOWN_SENTENCES[0], "a thin white four leaning left on a blue background"
    wanted = np.array(read(sentence))
    nearest = np.argsort((scene.real != wanted)[:, [0, 3, 4]] @ (4, 1, 1), kind="stable")[:8]
    real = paint(scene.images[nearest], *(np.full(8, wanted[place]) for place in (1, 2))).numpy()
    own, others = embed(networks, [sentence]).repeat(8, 0), embed(networks, [other]).repeat(8, 0)
    noise, epsilons = random_inputs(networks, 8, 0)
    rough, fine = draw_apart(networks, own, own, noise, epsilons)
    _, swapped = draw_apart(networks, own, others, noise, epsilons)
    _, fixed = draw_embedded(networks, own, noise[:1].repeat(8, 0), epsilons)
    _, calm = draw_embedded(networks, own, noise, 0 * epsilons)
    _, wild = draw_embedded(networks, own, noise, 2 * epsilons)
    rows = {"Stage I": enlarge(rough), "Stage II": fine, "II is told “thin white four\nleaning left on blue”": swapped,
            "one noise vector,\ncondition noise varies": fixed, "condition noise × 0": calm,
            "condition noise × 2": wild, "real images": real}
    figure = Figure((15.5, 8), dpi=100, layout="constrained")
    pictures, plots = figure.subfigures(1, 2, width_ratios=(1.2, 1))
    axes = pictures.subplots()
    axes.imshow((tile_images(np.concatenate(list(rows.values())), 8) + 1) / 2, interpolation="nearest")
    axes.set_yticks((np.arange(len(rows)) + 0.5) * SIDE, list(rows), fontsize=11)
    axes.set_xticks([])
    axes.set_title(f"“{sentence}”", fontsize=12)
    obeyed, wins, augmentation = plots.subplots(3, 1, height_ratios=(1.3, 1, 1))
    draw_bars(obeyed, {name: [100 * figures[part]["mean"] for part in PARTS]
                       for name, figures in results["obedience"].items()}, PARTS, "pictures that obey (%)")
    found = results["other_sentence_for_stage2"]
    draw_bars(wins, {f"the sentence of Stage {stage}": [100 * found[name][stage]["mean"] for name in ATTRIBUTES]
                     for stage in ("I", "II")}, ATTRIBUTES, "pictures that show\nwhat it says (%)")
    wins.set_title("two different sentences: which one wins?", fontsize=11)
    scales = [float(scale) for scale in results["condition_noise"]]
    for name in (ALL_FIVE, *ATTRIBUTES[1:]):
        values = np.array([figures[name]["seeds"] for figures in results["condition_noise"].values()])
        label = "all five right (share)" if name == ALL_FIVE else f"{name} varies (real = 1)"
        augmentation.plot(scales, values.mean(axis=1), "o-", label=label)
    augmentation.set(xlabel="factor of the condition noise when drawing (1 in training)",
                     ylabel="share, or relative to real")
    augmentation.set_ylim(bottom=0)
    augmentation.legend(fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
    augmentation.grid(alpha=0.3)
    return figure


def draw_bars(axes, columns, places, label):
    """Draw groups of bars at `places`, one for each of `columns`, a dictionary from a name to heights (n,)."""
    width = 0.85 / len(columns)
    for number, (name, heights) in enumerate(columns.items()):
        axes.bar(np.arange(len(places)) + (number - (len(columns) - 1) / 2) * width, heights, width, label=name)
    axes.set_xticks(range(len(places)), [place.replace("_", " ") for place in places], fontsize=7)
    axes.set_ylabel(label, fontsize=9)
    axes.set_ylim(0, 100)
    axes.legend(fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
    axes.grid(alpha=0.3, axis="y")


# --------------------------------------------------------------------------------- short trainings


def prepare_training(options):
    """Return what the short trainings have in common, a namespace; made once.

    `data`, `embeddings` of all sentences by the committed text encoder, and a `picture_encoder` that was trained for
    ENCODER_EPOCHS to match it.
    """
    if not hasattr(options, "stackgan_training"):
        settings = parse_arguments(["--encoder-epochs", "1" if options.quick else str(ENCODER_EPOCHS)])
        keras.utils.set_random_seed(settings.seed)
        data, table = prepare_data(*options.data[:2]), tf.constant(sentence_table(settings.seed))
        text_encoder, picture_encoder = load_networks(COMMITTED / "stackgan").text_encoder, build_picture_encoder()
        text_encoder.trainable = False  # so that it keeps its weights and its statistics
        train_encoders(text_encoder, picture_encoder, data, table, settings)
        embeddings = tf.Variable(text_encoder.predict(table, batch_size=4096, verbose=0), trainable=False)
        options.stackgan_training = SimpleNamespace(data=data, embeddings=embeddings, picture_encoder=picture_encoder)
    return options.stackgan_training


def train_stage(options, number, seed, arguments=()):
    """Train Stage `number`, 1 or 2, for a few hundred batches with the command line's `arguments`; return the stage.

    Stage II starts from the committed Stage I. The averaged generator is ready to draw.
    """
    ready = prepare_training(options)
    settings = parse_arguments(["--seed", str(seed), "--stage1-epochs", "1", "--stage2-epochs", "1", *arguments])
    batches = QUICK_BATCHES if options.quick else STAGE1_BATCHES if number == 1 else STAGE2_BATCHES
    settings.train_size = min(batches * settings.batch_size, len(options.data[0]))
    keras.utils.set_random_seed(seed)
    stage = build_stage(number, settings, ready.data, ready.embeddings, ready.picture_encoder,
                        prepare(options).networks.stage1, jit_compile=False if options.quick else None)
    stage.history = train_epoch(stage, settings, number - 1)
    update_batch_norm(stage.ema_generator, lambda count: stage.draw_inputs(-1 - count, 256))
    return stage


def judge_stage(options, draw):
    """Return figures of what `draw(embeddings)`, pictures of either stage for sentences, draws for three scenes."""
    ready, found = prepare(options), {}
    for name in ("seen", "never_seen", "unsaid"):
        scene = ready.scenes[name]
        shown, gray = ready.judge(draw(embed(ready.networks, scene.sentences)))
        if name == "unsaid":
            found |= {f"unsaid_{part}": value for part, value in conditional_diversity(shown, scene.asked, scene.real).items()}
        else:
            found |= {f"{name}_{part}": value for part, value in attribute_accuracy(shown, scene.asked).items()}
        if name == "seen":
            found["checkerboard"] = float(checkerboard_energy(gray).mean())
    return found


def stage1_parts(options, part):
    """What each part of Stage I's training gives: short trainings without one of them."""
    def compute(arguments, seed):
        stage = train_stage(options, 1, seed, arguments)

        def draw(sentences):
            noise, epsilons = random_inputs(SimpleNamespace(stage1=stage.ema_generator), len(sentences), 0)
            return np.concatenate([stage.ema_generator(
                [noise[start:start + 1000], epsilons[0, start:start + 1000], sentences[start:start + 1000]],
                training=False)[0] for start in range(0, len(sentences), 1000)])
        shown = draw(embed(prepare(options).networks, SHOWN_SENTENCES[:6]))
        return {**judge_stage(options, draw), "kl_divergence": float(stage.history[-100:, 5].mean()),
                "matching_loss": float(stage.history[-100:, 6].mean()), "images": encode(full_size(shown))}
    variants = {"default": (), "no condition noise": ("--condition-noise", "0"), "no KL term": ("--kl-weight", "0"),
                "no wrong sentences": ("--wrong-sentence-weight", "0"), "no hard wrong ones": ("--hard-share", "0"),
                "no matching term": ("--matching-weight", "0"), "no energy score": ("--energy-weight", "0"),
                "no colour term": ("--colour-weight", "0"), "no shape term": ("--shape-weight", "0"),
                "no mode seeking": ("--mode-seeking-weight", "0")}
    return compare(options, part, variants, compute, 1, {
        "seen_all_five": ("all five right,\nseen inks (%)", 100),
        "never_seen_all_five": ("all five right,\nnever seen inks (%)", 100), "seen_digit": ("digit right (%)", 100),
        "unsaid_ink": ("ink varies,\nreal = 1", 1), "unsaid_background": ("background varies,\nreal = 1", 1),
        "unsaid_slant": ("slant varies,\nreal = 1", 1)})


def stackgan_upsampling(options, part):
    """PixelShuffle, transposed convolution and nearest neighbour in Stage II of the StackGAN, in short trainings."""
    ways = ("pixelshuffle", "transposed", "nearest")
    stage1 = prepare(options).networks.stage1

    def compute(arguments, seed):
        stage = train_stage(options, 2, seed, arguments)
        networks = SimpleNamespace(stage1=stage1, stage2=stage.ema_generator)

        def draw(sentences):
            return draw_embedded(networks, sentences, *random_inputs(networks, len(sentences), 0))[1]
        shown = draw(embed(prepare(options).networks, SHOWN_SENTENCES[:6]))
        return {**judge_stage(options, draw), "images": encode(full_size(shown))}
    results, figure = compare(options, part, {way: ("--upsampling", way) for way in ways}, compute, 2, {
        "checkerboard": ("checkerboard\nenergy (%)", 100), "seen_all_five": ("all five right (%)", 100),
        "seen_digit": ("digit right (%)", 100), "seen_thickness": ("thickness right (%)", 100),
        "unsaid_thickness": ("thickness varies,\nreal = 1", 1)})

    def time_ways():
        ready, steps, sizes = prepare_training(options), [], []
        for way in ways:
            settings = parse_arguments(["--upsampling", way])
            settings.train_size = len(options.data[0])
            stage = build_stage(2, settings, ready.data, ready.embeddings, ready.picture_encoder, stage1)
            steps.append(lambda step=stage.train_batch: step(tf.range(settings.batch_size), tf.constant(0)).numpy())
            sizes.append((multiply_adds(stage.generator), stage.generator.count_params()))
        seconds = time_in_turns(steps, 2 if options.quick else 12)
        return {way: {"multiply_adds": products, "weights": weights,
                      "time_ratio": took / seconds[ways.index("transposed")]}
                for way, (products, weights), took in zip(ways, sizes, seconds, strict=True)}
    return {**results, "generators": part("time", time_ways)}, figure


def compare(options, part, variants, compute, number, figures):
    """Train `variants`, a dictionary from a name to arguments, with every seed; return (results, figure).

    `compute(arguments, seed)` returns figures, among them the `figures` that are drawn, and `images`.
    """
    jobs = [(name, seed) for name in variants for seed in options.seeds]
    scores = {}
    for position, (name, seed) in enumerate(jobs):
        scores.setdefault(name, []).append(part(
            f"{name}, seed {seed}", lambda name=name, seed=seed: compute(variants[name], seed),
            len(jobs) - position - 1))
    results = {name: summarize(columns) for name, columns in scores.items()}
    figure = Figure((4.4 + 1.9 * len(figures), 0.62 * len(variants) + 2.1), dpi=100, layout="constrained")
    grid = figure.add_gridspec(1, 1 + len(figures), width_ratios=(3.6, *[1.9] * len(figures)))
    axes = figure.add_subplot(grid[0])
    pictures = np.concatenate([decode(scores[name][0]["images"], 3) for name in variants])
    columns = len(pictures) // len(variants)
    axes.imshow((tile_images(pictures, columns) + 1) / 2, interpolation="nearest", aspect="auto",
                extent=(0, columns, len(variants) - 0.5, -0.5))
    axes.set_yticks(range(len(variants)), list(variants), fontsize=11)
    axes.set_xticks(np.arange(columns) + 0.5, range(1, columns + 1), fontsize=11)
    axes.tick_params(length=0, top=True, labeltop=True, labelbottom=False)
    sentences = [f"{number}: {sentence}" for number, sentence in enumerate(SHOWN_SENTENCES[:columns], 1)]
    figure.supxlabel("     ".join(sentences), fontsize=9)
    for column, (name, (label, factor)) in enumerate(figures.items(), 1):
        axes = figure.add_subplot(grid[column])
        for row, variant in enumerate(variants):
            values = factor * np.array(results[variant][name]["seeds"])
            axes.plot(values, [row] * len(values), "o", color=f"C{row}", alpha=0.7, clip_on=False)
            axes.plot([values.min(), values.max()], [row, row], color=f"C{row}")
        axes.set(ylim=(len(variants) - 0.5, -0.5), yticks=range(len(variants)), yticklabels=[])
        axes.set_xlim(0, 1.08 * max(axes.get_xlim()[1], 1e-3))
        # Without the last number, which would touch the 0 of the next axes.
        axes.xaxis.set_major_locator(MaxNLocator(4, steps=(1, 2, 5, 10), prune="upper"))
        axes.set_title(label, fontsize=11)
        axes.grid(alpha=0.4)
    batches = QUICK_BATCHES if options.quick else STAGE1_BATCHES if number == 1 else STAGE2_BATCHES
    figure.suptitle(f"Stage {'I' * number} after {batches} batches", fontsize=14)
    return {"batches": batches, "sentences": len(prepare(options).scenes["seen"].sentences),
            "variants": results}, figure
