"""Painted digits: their colours, and what thickness and slant of a digit are, in numbers.

Every pixel of a painted digit is background + (ink - background) * gray, so that all that a sentence says about it
can be measured in the picture.
"""

import numpy as np
import tensorflow as tf
from keras import ops

from mnist_gan.data.mnist import DIGITS, SIDE, blocks
from mnist_gan.data.sentences import COLOURS, UNSAID

# In the order of COLOURS, in [-1, 1].
PALETTE = np.array([(0, 0, 0), (255, 255, 255), (255, 0, 0), (0, 160, 0), (0, 0, 255), (255, 255, 0), (160, 0, 160),
                    (255, 128, 0)], np.float32) / 127.5 - 1

# A tenth of all pairs of digit and ink, one for each ink, that never occur in training.
NEVER_SEEN = ((2, "black"), (0, "white"), (7, "red"), (5, "green"), (9, "blue"), (3, "yellow"), (8, "purple"),
              (4, "orange"))
# The seven or eight inks in which each digit does occur, repeated to 56, which both numbers divide.
SEEN_INKS = np.array([np.resize([ink for ink, name in enumerate(COLOURS) if (digit, name) not in NEVER_SEEN], 56)
                      for digit in range(DIGITS)], np.int32)

# Alternatives for wrong sentences: eight other digits that occur in an ink, at least six other inks in which a digit
# occurs, six other colours than two given ones. Only the entries of pairs that occur in training are used.
OTHER_DIGITS = np.array([[[other for other in range(DIGITS) if other != digit and ink in SEEN_INKS[other]][:8]
                          for digit in range(DIGITS)] for ink in range(len(COLOURS))], np.int32)
OTHER_INKS = np.array([[np.resize([other for other in sorted(set(SEEN_INKS[digit])) if other != ink], 42)
                        for ink in range(len(COLOURS))] for digit in range(DIGITS)], np.int32)
OTHER_COLOURS = np.array([[[other for other in range(len(COLOURS)) if other not in (one, another)][:6]
                           for another in range(len(COLOURS))] for one in range(len(COLOURS))], np.int32)

PLACES = 65  # how finely the shapes of a digit's images are told apart
NEARBY = 0.1  # an exact place would be met with specks, which change the measured width, instead of other strokes
MARGIN = 0.05  # about a fifth of the standard deviation of a shape
PERCENTILES = (100 / 3, 200 / 3)  # of the training images; they part thin, medium, thick, and the three slants


def draw_colours(digits, uniform) -> tuple:
    """Draw inks and backgrounds, int32 tensors (n,), for `digits`, int32 (n,), among the pairs that occur in training.

    `uniform(stream, maxval)` returns random int32 (n,) in [0, maxval) for stream 0 and another for stream 1.
    """
    ink = tf.gather_nd(SEEN_INKS, tf.stack([digits, uniform(0, SEEN_INKS.shape[1])], axis=1))
    return ink, (ink + 1 + uniform(1, len(COLOURS) - 1)) % len(COLOURS)


def paint(images, inks, backgrounds) -> tf.Tensor:
    """Paint uint8 digits (n, 28, 28) in 0..255 with colours, integers (n,) into PALETTE.

    Returns a float32 tensor (n, 28, 28, 3) in [-1, 1].
    """
    gray = tf.cast(images, tf.float32)[..., tf.newaxis] / 255.0
    ink, background = (tf.gather(PALETTE, colour)[:, tf.newaxis, tf.newaxis] for colour in (inks, backgrounds))
    return background + (ink - background) * gray


def halve(images) -> tf.Tensor:
    """Average images (n, 2 h, 2 w, c) over areas of 2 x 2 pixels: (n, h, w, c)."""
    return tf.nn.avg_pool2d(images, 2, 2, "VALID")


def enlarge(images) -> np.ndarray:
    """Repeat every pixel of images (n, h, w, c), an array, in both directions: (n, 2 h, 2 w, c)."""
    return images.repeat(2, axis=1).repeat(2, axis=2)


def full_size(pictures) -> np.ndarray:
    """Return pictures (n, h, w, c) of either stage, arrays, as (n, 28, 28, c): those of Stage I enlarged."""
    return enlarge(pictures) if pictures.shape[1] < SIDE else pictures


