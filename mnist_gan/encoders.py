"""What is trained before the StackGAN and then frozen: encoders of sentences and of pictures, a digit classifier.

The paper takes its text encoder from Reed et al. 2016, https://arxiv.org/abs/1605.05395, trained on photographs.
"""

import math
import sys

# Before Keras, because the package starts TensorFlow without its messages.
from mnist_gan.data import painting
from mnist_gan.data import sentences as grammar
from mnist_gan.data.described import paint_batch, phrase, random_draws, wrong_sentences
from mnist_gan.data.mnist import DIGITS, SIDE
from mnist_gan.networks import block
from mnist_gan.running import distribution

import keras
import numpy as np
import tensorflow as tf
from keras import layers

SENTENCE_DIM = 64  # length of a sentence's embedding, the paper's phi_t
CONDITION_DIM = 64  # length of the generators' condition, the paper's c
SIMILARITY_SCALE = 2.5  # sentence embeddings have the length 8, picture embeddings 1: cosines count 20 times
BATCH_SIZE = 256
FIRST_ENCODER_STEP = 10**7  # so that the encoders share no random numbers with the stages, whose steps are fewer


def build_text_encoder():
    """Build the text encoder: the words of a sentence, int32 (n, 24), to its embedding (n, 64) of length 8.

    Convolutions over three words at a time keep the order of the words: "a red one on blue" is not "a blue one on red".
    """
    words = keras.Input((grammar.LONGEST,), dtype="int32", name="words")
    x = layers.Embedding(len(grammar.VOCABULARY) + 1, 48)(words)
    x = layers.Conv1D(96, 3, padding="same")(x)
    x = layers.LeakyReLU(negative_slope=0.2)(x)
    x = layers.Conv1D(96, 3, padding="same")(x)
    x = layers.LeakyReLU(negative_slope=0.2)(x)
    x = layers.GlobalMaxPooling1D()(x)
    x = layers.Dense(256)(x)
    x = layers.LeakyReLU(negative_slope=0.2)(x)
    x = layers.Dense(SENTENCE_DIM)(x)
    x = layers.BatchNormalization()(x)  # without it all embeddings point the same way, and nothing is learnt
    x = layers.UnitNormalization()(x)
    return keras.Model(words, layers.Rescaling(SENTENCE_DIM**0.5)(x), name="text_encoder")


