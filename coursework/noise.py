"""What the noise of a generator is for, and what its length, distribution and scale change."""

import functools
import math

import keras
from cgan_mnist import build_networks, parse_arguments
from coursework.figures import draw_variants
from coursework.short_trainings import cached_training, score_generator, summarize, train_and_score
from keras import ops


def with_noise(generator, transform):
    """Return a generator that draws from `transform` of its standard normal noise (n, latent_dim)."""
    noise, label = (keras.Input(given.shape[1:], dtype=given.dtype, name=given.name) for given in generator.inputs)
    return keras.Model([noise, label], generator([transform(noise), label]), name="generator")


def build_with_noise(settings, transform):
    """Build networks as `build_networks` does, whose generators draw from `transform` of the noise."""
    generator, ema_generator, discriminator = build_networks(settings)
    return with_noise(generator, transform), with_noise(ema_generator, transform), discriminator


def other_noise(transform):
    """Return the keywords of `train` for generators that draw from `transform` of the noise."""
    return {"networks": functools.partial(build_with_noise, transform=transform)}


def probability_below(noise):
    """Return the probability, in (0, 1), that standard normal noise is below the given one."""
    return 0.5 * (1 + ops.erf(noise / math.sqrt(2)))


# With variance 1 as the normal noise has, where there is a variance.
DISTRIBUTIONS = {
    "uniform": lambda noise: math.sqrt(3) * (2 * probability_below(noise) - 1),
    "binary": lambda noise: ops.sign(noise),
    # Beyond 1e-3 and its mirror image, at 318, float32 would give no more than a few values.
    "Cauchy": lambda noise: ops.tan(math.pi * (ops.clip(probability_below(noise), 1e-3, 1 - 1e-3) - 0.5)),
}


def noise_length(context):
    """Noise of other lengths and none at all: diversity, quality, whether digits are those asked for."""
    variants = {
        # Ones, because zeros would be multiplied into the label and erase it.
        "no noise": other_noise(ops.ones_like),
        **{f"length {length}": {"arguments": ("--latent-dim", str(length))} for length in (1, 2, 8, 32, 200)}}
    results, pictures = train_and_score(context, {"default": None, **variants})
    return {"variants": results}, draw_variants(
        results, pictures, f"The length of the noise (default: {parse_arguments([]).latent_dim})")


def noise_distribution(context):
    """Uniform, binary and heavy-tailed noise in place of normal noise."""
    variants = {name: other_noise(transform) for name, transform in DISTRIBUTIONS.items()}
    results, pictures = train_and_score(context, {"default": None, **variants})
    return {"variants": results}, draw_variants(results, pictures, "Distributions of the noise (default: normal)")


def noise_scale(context):
    """Noise of other scales, in training and only when drawing with the default's generator."""
    def scaled(scale):
        return functools.partial(ops.multiply, scale)

    results, pictures = train_and_score(context, {
        "default": None, **{f"× {scale}, trained": other_noise(scaled(scale)) for scale in (0.1, 10)}})
    drawn = {f"× {scale}, when drawing": scale for scale in (0.1, 0.5, 0.75, 1.5, 2, 10)}

    def draw(seed):
        generator = cached_training(context, seed)[0].ema_generator
        return {name: score_generator(context, with_noise(generator, scaled(scale))) for name, scale in drawn.items()}

    found = context.cached_for_seeds("when drawing", draw)
    for name in drawn:
        results[name], pictures[name] = summarize([scores[name] for scores in found]), found[0][name]["images"]
    for rows in (results, pictures):
        rows["real images"] = rows.pop("real images")  # the last row
    return {"variants": results}, draw_variants(results, pictures, "The scale of the noise (the default: × 1)")
