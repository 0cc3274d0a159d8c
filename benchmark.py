"""Measure the speed of both training scripts on this machine, side by side with other ways to do the same.

    python benchmark.py                    the training step, about 2 minutes
    python benchmark.py --whole-command    also the whole default command, about 9 minutes more
    python benchmark.py --stackgan         the training steps of `stackgan_mnist.py` instead, about 4 minutes
    python benchmark.py --workers 2        both scripts in one process and in two that share every batch, a core each

Shared machines change their speed from minute to minute. Every contender therefore takes its turn in
every round, and the ratios of the medians are what to quote.
"""

import argparse
import contextlib
import json
import math
import os
import platform
import shlex
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace

# Before Keras, because the package starts TensorFlow without its messages.
import cgan_mnist as cgan
import stackgan_mnist as stackgan
from mnist_gan.running.command_line import (checked, one_line_errors, path_name, positive_number, readable_time, run,
                                    whole_number)
from mnist_gan.running.distribution import replicas, run_distributed
from mnist_gan.errors import InputError
from mnist_gan.files import open_folder, write_json
from mnist_gan.data.mnist import DIGITS, PIXELS, SIDE, load_data
from mnist_gan.networks import multiply_adds
from mnist_gan.data.painting import PALETTE
from mnist_gan.drawing.pictures import save_figure
from benchmarks.scaling import draw_scaling, fit_compute, reduction_seconds, speed_up, worthwhile_rows
from mnist_gan.data.sentences import sentence_table
from mnist_gan.running.settings import versions

import keras
import numpy as np
import tensorflow as tf
from keras import layers

try:
    import torch
except ImportError:
    torch = None


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


def matrix_contender(size=2048):
    """Return a function that multiplies two float32 matrices (size, size)."""
    a, b = tf.random.stateless_normal((2, size, size), (0, 0))
    product = tf.function(tf.matmul)
    return lambda step: product(a, b)[0, 0]  # whoever waits for the result copies it


def products_contender(generator, discriminator, batch_size, wrong_labels):
    """Return a function of the batch number: the matrix products of one training step, with nothing between them.

    They are compiled as the step is and leave the same gradients, but nothing is updated with them.
    """
    kernels_g, kernels_d = ([layer.kernel for layer in network.layers if isinstance(layer, layers.Dense)]
                            for network in (generator, discriminator))

    def multiply(x, kernels):
        for kernel in kernels:
            x = tf.matmul(x, kernel)
        return x

    def gradients(x, kernels, trained):
        with tf.GradientTape() as tape:
            tape.watch(x)
            total = tf.nn.l2_loss(multiply(x, kernels))
        return tape.gradient(total, [x, *trained])

    real = tf.random.stateless_normal((batch_size, PIXELS), (0, 0))
    noise, other_noise = tf.random.stateless_normal((2, batch_size, generator.inputs[0].shape[1]), (0, 1))

    @tf.function(jit_compile=True, autograph=False)
    def products(real, noise, other_noise):
        rejected = tf.concat([multiply(noise, kernels_g), real[:wrong_labels]], 0)
        return (gradients(real, kernels_d, kernels_d) + gradients(rejected, kernels_d, kernels_d)
                + gradients(other_noise, kernels_g + kernels_d, kernels_g))
    return lambda step: products(real, noise, other_noise)[0]


def step_bytes(generator, discriminator):
    """Return how many bytes one training step must move beside its matrix products, which move weights and gradients.

    Adam reads a variable, its gradient and both moments and writes all but the gradient, 7 numbers of 4 bytes,
    twice for the discriminator and once for the generator, for whose average 2 more are read and written.
    """
    sizes = [sum(math.prod(variable.shape) for variable in network.trainable_variables)
             for network in (discriminator, generator)]
    return 4 * (2 * 7 * sizes[0] + (7 + 2) * sizes[1])


def memory_contender(size=2**22):
    """Return a function that reads two arrays of `size` float32 numbers and writes one, 12 bytes for each.

    With both they take 32 MiB, about what a training step goes through between two uses of the same number.
    """
    total, addend = tf.Variable(tf.zeros(size)), tf.ones(size)

    @tf.function(jit_compile=True, autograph=False)
    def add():
        total.assign_add(addend)
        return total[0]
    return lambda step: add()


def step_contender(settings, x_train, y_train, jit_compile):
    """Return (function of the batch number, training): the training step of `cgan_mnist.py`."""
    training = cgan.build_training(settings, x_train, y_train, jit_compile)
    order = tf.constant(np.random.default_rng(0).permutation(len(x_train))[:settings.batch_size], tf.int32)
    return (lambda step: training.train_batch(order, tf.constant(step))), training


def uncompiled(contender):
    """Return a function of the batch number that runs a compiled step, `contender`, without any compilation."""
    def train(step):
        tf.config.run_functions_eagerly(True)
        result = contender(step)
        tf.config.run_functions_eagerly(False)
        return result
    return train


