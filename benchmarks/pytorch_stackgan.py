"""The training steps of `stackgan_mnist.py` in PyTorch, eager, with its fused Adam: the same networks and losses.

As `pytorch.py`, it imports nothing that starts TensorFlow. What differs beside initial weights and random numbers:
colours and sentences are drawn without the grammar, the latter among random embeddings; the learning rates stay.
"""

import os
from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional

from benchmarks.pytorch import (SIDE, build_optimizer, cross_entropy, half_distances, load_data, minimize, update_ema)

SENTENCE_DIM = CONDITION_DIM = 64
PAINTS = 16
SIMILARITY_SCALE = 2.5

# ------------------------------------------------------------------------------------------- painting


def halve(images):
    """Average images (n, c, 2 h, 2 w) over areas of 2 x 2 pixels: (n, c, h, w)."""
    return functional.avg_pool2d(images, 2)


def with_contrast(pictures):
    """Add a channel to pictures (n, 3, h, w): how far a pixel is from the mean colour, relative to all pixels."""
    distance = (pictures - pictures.mean((2, 3), keepdim=True)).square().sum(1, keepdim=True)
    contrast = (distance / (4 * distance.mean((2, 3), keepdim=True) + 1e-3) + 1e-3).sqrt()
    return torch.cat([pictures, contrast], 1)


def guess_colours(pictures):
    """Guess the colours of ink and background, (n, 6), of pictures (n, 3, h, w)."""
    pixels, contrast = with_contrast(pictures).flatten(2).split((3, 1), 1)
    return torch.cat([((10 * contrast).softmax(2) * pixels).sum(2), pictures[:, :, 0].mean(2)], 1)


def nearest_colours(colours, palette):
    """Return for colours (n, 6) of ink and background the nearest two different ones in `palette` (k, 3), (n, 6)."""
    ink, background = ((colour[:, None] - palette).square().sum(2) for colour in colours.chunk(2, 1))
    behind = background.argmin(1)
    before = ink.scatter(1, behind[:, None], torch.inf).argmin(1)
    return torch.cat([palette[before], palette[behind]], 1)


def mix_colours(mask, colours):
    """Paint with a mask (n, 1, h, w) in [0, 1] and the colours (n, 6) of ink and background: (n, 3, h, w)."""
    ink, background = colours[:, :, None, None].chunk(2, 1)
    return (background + (ink - background) * mask).clip(-1, 1)


def measure_shapes(gray):
    """Return the logarithm of the stroke width and the shear, (n, 2), of digits `gray` (n, 1, h, w) in [0, 1]."""
    gray = gray[:, 0]
    down, right = functional.pad(gray, (0, 0, 0, 1)).diff(dim=1), functional.pad(gray, (0, 1)).diff(dim=2)
    width = 2 * gray.sum((1, 2)) / (down.square() + right.square() + 1e-12).sqrt().sum((1, 2)).clamp(1e-6)
    y, x = torch.meshgrid(*map(torch.arange, gray.shape[1:]), indexing="ij")
    mass = gray.sum((1, 2), keepdim=True).clamp(1e-6)
    y = y - (gray * y).sum((1, 2), keepdim=True) / mass
    x = x - (gray * x).sum((1, 2), keepdim=True) / mass
    shear = -(gray * x * y).sum((1, 2)) / (gray * y * y).sum((1, 2)).clamp(1e-6)
    return torch.stack([width.clamp(0.1).log(), shear], 1)


# ------------------------------------------------------------------------------------------- networks


def normalized(layer, width, normalization=nn.BatchNorm2d):
    """Return `layer`, LeakyReLU(0.2) and then BatchNormalization with Keras's momentum 0.8."""
    return nn.Sequential(layer, nn.LeakyReLU(0.2), normalization(width, eps=1e-3, momentum=0.2))


def dense(inputs, units):
    """Return a normalized Dense layer."""
    return normalized(nn.Linear(inputs, units), units, nn.BatchNorm1d)


def colour_layers(inputs, outputs):
    """Return three layers of 256 on (n, inputs), without BatchNormalization, and a last one."""
    return nn.Sequential(nn.Linear(inputs, 256), nn.LeakyReLU(0.2), nn.Linear(256, 256), nn.LeakyReLU(0.2),
                         nn.Linear(256, 256), nn.LeakyReLU(0.2), nn.Linear(256, outputs))


