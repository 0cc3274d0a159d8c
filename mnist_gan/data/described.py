"""The training data of the StackGAN: digits painted in random colours, with right and wrong sentences about them."""

from typing import NamedTuple

import numpy as np
import tensorflow as tf

from mnist_gan.data import painting
from mnist_gan.data import sentences as grammar


class TrainingData(NamedTuple):
    """What is painted and described in training: `images` uint8 (n, 28, 28) and `shapes`, int32 (n, 3), tensors.

    The shapes are digit, thickness and slant.
    """

    images: tf.Tensor
    shapes: tf.Tensor


def prepare_data(images, digits):
    """Return the `TrainingData` of `images`, uint8 (n, 28, 28), and `digits`, int32 (n,)."""
    thickness, slant = painting.shape_classes(images / np.float32(255), painting.shape_cuts(images))
    return TrainingData(tf.constant(images), tf.constant(np.stack([digits, thickness, slant], 1)))


def random_draws(seed, step, draw_normal=tf.random.stateless_normal):
    """Return (normal, uniform), which draw numbers that depend on nothing but `seed`, `step` and a stream.

    `normal(stream, *shape)`, with a stream 0..9, is float32; `uniform(stream, maxval, *shape)`, with a stream 0..19, is
    int32 in [0, maxval). Both turn the same seed into the same bits, so that none may be used by both.
    """
    def normal(stream, *shape):
        return draw_normal(shape, (seed, 30 * step + 20 + stream))

    def uniform(stream, maxval, *shape):
        return tf.random.stateless_uniform(shape, (seed, 30 * step + stream), maxval=maxval, dtype=tf.int32)
    return normal, uniform


def paint_batch(data, indices, uniform):
    """Paint the training images at `indices`, int32 (n,), in random colours.

    Returns pictures (n, 28, 28, 3) in [-1, 1] and their descriptions, int32 (n, 5).
    """
    digit, thickness, slant = tf.unstack(tf.gather(data.shapes, indices), axis=1)
    ink, background = painting.draw_colours(digit, lambda stream, maxval: uniform(stream, maxval, indices.shape[0]))
    pictures = painting.paint(tf.gather(data.images, indices), ink, background)
    return pictures, tf.stack([digit, ink, background, thickness, slant], axis=1)


def phrase(descriptions, uniform, stream, said=None):
    """Choose a random sentence for each of `descriptions`, int32 (n, 5).

    Returns their indices in the table of all sentences, int32 (n,), and what they say, int32 (n, 5), UNSAID for the
    rest.

    A sentence names the digit alone with probability 1/8; otherwise it leaves each of the other attributes unsaid with
    probability 1/4. It says them where `said`, bool (n, 4), holds.
    """
    size = descriptions.shape[0]
    speaks = (uniform(stream, 4, size, 4) > 0) & (uniform(stream + 1, 8, size, 1) > 0)
    speaks = speaks if said is None else speaks | said
    index = descriptions[:, 0]
    for number, choices in enumerate(grammar.CHOICES[1:]):
        index = index * (choices + 1) + tf.where(speaks[:, number], descriptions[:, number + 1], choices)
    index = index * grammar.PHRASINGS_PER_DESCRIPTION + uniform(stream + 2, grammar.PHRASINGS_PER_DESCRIPTION, size)
    said = tf.where(speaks, descriptions[:, 1:], grammar.UNSAID)
    return index, tf.concat([descriptions[:, :1], said], 1)


def wrong_sentences(descriptions, hard_share, uniform):
    """Return indices, int32 (n,), of sentences in the table that are wrong about pictures with `descriptions` (n, 5).

    The first `hard_share` of them are hard: true but for one attribute, the digit twice as often as each of the others.
    The rest are true of the next picture if that shows another digit, and hard if it does not.
    """
    size = descriptions.shape[0]
    digit, ink, background, thickness, slant = tf.unstack(descriptions, axis=1)
    fault = uniform(14, 6, size)
    other_digit = tf.gather_nd(painting.OTHER_DIGITS, tf.stack([ink, digit, uniform(15, 8, size)], 1))
    other_ink = tf.gather_nd(painting.OTHER_INKS, tf.stack([digit, ink, uniform(16, 42, size)], 1))
    other_background = tf.gather_nd(painting.OTHER_COLOURS, tf.stack([ink, background, uniform(17, 6, size)], 1))
    wrong_ink = tf.where(fault == 2, other_ink, ink)
    wrong_background = tf.where(fault == 3, other_background, background)
    hard = tf.stack([
        tf.where(fault < 2, other_digit, digit), wrong_ink,
        # unsaid where it would not be seen
        tf.where(wrong_background == wrong_ink, len(grammar.COLOURS), wrong_background),
        tf.where(fault == 4, (thickness + 1 + uniform(18, 2, size)) % 3, thickness),
        tf.where(fault == 5, (slant + 1 + uniform(18, 2, size)) % 3, slant)], 1)
    said = tf.stack([fault == attribute for attribute in (2, 3, 4, 5)], 1)
    hard, _ = phrase(hard, uniform, 8, said)
    following = tf.roll(descriptions, -1, 0)
    is_hard = (tf.range(size) < round(hard_share * size)) | (following[:, 0] == digit)
    return tf.where(is_hard, hard, phrase(following, uniform, 11)[0])
