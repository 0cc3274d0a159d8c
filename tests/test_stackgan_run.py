"""Runs of the StackGAN: what they leave, how they continue, what is drawn with them, and what is refused."""

import shutil

import imageio.v3 as iio
import keras
import numpy as np
import pytest
import stackgan_mnist
from helpers import SMALL_STACKGAN, STACKGAN, assert_refused, contents, start_script, wait_for_line
from mnist_gan.data.sentences import to_tokens

OUTPUTS, PLOTS = "outputs/stackgan", "plots/stackgan"
NETWORKS = ("text_encoder", "stage1_generator", "stage2_generator")


@pytest.fixture
def copy_of_run(stackgan_run, tmp_path):
    """A copy of the finished run's folder that a test may change."""
    return shutil.copytree(stackgan_run, tmp_path / "run")


def test_a_run_leaves_the_announced_files_and_no_others(stackgan_run):
    drawn = ("text_encoder", "picture_encoder", *(f"stage{number}_{part}" for number in (1, 2) for part in (
        "generator", "discriminator_trunk", "discriminator_head", "loss_curves", "conditions")), "walk")
    assert set(contents(stackgan_run)) == {
        "stdout", "stderr", *(f"{OUTPUTS}/epoch_{epoch:03d}.png" for epoch in range(4)),
        *(f"{OUTPUTS}/{name}" for name in ("stackgan.gif", "history.csv", "settings.json", "checkpoint.npz")),
        *(f"{OUTPUTS}/{name}.keras" for name in NETWORKS), *(f"{PLOTS}/{name}.png" for name in drawn)}
    assert (stackgan_run / "stderr").read_text() == ""
    stdout = (stackgan_run / "stdout").read_text()
    for line in ("Encoder epoch 1/1", "Stage I, epoch 2/2", "Stage II, epoch 1/1", "Trained 2 epochs of Stage I and 1"):
        assert line in stdout


def test_the_history_has_a_numbered_row_of_finite_values_per_batch(stackgan_run):
    path = stackgan_run / OUTPUTS / "history.csv"
    assert path.read_text().startswith("epoch,batch," + ",".join(stackgan_mnist.HISTORY_COLUMNS) + "\n")
    table = np.loadtxt(path, delimiter=",", skiprows=1)
    assert np.isfinite(table).all()
    np.testing.assert_array_equal(table[:, :2], [(epoch, batch) for epoch in (1, 2, 3) for batch in (1, 2, 3, 4)])


def test_the_gif_holds_all_grids_from_the_untrained_one_on(stackgan_run):
    frames = iio.imread(stackgan_run / OUTPUTS / "stackgan.gif")
    grids = [iio.imread(stackgan_run / OUTPUTS / f"epoch_{epoch:03d}.png", mode="RGB") for epoch in range(4)]
    assert len(frames) == 4 and len({grid.tobytes() for grid in grids}) == 4
    for frame, grid in zip(frames, grids, strict=True):
        assert frame.shape == grid.shape
        assert np.abs(frame[..., :3].astype(int) - grid).mean() < 12  # of 255, for the GIF has fewer colours


def test_the_networks_load_with_keras_alone(stackgan_run):
    text_encoder, stage1, stage2 = (keras.models.load_model(stackgan_run / OUTPUTS / f"{name}.keras", safe_mode=True)
                                    for name in NETWORKS)
    sentence = text_encoder(to_tokens(["a red seven"]))
    zeros = keras.ops.zeros
    rough = stage1([zeros((1, 100)), zeros((1, 64)), sentence])[0]
    assert stage2([rough, zeros((1, 64)), sentence])[0].shape == (1, 28, 28, 3)


def checkpoint_of(folder):
    """Return the arrays of the checkpoint of the run in `folder`, as bytes."""
    with np.load(folder / OUTPUTS / "checkpoint.npz") as checkpoint:
        return {name: checkpoint[name].tobytes() for name in checkpoint.files}


