"""The three updates of a batch: whose weights they change, which targets they use, and how they are compiled."""

import cgan_mnist
import keras
import numpy as np
import pytest
import tensorflow as tf
from helpers import bundled_arrays
from mnist_gan.running.ema import update_ema


def start(arguments, **options):
    """Build the CGAN that `arguments` describe on the first 256 training images."""
    arrays = bundled_arrays(256)
    settings = cgan_mnist.parse_arguments(arguments)
    return cgan_mnist.CGAN(settings, arrays["x_train"], arrays["y_train"].astype(np.int32), **options)


def weights(*networks):
    """Return the weights of `networks` as they are now, without the states of random numbers."""
    return [weight.numpy() for network in networks for weight in network.weights]


def assert_identical(before, after):
    for old, new in zip(before, after, strict=True):
        assert old.tobytes() == new.tobytes()


def assert_all_changed(before, after):
    for old, new in zip(before, after, strict=True):
        assert not np.array_equal(old, new)


# ------------------------------------------------------------------------------- alternation and average


@pytest.fixture(scope="module")
def gan():
    """A CGAN with dropout and otherwise the default settings; its tests care only for what changes."""
    return start(["--batch-size", "64", "--dropout", "0.2"])


INDICES, FIRST = tf.range(64), tf.constant(0)


@pytest.mark.parametrize("update, arguments", [("train_on_real", [INDICES]), ("train_on_generated", [INDICES, FIRST])])
def test_an_update_of_the_discriminator_leaves_the_generator_bit_identical(gan, update, arguments):
    generators = (gan.generator, gan.ema_generator)
    generators_before, discriminator_before = weights(*generators), weights(gan.discriminator)
    getattr(gan, update)(*arguments)
    assert_identical(generators_before, weights(*generators))
    assert_all_changed(discriminator_before, weights(gan.discriminator))


def test_an_update_of_the_generator_leaves_the_discriminator_bit_identical(gan):
    discriminator_before, generator_before = weights(gan.discriminator), weights(gan.generator)
    gan.train_generator(tf.constant(0))
    assert_identical(discriminator_before, weights(gan.discriminator))
    # All of them: the label's embedding and the statistics of BatchNormalization too.
    assert_all_changed(generator_before, weights(gan.generator))


@pytest.mark.parametrize(("step", "decay"), [(0, 1 / 4), (2, 1 / 2), (10**6, 0.9998)])
def test_the_average_moves_towards_the_weights_as_far_as_the_number_of_the_batch_says(gan, step, decay):
    def trainable(network):
        return [variable.numpy() for variable in network.trainable_variables]
    old_average = trainable(gan.ema_generator)
    gan.train_generator(tf.constant(step))
    averages, currents = trainable(gan.ema_generator), trainable(gan.generator)
    assert_all_changed(old_average, averages)
    for old, average, current in zip(old_average, averages, currents, strict=True):
        np.testing.assert_allclose(average, decay * old + (1 - decay) * current, rtol=1e-5, atol=1e-7)


def test_the_discriminator_drops_activations_in_every_update():
    gan = start(["--batch-size", "64", "--dropout", "0.5"])
    masks = next(layer for layer in gan.discriminator.layers if isinstance(layer, keras.layers.Dropout)
                 ).seed_generator.state
    for update, arguments in ((gan.train_on_real, [INDICES]), (gan.train_on_generated, [INDICES, FIRST]),
                              (gan.train_generator, [FIRST])):
        before = masks.numpy()
        update(*arguments)
        assert (masks.numpy() != before).any()


def test_the_average_starts_from_the_weights_themselves():
    fresh = start(["--batch-size", "64"])
    assert_identical(weights(fresh.generator), weights(fresh.ema_generator))


@pytest.mark.parametrize(("step", "decay"), [(0, 1 / 4), (1, 2 / 5), (96, 0.9), (23, 24 / 27)])
def test_the_decay_of_the_average_rises_with_the_batches_up_to_its_limit(step, decay):
    averaged, network = (keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)]) for _ in range(2))
    averaged.set_weights([np.full((1, 1), 5, np.float32), np.array([1], np.float32)])
    network.set_weights([np.full((1, 1), 3, np.float32), np.array([2], np.float32)])
    update_ema(averaged, network, 0.9, tf.constant(step))
    kernel, bias = map(np.ravel, averaged.get_weights())
    assert (kernel[0], bias[0]) == pytest.approx((3 + 2 * decay, 2 - decay), rel=1e-6)


