"""Attribute accuracy of pictures for sentences, conditional diversity, and checkerboards.

Descriptions are int32 (n, 5), as in `mnist_gan/data/sentences.py`; all that they say can be measured in a picture.
"""

from typing import NamedTuple

import numpy as np
import tensorflow as tf

from mnist_gan.data.mnist import DIGITS, blocks
from mnist_gan.data.painting import (NEVER_SEEN, PERCENTILES, draw_colours, enlarge, halve, paint, read_pictures,
                                     shape_classes)
from mnist_gan.data.sentences import ATTRIBUTES, COLOURS, LANGUAGES, UNSAID, describe

INDEPENDENT = ("digit", "thickness", "slant")  # what is also measured in another way than training has
ALL_FIVE = "all_five"  # beside ATTRIBUTES, the name of the share of pictures that have every attribute right


def describe_images(images, digits, cuts, random) -> np.ndarray:
    """Return the descriptions of uint8 images (n, 28, 28) with labels `digits` (n,), in colours as in training.

    `cuts` is what `shape_cuts` returned for the training images; the numpy generator `random` draws the colours.
    """
    def uniform(_, maxval):
        return random.integers(maxval, size=len(digits), dtype=np.int32)
    inks, backgrounds = draw_colours(digits, uniform)
    return np.stack([digits, inks, backgrounds, *shape_classes(images / np.float32(255), cuts)], axis=1)


def recolour_never_seen(descriptions, random) -> tuple:
    """Return (indices (m,), descriptions (m, 5)): those whose digit has an ink in NEVER_SEEN, in that ink.

    The numpy generator `random` draws the backgrounds among the other colours.
    """
    inks = np.full(DIGITS, UNSAID)
    for digit, name in NEVER_SEEN:
        inks[digit] = COLOURS.index(name)
    indices = np.flatnonzero(inks[descriptions[:, 0]] != UNSAID)
    recoloured = descriptions[indices]
    recoloured[:, 1] = inks[recoloured[:, 0]]
    recoloured[:, 2] = (recoloured[:, 1] + 1 + random.integers(len(COLOURS) - 1, size=len(indices))) % len(COLOURS)
    return indices, recoloured


def unsay(descriptions, random) -> np.ndarray:
    """Return the descriptions as the sentences in training say them, with UNSAID for what these leave out.

    One in eight says the digit alone; the others leave out each other attribute with probability 1/4.
    """
    count = len(descriptions)
    speaks = (random.random((count, len(ATTRIBUTES) - 1)) >= 1 / 4) & (random.random((count, 1)) >= 1 / 8)
    return np.column_stack([descriptions[:, 0], np.where(speaks, descriptions[:, 1:], UNSAID)])


def digits_alone(descriptions) -> np.ndarray:
    """Return the descriptions with everything but the digit UNSAID."""
    return np.column_stack([descriptions[:, 0], np.full((len(descriptions), len(ATTRIBUTES) - 1), UNSAID)])


def write_sentences(descriptions, random) -> list:
    """Return a sentence for each of the descriptions, every third in Persian, in phrasings that `random` draws."""
    return [describe(description, random, LANGUAGES[number % 3 == 2])
            for number, description in enumerate(descriptions.tolist())]


class Scene(NamedTuple):
    """Sentences about real images, and what they are about. Descriptions are (n, 5)."""
    images: np.ndarray  # uint8 (n, 28, 28)
    real: np.ndarray  # descriptions of the images as they are painted
    asked: np.ndarray  # descriptions of what the sentences say about them
    sentences: list  # n strings


