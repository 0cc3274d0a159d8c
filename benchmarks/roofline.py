"""What no training step of `cgan_mnist.py` can be faster than: its matrix products and the bytes that it must move.

The functions of a namespace of settings are contenders of `turns.py`; their settings are those of `cgan_mnist.py`.
"""

import math

from cgan_mnist import build_networks
from mnist_gan.data.mnist import PIXELS
from mnist_gan.networks import multiply_adds

import tensorflow as tf
from keras import layers

MATRIX_SIDE = 2048
NUMBERS = 2**22  # of an array: two take 32 MiB, about what a training step goes through between two uses of a number


def step_multiply_adds(generator, discriminator, batch_size, wrong_labels):
    """Return the multiply-adds of all matrix products of one training step.

    A pass forward counts once, the gradients of the weights once more, those of the inputs once more.
    The discriminator's two updates take all three each, the second one also for its `wrong_labels`
    real images; generating the images for the second takes one pass of the generator; the generator's
    update takes all three of the generator and, as the discriminator is frozen there, two of the
    discriminator.
    """
    return ((8 * batch_size + 3 * wrong_labels) * multiply_adds(discriminator)
            + 4 * batch_size * multiply_adds(generator))


def step_bytes(generator, discriminator):
    """Return how many bytes one training step must move beside its matrix products, which move weights and gradients.

    Adam reads a variable, its gradient and both moments and writes all but the gradient, 7 numbers of 4 bytes,
    twice for the discriminator and once for the generator, for whose EMA 2 more are read and written.
    """
    sizes = [sum(math.prod(variable.shape) for variable in network.trainable_variables)
             for network in (discriminator, generator)]
    return 4 * (2 * 7 * sizes[0] + (7 + 2) * sizes[1])


def matrix_product(settings):
    """Return a function that multiplies two float32 matrices (MATRIX_SIDE, MATRIX_SIDE)."""
    a, b = tf.random.stateless_normal((2, MATRIX_SIDE, MATRIX_SIDE), (0, 0))
    product = tf.function(tf.matmul)
    return lambda step: product(a, b)[0, 0].numpy()  # waiting for one number copies no more than that


def memory(settings):
    """Return a function that reads two arrays of NUMBERS float32 numbers and writes one, 12 bytes for each."""
    total, addend = tf.Variable(tf.zeros(NUMBERS)), tf.ones(NUMBERS)

    @tf.function(jit_compile=True, autograph=False)
    def add():
        total.assign_add(addend)
        return total[0]
    return lambda step: add().numpy()


def multiply(x, kernels):
    """Return x (n, k) times all `kernels`, one after the other."""
    for kernel in kernels:
        x = tf.matmul(x, kernel)
    return x


def product_gradients(x, kernels, trained):
    """Return the gradients of the half square sum of x (n, k) times all `kernels`, for x and the kernels `trained`."""
    with tf.GradientTape() as tape:
        tape.watch(x)
        total = tf.nn.l2_loss(multiply(x, kernels))
    return tape.gradient(total, [x, *trained])


def step_products(settings):
    """Return a function that computes the matrix products of one training step, with nothing between them.

    They are compiled as the step is and leave the same gradients, but nothing is updated with them.
    """
    generator, _, discriminator = build_networks(settings)
    kernels_g, kernels_d = ([layer.kernel for layer in network.layers if isinstance(layer, layers.Dense)]
                            for network in (generator, discriminator))
    size = settings.batch_size
    real = tf.random.stateless_normal((size, PIXELS), (0, 0))
    noise, other_noise = tf.random.stateless_normal((2, size, settings.latent_dim), (0, 1))

    @tf.function(jit_compile=True, autograph=False)
    def products(real, noise, other_noise):
        rejected = tf.concat([multiply(noise, kernels_g), real[:size // 2]], 0)
        return (product_gradients(real, kernels_d, kernels_d) + product_gradients(rejected, kernels_d, kernels_d)
                + product_gradients(other_noise, kernels_g + kernels_d, kernels_g))
    return lambda step: products(real, noise, other_noise)[0].numpy()
