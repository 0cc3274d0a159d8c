"""The StackGAN's networks and updates: shapes, upsampling, sentences of the gan, and what each update changes."""

import itertools

import keras
import numpy as np
import pytest
import stackgan_mnist
import tensorflow as tf
from helpers import bundled_arrays
from mnist_gan.data.described import paint_batch, phrase, prepare_data, random_draws, wrong_sentences
from mnist_gan.data.painting import NEVER_SEEN, PALETTE, guess_colours, halve, measure_shapes, nearest_colours, paint
from mnist_gan.encoders import build_digit_classifier, build_picture_encoder, build_text_encoder, train_encoders
from mnist_gan.networks import all_layers
from mnist_gan.data.sentences import CHOICES, COLOURS, PHRASINGS_PER_DESCRIPTION, UNSAID, sentence_table, to_tokens

SIZE = 16  # a batch
UNSEEN = {(digit, COLOURS.index(ink)) for digit, ink in NEVER_SEEN}


def start():
    """Build a StackGAN with small batches; its sentences have the embeddings of the untrained encoder."""
    arrays = bundled_arrays(64)
    settings = stackgan_mnist.parse_arguments(["--batch-size", str(SIZE)])
    settings.train_size = 64
    gan = stackgan_mnist.StackGAN(settings, arrays["x_train"], arrays["y_train"].astype(np.int32))
    gan.embed_sentences()
    return gan


def values(variables):
    return [variable.numpy() for variable in variables]


def equal(before, after):
    return [np.array_equal(old, new) for old, new in zip(before, after, strict=True)]


def train_step(gan, stage):
    return gan.stages[stage - 1].train_step(tf.range(SIZE), tf.constant(0)).numpy()


# --------------------------------------------------------------------------------- sentences of the training


def said_in(indices):
    """Return the descriptions (n, 5) of the sentences at `indices` of the table."""
    shape = (CHOICES[0], *(choices + 1 for choices in CHOICES[1:]), PHRASINGS_PER_DESCRIPTION)
    found = np.stack(np.unravel_index(np.asarray(indices), shape), axis=1)[:, :5]
    unsaid = found == np.array((99, *CHOICES[1:]))
    return np.where(unsaid, UNSAID, found)


@pytest.fixture(scope="module")
def batch():
    """Descriptions of 3,000 painted pictures and what sentences about them say."""
    arrays = bundled_arrays(3000)
    data = prepare_data(arrays["x_train"], arrays["y_train"].astype(np.int32))
    _, uniform = random_draws(0, 5)
    _, descriptions = paint_batch(data, tf.range(3000), uniform)
    indices, said = phrase(descriptions, uniform, 2)
    np.testing.assert_array_equal(said, said_in(indices))
    return descriptions, said.numpy()


def test_sentences_are_true_of_their_pictures_and_leave_things_unsaid(batch):
    true, said = batch[0].numpy(), batch[1]
    unsaid = said == UNSAID
    assert ((said == true) | unsaid).all() and not unsaid[:, 0].any()
    np.testing.assert_allclose(unsaid[:, 1:].mean(0), 1 - 7 / 8 * 3 / 4, atol=0.03)
    np.testing.assert_allclose(unsaid[:, 1:].all(1).mean(), 1 / 8 + 7 / 8 / 4**4, atol=0.02)


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_wrong_sentences_are_wrong_and_the_hard_ones_in_one_attribute(batch, share):
    _, uniform = random_draws(0, 6)
    true, said = batch[0].numpy(), said_in(wrong_sentences(batch[0], share, uniform))
    faults = (said != true) & (said != UNSAID)
    assert (faults.sum(1) >= 1).all()
    hard = faults[:round(share * len(faults))]
    assert (hard.sum(1) == 1).all()
    if share:
        np.testing.assert_allclose(hard.mean(0), np.array([2, 1, 1, 1, 1]) / 6, atol=0.05)
    easy = faults[round(share * len(faults)):]
    assert (easy[:, 0] | (easy.sum(1) == 1)).all()


def test_unseen_pairs_are_neither_painted_nor_said(batch):
    _, uniform = random_draws(0, 7)
    wrong = said_in(wrong_sentences(batch[0], 0.5, uniform))
    for descriptions in (batch[0].numpy(), batch[1], wrong):
        assert not UNSEEN & set(map(tuple, descriptions[:, :2].tolist()))


