"""StackGAN on painted MNIST: learn to draw a digit from a sentence about it, first roughly, then finely.

    python stackgan_mnist.py                                       train the text encoder, Stage I and Stage II
    python stackgan_mnist.py --generate "a thick red seven leaning right on a yellow background" --samples 8
    python stackgan_mnist.py --walk "a thin white one on black" "a thick blue eight on yellow"

The script reads from top to bottom: networks, updates, training, pictures, command line. Sentences and paint are in
`mnist_gan/data/`, the encoders that are trained before the stages in `mnist_gan/encoders.py`.

Zhang et al. 2017, StackGAN: Text to Photo-realistic Image Synthesis with Stacked Generative Adversarial Networks,
https://arxiv.org/abs/1612.03242
"""

import math
import os
import sys
from functools import partial
from pathlib import Path
from typing import NamedTuple

# Before Keras, because the package starts TensorFlow without its messages.
from mnist_gan.data import painting
from mnist_gan.data import sentences as grammar
from mnist_gan.data.described import paint_batch, phrase, prepare_data, random_draws, wrong_sentences
from mnist_gan.data.mnist import SIDE, load_training_images
from mnist_gan.drawing import curves
from mnist_gan.drawing.diagrams import draw_graph
from mnist_gan.drawing.pictures import save_figure
from mnist_gan.drawing.sheets import draw_sheet
from mnist_gan.drawing.stackgan import Networks, draw_embedded, draw_pictures, embed, load_networks
from mnist_gan.encoders import (CONDITION_DIM, FIRST_ENCODER_STEP, SENTENCE_DIM, build_digit_classifier,
                                build_picture_encoder, build_text_encoder, choose_own, similarities, train_encoders)
from mnist_gan.errors import InputError
from mnist_gan.files import atomic_write, open_folder
from mnist_gan.networks import all_layers, block, save_network
from mnist_gan.running import command_line as cli
from mnist_gan.running import distribution
from mnist_gan.running.checkpoints import finite_values
from mnist_gan.running.ema import update_batch_norm, update_ema
from mnist_gan.running.run import batches_per_epoch, open_run

import keras
import numpy as np
import tensorflow as tf
from keras import layers, ops


# ------------------------------------------------------------------------------------------- networks


def augment_condition(sentence, epsilon, condition_noise):
    """Conditioning augmentation (the paper's section 3.2): return (condition, mean, log_sigma), (n, 64) each.

    The condition is drawn from a normal distribution whose mean and standard deviation the embedding `sentence`
    (n, 64) determines; `epsilon` (n, 64) is standard normal and weighted with `condition_noise`. The distribution
    starts narrow, so that the sentence reaches the generator from the first batch on.
    """
    if condition_noise != 1.0:
        epsilon = layers.Rescaling(condition_noise)(epsilon)
    mean = layers.Dense(CONDITION_DIM, name="condition_mean")(sentence)
    narrow = keras.initializers.Constant(-1.0)
    log_sigma = layers.Dense(CONDITION_DIM, bias_initializer=narrow, name="condition_log_sigma")(sentence)
    return mean + ops.exp(log_sigma) * epsilon, mean, log_sigma


def mix_colours(mask, colours):
    """Paint with a mask (n, h, w, 1) in [0, 1] and the colours (n, 6) of ink and background: (n, h, w, 3) in [-1, 1].

    The picture is background + (ink - background) * mask, a foreground before a background as in Vondrick et al. 2016,
    https://arxiv.org/abs/1609.02612, section 3.1, with a single colour for each.
    """
    ink, background = ops.split(ops.reshape(colours, (-1, 1, 1, 6)), 2, axis=-1)
    return ops.clip(background + (ink - background) * mask, -1.0, 1.0)


def normalized(x):
    """Return LeakyReLU(0.2) and then BatchNormalization with momentum 0.8 of x."""
    return layers.BatchNormalization(momentum=0.8)(layers.LeakyReLU(negative_slope=0.2)(x))


def colour_layers(x):
    """Return three layers (n, 256) on x (n, k), without BatchNormalization, which blurs the edges between colours."""
    for _ in range(3):
        x = layers.LeakyReLU(negative_slope=0.2)(layers.Dense(256)(x))
    return x


