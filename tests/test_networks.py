"""The architecture of both networks, layer by layer, and what the label does in them."""

import cgan_mnist
import keras
import numpy as np
import pytest

LABELS = np.arange(10, dtype=np.int32)


def describe(network):
    """Return (kind, what matters about it) of every layer in order."""
    details = {"InputLayer": lambda layer: (layer.name, tuple(layer.batch_shape)),
               "Embedding": lambda layer: (layer.input_dim, layer.output_dim),
               "Dense": lambda layer: (layer.units, layer.activation.__name__),
               "LeakyReLU": lambda layer: pytest.approx(layer.negative_slope),
               "BatchNormalization": lambda layer: layer.momentum,
               "Dropout": lambda layer: layer.rate,
               "Reshape": lambda layer: layer.target_shape,
               "AveragePooling2D": lambda layer: (layer.pool_size, layer.strides, layer.padding),
               "Activation": lambda layer: layer.activation.__name__}
    return [(type(layer).__name__, details.get(type(layer).__name__, lambda layer: None)(layer))
            for layer in network.layers]


@pytest.fixture(scope="module")
def generator():
    keras.utils.set_random_seed(0)
    return cgan_mnist.build_generator(100)


@pytest.fixture(scope="module")
def discriminator():
    keras.utils.set_random_seed(0)
    return cgan_mnist.build_discriminator(0.4)


@pytest.fixture
def noise():
    return np.random.default_rng(0).standard_normal((10, 100), np.float32)


@pytest.fixture
def images():
    return np.random.default_rng(0).uniform(-1, 1, (10, 28, 28, 1)).astype(np.float32)


def test_the_recipe_of_the_coursework_has_its_networks_and_updates_and_no_additions():
    settings = cgan_mnist.parse_arguments(["--recipe", "coursework", "--dropout", "0.3"])
    assert settings.dropout == 0.3  # given beside it
    assert (settings.epochs, settings.latent_dim, settings.label_smoothing, settings.batch_size) == (20, 100, 0.1, 128)
    assert settings.generator_learning_rate == settings.discriminator_learning_rate == 2e-4
    generator, _, discriminator = cgan_mnist.build_networks(settings)
    assert "AveragePooling2D" not in {layer[0] for layer in describe(generator)}
    assert [layer for layer in describe(discriminator) if layer[0] not in ("InputLayer", "Embedding")] == [
        ("Flatten", None), ("Multiply", None), ("Dense", (512, "linear")), ("LeakyReLU", 0.2),
        ("Dense", (512, "linear")), ("LeakyReLU", 0.2), ("Dropout", 0.3),
        ("Dense", (512, "linear")), ("LeakyReLU", 0.2), ("Dropout", 0.3), ("Dense", (1, "linear"))]
    for network in (generator, discriminator):
        table = network.get_layer("label_embedding").embeddings.numpy()
        assert -0.05 <= table.min() < -0.04 and 0.04 < table.max() <= 0.05


@pytest.mark.parametrize(("latent_dim", "box_filter"), [(100, 1), (7, 0), (7, 2)])
def test_the_generator_is_built_layer_by_layer_as_described(latent_dim, box_filter):
    network = cgan_mnist.build_generator(latent_dim, box_filter=box_filter)
    layers = describe(network)
    assert sorted(layers[:3]) == [("Embedding", (10, latent_dim)), ("InputLayer", ("label", (None,))),
                                  ("InputLayer", ("noise", (None, latent_dim)))]
    assert layers[3:] == [
        ("Multiply", None),
        ("Dense", (256, "linear")), ("LeakyReLU", 0.2), ("BatchNormalization", 0.8),
        ("Dense", (512, "linear")), ("LeakyReLU", 0.2), ("BatchNormalization", 0.8),
        ("Dense", (1024, "linear")), ("LeakyReLU", 0.2), ("BatchNormalization", 0.8),
        ("Dense", (784, "linear")), ("Reshape", (28, 28, 1)),
        *[("AveragePooling2D", (size, (1, 1), "same")) for size in ((3, 1), (1, 3))] * box_filter,
        ("Activation", "tanh")]
    assert [tensor.name for tensor in network.inputs] == ["noise", "label"]
    assert network.input_shape == [(None, latent_dim), (None,)] and network.output_shape == (None, 28, 28, 1)


@pytest.mark.parametrize(("dropout", "first_units", "gray_stretch"), [(0.4, 512, 0), (0.0, 1024, 1)])
def test_the_discriminator_is_built_layer_by_layer_as_described(dropout, first_units, gray_stretch):
    network = cgan_mnist.build_discriminator(dropout, first_units, gray_stretch=gray_stretch)
    layers = describe(network)
    product = layers.index(("Multiply", None))
    assert sorted(layers[:product], key=repr) == sorted(
        [("InputLayer", ("image", (None, 28, 28, 1))), ("InputLayer", ("label", (None,))),
         ("Flatten", None), ("Embedding", (10, 784)), *[("Activation", "stretch_grays")] * gray_stretch], key=repr)
    assert layers[product:] == [
        ("Multiply", None),
        ("Dense", (first_units, "linear")), ("LeakyReLU", 0.2),
        ("Dense", (512, "linear")), ("LeakyReLU", 0.2), ("Dropout", dropout),
        ("Dense", (512, "linear")), ("LeakyReLU", 0.2), ("Dropout", dropout),
        ("Dense", (1, "linear"))]
    assert [tensor.name for tensor in network.inputs] == ["image", "label"]
    assert network.layers[-1].name == "logit"
    assert network.input_shape == [(None, 28, 28, 1), (None,)] and network.output_shape == (None, 1)


