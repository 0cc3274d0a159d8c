"""The experiments on convolutions, the StackGAN and FID against known answers."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from cgan_mnist import build_networks, parse_arguments
from coursework import convolutions, fid, pixelshuffle, stackgan, variants
from coursework.context import COMMITTED
from helpers import bundled_arrays
from keras import layers, ops
from mnist_gan.data.mnist import scale_images
from mnist_gan.data.painting import enlarge
from mnist_gan.metrics.distances import frechet_distance, precision_recall
from mnist_gan.networks import multiply_adds
from mnist_gan.drawing.stackgan import draw_embedded, embed, load_networks


def test_a_convolutions_matrix_is_that_of_the_literature():
    # Dumoulin & Visin 2016, https://arxiv.org/abs/1603.07285, section 4.1: a 3 x 3 kernel on 4 x 4 pixels.
    matrix = convolutions.convolution_matrix(np.arange(1, 10, dtype=np.float32).reshape(3, 3), 4)
    assert matrix[0].tolist() == [1, 2, 3, 0, 4, 5, 6, 0, 7, 8, 9, 0, 0, 0, 0, 0]
    assert matrix[3].tolist() == [0, 0, 0, 0, 0, 1, 2, 3, 0, 4, 5, 6, 0, 7, 8, 9]


@pytest.mark.parametrize("side, stride, padding", [(4, 1, "VALID"), (8, 2, "SAME"), (7, 3, "VALID")])
def test_a_transposed_convolution_is_the_transposed_matrix_and_no_inverse(side, stride, padding):
    random = np.random.default_rng(0)
    kernel = random.standard_normal((3, 3)).astype(np.float32)
    matrix = convolutions.convolution_matrix(kernel, side, stride, padding)
    image = random.standard_normal((1, side, side, 1)).astype(np.float32)
    forth = tf.nn.conv2d(image, kernel[:, :, np.newaxis, np.newaxis], stride, padding).numpy()
    np.testing.assert_allclose(forth.ravel(), matrix @ image.ravel(), atol=1e-5)
    back = convolutions.transpose_convolution(forth, kernel, side, stride, padding)
    np.testing.assert_allclose(back.ravel(), matrix.T @ forth.ravel(), atol=1e-4)
    assert convolutions.distance_from_images(image.ravel(), back.ravel()) > 0.3
    assert convolutions.distance_from_images(image.ravel(), 2 * image.ravel()) == pytest.approx(0, abs=1e-6)


def test_pixelshuffle_lays_four_channels_out_as_blocks_of_two_by_two():
    channels = np.arange(16).reshape(4, 2, 2).transpose(1, 2, 0)[np.newaxis]
    assert ops.convert_to_numpy(ops.depth_to_space(tf.constant(channels), 2))[0, :, :, 0].tolist() == [
        [0, 4, 1, 5], [8, 12, 9, 13], [2, 6, 3, 7], [10, 14, 11, 15]]


@pytest.mark.parametrize("size, factor", [(1, 2), (3, 2), (3, 3), (5, 2)])
def test_a_convolution_and_pixelshuffle_equal_a_transposed_convolution(size, factor):
    random = np.random.default_rng(0)
    x = random.standard_normal((2, 5, 6, 3)).astype(np.float32)
    kernel = random.standard_normal((size, size, 3, 4 * factor**2)).astype(np.float32)
    shuffled = tf.nn.depth_to_space(tf.nn.conv2d(x, kernel, 1, "SAME"), factor)
    transposed = pixelshuffle.to_transposed_kernel(kernel, factor)
    assert transposed.shape == (size * factor, size * factor, 4, 3)
    np.testing.assert_allclose(shuffled, tf.nn.conv2d_transpose(x, transposed, shuffled.shape, factor, "SAME"),
                               atol=1e-4)


def test_upsamplers_have_the_checkerboard_of_their_start():
    rough = np.random.default_rng(0).standard_normal((3, 14, 14, 1)).astype(np.float32)
    maps = {name: pixelshuffle.untrained_maps(name, rough, 0) for name in pixelshuffle.UPSAMPLERS}
    assert all(drawn.shape == (3, 28, 28, 1) for drawn in maps.values())
    start = maps["PixelShuffle, ICNR"]
    np.testing.assert_allclose(start, enlarge(start[:, ::2, ::2]), atol=1e-6)
    assert np.abs(maps["PixelShuffle"] - enlarge(maps["PixelShuffle"][:, ::2, ::2])).max() > 0.1


def test_multiply_adds_are_counted_per_weight_and_place():
    given = keras.Input((4, 4, 3))
    x = layers.Conv2D(5, 3, strides=2, padding="same")(given)  # 2 x 2 x 5
    x = layers.Conv2DTranspose(7, 4, strides=2, padding="same")(x)  # from 2 x 2
    x = layers.Dense(2)(layers.Flatten()(x))  # from 4 x 4 x 7
    assert multiply_adds(keras.Model(given, x)) == (
        2 * 2 * 5 * 3 * 3 * 3 + 2 * 2 * 5 * 4 * 4 * 7 + 4 * 4 * 7 * 2)


def test_the_dcgan_has_as_many_multiply_adds_as_the_dense_networks():
    settings = parse_arguments([])
    dense, convolutional = build_networks(settings), variants.build_dcgan(settings)
    for ours, theirs in zip(dense, convolutional, strict=True):
        assert multiply_adds(theirs) == pytest.approx(multiply_adds(ours), rel=0.01)
        assert [value.shape for value in theirs.inputs] == [value.shape for value in ours.inputs]
        assert theirs.output.shape == ours.output.shape


def test_mixed_rows_are_others_with_equal_moments_and_no_distance():
    # Features at the corners of a cube are far from Gaussian; their mixtures lie between the corners.
    rows = np.sign(np.random.default_rng(0).standard_normal((300, 5)))
    mixed = fid.mix(rows, 0)
    np.testing.assert_allclose(mixed.mean(0), rows.mean(0), atol=1e-12)
    np.testing.assert_allclose(np.cov(mixed.T), np.cov(rows.T), atol=1e-12)
    assert frechet_distance(rows, mixed) == pytest.approx(0, abs=1e-9)
    assert np.abs(np.abs(mixed) - 1).mean() > 0.3
    assert precision_recall(rows + 1e-3 * mixed, mixed)[0] < 0.1


def test_degraded_images_are_what_they_are_called():
    arrays = bundled_arrays(2000)
    images, labels = scale_images(arrays["x_train"]).numpy(), arrays["y_train"]
    kinds = fid.degrade(images, labels, 0)
    moved = kinds["shifted 3 pixels"][0]
    assert np.array_equal(moved[:, :, 3:], images[:, :, :-3]) and (moved[:, :, :3] == -1).all()
    refilled, asked = kinds["other digits for 7"]
    assert np.array_equal(asked, labels) and np.array_equal(refilled[labels != 7], images[labels != 7])
    pixels = {image.tobytes(): label for image, label in zip(images, labels, strict=True)}
    assert 7 not in {pixels[image.tobytes()] for image in refilled}
    assert np.abs(kinds["noise 0.1"][0] - images).mean() < np.abs(kinds["noise 0.3"][0] - images).mean()
    assert len(np.unique(kinds["50 images repeated"][0].reshape(2000, -1), axis=0)) == 50
    centre = kinds["blur 3 × 3"][0][0, 10, 10, 0]
    assert centre == pytest.approx(images[0, 9:12, 9:12, 0].mean(), abs=1e-5)


def test_the_kernel_distance_is_that_of_all_pairs_and_has_no_bias():
    random = np.random.default_rng(0)
    a, b = random.standard_normal((5, 3)), random.standard_normal((4, 3)) + 1

    def kernel(x, y):
        return (x @ y / 3 + 1)**3
    pairs = [np.mean([kernel(x, y) for i, x in enumerate(rows) for j, y in enumerate(rows) if i != j])
             for rows in (a, b)]
    distance, of_two = fid.kernel_distances(a, b, (5, 2))
    assert distance == pytest.approx(sum(pairs) - 2 * np.mean([kernel(x, y) for x in a for y in b]))
    assert of_two == pytest.approx(fid.kernel_distances(a[:2], b, (2,))[0])
    equal = [fid.kernel_distances(*random.standard_normal((2, 50, 3)), (50,))[0] for _ in range(200)]
    assert abs(np.mean(equal)) < 3 * np.std(equal) / 200**0.5


def test_features_of_a_gaussian_have_the_moments_of_the_given_ones():
    rows = np.sign(np.random.default_rng(0).standard_normal((20_000, 3))) @ np.diag([1, 2, 3]) + 1
    drawn = fid.draw_gaussian(rows, np.random.default_rng(1))
    assert drawn.shape == rows.shape and not np.isin(drawn, rows).any()
    np.testing.assert_allclose(drawn.mean(0), rows.mean(0), atol=0.1)
    np.testing.assert_allclose(np.cov(drawn.T), np.cov(rows.T), atol=0.3)


def test_ranks_correlate_by_order_alone():
    assert fid.rank_correlation([1, 2, 30], [0.1, 0.2, 0.3]) == pytest.approx(1)
    assert fid.rank_correlation([1, 2, 30], [3, 2, 1]) == pytest.approx(-1)


@pytest.fixture(scope="module")
def committed():
    return load_networks(COMMITTED / "stackgan")


def test_two_sentences_reach_the_two_stages_apart(committed):
    red, white = embed(committed, ["a thick red seven on yellow", "a thin white four on blue"])[:, np.newaxis]
    inputs = stackgan.random_inputs(stackgan.latent_dim(committed.stage1), 1, 0)
    rough, fine = stackgan.draw_apart(committed, red, white, *inputs)
    same_rough, same_fine = draw_embedded(committed, red, *inputs)
    np.testing.assert_array_equal(rough, same_rough)
    assert np.abs(fine - same_fine).max() > 0.5  # Stage II is told its own
    np.testing.assert_allclose(stackgan.draw_apart(committed, red, red, *inputs)[1], same_fine, atol=1e-5)
