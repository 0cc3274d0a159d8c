"""Drawing with a trained StackGAN: its networks and their pictures of sentences."""

import os
from pathlib import Path
from typing import NamedTuple

# Before Keras, because the package starts TensorFlow without its messages.
from mnist_gan.data import sentences as grammar
from mnist_gan.data.mnist import SIDE
from mnist_gan.encoders import CONDITION_DIM, SENTENCE_DIM
from mnist_gan.errors import InputError
from mnist_gan.networks import load_network
from mnist_gan.running import command_line as cli

import keras
import numpy as np
import tensorflow as tf
from keras import layers

NETWORK_FILES = {"text_encoder": [(grammar.LONGEST,)], "stage1_generator": [(None,), (CONDITION_DIM,), (SENTENCE_DIM,)],
                 "stage2_generator": [(SIDE // 2, SIDE // 2, 3), (CONDITION_DIM,), (SENTENCE_DIM,)]}


class Networks(NamedTuple):
    """The networks that draw pictures of sentences."""

    text_encoder: keras.Model
    stage1: keras.Model
    stage2: keras.Model


def load_networks(folder):
    """Load what training left in `folder`; return its `Networks`.

    Raises InputError if a network is missing, damaged or another one.
    """
    loaded, remedy = [], "train first with 'python stackgan_mnist.py'"
    for name, shapes in NETWORK_FILES.items():
        path = Path(folder) / f"{name}.keras"
        if not os.path.isfile(path):
            raise InputError(f"there is no network {path.absolute()}; {remedy}"
                             + cli.offer("--output-dir", Path(__file__).parents[2] / "outputs" / "stackgan"))

        def accepts(network, name=name, shapes=shapes):
            found = [tuple(value.shape[1:]) for value in network.inputs]
            words = {layer.input_dim for layer in network.layers if isinstance(layer, layers.Embedding)}
            known = network.name == name and words <= {len(grammar.VOCABULARY) + 1} and len(found) == len(shapes)
            return known and all(shape == wanted or wanted == (None,) and len(shape) == 1
                                 for shape, wanted in zip(found, shapes, strict=True))
        loaded.append(load_network(path, accepts, remedy))
    return Networks(*loaded)


def embed(networks, sentences):
    """Return the embeddings, float32 (n, 64), of sentences whose words are all known."""
    return np.concatenate([networks.text_encoder(grammar.to_tokens(sentences[start:start + 1000]), training=False)
                           for start in range(0, len(sentences), 1000)])


def draw_embedded(networks, sentences, noise, epsilons, done=lambda count: None):
    """Draw one picture for each of `sentences`, embeddings (n, 64).

    `noise` (n, latent_dim) and `epsilons` (2, n, 64), one for each stage, are what is random about it. `done(count)` is
    called whenever so many have been drawn.
    Returns arrays of Stage I (n, 14, 14, 3) and of Stage II (n, 28, 28, 3) in [-1, 1].
    """
    rough, fine = [], []
    for start in range(0, len(sentences), 1000):
        part = slice(start, start + 1000)
        rough.append(networks.stage1([tf.constant(noise[part]), tf.constant(epsilons[0, part]),
                                      tf.constant(sentences[part])], training=False)[0])
        fine.append(networks.stage2([rough[-1], tf.constant(epsilons[1, part]),
                                     tf.constant(sentences[part])], training=False)[0])
        done(len(fine[-1]))
    return np.concatenate(rough), np.concatenate(fine)


def draw_pictures(networks, sentences, samples, seed, done=lambda count: None):
    """Draw `samples` pictures of each of `sentences`, strings with known words, from noise that `seed` determines.

    `networks` has `text_encoder`, `stage1` and `stage2`; `done` is as for `draw_embedded`.
    Returns float32 arrays (sentences, samples, 14, 14, 3) and (sentences, samples, 28, 28, 3) in [-1, 1].
    """
    random, count = np.random.default_rng(seed), len(sentences) * samples
    noise = random.standard_normal((count, networks.stage1.inputs[0].shape[1]), np.float32)
    epsilons = random.standard_normal((2, count, CONDITION_DIM), np.float32)
    embeddings = embed(networks, sentences).repeat(samples, axis=0)
    return tuple(pictures.reshape(len(sentences), samples, *pictures.shape[1:])
                 for pictures in draw_embedded(networks, embeddings, noise, epsilons, done))
