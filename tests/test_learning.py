"""A short training on several thousand real images: every image takes part, and the label steers the output."""

import cgan_mnist
import keras
import numpy as np
import pytest
from helpers import bundled_arrays

ROWS, BATCH_SIZE, EPOCHS = 3000, 64, 6
BATCHES = 47  # the last one has 56 images of its own and 8 that start over


@pytest.fixture(scope="module")
def learned():
    """The averaged generator of a short training, the rows that each epoch used, and the training images."""
    arrays = bundled_arrays(ROWS)
    settings = cgan_mnist.parse_arguments(  # in a hurry, as the experiments in coursework/short_trainings.py are
        ["--train-size", str(ROWS), "--batch-size", str(BATCH_SIZE), "--generator-learning-rate", "0.001",
         "--discriminator-units", "512", "--discriminator-embedding-mean", "0"])
    training = cgan_mnist.build_training(settings, arrays["x_train"], arrays["y_train"].astype(np.int32))
    train_batch, epochs = training.train_batch, []

    def recording(rows, step):
        assert step == sum(map(len, epochs))  # the number of the batch in the whole training
        epochs[-1].append(rows.numpy())
        return train_batch(rows, step)

    training.train_batch = recording
    for epoch in range(EPOCHS):
        epochs.append([])
        history = cgan_mnist.train_epoch(training, settings, epoch)
        assert history.shape == (BATCHES, 6) and np.isfinite(history).all()
    cgan_mnist.recalibrate(training.ema_generator, settings.seed)
    return training.ema_generator, epochs, arrays


def test_every_epoch_uses_every_training_image_in_a_new_order(learned):
    _, epochs, _ = learned
    for batches in epochs:
        assert [len(rows) for rows in batches] == [BATCH_SIZE] * BATCHES
        order = np.concatenate(batches)
        np.testing.assert_array_equal(np.sort(order[:ROWS]), np.arange(ROWS))
        np.testing.assert_array_equal(order[ROWS:], order[:BATCHES * BATCH_SIZE - ROWS])
    assert len({tuple(batches[0]) for batches in epochs}) == EPOCHS


def test_the_label_steers_which_digit_is_drawn(learned):
    generator, _, arrays = learned
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
