"""The grammar: what is written is read again in both languages and any spelling, and what makes no sense is refused."""

import numpy as np
import pytest
from mnist_gan.errors import InputError
from mnist_gan.data.sentences import CHOICES, LANGUAGES, LONGEST, UNSAID, describe, read, sentence_table, to_tokens


def random_descriptions(count):
    """Return descriptions with many unsaid attributes and never the same ink and background."""
    random = np.random.default_rng(0)
    found = []
    while len(found) < count:
        digit, *others = (int(random.integers(UNSAID, choices)) for choices in CHOICES)
        if others[0] != others[1] or others[0] == UNSAID:
            found.append((max(digit, 0), *others))
    return found


@pytest.mark.parametrize("language", LANGUAGES)
def test_what_is_described_is_read_again(language):
    random = np.random.default_rng(1)
    for description in random_descriptions(3000):
        sentence = describe(description, random, language)
        assert read(sentence) == description, sentence
        assert (sentence.isascii() or language == "Persian") and len(sentence.split()) <= LONGEST


@pytest.mark.parametrize("description", random_descriptions(20))
def test_the_plainest_sentences_of_both_languages_are_twins(description):
    assert read(describe(description)) == read(describe(description, language="Persian")) == description


@pytest.mark.parametrize(("spelling", "same"), [
    ("A THICK Red seven,  on yellow!", "a thick red seven on yellow"),
    ("white background red two", "a red two on white"),
    ("an orange two", "a orange two"), ("  a\t red\u00a0  seven ", "a red seven"), ("“A red (seven)”…", "a red seven"),
    ("the digit 7 in red", "the digit seven in red"),
    ("یک ۷ قرمز", "یک هفت قرمز"),
    ("يك هفت قرمز", "یک هفت قرمز"),
    ("یک هفت قرمز روی زمینه‌ی زرد", "یک هفت قرمز روی زمینه زرد"),
    ("یک هفت قرمز ضخیم روی زمینه زرد", "a thick red seven on a yellow background"),
    ("یک یک قرمز", "a red one"),
    ("یک قرمز", "a red one"),
    ("يك هفت مشكي روي زمينه‌ي آبي", "یک هفت مشکی روی زمینه آبی"), ("یک ٤ قرمز", "a red four"),
    ("صفر آبی مایل به چپ", "a blue zero leaning left"),
    ("یک هفت ابى", "یک هفت آبی"), ("نة قـرمز", "نه قرمز"), ("لطفاً یک هفت قرمز بکش", "یک هفت قرمز"),
    ("a seven in red ink, please", "a red seven"), ("show me a handwritten red colour seven", "a red seven"),
    ("the color red \N{RED APPLE} 7\N{VARIATION SELECTOR-16}", "red seven"), ("a ७ in red", "a red seven"),
])
def test_spelling_and_language_do_not_matter(spelling, same):
    assert read(spelling) == read(same)


def test_the_order_of_words_matters():
    assert read("a red one on blue") == (1, 2, 4, UNSAID, UNSAID)
    assert read("a blue one on red") == (1, 4, 2, UNSAID, UNSAID)
    assert (to_tokens(["a red one on blue"]) != to_tokens(["a blue one on red"])).any()


@pytest.mark.parametrize(("sentence", "words"), [
    ("", "empty"), (" .,! ", "empty"), ("a thik red seven", "thick"), ("a red sevn", "seven"), ("یک هفتت قرمز", "هفت"),
    ("a red", "no digit"), ("seven eight", "seven, eight"), ("هفت هشت", "هفت, هشت"), ("هفت یک", "هفت, یک"),
    ("a red blue seven", "red, blue"), ("seven on red on blue", "background"), ("a thin thick two", "thickness"),
    ("a two leaning left leaning right", "slant"), ("a red seven on red", "red ink on red"),
    ("یک هفت قرمز روی زمینه سرخ", "red ink on red"), ("42", "not known"),
    ("a purple cow", "words are seven, red"), ("a " * 30 + "seven", "31 words"),
    ("a red seven \udcff", "not UTF-8"), ("a two with background red", "'red background'"),
    ("a two, background: white", "'white background'"),
    ("a grey seven", "the colours are black, white"), ("a tilted seven", "leaning left, upright or leaning right"),
    ("leaning seven", "'leaning' leaves open"), ("چهار کج", "'کج' leaves open"), ("seven red on", "'on' leaves open"),
    ("seven background", "'background' leaves open"), ("شش به رنگ", "'رنگ' leaves open"),
    ("a seven with strokes", "thin, medium or thick"), ("a seven in", "'in' leaves open"),
    ("seven " * 200_000, "letters are too many"),
])
def test_what_makes_no_sense_is_refused_in_one_line(sentence, words):
    with pytest.raises(InputError) as refusal:
        read(sentence)
    assert words in str(refusal.value) and "\n" not in str(refusal.value)


def test_the_table_holds_tens_of_thousands_of_sentences_in_the_order_of_their_descriptions():
    table = sentence_table(0)
    assert len(np.unique(table, axis=0)) > 60_000
    spoken = {tuple(row) for row in table[(7 * 9**2 * 4**2 + 2 * 9 * 4**2 + 5 * 4**2 + 2 * 4 + 2) * 6:][:6].tolist()}
    random = np.random.default_rng(0)
    written = {tuple(row) for row in to_tokens([describe((7, 2, 5, 2, 2), random, LANGUAGES[number % 2])
                                                for number in range(3000)]).tolist()}
    assert spoken <= written
