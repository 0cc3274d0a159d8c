"""The training step of `cgan_mnist.py` in plain JAX, compiled by `jax.jit` with donated buffers: the same networks,
updates and losses, and Adam and the EMA as Keras and `mnist_gan/running/ema.py` have them.

It imports nothing that starts TensorFlow. What differs: the random numbers, and with them the initial weights.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

DIGITS, SIDE = 10, 28
PIXELS = SIDE * SIDE

# ------------------------------------------------------------------------------------------- networks


def init_dense(key, sizes):
    """Return kernels and biases of Dense layers with these `sizes`, Glorot uniform and 0."""
    layers = []
    for part, inputs, outputs in zip(jax.random.split(key, len(sizes) - 1), sizes[:-1], sizes[1:], strict=True):
        limit = (6 / (inputs + outputs))**0.5
        layers.append({"kernel": jax.random.uniform(part, (inputs, outputs), minval=-limit, maxval=limit),
                       "bias": jnp.zeros(outputs)})
    return layers


def init_embedding(key, width, low, high):
    """Return an embedding (10, width) of the labels, uniform from `low` to `high`."""
    return jax.random.uniform(key, (DIGITS, width), minval=low, maxval=high)


def init_generator(key, settings):
    """Return the generator's parameters, and the mean and variance of each BatchNormalization."""
    widths, (first, second) = (256, 512, 1024), jax.random.split(key)
    parameters = {
        "embedding": init_embedding(first, settings.latent_dim, -settings.embedding_range, settings.embedding_range),
        "dense": init_dense(second, (settings.latent_dim, *widths, PIXELS)),
        "norm": [{"gamma": jnp.ones(width), "beta": jnp.zeros(width)} for width in widths]}
    return parameters, [(jnp.zeros(width), jnp.ones(width)) for width in widths]


def init_discriminator(key, settings):
    """Return the discriminator's parameters."""
    (first, second), mean = jax.random.split(key), settings.discriminator_embedding_mean
    return {"embedding": init_embedding(first, PIXELS, mean - 0.05, mean + 0.05),
            "dense": init_dense(second, (PIXELS, settings.discriminator_units, 512, 512, 1))}


def dense(x, layer):
    """Return a Dense layer's output (n, units)."""
    return x @ layer["kernel"] + layer["bias"]


def generate(parameters, statistics, noise, labels, settings, training):
    """Return images (n, 784) in [-1, 1], and the statistics, moved with momentum 0.8 if in `training`."""
    x, moved = noise * parameters["embedding"][labels], []
    for layer, norm, (mean, variance) in zip(parameters["dense"], parameters["norm"], statistics, strict=False):
        x = jax.nn.leaky_relu(dense(x, layer), 0.2)
        if training:
            mean, variance = (0.8 * old + 0.2 * new for old, new in ((mean, x.mean(0)), (variance, x.var(0))))
            x = (x - x.mean(0)) * jax.lax.rsqrt(x.var(0) + 1e-3)
        else:
            x = (x - mean) * jax.lax.rsqrt(variance + 1e-3)
        moved.append((mean, variance))
        x = x * norm["gamma"] + norm["beta"]
    x = dense(x, parameters["dense"][-1]).reshape(-1, SIDE, SIDE)
    for _ in range(settings.box_filter):
        for window in ((1, 3, 1), (1, 1, 3)):
            total, count = (jax.lax.reduce_window(values, 0.0, jax.lax.add, window, (1, 1, 1), "SAME")
                            for values in (x, jnp.ones((1, SIDE, SIDE))))
            x = total / count
    return jnp.tanh(x).reshape(-1, PIXELS), moved


def discriminate(parameters, pixels, labels, settings):
    """Return the logits (n, 1) of images (n, 784) with labels (n,); there is no dropout, as by default."""
    x = pixels / (1 + settings.gray_stretch * jnp.sqrt(1.002 - pixels**2)) * parameters["embedding"][labels]
    for layer in parameters["dense"][:-1]:
        x = jax.nn.leaky_relu(dense(x, layer), 0.2)
    return dense(x, parameters["dense"][-1])


# -------------------------------------------------------------------------------------------- updates


def cross_entropy(target, logits):
    """Return the mean binary cross-entropy of `logits` for the probability `target`."""
    return (jnp.maximum(logits, 0) - logits * target + jnp.log1p(jnp.exp(-jnp.abs(logits)))).mean()


def halves_apart(batch):
    """Return the mean absolute differences (n // 2,) between the two halves of `batch` (n, k)."""
    half = len(batch) // 2
    return jnp.abs(batch[:half] - batch[-half:]).mean(1)


def mode_seeking(noise, images):
    """Return how much more the halves of `noise` (n, k) differ than those of `images` in [-1, 1] with equal ink."""
    ink = images + 1
    ink = ink / jnp.sqrt((ink**2).mean(1, keepdims=True) + 1e-3)
    return (halves_apart(noise) / (halves_apart(ink) + 1e-3)).mean()


def adam(parameters, gradients, state, rate):
    """Return the parameters after a step of Keras's Adam with beta_1 = 0.5, and its new state."""
    first, second, count = state
    count = count + 1
    first = jax.tree.map(lambda m, g: m + (g - m) * 0.5, first, gradients)
    second = jax.tree.map(lambda v, g: v + (g**2 - v) * 0.001, second, gradients)
    size = rate * jnp.sqrt(1 - 0.999**count) / (1 - 0.5**count)
    return jax.tree.map(lambda p, m, v: p - size * m / (jnp.sqrt(v) + 1e-7), parameters, first, second), (
        first, second, count)


def init_adam(parameters):
    """Return Adam's state before its first step."""
    return jax.tree.map(jnp.zeros_like, parameters), jax.tree.map(jnp.zeros_like, parameters), jnp.float32(0)


