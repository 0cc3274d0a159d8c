"""The reports against their templates and the files in results/: numbers, figures, commands, both languages alike."""

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
               "short/": "git checkout 4acff75",
               "benchmark/benchmark_stackgan": "python benchmark.py --stackgan",
               "benchmark/benchmark": "python benchmark.py --rounds",
               "benchmark/scaling": "python benchmark.py --workers"}
TEMPLATES = {name: (experiments.TEMPLATES / name).read_text(encoding="utf-8") for name in experiments.REPORTS}


def sources(text):
    """Return where the numbers of a template are from, once for each with the decimals that are shown."""
    return sorted({(name, path, decimals) for name, path, _, decimals in NUMBER.findall(text)})


@pytest.mark.parametrize("name", TEMPLATES)
def test_the_reports_are_what_their_templates_and_the_files_make(name):
    assert NUMBER.search(TEMPLATES[name])
    text = (ROOT / name).read_text(encoding="utf-8")
    assert text == with_numbers(TEMPLATES[name], experiments.COMMITTED)
    assert "{{" not in text and "<!--" not in text


@pytest.mark.parametrize("name", TEMPLATES)
def test_no_number_in_a_table_of_measurements_comes_from_nowhere(name):
    for row in TEMPLATES[name].splitlines():
        if row.startswith("|") and NUMBER.search(row):
            row = re.sub(r"\]\(https:[^)]*\)", "", NUMBER.sub("", row))
            cells = row.split("|")[2:]  # the first column names what was measured
            assert not re.search(r"\d\.\d", "|".join(cells)), row


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_figure_has_as_many_decimals_for_every_run_in_its_row(name):
    for row in TEMPLATES[name].splitlines():
        decimals = {}
        for source, path, _, shown in NUMBER.findall(row):
            # In the experiments' files the figure is not the last name.
            if row.startswith("|") and not source.startswith(("experiments/", "short/")):
                decimals.setdefault(path.split(" / ")[-1], set()).add(shown)
        assert all(len(numbers) == 1 for numbers in decimals.values()), row


@pytest.mark.parametrize("name", TEMPLATES)
def test_whatever_the_report_quotes_has_its_command(name):
    text = TEMPLATES[name]
    commands = " ".join(re.findall(r"`python experiments\.py ([a-z_0-9 ]+)`", text)).split()
    assert set(commands) <= set(experiments.EXPERIMENTS)
    figures = re.findall(r"\]\((?:results/)?([a-z]+/\S+)\.png\)", text)
    for source in {*(source for source, _, _ in sources(text)), *figures}:
        folder, experiment = source.split("/", 1)
        if folder == "experiments":
            assert experiment in commands
        else:
            command = next(command for start, command in MEASURED_BY.items() if source.startswith(start))
            assert f"`{command}" in TEMPLATES["results/README.md"], source


@pytest.mark.parametrize("name", [*TEMPLATES, "README.md"])
def test_links_are_to_committed_files_that_no_command_writes_to_by_default(name):
    links = re.findall(r"\]\((?!https?:)([^)#]+)", (ROOT / name).read_text(encoding="utf-8"))
    assert links and all(((ROOT / name).parent / link).is_file() for link in links)
    assert not [link for link in links if link.startswith(("outputs", "plots"))]


def numbers_in_rows(text):
    """Return the decimal numbers of every row of the tables in `text`, but for those in the row's name."""
    return [re.findall(r"\d+\.\d+", row.split("|", 2)[2]) for row in text.splitlines() if row.startswith("| ")]


def test_the_readme_shows_the_medians_of_both_recipes_as_the_results_do():
    readme, results = ((ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "results/README.md"))
    shown = numbers_in_rows(readme.split("| after 20 epochs |")[1].split("\n\n")[0])
    reported = [[row[4], row[3], row[5]] for row in numbers_in_rows(results)
                if len(row) == 6]  # three seeds, their median, that of the coursework's recipe, real images
    assert shown and not [row for row in shown if row not in reported]


def test_both_languages_show_the_same_numbers_figures_and_links():
    english, persian = TEMPLATES["REPORT.md"], TEMPLATES["REPORT.fa.md"]
    assert sources(english) == sources(persian)
    for pattern in (r"!\[[^]]+\]\((\S+)\)", r"\]\((https:\S+)\)", r"`(python experiments\.py [a-z_0-9 ]+)`"):
        assert sorted(re.findall(pattern, english)) == sorted(re.findall(pattern, persian))


def test_committed_files_name_no_folder_of_one_machine():
    for path in experiments.COMMITTED.rglob("*.json"):
        assert not re.findall(r"[\" =](?:/|[A-Z]:)[\w~]", path.read_text(encoding="utf-8")), path


def test_committed_files_say_what_they_are_and_are_not_of_a_quick_run():
    for path in (experiments.COMMITTED / "experiments").glob("*.json"):
        record = json.loads(path.read_text())
        assert record["command"] == f"python experiments.py {path.stem}" and not record["settings"]["quick"]
        assert path.stem in experiments.EXPERIMENTS


def test_numbers_are_taken_from_the_files(tmp_path):
    (tmp_path / "game.json").write_text(json.dumps({"results": {"a b": {"× 0.1, c": 0.98765}, "n": 12345}}))
    text = "{{game: a b / × 0.1, c .1}}, 7%, {{game: a b / × 0.1, c × 100 .1}}% of {{game: n .0}}"
    assert with_numbers(text, tmp_path) == "1.0, 7%, 98.8% of 12,345"
    for absent in ("{{game: absent .0}}", "{{other: n .0}}", "{{game: a b .0}}"):
        with pytest.raises(InputError, match=absent[2:-5]):
            with_numbers(absent, tmp_path)