def build_picture_encoder():
    """Build the picture encoder, frozen: pictures (n, 4, 14, 14) with contrast to embeddings (n, 64) of length 1."""
    return nn.Sequential(
        nn.Flatten(), nn.Linear(SIDE**2, 512), nn.LeakyReLU(0.2), nn.BatchNorm1d(512, eps=1e-3), nn.Linear(512, 256),
        nn.LeakyReLU(0.2), nn.Linear(256, SENTENCE_DIM), nn.BatchNorm1d(SENTENCE_DIM, eps=1e-3)
    ).eval().requires_grad_(False)


class Condition(nn.Module):
    """Conditioning augmentation: sentence and epsilon (n, 64) to (condition, mean, log_sigma), (n, 64) each."""

    def __init__(self):
        super().__init__()
        self.mean, self.log_sigma = nn.Linear(SENTENCE_DIM, CONDITION_DIM), nn.Linear(SENTENCE_DIM, CONDITION_DIM)

    def forward(self, sentence, epsilon):
        mean, log_sigma = self.mean(sentence), self.log_sigma(sentence)
        return mean + log_sigma.exp() * epsilon, mean, log_sigma


class Stage1Generator(nn.Module):
    """Noise (n, latent_dim), epsilon and sentence (n, 64) to (mean, log_sigma, mask (n, 1, 14, 14), colours (n, 6))."""

    def __init__(self, latent_dim):
        super().__init__()
        self.condition = Condition()
        self.scale = nn.Linear(CONDITION_DIM, latent_dim)
        self.colours = colour_layers(8 + CONDITION_DIM, 6)
        self.mask = nn.Sequential(dense(2 * latent_dim + CONDITION_DIM, 256), dense(256, 512), dense(512, 1024),
                                  nn.Linear(1024, SIDE**2 // 4), nn.Unflatten(1, (1, SIDE // 2, SIDE // 2)))

    def forward(self, noise, epsilon, sentence):
        condition, mean, log_sigma = self.condition(sentence, epsilon)
        colours = self.colours(torch.cat([noise[:, :8], condition], 1))
        mask = self.mask(torch.cat([noise * self.scale(condition), noise, condition], 1))
        return mean, log_sigma, mask.sigmoid(), colours.tanh() + 0.1 * colours


class ResidualBlock(nn.Module):
    """x (n, channels, h, w) plus what two convolutions make of it."""

    def __init__(self, channels):
        super().__init__()
        self.block = nn.Sequential(normalized(nn.Conv2d(channels, channels, 3, padding=1), channels),
                                   nn.Conv2d(channels, channels, 3, padding=1),
                                   nn.BatchNorm2d(channels, eps=1e-3, momentum=0.2))

    def forward(self, x):
        return functional.leaky_relu(x + self.block(x), 0.2)


def upsampling(inputs, channels):
    """Return what doubles height and width of (n, inputs, h, w) to (n, channels, 2 h, 2 w), normalized."""
    return normalized(nn.Sequential(nn.Conv2d(inputs, 4 * channels, 3, padding=1), nn.PixelShuffle(2)), channels)


class Stage2Generator(nn.Module):
    """Rough picture (n, 3, 14, 14), epsilon and sentence (n, 64) to as much as Stage1Generator, at 28 x 28 pixels."""

    def __init__(self):
        super().__init__()
        self.condition = Condition()
        self.early = nn.Sequential(nn.Conv2d(4, 32, 3, padding=1), nn.LeakyReLU(0.2))
        self.down = normalized(nn.Conv2d(32, 64, 4, 2, 1), 64)
        self.join = normalized(nn.Conv2d(64 + CONDITION_DIM, 64, 1), 64)
        self.blocks = nn.Sequential(ResidualBlock(64), ResidualBlock(64))
        self.colours = colour_layers(6 + 32 + CONDITION_DIM, 2 * PAINTS)
        self.paints = nn.Linear(PAINTS, 3, bias=False)
        self.mask = nn.Sequential(upsampling(64, 32), upsampling(32, 16), nn.Conv2d(16, 1, 3, padding=1))

    def forward(self, rough, epsilon, sentence):
        condition, mean, log_sigma = self.condition(sentence, epsilon)
        early = self.early(with_contrast(rough))
        everywhere = condition[:, :, None, None].expand(-1, -1, SIDE // 4, SIDE // 4)
        x = self.blocks(self.join(torch.cat([self.down(early), everywhere], 1)))
        shares = self.colours(torch.cat([guess_colours(rough), early.mean((2, 3)), condition], 1))
        colours = self.paints(shares.unflatten(1, (2, PAINTS)).softmax(2)).flatten(1)
        return mean, log_sigma, self.mask(x).sigmoid(), colours


class Discriminator(nn.Module):
    """A `trunk` from pictures (n, 3, h, w) to features (n, 256), and a head from these and sentences to logits."""

    def __init__(self, *trunk):
        super().__init__()
        self.stack = nn.Sequential(*trunk, nn.LeakyReLU(0.2))
        self.sentence, self.logit = nn.Linear(SENTENCE_DIM, 256), nn.Linear(256, 1)

    def trunk(self, pictures):
        """Return the features (n, 256) of pictures (n, 3, h, w)."""
        return self.stack(with_contrast(pictures))

    def head(self, features, sentence):
        """Return the logits (n, 1) of features (n, 256) and sentences (n, 64)."""
        return self.logit(features) + (features * self.sentence(sentence)).sum(1, keepdim=True) / 16


def build_stage1_discriminator():
    """Build Stage I's discriminator, for pictures (n, 3, 14, 14)."""
    return Discriminator(nn.Flatten(), nn.Linear(SIDE**2, 1024), nn.LeakyReLU(0.2), nn.Linear(1024, 512),
                         nn.LeakyReLU(0.2), nn.Linear(512, 256))


def build_stage2_discriminator():
    """Build Stage II's discriminator, for pictures (n, 3, 28, 28)."""
    return Discriminator(nn.Conv2d(4, 32, 4, 2, 1), nn.LeakyReLU(0.2), nn.Conv2d(32, 64, 4, 2, 1), nn.LeakyReLU(0.2),
                         nn.ZeroPad2d((1, 2, 1, 2)),  # as Keras pads 7 pixels to halve them
                         nn.Conv2d(64, 128, 4, 2), nn.LeakyReLU(0.2), nn.Flatten(), nn.Linear(128 * 16, 256))


# -------------------------------------------------------------------------------------------- updates


class Batch(NamedTuple):
    """What a step of batch size n draws, for a stage whose pictures have height h and width w."""
    images: torch.Tensor  # uint8 (n, 1, 28, 28)
    colours: torch.Tensor  # theirs, of ink and background, (n, 6)
    right: torch.Tensor  # embeddings of sentences that are true of them, (n, 64)
    wrong: torch.Tensor  # and of others that are not
    matching_share: torch.Tensor  # how much each of the first half counts in the matching loss, (n // 2,)
    noise: torch.Tensor  # (n, latent_dim), for Stage I
    epsilon: torch.Tensor  # (n, 64), for the condition of Stage I
    stage2_epsilon: torch.Tensor  # the same for Stage II
    discriminator_noise: torch.Tensor  # on the pictures that the discriminator learns with, (2 n, 3, h, w)
    generator_noise: torch.Tensor  # on those that the generator learns with, (n, 3, h, w)


def kl_divergence(mean, log_sigma):
    """Return the KL divergence of the conditions (n, 64) from the standard normal distribution, per dimension."""
    return (0.5 * (mean.square() + (2 * log_sigma).exp() - 1) - log_sigma).mean()


def energy_score(drawn, wanted, power=1.0):
    """Return the mean energy score of the first n and the last n rows of `drawn` (m, k), for n rows `wanted`."""
    first, second = drawn[:len(wanted)], drawn[-len(wanted):]
    ends = (first, wanted, 1), (second, wanted, 1), (first, second, -1)
    return sum(sign * ((one - other).square().sum(1) + 1e-4).pow(power / 2).mean() for one, other, sign in ends) / 2


def mode_seeking(noise, pictures):
    """Return how much more the halves of `noise` (n, k) differ than those of `pictures` (n, 3, h, w)."""
    return (half_distances(noise) / (half_distances(pictures) + 1e-2)).mean()


class Stage:
    """What both stages have in common; `settings` are those of `stackgan_mnist.py`, `palette` and `sentences`.

    `palette` holds the colours (k, 3), `sentences` is the number of the random embeddings of sentences.
    """

    def __init__(self, settings, x_train):
        """`x_train` is uint8 (n, 28, 28)."""
        self.settings, self.images = settings, torch.from_numpy(x_train)[:, None]
        self.palette = torch.tensor(settings.palette)
        self.embeddings = torch.randn(settings.sentences, SENTENCE_DIM)
        self.picture_encoder = build_picture_encoder()
        self.generator, self.ema_generator = self.build_generator(), self.build_generator()
        self.ema_generator.load_state_dict(self.generator.state_dict())
        self.discriminator = self.build_discriminator()
        self.generator_optimizer = build_optimizer(self.generator, settings.generator_learning_rate)
        self.discriminator_optimizer = build_optimizer(self.discriminator, settings.discriminator_learning_rate)

    def draw_batch(self):
        """Draw a Batch."""
        size, shape = self.settings.batch_size, (3, self.side, self.side)
        share = (torch.rand(size // 2) < 0.3).float()  # the sentences that say everything
        return Batch(self.images[torch.randint(len(self.images), (size,))],
                     self.palette[torch.randint(len(self.palette), (size, 2))].flatten(1),
                     self.embeddings[torch.randint(len(self.embeddings), (size,))],
                     self.embeddings[torch.randint(len(self.embeddings), (size,))],
                     share / share.sum().clamp(1.0), torch.randn(size, self.settings.latent_dim),
                     torch.randn(size, CONDITION_DIM), torch.randn(size, CONDITION_DIM),
                     torch.randn(2 * size, *shape), torch.randn(size, *shape))

    def update_discriminator(self, batch, real, generated, asked):
        """Update it; return its losses on real pictures, on generated ones and on wrong sentences."""
        size, settings = len(real), self.settings
        pictures = torch.cat([real, generated.detach()])
        features = self.discriminator.trunk(pictures + settings.input_noise * batch.discriminator_noise)
        logits = self.discriminator.head(torch.cat([features, features[:size]]),
                                         torch.cat([batch.right, asked, batch.wrong]))
        loss_real = cross_entropy(1 - settings.label_smoothing, logits[:size])
        loss_generated = cross_entropy(0.0, logits[size:-size])
        loss_wrong = cross_entropy(0.0, logits[-size:])
        minimize(loss_real + (1 - settings.wrong_sentence_weight) * loss_generated
                 + settings.wrong_sentence_weight * loss_wrong, self.discriminator_optimizer)
        return loss_real, loss_generated, loss_wrong

    def adversarial_loss(self, batch, generated, asked):
        """Return the generator's cross-entropy through the discriminator as it is now."""
        features = self.discriminator.trunk(generated + self.settings.input_noise * batch.generator_noise)
        return cross_entropy(1.0, self.discriminator.head(features, asked))

    def see(self, pictures):
        """Return what the picture encoder makes of pictures (n, 3, 14, 14): embeddings (n, 64) of length 1."""
        return functional.normalize(self.picture_encoder(with_contrast(pictures)), dim=1)

    def matching_loss(self, batch, seen):
        """Return how surprised the frozen encoders are by the sentence of a picture among those of the batch."""
        half = len(seen) // 2
        own = torch.arange(half)
        losses = sum(functional.cross_entropy(SIMILARITY_SCALE * part @ batch.right[:half].T, own, reduction="none")
                     for part in (seen[:half], seen[-half:])) / 2
        return (batch.matching_share * losses).sum()

    def train_step(self, batch):
        """Update the discriminator and then the generator; return what `stackgan_mnist.py` records, float32 (7,)."""
        settings, half = self.settings, self.settings.batch_size // 2
        gray = self.resize(batch.images.float() / 255)
        real = mix_colours(gray, batch.colours)
        asked, asked_colours = (torch.cat([part[:-half], part[:half]]) for part in (batch.right, batch.colours))
        inputs, rough_colours = self.generator_inputs(batch, asked)
        mean, log_sigma, mask, colours = self.generator(*inputs)
        generated = mix_colours(mask, asked_colours)
        loss_real, loss_generated, loss_wrong = self.update_discriminator(batch, real, generated, asked)
        self.discriminator.requires_grad_(False)
        g_loss, kl = self.adversarial_loss(batch, generated, asked), kl_divergence(mean, log_sigma)
        seen = self.see(self.encoder_input(generated))
        matching = self.matching_loss(batch, seen)
        objective = g_loss + settings.kl_weight * kl + settings.matching_weight * matching
        objective = objective + settings.shape_weight * energy_score(measure_shapes(mask), measure_shapes(gray[:half]))
        minimize(self.add_own_terms(objective, batch, real, generated, seen, colours, rough_colours),
                 self.generator_optimizer)
        self.discriminator.requires_grad_(True)
        update_ema(self.ema_generator, self.generator, settings.ema_decay)
        return torch.stack([loss_real, loss_generated, loss_wrong, (loss_real + loss_generated) / 2, g_loss, kl,
                            matching]).detach()


class Stage1(Stage):
    """Stage I: from noise and a sentence to 14 x 14 pixels."""

    side = SIDE // 2
    build_discriminator = staticmethod(build_stage1_discriminator)
    resize = staticmethod(halve)

    def build_generator(self):
        """Return a new generator of this stage."""
        return Stage1Generator(self.settings.latent_dim)

    def generator_inputs(self, batch, asked):
        """Return the generator's inputs, and None for what Stage II adds."""
        return (batch.noise, batch.epsilon, asked), None

    def encoder_input(self, generated):
        """Return pictures (n, 3, 14, 14) as the picture encoder takes them."""
        return generated

    def add_own_terms(self, objective, batch, real, generated, seen, colours, _):
        """Return `objective` plus the terms for what varies in Stage I."""
        settings, wanted = self.settings, real[:len(real) // 2]
        pixels = energy_score(generated.flatten(1), wanted.flatten(1))
        return (objective + settings.energy_weight * (energy_score(seen, self.see(wanted))
                                                      + 2 / (3 * SIDE**2 / 4)**0.5 * pixels)
                + settings.colour_weight * energy_score(colours, batch.colours[:len(wanted)], 0.5)
                + settings.mode_seeking_weight * mode_seeking(batch.noise, generated))


class Stage2(Stage):
    """Stage II: from Stage I's picture and the sentence to 28 x 28 pixels."""

    side = SIDE
    build_discriminator = staticmethod(build_stage2_discriminator)
    encoder_input = staticmethod(halve)

    def __init__(self, settings, x_train):
        super().__init__(settings, x_train)
        self.stage1_generator = Stage1Generator(settings.latent_dim).eval().requires_grad_(False)

    def build_generator(self):
        """Return a new generator of this stage."""
        return Stage2Generator()

    def resize(self, pictures):
        """Return real pictures in the stage's own resolution: as they are."""
        return pictures

    def generator_inputs(self, batch, asked):
        """Return the generator's inputs, and Stage I's colours (n, 6)."""
        _, _, mask, colours = self.stage1_generator(batch.noise, batch.epsilon, asked)
        return (mix_colours(mask, colours), batch.stage2_epsilon, asked), colours

    def add_own_terms(self, objective, batch, real, generated, seen, colours, rough_colours):
        """Return `objective` plus the term that keeps Stage I's colours, but of each the nearest that there is."""
        wanted = nearest_colours(rough_colours, self.palette)
        return objective + self.settings.colour_weight * energy_score(colours, wanted, 0.5)


# ------------------------------------------------------------------------------------------ contender


def stage(settings):
    """Return a function of the batch number: the step of stage `settings.stage`, on images of `settings.data`."""
    torch.set_num_threads(os.cpu_count())
    x_train, _ = load_data(settings.data)
    built = (Stage1 if settings.stage == 1 else Stage2)(settings, x_train[:10_000])
    return lambda step: built.train_step(built.draw_batch()).numpy()