def classic_contender(settings, x_train, y_train):
    """Return a function of the batch number: the loop of the scripts that people copy, with correct freezing.

    `predict` makes the generated batch, then follow `train_on_batch` on the real batch, on the generated
    one and on the combined model. The flag `trainable` is set before every call, since Keras 3 reads it when it
    traces a model's training function; a first step proves that the freezing holds.
    """
    def adam(rate):
        return keras.optimizers.Adam(rate, beta_1=0.5)

    generator = cgan.build_generator(settings.latent_dim)
    discriminator = cgan.build_discriminator(settings.dropout, settings.discriminator_units)
    discriminator.compile(adam(settings.discriminator_learning_rate), "binary_crossentropy")
    noise, label = keras.Input((settings.latent_dim,)), keras.Input((), dtype="int32")
    combined = keras.Model([noise, label], discriminator([generator([noise, label]), label]))
    discriminator.trainable = False
    combined.compile(adam(settings.generator_learning_rate), "binary_crossentropy")
    size, random = settings.batch_size, np.random.default_rng(0)
    ones = np.ones((size, 1), np.float32)
    images = x_train[..., np.newaxis] / np.float32(127.5) - 1

    def train(step):
        rows = random.integers(0, len(images), size)
        drawn = random.standard_normal((size, settings.latent_dim), np.float32), random.integers(0, 10, size)
        generated = generator.predict(list(drawn), batch_size=size, verbose=0)
        discriminator.trainable = True
        discriminator.train_on_batch([images[rows], y_train[rows]], ones * (1 - settings.label_smoothing))
        discriminator.train_on_batch([generated, drawn[1]], ones * 0)
        discriminator.trainable = False
        before = discriminator.get_weights() if step == 0 else None
        combined.train_on_batch(list(drawn), ones)
        if step == 0:
            after = discriminator.get_weights()
            assert all(map(np.array_equal, before, after)), "the combined model moved the discriminator"
    initial = discriminator.get_weights()
    train(0)
    assert not all(map(np.array_equal, initial, discriminator.get_weights())), "the discriminator stays untrained"
    return train


def torch_contender(settings, x_train, y_train):
    """Return a function of the batch number: the same step in PyTorch, eager, with its fused Adam."""
    from torch import nn

    class Conditional(nn.Module):
        def __init__(self, width, *stack):
            super().__init__()
            self.embedding, self.stack = nn.Embedding(DIGITS, width), nn.Sequential(*stack)

        def forward(self, x, labels):
            return self.stack(x.flatten(1) * self.embedding(labels))

    class Discriminator(Conditional):
        def forward(self, x, labels):
            return super().forward(x / (1 + settings.gray_stretch * (1.002 - x**2).sqrt()), labels)

    def hidden(inputs, width, last):
        return nn.Linear(inputs, width), nn.LeakyReLU(0.2), last

    def normalized(width):
        return nn.BatchNorm1d(width, eps=1e-3, momentum=0.2)  # the part of the new, where Keras's 0.8 is the old's

    latent_dim, size = settings.latent_dim, settings.batch_size
    generator, averaged = (Conditional(
        latent_dim, *hidden(latent_dim, 256, normalized(256)), *hidden(256, 512, normalized(512)),
        *hidden(512, 1024, normalized(1024)), nn.Linear(1024, PIXELS), nn.Unflatten(1, (1, SIDE, SIDE)),
        *(nn.AvgPool2d(3, 1, 1, count_include_pad=False) for _ in range(settings.box_filter)), nn.Tanh())
        for _ in range(2))
    discriminator = Discriminator(
        PIXELS, *hidden(PIXELS, settings.discriminator_units, nn.Identity()),
        *hidden(settings.discriminator_units, 512, nn.Dropout(settings.dropout)),
        *hidden(512, 512, nn.Dropout(settings.dropout)), nn.Linear(512, 1))
    averaged.load_state_dict(generator.state_dict())
    optimizers = [torch.optim.Adam(network.parameters(), rate, (0.5, 0.999), 1e-7, fused=True) for network, rate in (
        (discriminator, settings.discriminator_learning_rate), (generator, settings.generator_learning_rate))]
    images, labels = torch.from_numpy(x_train), torch.from_numpy(y_train)
    weight, half = settings.wrong_label_weight, size // 2

    def distances(batch):
        return (batch[:half] - batch[-half:]).abs().flatten(1).mean(1)

    def total_variation(batch):
        return (batch.diff(dim=2).abs().sum() + batch.diff(dim=3).abs().sum()) / batch.numel()

    def loss(logits, target):
        return nn.functional.binary_cross_entropy_with_logits(logits, torch.full_like(logits, target))

    def update(optimizer, objective):
        optimizer.zero_grad()
        objective.backward()
        optimizer.step()

    def train(step):
        rows = torch.randint(len(images), (size,))
        real, right = images[rows].float() / 127.5 - 1, labels[rows]
        update(optimizers[0], loss(discriminator(real, right), 1 - settings.label_smoothing))
        noise, wanted = torch.randn(size, latent_dim), torch.randint(DIGITS, (size,))
        generator.eval()
        with torch.no_grad():
            generated = generator(noise, wanted)
        generator.train()
        wrong = (right[:half] + torch.randint(1, DIGITS, (half,))) % DIGITS
        logits = discriminator(torch.cat([generated.flatten(1), real[:half].flatten(1)]), torch.cat([wanted, wrong]))
        update(optimizers[0], (1 - weight) * loss(logits[:size], 0.0) + weight * loss(logits[size:], 0.0))
        noise, wanted = torch.randn(size, latent_dim), torch.randint(DIGITS, (size,))
        wanted = torch.cat([wanted[:-half], wanted[:half]])
        discriminator.requires_grad_(False)
        generated = generator(noise, wanted)
        ink = generated.flatten(1) + 1
        ink = ink / (ink.square().mean(1, keepdim=True) + 1e-3).sqrt()
        sameness = (distances(noise) / (distances(ink) + 1e-3)).mean()
        update(optimizers[1], loss(discriminator(generated, wanted), 1.0) + settings.mode_seeking_weight * sameness
               + settings.total_variation_weight * total_variation(generated))
        discriminator.requires_grad_(True)
        with torch.no_grad():
            for average, current in zip(averaged.parameters(), generator.parameters(), strict=True):
                average.lerp_(current, 1 - settings.ema_decay)
    return train