def test_a_run_killed_in_both_stages_ends_with_the_same_bytes(run_command, stackgan_run, tmp_path):
    for arguments, line in ((SMALL_STACKGAN, "Stage I, epoch 1/2"),
                            ([*SMALL_STACKGAN, "--resume"], "Stage I, epoch 2/2")):
        with start_script(arguments, tmp_path, STACKGAN) as process:
            wait_for_line(process, line)
            process.kill()
    before = checkpoint_of(tmp_path)
    status, stdout, stderr = run_command([*SMALL_STACKGAN, "--resume"], tmp_path, STACKGAN)
    assert (status, stderr) == (0, "")
    assert "Continuing after epoch 2 of 3." in stdout and "Training the text encoder" not in stdout
    after, uninterrupted = checkpoint_of(tmp_path), checkpoint_of(stackgan_run)
    assert [name for name in after if after[name] != uninterrupted[name]] == ["seconds"]
    timed = {f"{OUTPUTS}/checkpoint.npz", f"{OUTPUTS}/settings.json", "stdout", "stderr"}
    left, expected = ({name: content for name, content in contents(folder).items() if name not in timed}
                      for folder in (tmp_path, stackgan_run))
    assert left.keys() == expected.keys()
    assert not [name for name in left if left[name] != expected[name]]
    # The last epoch trained Stage II alone: encoders and Stage I are what they were, bit for bit.
    frozen = [stackgan_mnist.build_text_encoder(), stackgan_mnist.build_picture_encoder(),
              stackgan_mnist.build_digit_classifier(),
              stackgan_mnist.build_stage1_generator(), stackgan_mnist.build_stage1_generator(),
              *stackgan_mnist.build_stage1_discriminator()]
    names = [f"variable_{number:03d}" for number in range(sum(len(network.variables) for network in frozen))]
    assert not [name for name in names if before[name] != after[name]]


# ---------------------------------------------------------------------------------------------------- drawing


def test_sentences_are_drawn_in_both_stages_and_twice_the_same(run_command, copy_of_run):
    arguments = ["--generate", "a thick red \N{RED APPLE} seven leaning right on a yellow background", "یک یک قرمز",
                 "--samples", "3"]
    pictures = []
    for seed in ("0", "0", "1"):
        status, stdout, stderr = run_command([*arguments, "--seed", seed], copy_of_run, STACKGAN)
        assert (status, stderr) == (0, "") and "2 sentences, both stages, 3 samples each" in stdout
        pictures.append(iio.imread(copy_of_run / OUTPUTS / "generated.png"))
    assert (pictures[0] == pictures[1]).all() and (pictures[0] != pictures[2]).any()


def test_a_file_of_sentences_becomes_arrays(run_command, copy_of_run):
    lines = ["a red seven", "یک یک قرمز", "the digit 3"]
    (copy_of_run / "lines.txt").write_text("\n".join(lines) + "\n\n \n", encoding="utf-8")
    status, _, stderr = run_command(["--sentences", "lines.txt", "--samples", "2", "--arrays", "out.npz"],
                                      copy_of_run, STACKGAN)
    assert (status, stderr) == (0, "")
    networks = stackgan_mnist.load_networks(copy_of_run / OUTPUTS)
    with np.load(copy_of_run / "out.npz", allow_pickle=False) as arrays:
        assert set(arrays.files) == {"stage1", "stage2", "sentences"} and arrays["sentences"].tolist() == lines
        for name, side, pictures in zip(("stage1", "stage2"), (14, 28),
                                        stackgan_mnist.draw_pictures(networks, lines, 2, 0), strict=True):
            assert arrays[name].dtype == np.float32 and arrays[name].shape == (3, 2, side, side, 3)
            assert np.abs(arrays[name]).max() <= 1
            np.testing.assert_allclose(arrays[name], pictures, atol=1e-5)


def test_more_pictures_than_there_is_memory_for_are_refused_before_the_work(run_command, tmp_path, monkeypatch):
    (tmp_path / "lines.txt").write_text("a red seven\n" * 1000)
    monkeypatch.setattr(stackgan_mnist.cli, "total_memory", lambda: 2**30)
    before = contents(tmp_path)
    arguments = ["--sentences", "lines.txt", "--samples", "100", "--arrays", "out.npz"]
    assert_refused(run_command(arguments, tmp_path, STACKGAN), tmp_path, before, "2 GiB of memory", script=STACKGAN)


def test_batches_that_need_more_memory_than_there_is_are_refused_before_the_encoders_are_trained(
        run_command, tmp_path, monkeypatch):
    monkeypatch.setattr(stackgan_mnist.cli, "total_memory", lambda: 2**29)
    status, stdout, stderr = run_command(["--batch-size", "6000", "--train-size", "6000"], tmp_path, STACKGAN)
    assert status == 2 and "Training the text encoder" not in stdout and contents(tmp_path) == {}
    assert stderr == "stackgan_mnist.py: error: --batch-size 6000 needs 1 GiB of memory; give smaller batches\n"