def prepare_scenes(images, digits, cuts, seed) -> dict:
    """Return four Scenes, a dictionary, about uint8 images (n, 28, 28) with labels `digits` (n,).

    `seen` says everything about each image, painted in colours as in training; `never_seen` says everything about those
    whose digit has an ink that it never has in training, in that ink; `unsaid` leaves out what sentences in training
    leave out; `digit_alone` leaves out all else. `cuts` is what `shape_cuts` returned for the training images.
    """
    random = np.random.default_rng((seed, 0))
    real = describe_images(images, digits, cuts, random)
    indices, recoloured = recolour_never_seen(real, random)
    scenes = {"seen": (images, real, real), "never_seen": (images[indices], recoloured, recoloured),
              "unsaid": (images, real, unsay(real, random)), "digit_alone": (images, real, digits_alone(real))}
    return {name: Scene(images, real, asked, write_sentences(asked, random))
            for name, (images, real, asked) in scenes.items()}


def paint_for_stages(images, descriptions) -> tuple:
    """Return images uint8 (n, 28, 28) painted as described (n, 5), halved and enlarged again and as they are.

    Both are (n, 28, 28, 3) in [-1, 1], what perfect generators of Stage I and of Stage II would draw.
    """
    pictures = paint(images, descriptions[:, 1], descriptions[:, 2])
    return enlarge(halve(pictures).numpy()), pictures.numpy()


def find_attributes(pictures, cuts, see_digits) -> tuple:
    """Return (descriptions (n, 5), gray (n, 28, 28) in [0, 1]) of what pictures (n, 28, 28, 3) in [-1, 1] show.

    Ink, background and gray digit are found by `read_pictures`, thickness and slant by the very `shape_classes`, with
    `cuts`, that sentences are written with; `see_digits` turns gray images (n, 28, 28, 1) in [-1, 1] into digits (n,).
    """
    inks, backgrounds, gray = (np.concatenate(part) for part in zip(*map(read_pictures, blocks(pictures)), strict=True))
    shapes = np.concatenate([np.stack(shape_classes(block, cuts), axis=1) for block in blocks(gray)])
    return np.column_stack([see_digits(gray[..., np.newaxis] * 2 - 1), inks, backgrounds, shapes]), gray


def distances_to_background(inked) -> np.ndarray:
    """Return for each pixel of `inked`, bool (n, h, w), its Euclidean distance to the nearest pixel without ink.

    The squares are minimized along rows and then along columns (Felzenszwalb & Huttenlocher 2012, Distance Transforms
    of Sampled Functions, section 2).
    """
    def nearest_along(squares):  # the last axis
        places = np.arange(squares.shape[-1], dtype=np.float32)
        return (squares[..., np.newaxis, :] + np.square(places[:, np.newaxis] - places)).min(-1)
    squares = nearest_along(np.where(inked, np.float32(1e6), np.float32(0)))
    return np.sqrt(nearest_along(squares.swapaxes(1, 2)).swapaxes(1, 2))


def ridge_widths(gray) -> np.ndarray:
    """Return the mean width of strokes along their middle, in pixels (n,), of digits `gray` (n, h, w) in [0, 1].

    The middle is where no neighbour is farther from the background; the width there is twice that distance. It is
    measured at twice the resolution, and is another measure than `stroke_widths`, which training minimizes.
    """
    widths = []
    for block in blocks(gray, 100):
        size = 2 * block.shape[1], 2 * block.shape[2]
        inked = tf.image.resize(block[..., np.newaxis], size, "bicubic").numpy()[..., 0] > 0.5
        distances = distances_to_background(np.pad(inked, ((0, 0), (1, 1), (1, 1))))
        highest = tf.nn.max_pool2d(distances[..., np.newaxis], 3, 1, "SAME").numpy()[..., 0]
        middle = (distances > 0) & (distances >= highest)
        # Twice the distance, in half pixels.
        widths.append((distances * middle).sum((1, 2)) / np.maximum(middle.sum((1, 2)), 1))
    return np.concatenate(widths)


def axis_slants(gray) -> np.ndarray:
    """Return the angles (n,) by which the principal axis of digits `gray` (n, h, w) in [0, 1] leans right, in degrees.

    The axis is the direction in which the ink deviates most; `shears`, which training minimizes, is another measure.
    """
    y, x = np.mgrid[:gray.shape[1], :gray.shape[2]].astype(np.float32)
    mass = np.maximum(gray.sum((1, 2)), 1e-6)
    y, x = (axis - ((gray * axis).sum((1, 2)) / mass)[:, np.newaxis, np.newaxis] for axis in (y, x))
    xx, yy, xy = ((gray * product).sum((1, 2)) / mass for product in (x * x, y * y, x * y))
    return np.degrees(0.5 * np.arctan2(-2 * xy, yy - xx))


