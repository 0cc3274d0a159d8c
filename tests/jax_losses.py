"""The losses of the JAX step for weights and a batch from a file, in a process without TensorFlow.

    python tests/jax_losses.py FILE.npz

The file is as `pytorch_losses.py` reads it. Prints what the step returns and the objectives that it minimized, in JSON.
"""

import json
import sys
from types import SimpleNamespace

import jax.numpy as jnp
import numpy as np
from benchmarks import jax_step


def read(path):
    """Return the settings, the weights {network: [arrays of a layer]} and the `Batch` of the file."""
    weights = {}
    with np.load(path) as arrays:
        for name in arrays.files:
            if name.startswith("weights/"):
                _, network, layer, _ = name.split("/")
                weights.setdefault(network, {}).setdefault(int(layer), []).append(arrays[name])
        batch = {name.removeprefix("batch/"): arrays[name] for name in arrays.files if name.startswith("batch/")}
        batch["images"] = batch["images"].reshape(len(batch["images"]), -1)
        return SimpleNamespace(**json.loads(str(arrays["settings"]))), weights, jax_step.Batch(
            **{name: jnp.array(array) for name, array in batch.items()})


def take_weights(layers):
    """Return (parameters, statistics) of a network whose Keras layers have these arrays, {number: arrays}."""
    (embedding,), *others = (layers[number] for number in sorted(layers))
    dense = [{"kernel": arrays[0], "bias": arrays[1]} for arrays in others if len(arrays) == 2]
    norms = [arrays for arrays in others if len(arrays) == 4]
    return ({"embedding": embedding, "dense": dense, "norm": [{"gamma": norm[0], "beta": norm[1]} for norm in norms]},
            [tuple(norm[2:]) for norm in norms])


def main():
    """Take the step and print what it finds."""
    settings, weights, batch = read(sys.argv[1])
    state = jax_step.init_state(settings)
    state["generator"], state["statistics"] = take_weights(weights["generator"])
    state["discriminator"], _ = take_weights(weights["discriminator"])
    del state["discriminator"]["norm"]
    step, half = jnp.int32(settings.step), settings.batch_size // 2
    _, losses = jax_step.train_on_batch(state, batch, step, settings)
    images, _ = jax_step.generate(state["generator"], state["statistics"], batch.discriminator_noise,
                                  batch.discriminator_labels, settings, training=False)
    rejected = (jnp.concatenate([images, batch.images[:half]]),
                jnp.concatenate([batch.discriminator_labels, batch.wrong_labels]), 0.0)
    labels = jnp.concatenate([batch.generator_labels[:-half], batch.generator_labels[:half]])
    objectives = [
        jax_step.discriminator_loss(state["discriminator"], batch.images, batch.labels,
                                    1 - settings.label_smoothing, settings)[0],
        jax_step.discriminator_loss(state["discriminator"], *rejected, settings)[0],
        jax_step.generator_loss(state["generator"], state["discriminator"], state["statistics"],
                                batch.generator_noise, labels, settings)[0]]
    print(json.dumps({"losses": losses.tolist(), "objectives": [float(objective) for objective in objectives]}))


main()
