"""Sentences about painted digits, in English and Persian: how they are written, read and turned into numbers.

A description is five whole numbers in the order of ATTRIBUTES: the digit 0 to 9, the positions of ink and
background in COLOURS, of the thickness in THICKNESSES and of the slant in SLANTS. UNSAID stands for what a sentence
leaves out, which may be everything but the digit.
"""

import difflib
import functools
import itertools
import re
import unicodedata
from pathlib import Path

import numpy as np

from mnist_gan.errors import InputError

ATTRIBUTES = ("digit", "ink", "background", "thickness", "slant")
COLOURS = ("black", "white", "red", "green", "blue", "yellow", "purple", "orange")
THICKNESSES = ("thin", "medium", "thick")
SLANTS = ("leaning left", "upright", "leaning right")
CHOICES = (10, len(COLOURS), len(COLOURS), len(THICKNESSES), len(SLANTS))  # values of each attribute
UNSAID = -1
LONGEST = 24  # words in a sentence
LANGUAGES = ("English", "Persian")

# The words for each value of an attribute: synonyms, of which a sentence has one.
WORDS = {
    "English": {
        "digit": (("zero",), ("one",), ("two",), ("three",), ("four",), ("five",), ("six",), ("seven",), ("eight",),
                  ("nine",)),
        "colour": tuple((colour,) for colour in COLOURS),
        "thickness": (("thin", "fine"), ("medium", "normal"), ("thick", "bold")),
        "slant": (("leaning left", "tilted left", "slanted to the left"), ("upright", "straight"),
                  ("leaning right", "tilted right", "slanted to the right")),
    },
    "Persian": {
        "digit": (("صفر",), ("یک",), ("دو",), ("سه",), ("چهار",), ("پنج",), ("شش",), ("هفت",), ("هشت",), ("نه",)),
        "colour": (("سیاه", "مشکی"), ("سفید",), ("قرمز", "سرخ"), ("سبز",), ("آبی",), ("زرد",), ("بنفش",),
                   ("نارنجی",)),
        "thickness": (("نازک", "باریک"), ("متوسط", "معمولی"), ("ضخیم", "کلفت")),
        "slant": (("مایل به چپ", "کج به چپ"), ("صاف", "عمودی"), ("مایل به راست", "کج به راست")),
    },
}
# What is in brackets is left out together with its attribute.
PHRASINGS = {
    "English": (
        "a [{thickness}] [{ink}] {digit} [{slant}] [on a {background} background]",
        "a [{ink}] [{thickness}] {digit} [{slant}] [on {background}]",
        "[on a {background} background] a [{thickness}] [{ink}] {digit} [{slant}]",
        "the digit {digit} [in {ink}] [on {background}] [{thickness}] [{slant}]",
        "draw a {digit} [{slant}] [with {thickness} strokes] [in {ink}] [on a {background} background]",
        "[{background} background] [{slant}] [{ink}] [{thickness}] {digit}",
        "[{slant}] [{ink}] [{thickness}] number {digit} [over {background}]",
        "{digit} [{ink}] [{thickness}] [{slant}] [against a {background} background]",
    ),
    "Persian": (
        "یک {digit} [{ink}] [{thickness}] [{slant}] [روی زمینه {background}]",
        "یک {digit} [{thickness}] [{ink}] [{slant}] [روی {background}]",
        "[روی زمینه {background}] یک {digit} [{slant}] [{thickness}] [{ink}]",
        "عدد {digit} [به رنگ {ink}] [{thickness}] [{slant}] [با پس زمینه {background}]",
        "{digit} [{ink}] [{slant}] [{thickness}] [بر زمینه {background}]",
        "رقم {digit} [{thickness}] [{slant}] [به رنگ {ink}] [روی {background}]",
    ),
}
PHRASINGS_PER_DESCRIPTION = 6  # in the table of all sentences; a third of them Persian


# Letters that look or sound like another one and are no variants of it for Unicode, and marks without a meaning here.
FOLDED = str.maketrans({"ي": "ی", "ى": "ی", "ك": "ک", "ة": "ه", "ہ": "ه", "ھ": "ه", "ە": "ه", "ـ": "", "\u200c": " "})
# Words that say nothing; among them the Persian suffix that ties "background" to its colour.
SILENT = set("""ی ای لطفا بکش نشان بده دست نویس تصویر عکس please show me paint write picture image of handwritten
painted written drawn coloured colored colour color ink""".split())


