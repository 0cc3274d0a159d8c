"""The training step of `cgan_mnist.py` in PyTorch, eager, with its fused Adam: the same networks, updates and losses.

It imports nothing that starts TensorFlow, which does not get along with PyTorch in one process. What differs: the
initial weights are PyTorch's, the random numbers too, and the EMA's decay is the same from the first batch on.
"""

import os
from typing import NamedTuple

import numpy as np
import torch
from torch import nn
from torch.nn import functional

DIGITS, SIDE = 10, 28
PIXELS = SIDE * SIDE

# ------------------------------------------------------------------------------------------- networks


class Conditional(nn.Module):
    """A stack of layers on x (n, ...), flattened, times the embedding of labels (n,)."""

    def __init__(self, width, *stack):
        super().__init__()
        self.embedding, self.stack = nn.Embedding(DIGITS, width), nn.Sequential(*stack)

    def forward(self, x, labels):
        return self.stack(x.flatten(1) * self.embedding(labels))


class Discriminator(Conditional):
    """Image (n, 1, 28, 28) in [-1, 1], whose grays are pulled apart, and label (n,) to the logit (n, 1)."""

    def __init__(self, gray_stretch, *stack):
        super().__init__(PIXELS, *stack)
        self.gray_stretch = gray_stretch

    def forward(self, x, labels):
        return super().forward(x / (1 + self.gray_stretch * (1.002 - x**2).sqrt()), labels)


def build_generator(settings):
    """Build the generator: noise (n, latent_dim) and label (n,) to images (n, 1, 28, 28) in [-1, 1]."""
    stack, inputs = [], settings.latent_dim
    for units in (256, 512, 1024):
        # PyTorch's momentum is the part of the new statistics, Keras's 0.8 that of the old ones.
        stack += [nn.Linear(inputs, units), nn.LeakyReLU(0.2), nn.BatchNorm1d(units, eps=1e-3, momentum=0.2)]
        inputs = units
    stack += [nn.Linear(1024, PIXELS), nn.Unflatten(1, (1, SIDE, SIDE))]
    stack += [nn.AvgPool2d(3, 1, 1, count_include_pad=False) for _ in range(settings.box_filter)]
    return Conditional(settings.latent_dim, *stack, nn.Tanh())


def build_discriminator(settings):
    """Build the discriminator: image (n, 1, 28, 28) in [-1, 1] and label (n,) to the logit (n, 1)."""
    first_units = settings.discriminator_units
    return Discriminator(settings.gray_stretch,
                         nn.Linear(PIXELS, first_units), nn.LeakyReLU(0.2),
                         nn.Linear(first_units, 512), nn.LeakyReLU(0.2), nn.Dropout(settings.dropout),
                         nn.Linear(512, 512), nn.LeakyReLU(0.2), nn.Dropout(settings.dropout),
                         nn.Linear(512, 1))


# -------------------------------------------------------------------------------------------- updates


class Batch(NamedTuple):
    """What a step of batch size n draws."""
    images: torch.Tensor  # real ones, (n, 1, 28, 28) in [-1, 1]
    labels: torch.Tensor  # theirs, (n,)
    wrong_labels: torch.Tensor  # those that the first half of them does not show, (n // 2,)
    discriminator_noise: torch.Tensor  # for the images that the discriminator learns to reject, (n, latent_dim)
    discriminator_labels: torch.Tensor
    generator_noise: torch.Tensor  # for those with which the generator learns
    generator_labels: torch.Tensor


def cross_entropy(target, logits):
    """Return the mean binary cross-entropy of `logits` for the probability `target`."""
    return functional.binary_cross_entropy_with_logits(logits, torch.full_like(logits, target))


def half_distances(batch):
    """Return the mean absolute differences (n // 2,) between the two halves of `batch` (n, ...)."""
    half = len(batch) // 2
    return (batch[:half] - batch[-half:]).abs().flatten(1).mean(1)


def mode_seeking(noise, images):
    """Return how much more the halves of `noise` (n, k) differ than those of `images` in [-1, 1] with equal ink."""
    ink = images.flatten(1) + 1
    ink = ink / (ink.square().mean(1, keepdim=True) + 1e-3).sqrt()
    return (half_distances(noise) / (half_distances(ink) + 1e-3)).mean()


def build_optimizer(network, rate):
    """Return Adam as Keras has it, in PyTorch's fastest form."""
    return torch.optim.Adam(network.parameters(), rate, (0.5, 0.999), 1e-7, fused=True)


def minimize(objective, optimizer):
    """Update the optimizer's network by the gradients of `objective`."""
    optimizer.zero_grad()
    objective.backward()
    optimizer.step()