def independent_shapes(gray) -> np.ndarray:
    """Return `ridge_widths` and `axis_slants`, (2, n), of digits `gray` (n, 28, 28) in [0, 1]."""
    return np.stack([ridge_widths(gray), axis_slants(gray)])


def independent_cuts(images) -> np.ndarray:
    """Return the PERCENTILES of the `independent_shapes` of uint8 digits (n, 28, 28), (2, 2), of the first 10,000."""
    return np.percentile(independent_shapes(images[:10_000] / np.float32(255)), PERCENTILES, axis=1).T


def empty_share(pictures) -> float:
    """Return the share of `pictures` (n, 28, 28, 3) in [-1, 1] that show nothing: no colour varies by a tenth."""
    return float((np.ptp(pictures, axis=(1, 2)).max(-1) < 0.2).mean())


def attribute_accuracy(found, asked) -> dict:
    """Return for each of ATTRIBUTES, and for ALL_FIVE together, the share in [0, 1] of pictures that have it right.

    `found` and `asked` are descriptions (n, 5). A picture counts where its sentence says the attribute, and for
    ALL_FIVE with whatever its sentence says; the share is nan where none says it.
    """
    said, right = asked != UNSAID, found == asked
    shares = {name: float(right[said[:, place], place].mean()) if said[:, place].any() else float("nan")
              for place, name in enumerate(ATTRIBUTES)}
    return {**shares, ALL_FIVE: float((right | ~said).all(axis=1).mean())}


def entropy_within_digits(values, digits) -> float:
    """Return the entropy in nats of whole numbers `values` (n,) >= 0 among equal `digits` (n,), averaged over these."""
    entropies = []
    for digit in np.unique(digits):
        shares = np.bincount(values[digits == digit]) / np.count_nonzero(digits == digit)
        shares = shares[shares > 0]
        entropies.append(-(shares * np.log(shares)).sum())
    return np.mean(entropies)


def conditional_diversity(found, asked, real) -> dict:
    """Return for each attribute but the digit how much it varies where the sentence leaves it out, 1 for as in reality.

    It is the entropy of what pictures show, `found` (n, 5), within each digit that was asked for, averaged over the
    digits and divided by the same entropy of the `real` descriptions (n, 5) of the same sentences, `asked` (n, 5).
    It is nan for an attribute that is always said or never varies in reality.
    """
    figures = {}
    for place, name in enumerate(ATTRIBUTES[1:], 1):
        unsaid = asked[:, place] == UNSAID
        shown, wanted = (entropy_within_digits(values[unsaid, place], asked[unsaid, 0]) if unsaid.any() else 0.0
                         for values in (found, real))
        figures[name] = float(shown / wanted) if wanted else float("nan")
    return figures


def checkerboard_energy(gray) -> np.ndarray:
    """Return the share (n,) in [0, 1] of the energy of images `gray` (n, 28, 28) that alternates from pixel to pixel.

    That is |FFT|² in the row and the column of the spectrum whose period is 2 pixels, relative to all of it but the
    mean; 0 for a constant image. Transposed convolutions leave such patterns (Odena et al. 2016,
    https://distill.pub/2016/deconv-checkerboard/).
    """
    shares = []
    for block in blocks(gray):
        energy = np.square(np.abs(np.fft.fft2(block)))
        middle = energy.shape[1] // 2
        alternating = energy[:, middle].sum(1) + energy[:, :, middle].sum(1) - energy[:, middle, middle]
        rest = energy.sum((1, 2)) - energy[:, 0, 0]
        shares.append(np.where(rest > 1e-9 * energy[:, 0, 0], alternating / np.maximum(rest, 1e-30), 0))
    return np.concatenate(shares)
