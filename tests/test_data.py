"""The data: how images are scaled, what is loaded, and that importing the code does nothing."""

import subprocess
import sys

import cgan_mnist
import numpy as np
import pytest
from helpers import ROOT, bundled_arrays, clean_environment, contents
from mnist_gan.data.mnist import checksum, load_data


@pytest.fixture(scope="module")
def mnist():
    """The bundled MNIST as the script loads it."""
    return load_data()


def test_the_bundled_mnist_is_complete(mnist):
    (x_train, y_train), (x_test, y_test) = mnist
    assert x_train.shape == (60000, 28, 28) and y_train.shape == (60000,)
    assert x_test.shape == (10000, 28, 28) and y_test.shape == (10000,)
    assert x_train.dtype == x_test.dtype == np.uint8
    assert y_train.dtype == y_test.dtype == np.int32
    assert (x_train.min(), x_train.max(), x_test.min(), x_test.max()) == (0, 255, 0, 255)
    # The numbers of each digit are those that the MNIST distribution is known for.
    assert np.bincount(y_train).tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert np.bincount(y_test).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]


def test_scaling_maps_every_gray_level_by_the_formula():
    levels = np.arange(784, dtype=np.uint8).reshape(1, 28, 28)  # 0..255 three times and a rest
    scaled = cgan_mnist.scale_images(levels).numpy()
    assert scaled.shape == (1, 28, 28, 1) and scaled.dtype == np.float32
    np.testing.assert_allclose(scaled[..., 0], levels / 127.5 - 1, atol=1e-6)
    assert scaled[levels == 0].max() == scaled[levels == 0].min() == -1
    assert scaled[levels == 255].max() == scaled[levels == 255].min() == 1


def test_scaled_training_images_fill_the_range_of_tanh(mnist):
    scaled = cgan_mnist.scale_images(mnist[0][0][:5000]).numpy()
    assert (scaled.min(), scaled.max()) == (-1, 1)


@pytest.mark.parametrize("label_type", [np.uint8, np.int64])
def test_another_npz_of_the_same_layout_is_loaded_as_it_is(tmp_path, label_type):
    arrays = bundled_arrays(30)
    arrays["x_test"], arrays["y_test"] = arrays["x_test"][:7], arrays["y_test"][:7]
    arrays["y_train"], arrays["y_test"] = arrays["y_train"].astype(label_type), arrays["y_test"].astype(label_type)
    arrays["x_train"] = np.asfortranarray(arrays["x_train"])
    np.savez(tmp_path / "own.npz", **arrays, comment="arrays beyond the four are no harm")
    (x_train, y_train), (x_test, y_test) = load_data(tmp_path / "own.npz")
    for loaded, name in ((x_train, "x_train"), (y_train, "y_train"), (x_test, "x_test"), (y_test, "y_test")):
        np.testing.assert_array_equal(loaded, arrays[name])
    assert y_train.dtype == y_test.dtype == np.int32
    checksum(x_train, y_train)  # which training and evaluation take, and which needs C's order


@pytest.mark.parametrize("module", ["cgan_mnist", "mnist_gan.networks"])
def test_importing_the_script_or_a_module_prints_nothing_and_leaves_no_file(tmp_path, module):
    result = subprocess.run([sys.executable, "-B", "-c", f"import {module}"], cwd=tmp_path, capture_output=True,
                            text=True,
                            env={**clean_environment(), "PYTHONPATH": str(ROOT), "KERAS_BACKEND": "nonsense"})
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
    assert contents(tmp_path) == {}
