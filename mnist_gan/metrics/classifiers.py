"""Classifiers of gray and of painted digits, in whose features images are compared: trained once and saved."""

import functools
import os
import sys
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from keras import layers

from mnist_gan.data.mnist import DIGITS, SIDE, checksum, scale_images
from mnist_gan.networks import load_network, save_network
from mnist_gan.data.painting import draw_colours, paint, with_contrast
from mnist_gan.data.sentences import COLOURS


def build_classifier(name) -> keras.Model:
    """Build a small convolutional network: images (n, 28, 28, 1) in [-1, 1] to logits (n, 10).

    Its penultimate layer, "features" (n, 128), is where images are compared: the features of
    ImageNet networks, usual for photographs, say little about digits.
    """
    return keras.Sequential([
        keras.Input((SIDE, SIDE, 1)),
        layers.Conv2D(32, 3, activation="relu"),
        layers.MaxPooling2D(),
        layers.Conv2D(64, 3, activation="relu"),
        layers.MaxPooling2D(),
        layers.Flatten(),
        layers.Dropout(0.3),
        layers.Dense(128, activation="relu", name="features"),
        layers.Dropout(0.5),
        layers.Dense(DIGITS, name="logits"),
    ], name=name)


def build_independent_classifier(name) -> keras.Model:
    """Build a network with strides instead of pooling and another start: images (n, 28, 28, 1) to logits (n, 10)."""
    keras.utils.set_random_seed(1)
    return keras.Sequential([
        keras.Input((SIDE, SIDE, 1)),
        layers.Conv2D(24, 5, strides=2, activation="relu"),
        layers.Conv2D(48, 5, strides=2, activation="relu"),
        layers.Flatten(),
        layers.Dropout(0.4),
        layers.Dense(200, activation="relu"),
        layers.Dense(DIGITS),
    ], name=name)


def build_painted_classifier(name) -> keras.Model:
    """Build a network like `build_classifier`'s for pictures (n, 28, 28, 3) in [-1, 1].

    It returns the logits of digit (n, 10), ink (n, 8) and background (n, 8), so that its "features" (n, 128) hold all
    three. The contrast lets it find the digit in all colours alike.
    """
    picture = keras.Input((SIDE, SIDE, 3), name="picture")
    x = layers.Conv2D(32, 3, activation="relu")(with_contrast(picture))
    x = layers.MaxPooling2D()(x)
    x = layers.Conv2D(64, 3, activation="relu")(x)
    x = layers.MaxPooling2D()(x)
    x = layers.Dropout(0.3)(layers.Flatten()(x))
    x = layers.Dense(128, activation="relu", name="features")(x)
    x = layers.Dropout(0.5)(x)
    return keras.Model(picture, [layers.Dense(DIGITS, name="digit")(x), layers.Dense(len(COLOURS), name="ink")(x),
                                 layers.Dense(len(COLOURS), name="background")(x)], name=name)


def cross_entropy() -> keras.losses.Loss:
    """Return the loss of a classifier with logits."""
    return keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def cosine_adam(steps) -> keras.optimizers.Optimizer:
    """Return Adam with a step size that falls from 2e-3 to 0 along a cosine within `steps` updates."""
    return keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(2e-3, steps))


