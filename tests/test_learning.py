"""A short training on several thousand real images: every image takes part, and the label steers the output."""

import cgan_mnist
import keras
import numpy as np
import pytest
from helpers import bundled_arrays
from mnist_gan.running.run import shuffled_batches

SIZE, BATCH_SIZE, EPOCHS = 3000, 64, 6
BATCHES = 47  # the last one has 56 images of its own and 8 that start over
SETTINGS = cgan_mnist.parse_arguments(  # in a hurry
    ["--train-size", str(SIZE), "--batch-size", str(BATCH_SIZE), "--generator-learning-rate", "0.001",
     "--discriminator-units", "512", "--discriminator-embedding-mean", "0"])


def test_every_epoch_uses_every_training_image_in_a_new_order():
    orders = []
    for epoch in range(EPOCHS):
        steps, batches = zip(*shuffled_batches(SETTINGS, epoch), strict=True)
        assert [int(step) for step in steps] == list(range(epoch * BATCHES, (epoch + 1) * BATCHES))
        assert [len(indices) for indices in batches] == [BATCH_SIZE] * BATCHES
        order = np.concatenate(batches)
        np.testing.assert_array_equal(np.sort(order[:SIZE]), np.arange(SIZE))
        np.testing.assert_array_equal(order[SIZE:], order[:BATCHES * BATCH_SIZE - SIZE])
        orders.append(tuple(order))
    assert len(set(orders)) == EPOCHS


@pytest.fixture(scope="module")
def learned():
    """The EMA generator of a short training, and the training images."""
    arrays = bundled_arrays(SIZE)
    gan = cgan_mnist.CGAN(SETTINGS, arrays["x_train"], arrays["y_train"].astype(np.int32))
    history = [gan.train_step(indices, step) for epoch in range(EPOCHS)
               for step, indices in shuffled_batches(SETTINGS, epoch)]
    assert np.shape(history) == (EPOCHS * BATCHES, 6) and np.isfinite(history).all()
    cgan_mnist.recalibrate(gan.ema_generator, SETTINGS.seed)
    return gan.ema_generator, arrays


def test_the_label_steers_which_digit_is_drawn(learned):
    generator, arrays = learned
    x, y = arrays["x_train"] / 127.5 - 1, arrays["y_train"]
    real_means = np.stack([x[y == digit].mean(0) for digit in range(10)])
    images = cgan_mnist.generate_images(generator, np.repeat(np.arange(10), 50), 0)
    drawn_means = images.reshape(10, 50, 28, 28).mean(1)
    distances = ((drawn_means[:, np.newaxis] - real_means) ** 2).sum((2, 3))
    # By chance 1 of 10 would be nearest to its own digit.
    assert (distances.argmin(1) == np.arange(10)).sum() >= 8


def test_the_average_has_the_batch_statistics_of_its_own_activations(learned):
    generator = learned[0]
    weights = [variable.numpy() for variable in generator.trainable_variables]
    cgan_mnist.recalibrate(generator, 0)
    for before, after in zip(weights, generator.trainable_variables, strict=True):
        np.testing.assert_array_equal(before, after.numpy())
    normalizations = [layer for layer in generator.layers if isinstance(layer, keras.layers.BatchNormalization)]
    noise = np.random.default_rng(1).standard_normal((5000, generator.inputs[0].shape[1]), np.float32)
    # Only the first one has an input that does not depend on how another one normalizes.
    activations = keras.Model(generator.inputs, normalizations[0].input)([noise, np.arange(5000) % 10]).numpy()
    mean, variance = normalizations[0].moving_mean.numpy(), normalizations[0].moving_variance.numpy()
    assert np.abs(mean - activations.mean(0)).max() < 0.1 * activations.std(0).mean()
    assert np.abs(variance / activations.var(0) - 1).mean() < 0.05
