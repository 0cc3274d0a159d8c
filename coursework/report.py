"""The numbers in the reports, which are those of the files in results/.

Every such number is followed by a comment that says where it is from, such as

    96.5<!-- experiments/noise_length: variants / length 8 / label_accuracy / mean × 100 -->

for `["variants"]["length 8"]["label_accuracy"]["mean"]` of the results in results/experiments/noise_length.json, in
percent.
"""

import functools
import json
import re

from mnist_gan.errors import InputError

NUMBER = re.compile(r"(-?[\d,]*\.?\d+)<!-- ([\w/]+): (.+?)( × 100)? -->")


def with_numbers(text, folder):
    """Return a report's `text` with its numbers taken anew from the files in `folder`, with as many decimals as before.

    Raises InputError if a file or an entry is missing.
    """
    @functools.cache
    def read(name):
        content = json.loads((folder / f"{name}.json").read_text())
        return content.get("results", content)

    def replace(match):
        shown, name, path, percent = match.groups()
        try:
            value = functools.reduce(lambda entry, key: entry[key], path.split(" / "), read(name))
            decimals = len(shown.partition(".")[2])
            return f"{value * (100 if percent else 1):,.{decimals}f}{match[0][len(shown):]}"
        except (OSError, KeyError, TypeError, ValueError) as error:
            raise InputError(f"the report's number '{name}: {path}' is not in {folder}: run the command under it in "
                             "the report, or correct the report") from error
    return NUMBER.sub(replace, text)
