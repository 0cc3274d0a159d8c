"""The losses of a PyTorch step for weights and a batch from a file, in a process without TensorFlow.

    python tests/pytorch_losses.py FILE.npz

The file holds `settings` (JSON), `batch/NAME`, and `weights/NETWORK/LAYER/NUMBER`: the weights of the layers of each
Keras network in their order. Prints what the step returns and the objectives that it minimized, in JSON.
"""

import collections
import json
import sys
from types import SimpleNamespace

import numpy as np
import torch
from benchmarks import pytorch
from torch import nn


def keras_shapes(layer):
    """Return the shapes of the weights that Keras has for a PyTorch `layer`."""
    shape = tuple(layer.weight.shape)
    if isinstance(layer, nn.BatchNorm1d):
        return [shape] * 4
    kernel = shape if isinstance(layer, nn.Embedding) else (shape[1], shape[0])
    return [kernel] if getattr(layer, "bias", None) is None else [kernel, shape[:1]]


def take_weights(module, unused):
    """Give every layer of `module` the weights of the first of the Keras layers `unused` that has its shapes."""
    children = [layer for layer in module.modules() if not list(layer.children())]
    for layer in children:
        if not hasattr(layer, "weight"):
            continue
        number = next(number for number, arrays in enumerate(unused)
                      if [array.shape for array in arrays] == keras_shapes(layer))
        arrays = unused.pop(number)
        if len(arrays) == 4:
            tensors = layer.weight, layer.bias, layer.running_mean, layer.running_var
        else:
            tensors = layer.weight, getattr(layer, "bias", None)
        if isinstance(layer, nn.Linear):
            arrays[0] = arrays[0].T
        for tensor, array in zip(tensors, arrays, strict=False):
            tensor.data.copy_(torch.from_numpy(np.ascontiguousarray(array)))
    assert not unused


def read(path):
    """Return the settings, the weights {network: [arrays of a layer]} and the batch {name: tensor} of the file."""
    weights, batch = collections.defaultdict(list), {}
    with np.load(path) as arrays:
        for name in arrays.files:
            kind, *rest = name.split("/")
            if kind == "batch":
                array = arrays[name]
                batch[rest[0]] = torch.from_numpy(np.moveaxis(array, -1, 1) if array.ndim == 4 else array)
            elif kind == "weights":
                if rest[2] == "0":
                    weights[rest[0]].append([])
                weights[rest[0]][-1].append(arrays[name])
        return SimpleNamespace(**json.loads(str(arrays["settings"]))), weights, batch


def main():
    """Take the step and print what it finds."""
    settings, weights, batch = read(sys.argv[1])
    objectives = []

    def record(objective, optimizer):
        objectives.append(float(objective.detach()))
        minimize(objective, optimizer)
    minimize, pytorch.minimize = pytorch.minimize, record
    images = np.zeros((settings.train_size, 28, 28), np.uint8)  # none is drawn
    gan = pytorch.CGAN(settings, images, images[:, 0, 0])
    for network, layers in weights.items():
        take_weights(getattr(gan, network), layers)
    print(json.dumps({"losses": gan.train_step(pytorch.Batch(**batch)).tolist(), "objectives": objectives}))


main()
