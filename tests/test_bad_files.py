"""Files that cannot be used: exit status 2, one line that names the file and says why, nothing written."""

import json
import zipfile

import imageio.v3 as iio
import keras
import numpy as np
import pytest
from cgan_mnist import build_generator
from helpers import ROOT, BATCHES, EPOCHS, FINISHED_RUN, SMALL_RUN, assert_refused, bundled_arrays, contents

RESUME = (*FINISHED_RUN, "--resume")


def truncate(path):
    path.write_bytes(path.read_bytes()[:path.stat().st_size // 2])


def flip_a_byte(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)


def write_text(path):
    path.write_text("not what the name says\n")


def write_nothing(path):
    path.write_bytes(b"")


# ------------------------------------------------------------------------------------------ data files


def save_npy(path):
    with open(path, "wb") as file:
        np.save(file, np.arange(10))


@pytest.mark.parametrize("damage", [truncate, flip_a_byte, write_text, write_nothing, save_npy])
def test_a_data_file_that_is_damaged_or_no_npz_is_refused(run_command, tmp_path, damage):
    np.savez(tmp_path / "own.npz", **bundled_arrays(20))
    damage(tmp_path / "own.npz")
    before = contents(tmp_path)
    assert_refused(run_command(["--data", "own.npz"], tmp_path), tmp_path, before, "own.npz")


@pytest.mark.parametrize("path", ["none.npz", ".", "none/own.npz"])
def test_a_data_file_that_does_not_exist_is_refused(run_command, tmp_path, path):
    assert_refused(run_command(["--data", path], tmp_path), tmp_path, {}, path)


@pytest.mark.parametrize("name", ["x_train", "y_train", "x_test", "y_test"])
def test_a_data_file_that_lacks_an_array_is_refused(run_command, tmp_path, name):
    arrays = bundled_arrays(20)
    del arrays[name]
    np.savez(tmp_path / "own.npz", **arrays)
    before = contents(tmp_path)
    assert_refused(run_command(["--data", "own.npz"], tmp_path), tmp_path, before, "own.npz", f"lacks {name}")


@pytest.mark.parametrize("name, change", [
    ("x_train", lambda x: x[:, :27]),
    ("x_train", lambda x: x.reshape(-1, 784)),
    ("x_test", lambda x: x[..., np.newaxis]),
    ("x_train", lambda x: x / np.float32(255)),
    ("x_test", lambda x: x.astype(np.int64)),
    ("x_train", lambda x: x[:-1]),
    ("y_test", lambda y: y[:-1]),
    ("y_train", lambda y: y.astype(np.float32)),
    ("y_train", lambda y: y[:, np.newaxis]),
    ("x_train", lambda x: x // 255),
    ("y_train", lambda y: np.where(y == 5, 10, y)),
    ("y_test", lambda y: y.astype(np.int8) - 1),
    ("y_train", lambda y: y.astype(str)),
], ids=["27 rows of pixels", "flat", "with channel", "scaled", "other integers", "an image less", "a label less",
        "labels not whole", "labels in a column", "black and 1", "label 10", "label -1", "labels as text"])
def test_a_data_file_with_an_array_of_another_kind_is_refused(run_command, tmp_path, name, change):
    arrays = bundled_arrays(20)
    arrays[name] = change(arrays[name])
    np.savez(tmp_path / "own.npz", **arrays)
    before = contents(tmp_path)
    assert_refused(run_command(["--data", "own.npz"], tmp_path), tmp_path, before, "own.npz", name)


@pytest.mark.parametrize("part", ["train", "test"])
def test_a_data_file_without_rows_is_refused(run_command, tmp_path, part):
    arrays = bundled_arrays(20)
    arrays[f"x_{part}"], arrays[f"y_{part}"] = arrays[f"x_{part}"][:0], arrays[f"y_{part}"][:0]
    np.savez(tmp_path / "own.npz", **arrays)
    before = contents(tmp_path)
    assert_refused(run_command(["--data", "own.npz"], tmp_path), tmp_path, before, "own.npz", "empty")


class Pickled:
    """An object whose unpickling would write a file."""

    def __reduce__(self):
        return open, ("executed", "w")


def test_a_data_file_with_pickled_objects_is_refused_and_not_executed(run_command, tmp_path):
    arrays = bundled_arrays(20)
    arrays["x_train"] = np.array([Pickled()], dtype=object)
    np.savez(tmp_path / "own.npz", **arrays)
    before = contents(tmp_path)
    assert_refused(run_command(["--data", "own.npz"], tmp_path), tmp_path, before, "own.npz", "pickle")


def test_a_data_file_with_a_member_that_is_no_array_is_refused(run_command, tmp_path):
    arrays = bundled_arrays(20)
    np.savez(tmp_path / "x_train.npz", arrays.pop("x_train"))
    np.savez(tmp_path / "own.npz", **arrays)
    with zipfile.ZipFile(tmp_path / "own.npz", "a") as archive:
        archive.write(tmp_path / "x_train.npz", "x_train")
    before = contents(tmp_path)
    assert_refused(run_command(["--data", "own.npz"], tmp_path), tmp_path, before, "own.npz")


# -------------------------------------------------------------------------------------------- --resume


def test_resume_without_a_checkpoint_is_refused(run_command, tmp_path):
    assert_refused(run_command(RESUME, tmp_path), tmp_path, {}, "checkpoint.npz", "train without --resume")


@pytest.mark.parametrize("damage", [truncate, flip_a_byte, write_text, write_nothing, save_npy,
                                    lambda path: np.savez(path, **bundled_arrays(20))])
def test_resume_from_a_damaged_or_foreign_checkpoint_is_refused(run_command, copy_of_finished_run, damage):
    damage(copy_of_finished_run / "outputs" / "checkpoint.npz")
    before = contents(copy_of_finished_run)
    assert_refused(run_command(RESUME, copy_of_finished_run), copy_of_finished_run, before, "checkpoint.npz")


@pytest.mark.parametrize("changed", [
    {"variable_000": np.zeros(1, np.float32)}, {"variable_003": np.full(256, np.nan, np.float32)},
    {"history": np.full((EPOCHS * BATCHES, 6), np.nan, np.float32)}, {"history": np.zeros((EPOCHS * BATCHES, 6), "U1")},
    {"epoch": np.inf}, {"epoch": -5}, {"seconds": np.nan}, {"history": np.zeros((EPOCHS * BATCHES, 5), np.float32)},
    {"history": np.zeros((EPOCHS * BATCHES - 1, 6), np.float32)}, {"settings": "[]"}, {"settings": "[" * 10**5}])
def test_resume_from_a_checkpoint_with_impossible_values_is_refused(run_command, copy_of_finished_run, changed):
    path = copy_of_finished_run / "outputs" / "checkpoint.npz"
    with np.load(path) as archive:
        arrays = {**archive, **changed}
    np.savez(path, **arrays)
    before = contents(copy_of_finished_run)
    assert_refused(run_command(RESUME, copy_of_finished_run), copy_of_finished_run, before, "checkpoint.npz")


def test_resume_with_fewer_epochs_than_finished_is_refused(run_command, finished_run):
    before = contents(finished_run)
    result = run_command([*SMALL_RUN, "--epochs", "2", "--resume"], finished_run)
    assert_refused(result, finished_run, before, "--epochs 3")


def halve(path):
    iio.imwrite(path, iio.imread(path)[::2, ::2])


@pytest.mark.parametrize("damage", [lambda path: path.unlink(), truncate, write_text, halve])
def test_a_gif_goes_without_a_grid_that_is_lost_and_resuming_restores_the_history(
        run_command, finished_run, copy_of_finished_run, damage):
    outputs = copy_of_finished_run / "outputs"
    damage(outputs / "epoch_002.png")
    (outputs / "history.csv").unlink()
    status, stdout, stderr = run_command(RESUME, copy_of_finished_run)
    assert (status, stderr) == (0, "")
    assert "epoch_002.png is missing or damaged: cgan.gif goes without it" in stdout
    assert len(iio.imread(outputs / "cgan.gif", index=None)) == EPOCHS - 1
    assert (outputs / "history.csv").read_bytes() == (finished_run / "outputs" / "history.csv").read_bytes()


def test_the_weights_of_a_checkpoint_must_have_their_type(run_command, copy_of_finished_run):
    path = copy_of_finished_run / "outputs" / "checkpoint.npz"
    with np.load(path) as archive:
        arrays = dict(archive)
    arrays["variable_000"] = arrays["variable_000"].astype(int)
    np.savez(path, **arrays)
    before = contents(copy_of_finished_run)
    assert_refused(run_command(RESUME, copy_of_finished_run), copy_of_finished_run, before, "other networks")


# ------------------------------------------------------------------------------------------ --generate


def test_generate_without_a_generator_is_refused(run_command, tmp_path):
    assert_refused(run_command(["--generate", "3"], tmp_path), tmp_path, {}, "generator.keras", "train first")


def test_generate_elsewhere_says_where_it_looked_and_offers_the_generator_beside_the_script(run_command, tmp_path):
    result = run_command(["--generate", "3"], tmp_path)
    assert_refused(result, tmp_path, {}, str(tmp_path / "outputs" / "generator.keras"),
                   f"--generator {ROOT / 'outputs' / 'generator.keras'}")


def test_generate_with_weights_that_are_not_finite_is_refused(run_command, copy_of_finished_run):
    path = copy_of_finished_run / "outputs" / "generator.keras"
    generator = keras.models.load_model(path)
    generator.set_weights([np.full_like(weight, np.nan) for weight in generator.get_weights()])
    generator.save(path)
    before = contents(copy_of_finished_run)
    assert_refused(run_command(["--generate", "3"], copy_of_finished_run), copy_of_finished_run, before, "not finite")


@pytest.mark.parametrize("damage", [truncate, flip_a_byte, write_text, write_nothing])
def test_generate_with_a_damaged_generator_is_refused(run_command, copy_of_finished_run, damage):
    damage(copy_of_finished_run / "outputs" / "generator.keras")
    before = contents(copy_of_finished_run)
    result = run_command(["--generate", "3"], copy_of_finished_run)
    assert_refused(result, copy_of_finished_run, before, "generator.keras")


def classifier():
    """Return a network that draws nothing."""
    return keras.Sequential([keras.Input((28, 28, 1)), keras.layers.Flatten(), keras.layers.Dense(10)])


def two_inputs_without_labels():
    """Return a network that draws images, but from two vectors of noise."""
    noise, more = keras.Input((100,), name="noise"), keras.Input((100,), name="more")
    x = keras.layers.Dense(784)(keras.layers.Add()([noise, more]))
    return keras.Model([noise, more], keras.layers.Reshape((28, 28, 1))(x))


def five_digits():
    """Return a generator that knows the digits 0 to 4 only."""
    config = build_generator().get_config()
    next(layer for layer in config["layers"] if layer["name"] == "label_embedding")["config"]["input_dim"] = 5
    return keras.Model.from_config(config)


@pytest.mark.parametrize("build", [classifier, two_inputs_without_labels, five_digits])
def test_generate_with_another_network_is_refused(run_command, tmp_path, build):
    build().save(tmp_path / "other.keras")
    before = contents(tmp_path)
    result = run_command(["--generate", "3", "--generator", "other.keras"], tmp_path)
    assert_refused(result, tmp_path, before, "other.keras")


@pytest.mark.parametrize("name", ["hostile.keras", "hostile.h5"])
@pytest.mark.filterwarnings("ignore:.*HDF5 file.*")
def test_code_within_a_generator_file_is_never_executed(run_command, tmp_path, monkeypatch, name):
    noise, label = keras.Input((100,), name="noise"), keras.Input((), dtype="int32", name="label")
    hostile = keras.layers.Lambda(lambda x: [open("executed", "w").close(), x][1], output_shape=(100,))(noise)
    image = keras.layers.Reshape((28, 28, 1))(keras.layers.Dense(784)(hostile))
    monkeypatch.chdir(tmp_path)  # building the network executes it once, here
    keras.Model([noise, label], image).save(tmp_path / name)
    (tmp_path / "executed").unlink(missing_ok=True)
    before = contents(tmp_path)
    assert_refused(run_command(["--generate", "3", "--generator", name], tmp_path), tmp_path, before, name)


def test_code_within_an_otherwise_usable_generator_is_never_executed(
        run_command, finished_run, tmp_path, monkeypatch):
    generator = keras.models.load_model(finished_run / "outputs" / "generator.keras")
    hostile = keras.layers.Lambda(lambda x: [open("executed", "w").close(), x][1], output_shape=(28, 28, 1))
    monkeypatch.chdir(tmp_path)  # building the network may execute it once, here
    keras.Model(generator.inputs, hostile(generator.outputs[0])).save(tmp_path / "hostile.keras")
    (tmp_path / "executed").unlink(missing_ok=True)
    before = contents(tmp_path)
    result = run_command(["--generate", "3", "--generator", "hostile.keras"], tmp_path)
    assert_refused(result, tmp_path, before, "hostile.keras")


def test_a_class_named_by_a_generator_file_is_never_called(run_command, copy_of_finished_run):
    path = copy_of_finished_run / "outputs" / "generator.keras"
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    config = json.loads(members["config.json"])
    config["config"]["layers"][0].update(module="builtins", class_name="open", registered_name=None,
                                         config={"file": "executed", "mode": "w"})
    members["config.json"] = json.dumps(config)
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    before = contents(copy_of_finished_run)
    result = run_command(["--generate", "3"], copy_of_finished_run)
    assert_refused(result, copy_of_finished_run, before, "generator.keras")