def test_both_networks_take_steps_of_their_own_size_with_the_momentum_of_radford():
    fresh = start(["--batch-size", "64", "--generator-learning-rate", "0.002", "--discriminator-learning-rate", "0.01"])
    for network, optimizer, update, argument, size in (
            (fresh.generator, fresh.generator_optimizer, fresh.train_generator, FIRST, 0.002),
            (fresh.discriminator, fresh.discriminator_optimizer, fresh.train_on_real, INDICES, 0.01)):
        kernels = [layer.kernel for layer in network.layers if isinstance(layer, keras.layers.Dense)]
        before = [kernel.numpy() for kernel in kernels]
        update(argument)
        # Adam's first step is as long as the learning rate wherever the gradient is not tiny; its moments are then
        # (1 - beta_1) g and (1 - beta_2) g², with beta_1 = 0.5 and beta_2 = 0.999.
        longest = max(np.abs(kernel.numpy() - old).max() for kernel, old in zip(kernels, before, strict=True))
        assert longest == pytest.approx(size, rel=0.01)
        first, second = (np.concatenate([variable.numpy().ravel() for variable in optimizer.variables
                                         if variable.name.endswith(f"kernel_{name}")])
                         for name in ("momentum", "velocity"))
        seen = second > 1e-12
        assert seen.any()
        np.testing.assert_allclose(first[seen] ** 2 / second[seen], 0.5**2 / 0.001, rtol=1e-3)


# --------------------------------------------------------------------------------------------- targets


@pytest.fixture(scope="module")
def quiet_gan():
    """A CGAN without dropout and without EMA, with a label smoothing that cannot be mistaken for none."""
    gan = start(["--batch-size", "64", "--dropout", "0", "--label-smoothing", "0.25", "--ema-decay", "0",
                      "--discriminator-embedding-mean", "0"])
    # So small an embedding that the discriminator would answer nearly the same to every image.
    embedding = gan.discriminator.get_layer("label_embedding").embeddings
    embedding.assign(20 * embedding)
    return gan


@pytest.fixture
def decided(quiet_gan):
    """The same with a discriminator that is far from 1/2, where the targets 0, 0.75 and 1 differ most."""
    quiet_gan.discriminator.get_layer("logit").bias.assign([1.5])
    return quiet_gan


def cross_entropy(target, probability):
    """Return the mean binary cross-entropy in nats."""
    return -(target * np.log(probability) + (1 - target) * np.log(1 - probability)).mean()


def probabilities(discriminator, images, labels):
    """Return the probabilities (n, 1) that the discriminator gives to images with labels."""
    return tf.sigmoid(discriminator([images, labels], training=False)).numpy()


def predict_uniformly(gan):
    """Let the generator draw one image whatever the noise and label; return the discriminator's probability of it."""
    last = [layer for layer in gan.generator.layers if isinstance(layer, keras.layers.Dense)][-1]
    last.kernel.assign(np.zeros(last.kernel.shape, np.float32))
    embedding = gan.discriminator.get_layer("label_embedding").embeddings
    embedding.assign(np.repeat(embedding.numpy()[:1], 10, axis=0))
    image = np.tanh(last.bias.numpy()).reshape(1, 28, 28, 1)
    return probabilities(gan.discriminator, image, np.zeros(1, np.int32))


def test_the_loss_on_real_images_is_taken_against_the_smoothed_target(decided):
    arrays = bundled_arrays(256)
    indices = np.arange(100, 164, dtype=np.int32)
    images = arrays["x_train"][indices][..., np.newaxis] / np.float32(127.5) - 1
    probability = probabilities(decided.discriminator, images, arrays["y_train"][indices])
    loss, mean_probability = map(float, decided.train_on_real(tf.constant(indices)))
    assert loss == pytest.approx(cross_entropy(0.75, probability), rel=1e-4)
    assert mean_probability == pytest.approx(probability.mean(), rel=1e-4)
    assert loss != pytest.approx(cross_entropy(1, probability), rel=0.1)


