"""The reports, generated from the templates in `templates/` and the numbers in `results/`.

In a template, what stands for a number says where it is from and how many decimals it has, such as

    {{experiments/noise_length: variants / length 8 / label_accuracy / mean × 100 .1}}

for `["variants"]["length 8"]["label_accuracy"]["mean"]` of the results in results/experiments/noise_length.json, in
percent with one decimal.
"""

import functools
import json
import re

from mnist_gan.errors import InputError

NUMBER = re.compile(r"\{\{([\w/]+): (.+?)( × 100)? \.(\d+)\}\}")


def with_numbers(template, folder):
    """Return the report that `template` becomes with the numbers of the files in `folder`.

    Raises InputError if a file or an entry is missing.
    """
    @functools.cache
    def read(name):
        content = json.loads((folder / f"{name}.json").read_text())
        return content.get("results", content)

    def replace(match):
        name, path, percent, decimals = match.groups()
        try:
            value = functools.reduce(lambda entry, key: entry[key], path.split(" / "), read(name))
            return f"{value * (100 if percent else 1):,.{decimals}f}"
        except (OSError, KeyError, TypeError, ValueError) as error:
            raise InputError(f"the report's number '{name}: {path}' is not in {folder}: run the command under it in "
                             "the report, or correct the template") from error
    return NUMBER.sub(replace, template)