@torch.no_grad()
def update_ema(ema_network, network, decay):
    """Move the weights of `ema_network` towards those of `network`."""
    for average, current in zip(ema_network.parameters(), network.parameters(), strict=True):
        average.lerp_(current, 1 - decay)


class CGAN:
    """Both networks, the EMA of the generator's weights, and the updates; `settings` are those of `cgan_mnist.py`."""

    def __init__(self, settings, x_train, y_train):
        """`x_train` is uint8 (n, 28, 28), `y_train` int64 (n,)."""
        self.settings = settings
        self.images, self.labels = torch.from_numpy(x_train)[:, None], torch.from_numpy(y_train)
        self.generator, self.ema_generator = build_generator(settings), build_generator(settings)
        self.ema_generator.load_state_dict(self.generator.state_dict())
        self.discriminator = build_discriminator(settings)
        self.generator_optimizer = build_optimizer(self.generator, settings.generator_learning_rate)
        self.discriminator_optimizer = build_optimizer(self.discriminator, settings.discriminator_learning_rate)

    def draw_batch(self):
        """Draw a Batch."""
        size, latent_dim = self.settings.batch_size, self.settings.latent_dim
        indices = torch.randint(len(self.images), (size,))
        labels = self.labels[indices]
        wrong_labels = (labels[:size // 2] + torch.randint(1, DIGITS, (size // 2,))) % DIGITS
        return Batch(self.images[indices].float() / 127.5 - 1, labels, wrong_labels,
                     torch.randn(size, latent_dim), torch.randint(DIGITS, (size,)),
                     torch.randn(size, latent_dim), torch.randint(DIGITS, (size,)))

    def update_discriminator(self, images, labels, target, wrong_label_weight=0.0):
        """Update it; what follows the first batch_size images has a wrong label. Return (loss, mean probability)."""
        size = self.settings.batch_size
        logits = self.discriminator(images, labels)
        loss = objective = cross_entropy(target, logits[:size])
        if wrong_label_weight:
            objective = (1 - wrong_label_weight) * loss + wrong_label_weight * cross_entropy(0.0, logits[size:])
        minimize(objective, self.discriminator_optimizer)
        return loss.detach(), logits[:size].detach().sigmoid().mean()

    def train_on_real(self, batch):
        """Update the discriminator on real images; return (loss, mean probability)."""
        return self.update_discriminator(batch.images, batch.labels, 1 - self.settings.label_smoothing)

    def train_on_generated(self, batch):
        """Update it on generated images and on real ones with wrong labels; return (loss, mean probability)."""
        self.generator.eval()
        with torch.no_grad():
            images = self.generator(batch.discriminator_noise, batch.discriminator_labels)
        self.generator.train()
        images = torch.cat([images, batch.images[:len(batch.wrong_labels)]])
        labels = torch.cat([batch.discriminator_labels, batch.wrong_labels])
        return self.update_discriminator(images, labels, 0.0, self.settings.wrong_label_weight)

    def train_generator(self, batch):
        """Update the generator through the frozen discriminator, and its EMA; return the loss."""
        settings, half = self.settings, self.settings.batch_size // 2
        noise, labels = batch.generator_noise, batch.generator_labels
        labels = torch.cat([labels[:-half], labels[:half]])  # the two halves draw the same digits
        self.discriminator.requires_grad_(False)
        images = self.generator(noise, labels)
        loss = cross_entropy(1.0, self.discriminator(images, labels))
        minimize(loss + settings.mode_seeking_weight * mode_seeking(noise, images), self.generator_optimizer)
        self.discriminator.requires_grad_(True)
        update_ema(self.ema_generator, self.generator, settings.ema_decay)
        return loss.detach()

    def train_step(self, batch):
        """Make all three updates; return what `cgan_mnist.py` records in its history, float32 (6,)."""
        loss_real, probability_real = self.train_on_real(batch)
        loss_fake, probability_fake = self.train_on_generated(batch)
        g_loss = self.train_generator(batch)
        return torch.stack([loss_real, loss_fake, (loss_real + loss_fake) / 2, g_loss,
                            probability_real, probability_fake])


# ------------------------------------------------------------------------------------------ contender


def load_data(path):
    """Load the training images, uint8 (n, 28, 28), and labels, int64 (n,), of an npz file in Keras's layout."""
    with np.load(path) as arrays:
        return arrays["x_train"], arrays["y_train"].astype(np.int64)


def cgan(settings):
    """Return a function of the batch number: the step on the images of the file `settings.data`.

    With `settings.compiled`, `torch.compile` compiles the networks.
    """
    torch.set_num_threads(os.cpu_count())
    gan = CGAN(settings, *load_data(settings.data))
    if settings.compiled:
        for network in (gan.generator, gan.discriminator):
            network.compile()
    return lambda step: gan.train_step(gan.draw_batch()).numpy()