class Batch(NamedTuple):
    """What a step of batch size n draws."""

    images: jax.Array  # real ones, (n, 784) in [-1, 1]
    labels: jax.Array  # theirs, (n,)
    wrong_labels: jax.Array  # those that the first half of them does not show, (n // 2,)
    discriminator_noise: jax.Array  # for the images that the discriminator learns to reject, (n, latent_dim)
    discriminator_labels: jax.Array
    generator_noise: jax.Array  # for those with which the generator learns
    generator_labels: jax.Array


def draw_batch(settings, images, labels, indices, step):
    """Return the `Batch` of the training images (m, 784) at `indices` (n,), for batch number `step`."""
    size = settings.batch_size
    keys = jax.random.split(jax.random.fold_in(jax.random.key(settings.seed), step), 5)
    noise = [jax.random.normal(key, (size, settings.latent_dim)) for key in keys[:2]]
    wanted = [jax.random.randint(key, (size,), 0, DIGITS) for key in keys[2:4]]
    right = labels[indices]
    wrong = (right[:size // 2] + jax.random.randint(keys[4], (size // 2,), 1, DIGITS)) % DIGITS
    return Batch(images[indices].astype(jnp.float32) / 127.5 - 1, right, wrong, noise[0], wanted[0], noise[1],
                 wanted[1])


def discriminator_loss(parameters, images, labels, target, settings):
    """Return the objective, and (loss, mean probability) of the first images; those behind have a wrong label."""
    size, weight = settings.batch_size, settings.wrong_label_weight
    logits = discriminate(parameters, images, labels, settings)
    loss = objective = cross_entropy(target, logits[:size])
    if len(logits) > size:
        objective = (1 - weight) * loss + weight * cross_entropy(0.0, logits[size:])
    return objective, (loss, jax.nn.sigmoid(logits[:size]).mean())


def generator_loss(parameters, discriminator, statistics, noise, labels, settings):
    """Return the objective, and the cross-entropy alone with the moved statistics of the BatchNormalization."""
    images, statistics = generate(parameters, statistics, noise, labels, settings, training=True)
    loss = cross_entropy(1.0, discriminate(discriminator, images, labels, settings))
    return loss + settings.mode_seeking_weight * mode_seeking(noise, images), (loss, statistics)


def update_discriminator(state, images, labels, target, settings):
    """Return the state after an update of the discriminator, its loss and its mean probability."""
    gradients, (loss, probability) = jax.grad(discriminator_loss, has_aux=True)(
        state["discriminator"], images, labels, target, settings)
    discriminator, optimizer = adam(state["discriminator"], gradients, state["discriminator_adam"],
                                    settings.discriminator_learning_rate)
    return {**state, "discriminator": discriminator, "discriminator_adam": optimizer}, loss, probability


def train_on_batch(state, batch, step, settings):
    """Make all three updates; return the new state and what `cgan_mnist.py` records in its history, float32 (6,)."""
    half = settings.batch_size // 2
    state, loss_real, probability_real = update_discriminator(
        state, batch.images, batch.labels, 1 - settings.label_smoothing, settings)
    images, _ = generate(state["generator"], state["statistics"], batch.discriminator_noise,
                         batch.discriminator_labels, settings, training=False)
    state, loss_fake, probability_fake = update_discriminator(
        state, jnp.concatenate([images, batch.images[:half]]),
        jnp.concatenate([batch.discriminator_labels, batch.wrong_labels]), 0.0, settings)
    labels = batch.generator_labels
    labels = jnp.concatenate([labels[:-half], labels[:half]])  # the two halves draw the same digits
    gradients, (g_loss, statistics) = jax.grad(generator_loss, has_aux=True)(
        state["generator"], state["discriminator"], state["statistics"], batch.generator_noise, labels, settings)
    generator, optimizer = adam(state["generator"], gradients, state["generator_adam"],
                                settings.generator_learning_rate)
    decay = jnp.minimum(settings.ema_decay, (step + 1) / (step + 4))
    ema = jax.tree.map(lambda average, weight: decay * average + (1 - decay) * weight, state["ema"], generator)
    return {**state, "generator": generator, "generator_adam": optimizer, "statistics": statistics, "ema": ema}, (
        jnp.stack([loss_real, loss_fake, (loss_real + loss_fake) / 2, g_loss, probability_real, probability_fake]))


def init_state(settings):
    """Return all that a step changes: parameters, statistics, EMA and Adam's moments."""
    generator_key, discriminator_key = jax.random.split(jax.random.key(settings.seed))
    generator, statistics = init_generator(generator_key, settings)
    discriminator = init_discriminator(discriminator_key, settings)
    return {"generator": generator, "statistics": statistics, "ema": jax.tree.map(jnp.copy, generator),
            "discriminator": discriminator, "generator_adam": init_adam(generator),
            "discriminator_adam": init_adam(discriminator)}


# ------------------------------------------------------------------------------------------ contender


def cgan(settings):
    """Return a function of the batch number: the step on the images of the file `settings.data`."""
    with np.load(settings.data) as arrays:
        images, labels = jnp.array(arrays["x_train"].reshape(-1, PIXELS)), jnp.array(arrays["y_train"], jnp.int32)
    indices = jnp.array(np.random.default_rng(0).permutation(len(images))[:settings.batch_size], jnp.int32)

    @functools.partial(jax.jit, donate_argnums=0)
    def train_step(state, images, labels, indices, step):
        batch = draw_batch(settings, images, labels, indices, step)
        return train_on_batch(state, batch, step, settings)

    state = init_state(settings)

    def train(step):
        nonlocal state
        state, losses = train_step(state, images, labels, indices, jnp.int32(step))
        return np.asarray(losses)
    return train
