"""The reports against the files in results/: numbers, figures, commands, and both languages alike."""

import json
import re

import experiments
import pytest
from coursework.report import NUMBER, with_numbers
from helpers import ROOT
from mnist_gan.errors import InputError

# Where files outside of results/experiments/ are from, by how their names start.
MEASURED_BY = {"cgan/": "python cgan_mnist.py", "coursework/": "python cgan_mnist.py --recipe coursework",
               "stackgan/": "python evaluate_stackgan.py",
               "benchmark/benchmark_stackgan": "python benchmark.py --stackgan",
               "benchmark/benchmark": "python benchmark.py --rounds",
               "benchmark/scaling": "python benchmark.py --workers"}
TEXTS = {name: (ROOT / name).read_text(encoding="utf-8") for name in experiments.REPORTS}


def sources(text):
    """Return where the numbers of a report are from, once for each with the decimals that are shown."""
    return sorted({(name, path, len(shown.partition(".")[2])) for shown, name, path, _ in NUMBER.findall(text)})


@pytest.mark.parametrize("name", TEXTS)
def test_the_numbers_of_the_report_are_those_of_the_files(name):
    assert NUMBER.search(TEXTS[name])
    assert with_numbers(TEXTS[name], experiments.COMMITTED) == TEXTS[name]


@pytest.mark.parametrize("name", TEXTS)
def test_no_number_in_a_table_of_measurements_comes_from_nowhere(name):
    for row in TEXTS[name].splitlines():
        if row.startswith("|") and NUMBER.search(row):
            cells = NUMBER.sub("", row).split("|")[2:]  # the first column names what was measured
            assert not re.search(r"\d\.\d", "|".join(cells)), row


@pytest.mark.parametrize("name", TEXTS)
def test_a_figure_has_as_many_decimals_for_every_run_in_its_row(name):
    for row in TEXTS[name].splitlines():
        decimals = {}
        for shown, source, path, _ in NUMBER.findall(row):
            if row.startswith("|") and not source.startswith("experiments/"):  # there the figure is not the last name
                decimals.setdefault(path.split(" / ")[-1], set()).add(len(shown.partition(".")[2]))
        assert all(len(numbers) == 1 for numbers in decimals.values()), row


@pytest.mark.parametrize("name", TEXTS)
def test_whatever_the_report_quotes_has_its_command(name):
    text = TEXTS[name]
    commands = " ".join(re.findall(r"`python experiments\.py ([a-z_0-9 ]+)`", text)).split()
    assert set(commands) <= set(experiments.EXPERIMENTS)
    for source in {*(source for source, _, _ in sources(text)), *re.findall(r"\]\(results/(\S+)\.png\)", text)}:
        folder, experiment = source.split("/", 1)
        if folder == "experiments":
            assert experiment in commands
        else:
            command = next(command for start, command in MEASURED_BY.items() if source.startswith(start))
            assert f"`{command}" in text, source


@pytest.mark.parametrize("name", [*TEXTS, "README.md"])
def test_links_are_to_committed_files_that_no_command_writes_to_by_default(name):
    links = re.findall(r"\]\((?!https?:)([^)#]+)", (ROOT / name).read_text(encoding="utf-8"))
    assert links and all((ROOT / link).is_file() for link in links)
    assert not [link for link in links if link.startswith(("outputs", "plots"))]


def numbers_in_rows(text):
    """Return the decimal numbers of every row of the tables in `text`, but for those in the row's name."""
    return [re.findall(r"\d+\.\d+", row.split("|", 2)[2]) for row in text.splitlines() if row.startswith("| ")]


def test_the_readme_shows_the_medians_of_both_recipes_as_the_report_does():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    shown = numbers_in_rows(readme.split("| after 20 epochs |")[1].split("\n\n")[0])
    reported = [[row[4], row[3], row[5]] for row in numbers_in_rows(NUMBER.sub(r"\1", TEXTS["REPORT.md"]))
                if len(row) == 6]  # three seeds, their median, that of the coursework's recipe, real images
    assert len(shown) == 10 and not [row for row in shown if row not in reported]


def test_both_languages_show_the_same_numbers_figures_and_links():
    english, persian = TEXTS.values()
    assert sources(english) == sources(persian)
    for pattern in (r"!\[[^]]+\]\((\S+)\)", r"\]\((https:\S+)\)", r"`(python experiments\.py [a-z_0-9 ]+)`"):
        assert sorted(re.findall(pattern, english)) == sorted(re.findall(pattern, persian))


def test_committed_files_say_what_they_are_and_are_not_of_a_quick_run():
    for path in (experiments.COMMITTED / "experiments").glob("*.json"):
        record = json.loads(path.read_text())
        assert record["command"] == f"python experiments.py {path.stem}" and not record["settings"]["quick"]
        assert path.stem in experiments.EXPERIMENTS


def test_numbers_are_taken_anew_from_the_files(tmp_path):
    (tmp_path / "game.json").write_text(json.dumps({"results": {"a b": {"× 0.1, c": 0.98765}, "n": 12345}}))
    text = "1.0<!-- game: a b / × 0.1, c -->, 7%, 0.0<!-- game: a b / × 0.1, c × 100 -->% of 1<!-- game: n -->"
    assert with_numbers(text, tmp_path) == (
        "1.0<!-- game: a b / × 0.1, c -->, 7%, 98.8<!-- game: a b / × 0.1, c × 100 -->% of 12,345<!-- game: n -->")
    for absent in ("1<!-- game: absent -->", "1<!-- other: n -->", "1<!-- game: a b -->"):
        with pytest.raises(InputError, match=absent[6:-4].strip()):
            with_numbers(absent, tmp_path)
