"""The settings of a run, printed at its start and recorded beside its results."""

import importlib.metadata
import platform

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
    for name, value in record.items():
        print(f"  {name.replace('_', ' '):<{width}}{value}")


def versions() -> dict:
    """Return the versions of Python and of the packages that the scripts run on, a dictionary."""
    return {"python": platform.python_version(),
            **{name: importlib.metadata.version(name)
               for name in ("tensorflow", "keras", "numpy", "matplotlib", "imageio")}}


def write_settings(path, record, seconds) -> None:
    """Write what `record_settings` returned as JSON, with the time of the run and the versions of all that it used."""
    write_json(path, {**record, "wall_time_seconds": round(seconds, 1), **versions()})