@pytest.mark.parametrize("arguments, atol", [([], 0.02), (["--gray-stretch", "0"], 1e-6)])
def test_the_discriminator_sees_grays_stretched_as_the_options_say(arguments, atol):
    network = cgan_mnist.build_networks(cgan_mnist.parse_arguments(arguments))[2]
    network.get_layer("label_embedding").set_weights([np.full((10, 784), 3)])
    product = keras.Model(network.inputs, network.get_layer("pixels_times_label").output)
    drawn = np.linspace(-2.5, 2.5, 784)
    for image, expected in ((np.tanh(drawn), np.tanh(drawn / 2)), (np.sign(drawn), np.sign(drawn) / 1.0447)):
        seen = product([image.reshape(1, 28, 28, 1), np.array([4])])[0]
        np.testing.assert_allclose(seen, 3 * (image if arguments else expected), atol=atol)


def test_both_networks_have_the_parameters_that_the_layers_add_up_to(generator, discriminator):
    dense = lambda inputs, units: (inputs + 1) * units  # noqa: E731
    assert generator.count_params() == (10 * 100 + dense(100, 256) + dense(256, 512) + dense(512, 1024)
                                        + dense(1024, 784) + 4 * (256 + 512 + 1024))
    assert discriminator.count_params() == 10 * 784 + dense(784, 512) + 2 * dense(512, 512) + dense(512, 1)


@pytest.mark.parametrize("training", [False, True])
def test_generated_pixels_stay_in_the_range_of_tanh(generator, noise, training):
    generated = generator([100 * noise, LABELS], training=training).numpy()
    assert generated.shape == (10, 28, 28, 1) and generated.dtype == np.float32
    assert -1 <= generated.min() < -0.1 and 0.1 < generated.max() <= 1


def test_the_discriminator_answers_with_one_logit_of_either_sign_per_image(discriminator, images):
    logit = discriminator([images, LABELS], training=False).numpy()
    assert logit.shape == (10, 1)
    assert logit.min() < 0 < logit.max()


def test_dropout_acts_in_training_only(discriminator, images):
    quiet = [discriminator([images, LABELS], training=False).numpy() for _ in range(2)]
    noisy = [discriminator([images, LABELS], training=True).numpy() for _ in range(2)]
    np.testing.assert_array_equal(*quiet)
    assert not np.allclose(*noisy)


@pytest.mark.parametrize("arguments, generator_range, discriminator_range", [
    ([], (-1, 1), (0.15, 0.25)),
    (["--embedding-range", "0.3", "--discriminator-embedding-mean", "0"], (-0.3, 0.3), (-0.05, 0.05))])
def test_both_embeddings_start_where_the_options_say(arguments, generator_range, discriminator_range):
    generator, _, discriminator = cgan_mnist.build_networks(cgan_mnist.parse_arguments(arguments))
    for network, expected in ((generator, generator_range), (discriminator, discriminator_range)):
        start = network.get_layer("label_embedding").embeddings.numpy()
        assert (start.min(), start.max()) == pytest.approx(expected, abs=0.02 * (expected[1] - expected[0]))


@pytest.mark.parametrize("name, shape", [("generator", (100,)), ("discriminator", (28, 28, 1))])
def test_the_embedding_of_the_label_is_multiplied_into_the_input(request, name, shape):
    network = request.getfixturevalue(name)
    zeros, ones = np.zeros((10, *shape), np.float32), np.ones((10, *shape), np.float32)
    # Nothing times anything is nothing: a label alone says nothing, but it changes what anything else means.
    silent = network([zeros, LABELS], training=False).numpy()
    np.testing.assert_array_equal(silent, np.repeat(silent[:1], 10, axis=0))
    spoken = network([ones, LABELS], training=False).numpy().reshape(10, -1)
    assert len(np.unique(spoken, axis=0)) == 10

    # An input with one label gives what the product of input and embedding gives where the embedding is one.
    embedding = network.get_layer("label_embedding").embeddings
    before = embedding.numpy()
    x = np.random.default_rng(1).standard_normal((10, *shape)).astype(np.float32)
    multiplied = network([x, LABELS], training=False).numpy()
    embedding.assign(np.ones_like(before))
    unlabelled = network([x * before.reshape(10, *shape), LABELS], training=False).numpy()
    embedding.assign(before)
    np.testing.assert_allclose(multiplied, unlabelled, atol=1e-6)
