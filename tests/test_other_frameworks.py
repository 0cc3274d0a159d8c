"""The steps of the benchmark in PyTorch and JAX compute what the scripts compute, from the same weights and batch."""

import importlib.util
import json
import subprocess
import sys

import cgan_mnist
import numpy as np
import pytest
import tensorflow as tf
from helpers import ROOT, bundled_arrays, clean_environment
from mnist_gan.networks import all_layers
from mnist_gan.running import distribution

SIZE, STEP = 8, 3
# So that all losses are of the same weights: Keras's Adam adds its epsilon before the bias correction, PyTorch's after.
SETTINGS = ["--batch-size", str(SIZE), "--train-size", "64", "--generator-learning-rate", "1e-30",
            "--discriminator-learning-rate", "1e-30"]


@pytest.fixture
def objectives(monkeypatch):
    """The objectives that the eager steps of this test minimize."""
    found, minimize = [], distribution.minimize

    def record(objective, *others):
        found.append(float(objective))
        minimize(objective, *others)
    monkeypatch.setattr(distribution, "minimize", record)
    tf.config.run_functions_eagerly(True)
    yield found
    tf.config.run_functions_eagerly(False)


def exported(networks):
    """Move biases and statistics of Keras `networks` {name: list of them} from their start; return their weights."""
    random, weights = np.random.default_rng(0), {}
    for name, parts in networks.items():
        layers = [layer for part in parts for layer in all_layers(part) if layer.weights]
        for place, layer in enumerate(layers):
            layer.set_weights([array + 0.1 * random.random(array.shape, np.float32) if array.ndim == 1 else array
                               for array in layer.get_weights()])
            weights |= {f"weights/{name}/{place}/{number}": array
                        for number, array in enumerate(layer.get_weights())}
    return weights


def losses_of(framework, folder, settings, weights, batch):
    """Return what `pytorch_losses.py` or `jax_losses.py` finds: the losses and the objectives."""
    if importlib.util.find_spec({"pytorch": "torch"}.get(framework, framework)) is None:
        pytest.skip(f"{framework} is not installed")
    batch = {f"batch/{name}": array for name, array in batch.items()}
    np.savez(folder / "step.npz", settings=json.dumps(settings), **weights, **batch)
    found = subprocess.run([sys.executable, ROOT / "tests" / f"{framework}_losses.py", folder / "step.npz"],
                           env={**clean_environment(), "PYTHONPATH": str(ROOT)}, capture_output=True, text=True)
    assert found.returncode == 0, found.stderr
    return json.loads(found.stdout)


@pytest.mark.parametrize("framework", ["pytorch", "jax"])
def test_the_step_of_the_cgan_has_the_same_losses(tmp_path, objectives, framework):
    settings = cgan_mnist.parse_arguments([*SETTINGS, "--dropout", "0"])
    arrays, indices = bundled_arrays(64), tf.range(SIZE)
    gan = cgan_mnist.CGAN(settings, arrays["x_train"], arrays["y_train"].astype(np.int32), jit_compile=False)
    weights = exported({"generator": [gan.generator], "discriminator": [gan.discriminator]})
    (images, labels), samples = gan.real_batch(indices), [gan.sample(STEP, stream) for stream in (0, 2)]
    batch = {"images": images, "labels": labels, "wrong_labels": gan.wrong_labels(labels[:SIZE // 2], STEP),
             "discriminator_noise": samples[0][0], "discriminator_labels": samples[0][1],
             "generator_noise": samples[1][0], "generator_labels": samples[1][1]}
    found = losses_of(framework, tmp_path, {**vars(settings), "step": STEP}, weights,
                      {name: tensor.numpy() for name, tensor in batch.items()})
    np.testing.assert_allclose(found["losses"], gan.train_step(indices, tf.constant(STEP)), rtol=1e-4)
    np.testing.assert_allclose(found["objectives"], objectives, rtol=1e-4)