def with_contrast(picture) -> tf.Tensor:
    """Add a channel to pictures (n, h, w, 3): how far a pixel is from the mean colour, relative to all pixels.

    It shows a digit alike in all its colours, which would have to be learnt for each pair of them otherwise.
    """
    distance = ops.sum(ops.square(picture - ops.mean(picture, axis=(1, 2), keepdims=True)), axis=-1, keepdims=True)
    contrast = ops.sqrt(distance / (4 * ops.mean(distance, axis=(1, 2), keepdims=True) + 1e-3) + 1e-3)
    return ops.concatenate([picture, contrast], axis=-1)


def guess_colours(picture) -> tf.Tensor:
    """Guess the colours of ink and background, (n, 6), of pictures (n, h, w, 3).

    The ink is the mean of all pixels, weighted by their contrast; the background is the mean of the first row.
    """
    pixels = ops.reshape(with_contrast(picture), (-1, picture.shape[1] * picture.shape[2], 4))
    ink = ops.sum(ops.softmax(10.0 * pixels[..., 3:], axis=1) * pixels[..., :3], axis=1)
    return ops.concatenate([ink, ops.mean(picture[:, 0], axis=1)], axis=-1)


def nearest_colours(colours, said) -> tf.Tensor:
    """Return for colours (n, 6) of ink and background, in [-1, 1], the nearest ones in PALETTE, int64 (n, 2).

    They are the two that are nearest together among all pairs of different ones, so that a digit can be seen, that
    agree with what a sentence says, `said` int32 (n, 2), of ink and background.
    """
    distances = tf.reduce_sum(tf.square(tf.reshape(colours, (-1, 2, 1, 3)) - PALETTE), axis=3)
    other = (said != UNSAID)[..., tf.newaxis] & (said[..., tf.newaxis] != tf.range(len(PALETTE)))
    distances = tf.where(other, np.inf, distances)
    pairs = distances[:, 0, :, tf.newaxis] + distances[:, 1, tf.newaxis]
    pairs = tf.where(np.eye(len(PALETTE), dtype=bool), np.inf, pairs)
    nearest = tf.argmin(tf.reshape(pairs, (-1, len(PALETTE)**2)), axis=1)
    return tf.stack([nearest // len(PALETTE), nearest % len(PALETTE)], axis=1)


def stroke_widths(gray) -> tf.Tensor:
    """Return the mean width of the strokes, in pixels (n,), of digits `gray` (n, h, w) in [0, 1].

    A stroke of length l and width w has the area w l and the outline 2 l; the area is the sum of all pixels, the
    outline that of the lengths of their gradients (for an indicator, its perimeter by the coarea formula).
    """
    down = ops.diff(ops.pad(gray, ((0, 0), (0, 1), (0, 0))), axis=1)
    right = ops.diff(ops.pad(gray, ((0, 0), (0, 0), (0, 1))), axis=2)
    outline = ops.sum(ops.sqrt(down**2 + right**2 + 1e-12), axis=(1, 2))  # 1e-12 for the derivative at 0
    return 2 * ops.sum(gray, axis=(1, 2)) / ops.maximum(outline, 1e-6)


def shears(gray) -> tf.Tensor:
    """Return how far digits `gray` (n, h, w) in [0, 1] lean to the right per pixel of height, (n,), 0 for upright.

    It is minus the quotient of the second central moments of x and y together and of y, which points downwards;
    shearing a picture by it makes the two uncorrelated.
    """
    y, x = np.mgrid[:gray.shape[1], :gray.shape[2]].astype(np.float32)
    mass = ops.maximum(ops.sum(gray, axis=(1, 2), keepdims=True), 1e-6)
    y = y - ops.sum(gray * y, axis=(1, 2), keepdims=True) / mass
    x = x - ops.sum(gray * x, axis=(1, 2), keepdims=True) / mass
    return -ops.sum(gray * x * y, axis=(1, 2)) / ops.maximum(ops.sum(gray * y * y, axis=(1, 2)), 1e-6)


def measure_shapes(gray) -> tf.Tensor:
    """Return the logarithm of the stroke width and the shear, (n, 2), of digits `gray` (n, h, w, 1) in [0, 1].

    Both deviate about equally among real digits: by 0.25 and 0.28 at 28 x 28 pixels, by 0.17 and 0.28 at 14 x 14.
    """
    gray = gray[..., 0]
    return ops.stack([ops.log(ops.maximum(stroke_widths(gray), 0.1)), shears(gray)], axis=1)


def shape_cuts(images) -> np.ndarray:
    """Return the PERCENTILES of the stroke widths and of the shears of uint8 digits (n, 28, 28), (2, 2)."""
    return np.stack([
        np.percentile(np.concatenate([measure(block / np.float32(255)) for block in blocks(images)]), PERCENTILES)
        for measure in (stroke_widths, shears)])


class ShapeLimits:
    """The shapes, as `measure_shapes` returns them, that pictures of a sentence may have.

    Where it says a class, they are those of the class, MARGIN within its borders. Where it is silent, they are those
    about a place among training images of the digit, from 0, the least, to 1, the greatest; NEARBY says how far around.
    """

    def __init__(self, images, digits, resize):
        """Measure uint8 `images` (n, 28, 28) of `digits`, int32 (n,), at the resolution to which `resize` brings them.

        The borders differ between resolutions, because blurring makes thin strokes wider.
        """
        shapes = np.concatenate([measure_shapes(resize(tf.cast(block, tf.float32)[..., tf.newaxis] / 255.0))
                                 for block in blocks(images)])
        borders = np.percentile(shapes, PERCENTILES, axis=0).T
        beyond = np.full((2, 1), 1e3)
        self.borders = np.hstack([-beyond, borders, beyond]).astype(np.float32)
        places = np.linspace(0.01, 0.99, PLACES)
        self.quantiles = np.stack([np.quantile(shapes[digits == digit] if digit in digits else shapes, places, axis=0)
                                   for digit in range(DIGITS)]).astype(np.float32)

    def __call__(self, said, places) -> tuple:
        """Return the least and the greatest shapes, (n, 2) each, of sentences that say `said`, int32 (n, 5).

        `places` (n, 2), in [0, 1], are those of thickness and slant.
        """
        silent = said[:, 3:] == UNSAID
        position = tf.where(silent, 0, said[:, 3:])
        digit, shape = tf.broadcast_to(said[:, :1], position.shape), tf.broadcast_to([0, 1], position.shape)
        limits = []
        for side, sign in ((0, -1), (1, 1)):
            border = tf.gather_nd(self.borders, tf.stack([shape, position + side], 2)) - sign * MARGIN
            place = tf.cast(tf.clip_by_value(places + sign * NEARBY, 0.0, 1.0) * (PLACES - 1), tf.int32)
            nearby = tf.gather_nd(self.quantiles, tf.stack([digit, place, shape], 2))
            limits.append(tf.where(silent, nearby, border))
        return tuple(limits)


def shape_classes(gray, cuts) -> tuple:
    """Return the positions in THICKNESSES and in SLANTS, int32 (n,) each, of digits `gray` (n, 28, 28) in [0, 1].

    `cuts` is what `shape_cuts` returned for the training images.
    """
    return tuple(np.digitize(measure(gray), cut).astype(np.int32)
                 for measure, cut in zip((stroke_widths, shears), cuts, strict=True))


def read_pictures(images) -> tuple:
    """Find what is painted in pictures (n, 28, 28, 3) in [-1, 1].

    The background is the named colour nearest to the median of the outermost pixels; the ink is the other named
    colour nearest to the mean of the pixels that differ from the background by at least three quarters of the
    largest difference; the gray value of a pixel is its place on the line from the one colour to the other.
    Returns inks (n,), backgrounds (n,), positions in COLOURS, and gray (n, 28, 28) in [0, 1]; all three are right
    for real painted digits.
    """
    rows = np.arange(len(images))
    outermost = np.ones((SIDE, SIDE), bool)
    outermost[1:-1, 1:-1] = False
    margin = np.median(images[:, outermost], axis=1)
    background = np.square(margin[:, np.newaxis] - PALETTE).sum(-1).argmin(1)
    start = PALETTE[background][:, np.newaxis, np.newaxis]
    difference = np.square(images - start).sum(-1)
    inked = difference >= 0.75**2 * difference.max((1, 2), keepdims=True)
    colour = (images * inked[..., np.newaxis]).sum((1, 2)) / inked.sum((1, 2))[:, np.newaxis]
    distances = np.square(colour[:, np.newaxis] - PALETTE).sum(-1)
    distances[rows, background] = np.inf
    ink = distances.argmin(1)
    line = PALETTE[ink][:, np.newaxis, np.newaxis] - start
    gray = ((images - start) * line).sum(-1) / np.square(line).sum(-1)
    return ink, background, np.clip(gray, 0, 1)