def normalize(sentence) -> list:
    """Return the words of a sentence as a list: lower case, no punctuation, one form of every letter and numeral.

    Words that say nothing are left out.
    """
    text = unicodedata.normalize("NFKD", sentence).casefold().translate(FOLDED)
    if not text.isascii():
        text = "".join(str(unicodedata.digit(letter)) if letter.isdigit() else letter
                       for letter in text if not unicodedata.combining(letter))
    return ["a" if word == "an" else word for word in re.findall(r"\w+", text) if word not in SILENT]


def _words_of_the_grammar():
    texts = [re.sub(r"\{\w+\}", " ", phrasing) for phrasings in PHRASINGS.values() for phrasing in phrasings]
    texts += [word for language in WORDS.values() for values in language.values() for word in itertools.chain(*values)]
    texts += map(str, range(10))
    return sorted({word for text in texts for word in normalize(text)})


VOCABULARY = {word: number for number, word in enumerate(_words_of_the_grammar(), 1)}  # 0 fills short sentences up

# What a single word says. "to the left" says no more than "left", so the last word of a slant decides.
MEANINGS = {kind: {normalize(word)[-1]: value for language in WORDS.values()
                   for value, words in enumerate(language[kind]) for word in words}
            for kind in ("digit", "colour", "thickness", "slant")}
MEANINGS["digit"].update({str(digit): digit for digit in range(10)})
BEFORE_A_BACKGROUND = ("on", "over", "against", "روی", "بر", "زمینه")
# Words that announce an attribute, which has to follow, and how to ask for it.
ANNOUNCED = {
    "background": ((*BEFORE_A_BACKGROUND, "background"), "the background", f"one of {', '.join(COLOURS)}"),
    "ink": (("in", "رنگ"), "the ink", f"one of {', '.join(COLOURS)}"),
    "thickness": (("strokes",), "the strokes", "thin, medium or thick"),
    "slant": (("leaning", "tilted", "slanted", "left", "right", "مایل", "کج", "چپ", "راست"), "the slant",
              "leaning left, upright or leaning right"),
}
UNKNOWN_COLOURS = {"gray", "grey", "pink", "brown", "violet", "cyan", "magenta", "turquoise", "gold", "silver", "beige",
                   "خاکستری", "صورتی", "قهوه", "طلایی", "نقره"}


def read(sentence) -> tuple:
    """Return the description, five whole numbers, of what a sentence in English or Persian says.

    Raises InputError if the sentence is no text, empty or too long, has unknown words, names no digit, or contradicts
    itself.
    """
    if len(sentence) > 1000:
        raise InputError(f"'{sentence[:60]}…': {len(sentence):,} letters are too many, use at most {LONGEST} words")
    if any("\ud800" <= letter <= "\udfff" for letter in sentence):  # what Python makes of undecodable bytes
        raise InputError(f"{sentence!a} is not UTF-8 text: type it anew")
    words = normalize(sentence)
    if not words:
        raise InputError("a sentence is empty: say at least a digit, such as 'a red seven on white'")
    unknown = next((word for word in words if word not in VOCABULARY), None)
    if unknown in UNKNOWN_COLOURS:
        raise InputError(f"'{sentence}': there is no {unknown}; the colours are {', '.join(COLOURS)}")
    if unknown:
        near = difflib.get_close_matches(unknown, VOCABULARY, 3, 0.5)
        raise InputError(f"'{sentence}': the word '{unknown}' is not known; known words "
                         + (f"like it: {', '.join(near)}" if near else "are seven, red, thick, upright and the like"))
    if len(words) > LONGEST:
        raise InputError(f"'{sentence}': {len(words)} words are too many, use at most {LONGEST}")
    said = {attribute: [] for attribute in ATTRIBUTES}
    for position, word in enumerate(words):
        before = [other for other in words[:position] if other not in ("a", "the")][-1:]
        after = words[position + 1:position + 2]
        is_colour = [bool(MEANINGS["colour"].keys() & set(words_near)) for words_near in (before, after)]
        if word == "background" and is_colour == [False, True]:
            raise InputError(f"'{sentence}': say '{after[0]} background', not 'background {after[0]}'")
        if word in MEANINGS["colour"]:
            behind = before and before[0] in BEFORE_A_BACKGROUND or after == ["background"]
            said["background" if behind else "ink"].append(word)
        for kind in ("digit", "thickness", "slant"):
            if word in MEANINGS[kind]:
                said[kind].append(word)
    for attribute, (announcing, name, choices) in ANNOUNCED.items():
        word = next((word for word in words if word in announcing), None)
        if word and not said[attribute]:
            raise InputError(f"'{sentence}': '{word}' leaves open what {name} should be; say {choices}")
    # The Persian "one" is also its article, which it is in front of another digit.
    if len(said["digit"]) > 1 and said["digit"][0] == "یک":
        del said["digit"][0]
    description = []
    for attribute, found in said.items():
        kind = "colour" if attribute in ("ink", "background") else attribute
        values = sorted({MEANINGS[kind][word] for word in found})
        if len(values) > 1:
            raise InputError(f"'{sentence}' names {len(values)} values of the {attribute} "
                             f"({', '.join(dict.fromkeys(found))}): say one")
        description.append(values[0] if values else UNSAID)
    if description[0] == UNSAID:
        raise InputError(f"'{sentence}' names no digit: say one of zero to nine")
    if description[1] == description[2] != UNSAID:
        raise InputError(f"'{sentence}' has {COLOURS[description[1]]} ink on {COLOURS[description[2]]}, "
                         "on which nothing is seen: say two colours")
    return tuple(description)