def test_the_loss_on_generated_images_is_taken_against_zero(decided):
    probability = predict_uniformly(decided)
    loss, mean_probability = map(float, decided.train_on_generated(INDICES, FIRST))
    assert loss == pytest.approx(cross_entropy(0, probability), rel=1e-4)
    assert mean_probability == pytest.approx(probability.mean(), rel=1e-4)


@pytest.mark.parametrize(("bias", "update", "arguments"), [
    (-40, "train_on_real", [INDICES]), (40, "train_on_generated", [INDICES, FIRST])])
def test_a_discriminator_that_is_sure_and_wrong_still_learns(bias, update, arguments):
    fresh = start(["--batch-size", "64"])
    # Next to no probability, or 1 in float32: from neither could a loss of probabilities tell the way back.
    fresh.discriminator.get_layer("logit").bias.assign([bias])
    before = weights(fresh.discriminator)
    getattr(fresh, update)(*arguments)
    assert_all_changed(before, weights(fresh.discriminator))
    after, = fresh.discriminator.get_layer("logit").bias.numpy()
    assert abs(after) < abs(bias)


def gap_between_right_and_wrong_labels(weight):
    """Train a discriminator on 256 real images; return how much more it believes their labels than wrong ones."""
    arrays = bundled_arrays(256)
    images = arrays["x_train"][..., np.newaxis] / np.float32(127.5) - 1
    gan = start(["--batch-size", "64", "--wrong-label-weight", weight])

    @tf.function(autograph=False)
    def update(indices, step):
        gan.train_on_real(indices)
        gan.train_on_generated(indices, step)

    for step in range(100):
        update(tf.range(64) + step % 4 * 64, tf.constant(step))
    right, wrong = (probabilities(gan.discriminator, images, labels).mean()
                    for labels in (arrays["y_train"], (arrays["y_train"] + 1) % 10))
    return right - wrong


def test_the_discriminator_learns_to_reject_real_images_with_a_wrong_label():
    with_wrong_labels, without = gap_between_right_and_wrong_labels("0.2"), gap_between_right_and_wrong_labels("0")
    assert with_wrong_labels > 0.2 and with_wrong_labels > 3 * without


def start_indifferent(arguments):
    """Build a CGAN whose discriminator answers all images alike."""
    gan = start(arguments)
    kernel = gan.discriminator.get_layer("logit").kernel
    kernel.assign(np.zeros(kernel.shape, np.float32))
    return gan


def test_wrong_labels_take_their_weight_from_that_of_the_generated_images():
    gan = start_indifferent(["--batch-size", "64", "--wrong-label-weight", "0.5"])
    gan.train_on_generated(INDICES, FIRST)
    # The last bias of a discriminator that says 1/2 has the gradient 1/2 for every image that is to be rejected, and
    # Adam's first momentum is half of that, however the weight is shared.
    momentum, = (variable.numpy() for variable in gan.discriminator_optimizer.variables
                 if variable.path.endswith("logit_bias_momentum"))
    assert momentum == pytest.approx([0.25], rel=1e-5)


def train_by_mode_seeking_alone():
    """Train a generator by mode seeking alone; return its CGAN and the weights it started with."""
    gan = start_indifferent(
        ["--batch-size", "65", "--mode-seeking-weight", "0.5", "--generator-learning-rate", "0.002"])
    before = [variable.numpy() for variable in gan.generator.trainable_variables]
    update = tf.function(gan.train_generator, autograph=False)
    for step in range(30):
        update(tf.constant(step))
    return gan, before


def distance_within_a_digit(generator):
    """Return how far two images of the same digit are apart on average, in [0, 2]."""
    cgan_mnist.recalibrate(generator, 0)
    images = cgan_mnist.generate_images(generator, np.tile(np.arange(10), 20), 0).reshape(2, -1)
    return np.abs(images[0] - images[1]).mean()


