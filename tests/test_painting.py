"""Paint and its measures: colours, stroke widths, shears, and the pairs that never occur."""

import numpy as np
import pytest
import tensorflow as tf
from helpers import bundled_arrays
from mnist_gan.data.painting import (MARGIN, NEVER_SEEN, PALETTE, PERCENTILES, ShapeLimits, draw_colours, enlarge,
                                     halve, measure_shapes, paint, read_pictures, shape_classes, shape_cuts, shears,
                                     stroke_widths)
from mnist_gan.data.sentences import COLOURS, UNSAID

PAIRS = [(ink, background) for ink in range(8) for background in range(8) if ink != background]


def test_real_painted_digits_are_read_exactly_in_all_pairs_of_colours():
    images = bundled_arrays(20 * len(PAIRS))["x_test"]
    inks, backgrounds = np.resize(PAIRS, (len(images), 2)).T
    pictures = paint(images, inks, backgrounds).numpy()
    assert pictures.shape == (len(images), 28, 28, 3) and pictures.min() == -1 and pictures.max() == 1
    gray = images[..., np.newaxis] / 255
    expected = PALETTE[backgrounds][:, None, None] * (1 - gray) + PALETTE[inks][:, None, None] * gray
    np.testing.assert_allclose(pictures, expected, atol=1e-6)
    found_inks, found_backgrounds, found_gray = read_pictures(pictures)
    np.testing.assert_array_equal(found_inks, inks)
    np.testing.assert_array_equal(found_backgrounds, backgrounds)
    np.testing.assert_allclose(found_gray, gray[..., 0], atol=1e-5)


@pytest.mark.parametrize(("width", "length"), [(1, 20), (2, 20), (4, 20), (3, 12)])
def test_the_stroke_width_of_a_bar_is_its_width(width, length):
    gray = np.zeros((1, 28, 28), np.float32)
    gray[0, 4:4 + length, 10:10 + width] = 1
    area, outline = width * length, 2 * (width + length)
    for turned in (gray, gray.transpose(0, 2, 1)):
        np.testing.assert_allclose(stroke_widths(turned), 2 * area / outline, rtol=0.03)


@pytest.mark.parametrize("lean", [-0.5, -0.25, 0.25, 0.5])
def test_a_digit_that_leans_more_measures_that_much_more(lean):
    gray = bundled_arrays(200)["x_train"] / np.float32(255)
    wide = np.pad(gray, ((0, 0), (0, 0), (14, 14)))
    leaning = np.stack([np.roll(wide[:, row], round(lean * (14 - row)), axis=1) for row in range(28)], axis=1)
    np.testing.assert_allclose(shears(leaning) - shears(wide), lean, atol=0.12)


def test_thickness_and_slant_can_be_learnt_from_whatever_is_drawn():
    digits = bundled_arrays(3)["x_train"][..., np.newaxis] / np.float32(255)
    drawn = tf.constant(np.concatenate([digits, np.zeros_like(digits[:1]), np.full_like(digits[:1], 0.5)]))
    with tf.GradientTape() as tape:
        tape.watch(drawn)
        shapes = measure_shapes(drawn)
    expected = np.stack([np.log(stroke_widths(digits[..., 0])), shears(digits[..., 0])], axis=1)
    np.testing.assert_allclose(shapes[:3], expected, rtol=1e-5)
    assert np.isfinite(shapes).all()
    gradient = tape.gradient(shapes, drawn).numpy()
    assert np.isfinite(gradient).all() and np.abs(gradient[:3]).max((1, 2, 3)).min() > 0


def test_a_third_of_the_training_images_falls_into_each_class():
    images = bundled_arrays(6000)["x_train"]
    for classes in shape_classes(images / np.float32(255), shape_cuts(images)):
        np.testing.assert_allclose(np.bincount(classes) / len(classes), 1 / 3, atol=0.001)


@pytest.mark.parametrize("resize", [halve, tf.identity])
def test_pictures_may_have_the_shapes_of_a_class_that_is_said_or_those_about_a_place(resize):
    images, digits = (bundled_arrays(3000)[name] for name in ("x_train", "y_train"))
    limits, places = ShapeLimits(images, digits, resize), np.full((3000, 2), 0.5, np.float32)
    shapes = measure_shapes(resize(images[..., np.newaxis] / np.float32(255))).numpy()
    classes = np.stack([np.digitize(column, np.percentile(column, PERCENTILES)) for column in shapes.T], 1)
    said = np.column_stack([digits, np.full((3000, 2), UNSAID), classes]).astype(np.int32)
    least, greatest = (side.numpy() for side in limits(said, places))
    # Each image is within the borders of its classes, which are moved inwards by a margin, and within no others.
    assert ((least - MARGIN - 1e-4 <= shapes) & (shapes <= greatest + MARGIN + 1e-4)).all()
    other = np.column_stack([said[:, :3], (classes + 1) % 3]).astype(np.int32)
    least, greatest = (side.numpy() for side in limits(other, places))
    assert not ((least - MARGIN < shapes - 1e-4) & (shapes + 1e-4 < greatest + MARGIN)).any()
    said[:, 3:] = UNSAID
    for place in (0.0, 0.25, 0.75, 1.0):
        for side, nearby in zip(limits(said, 0 * places + np.float32(place)), (-0.1, 0.1), strict=True):
            below = [(shapes[digits == digit] < side.numpy()[digits == digit]).mean(0) for digit in range(10)]
            np.testing.assert_allclose(below, np.clip(place + nearby, 0.01, 0.99), atol=0.03)


def test_the_pairs_that_are_never_seen_are_a_tenth_and_never_drawn():
    digits = tf.constant(np.tile(np.arange(10, dtype=np.int32), 10_000))

    def uniform(stream, maxval):
        return tf.random.stateless_uniform((len(digits),), (0, stream), maxval=maxval, dtype=tf.int32)
    ink, background = draw_colours(digits, uniform)
    counts = np.zeros((10, 8), int)
    np.add.at(counts, (digits.numpy(), ink.numpy()), 1)
    assert (ink != background).numpy().all() and set(background.numpy()) == set(range(8))
    assert {(digit, COLOURS[colour]) for digit, colour in np.argwhere(counts == 0)} == set(NEVER_SEEN)
    assert len(NEVER_SEEN) == 8 and {colour for _, colour in NEVER_SEEN} == set(COLOURS)
    for row in counts:  # all inks of a digit are equally frequent
        np.testing.assert_allclose(row[row > 0] / row.sum(), 1 / (row > 0).sum(), atol=0.01)


def test_halving_takes_the_mean_of_four_pixels_and_enlarging_repeats_it():
    pictures = np.random.default_rng(0).random((3, 28, 28, 3), np.float32)
    small = halve(pictures).numpy()
    np.testing.assert_allclose(small[1, 5, 6], pictures[1, 10:12, 12:14].mean((0, 1)), rtol=1e-5)
    np.testing.assert_allclose(halve(enlarge(small)), small, rtol=1e-6)
