"""Variants of the CGAN: networks with other layers, updates with other losses."""

import functools
import math

import keras
import tensorflow as tf
from cgan_mnist import CGAN, build_networks, cross_entropy, mode_seeking
from keras import layers, ops
from mnist_gan.data.mnist import DIGITS, PIXELS, SIDE
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
    return tf.sigmoid(logits[:, :1])  # an auxiliary classifier has more


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


class DecayedWeights(CGAN):
    """The discriminator's weights decay by the learning rate in every update, as in AdamW."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.discriminator_optimizer.weight_decay = 1.0


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
    "one-hot, concatenated": merge_otherwise(rewired(label_embedding=one_hot, noise_times_label=concatenate),
                                             rewired(label_embedding=one_hot, pixels_times_label=concatenate)),
    "projection in D": merge_otherwise(discriminator=project),
}
without_label = rewired(pixels_times_label=first)


class AuxiliaryClassifier(CGAN):
    """An AC-GAN (Odena et al. 2017, https://arxiv.org/abs/1610.09585): D does not take the label but says it.

    Its discriminator, that of `classify_labels`, puts out logits (n, 11): that of being real, and those of the digits.
    Both networks minimize the cross-entropy of the digit, of real and of generated images, beside that of the game.
    """

    def both_losses(self, target, labels, logits):
        """Return the cross-entropy for `target` and that of the digits `labels` (n,)."""
        digits = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits[:, 1:])
        return cross_entropy(target, logits[:, :1]), tf.reduce_mean(digits)

    def update_discriminator(self, images, labels, size, target):
        with tf.GradientTape() as tape:
            logits = self.discriminator([images, labels], training=True)
            loss, digit_loss = self.both_losses(target, labels, logits)
            objective = loss + digit_loss
        minimize(objective, tape, self.discriminator.trainable_variables, self.discriminator_optimizer)
        return loss, tf.reduce_mean(tf.sigmoid(logits[:, :1]))

    def train_generator(self, step):
        noise, labels = self.sample(step, 2)
        half = labels.shape[0] // 2
        labels = tf.concat([labels[:-half], labels[:half]], 0)  # for mode seeking, as in the default
        with tf.GradientTape() as tape:
            images = self.generator([noise, labels], training=True)
            loss, digit_loss = self.both_losses(1.0, labels, self.discriminator([images, labels], training=True))
            objective = loss + digit_loss + self.settings.mode_seeking_weight * mode_seeking(noise, images)
        minimize(objective, tape, self.generator.trainable_variables, self.generator_optimizer)
        update_ema(self.ema_generator, self.generator, self.settings.ema_decay, step)
        return loss


def classify_labels(discriminator):
    """Return a discriminator like the given one that does not use the label, with the 11 logits of an AC-GAN."""
    return rewire(discriminator, {"pixels_times_label": first, "logit": layers.Dense(1 + DIGITS, name="logit")})


# ---------------------------------------------------------------------------------------------------------------- DCGAN


def build_dcgan_generator(latent_dim, embedding_range, channels=(35, 43)):
    """Build a generator as `cgan_mnist.build_generator` does, with transposed convolutions for two Dense layers.

    Its layers are those of Radford et al. 2016, https://arxiv.org/abs/1511.06434, with kernels that the stride divides;
    the label enters as in the Dense generator. The kernels overlap, so that neighbouring pixels come out similar
    without a box filter.
    """
    noise = keras.Input((latent_dim,), name="noise")
    label = keras.Input((), dtype="int32", name="label")
    start = keras.initializers.RandomUniform(-embedding_range, embedding_range)
    embedding = layers.Embedding(DIGITS, latent_dim, embeddings_initializer=start, name="label_embedding")(label)
    x = layers.Multiply(name="noise_times_label")([noise, embedding])
    x = layers.Reshape((7, 7, channels[0]))(layers.Dense(7 * 7 * channels[0])(x))
    x = layers.ReLU()(layers.BatchNormalization(momentum=0.8)(x))
    x = layers.Conv2DTranspose(channels[1], 4, strides=2, padding="same")(x)
    x = layers.ReLU()(layers.BatchNormalization(momentum=0.8)(x))
    image = layers.Conv2DTranspose(1, 4, strides=2, padding="same", activation="tanh", name="image")(x)
    return keras.Model([noise, label], image, name="generator")


def build_dcgan_discriminator(dropout, channels=(30, 63)):
    """Build a discriminator as `cgan_mnist.build_discriminator` does, with convolutions of stride 2 for its layers."""
    image = keras.Input((SIDE, SIDE, 1), name="image")
    label = keras.Input((), dtype="int32", name="label")
    embedding = layers.Embedding(DIGITS, PIXELS, name="label_embedding")(label)
    x = layers.Multiply(name="pixels_times_label")([image, layers.Reshape((SIDE, SIDE, 1))(embedding)])
    x = layers.Conv2D(channels[0], 4, strides=2, padding="same")(x)
    x = layers.Dropout(dropout)(layers.LeakyReLU(negative_slope=0.2)(x))
    x = layers.BatchNormalization(momentum=0.8)(layers.Conv2D(channels[1], 4, strides=2, padding="same")(x))
    x = layers.Dropout(dropout)(layers.LeakyReLU(negative_slope=0.2)(x))
    logit = layers.Dense(1, name="logit")(layers.Flatten()(x))
    return keras.Model([image, label], logit, name="discriminator")


def build_dcgan(settings):
    """Build networks as `build_networks` does, of convolutions and with as many multiply-adds as the default's."""
    return (build_dcgan_generator(settings.latent_dim, settings.embedding_range),
            build_dcgan_generator(settings.latent_dim, settings.embedding_range),
            build_dcgan_discriminator(settings.dropout))