def test_mode_seeking_alone_sets_images_of_the_same_digit_apart():
    gan, before = train_by_mode_seeking_alone()
    reached = distance_within_a_digit(gan.generator)
    for variable, value in zip(gan.generator.trainable_variables, before, strict=True):
        variable.assign(value)
    assert reached > 1.1 * distance_within_a_digit(gan.generator)


@pytest.mark.parametrize("seed", ["0", "1", "2"])
def test_mode_seeking_compares_images_of_the_same_digit_alone(seed):
    gan = start_indifferent(["--batch-size", "4", "--seed", seed])
    embedding = gan.generator.get_layer("label_embedding").embeddings
    before = embedding.numpy()
    gan.train_generator(tf.constant(0))
    assert 1 <= (embedding.numpy() != before).any(axis=1).sum() <= 2  # four images, two pairs


def record_inputs(network):
    """Return a list that gets the inputs of every later call of `network`, as arrays."""
    calls, call = [], network.call

    def record(inputs, **options):
        calls.append([value.numpy() for value in inputs])
        return call(inputs, **options)

    network.call = record
    return calls


def test_mode_seeking_is_the_distance_of_the_noise_over_that_of_the_ink():
    noise = tf.constant([[0.0], [1.0], [3.0], [5.0]])  # its halves are 3 and 4 apart
    images = np.full((4, 28, 28, 1), -1, np.float32)
    images[0, :14], images[2, 14:], images[1], images[3] = 1, 1, 0, 0
    # With equal ink, a picture that is half white and half black is the root of 2 where it is white.
    expected = np.mean([3 / (2**0.5 + 1e-3), 4 / 1e-3])
    assert float(cgan_mnist.mode_seeking(noise, tf.constant(images))) == pytest.approx(expected, rel=1e-3)
    bolder = tf.constant(np.where(images > -1, images / 2, images))
    assert float(cgan_mnist.mode_seeking(noise[::2], bolder[::2])) == pytest.approx(3 / (2**0.5 + 1e-3), rel=0.01)


def test_the_generator_adds_mode_seeking_with_its_weight():
    gan = start_indifferent(["--batch-size", "4", "--mode-seeking-weight", "0.5"])
    drawn = record_inputs(gan.generator)
    gan.train_generator(FIRST)
    noise, labels = drawn[0]
    np.testing.assert_array_equal(labels[:2], labels[2:])
    momentum = [variable.numpy() for variable in gan.generator_optimizer.variables
                if variable.path.endswith("bias_momentum")][-1]  # half of the gradient of the pixels' biases
    fresh = start(["--batch-size", "4"]).generator
    with tf.GradientTape() as tape:
        images = fresh([noise, labels], training=True)
        term = 0.5 * cgan_mnist.mode_seeking(noise, images)
    gradient = tape.gradient(term, [layer for layer in fresh.layers if isinstance(layer, keras.layers.Dense)][-1].bias)
    np.testing.assert_allclose(2 * momentum, gradient, rtol=1e-3, atol=1e-6)


def test_the_loss_of_the_generator_is_taken_against_one(decided):
    probability = predict_uniformly(decided)
    loss = float(decided.train_generator(tf.constant(0)))
    assert loss == pytest.approx(cross_entropy(1, probability), rel=1e-4)
    assert loss != pytest.approx(cross_entropy(0.75, probability), rel=0.1)


def test_the_generator_starts_dark_and_its_rate_falls_for_1000_batches():
    fresh = start(["--dark-start", "0.7", "--first-generator-learning-rate", "0.004"])
    pixels = [layer for layer in fresh.generator.layers if isinstance(layer, keras.layers.Dense)][-1]
    np.testing.assert_allclose(pixels.bias, -0.7)
    for batch, rate in ((0, 0.004), (500, (0.004 + 5e-4) / 2), (1000, 5e-4), (10**6, 5e-4)):
        fresh.generator_optimizer.iterations.assign(batch)
        assert float(fresh.generator_optimizer.learning_rate) == pytest.approx(rate, rel=1e-5)


