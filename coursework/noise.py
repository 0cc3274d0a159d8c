"""What the noise of a generator is for, and what its length, distribution and scale change."""

import functools

from cgan_mnist import parse_arguments
from coursework.figures import draw_variants
from coursework.short_trainings import cached_training, score_generator, summarize, train_and_score
from coursework.variants import DISTRIBUTIONS, other_noise, with_noise
from keras import ops


def noise_length(context):
    """Noise of other lengths and none at all: diversity, quality, whether digits are those asked for."""
    variants = {
        # Ones, because zeros would be multiplied into the label and erase it.
        "no noise": {"networks": other_noise(ops.ones_like)},
        **{f"length {length}": {"arguments": ("--latent-dim", str(length))} for length in (1, 2, 8, 32, 200)}}
    results, pictures = train_and_score(context, {"default": None, **variants})
    return {"variants": results}, draw_variants(
        results, pictures, f"The length of the noise (default: {parse_arguments([]).latent_dim})")


def noise_distribution(context):
    """Uniform, binary and heavy-tailed noise in place of normal noise."""
    variants = {name: {"networks": other_noise(transform)} for name, transform in DISTRIBUTIONS.items()}
    results, pictures = train_and_score(context, {"default": None, **variants})
    return {"variants": results}, draw_variants(results, pictures, "Distributions of the noise (default: normal)")


def noise_scale(context):
    """Noise of other scales, in training and only when drawing with the default's generator."""
    def scaled(scale):
        return functools.partial(ops.multiply, scale)

    results, pictures = train_and_score(context, {
        "default": None, **{f"× {scale}, trained": {"networks": other_noise(scaled(scale))} for scale in (0.1, 10)}})
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
