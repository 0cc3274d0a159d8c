"""The loop of the scripts that people copy, with correct freezing: `predict`, then three times `train_on_batch`."""

from cgan_mnist import build_discriminator, build_generator
from mnist_gan.data.mnist import load_data

import keras
import numpy as np


class ClassicLoop:
    """Both networks with the usual values, in three compiled models; `settings` are those of `cgan_mnist.py`."""

    def __init__(self, settings, x_train, y_train):
        """`x_train` is uint8 (n, 28, 28), `y_train` int32 (n,)."""
        self.settings, self.random = settings, np.random.default_rng(0)
        self.images, self.labels = x_train[..., np.newaxis] / np.float32(127.5) - 1, y_train
        self.generator = build_generator(settings.latent_dim)
        self.discriminator = build_discriminator(settings.dropout, settings.discriminator_units)
        loss = keras.losses.BinaryCrossentropy(from_logits=True)
        self.discriminator.compile(keras.optimizers.Adam(settings.discriminator_learning_rate, beta_1=0.5), loss)
        noise, label = keras.Input((settings.latent_dim,)), keras.Input((), dtype="int32")
        logit = self.discriminator([self.generator([noise, label]), label])
        self.combined = keras.Model([noise, label], logit)
        self.combined.compile(keras.optimizers.Adam(settings.generator_learning_rate, beta_1=0.5), loss)

    def train_discriminator(self, images, labels, targets):
        """Train it with one batch and return its loss.

        The flag `trainable` is set before every call, since Keras 3 reads it when it traces a model's function.
        """
        self.discriminator.trainable = True
        return self.discriminator.train_on_batch([images, labels], targets)

    def train_generator(self, noise, labels):
        """Train it with one batch through the frozen discriminator and return its loss."""
        self.discriminator.trainable = False
        return self.combined.train_on_batch([noise, labels], np.ones((len(noise), 1), np.float32))

    def train_step(self):
        """Train both with one batch; return the losses for real images, generated ones, and of the generator."""
        size = self.settings.batch_size
        indices = self.random.integers(0, len(self.images), size)
        noise = self.random.standard_normal((size, self.settings.latent_dim), np.float32)
        labels = self.random.integers(0, 10, size)
        generated = self.generator.predict([noise, labels], batch_size=size, verbose=0)
        real = np.full((size, 1), 1 - self.settings.label_smoothing, np.float32)
        return (self.train_discriminator(self.images[indices], self.labels[indices], real),
                self.train_discriminator(generated, labels, np.zeros_like(real)),
                self.train_generator(noise, labels))


def cgan(settings):
    """Return a function of the batch number: the classic step on all training images, a contender of `turns.py`."""
    (x_train, y_train), _ = load_data()
    loop = ClassicLoop(settings, x_train, y_train)
    return lambda step: loop.train_step()
