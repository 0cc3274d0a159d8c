"""What all experiments have in common: data, folders, seeds, classifier, committed networks, and what is cached."""

import functools
from pathlib import Path

import keras
import tensorflow as tf
from coursework.cache import Cache, code_checksum
from evaluate import choose_indices
from mnist_gan.data.described import prepare_data
from mnist_gan.data.mnist import scale_images
from mnist_gan.data.painting import full_size, shape_cuts
from mnist_gan.data.sentences import sentence_table
from mnist_gan.drawing.stackgan import load_networks
from mnist_gan.encoders import build_digit_classifier, build_picture_encoder, train_encoders
from mnist_gan.metrics.attributes import find_attributes, prepare_scenes
from mnist_gan.metrics.classifiers import classify, load_classifier
from stackgan_mnist import parse_arguments

ROOT = Path(__file__).resolve().parent.parent
COMMITTED = ROOT / "results"  # what the reports quote; no experiment with default folders writes there

SAMPLES, QUICK_SAMPLES = 10_000, 500  # images that are scored, as many as evaluate.py has
SENTENCES, QUICK_SENTENCES = 2000, 100
ENCODER_EPOCHS = 2


class Context:
    """What an experiment gets, in plain attributes and in properties that are made when they are first asked for.

    `data` is what `mnist_gan.data.mnist.load_data` returns; `quick` is whether to show in a minute that an experiment
    works, rather than to measure anything; `folder` is where trainings are cached and `classifier_folder` where the
    classifier is, the same if not given. `code` is the checksum of the code, which is in the key of all that is cached.
    """

    def __init__(self, data, quick, folder, classifier_folder=None, code=None):
        (self.x_train, self.y_train), (self.x_test, self.y_test) = data
        self.quick, self.seeds = quick, (0,) if quick else (0, 1, 2)
        self.folder, self.classifier_folder = Path(folder), Path(classifier_folder or folder)
        self.code = code_checksum(ROOT) if code is None else code
        self.samples = QUICK_SAMPLES if quick else SAMPLES
        self.cache = None

    def open_cache(self, experiment, settings):
        """Cache from now on for `experiment`, a name, what is computed under these `settings`, a dictionary."""
        self.cache = Cache(self.folder / f"{experiment}.cached.json", {**settings, "code_crc32": self.code})

    def cached(self, name, compute, left=None):
        """Return `compute()` as the `Cache` of the experiment does."""
        return self.cache.get(name, compute, left)

    def cached_for_seeds(self, name, compute):
        """Return `compute(seed)` for every seed, a list, each cached."""
        return [self.cached(f"{name}, seed {seed}", functools.partial(compute, seed)) for seed in self.seeds]

    def cached_for_variants(self, variants, compute):
        """Return for each of `variants`, names, the list of `compute(name, seed)` for every seed, each cached."""
        jobs = [(name, seed) for name in variants for seed in self.seeds]
        found = {name: [] for name in variants}
        for left, (name, seed) in zip(reversed(range(len(jobs))), jobs, strict=True):
            found[name].append(self.cached(f"{name}, seed {seed}", functools.partial(compute, name, seed), left))
        return found

    @functools.cached_property
    def classifier(self):
        """The classifier of gray digits in whose features images are compared."""
        return load_classifier(self.classifier_folder, "classifier", "in whose features images are compared",
                               self.x_train, self.y_train)

    @functools.cached_property
    def all_test_features(self):
        """The features (n, 128) of all test images."""
        return classify(self.classifier, scale_images(self.x_test).numpy())[0]

    def draw_real_images(self, seed):
        """Return training images (samples, 28, 28, 1) in [-1, 1], drawn at random, and labels, digit by digit.

        They stand for what a perfect generator would draw.
        """
        chosen = choose_indices(self.y_train, self.y_test, self.samples, seed)
        return scale_images(self.x_train[chosen]).numpy(), self.y_train[chosen]

    @functools.cached_property
    def real_images(self):
        """The images and labels that `evaluate.py` takes for real ones."""
        return self.draw_real_images(0)

    @functools.cached_property
    def stackgan_networks(self):
        """The networks of the committed StackGAN: `text_encoder`, `stage1`, `stage2`."""
        return load_networks(COMMITTED / "stackgan")

    @functools.cached_property
    def shape_cuts(self):
        """What thin and thick, leaning left and right are, from the training images."""
        return shape_cuts(self.x_train)

    @functools.cached_property
    def scenes(self):
        """The sentences that pictures are asked for, as `prepare_scenes` returns them, about some test images."""
        count = QUICK_SENTENCES if self.quick else SENTENCES
        every = max(1, len(self.x_test) // count)
        return prepare_scenes(self.x_test[::every][:count], self.y_test[::every][:count], self.shape_cuts, 0)

    def find_attributes(self, pictures):
        """Return the descriptions (n, 5) and the gray digits (n, 28, 28) of pictures of either stage."""
        return find_attributes(full_size(pictures), self.shape_cuts,
                               lambda images: classify(self.classifier, images)[1])

    @functools.cached_property
    def stage_inputs(self):
        """What short trainings of a stage start from: the data, all sentences' embeddings, picture encoder, classifier.

        The sentences are embedded by the committed text encoder; the picture encoder was trained for ENCODER_EPOCHS to
        match it.
        """
        settings = parse_arguments(["--encoder-epochs", "1" if self.quick else str(ENCODER_EPOCHS)])
        keras.utils.set_random_seed(settings.seed)
        data, table = prepare_data(self.x_train, self.y_train), tf.constant(sentence_table(settings.seed))
        # Loaded anew: loading draws random numbers, and with `stackgan_networks` the picture encoder's initial weights
        # would depend on whether these were asked for before.
        text_encoder, picture_encoder = load_networks(COMMITTED / "stackgan").text_encoder, build_picture_encoder()
        digit_classifier = build_digit_classifier()
        text_encoder.trainable = False  # so that it keeps its weights and its statistics
        train_encoders(text_encoder, picture_encoder, digit_classifier, data, table, settings)
        embeddings = tf.Variable(text_encoder.predict(table, batch_size=4096, verbose=0), trainable=False)
        return data, embeddings, picture_encoder, digit_classifier
