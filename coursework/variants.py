"""Variants of the CGAN: networks with other layers, updates with other losses."""

import functools
import math

import keras
import tensorflow as tf
from cgan_mnist import CGAN, build_networks
from keras import layers, ops
from mnist_gan.data.mnist import DIGITS
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

    def clone(layer):
        if isinstance(layer, layers.Activation):  # its function may be one that Keras cannot find by a name
            return layers.Activation(layer.activation, name=layer.name)
        return type(layer).from_config(layer.get_config())
    return keras.models.clone_model(network, call_function=call, clone_function=clone)


def probabilities(discriminator, images, labels):
    """Return the probabilities (n, 1), a tensor, that images (n, 28, 28, 1) with labels (n,) are real."""
    logits = discriminator([tf.convert_to_tensor(images), tf.convert_to_tensor(labels, tf.int32)], training=False)
    return tf.sigmoid(logits)


def log(probability):
    """Return the logarithm of probabilities (n, 1), cut off as Keras does in a cross-entropy of probabilities."""
    return tf.math.log(tf.clip_by_value(probability, SMALLEST, 1 - SMALLEST))


# --------------------------------------------------------------------------------------------------------------- losses


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


class SaturatingLoss(OtherGeneratorLoss):
    """The generator minimizes log(1 - D), which Goodfellow et al. 2014 derive and advise against."""

    def generator_loss(self, probability):
        return log(1 - probability)


class PrintedLosses(OtherGeneratedLoss, OtherGeneratorLoss):
    """Both networks play for 1 - log D on generated images, as the coursework prints it."""

    def generated_loss(self, probability):
        # What the printed objective makes the discriminator maximize, it minimizes with the other sign; 1 is constant.
        return log(probability)

    def generator_loss(self, probability):
        return 1 - log(probability)


# -------------------------------------------------------------------------------------------------------- normalization


def without_normalization(settings):
    """Build networks as `build_networks` does, the generators without BatchNormalization."""
    *generators, discriminator = build_networks(settings)
    skipped = {layer.name: lambda x: x for layer in generators[0].layers
               if isinstance(layer, layers.BatchNormalization)}
    generators = [rewire(generators[0], skipped) for _ in generators]
    return *generators, discriminator


def with_momentum(settings, momentum):
    """Build networks as `build_networks` does, the trained generator's BatchNormalization with another momentum.

    The EMA generator keeps its own, with which its statistics are measured anew before it draws.
    """
    generator, ema_generator, discriminator = build_networks(settings)
    for layer in generator.layers:
        if isinstance(layer, layers.BatchNormalization):
            layer.momentum = momentum
    return generator, ema_generator, discriminator


# ---------------------------------------------------------------------------------------------------------------- noise


def with_noise(generator, transform):
    """Return a generator that draws from `transform` of its standard normal noise (n, latent_dim)."""
    noise, label = (keras.Input(given.shape[1:], dtype=given.dtype, name=given.name) for given in generator.inputs)
    return keras.Model([noise, label], generator([transform(noise), label]), name="generator")


def build_with_noise(settings, transform):
    """Build networks as `build_networks` does, whose generators draw from `transform` of the noise."""
    generator, ema_generator, discriminator = build_networks(settings)
    return with_noise(generator, transform), with_noise(ema_generator, transform), discriminator


def other_noise(transform):
    """Return a function like `build_networks` for generators that draw from `transform` of the noise."""
    return functools.partial(build_with_noise, transform=transform)


def probability_below(noise):
    """Return the probability, in (0, 1), that standard normal noise is below the given one."""
    return 0.5 * (1 + ops.erf(noise / math.sqrt(2)))


# With variance 1 as the normal noise has, where there is a variance.
DISTRIBUTIONS = {
    "uniform": lambda noise: math.sqrt(3) * (2 * probability_below(noise) - 1),
    "binary": lambda noise: ops.sign(noise),
    # Beyond 1e-3 and its mirror image, at 318, float32 would give no more than a few values.
    "Cauchy": lambda noise: ops.tan(math.pi * (ops.clip(probability_below(noise), 1e-3, 1 - 1e-3) - 0.5)),
}


# --------------------------------------------------------------------------------------------------------------- labels


def concatenate(pair):
    """Return image or noise and what was made of the label, a pair of (n, ...), side by side."""
    return ops.concatenate(pair, axis=-1)


def one_hot(label):
    """Return labels (n,) as (n, 10)."""
    return ops.one_hot(label, DIGITS)


def first(pair):
    """Return the image or noise of a pair, without the label."""
    return pair[0]


class Projection:
    """The head of a discriminator that compares image and label by projection.

    The logit is w · f + e(y) · f for the last hidden activations f (n, 512) and an embedding e of the label, which
    enters nowhere else (Miyato & Koyama 2018, https://arxiv.org/abs/1802.05637, equation 3).
    """

    def take_label(self, label):
        """Remember the label (n,), in the place of its embedding by the trunk, and return it."""
        self.label = label
        return label

    def logit(self, features):
        """Return the logit (n, 1) of features (n, d)."""
        embedding = layers.Embedding(DIGITS, features.shape[-1], name="label_projection")(self.label)
        projected = ops.sum(embedding * features, axis=-1, keepdims=True)
        return layers.Add(name="logit")([layers.Dense(1)(features), projected])


def project(discriminator):
    """Return a discriminator like the given one with a `Projection` as its head."""
    head = Projection()
    return rewire(discriminator, {"label_embedding": head.take_label, "pixels_times_label": first,
                                  "logit": head.logit})


def build_otherwise(settings, change_generator, change_discriminator):
    """Build networks as `build_networks` does and return what the functions, unless None, make of each."""
    *generators, discriminator = build_networks(settings)
    if change_generator:
        generators = [change_generator(generator) for generator in generators]
    if change_discriminator:
        discriminator = change_discriminator(discriminator)
    return *generators, discriminator


def merge_otherwise(generator=None, discriminator=None):
    """Return a function like `build_networks` for what these functions, unless None, make of each network."""
    return functools.partial(build_otherwise, change_generator=generator, change_discriminator=discriminator)


def rewired(**replacements):
    """Return a function of a network that returns it with these replacements, as `rewire` does."""
    return functools.partial(rewire, replacements=replacements)


MERGED = {
    "embedding, concatenated": merge_otherwise(rewired(noise_times_label=concatenate),
                                               rewired(pixels_times_label=concatenate)),
    "one-hot, concatenated": merge_otherwise(rewired(label_embedding=one_hot, noise_times_label=concatenate),
                                             rewired(label_embedding=one_hot, pixels_times_label=concatenate)),
    "projection in D": merge_otherwise(discriminator=project),
    "label in G only": merge_otherwise(discriminator=rewired(pixels_times_label=first)),
}