def build_picture_encoder():
    """Build the picture encoder: pictures (n, 14, 14, 3) in [-1, 1] to embeddings (n, 64) of length 1."""
    picture = keras.Input((SIDE // 2, SIDE // 2, 3), name="picture")
    x = layers.Flatten()(block("contrast", painting.with_contrast, picture))
    x = layers.Dense(512)(x)
    x = layers.LeakyReLU(negative_slope=0.2)(x)
    x = layers.BatchNormalization()(x)
    x = layers.Dense(256)(x)
    x = layers.LeakyReLU(negative_slope=0.2)(x)
    x = layers.Dense(SENTENCE_DIM)(x)
    x = layers.BatchNormalization()(x)
    return keras.Model(picture, layers.UnitNormalization()(x), name="picture_encoder")


def build_digit_classifier():
    """Build the classifier of gray digits, (n, 28, 28, 1) in [0, 1], to logits (n, 10)."""
    x = gray = keras.Input((SIDE, SIDE, 1), name="gray")
    for channels in (16, 32):  # 14 x 14, 7 x 7
        x = layers.LeakyReLU(negative_slope=0.2)(layers.Conv2D(channels, 5, strides=2, padding="same")(x))
    x = layers.LeakyReLU(negative_slope=0.2)(layers.Dense(128)(layers.Flatten()(x)))
    return keras.Model(gray, layers.Dense(DIGITS)(x), name="digit_classifier")


def similarities(pictures, sentences):
    """Return the scaled cosines (n, m) between embeddings of pictures (n, 64) and of sentences (m, 64)."""
    return SIMILARITY_SCALE * tf.matmul(pictures, sentences, transpose_b=True)


def choose_own(scores, own):
    """Return the cross-entropies (..., n) of choosing the column `own` (n,) in each row of `scores` (..., n, m)."""
    own = tf.broadcast_to(own, tf.shape(scores)[:-1])
    return tf.nn.sparse_softmax_cross_entropy_with_logits(own, scores)


def train_encoders(text_encoder, picture_encoder, digit_classifier, data, table, settings):
    """Train both encoders to match every picture of a batch with its sentence, and the classifier to see its digit.

    The encoders' loss is the symmetric contrastive one of Radford et al. 2021, https://arxiv.org/abs/2103.00020,
    figure 3. A picture also has sentences to choose from that are wrong in one attribute: among those of other
    pictures, which mostly show another digit or other colours, thickness and slant would hardly ever decide. Beside it
    a linear layer must read from the embedding what the sentence says of each attribute, or that it says nothing,
    which matches pictures nearly as well as "medium" does.
    `table` holds all sentences as words. Raises FloatingPointError when the loss is no longer finite.
    """
    size = min(BATCH_SIZE, len(data.images))
    batches = len(data.images) // size
    steps = settings.encoder_epochs * batches
    reader = layers.Dense(sum(choices + 1 for choices in grammar.CHOICES))
    reader.build((None, SENTENCE_DIM))
    variables = [variable for network in (text_encoder, picture_encoder, digit_classifier, reader)
                 for variable in network.trainable_variables]
    optimizer = keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(2e-3, max(steps, 1)))
    optimizer.build(variables)

    def train_step(indices, step):
        _, uniform = random_draws(settings.seed, FIRST_ENCODER_STEP + step)
        pictures, descriptions = paint_batch(data, indices, uniform)
        right, said = phrase(descriptions, uniform, 2)
        said = tf.where(said == grammar.UNSAID, grammar.CHOICES, said)
        gray = tf.cast(tf.gather(data.images, indices), tf.float32)[..., tf.newaxis] / 255.0
        words = tf.gather(table, tf.concat([right, wrong_sentences(descriptions, 1.0, uniform)], 0))
        with tf.GradientTape() as tape:
            seen = picture_encoder(painting.halve(pictures), training=True)
            heard = text_encoder(words, training=True)
            scores = similarities(seen, heard)
            losses = [choose_own(each, tf.range(size)) for each in (scores, tf.transpose(scores[:, :size]))]
            loss = tf.reduce_mean(losses[0] + losses[1]) / 2
            readings = tf.split(reader(heard[:size]), [choices + 1 for choices in grammar.CHOICES], axis=1)
            tasks = [*zip(readings, tf.unstack(said, axis=1), strict=True),
                     (digit_classifier(gray), descriptions[:, 0])]
            objective = loss + sum(tf.reduce_mean(choose_own(*task)) for task in tasks)
        distribution.minimize(objective, tape, variables, optimizer)  # every device does all of this little work
        return tf.stack([loss, objective])

    train_step = distribution.compile_step(train_step, jit_compile=False)
    bar = keras.utils.Progbar(steps) if sys.stdout.isatty() else None
    for step in range(steps):
        if step % batches == 0:
            order = np.random.default_rng((settings.seed, 1, step)).permutation(len(data.images)).astype(np.int32)
        indices = tf.constant(order[step % batches * size:][:size])
        loss, objective = train_step(indices, tf.constant(step)).numpy()
        if not math.isfinite(objective):
            raise FloatingPointError(f"the encoders' loss is no longer finite in batch {step + 1}")
        if bar:
            bar.update(step + 1, [("matching_loss", loss)])
        elif (step + 1) % batches == 0:
            print(f"Encoder epoch {(step + 1) // batches}/{settings.encoder_epochs}: matching_loss {loss:.4f}",
                  flush=True)