# -------------------------------------------------------------------------------------------------- networks


@pytest.mark.parametrize("upsampling", ["pixelshuffle", "transposed", "nearest"])
def test_only_pixelshuffle_and_nearest_start_without_a_checkerboard(upsampling):
    keras.utils.set_random_seed(0)
    low = keras.Input((7, 7, 8))
    high = keras.Model(low, stackgan_mnist.upsample(low, 4, upsampling))(np.ones((2, 7, 7, 8), np.float32))
    assert high.shape == (2, 14, 14, 4)
    # Of an even picture, an even one, but for the margin.
    inner = high.numpy()[:, 2:-2, 2:-2]
    unevenness = np.abs(inner - inner[:, :1, :1]).max()
    assert unevenness > 0.1 if upsampling == "transposed" else unevenness < 1e-5


def test_pictures_are_in_range_and_vary_with_noise_and_condition():
    random = np.random.default_rng(0)
    noise, epsilon, sentence = (tf.constant(random.standard_normal((4, dim), np.float32)) for dim in (100, 64, 64))
    rough, mean, log_sigma, *_ = stackgan_mnist.build_stage1_generator()([noise, epsilon, sentence])
    fine = stackgan_mnist.build_stage2_generator()([rough, epsilon, sentence])[0]
    assert rough.shape == (4, 14, 14, 3) and fine.shape == (4, 28, 28, 3)
    assert mean.shape == log_sigma.shape == (4, 64)
    for pictures in (rough.numpy(), fine.numpy()):
        assert -1 <= pictures.min() and pictures.max() <= 1 and pictures.std(0).min() > 0


def test_without_condition_noise_epsilon_changes_nothing():
    generator = stackgan_mnist.build_stage1_generator(condition_noise=0.0)
    noise, sentence = np.ones((2, 100), np.float32), np.ones((2, 64), np.float32)
    epsilon = np.random.default_rng(0).standard_normal((2, 64), np.float32)
    pictures = generator([noise, epsilon, sentence])[0].numpy()
    np.testing.assert_array_equal(pictures[0], pictures[1])
    pictures = stackgan_mnist.build_stage1_generator()([noise, epsilon, sentence])[0].numpy()
    assert (pictures[0] != pictures[1]).any()


def test_the_text_encoder_hears_the_order_of_words():
    keras.utils.set_random_seed(0)
    encoder = build_text_encoder()
    one, other = encoder(to_tokens(["a red one on blue", "a blue one on red"])).numpy()
    assert np.abs(one - other).max() > 0.01
    np.testing.assert_allclose(np.linalg.norm([one, other], axis=1), 8, rtol=1e-5)


def test_the_encoders_learn_to_match_digits_with_sentences_and_the_classifier_to_tell_digits():
    arrays = bundled_arrays(3000)
    settings = stackgan_mnist.parse_arguments(["--encoder-epochs", "8"])
    keras.utils.set_random_seed(0)
    encoders = build_text_encoder(), build_picture_encoder(), build_digit_classifier()
    data = prepare_data(arrays["x_train"], arrays["y_train"].astype(np.int32))
    train_encoders(*encoders, data, tf.constant(sentence_table(0)), settings)
    _, uniform = random_draws(0, 5)
    pictures, _ = paint_batch(data, tf.range(500), uniform)
    described = [f"{ink} on {background}" for ink in COLOURS for background in COLOURS if ink != background]
    sentences = encoders[0](to_tokens([f"a seven {text}" for text in described])).numpy()
    found = (encoders[1](halve(pictures)).numpy() @ sentences.T).argmax(1)
    _, descriptions = paint_batch(data, tf.range(500), uniform)
    right = [f"{COLOURS[ink]} on {COLOURS[background]}" for ink, background in descriptions.numpy()[:, 1:3]]
    # By chance 1 of 56 would be right.
    assert np.mean([described[number] == text for number, text in zip(found, right, strict=True)]) > 0.15
    gray = np.float32(arrays["x_train"][:500, ..., np.newaxis] / 255)
    assert (encoders[2](gray).numpy().argmax(1) == arrays["y_train"][:500]).mean() > 0.9