def train_classifier(name, x_train, y_train, build=build_classifier, epochs=6, batch_size=128) -> keras.Model:
    """Train a classifier of digits on images uint8 (n, 28, 28) and labels (n,), from a fixed seed, and return it."""
    keras.utils.set_random_seed(0)
    classifier = build(name)
    classifier.compile(cosine_adam(epochs * -(-len(x_train) // batch_size)), cross_entropy(), metrics=["accuracy"])
    classifier.fit(scale_images(x_train).numpy(), y_train, batch_size, epochs,
                   verbose=1 if sys.stdout.isatty() else 2)
    return classifier


def train_painted_classifier(name, x_train, y_train, epochs=5, batch_size=128) -> keras.Model:
    """Train the painted classifier on images uint8 (n, 28, 28) with labels (n,), from a fixed seed, and return it.

    The images are painted in new colours in every epoch, only in the pairs that a StackGAN's training has.
    """
    keras.utils.set_random_seed(0)

    def paint_batch(step, batch):
        images, digits = batch

        def uniform(stream, maxval):
            return tf.random.stateless_uniform(tf.shape(digits), (step, stream), maxval=maxval, dtype=tf.int32)
        ink, background = draw_colours(digits, uniform)
        return paint(images, ink, background), (digits, ink, background)

    batches = (tf.data.Dataset.from_tensor_slices((x_train, y_train)).shuffle(len(x_train), seed=0).repeat()
               .batch(batch_size).enumerate().map(paint_batch).prefetch(2))
    classifier = build_painted_classifier(name)
    steps = -(-len(x_train) // batch_size)
    classifier.compile(cosine_adam(epochs * steps), [cross_entropy() for _ in classifier.outputs],
                       metrics=[["accuracy"] for _ in classifier.outputs])
    classifier.fit(batches, epochs=epochs, steps_per_epoch=steps, shuffle=False,
                   verbose=1 if sys.stdout.isatty() else 2)
    return classifier


def two_sample_accuracy(images, others, epochs=5, batch_size=128) -> float:
    """Return how often a network tells `images` (n, 28, 28, 1) in [-1, 1] from `others` (m, 28, 28, 1), in [0, 1].

    A small convolutional network is trained on a random half of both, as many of each, and asked about the other half:
    0.5 means that it found no difference (Lopez-Paz & Oquab 2017, Revisiting Classifier Two-Sample Tests,
    https://arxiv.org/abs/1610.06545). Everything random has a fixed seed.
    """
    keras.utils.set_random_seed(0)
    random, size = np.random.default_rng(0), min(len(images), len(others))
    first, second = (part[random.permutation(len(part))[:size]] for part in (images, others))
    pairs = np.stack([first, second], axis=1)  # (size, 2, 28, 28, 1)
    x_train, x_asked = (part.reshape(-1, SIDE, SIDE, 1) for part in (pairs[:size // 2], pairs[size // 2:]))
    answers = np.arange(len(x_train) + 2) % 2
    network = keras.Sequential([
        keras.Input((SIDE, SIDE, 1)),
        layers.Conv2D(16, 3, activation="relu"),
        layers.MaxPooling2D(),
        layers.Conv2D(32, 3, activation="relu"),
        layers.MaxPooling2D(),
        layers.Flatten(),
        layers.Dense(64, activation="relu"),
        layers.Dense(1, activation="sigmoid"),
    ])
    network.compile("adam", "binary_crossentropy", metrics=["accuracy"])
    network.fit(x_train, answers[:len(x_train)], batch_size, epochs, verbose=0)
    return network.evaluate(x_asked, answers[:len(x_asked)], batch_size=500, verbose=0)[1]


TRAINERS = {"classifier": train_classifier, "painted_classifier": train_painted_classifier,
            "independent_classifier": functools.partial(train_classifier, build=build_independent_classifier)}


def find_classifier(folder, kind, x_train, y_train) -> keras.Model | None:
    """Return the classifier of this data from the file `kind`.keras in `folder`, or None.

    `kind` is one of TRAINERS.
    Raises InputError if the file is damaged or something else.
    """
    path = Path(folder) / f"{kind}.keras"
    if os.path.isfile(path):
        classifier = load_network(path, lambda network: network.name.startswith(f"{kind}_"),
                                  "delete it and it is trained again")
        if classifier.name == classifier_name(kind, x_train, y_train):
            return classifier
    return None


def classifier_name(kind, x_train, y_train) -> str:
    """Return the name of a classifier's network, by which it goes with its data."""
    return f"{kind}_{checksum(x_train, y_train):08x}"


def load_classifier(folder, kind, purpose, x_train, y_train) -> keras.Model:
    """Return what `find_classifier` finds, or train the classifier and write it there.

    `purpose` goes on with "the classifier" in the message that says what the time is spent for.
    Raises InputError as `find_classifier` does, and OSError if the file cannot be written.
    """
    classifier = find_classifier(folder, kind, x_train, y_train)
    if classifier is None:
        print(f"Training the classifier {purpose} (once, about 2 minutes):", flush=True)
        classifier = TRAINERS[kind](classifier_name(kind, x_train, y_train), x_train, y_train)
        save_network(Path(folder) / f"{kind}.keras", classifier)
    return classifier


@functools.cache  # a new network would be compiled anew for every set of images
def with_features(classifier) -> keras.Model:
    """Return the classifier as a network that returns its features as well, before the logits."""
    return keras.Model(classifier.inputs, [classifier.get_layer("features").output, *classifier.outputs])


def classify(classifier, images) -> tuple:
    """Return (features (n, 128), classes), what the classifier sees in images (n, 28, 28, 1 or 3) in [-1, 1].

    The classes are the digits (n,) or, of a painted classifier, digits, inks and backgrounds (n, 3).
    """
    features, *logits = with_features(classifier).predict(images, batch_size=500, verbose=0)
    classes = np.stack([part.argmax(axis=1) for part in logits], axis=1)
    return features, classes[:, 0] if len(logits) == 1 else classes