def test_without_averaging_the_average_is_the_last_weights(quiet_gan):
    for step in range(3):
        quiet_gan.train_generator(tf.constant(step))
    assert_identical([variable.numpy() for variable in quiet_gan.generator.trainable_variables],
                     [variable.numpy() for variable in quiet_gan.ema_generator.trainable_variables])


def test_without_averaging_the_generator_that_files_show_has_the_statistics_of_training(quiet_gan):
    quiet_gan.train_generator(tf.constant(0))
    quiet_gan.finish_ema_generator()
    assert_identical(weights(quiet_gan.generator), weights(quiet_gan.ema_generator))


def test_the_compiled_batch_is_the_three_updates_in_order():
    arguments = ["--batch-size", "64", "--dropout", "0"]
    indices, step = tf.range(64), tf.constant(0)
    # Without XLA, whose random numbers are others.
    single, compiled = start(arguments, jit_compile=False), start(arguments, jit_compile=False)
    loss_real, probability_real = map(float, single.train_on_real(indices))
    loss_fake, probability_fake = map(float, single.train_on_generated(indices, step))
    g_loss = float(single.train_generator(step))
    history = compiled.train_step(indices, step).numpy()
    assert history == pytest.approx([loss_real, loss_fake, (loss_real + loss_fake) / 2, g_loss,
                                     probability_real, probability_fake], rel=1e-4)
    for network in ("generator", "ema_generator", "discriminator"):
        before, after, expected = (weights(getattr(gan, network))
                                   for gan in (start(arguments), compiled, single))
        for old, new, reference in zip(before, after, expected, strict=True):
            # Rounding decides on the sign of a few gradients, and Adam's first step does not ask how small they are.
            assert np.abs(new - reference).mean() <= 0.02 * np.abs(reference - old).mean()


def test_every_update_draws_noise_labels_and_wrong_labels_anew():
    gan, right = start(["--batch-size", "64"]), bundled_arrays(256)["y_train"][:32].astype(np.int32)
    drawn, judged = record_inputs(gan.generator), record_inputs(gan.discriminator)
    for step in (0, 1):
        gan.train_on_generated(INDICES, tf.constant(step))
        gan.train_generator(tf.constant(step))
    noises, labels = zip(*drawn, strict=True)
    assert len(np.unique(np.concatenate(noises), axis=0)) == 4 * 64
    assert (np.mean(noises), np.std(noises)) == pytest.approx((0, 1), abs=0.05)
    assert len(np.unique(labels, axis=0)) == 4 and set(np.ravel(labels)) == set(range(10))
    rejected = [given[64:] for _, given in judged if len(given) > 64]
    shifts = [(wrong - right) % 10 for wrong in rejected]
    assert len(shifts) == 2 and (shifts[0] != shifts[1]).any() and set(np.ravel(shifts)) == set(range(1, 10))


def test_another_seed_is_another_run_from_the_first_batch_on():
    indices = np.arange(64, dtype=np.int32)
    first, same, other = (start(["--batch-size", "64", "--seed", seed], jit_compile=False).train_step(
        tf.constant(indices), tf.constant(0)).numpy() for seed in ("1", "1", "2"))
    assert first.tobytes() == same.tobytes()
    assert (first != other).all()


def test_a_wrong_label_is_never_the_right_one():
    arrays = bundled_arrays(3000)
    images = arrays["x_train"][arrays["y_train"] == 3][:64]
    settings = cgan_mnist.parse_arguments(["--batch-size", "16", "--discriminator-units", "64"])
    gan = cgan_mnist.CGAN(settings, images, np.full(len(images), 3, np.int32))
    embedding = gan.discriminator.get_layer("label_embedding")
    update, before, updates = tf.function(gan.train_on_generated), embedding.get_weights()[0], 0
    for step in range(40):
        drawn = tf.random.stateless_uniform((16,), (settings.seed, 5 * step + 1), maxval=10, dtype=tf.int32)
        if 3 not in drawn.numpy():  # then the label 3 takes part only if a wrong label is the right one
            update(tf.range(16), tf.constant(step))
            updates += 1
    changed = (embedding.get_weights()[0] != before).any(axis=1)
    assert updates >= 5 and not changed[3] and changed.sum() == 9