def test_a_classifier_that_is_not_finite_ends_the_training_of_the_encoders():
    arrays = bundled_arrays(64)
    encoders = build_text_encoder(), build_picture_encoder(), build_digit_classifier()
    encoders[2].layers[-1].bias.assign(np.full(10, np.nan))
    data = prepare_data(arrays["x_train"], arrays["y_train"].astype(np.int32))
    with pytest.raises(FloatingPointError, match="batch 1"):
        train_encoders(*encoders, data, tf.constant(sentence_table(0)), stackgan_mnist.parse_arguments([]))


# --------------------------------------------------------------------------------------------------- updates


@pytest.fixture(scope="module")
def build_stage():
    """A function of a stage and command-line options: the stage, always with the same weights and other networks."""
    arrays = bundled_arrays(64)
    data = prepare_data(arrays["x_train"], arrays["y_train"].astype(np.int32))
    keras.utils.set_random_seed(0)
    encoder, classifier = build_picture_encoder(), build_digit_classifier()
    embeddings = tf.Variable(tf.random.stateless_normal((len(sentence_table(0)), 64), (0, 0)))

    def build(stage, *options):
        settings = stackgan_mnist.parse_arguments(["--batch-size", str(SIZE), *options])
        settings.train_size = 64
        keras.utils.set_random_seed(0)
        if stage == 1:
            return stackgan_mnist.Stage1(settings, data, embeddings, encoder, classifier)
        first = stackgan_mnist.build_stage1_generator(condition_noise=settings.condition_noise)
        return stackgan_mnist.Stage2(settings, data, embeddings, encoder, classifier, first)
    return build


def train_eagerly(stage):
    """Train a stage with one batch, without any compilation."""
    tf.config.run_functions_eagerly(True)
    stage.train_step(tf.range(SIZE), tf.constant(5))
    tf.config.run_functions_eagerly(False)


@pytest.fixture(scope="module")
def gan():
    return start()


@pytest.mark.parametrize("stage", [1, 2])
def test_a_stage_trains_all_its_own_weights_and_freezes_everything_else(gan, stage):
    own, other = gan.stages[stage - 1], gan.stages[2 - stage]
    frozen = [*gan.text_encoder.variables, *gan.picture_encoder.variables, *gan.digit_classifier.variables,
              *other.variables]
    trained = [variable for network in (own.generator, own.ema_generator, own.trunk, own.head)
               for variable in network.trainable_variables]
    frozen_before, trained_before = values(frozen), values(trained)
    assert np.isfinite(train_step(gan, stage)).all()
    assert all(equal(frozen_before, values(frozen)))
    # A bias in front of BatchNormalization may rest, because it has no influence; all else must move.
    resting = [variable.path for variable, same in zip(trained, equal(trained_before, values(trained)), strict=True)
               if same and not variable.path.endswith("bias")]
    assert not resting