def read_file(path) -> list:
    """Return the sentences in the UTF-8 text file `path`, one a line.

    Raises InputError if the file cannot be read or a line is no sentence that `read` understands.
    """
    option = f"--sentences {path}"
    try:
        lines = Path(path).read_text(encoding="utf-8-sig").rstrip().splitlines()
    except OSError as error:
        raise InputError(f"{option} cannot be read ({error.strerror}): check the path") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{option} is not UTF-8 text: save it as UTF-8") from error
    if not lines:
        raise InputError(f"{option} is empty: write one sentence a line")
    for number, line in enumerate(lines, 1):
        try:
            read(line)
        except InputError as error:
            raise InputError(f"{option}, line {number}: {error}") from error
    return lines


@functools.cache
def optional_phrases(phrasing) -> list:
    """Return the phrases in brackets of a phrasing, each with the attribute that it says."""
    return [(piece, re.search(r"\{(\w+)\}", piece)[1]) for piece in re.findall(r"\[[^]]*\]", phrasing)]


def describe(description, random=None, language="English") -> str:
    """Return a sentence in `language` that says a description, five whole numbers.

    The numpy generator `random` chooses phrasing and synonyms; None gives the plainest ones.
    """
    def choose(options):
        return options[0 if random is None else int(random.random() * len(options))]

    words, said = WORDS[language], {}
    for attribute, value in zip(ATTRIBUTES, description, strict=True):
        if value != UNSAID:
            synonyms = words["colour" if attribute in ("ink", "background") else attribute][value]
            if attribute == "digit" and random is not None and random.random() < 0.3:
                synonyms = (str(value),)
            said[attribute] = choose(synonyms)
    text = choose(PHRASINGS[language])
    for piece, attribute in optional_phrases(text):
        text = text.replace(piece, piece[1:-1] if attribute in said else "")
    text = " ".join(text.format(**said).split())
    return re.sub(r"\ba (?=[aeiou])(?!one)", "an ", text)


@functools.cache
def numbers_of(text) -> tuple:
    """Return the numbers of the words in a text without spaces, a tuple; all words must be known."""
    return tuple(VOCABULARY[word] for word in normalize(text))


def to_tokens(sentences) -> np.ndarray:
    """Return the words of sentences as numbers, int32 (n, LONGEST), filled up with 0; all words must be known."""
    tokens = np.zeros((len(sentences), LONGEST), np.int32)
    for row, sentence in zip(tokens, sentences, strict=True):
        numbers = [number for text in sentence.split() for number in numbers_of(text)]
        row[:len(numbers)] = numbers
    return tokens


@functools.cache
def sentence_table(seed) -> np.ndarray:
    """Return PHRASINGS_PER_DESCRIPTION sentences for every description as tokens, int32 (n, LONGEST).

    The rows are in the order of the descriptions, those with UNSAID last in their attribute, and then of the
    phrasings. Rows of equal ink and background are empty.
    """
    random = np.random.default_rng(seed)
    shape = (CHOICES[0], *(choices + 1 for choices in CHOICES[1:]), PHRASINGS_PER_DESCRIPTION)
    table = np.zeros((*shape, LONGEST), np.int32)
    for *place, number in np.ndindex(shape):
        if place[1] != place[2] or place[1] == len(COLOURS):
            description = [place[0]] + [UNSAID if value == choices else value
                                        for value, choices in zip(place[1:], CHOICES[1:], strict=True)]
            table[*place, number] = to_tokens([describe(description, random, LANGUAGES[number % 3 == 2])])[0]
    return table.reshape(-1, LONGEST)
