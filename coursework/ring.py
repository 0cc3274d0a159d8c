"""Mode collapse where it can be seen: eight Gaussians on a ring, and what each remedy of the literature does there."""

import functools

import keras
import numpy as np
import tensorflow as tf
from coursework.comparison import summarize
from matplotlib.figure import Figure

MODES, RADIUS, DEVIATION = 8, 2.0, 0.05
NOISE, UNITS, BATCH = 16, 128, 128
STEPS, QUICK_STEPS = 6000, 20
SEEDS = (2, 3, 4, 5, 6)  # the weights were chosen with the seeds 0 and 1
ANGLES = 2 * np.pi * np.arange(MODES, dtype=np.float32) / MODES
CENTRES = RADIUS * np.stack([np.cos(ANGLES), np.sin(ANGLES)], axis=1)
RATE, EMA_DECAY = 1e-3, 0.999

# What each remedy changes of the game of 2014, by the names of `Game`'s arguments.
REMEDIES = {
    "vanilla": {},
    "log(1 − D) for G": {"saturating": True},
    "label smoothing": {"smoothing": 0.1},
    "EMA": {"ema": True},
    "D's rate × 4": {"d_rate": 4},
    "mode seeking": {"mode_seeking": 0.03},
    "packing": {"packed": 2},
    "R1": {"r1": 1.0},
    "spectral norm": {"spectral": 10.0},
    "WGAN-GP": {"wasserstein": True, "d_steps": 5},
}


def forward(weights, x):
    """Return the outputs (n, k) of a network of Dense layers and ReLU with `weights`, matrices and biases in turn."""
    for number in range(0, len(weights), 2):
        x = tf.matmul(x, weights[number]) + weights[number + 1]
        x = tf.nn.relu(x) if number < len(weights) - 2 else x
    return x


def start_weights(sizes, random):
    """Return variables for `forward` with layers of these sizes, by He et al. 2015, from a numpy generator."""
    return [tf.Variable(array.astype(np.float32)) for before, after in zip(sizes, sizes[1:], strict=False)
            for array in (random.normal(0, (2 / before)**0.5, (before, after)), np.zeros(after))]


def normalized(weights):
    """Return `weights` with matrices divided by their largest singular value (Miyato et al. 2018, arXiv:1802.05957)."""
    def norm(matrix):
        u = tf.ones((matrix.shape[0], 1))
        for _ in range(10):  # power iteration
            v = tf.math.l2_normalize(tf.matmul(matrix, u, transpose_a=True))
            u = tf.math.l2_normalize(tf.matmul(matrix, v))
        u, v = tf.stop_gradient(u), tf.stop_gradient(v)
        return tf.reduce_sum(u * tf.matmul(matrix, v))
    return [weight / norm(weight) if len(weight.shape) == 2 else weight for weight in weights]


def gradient_at(function, points):
    """Return the gradients (n, d) of the sum of `function` at `points` (n, d), differentiable themselves."""
    with tf.GradientTape() as tape:
        tape.watch(points)
        value = tf.reduce_sum(function(points))
    return tape.gradient(value, points)


