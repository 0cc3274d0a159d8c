"""What the noise of a generator is for, and what its length, distribution and scale change."""

import math

import keras
from cgan_mnist import build_networks, parse_arguments
from coursework.runs import draw_variants, cached_training, score, summarize, train_and_score
from keras import ops


def with_noise(generator, transform):
    """Return a generator that draws from `transform` of its standard normal noise (n, latent_dim)."""
    noise, label = (keras.Input(given.shape[1:], dtype=given.dtype, name=given.name) for given in generator.inputs)
    return keras.Model([noise, label], generator([transform(noise), label]), name="generator")


def networks_with_noise(transform):
    """Return a function like `build_networks` whose generators draw from `transform` of the noise."""
    def build(settings):
        generator, ema_generator, discriminator = build_networks(settings)
        return with_noise(generator, transform), with_noise(ema_generator, transform), discriminator
    return build


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


def noise_length(options, part):
    """Noise of other lengths and none at all: variety, quality, obedience to the label."""
    variants = {
        # Ones, because zeros would be multiplied into the label and erase it.
        "no noise": dict(networks=networks_with_noise(ops.ones_like)),
        **{f"length {length}": dict(arguments=["--latent-dim", str(length)]) for length in (1, 2, 8, 32, 200)}}
    results, pictures = train_and_score(options, part, {"default": None, **variants})
    return {"variants": results}, draw_variants(
        results, pictures, f"The length of the noise (default: {parse_arguments([]).latent_dim})")


def noise_distribution(options, part):
    """Uniform, binary and heavy-tailed noise in place of normal noise."""
    variants = {name: dict(networks=networks_with_noise(transform)) for name, transform in DISTRIBUTIONS.items()}
    results, pictures = train_and_score(options, part, {"default": None, **variants})
    return {"variants": results}, draw_variants(results, pictures, "Distributions of the noise (default: normal)")


def noise_scale(options, part):
    """Noise of other scales, in training and only when drawing with the default's generator."""
    def scaled(scale):
        return lambda noise: scale * noise
    results, pictures = train_and_score(options, part, {"default": None, **{
        f"× {scale}, trained": dict(networks=networks_with_noise(scaled(scale))) for scale in (0.1, 10)}})
    drawn = {f"× {scale}, when drawing": scale for scale in (0.1, 0.5, 0.75, 1.5, 2, 10)}

    def draw(seed):
        generator = cached_training(options, seed).ema_generator
        return {name: score(options, with_noise(generator, scaled(scale))) for name, scale in drawn.items()}
    found = [part(f"when drawing, seed {seed}", lambda seed=seed: draw(seed)) for seed in options.seeds]
    for name in drawn:
        results[name], pictures[name] = summarize([scores[name] for scores in found]), found[0][name]["images"]
    for kept in (results, pictures):
        kept["real images"] = kept.pop("real images")  # the last row
    return {"variants": results}, draw_variants(results, pictures, "The scale of the noise (the default: × 1)")