def test_the_kl_divergence_is_that_of_the_conditions(gan):
    stage = gan.stages[0]
    normal, uniform = random_draws(0, 0)
    arrays = bundled_arrays(64)
    data = prepare_data(arrays["x_train"], arrays["y_train"].astype(np.int32))
    _, descriptions = paint_batch(data, tf.range(SIZE), uniform)
    indices, _ = phrase(descriptions, uniform, 2)
    words = tf.gather(sentence_table(0), tf.concat([indices[:SIZE // 2]] * 2, 0))
    _, mean, log_sigma, *_ = stage.generator([normal(0, SIZE, 100), normal(1, SIZE, 64), gan.text_encoder(words)])
    mean, sigma = mean.numpy().astype(float), np.exp(log_sigma.numpy().astype(float))
    divergence = 0.5 * (mean**2 + sigma**2 - 1 - np.log(sigma**2))
    assert train_step(gan, 1)[5] == pytest.approx(divergence.mean(), rel=1e-4)


def test_the_energy_score_is_best_where_rows_vary_as_the_wanted_ones_do():
    first, second, wanted = np.float32(np.meshgrid((-1, 1), (-1, 1), (-1, 1))).reshape(3, 8, 1)  # all that can happen
    scores = [float(stackgan_mnist.energy_score(tf.constant(scale * np.concatenate([first, second])),
                                                tf.constant(wanted))) for scale in (0.0, 0.5, 1.0, 1.5)]
    # E|X - y| - E|X - X'| / 2 for signs times the scale
    np.testing.assert_allclose(scores, [1.0, 0.75, 0.5, 0.75], atol=0.01)
    assert np.argmin(scores) == 2


def test_a_small_power_of_the_energy_score_insists_on_small_distances():
    near, wanted = tf.constant([[0.25]]), tf.constant([[0.0]])
    assert float(stackgan_mnist.energy_score(near, wanted)) == pytest.approx(0.25, abs=0.01)
    assert float(stackgan_mnist.energy_score(near, wanted, 0.5)) == pytest.approx(0.25**0.5, abs=0.06)


@pytest.mark.parametrize("stage", [1, 2])
def test_what_a_picture_shows_is_its_mask_in_its_colours(gan, stage):
    inputs = gan.stages[stage - 1].draw_inputs(0, SIZE)
    picture, _, _, mask, colours = gan.stages[stage - 1].generator(inputs)
    colours = colours.numpy() if stage == 1 else colours.numpy() @ PALETTE
    ink, background = np.split(colours.reshape(-1, 1, 1, 6), 2, axis=-1)
    expected = np.clip(background + (ink - background) * mask.numpy(), -1, 1)
    np.testing.assert_allclose(picture, expected, atol=1e-5)


def test_colours_are_found_in_rough_pictures_and_the_nearest_ones_named():
    arrays = bundled_arrays(64)
    inks, backgrounds = np.arange(64) % 8, (np.arange(64) + 1 + np.arange(64) // 8 % 7) % 8
    found = guess_colours(halve(paint(arrays["x_train"], inks, backgrounds))).numpy()
    assert np.abs(found[:, 3:] - PALETTE[backgrounds]).max() < 0.01
    assert np.abs(found[:, :3] - PALETTE[inks]).mean() < 0.3
    off = np.random.default_rng(0).uniform(-0.2, 0.2, (64, 6))  # half as far as the nearest two colours are apart
    right = np.concatenate([PALETTE[inks], PALETTE[backgrounds]], axis=1)
    silent = tf.fill((64, 2), UNSAID)
    nearest = nearest_colours(tf.constant(right + off, tf.float32), silent)
    np.testing.assert_array_equal(nearest, np.stack([inks, backgrounds], 1))


def test_nearest_colours_differ_and_are_those_said():
    random = np.random.default_rng(0)
    colours = random.uniform(-1.2, 1.2, (90, 6)).astype(np.float32)
    said = np.stack([np.arange(90) % 8, (1 + np.arange(90) + np.arange(90) // 8 % 7) % 8], 1).astype(np.int32)
    said[:60, 0], said[30:, 1] = UNSAID, UNSAID  # background said, neither said, ink said
    for colour, own, found in zip(colours, said, nearest_colours(tf.constant(colours), tf.constant(said)), strict=True):
        fitting = [pair for pair in itertools.permutations(range(8), 2)
                   if all(value in (one, UNSAID) for one, value in zip(pair, own, strict=True))]
        off = [np.square(colour - PALETTE[list(pair)].ravel()).sum() for pair in fitting]
        assert tuple(found.numpy()) == fitting[np.argmin(off)]


def test_stage_2_never_mixes_an_ink_from_the_colour_of_the_background(build_stage):
    stage = build_stage(2)
    for number in range(3):
        ink, background = np.split(stage.generator(stage.draw_inputs(number, 64))[4].numpy(), 2, axis=1)
        np.testing.assert_allclose(ink.sum(2), 1, rtol=1e-5)
        np.testing.assert_allclose(background.sum(2), 1, rtol=1e-5)
        train_eagerly(stage)
    layer = [layer for layer in all_layers(stage.generator) if isinstance(layer, keras.layers.Dense)
             and layer.units == 16][0]
    layer.kernel.assign(tf.zeros_like(layer.kernel))
    layer.bias.assign(tf.tile(9.0 * tf.one_hot(5, 8), [2]))  # the same colour for both
    ink, background = np.split(stage.generator(stage.draw_inputs(0, 4))[4].numpy(), 2, axis=1)
    assert background[:, 0, 5].min() > 0.99 and ink[:, 0, 5].max() < 0.01


@pytest.mark.parametrize("stage", [1, 2])
def test_the_game_with_the_discriminator_leaves_the_colours_alone(build_stage, stage):
    built = build_stage(stage)
    batch = built.sample(tf.range(SIZE), tf.constant(5))
    inputs, _ = built.generator_inputs(batch.asked, batch.normal(0, SIZE, 100), batch.normal)
    # The other Dense layers are those of the condition, with 64 and 100 units, and those of Stage I's mask.
    own = [layer.kernel for layer in all_layers(built.generator) if isinstance(layer, keras.layers.Dense)
           and layer.units in (256, 6, 16) and layer.kernel.shape[0] != 264]
    assert len(own) == 4
    with tf.GradientTape() as tape:
        mask = built.generator(inputs, training=True)[3]
        game = built.adversarial_loss(batch, stackgan_mnist.mix_colours(mask, batch.asked_colours))
    assert not [gradient for gradient in tape.gradient(game, own) if gradient is not None]
    before = values(own)
    train_eagerly(built)
    assert not any(equal(before, values(own)))


OPTIONS = [("--label-smoothing", "0.3"), ("--wrong-sentence-weight", "0.2"), ("--hard-share", "0"),
           ("--adversarial-weight", "0"), ("--kl-weight", "2"), ("--condition-noise", "0.5"),
           ("--matching-weight", "0"), ("--energy-weight", "0"),
           ("--colour-weight", "0"), ("--shape-weight", "0"), ("--digit-weight", "0"),
           ("--input-noise", "0"), ("--generator-learning-rate", "0.01"), ("--discriminator-learning-rate", "0.01"),
           ("--ema-decay", "0.1")]
IN_STAGE_2, OF_STAGE_1 = ("--digit-weight", "--shape-weight"), ("--energy-weight", "--colour-weight")


@pytest.fixture(scope="module")
def learn(build_stage):
    """A function of a stage and command-line options: the stage after a batch, without any compilation."""
    def after_a_batch(stage, *options):
        stage = build_stage(stage, *options)
        train_eagerly(stage)
        return stage
    return after_a_batch


def test_every_option_changes_what_is_learnt_and_nothing_else_does(learn):
    usual = values(learn(1).variables)
    assert all(equal(usual, values(learn(1).variables)))
    without_effect = [option for option, value in OPTIONS
                      if all(equal(usual, values(learn(1, option, value).variables)))]
    assert not without_effect


def test_stage_2_learns_by_the_terms_that_are_its_own(learn):
    usual = values(learn(2).variables)
    effects = {option: not all(equal(usual, values(learn(2, option, "0").variables)))
               for option in IN_STAGE_2 + OF_STAGE_1}
    assert effects == {option: option in IN_STAGE_2 for option in IN_STAGE_2 + OF_STAGE_1}


@pytest.mark.parametrize("stage", [1, 2])
def test_the_shape_loss_wants_what_is_said_and_otherwise_what_the_noise_picks(build_stage, stage):
    stage, images = build_stage(stage), bundled_arrays(64)["x_train"]
    mask = stage.resize(tf.constant(images[..., np.newaxis] / np.float32(255)))
    shapes = measure_shapes(mask).numpy()
    true = np.column_stack([stage.data.shapes[:, 0], np.full((64, 2), UNSAID), np.stack(
        [np.digitize(column, np.percentile(column, (100 / 3, 200 / 3))) for column in shapes.T], 1)]).astype(np.int32)
    noise = np.zeros((64, 100), np.float32)
    other = (true + (0, 0, 0, 1, 1)) % (10, 10, 10, 3, 3)
    fits, differs = (float(stage.shape_loss(mask, tf.constant(said, tf.int32), noise)) for said in (true, other))
    assert fits < 0.1 < 0.2 < differs  # within a margin of the borders, and beyond them
    silent = np.where(np.arange(5) > 0, UNSAID, true).astype(np.int32)
    losses = []
    for lean in (-2, 2):  # the least or the greatest slants
        noise[:, -1] = lean
        losses.append(stage.shape_loss(mask[:1], silent[:1], noise[:1]))
    noise[:, :-2] = 1
    assert losses[0] != losses[1] == stage.shape_loss(mask[:1], silent[:1], noise[:1])


def say_always(stage, logit):
    """Let the discriminator of a stage give every picture the same `logit`."""
    for layer in stage.head.layers:
        if isinstance(layer, keras.layers.Dense):
            layer.kernel.assign(np.zeros(layer.kernel.shape, np.float32))
            layer.bias.assign(np.full(layer.bias.shape, logit if layer.units == 1 else 0, np.float32))


@pytest.mark.parametrize("stage", [1, 2])
def test_the_targets_are_those_of_the_smoothed_game(build_stage, stage):
    stage = build_stage(stage, "--label-smoothing", "0.25")
    batch = stage.sample(tf.range(SIZE), tf.constant(5))
    generated = tf.zeros_like(batch.real)
    say_always(stage, 1.5)
    probability = 1 / (1 + np.exp(-1.5))
    assert float(stage.adversarial_loss(batch, generated)) == pytest.approx(-np.log(probability), rel=1e-5)
    smoothed = -0.75 * np.log(probability) - 0.25 * np.log(1 - probability)
    losses = list(map(float, stage.update_discriminator(batch, generated)))
    assert losses == pytest.approx([smoothed, -np.log(1 - probability), -np.log(1 - probability)], rel=1e-5)


@pytest.mark.parametrize("stage", [1, 2])
def test_the_matching_loss_wants_the_own_sentence_of_a_picture(build_stage, stage):
    stage = build_stage(stage)
    batch = stage.sample(tf.range(SIZE), tf.constant(5))
    np.testing.assert_array_equal(batch.asked[:SIZE // 2], batch.candidates)
    np.testing.assert_array_equal(batch.asked[SIZE // 2:], batch.candidates)
    assert float(tf.reduce_sum(batch.matching_share)) == pytest.approx(1)
    own = tf.math.l2_normalize(batch.asked, axis=1)
    half = SIZE // 2
    others = tf.concat([tf.roll(own[:half], 1, 0), tf.roll(own[half:], 1, 0)], 0)
    assert float(stage.matching_loss(batch, own)) < 0.1 < 5 < float(stage.matching_loss(batch, others))


@pytest.mark.parametrize("stage", [1, 2])
def test_the_generator_minimizes_the_sum_of_its_terms_with_their_weights(build_stage, learn, stage):
    weights = {"adversarial": 0.5, "kl": 2.0, "matching": 3.0, "shape": 5.0, "digit": 13.0, "energy": 7.0,
               "colour": 11.0}
    options = [text for name, weight in weights.items()
               for text in (f"--{name.replace('_', '-')}-weight", str(weight))]
    trained, fresh = learn(stage, *options), build_stage(stage, *options)
    batch, half = fresh.sample(tf.range(SIZE), tf.constant(5)), SIZE // 2
    noise = batch.normal(0, SIZE, 100)
    inputs, rough_colours = fresh.generator_inputs(batch.asked, noise, batch.normal)
    with tf.GradientTape() as tape:
        _, mean, log_sigma, mask, colours = fresh.generator(inputs, training=True)
        generated = stackgan_mnist.mix_colours(mask, batch.asked_colours)
        with tape.stop_recording():
            fresh.update_discriminator(batch, generated)
        seen = fresh.picture_encoder(halve(generated) if stage == 2 else generated)
        score = stackgan_mnist.energy_score
        terms = {
            "adversarial": fresh.adversarial_loss(batch, generated),
            "kl": stackgan_mnist.kl_divergence(mean, log_sigma), "matching": fresh.matching_loss(batch, seen),
            "shape": fresh.shape_loss(mask, batch.said, noise),
            "digit": fresh.digit_loss(mask, batch.said[:, 0])}
        if stage == 1:
            flat = [tf.reshape(pictures, (len(pictures), -1)) for pictures in (generated, batch.real[:half])]
            terms["energy"] = (score(seen, fresh.picture_encoder(batch.real[:half]))
                               + 2 / (14 * 14 * 3)**0.5 * score(*flat))
            terms["colour"] = score(colours, batch.colours[:half], 0.5)
        else:
            own = tf.gather(colours, nearest_colours(rough_colours, batch.said[:, 1:3]), batch_dims=2)
            terms["nearest colours"] = -tf.reduce_mean(tf.math.log(own + 1e-6))
        total = sum(weights.get(name, 1.0) * term for name, term in terms.items())
    gradient = np.concatenate([np.ravel(part) for part in tape.gradient(total, fresh.generator.trainable_variables)])
    momentum = np.concatenate([np.ravel(variable) for variable in trained.generator_optimizer.variables
                               if variable.path.endswith("momentum")])  # half of the gradient
    np.testing.assert_allclose(2 * momentum, gradient, rtol=1e-3, atol=1e-3 * np.abs(gradient).max())
