"""Variants of the CGAN that more than one question needs: networks with other layers, updates with other losses."""

import keras
import tensorflow as tf
from cgan_mnist import CGAN
from mnist_gan.running.distribution import minimize
from mnist_gan.running.ema import update_ema

SMALLEST = keras.config.epsilon()  # 1e-7, where Keras cuts probabilities off before it takes their logarithm


def rewire(network, replacements):
    """Return a new network like `network` in which functions take the place of some layers.

    `replacements` maps the name of a layer to a function of what the layer is given, symbolic tensors. The other layers
    are new ones with the same settings, so that they fit whatever the functions return.
    """
    def call(layer, *args, **kwargs):
        return replacements[layer.name](*args) if layer.name in replacements else layer(*args, **kwargs)
    return keras.models.clone_model(network, call_function=call)


def probabilities(discriminator, images, labels):
    """Return the probabilities (n, 1), a tensor, that images (n, 28, 28, 1) with labels (n,) are real."""
    return tf.sigmoid(discriminator([tf.convert_to_tensor(images), tf.convert_to_tensor(labels, tf.int32)],
                                    training=False))


def log(probability):
    """Return the logarithm of probabilities (n, 1), cut off as Keras does in a cross-entropy of probabilities."""
    return tf.math.log(tf.clip_by_value(probability, SMALLEST, 1 - SMALLEST))


class OtherGeneratedLoss(CGAN):
    """A CGAN whose discriminator minimizes the mean of `generated_loss` on generated images, without wrong labels.

    A subclass gives another loss than the usual one.
    """

    def generated_loss(self, probability):
        """Return the losses (n, 1) of the probabilities (n, 1) that generated images are real."""
        return -log(1 - probability)

    def train_on_generated(self, indices, step):
        noise, labels = self.sample(step, 0)
        images = self.generator([noise, labels], training=False)
        with tf.GradientTape() as tape:
            probability = tf.sigmoid(self.discriminator([images, labels], training=True))
            loss = tf.reduce_mean(self.generated_loss(probability))
        minimize(loss, tape, self.discriminator.trainable_variables, self.discriminator_optimizer)
        return loss, tf.reduce_mean(probability)


class OtherGeneratorLoss(CGAN):
    """A CGAN whose generator minimizes the mean of `generator_loss` and nothing else.

    A subclass gives another loss than the usual one.
    """

    def generator_loss(self, probability):
        """Return the losses (n, 1) of the probabilities (n, 1) that generated images are real."""
        return -log(probability)

    def train_generator(self, step):
        noise, labels = self.sample(step, 2)
        with tf.GradientTape() as tape:
            images = self.generator([noise, labels], training=True)
            probability = tf.sigmoid(self.discriminator([images, labels], training=True))
            loss = tf.reduce_mean(self.generator_loss(probability))
        minimize(loss, tape, self.generator.trainable_variables, self.generator_optimizer)
        update_ema(self.ema_generator, self.generator, self.settings.ema_decay, step)
        return loss