def torch_stage_contender(stage, batch_size, x_train):
    """Return a function of the batch number: the step of Stage 1 or 2 in PyTorch, eager, with its fused Adam.

    Colours and sentences are drawn without the grammar, the latter as rows of random embeddings.
    """
    from torch import nn
    from torch.nn import functional

    settings = stackgan.parse_arguments(["--batch-size", str(batch_size)])
    sentence_dim, condition_dim, latent_dim = stackgan.SENTENCE_DIM, stackgan.CONDITION_DIM, settings.latent_dim
    half = batch_size // 2

    def with_contrast(pictures):
        distance = (pictures - pictures.mean((2, 3), keepdim=True)).square().sum(1, keepdim=True)
        contrast = (distance / (4 * distance.mean((2, 3), keepdim=True) + 1e-3) + 1e-3).sqrt()
        return torch.cat([pictures, contrast], 1)

    def normalized(layer, width, normalization=nn.BatchNorm2d):
        return nn.Sequential(layer, nn.LeakyReLU(0.2), normalization(width, eps=1e-3, momentum=0.2))

    def dense(inputs, units):
        return normalized(nn.Linear(inputs, units), units, nn.BatchNorm1d)

    def guess_colours(pictures):
        pixels, contrast = with_contrast(pictures).flatten(2).split((3, 1), 1)
        return torch.cat([((10 * contrast).softmax(2) * pixels).sum(2), pictures[:, :, 0].mean(2)], 1)

    def nearest_colours(colours):
        ink, background = ((colour[:, None] - palette).square().sum(2) for colour in colours.chunk(2, 1))
        behind = background.argmin(1)
        before = ink.scatter(1, behind[:, None], torch.inf).argmin(1)
        return torch.cat([palette[before], palette[behind]], 1)

    def mix_colours(mask, colours):
        ink, background = colours[:, :, None, None].chunk(2, 1)
        return (background + (ink - background) * mask).clip(-1, 1)

    def upsampling(inputs, channels):
        return nn.Sequential(nn.Conv2d(inputs, 4 * channels, 3, padding=1), nn.PixelShuffle(2))

    class Generator(nn.Module):
        def __init__(self, stage):
            super().__init__()
            self.stage = stage
            self.mean, self.log_sigma = (nn.Linear(sentence_dim, condition_dim) for _ in range(2))
            if stage == 1:
                self.scale, seen = nn.Linear(condition_dim, latent_dim), 8 + condition_dim
                self.mask = nn.Sequential(dense(2 * latent_dim + condition_dim, 256), dense(256, 512), dense(512, 1024),
                                          nn.Linear(1024, SIDE**2 // 4), nn.Unflatten(1, (1, SIDE // 2, SIDE // 2)))
            else:
                seen = 6 + 32 + condition_dim
                self.early = nn.Sequential(nn.Conv2d(4, 32, 3, padding=1), nn.LeakyReLU(0.2))
                self.down = normalized(nn.Conv2d(32, 64, 4, 2, 1), 64)
                self.join = normalized(nn.Conv2d(64 + condition_dim, 64, 1), 64)
                self.blocks = nn.ModuleList(nn.Sequential(
                    normalized(nn.Conv2d(64, 64, 3, padding=1), 64), nn.Conv2d(64, 64, 3, padding=1),
                    nn.BatchNorm2d(64, eps=1e-3, momentum=0.2)) for _ in range(2))
                self.mask = nn.Sequential(normalized(upsampling(64, 32), 32), normalized(upsampling(32, 16), 16),
                                          nn.Conv2d(16, 1, 3, padding=1))
                self.paints = nn.Linear(stackgan.PAINTS, 3, bias=False)
            self.colours = nn.Sequential(*(part for inputs in (seen, 256, 256)
                                           for part in (nn.Linear(inputs, 256), nn.LeakyReLU(0.2))),
                                         nn.Linear(256, 6 if stage == 1 else 2 * stackgan.PAINTS))

        def forward(self, given, epsilon, sentence):
            mean, log_sigma = self.mean(sentence), self.log_sigma(sentence)
            condition = mean + log_sigma.exp() * epsilon
            if self.stage == 1:
                x = torch.cat([given * self.scale(condition), given, condition], 1)
                colours = self.colours(torch.cat([given[:, :8], condition], 1))
                colours = colours.tanh() + 0.1 * colours
            else:
                early = self.early(with_contrast(given))
                x = self.down(early)
                x = self.join(torch.cat([x, condition[:, :, None, None].expand(-1, -1, 7, 7)], 1))
                for block in self.blocks:
                    x = functional.leaky_relu(x + block(x), 0.2)
                shares = self.colours(torch.cat([guess_colours(given), early.mean((2, 3)), condition], 1))
                colours = self.paints(shares.unflatten(1, (2, -1)).softmax(2)).flatten(1)
            mask = self.mask(x).sigmoid()
            return mix_colours(mask, colours), mean, log_sigma, mask, colours

    class Discriminator(nn.Module):
        def __init__(self):
            super().__init__()
            if stage == 1:
                layers = [nn.Flatten(), nn.Linear(SIDE**2, 1024), nn.LeakyReLU(0.2), nn.Linear(1024, 512),
                          nn.LeakyReLU(0.2), nn.Linear(512, 256)]
            else:
                layers = [layer for inputs, channels, padding in ((4, 32, 1), (32, 64, 1), (64, 128, 2))
                          for layer in (nn.Conv2d(inputs, channels, 4, 2, padding), nn.LeakyReLU(0.2))]
                layers += [nn.Flatten(), nn.Linear(128 * 16, 256)]
            self.look, self.logit = nn.Sequential(*layers, nn.LeakyReLU(0.2)), nn.Linear(256, 1)
            self.sentence = nn.Linear(sentence_dim, 256)

        def judge(self, features, sentence):
            return self.logit(features) + (features * self.sentence(sentence)).sum(1, keepdim=True) / 16

    generator, averaged, first_stage = Generator(stage), Generator(stage), Generator(1).eval()
    averaged.load_state_dict(generator.state_dict())
    discriminator = Discriminator()
    picture_encoder = nn.Sequential(
        nn.Flatten(), nn.Linear(SIDE**2, 512), nn.LeakyReLU(0.2), nn.BatchNorm1d(512), nn.Linear(512, 256),
        nn.LeakyReLU(0.2), nn.Linear(256, sentence_dim), nn.BatchNorm1d(sentence_dim)).eval().requires_grad_(False)
    optimizers = [torch.optim.Adam(network.parameters(), rate, (0.5, 0.999), 1e-7, fused=True) for network, rate in (
        (discriminator, settings.discriminator_learning_rate), (generator, settings.generator_learning_rate))]
    images, embeddings = torch.from_numpy(x_train)[:, None], torch.randn(len(sentence_table(0)), sentence_dim)
    palette = torch.from_numpy(PALETTE)

    def loss(logits, target):
        return functional.binary_cross_entropy_with_logits(logits, torch.full_like(logits, target))

    def blur(pictures):
        return pictures + settings.input_noise * torch.randn_like(pictures)

    def normal(width):
        return torch.randn(batch_size, width)

    def distances(batch):
        return (batch[:half] - batch[-half:]).abs().flatten(1).mean(1)

    def energy_score(drawn, wanted, power=1.0):
        first, second = drawn[:len(wanted)], drawn[-len(wanted):]
        ends = (first, wanted, 1), (second, wanted, 1), (first, second, -1)
        return sum(sign * ((one - other).square().sum(1) + 1e-4).pow(power / 2).mean() for one, other, sign in ends) / 2

    def measure_shapes(gray):
        gray = gray[:, 0]
        down, right = functional.pad(gray, (0, 0, 0, 1)).diff(dim=1), functional.pad(gray, (0, 1)).diff(dim=2)
        width = 2 * gray.sum((1, 2)) / (down.square() + right.square() + 1e-12).sqrt().sum((1, 2)).clamp(1e-6)
        y, x = torch.meshgrid(*map(torch.arange, gray.shape[1:]), indexing="ij")
        mass = gray.sum((1, 2), keepdim=True).clamp(1e-6)
        y = y - (gray * y).sum((1, 2), keepdim=True) / mass
        x = x - (gray * x).sum((1, 2), keepdim=True) / mass
        shear = -(gray * x * y).sum((1, 2)) / (gray * y * y).sum((1, 2)).clamp(1e-6)
        return torch.stack([width.clamp(0.1).log(), shear], 1)

    def look(pictures):
        return discriminator.look(with_contrast(pictures))

    def train(step):
        gray = images[torch.randint(len(images), (batch_size,))].float() / 255
        colours = torch.cat([palette[torch.randint(len(palette), (batch_size,))] for _ in range(2)], 1)
        gray = functional.avg_pool2d(gray, 2) if stage == 1 else gray
        real = mix_colours(gray, colours)
        right, wrong = (embeddings[torch.randint(len(embeddings), (batch_size,))] for _ in range(2))
        asked, asked_colours = (torch.cat([batch[:-half], batch[:half]]) for batch in (right, colours))
        given = normal(latent_dim)
        if stage == 2:
            with torch.no_grad():
                given, *_, rough_colours = first_stage(given, normal(condition_dim), asked)
        _, mean, log_sigma, mask, chosen_colours = generator(given, normal(condition_dim), asked)
        generated = mix_colours(mask, asked_colours)

        features = look(blur(torch.cat([real, generated.detach()])))
        logits = discriminator.judge(torch.cat([features, features[:batch_size]]), torch.cat([right, asked, wrong]))
        objective = (loss(logits[:batch_size], 1 - settings.label_smoothing)
                     + (1 - settings.wrong_sentence_weight) * loss(logits[batch_size:-batch_size], 0.0)
                     + settings.wrong_sentence_weight * loss(logits[-batch_size:], 0.0))
        optimizers[0].zero_grad()
        objective.backward()
        optimizers[0].step()

        discriminator.requires_grad_(False)
        objective = loss(discriminator.judge(look(blur(generated)), asked), 1.0)
        objective = objective + settings.kl_weight * (
            0.5 * (mean.square() + (2 * log_sigma).exp() - 1) - log_sigma).mean()
        rough = generated if stage == 1 else functional.avg_pool2d(generated, 2)
        seen = functional.normalize(picture_encoder(with_contrast(rough)), dim=1)
        objective = objective + settings.matching_weight * sum(functional.cross_entropy(
            stackgan.SIMILARITY_SCALE * part @ right[:half].T, torch.arange(half))
            for part in (seen[:half], seen[-half:])) / 2
        objective = objective + settings.shape_weight * energy_score(measure_shapes(mask), measure_shapes(gray[:half]))
        if stage == 1:
            wanted = functional.normalize(picture_encoder(with_contrast(real[:half])), dim=1)
            objective = objective + settings.energy_weight * (
                energy_score(seen, wanted)
                + 2 / (3 * SIDE**2 / 4)**0.5 * energy_score(generated.flatten(1), real[:half].flatten(1)))
            objective = objective + settings.mode_seeking_weight * (
                distances(given) / (distances(generated) + 1e-2)).mean()
        wanted = colours[:half] if stage == 1 else nearest_colours(rough_colours)
        objective = objective + settings.colour_weight * energy_score(chosen_colours, wanted, 0.5)
        optimizers[1].zero_grad()
        objective.backward()
        optimizers[1].step()
        discriminator.requires_grad_(True)
        with torch.no_grad():
            for average, current in zip(averaged.parameters(), generator.parameters(), strict=True):
                average.lerp_(current, 1 - settings.ema_decay)
    return train


def stage_contender(stage, batch_size, x_train, y_train, jit_compile):
    """Return (function of the batch number, stage): the training step of Stage 1 or 2 of `stackgan_mnist.py`.

    The sentences have random embeddings, since no time depends on what they say.
    """
    settings = stackgan.parse_arguments(["--batch-size", str(batch_size)])
    settings.train_size = len(x_train)
    embeddings = tf.Variable(tf.random.stateless_normal((len(sentence_table(0)), stackgan.SENTENCE_DIM), (0, 0)))
    built = stackgan.build_stage(stage, settings, stackgan.prepare_data(x_train, y_train), embeddings,
                                 stackgan.build_picture_encoder(), stackgan.build_stage1_generator(), jit_compile)
    rows = tf.range(batch_size)
    return (lambda step: built.train_batch(rows, tf.constant(step))), built


def time_side_by_side(contenders, rounds, seconds=0.5):
    """Return the median seconds per call of each of `contenders`, a dictionary from name to function.

    Each of the `rounds` calls every contender in turn, for about `seconds` and at least twice.
    """
    samples = {name: [] for name in contenders}
    step = 0
    for contender in contenders.values():  # compilation and warm-up
        contender(step)
    for round_number in range(rounds):
        for name, contender in contenders.items():
            deadline, calls = time.perf_counter() + seconds, 0
            while calls < 2 or time.perf_counter() < deadline:
                started, step, calls = time.perf_counter(), step + 1, calls + 1
                result = contender(step)
                if isinstance(result, tf.Tensor):
                    result.numpy()
                samples[name].append(time.perf_counter() - started)
        if sys.stdout.isatty():
            print(f"\rround {round_number + 1}/{rounds}", end="\n" if round_number + 1 == rounds else "", flush=True)
    return {name: float(np.median(times)) for name, times in samples.items()}


def write_results(settings, path, results):
    """Write what was measured and how to the JSON file `path` and say where; raise OSError if that fails."""
    write_json(path, {"command": shlex.join(["python", Path(sys.argv[0]).name, *sys.argv[1:]]),
                      "machine": f"{platform.machine()}, {os.cpu_count()} cores", "versions": versions(),
                      "batch_size": settings.batch_size, "rounds": settings.rounds, "results": results})
    print(f"\n{path}: these figures")


FIRST_BATCH = """
import cgan_mnist as cgan, tensorflow as tf
from mnist_gan.data.mnist import load_data
settings = cgan.parse_arguments(["--batch-size", "{}"])
(x_train, y_train), _ = load_data()
cgan.build_training(settings, x_train, y_train).train_batch(tf.range(settings.batch_size), tf.constant(0)).numpy()
"""


def time_command(*arguments):
    """Run Python with `arguments` in a temporary folder and return the seconds that it took.

    Raises OSError if it fails, after what it wrote to stderr itself.
    """
    here = str(Path(__file__).resolve().parent)
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        status = subprocess.run([sys.executable, *arguments], cwd=folder, env={**os.environ, "PYTHONPATH": here},
                                stdout=subprocess.DEVNULL).returncode
    if status:
        raise OSError(f"a measured command ended with status {status}")
    return time.perf_counter() - started


def measure_command(settings):
    """Return (seconds to the first batch, seconds of the whole command, peak GiB) of the default command.

    To be called while this process is small: the peak that a system reports for a child counts the
    memory of its parent at the moment at which the child was split off.
    """
    import resource  # not on Windows

    first_batch = min(time_command("-c", FIRST_BATCH.format(settings.batch_size)) for _ in range(3))
    script = str(Path(cgan.__file__).resolve())
    whole = time_command(script, "--batch-size", str(settings.batch_size), "--epochs", str(settings.epochs))
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss  # bytes on macOS, KiB elsewhere
    return first_batch, whole, peak / (2**30 if sys.platform == "darwin" else 2**20)


def benchmark(settings):
    """Measure, print and write what the options in `settings` ask for."""
    outputs = open_folder(settings.output_dir)
    command = measure_command(settings) if settings.whole_command else None
    defaults = cgan.parse_arguments(["--batch-size", str(settings.batch_size)])
    (x_train, y_train), _ = load_data()
    step, training = step_contender(defaults, x_train, y_train, jit_compile=True)
    ours, matrix, memory, products = "cgan_mnist.py", "matrix product", "memory", "its matrix products"
    sizes = training.generator, training.discriminator, settings.batch_size, settings.batch_size // 2
    contenders = {matrix: matrix_contender(), memory: memory_contender(), products: products_contender(*sizes),
                  ours: step, "without XLA": step_contender(defaults, x_train, y_train, jit_compile=False)[0],
                  "uncompiled": uncompiled(step_contender(defaults, x_train, y_train, jit_compile=False)[0]),
                  "classic Keras loop": classic_contender(defaults, x_train, y_train)}
    if torch:
        torch.set_num_threads(os.cpu_count())
        contenders[f"PyTorch {torch.__version__}"] = torch_contender(defaults, x_train, y_train)
    else:
        print("PyTorch is not installed, so its step is not measured.")
    seconds = time_side_by_side(contenders, settings.rounds)
    rate, bandwidth = 2048**3 / seconds.pop(matrix), 12 * 2**22 / seconds.pop(memory)
    work, moved = step_multiply_adds(*sizes), step_bytes(*sizes[:2])
    roofline = seconds[products] + moved / bandwidth
    print(f"""
{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, TensorFlow {tf.__version__}, \
Keras {keras.__version__}
Batch size {settings.batch_size}, medians over {settings.rounds} rounds in which all take turns.
The floor is the {work / 1e9:.2f} billion multiply-adds of the step's matrix products over the rate of a
2048 x 2048 float32 product, {rate / 1e9:.1f} billion multiply-adds per second here and now.
The roofline is the time of these products as measured, in the step's own sizes, and of the {moved / 1e6:.0f} MB
that Adam and the average must move beside them, at {bandwidth / 1e9:.1f} GB per second. The step takes \
{seconds[ours] / roofline:.2f} x the roofline.

{'training step':<24}{'ms':>8}{'x floor':>10}{'x ours':>9}""")
    results = {}
    for name, value in {"floor": work / rate, "roofline": roofline, **seconds}.items():
        print(f"{name:<24}{1000 * value:>8.1f}{value / (work / rate):>10.2f}{value / seconds[ours]:>9.2f}")
        results[name.split()[0] if "PyTorch" in name else name] = {
            "ms": 1000 * value, "times_floor": value / (work / rate), "times_ours": value / seconds[ours]}
    results["step"] = {"billion_multiply_adds": work / 1e9, "billion_multiply_adds_per_second": rate / 1e9,
                       "megabytes": moved / 1e6, "gigabytes_per_second": bandwidth / 1e9,
                       "times_roofline": seconds[ours] / roofline}
    if command:
        first_batch, whole, peak = command
        batches = settings.epochs * -(-len(x_train) // settings.batch_size)
        print(f"""
start to the end of the first batch: {first_batch:.1f} s, the best of 3
whole command, {settings.epochs} epochs: {readable_time(whole)}, {whole / (batches * seconds[ours]):.2f} x \
its {batches:,} training steps alone
peak resident memory of the command: {peak:.2f} GiB""")
        results["whole_command"] = {"seconds": whole, "seconds_to_first_batch": first_batch, "peak_gib": peak,
                                    "times_its_steps": whole / (batches * seconds[ours])}
    write_results(settings, outputs / "benchmark.json", results)


def benchmark_stackgan(settings):
    """Measure, print and write the steps of both stages of `stackgan_mnist.py`, compiled in each way and not."""
    outputs = open_folder(settings.output_dir)
    (x_train, y_train), _ = load_data()
    x_train, y_train = x_train[:10_000], y_train[:10_000]
    contenders = {}
    for stage in (1, 2):
        for name, jit_compile in (("with XLA", True), ("without XLA", False)):
            contenders[f"Stage {'I' * stage} {name}"] = stage_contender(
                stage, settings.batch_size, x_train, y_train, jit_compile)[0]
        contenders[f"Stage {'I' * stage} uncompiled"] = uncompiled(contenders[f"Stage {'I' * stage} without XLA"])
        if torch:
            torch.set_num_threads(os.cpu_count())
            contenders[f"Stage {'I' * stage} in PyTorch"] = torch_stage_contender(stage, settings.batch_size, x_train)
    if not torch:
        print("PyTorch is not installed, so its steps are not measured.")
    seconds = time_side_by_side(contenders, settings.rounds)
    print(f"""
{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, TensorFlow {tf.__version__}, \
Keras {keras.__version__}
Batch size {settings.batch_size}, medians over {settings.rounds} rounds in which all take turns.
`stackgan_mnist.py` compiles Stage I with XLA and Stage II without.

{'training step':<24}{'ms':>8}{'x ours':>9}""")
    results = {}
    for name, value in seconds.items():
        ours = seconds["Stage II without XLA" if name.startswith("Stage II ") else "Stage I with XLA"]
        print(f"{name:<24}{1000 * value:>8.1f}{value / ours:>9.2f}")
        results[name] = {"ms": 1000 * value, "times_ours": value / ours}
    write_results(settings, outputs / "benchmark_stackgan.json", results)


SCRIPTS = {"cgan_mnist.py": True, "Stage I": True, "Stage II": False}  # whether one device compiles it with XLA
MOST_WORKERS = 64
WORKER = """
import json, os, sys
core, *arguments = json.loads(sys.argv[1])
os.sched_setaffinity(0, [core])  # before TensorFlow counts the cores
import benchmark
benchmark.time_worker(*arguments)
"""


def count_reductions(train_batch, batch_size):
    """Return (number, bytes) of what the workers of a cluster add up in one call of the compiled `train_batch`."""
    graph = train_batch.get_concrete_function(tf.range(batch_size), tf.constant(0)).graph
    reduced = [operation.inputs[0] for operation in graph.get_operations()
               if operation.type.startswith("CollectiveReduce")]
    return len(reduced), sum(tensor.shape.num_elements() * tensor.dtype.size for tensor in reduced)


def median_seconds(call, calls):
    """Return the median seconds of `calls` calls of `call(number)`, which returns a tensor, after 3 to warm up.

    All workers of a cluster must call equally often, or the last ones would wait for ever.
    """
    times = []
    for number in range(3 + calls):
        started = time.perf_counter()
        call(number).numpy()
        times.append(time.perf_counter() - started)
    return float(np.median(times[3:]))


def time_network(size, calls):
    """Return (latency in seconds per message, bandwidth in bytes per second) between the workers of this cluster.

    They follow, by the model in `benchmarks/scaling.py`, from reductions of one number and of `size` bytes.
    """
    strategy = tf.distribute.get_strategy()

    @tf.function(autograph=False)
    def add_up(values):
        return strategy.experimental_local_results(strategy.run(
            lambda: tf.distribute.get_replica_context().all_reduce(
                tf.distribute.ReduceOp.SUM, tf.identity(values))))[0]  # the copy is on this worker's device
    little, much = (median_seconds(lambda _, values=values: add_up(values), calls)
                    for values in (tf.zeros(1), tf.zeros(size // 4)))
    messages = 2 * (replicas() - 1)
    return little / messages, messages * size / replicas() / max(much - little, 1e-9)


def time_worker(name, batch_size, jit_compile, calls):
    """Print as JSON how long the training step `name` of SCRIPTS takes in this process, alone or as a worker."""
    def measure(_):
        (x_train, y_train), _ = load_data()
        x_train, y_train = x_train[:10_000], y_train[:10_000]
        if name == "cgan_mnist.py":
            step, training = step_contender(cgan.parse_arguments(["--batch-size", str(batch_size)]),
                                            x_train, y_train, jit_compile)
        else:
            step, training = stage_contender(1 + (name == "Stage II"), batch_size, x_train, y_train, jit_compile)
        found = {"seconds": median_seconds(step, calls)}
        if replicas() > 1:
            found["reductions"], found["bytes"] = count_reductions(training.train_batch, batch_size)
            found["latency"], found["bandwidth"] = time_network(found["bytes"], calls)
        print(json.dumps(found), flush=True)
    run_distributed(measure, SimpleNamespace(slurm=False, batch_size=batch_size))


def time_processes(count, name, batch_size, jit_compile, calls):
    """Return what `time_worker` finds in the first of `count` processes on loopback, a core each; or raise OSError."""
    here, cores = str(Path(__file__).resolve().parent), sorted(os.sched_getaffinity(0))
    environment = {**os.environ, "PYTHONPATH": here, "CUDA_VISIBLE_DEVICES": ""}
    environment.pop("TF_CONFIG", None)
    with contextlib.ExitStack() as held:
        taken = [held.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        addresses = [f"127.0.0.1:{port.getsockname()[1]}" for port in taken]
    with contextlib.ExitStack() as held:
        processes = []
        for index in range(count):
            if count > 1:
                environment["TF_CONFIG"] = json.dumps({"cluster": {"worker": addresses},
                                                       "task": {"type": "worker", "index": index}})
            process = subprocess.Popen(
                [sys.executable, "-c", WORKER, json.dumps([cores[index], name, batch_size, jit_compile, calls])],
                stdout=subprocess.PIPE, text=True, env=environment)
            processes.append(held.enter_context(process))
            held.callback(process.kill)
        outputs = [process.communicate()[0] for process in processes]
    if any(process.returncode for process in processes):
        raise OSError(f"a measured process of {name} failed")
    return json.loads(outputs[0].splitlines()[-1])


def benchmark_workers(settings):
    """Measure one process and `settings.workers` that share every batch; predict and draw what more machines would do.

    Raises InputError if there are fewer cores than processes or the batch cannot be shared equally.
    """
    count, size, calls = settings.workers, settings.batch_size, 5 * settings.rounds
    if not hasattr(os, "sched_setaffinity") or len(os.sched_getaffinity(0)) < count:
        raise InputError(f"--workers {count}: each needs a core of its own, on Linux; give as many as there are")
    if size % (2 * count):
        raise InputError(f"--batch-size {size}: {count} workers cannot share it equally in pairs; "
                         f"give a multiple of {2 * count}")
    outputs, plots = open_folder(settings.output_dir), open_folder(settings.plots_dir)
    print(f"""{platform.machine()}, a core for each process, TensorFlow {tf.__version__}, Keras {keras.__version__}
Batch size {size}, shared by {count} workers on loopback; medians of {calls} steps, in ms. Workers compile without XLA.
Communication: what a step of the workers takes beyond one process with a worker's share of the batch.
Efficiency: one process over {count} times the workers', both without XLA. Predicted: the model for the workers' step.

{"training step":<16}{"1, XLA":>9}{"1":>9}{"1, share":>10}{f"{count}":>9}{"communication":>15}{"efficiency":>12}\
{"predicted":>11}""")
    models, measured, results = {}, {}, {}
    for name, jit_compile in SCRIPTS.items():
        compiled = time_processes(1, name, size, True, calls)["seconds"] if jit_compile else None
        whole, half, share = (time_processes(1, name, rows, False, calls)["seconds"]
                              for rows in (size, size // 2, size // count))
        together = time_processes(count, name, size, False, calls)
        compute, seconds = fit_compute(size, whole, half), together["seconds"]
        traffic = together["reductions"], together["bytes"]
        predicted = share + reduction_seconds(count, *traffic, together["latency"], together["bandwidth"])
        models[name] = compute, traffic, together["latency"]
        measured[name] = count, whole / seconds, whole / predicted
        results[name] = {"one_xla": compiled and 1000 * compiled, "one": 1000 * whole, "one_share": 1000 * share,
                         "workers": 1000 * seconds, "communication": 1000 * (seconds - share),
                         "efficiency": whole / (count * seconds), "predicted": 1000 * predicted,
                         "model_off": abs(predicted / seconds - 1), "megabytes": traffic[1] / 1e6,
                         "ms_a_message": 1e3 * together["latency"], "predictions": {}}
        print(f"{name:<16}{f'{1000 * compiled:.1f}' if compiled else '-':>9}{1000 * whole:>9.1f}{1000 * share:>10.1f}"
              f"{1000 * seconds:>9.1f}{1000 * (seconds - share):>15.1f}{whole / (count * seconds):>12.2f}"
              f"{1000 * predicted:>11.1f}", flush=True)
        print(f"    {traffic[0]} reductions, {traffic[1] / 1e6:.2f} MB together; {1e6 * together['latency']:.0f} µs "
              f"a message, {together['bandwidth'] * 8e-9:.1f} Gbit/s", flush=True)
    workers, predictions = [2**power for power in range(MOST_WORKERS.bit_length())], {}
    print(f"""
Predicted for {MOST_WORKERS} workers: the speed-up with {size} images each, and how many images each needs to compute
as long as it communicates.

{"training step":<16}{"Gbit/s":>9}{"µs a message":>14}{"speed-up":>10}{"images each":>13}""")
    for gigabits in settings.bandwidth:
        curves = predictions[f"{gigabits:g} Gbit/s"] = {}
        for name, (compute, traffic, latency) in models.items():
            latency = latency if settings.latency is None else settings.latency * 1e-6
            costs = [reduction_seconds(number, *traffic, latency, gigabits * 1e9 / 8) for number in workers]
            curves[name] = workers, [speed_up(compute, cost, size, number)
                                     for number, cost in zip(workers, costs, strict=True)]
            results[name]["predictions"][f"{gigabits:g} Gbit/s"] = {
                "speed_up": curves[name][1][-1], "rows_each": worthwhile_rows(compute, costs[-1])}
            print(f"{name:<16}{gigabits:>9g}{1e6 * latency:>14.0f}{curves[name][1][-1]:>10.1f}"
                  f"{worthwhile_rows(compute, costs[-1]):>13,}")
    save_figure(plots / "scaling.png", draw_scaling(predictions, measured, size))
    write_results(settings, outputs / "scaling.json", results)


def parse_arguments(arguments=None):
    """Parse the command line (a list of strings; None means that of the process) into a namespace."""
    parser = one_line_errors(argparse.ArgumentParser(
        description="Measure the training step of cgan_mnist.py beside its floor and its competitors, or those of "
                    "stackgan_mnist.py.",
        allow_abbrev=False, formatter_class=argparse.ArgumentDefaultsHelpFormatter))
    parser.add_argument("--batch-size", type=whole_number(4, 10_000), metavar="N",
                        default=cgan.parse_arguments([]).batch_size, help="images per update, for all contenders")
    parser.add_argument("--rounds", type=whole_number(1, 1000), default=20, metavar="N",
                        help="how often every contender takes its turn")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--stackgan", action="store_true",
                      help="measure the training steps of stackgan_mnist.py instead")
    what.add_argument("--whole-command", action="store_true",
                      help="also run the whole default command and measure its time, its start and its memory")
    what.add_argument("--workers", type=whole_number(2, MOST_WORKERS), metavar="N",
                      help="measure both scripts in one process and in N that share every batch, a core each, and "
                           "predict more")
    parser.add_argument("--bandwidth", type=positive_number, nargs="+", default=argparse.SUPPRESS, metavar="GBIT",
                        help="with --workers, networks to predict for, in Gbit/s (default: 10 100)")
    parser.add_argument("--latency", type=checked(float, lambda value: 0 <= value < 1e6, "from 0 to 10^6"),
                        metavar="MICROSECONDS",
                        help="with --workers, time of a message there; as measured between the processes if not given")
    parser.add_argument("--output-dir", type=path_name, default="outputs", metavar="DIR",
                        help="folder for the figures as JSON, whose name says what was measured")
    parser.add_argument("--plots-dir", type=path_name, default=argparse.SUPPRESS, metavar="DIR",
                        help="with --workers, folder for scaling.png (default: plots)")
    parser.add_argument("--epochs", type=whole_number(1, 999), default=argparse.SUPPRESS,
                        help="with --whole-command, its epochs, few of which overrate its start (default: 20)")
    settings = parser.parse_args(arguments, argparse.Namespace(bandwidth=None, plots_dir=None, epochs=None))
    if not settings.workers and (settings.bandwidth or settings.plots_dir or settings.latency is not None):
        parser.error("--bandwidth, --latency and --plots-dir need --workers")
    if settings.epochs and not settings.whole_command:
        parser.error("--epochs needs --whole-command")
    settings.bandwidth = settings.bandwidth or [10.0, 100.0]
    settings.plots_dir = settings.plots_dir or "plots"
    settings.epochs = settings.epochs or cgan.parse_arguments([]).epochs
    return settings


if __name__ == "__main__":
    options = parse_arguments()
    work = benchmark_workers if options.workers else benchmark_stackgan if options.stackgan else benchmark
    raise SystemExit(run(lambda: work(options)))