class Game:
    """Generator and discriminator of points (n, d), the losses of REMEDIES and the steps that train them.

    A subclass gives other points, with the sizes of all layers and `real`.
    """

    batch, generator_sizes, discriminator_sizes = BATCH, (NOISE, UNITS, UNITS, 2), (2, UNITS, UNITS, 1)

    def __init__(self, seed, saturating=False, smoothing=0.0, ema=False, d_rate=1, mode_seeking=0.0, packed=1,
                 r1=0.0, spectral=0.0, wasserstein=False, d_steps=1):
        self.saturating, self.smoothing, self.mode_seeking, self.packed = saturating, smoothing, mode_seeking, packed
        self.r1, self.spectral, self.wasserstein = r1, spectral, wasserstein
        self.ema, self.d_rate, self.d_steps, self.seed = ema, d_rate * RATE, d_steps, seed
        random = np.random.default_rng(seed)
        self.generator = start_weights(self.generator_sizes, random)
        first, *others = self.discriminator_sizes
        self.discriminator = start_weights((first * packed, *others), random)
        self.averages = [tf.Variable(weight) for weight in self.generator]
        self.optimizers = [keras.optimizers.Adam(rate, beta_1=0.5) for rate in (RATE, self.d_rate)]
        for optimizer, weights in zip(self.optimizers, (self.generator, self.discriminator), strict=True):
            optimizer.build(weights)

    def noise(self, stream, count=None):
        """Return standard normal noise (count, k), for a batch if not given, that the seed and `stream` determine."""
        return tf.random.stateless_normal((count or self.batch, self.generator_sizes[0]), (self.seed, stream))

    def generate(self, noise, weights=None):
        """Return the points (n, d) that the generator, with other weights if given, makes of noise (n, k)."""
        return forward(weights or self.generator, noise)

    def real(self, stream):
        """Return points (BATCH, 2) of the ring."""
        centres = tf.gather(CENTRES, tf.random.stateless_uniform((BATCH,), (self.seed, stream), 0, MODES, tf.int32))
        return centres + DEVIATION * tf.random.stateless_normal((BATCH, 2), (self.seed, stream + 1))

    def judge(self, points):
        """Return the discriminator's logits (n / packed, 1) of points (n, d)."""
        points, weights = tf.reshape(points, (-1, self.packed * points.shape[1])), self.discriminator
        return self.spectral * forward(normalized(weights), points) if self.spectral else forward(weights, points)

    def discriminator_loss(self, real, generated, stream):
        """Return the discriminator's loss on points (n, d); `stream` determines what is random in it."""
        on_real, on_generated = self.judge(real), self.judge(generated)
        if self.wasserstein:  # Gulrajani et al. 2017, https://arxiv.org/abs/1704.00028, with their weight of 10
            share = tf.random.stateless_uniform((self.batch, 1), (self.seed, stream))
            slopes = gradient_at(self.judge, share * real + (1 - share) * generated)
            penalty = tf.square(tf.sqrt(tf.reduce_sum(slopes**2, 1) + 1e-12) - 1)
            return tf.reduce_mean(on_generated) - tf.reduce_mean(on_real) + 10.0 * tf.reduce_mean(penalty)
        loss = tf.reduce_mean(tf.nn.softplus(-on_real) + self.smoothing * on_real + tf.nn.softplus(on_generated))
        if self.r1:  # Mescheder et al. 2018, https://arxiv.org/abs/1801.04406, equation 9
            slopes = gradient_at(self.judge, real)
            loss += self.r1 / 2 * tf.reduce_mean(tf.reduce_sum(slopes**2, 1))
        return loss

    def generator_loss(self, noise):
        """Return the generator's loss."""
        generated = self.generate(noise)
        logits = self.judge(generated)
        if self.wasserstein:
            return -tf.reduce_mean(logits)
        loss = -tf.reduce_mean(tf.nn.softplus(logits)) if self.saturating else tf.reduce_mean(tf.nn.softplus(-logits))
        if self.mode_seeking:
            half = self.batch // 2
            apart = [tf.reduce_mean(tf.abs(batch[:half] - batch[half:]), 1) for batch in (noise, generated)]
            loss += self.mode_seeking * tf.reduce_mean(apart[0] / (apart[1] + 1e-3))
        return loss

    def train_step(self, step):
        """Update the discriminator `d_steps` times and then the generator, once; return the number of the next step."""
        for turn in range(self.d_steps):
            stream = 100 * step + 4 * turn
            real, generated = self.real(stream), self.generate(self.noise(stream + 2))
            with tf.GradientTape() as tape:
                loss = self.discriminator_loss(real, generated, stream + 50)
            self.optimizers[1].apply(tape.gradient(loss, self.discriminator), self.discriminator)
        with tf.GradientTape() as tape:
            loss = self.generator_loss(self.noise(stream + 3))
        self.optimizers[0].apply(tape.gradient(loss, self.generator), self.generator)
        for average, weight in zip(self.averages, self.generator, strict=True):
            average.assign(EMA_DECAY * average + (1 - EMA_DECAY) * weight)
        return step + 1

    def draw(self, count=2500):
        """Return `count` points (count, d) of the generator, by its EMA if that is the remedy."""
        return self.generate(self.noise(-1, count), self.averages if self.ema else None).numpy()

    def gradient(self):
        """Return the mean norm of the gradient of the generator's loss at its points."""
        def loss(points):
            logits = self.judge(points)
            if self.wasserstein:
                return -logits
            return -tf.nn.softplus(logits) if self.saturating else tf.nn.softplus(-logits)
        return float(tf.reduce_mean(tf.norm(gradient_at(loss, self.generate(self.noise(-2, 2000))), axis=1)))


def count_modes(points):
    """Return (modes, quality) of points (n, 2): how many modes they reach and the share of them that is near one.

    Near is within 3 standard deviations; a mode is reached by 1% of the points or more.
    """
    distances = np.linalg.norm(points[:, np.newaxis] - CENTRES, axis=2)
    near = distances.min(1) < 3 * DEVIATION
    counts = np.bincount(distances.argmin(1)[near], minlength=MODES)
    return int((counts >= len(points) / 100).sum()), float(near.mean())


def train(game, steps):
    """Play `steps` steps of a `Game`, compiled."""
    loop = tf.function(lambda first, last: tf.while_loop(lambda step: step < last, game.train_step, [first]),
                       jit_compile=True, autograph=False)
    for tenth in range(10):
        loop(tf.constant(tenth * steps // 10), tf.constant((tenth + 1) * steps // 10))


def play(steps, remedy, seed):
    """Return what one game of so many steps comes to, numbers fit for JSON."""
    game = Game(seed, **REMEDIES[remedy])
    train(game, steps)
    points = game.draw()
    modes, quality = count_modes(points)
    return {"modes": modes, "quality": quality, "gradient": game.gradient(), "points": points[:500].round(3).tolist()}


def ring(context):
    """Eight Gaussians on a ring: modes that are caught, near points and gradients, with each remedy."""
    seeds, steps = (SEEDS[:1], QUICK_STEPS) if context.quick else (SEEDS, STEPS)
    found = {remedy: [context.cached(f"{remedy}, seed {seed}", functools.partial(play, steps, remedy, seed))
                      for seed in seeds] for remedy in REMEDIES}
    figure = Figure((9, 4.2), dpi=100, layout="constrained")
    for axes, (remedy, games) in zip(figure.subplots(2, 5).flat, found.items(), strict=False):
        axes.plot(*CENTRES.T, "o", color="tab:orange", markersize=9, alpha=0.5)
        axes.plot(*np.array(games[0]["points"]).T, ".", color="tab:blue", markersize=2)
        axes.set_title(f"{remedy}\n{np.mean([game['modes'] for game in games]):.1f} modes", fontsize=9)
        axes.set(xlim=(-2.8, 2.8), ylim=(-2.8, 2.8), aspect="equal", xticks=[], yticks=[])
    return {"seeds": seeds, "steps": steps, "variants": {remedy: summarize([
        {name: value for name, value in game.items() if name != "points"} for game in games])
        for remedy, games in found.items()}}, figure
