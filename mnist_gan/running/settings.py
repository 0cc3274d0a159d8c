"""The settings of a run, printed at its start and recorded beside its results."""

import contextlib
import importlib.metadata
import json
import platform

from mnist_gan.errors import InputError
from mnist_gan.files import write_json
from mnist_gan.data.mnist import checksum

# Options that do not change what is trained.
UNRECORDED_OPTIONS = ("generate", "samples", "generator", "resume", "evaluate_every", "walk", "sentences", "arrays",
                      "slurm")


def record_settings(settings, images, labels) -> dict:
    """Return the options of a training, a namespace, as a dictionary with the checksum of its data."""
    record = {name: value for name, value in vars(settings).items() if name not in UNRECORDED_OPTIONS}
    return {**record, "data_crc32": checksum(images, labels)}


def print_settings(record) -> None:
    """Print what `record_settings` returned, one line each."""
    print("Settings:")
    width = max(map(len, record)) + 1
    for name, value in {**record, "data": record["data"] or "bundled MNIST"}.items():
        print(f"  {name.replace('_', ' '):<{width}}{value}")


def versions() -> dict:
    """Return the versions of Python and of the packages that the scripts run on, a dictionary."""
    return {"python": platform.python_version(),
            **{name: importlib.metadata.version(name)
               for name in ("tensorflow", "keras", "numpy", "matplotlib", "imageio")}}


def write_settings(path, record, seconds) -> None:
    """Write what `record_settings` returned as JSON, with the time of the run and the versions of all that it used."""
    write_json(path, {**record, "wall_time_seconds": round(seconds, 1), **versions()})


def compare_data(folder, data, images, labels) -> None:
    """Compare the data of the run that left its settings in `folder` with all training `images` and `labels`.

    If they are others, a line says so where the user gave them, by the path `data`.
    Raises InputError if the user gave none: the run is then to be scored by its own.
    """
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):  # no settings, or those of an older version
        saved = json.loads((folder / "settings.json").read_text())
        count = saved["train_size"]
        if saved["data_crc32"] != checksum(images[:count], labels[:count]):
            if data is None:
                raise InputError(f"{folder} was trained on {saved['data'] or 'other images'}; give --data")
            print(f"{folder} was trained on other images than the first {count:,} of {data}.")
