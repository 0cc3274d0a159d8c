"""Networks as .keras files, the same bytes for the same weights and nothing executed when one is loaded; their cost."""

import json
import re
import zipfile
from collections.abc import Iterator

import keras
import numpy as np
from keras import layers

from mnist_gan.errors import InputError
from mnist_gan.files import atomic_write


def save_network(path, network) -> None:
    """Write a network as a .keras file whose bytes depend on nothing but its weights and the versions."""
    def write(partial):
        network.save(partial)
        with zipfile.ZipFile(partial) as archive:
            members = {name: archive.read(name) for name in archive.namelist()}
        metadata = json.loads(members["metadata.json"])
        del metadata["date_saved"]
        members["metadata.json"] = json.dumps(metadata)
        addresses = {}  # Keras numbers shared objects by their place in memory; number them by their order instead
        members["config.json"] = re.sub(
            rb'(?<="shared_object_id": )\d+',
            lambda match: b"%d" % addresses.setdefault(match[0], len(addresses)), members["config.json"])
        with zipfile.ZipFile(partial, "w") as archive:
            for name, content in members.items():
                archive.writestr(zipfile.ZipInfo(name), content)  # a ZipInfo says 1980 unless told otherwise
    atomic_write(path, write)


def load_network(path, accepts, remedy) -> keras.Model:
    """Load a network that `save_network` wrote, without executing anything that the file contains.

    Raises InputError, which ends with `remedy`, if the file is damaged or `accepts(network)` is false.
    """
    try:
        network = keras.models.load_model(path, compile=False, safe_mode=True)
        if not all(np.isfinite(weight).all() for weight in network.get_weights()):
            raise ValueError("a weight is not finite")
        if accepts(network):
            return network
    except Exception as error:  # Keras, h5py and zipfile fail in many ways on a damaged file
        raise InputError(f"{path} is damaged (or its weights are not finite), not a .keras file, or of a newer Keras; "
                         f"{remedy}") from error
    raise InputError(f"{path} holds another network; {remedy}")


def block(name, function, *inputs):
    """Return `function(*inputs)` of symbolic tensors as one block of a network, which a diagram shows as such."""
    fresh = [keras.Input(tensor.shape[1:]) for tensor in inputs]
    return keras.Model(fresh, function(*fresh), name=name)(list(inputs))


def all_layers(network) -> Iterator[keras.Layer]:
    """Yield the layers of `network` and of its blocks."""
    for layer in network.layers:
        if isinstance(layer, keras.Model):
            yield from all_layers(layer)
        else:
            yield layer


def multiply_adds(network) -> int:
    """Return the multiplications, each with its addition, of Dense and 2D convolution layers for one image."""
    total = 0
    for layer in all_layers(network):
        if isinstance(layer, layers.Conv2DTranspose):  # every input pixel meets every weight
            total += int(np.prod(layer.kernel.shape)) * int(np.prod(layer.input.shape[1:-1]))
        elif isinstance(layer, (layers.Dense, layers.Conv2D)):  # every output pixel does
            total += int(np.prod(layer.kernel.shape)) * int(np.prod(layer.output.shape[1:-1]))
    return total