def build_stage1_generator(latent_dim=100, condition_noise=1.0):
    """Build Stage I's generator: noise (n, latent_dim), epsilon (n, 64), both standard normal, and sentence (n, 64),
    to [picture (n, 14, 14, 3) in [-1, 1], mean (n, 64), log_sigma (n, 64), mask (n, 14, 14, 1) in [0, 1],
    colours (n, 6)]; the mask mixes the colours of ink and background to the picture.

    Noise and condition enter side by side and multiplied, as the label does in `cgan_mnist.py`. Colours are chosen by
    the first eight numbers of the noise: with few, the edges between the colours that they lead to can be sharp.
    """
    noise = keras.Input((latent_dim,), name="noise")
    epsilon = keras.Input((CONDITION_DIM,), name="epsilon")
    sentence = keras.Input((SENTENCE_DIM,), name="sentence")

    def choose_colours(noise, condition):
        colours = layers.Dense(6)(colour_layers(layers.Concatenate()([noise[:, :8], condition])))
        return ops.tanh(colours) + 0.1 * colours  # the tanh alone saturates

    def draw_mask(noise, condition):
        product = layers.Multiply(name="noise_times_condition")([noise, layers.Dense(latent_dim)(condition)])
        x = layers.Concatenate()([product, noise, condition])
        for units in (256, 512, 1024):
            x = normalized(layers.Dense(units)(x))
        x = layers.Reshape((SIDE // 2, SIDE // 2, 1))(layers.Dense(SIDE**2 // 4)(x))
        return ops.sigmoid(layers.AveragePooling2D(3, strides=1, padding="same", name="box_filter")(x))

    condition, mean, log_sigma = block(
        "conditioning_augmentation", partial(augment_condition, condition_noise=condition_noise), sentence, epsilon)
    mask = block("mask", draw_mask, noise, condition)
    colours = block("colours", choose_colours, noise, condition)
    picture = block("mix_colours", mix_colours, mask, colours)
    return keras.Model([noise, epsilon, sentence], [picture, mean, log_sigma, mask, colours], name="stage1_generator")


def upsample(x, channels, upsampling):
    """Double height and width of x (n, h, w, c) to (n, 2 h, 2 w, channels).

    "pixelshuffle" computes four channels for each and lays them out as 2 x 2 pixels (Shi et al. 2016,
    https://arxiv.org/abs/1609.05158); its four kernels start equal, so that it starts as nearest-neighbour
    enlargement, without a checkerboard (ICNR, Aitken et al. 2017, https://arxiv.org/abs/1707.02937).
    """
    if upsampling == "transposed":
        return layers.Conv2DTranspose(channels, 4, strides=2, padding="same")(x)
    if upsampling == "nearest":
        return layers.Conv2D(channels, 3, padding="same")(layers.UpSampling2D()(x))
    convolution = layers.Conv2D(4 * channels, 3, padding="same")
    convolution.build(x.shape)
    convolution.kernel.assign(np.tile(convolution.kernel.numpy()[..., :channels], 4))
    return ops.depth_to_space(convolution(x), 2)


def residual_block(x):
    """Return x (n, h, w, c) plus what two convolutions make of it (He et al. 2016)."""
    channels = x.shape[-1]
    y = normalized(layers.Conv2D(channels, 3, padding="same")(x))
    y = layers.BatchNormalization(momentum=0.8)(layers.Conv2D(channels, 3, padding="same")(y))
    return layers.LeakyReLU(negative_slope=0.2)(layers.Add()([x, y]))


def build_stage2_generator(upsampling="pixelshuffle", condition_noise=1.0):
    """Build Stage II's generator: rough picture (n, 14, 14, 3) in [-1, 1], epsilon (n, 64), standard normal, and
    sentence (n, 64), to [picture (n, 28, 28, 3) in [-1, 1], mean (n, 64), log_sigma (n, 64), mask (n, 28, 28, 1) in
    [0, 1], shares (n, 2, 8) of the named colours in ink and background]; the mask mixes both to the picture.

    It has no noise input: what varies, varies with the rough picture (the paper's section 3.4). Ink and background are
    mixed from the named colours: a colour that is nearly right makes strokes seem thicker.
    """
    rough = keras.Input((SIDE // 2, SIDE // 2, 3), name="rough_picture")
    epsilon = keras.Input((CONDITION_DIM,), name="epsilon")
    sentence = keras.Input((SENTENCE_DIM,), name="sentence")

    def see(rough):
        x = layers.Conv2D(32, 3, padding="same")(painting.with_contrast(rough))
        return layers.LeakyReLU(negative_slope=0.2)(x)

    def down_sample(x):
        return normalized(layers.Conv2D(64, 4, strides=2, padding="same")(x))

    def join_condition(x, condition):
        everywhere = layers.Reshape((7, 7, CONDITION_DIM))(layers.RepeatVector(49)(condition))
        return normalized(layers.Conv2D(64, 1)(layers.Concatenate()([x, everywhere])))

    def choose_colours(rough, seen, condition):
        found = layers.Concatenate()([painting.guess_colours(rough), layers.GlobalAveragePooling2D()(seen), condition])
        ink, background = ops.split(layers.Dense(2 * len(painting.PALETTE))(colour_layers(found)), 2, axis=1)
        background = ops.softmax(background)
        ink = ops.softmax(ink - 20.0 * background)  # never the background's colour: the picture would be empty
        return ops.stack([ink, background], axis=1)

    def draw_mask(x):
        return layers.Conv2D(1, 3, padding="same", activation="sigmoid")(x)

    condition, mean, log_sigma = block(
        "conditioning_augmentation", partial(augment_condition, condition_noise=condition_noise), sentence, epsilon)
    seen = block("features", see, rough)  # 14 x 14 x 32
    x = block("down_sampling", down_sample, seen)  # 7 x 7 x 64
    x = block("spatial_replication", join_condition, x, condition)
    x = block("residual_block_1", residual_block, x)
    x = block("residual_block_2", residual_block, x)
    x = block("up_sampling_1", lambda x: normalized(upsample(x, 32, upsampling)), x)  # 14 x 14 x 32
    x = block("up_sampling_2", lambda x: normalized(upsample(x, 16, upsampling)), x)  # 28 x 28 x 16
    mask = block("mask", draw_mask, x)
    shares = block("colours", choose_colours, rough, seen, condition)
    picture = block("mix_colours", lambda mask, shares: mix_colours(mask, ops.matmul(shares, painting.PALETTE)), mask,
                    shares)
    return keras.Model([rough, epsilon, sentence], [picture, mean, log_sigma, mask, shares], name="stage2_generator")


def build_stage1_discriminator():
    """Build Stage I's discriminator for pictures (n, 14, 14, 3) and return its (trunk, head), as `with_head` does."""
    picture = keras.Input((SIDE // 2, SIDE // 2, 3), name="picture")
    x = layers.Flatten()(block("contrast", painting.with_contrast, picture))
    x = layers.LeakyReLU(negative_slope=0.2)(layers.Dense(1024)(x))
    x = layers.LeakyReLU(negative_slope=0.2)(layers.Dense(512)(x))
    return with_head(picture, x, "stage1_discriminator")


def build_stage2_discriminator():
    """Build Stage II's discriminator for pictures (n, 28, 28, 3) and return its (trunk, head), as `with_head` does."""
    picture = keras.Input((SIDE, SIDE, 3), name="picture")
    x = block("contrast", painting.with_contrast, picture)
    for channels in (32, 64, 128):  # 14 x 14, 7 x 7, 4 x 4
        x = layers.LeakyReLU(negative_slope=0.2)(layers.Conv2D(channels, 4, strides=2, padding="same")(x))
    return with_head(picture, layers.Flatten()(x), "stage2_discriminator")


def with_head(picture, x, name):
    """Return a discriminator in two parts, so that the trunk runs once for a picture with several sentences.

    The trunk takes `picture` to features (n, 256) of `x` (n, k). The head takes features and sentences (n, 64) to the
    logit (n, 1) of the probability that the picture is real and its sentence right: a Dense layer's output plus the
    product of features and sentence (projection, Miyato & Koyama 2018, https://arxiv.org/abs/1802.05637).
    """
    x = layers.LeakyReLU(negative_slope=0.2)(layers.Dense(256)(x))
    features = keras.Input((256,), name="features")
    sentence = keras.Input((SENTENCE_DIM,), name="sentence")
    fit = layers.Dot(1, name="projection")([features, layers.Dense(256)(sentence)])
    logit = layers.Dense(1)(features) + fit / 16.0  # 16 is the root of 256
    return keras.Model(picture, x, name=f"{name}_trunk"), keras.Model([features, sentence], logit, name=f"{name}_head")


# -------------------------------------------------------------------------------------------- updates

HISTORY_COLUMNS = ("d_loss_real", "d_loss_generated", "d_loss_wrong", "d_loss", "g_loss", "kl_divergence",
                   "matching_loss")


def energy_score(drawn, wanted, power=1.0):
    """Return the mean energy score of the first n and the last n rows of `drawn` (m, k), in pairs, for n rows `wanted`.

    The two of a pair should be as near to the wanted row as possible, but as far from each other as wanted ones are.
    Only rows that vary as the wanted ones do make its expectation smallest (Gneiting & Raftery 2007,
    https://doi.org/10.1198/016214506000001437, section 4.2; for networks, Bouchacourt et al. 2016,
    https://arxiv.org/abs/1606.02556). `power`, in (0, 2), is that of the distances: a small one
    penalizes small distances more.
    """
    def distances(rows, others):
        return (tf.reduce_sum(tf.square(rows - others), axis=1) + 1e-4)**(power / 2)  # 1e-4 for equal ones
    first, second = drawn[:wanted.shape[0]], drawn[-wanted.shape[0]:]
    return tf.reduce_mean(distances(first, wanted) + distances(second, wanted) - distances(first, second)) / 2


def cross_entropy(target, logits):
    """Return the mean binary cross-entropy in nats between `target`, in [0, 1], and `logits` (n, 1)."""
    return tf.reduce_mean(tf.nn.sigmoid_cross_entropy_with_logits(tf.fill(tf.shape(logits), target), logits))


def kl_divergence(mean, log_sigma):
    """Return KL(N(mean, sigma²) || N(0, 1)) per dimension, the mean over both axes of `mean`, `log_sigma` (n, 64)."""
    return tf.reduce_mean(0.5 * (tf.square(mean) + tf.exp(2.0 * log_sigma) - 1.0) - log_sigma)


def flat(batch):
    """Return `batch` (n, ...) as (n, k)."""
    return tf.reshape(batch, (batch.shape[0], -1))


class Batch(NamedTuple):
    """What one device needs for a step: its share, n, of a batch.

    `real` pictures (n, h, w, 3) and their `colours` of ink and background (n, 6); the embeddings (n, 64) of sentences
    that are `right` and `wrong` about them. `asked` are the sentences that the generator gets, `said`, int32 (n, 5),
    what they say, and `asked_colours` those of the real pictures they are from: the second half of the batch repeats
    the first, so that two pictures of each sentence can be compared.
    `candidates` (k, 64) are the different sentences of the whole batch, k its half, and `matching_share` (n // 2,) is
    how much each of this device's own counts in the matching loss. `normal` draws noise, as `random_draws` returns it.
    """

    real: tf.Tensor
    colours: tf.Tensor
    right: tf.Tensor
    wrong: tf.Tensor
    asked: tf.Tensor
    asked_colours: tf.Tensor
    said: tf.Tensor
    candidates: tf.Tensor
    matching_share: tf.Tensor
    normal: object


class Stage:
    """What both stages have in common: a generator, a discriminator, and the step that trains them in alternation.

    `data` comes from `prepare_data`; `embeddings` is a variable with those of all sentences, float32 (n, 64). Only
    the stage's own variables are ever updated: everything before it, encoders and digit classifier are frozen.
    `generator` and the discriminator's `trunk` and `head` are trained; `ema_generator` has the exponential moving
    average of the generator's weights. `jit_compile` compiles the step with XLA. A subclass gives `first_step`,
    `build_generator`, `build_discriminator`, `generator_inputs`, `resize`, `encoder_input` and `add_own_terms`.
    """

    def __init__(self, settings, data, embeddings, picture_encoder, digit_classifier, epochs, jit_compile):
        self.settings, self.data, self.embeddings = settings, data, embeddings
        self.picture_encoder, self.digit_classifier = picture_encoder, digit_classifier
        self.shape_limits = painting.ShapeLimits(data.images.numpy(), data.shapes[:, 0].numpy(), self.resize)
        self.generator, self.ema_generator = self.build_generator(), self.build_generator()
        self.ema_generator.set_weights(self.generator.get_weights())
        self.trunk, self.head = self.build_discriminator()
        self.discriminator_variables = self.trunk.trainable_variables + self.head.trainable_variables
        self.generator_optimizer, self.discriminator_optimizer = (
            keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(
                rate, epochs * batches_per_epoch(settings), 0.05), beta_1=0.5)
            for rate in (settings.generator_learning_rate, settings.discriminator_learning_rate))
        self.generator_optimizer.build(self.generator.trainable_variables)
        self.discriminator_optimizer.build(self.discriminator_variables)
        distribution.synchronize(self.generator, self.trunk, self.head)
        self.random_normal = distribution.normal_numbers(jit_compile)
        self.train_step = distribution.compile_step(self.train_step, jit_compile)

    @property
    def variables(self):
        """All that a checkpoint needs to continue bit for bit: a list."""
        return [variable for part in (self.generator, self.ema_generator, self.trunk, self.head,
                                      self.generator_optimizer, self.discriminator_optimizer)
                for variable in part.variables]

    def draw_inputs(self, step, size):
        """Return the generator's inputs for `size` random sentences of the kind that training has."""
        normal, uniform = random_draws(self.settings.seed, step)
        indices = uniform(19, len(self.data.images), size)
        _, descriptions = paint_batch(self.data, indices, uniform)
        sentences = tf.gather(self.embeddings, phrase(descriptions, uniform, 2)[0])
        return self.generator_inputs(sentences, normal(0, size, self.settings.latent_dim), normal)[0]

    def update_batch_norm(self):
        """Measure the BatchNormalization statistics of the EMA generator."""
        update_batch_norm(self.ema_generator, lambda number: self.draw_inputs(-1 - number, 256))

    def sample(self, indices, step):
        """Return the `Batch` of the training images at `indices`, int32 (batch_size,), this device's share of it."""
        normal_for_all, uniform = random_draws(self.settings.seed, step, self.random_normal)
        pictures, descriptions = paint_batch(self.data, indices, uniform)
        sentences, said = phrase(descriptions, uniform, 2)
        every = tf.gather(self.embeddings, sentences)
        wrong = tf.gather(self.embeddings, wrong_sentences(descriptions, self.settings.hard_share, uniform))
        colours = tf.reshape(tf.gather(painting.PALETTE, descriptions[:, 1:3]), (-1, 6))
        share = tf.cast(tf.reduce_all(said[:indices.shape[0] // 2] != grammar.UNSAID, axis=1), tf.float32)
        real, right, wrong, colours, said = map(distribution.share_pairs, (
            self.resize(pictures), every, wrong, colours, said))
        size, half = right.shape[0], right.shape[0] // 2
        asked, asked_colours, said = (tf.concat([batch[:-half], batch[:half]], 0) for batch in (right, colours, said))
        # Equal sentences are not among those out of which a picture's own is to be found.
        candidates = every[:indices.shape[0] // 2]
        # A sentence that leaves something unsaid does not count: its pictures would be drawn towards what is typical.
        share = distribution.share(share / tf.maximum(tf.reduce_sum(share), 1.0))

        def normal(stream, count, *shape):
            """Draw this device's share, (count, ...), of what is drawn for all."""
            drawn = normal_for_all(stream, count * distribution.replicas(), *shape)
            return tf.concat([distribution.share_pairs(batch) for batch in tf.split(drawn, count // size)], 0)
        return Batch(real, colours, right, wrong, asked, asked_colours, said, candidates, share, normal)

    def instance_noise(self, pictures, normal, stream):
        """Return `pictures` with noise (Sønderby et al. 2017, https://arxiv.org/abs/1610.04490).

        Exact colours alone would give real pictures away.
        """
        return pictures + self.settings.input_noise * normal(stream, *pictures.shape)

    def update_discriminator(self, batch, generated):
        """Update the discriminator on the very pictures that the generator is about to be trained with.

        Its targets: real with the right sentence 0.9 (one-sided label smoothing), real with a wrong one 0, generated 0
        (Reed et al. 2016, https://arxiv.org/abs/1605.05396, section 4.2). Returns its losses on real pictures, on
        generated ones and on wrong sentences.
        """
        size, settings = generated.shape[0], self.settings
        with tf.GradientTape() as tape:
            pictures = tf.concat([batch.real, tf.stop_gradient(generated)], 0)
            features = self.trunk(self.instance_noise(pictures, batch.normal, 4), training=True)
            logits = self.head([tf.concat([features, features[:size]], 0),
                                tf.concat([batch.right, batch.asked, batch.wrong], 0)])
            loss_real = cross_entropy(1.0 - settings.label_smoothing, logits[:size])
            loss_generated = cross_entropy(0.0, logits[size:-size])
            loss_wrong = cross_entropy(0.0, logits[-size:])
            objective = (loss_real + (1.0 - settings.wrong_sentence_weight) * loss_generated
                         + settings.wrong_sentence_weight * loss_wrong)
        distribution.minimize(objective, tape, self.discriminator_variables, self.discriminator_optimizer)
        return loss_real, loss_generated, loss_wrong

    def adversarial_loss(self, batch, generated):
        """Return the generator's cross-entropy through the discriminator as it is now."""
        features = self.trunk(self.instance_noise(generated, batch.normal, 5), training=True)
        return cross_entropy(1.0, self.head([features, batch.asked]))

    def matching_loss(self, batch, seen):
        """Return how surprised the frozen encoders are by the sentence of a picture among those of the whole batch.

        `seen` (n, 64) is what the picture encoder sees in the pictures. In the spirit of Xu et al. 2018,
        https://arxiv.org/abs/1711.10485, section 3.2.
        """
        half = seen.shape[0] // 2
        scores = tf.stack([similarities(part, batch.candidates) for part in (seen[:half], seen[-half:])])
        losses = choose_own(scores, distribution.share(tf.range(batch.candidates.shape[0])))
        return distribution.replicas() * tf.reduce_sum(batch.matching_share * tf.reduce_mean(losses, 0))

    def shape_loss(self, mask, said, noise):
        """Return how far the shapes of `mask` (n, h, w, 1) are from those that sentences with `said` (n, 5) may have.

        Where a sentence is silent, the last two numbers of the `noise` (n, latent_dim) pick thickness and slant, as the
        codes of Chen et al. 2016, InfoGAN, https://arxiv.org/abs/1606.03657, so that pictures vary as real ones do.
        """
        places = 0.5 + 0.5 * tf.math.erf(noise[:, -2:] / 2.0**0.5)  # uniformly distributed, as the noise is normally
        least, greatest = self.shape_limits(said, places)
        shapes = painting.measure_shapes(mask)
        return tf.reduce_mean(tf.reduce_sum(tf.nn.relu(least - shapes) + tf.nn.relu(shapes - greatest), 1))

    def digit_loss(self, mask, digits):
        """Return the frozen classifier's cross-entropy for `digits`, int32 (n,), in `mask` (n, h, w, 1)."""
        gray = tf.image.resize(mask, (SIDE, SIDE))
        return tf.reduce_mean(choose_own(self.digit_classifier(gray, training=False), digits))

    def train_step(self, indices, step):
        """Update the discriminator and then the generator on one batch; return float32 (7,), HISTORY_COLUMNS.

        `indices` are int32 (batch_size,), those of training images; `step` counts batches over both stages.
        """
        settings, batch = self.settings, self.sample(indices, step)
        noise = batch.normal(0, batch.asked.shape[0], settings.latent_dim)
        inputs, rough_colours = self.generator_inputs(batch.asked, noise, batch.normal)
        with tf.GradientTape() as tape:
            _, mean, log_sigma, mask, colours = self.generator(inputs, training=True)
            # Discriminator and encoder see what is drawn in the colours of the real picture of the sentence and compare
            # shapes alone: their game would end in few of the colours that a sentence leaves open.
            generated = mix_colours(mask, batch.asked_colours)
            with tape.stop_recording():
                loss_real, loss_generated, loss_wrong = self.update_discriminator(batch, generated)
            g_loss, kl = self.adversarial_loss(batch, generated), kl_divergence(mean, log_sigma)
            seen = self.picture_encoder(self.encoder_input(generated), training=False)
            matching = self.matching_loss(batch, seen)
            objective = settings.adversarial_weight * g_loss + settings.kl_weight * kl
            objective += settings.matching_weight * matching
            objective += settings.shape_weight * self.shape_loss(mask, batch.said, noise)
            objective += settings.digit_weight * self.digit_loss(mask, batch.said[:, 0])
            objective = self.add_own_terms(objective, batch, generated, seen, colours, rough_colours)
        distribution.minimize(objective, tape, self.generator.trainable_variables, self.generator_optimizer)
        update_ema(self.ema_generator, self.generator, settings.ema_decay, step - self.first_step)
        return tf.stack([loss_real, loss_generated, loss_wrong, (loss_real + loss_generated) / 2, g_loss, kl, matching])


class Stage1(Stage):
    """Stage I: from noise and a sentence to 14 x 14 pixels. XLA makes its Dense layers faster."""

    first_step = 0
    build_discriminator = staticmethod(build_stage1_discriminator)
    resize = staticmethod(painting.halve)  # real pictures to the stage's own resolution

    def __init__(self, settings, data, embeddings, picture_encoder, digit_classifier, jit_compile=True):
        super().__init__(settings, data, embeddings, picture_encoder, digit_classifier, settings.stage1_epochs,
                         jit_compile)

    def build_generator(self):
        """Return a new generator of this stage."""
        return build_stage1_generator(self.settings.latent_dim, self.settings.condition_noise)

    def generator_inputs(self, sentence, noise, normal):
        """Return the generator's inputs for the embeddings `sentence` (n, 64), and None for what Stage II adds."""
        return [noise, normal(1, sentence.shape[0], CONDITION_DIM), sentence], None

    def encoder_input(self, generated):
        """Return pictures (n, 14, 14, 3) as the picture encoder takes them."""
        return generated

    def add_own_terms(self, objective, batch, generated, seen, colours, _):
        """Return `objective` plus the terms for what varies in Stage I: all that the sentence leaves unsaid.

        What the frozen encoder sees should vary as it does in real pictures, and so should the pixels, where
        colours are compared as they are; their distance is the root mean square, with weight 2.
        """
        settings, wanted = self.settings, batch.real[:batch.real.shape[0] // 2]
        objective += settings.energy_weight * (
            energy_score(seen, self.picture_encoder(wanted, training=False))
            + 2.0 / (3 * SIDE**2 / 4)**0.5 * energy_score(flat(generated), flat(wanted)))
        return objective + settings.colour_weight * energy_score(colours, batch.colours[:wanted.shape[0]], 0.5)


class Stage2(Stage):
    """Stage II: from Stage I's picture and the sentence to 28 x 28 pixels.

    XLA makes convolutions slower on some machines and faster on others, so this stage does without.
    """

    build_discriminator = staticmethod(build_stage2_discriminator)
    encoder_input = staticmethod(painting.halve)  # pictures (n, 28, 28, 3) as the picture encoder takes them

    def __init__(self, settings, data, embeddings, picture_encoder, digit_classifier, stage1_generator,
                 jit_compile=False):
        self.stage1_generator = stage1_generator  # finished and frozen
        self.first_step = settings.stage1_epochs * batches_per_epoch(settings)
        super().__init__(settings, data, embeddings, picture_encoder, digit_classifier, settings.stage2_epochs,
                         jit_compile)

    def build_generator(self):
        """Return a new generator of this stage."""
        return build_stage2_generator(self.settings.upsampling, self.settings.condition_noise)

    def resize(self, pictures):
        """Return real pictures in the stage's own resolution: as they are."""
        return pictures

    def kept_values(self):
        """Return how many outputs of convolutions a step keeps for each picture until it has the gradients."""
        return sum(math.prod(layer.output.shape[1:]) for network in (self.generator, self.trunk)
                   for layer in all_layers(network) if isinstance(layer, layers.Conv2D))

    def generator_inputs(self, sentence, noise, normal):
        """Return the generator's inputs for the embeddings `sentence` (n, 64), and Stage I's colours (n, 6)."""
        size = sentence.shape[0]
        rough, *_, colours = self.stage1_generator([noise, normal(1, size, CONDITION_DIM), sentence], training=False)
        return [rough, normal(2, size, CONDITION_DIM), sentence], colours

    def add_own_terms(self, objective, batch, generated, seen, shares, rough_colours):
        """Return `objective` plus the cross-entropy of the right colours: those said, else those nearest to Stage I's.

        The latter is in the spirit of Zhang et al. 2018, https://arxiv.org/abs/1710.10916, section 4.3.
        """
        wanted = tf.one_hot(painting.nearest_colours(rough_colours, batch.said[:, 1:3]), len(painting.PALETTE))
        right = tf.reduce_sum(shares * wanted, axis=2)
        return objective - tf.reduce_mean(tf.math.log(right + 1e-6))


# ------------------------------------------------------------------------------------------- training


class StackGAN:
    """The encoders and both stages, built for uint8 `images` (n, 28, 28) and `digits`, int32 (n,).

    `networks` are those that `draw_pictures` needs.
    """

    def __init__(self, settings, images, digits):
        keras.utils.set_random_seed(settings.seed)  # the initial weights
        self.settings, self.data = settings, prepare_data(images, digits)
        self.table = tf.constant(grammar.sentence_table(settings.seed))
        self.text_encoder, self.picture_encoder = build_text_encoder(), build_picture_encoder()
        self.embeddings = tf.Variable(tf.zeros((len(self.table), SENTENCE_DIM)), trainable=False)
        self.digit_classifier = build_digit_classifier()
        given = settings, self.data, self.embeddings, self.picture_encoder, self.digit_classifier
        stage1 = Stage1(*given)
        stage2 = Stage2(*given, stage1.ema_generator)
        self.stages = stage1, stage2
        self.networks = Networks(self.text_encoder, stage1.ema_generator, stage2.ema_generator)

    @property
    def variables(self):
        """All that a checkpoint needs to continue bit for bit: a list."""
        return [variable for part in (self.text_encoder, self.picture_encoder, self.digit_classifier, *self.stages)
                for variable in part.variables]

    def train_encoders(self):
        """Train both encoders and the classifier; raise FloatingPointError when the loss is no longer finite."""
        train_encoders(self.text_encoder, self.picture_encoder, self.digit_classifier, self.data, self.table,
                       self.settings)

    def embed_sentences(self):
        """Compute the embeddings of all sentences; to be called when the text encoder has its final weights."""
        self.embeddings.assign(self.text_encoder.predict(self.table, batch_size=4096, verbose=0))


def train(settings):
    """Train as `settings` from `parse_arguments` say and write everything that a run leaves.

    Raises InputError for input that cannot be used, before any training; FloatingPointError when a loss or a weight is
    no longer finite; OSError when a file cannot be written. The checkpoint of the last finished epoch stays as it is
    in each case.
    """
    images, digits = load_training_images(settings.data, settings.train_size, settings.batch_size)
    settings.train_size = len(images)
    settings.epochs = settings.stage1_epochs + settings.stage2_epochs
    if settings.epochs * batches_per_epoch(settings) > FIRST_ENCODER_STEP:
        raise InputError(f"--batch-size {settings.batch_size}: that makes more than {FIRST_ENCODER_STEP:,} batches, "
                         "for which there are no random numbers; give larger batches or fewer epochs")
    with open_run(settings, images, digits, HISTORY_COLUMNS, first_grid=0, mode="RGB") as run:
        gan = StackGAN(settings, images, digits)
        # At least, for what the gradients of Stage II's convolutions need; and before minutes with the encoders.
        cli.require_memory(4 * settings.batch_size // distribution.replicas() * gan.stages[1].kept_values(),
                           f"--batch-size {settings.batch_size}", "give smaller batches")
        if not run.restore(gan.variables):
            print("Training the text encoder:", flush=True)
            gan.train_encoders()
            run.save(finite_values(gan.variables, 0), draw_shown(gan, 0, "Untrained"))
        gan.embed_sentences()
        for epoch in run.epochs():
            stage = gan.stages[epoch >= settings.stage1_epochs]
            title = (f"Stage I, epoch {epoch + 1}/{settings.stage1_epochs}" if stage is gan.stages[0] else
                     f"Stage II, epoch {epoch + 1 - settings.stage1_epochs}/{settings.stage2_epochs}")
            for step, indices in run.batches(title):
                run.log(stage.train_step(indices, step))
            stage.update_batch_norm()
            run.finish_epoch(gan.variables, draw_shown(gan, stage is gan.stages[1], title))
        if distribution.is_chief():
            write_results(run, gan)


def write_results(run, gan):
    """Write and announce what a finished training leaves beside its grids, history and checkpoint."""
    settings, outputs, plots = run.settings, run.outputs, run.plots
    split = settings.stage1_epochs * batches_per_epoch(settings)
    for network in gan.networks:
        save_network(outputs / f"{network.name}.keras", network)
    for number, epochs, rows in ((1, settings.stage1_epochs, run.history[:split]),
                                 (2, settings.stage2_epochs, run.history[split:])):
        save_figure(plots / f"stage{number}_loss_curves.png", curves.draw_losses(
            epochs, rows[:, 3], rows[:, 4], f"Stage {'I' * number}: losses of generator and discriminator"))
        save_figure(plots / f"stage{number}_conditions.png", curves.draw_conditions(rows, epochs, number))
    for network in (gan.text_encoder, gan.picture_encoder, *(
            network for stage in gan.stages for network in (stage.generator, stage.trunk, stage.head))):
        save_figure(plots / f"{network.name}.png", draw_graph(network))
    save_figure(plots / "walk.png", draw_walk(gan.networks, *WALKED_SENTENCES, settings.seed))
    run.finish("stackgan.gif")
    print(f"""
Trained {settings.stage1_epochs} epochs of Stage I and {settings.stage2_epochs} of Stage II in \
{cli.readable_time(run.seconds)}. What the run left:
  {outputs / "stackgan.gif"}: digits forming from noise, over Stage I to Stage II
  {outputs / "epoch_000.png"} ... epoch_{settings.epochs:03d}.png: the same, one grid per epoch
  {plots / "stage1_loss_curves.png"}, {plots / "stage2_loss_curves.png"}: the losses of both stages
  {plots / "stage1_conditions.png"}, {plots / "stage2_conditions.png"}: the KL divergence and the matching loss
  {plots / "walk.png"}: a walk from one sentence to another
  {plots / "stage1_generator.png"}, ...: the networks
  {outputs / "history.csv"}, {outputs / "settings.json"}: the numbers behind the curves, the settings
  {outputs / "text_encoder.keras"}, {outputs / "stage1_generator.keras"},
  {outputs / "stage2_generator.keras"}: the trained networks, for --generate
  {outputs / "checkpoint.npz"}: for --resume""")


# ------------------------------------------------------------------------------------------- pictures

# Everything said and nearly nothing, a pair never seen in training (a red seven), order that matters, and Persian.
SHOWN_SENTENCES = ("a thick red seven leaning right on a yellow background", "a thin white four leaning left on black",
                   "the digit 3", "a blue eight", "a red one on a blue background", "a blue one on a red background",
                   "یک پنج سبز ضخیم روی زمینه سفید", "یک یک قرمز")
WALKED_SENTENCES = ("a thin white two leaning left on a blue background",
                    "a thick red eight leaning right on a yellow background")


def draw_shown(gan, stage, title):
    """Draw SHOWN_SENTENCES with the networks of a `StackGAN`, as `stage`, 0 or 1, draws them."""
    pictures = draw_pictures(gan.networks, SHOWN_SENTENCES, 10, gan.settings.seed)[stage]
    return draw_sheet(SHOWN_SENTENCES, pictures, title)


def draw_walk(networks, start, end, seed, steps=12, walkers=3):
    """Draw the way from one sentence to another: `walkers` times both stages, each from its own fixed noise."""
    ends = embed(networks, [start, end])
    share = np.linspace(0, 1, steps, dtype=np.float32)[:, np.newaxis]
    way = (1 - share) * ends[0] + share * ends[1]
    random, rows = np.random.default_rng(seed), []
    for _ in range(walkers):
        noise = random.standard_normal(networks.stage1.inputs[0].shape[1], np.float32)
        epsilons = random.standard_normal((2, 1, CONDITION_DIM), np.float32)
        rows += draw_embedded(networks, way, np.tile(noise, (steps, 1)), epsilons.repeat(steps, axis=1))
    labels = [f"walk {number + 1}" for number in range(walkers)]
    return draw_sheet(labels, rows, f"From “{start}”\nto “{end}”", ("Stage I", "Stage II") * walkers)


# --------------------------------------------------------------------------------------- command line


def generate(settings):
    """Write `generated.png`: for each sentence of `settings.generate` both stages, `settings.samples` pictures each.

    Raises InputError if a sentence or a network cannot be used, OSError if the picture cannot be written.
    """
    for sentence in settings.generate:
        grammar.read(sentence)
    rough, fine = draw_pictures(load_networks(settings.output_dir), settings.generate, settings.samples, settings.seed)
    rows = [row for both in zip(rough, fine, strict=True) for row in both]
    path = open_folder(settings.output_dir) / "generated.png"
    save_figure(path, draw_sheet(settings.generate, rows, sides=("Stage I", "Stage II") * len(settings.generate)))
    print(f"{path}: {len(settings.generate)} sentence{'s' * (len(settings.generate) > 1)}, both stages, "
          f"{settings.samples} sample{'s' * (settings.samples > 1)} each")


def walk(settings):
    """Write `walk.png`: the way from one of the two sentences of `settings.walk` to the other.

    Raises InputError if a sentence or a network cannot be used, OSError if the picture cannot be written.
    """
    for sentence in settings.walk:
        grammar.read(sentence)
    figure = draw_walk(load_networks(settings.output_dir), *settings.walk, settings.seed)
    path = open_folder(settings.output_dir) / "walk.png"
    save_figure(path, figure)
    print(f"{path}: from '{settings.walk[0]}' to '{settings.walk[1]}', both stages")


def draw_file(settings):
    """Draw every line of the text file `settings.sentences` and write the pictures as arrays to `settings.arrays`.

    Raises InputError if the file, a sentence or a network cannot be used, OSError if the arrays cannot be written.
    """
    lines = grammar.read_file(settings.sentences)
    path = Path(settings.arrays)
    if path.suffix != ".npz" or os.path.isdir(path):
        raise InputError(f"--arrays {path}: give a file that ends with .npz")
    count = len(lines) * settings.samples
    needed = 2 * count * 4 * 3 * (SIDE**2 + SIDE**2 // 4)  # float32 colours of both stages, while blocks are joined
    cli.require_memory(needed, f"--sentences {settings.sentences}: drawing {count:,} pictures",
                       "give fewer --samples, or the file in parts")
    networks = load_networks(settings.output_dir)
    open_folder(path.parent)  # before the drawing, which takes its time
    done = cli.announce(f"Drawing {count:,} pictures", count)
    rough, fine = draw_pictures(networks, lines, settings.samples, settings.seed, done)
    atomic_write(path, lambda partial: np.savez(partial, stage1=rough, stage2=fine, sentences=np.array(lines)))
    print(f"{path}: {len(lines)} sentence{'s' * (len(lines) > 1)}, {settings.samples} of each: "
          f"stage1 {rough.shape}, stage2 {fine.shape}")


def add_training_options(parser):
    """Add the options of a training to `parser` and return their group."""
    training = parser.add_argument_group("training")
    for option, kind, default, text in (
            ("--encoder-epochs", cli.whole_number(0, 999), 5,
             "passes over the training images in which the text encoder is trained, first"),
            ("--stage1-epochs", cli.whole_number(1, 499), 5, "passes in which Stage I learns to draw 14 x 14 pixels"),
            ("--stage2-epochs", cli.whole_number(1, 499), 4,
             "passes in which Stage II learns to draw 28 x 28 pixels from them"),
            ("--batch-size", cli.whole_number(4, 10**6), 64, "pictures per update"),
            ("--latent-dim", cli.whole_number(2, 10**4), 100, "length of the noise vector of Stage I"),
            ("--generator-learning-rate", cli.positive_number, 1e-3,
             "first step size of Adam for both generators; it falls along a cosine to a twentieth"),
            ("--discriminator-learning-rate", cli.positive_number, 1e-3, "the same for both discriminators"),
            ("--label-smoothing", cli.fraction_below(0.5), 0.1,
             "how far below 1 the discriminators' target for real pictures is (one-sided)"),
            ("--wrong-sentence-weight", cli.fraction_below(1), 0.5,
             "share of real pictures with a wrong sentence in what the discriminators learn to reject, the rest being "
             "generated"),
            ("--hard-share", cli.checked(float, lambda value: 0 <= value <= 1, "from 0 to 1"), 0.5,
             "share of the wrong sentences that are wrong about one attribute only"),
            ("--adversarial-weight", cli.fraction_below(100), 1.0,
             "weight of the discriminators' answer in the generators' loss; 0 trains without the adversarial game"),
            ("--kl-weight", cli.fraction_below(100), 0.1,
             "weight of the KL divergence of the conditions from the standard normal distribution"),
            ("--condition-noise", cli.fraction_below(10), 1.0,
             "factor of the noise in the conditions; 0 trains without conditioning augmentation"),
            ("--matching-weight", cli.fraction_below(100), 1.0,
             "weight of the term that makes the frozen encoders match picture and sentence"),
            ("--energy-weight", cli.fraction_below(100), 5.0,
             "weight of the energy score, which is best where Stage I's pictures of a sentence vary as real ones do"),
            ("--colour-weight", cli.fraction_below(100), 10.0,
             "weight of the energy score of Stage I's colours"),
            ("--shape-weight", cli.fraction_below(100), 15.0,
             "weight of how far thickness and slant are from what the sentence says or, where it is silent, the noise"),
            ("--digit-weight", cli.fraction_below(100), 0.5,
             "weight of a frozen classifier's cross-entropy for the digit that the sentence says"),
            ("--input-noise", cli.fraction_below(10), 0.2,
             "standard deviation of the noise on all pictures that the discriminators see"),
            ("--ema-decay", cli.fraction_below(1), 0.998,
             "decay per batch of the EMA of the generators' weights, which draws; at most n / (n + 3) in batch n")):
        training.add_argument(option, type=kind, default=default, help=text)
    training.add_argument("--upsampling", choices=("pixelshuffle", "transposed", "nearest"), default="pixelshuffle",
                          help="how Stage II doubles height and width")
    return training


def parse_arguments(arguments=None):
    """Parse the command line (a list of strings; None means that of the process) into a namespace."""
    parser = cli.Parser(
        __file__, "Train a StackGAN that draws painted digits from sentences, or draw with a trained one.")
    parser.add_renamed(averaging_decay="--ema-decay")
    cli.add_repetition_options(add_training_options(parser))
    cli.add_file_options(parser, "outputs/stackgan", "plots/stackgan")
    mode = parser.add_argument_group("other than training from the start").add_mutually_exclusive_group()
    mode.add_argument("--resume", action="store_true",
                      help="continue after the last finished epoch of the run in the output folder")
    mode.add_argument("--generate", nargs="+", metavar="SENTENCE",
                      help="draw these English or Persian sentences with the trained networks in the output folder")
    mode.add_argument("--walk", nargs=2, metavar=("FROM", "TO"), help="draw the way from one sentence to another")
    mode.add_argument("--sentences", type=cli.path_name, metavar="FILE",
                      help="draw every line of a UTF-8 text file; needs --arrays")
    drawing = parser.add_argument_group("with --generate or --sentences")
    drawing.add_argument("--samples", type=cli.whole_number(1, 100), metavar="N",
                         help="pictures of each sentence, each from other noise; 8 if not given")
    drawing.add_argument("--arrays", type=cli.path_name, metavar="OUT.npz",
                         help="file for the pictures of --sentences: float32 arrays stage1 (lines, N, 14, 14, 3) and "
                              "stage2 (lines, N, 28, 28, 3) in [-1, 1], and sentences")
    settings = parser.parse_args(arguments)
    if bool(settings.sentences) != bool(settings.arrays):
        parser.error("--sentences FILE and --arrays OUT.npz need each other")
    if settings.samples and not (settings.generate or settings.sentences):
        parser.error("--samples needs --generate or --sentences")
    settings.samples = settings.samples or 8
    return settings


def main(argv=None):
    """Run the command line, `argv` or that of the process, and return the exit status."""
    settings = parse_arguments(argv)
    for mode, work in ((settings.generate, generate), (settings.walk, walk), (settings.sentences, draw_file)):
        if mode:
            return cli.run(__file__, partial(work, settings))
    return cli.run_training(__file__, train, settings, argv)


if __name__ == "__main__":
    sys.exit(main())