def test_a_walk_goes_from_one_sentence_to_the_other(run_command, copy_of_run):
    ends = ["a thin white one on black", "a thick blue eight"]
    status, _, stderr = run_command(["--walk", *ends], copy_of_run, STACKGAN)
    assert (status, stderr) == (0, "")
    assert (copy_of_run / OUTPUTS / "walk.png").is_file()


# --------------------------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize(("arguments", "word"), [
    (["--generate", ""], "empty"), (["--generate", "a red sevn"], "seven"),
    (["--generate", "a two", "a red seven on red"], "red ink on red"), (["--walk", "a two", "two three"], "two, three"),
    (["--sentences", "lines.txt"], "--arrays"), (["--arrays", "out.npz"], "--sentences"),
    (["--sentences", "none.txt", "--arrays", "out.npz"], "none.txt"),
    (["--sentences", "empty.txt", "--arrays", "out.npz"], "empty"),
    (["--sentences", "latin.txt", "--arrays", "out.npz"], "UTF-8"),
    (["--sentences", "lines.txt", "--arrays", "out.npz"], "line 2"),
    (["--sentences", "good.txt", "--arrays", "/dev/null/out.npz"], "/dev/null"),
    (["--sentences", "", "--arrays", ""], "--sentences"),
    (["--sentences", "good.txt", "--arrays", "out.txt"], "out.txt"),
    (["--generate", "a two", "--samples", "0"], "--samples"), (["--samples", "3"], "--generate"),
    (["--samples", "8"], "--generate"), (["--walk", "a two", "a three", "--samples", "5"], "--samples needs"),
    (["--batch-size", "4", "--stage1-epochs", "499", "--stage2-epochs", "499"], "--batch-size 4"),
    (["--batch-size", "3"], "--batch-size"), (["--batch-size", "300", "--train-size", "256"], "--batch-size"),
    (["--kl-weight", "-1"], "--kl-weight"), (["--upsampling", "bilinear"], "--upsampling"),
    (["--generator-learning-rate", "nan"], "--generator-learning-rate"),
    (["--averaging-decay", "0.9"], "--averaging-decay is now --ema-decay"),
    (["--resume", "--output-dir", "none"], "no checkpoint"),
    (["--generate", "a two", "--output-dir", "none"], "train first"),
])
def test_bad_input_gets_one_line_and_harms_nothing(run_command, stackgan_run, tmp_path_factory, arguments, word):
    folder = tmp_path_factory.getbasetemp() / "bad_input"
    if not folder.exists():
        shutil.copytree(stackgan_run, folder)
        for name, content in (("empty.txt", b""), ("latin.txt", "é".encode("latin-1")), ("good.txt", b"a two\n"),
                              ("lines.txt", b"a two\na red tw\n")):
            (folder / name).write_bytes(content)
    before = contents(folder)
    assert_refused(run_command(arguments, folder, STACKGAN), folder, before, word, script=STACKGAN)


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("damage", ["missing", "halved", "foreign"])
def test_networks_that_cannot_be_used_are_refused(run_command, finished_run, copy_of_run, name, damage):
    path = copy_of_run / OUTPUTS / f"{name}.keras"
    if damage == "missing":
        path.unlink()
    elif damage == "halved":
        path.write_bytes(path.read_bytes()[:path.stat().st_size // 2])
    else:
        shutil.copy(finished_run / "outputs" / "generator.keras", path)
    before = contents(copy_of_run)
    assert_refused(run_command(["--generate", "a two"], copy_of_run, STACKGAN), copy_of_run, before, f"{name}.keras",
                   script=STACKGAN)


def test_a_text_encoder_of_other_words_is_refused(run_command, copy_of_run):
    config = stackgan_mnist.build_text_encoder().get_config()
    next(layer for layer in config["layers"] if layer["class_name"] == "Embedding")["config"]["input_dim"] += 1
    keras.Model.from_config(config).save(copy_of_run / OUTPUTS / "text_encoder.keras")
    before = contents(copy_of_run)
    assert_refused(run_command(["--generate", "a two"], copy_of_run, STACKGAN), copy_of_run, before,
                   "text_encoder.keras", script=STACKGAN)


def test_a_cgan_checkpoint_is_refused(run_command, finished_run, copy_of_run):
    shutil.copy(finished_run / "outputs" / "checkpoint.npz", copy_of_run / OUTPUTS / "checkpoint.npz")
    before = contents(copy_of_run)
    assert_refused(run_command([*SMALL_STACKGAN, "--resume"], copy_of_run, STACKGAN), copy_of_run, before,
                   "checkpoint.npz", script=STACKGAN)
