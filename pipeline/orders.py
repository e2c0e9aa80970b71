"""Guessing the order of label names, and which column of a table is the label.

A guess is made only where there is one: every name must be known, and all that is known must agree.

Letters alone are not guessed: A is the best grade at school but only the first hepatitis, and blood groups
have no order at all.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

SCALES = (
    # how much
    "very low < low < medium|med|mid|moderate|middle|normal|average < high < very high < extreme|critical",
    "none|no|zero|nil < very low < low < medium|med|mid|moderate < high < very high",
    "not at all < slightly|a little < somewhat|moderately < very|very much < extremely",
    "none < few|some < several < many < most < all",
    "well below average < below average < average < above average < well above average",
    "xxs < xs|extra small|x small < s|small < m|medium|med < l|large|big < xl|extra large|x large"
    " < xxl|2xl < xxxl|3xl",
    "tiny|very small < small < medium|med|mid|average < large|big < huge|giant|very large",
    "very short < short < medium|average < long|tall < very long|very tall",
    "narrow|thin < medium < wide|thick",
    "light|weak|soft < medium|moderate|normal < heavy|strong|firm|hard",
    "very slow < slow < medium|moderate|normal|average < fast < very fast",
    "very easy < easy|simple < medium|moderate|intermediate|normal < hard|difficult < very hard",
    "freezing < very cold < cold < cool|chilly < mild|lukewarm|tepid < warm < hot < very hot",
    # how good
    "worst < terrible|awful|very bad|very poor < bad < poor < fair < average|ok|okay|satisfactory|"
    "acceptable < good < very good|great < excellent|outstanding < best|perfect",
    "unacc|unacceptable < acc|acceptable < good < very good",
    "much worse < worse < same|unchanged|no change < better < much better",
    "po < fa < ta < gd < ex",
    "fair < good < very good < premium < ideal",
    "fail|failed < pass|passed < merit|credit < distinction",
    "free < basic < standard < premium < enterprise",
    "bronze < silver < gold < platinum < diamond",
    # how bad
    "none|absent|no < very mild|minimal < mild|slight < moderate < severe < critical|very severe < fatal",
    "trivial|negligible|insignificant < minor < moderate < major < severe|critical < catastrophic|blocker",
    "no injury|uninjured < slight injury|minor injury|slight < serious injury|severe injury|serious"
    " < fatal injury|fatal",
    "trace < debug < info|information < warning|warn < error < critical|fatal",
    "normal < benign < borderline|premalignant|precancerous < malignant",
    "insufficient weight|underweight < normal weight|normal < overweight|overweight level i"
    " < overweight level ii < obese|obesity|obesity type i < obesity type ii < obesity type iii",
    # opinions and habits
    "very negative < negative < neutral|mixed < positive < very positive",
    "strongly disagree|totally disagree|completely disagree < disagree"
    " < somewhat disagree|slightly disagree < neutral|neither agree nor disagree|neither|undecided|unsure"
    " < somewhat agree|slightly agree < agree < strongly agree|totally agree|completely agree",
    "very dissatisfied|very unsatisfied < dissatisfied|unsatisfied < somewhat dissatisfied"
    " < neutral|neither satisfied nor dissatisfied < somewhat satisfied < satisfied < very satisfied",
    "very unhappy < unhappy|sad < neutral < happy < very happy",
    "not important|unimportant < slightly important < moderately important < important < very important",
    "never < almost never < rarely|seldom < sometimes|occasionally < often|frequently"
    " < usually|very often < almost always < always",
    "never < yearly|annually < quarterly < monthly < weekly < daily < hourly",
    "very unlikely < unlikely < neutral|possible|maybe < likely|probable < very likely < certain",
    # people
    "beginner|novice < elementary < intermediate < advanced < expert|master",
    "intern|trainee < junior|entry < mid|middle|intermediate|mid level < senior < lead|principal",
    "baby|infant < toddler < child < teenager|teen|adolescent < young|young adult < adult"
    " < middle aged|middle age < old|elderly|senior",
    "no schooling|none < preschool|kindergarten < primary|primary school|elementary|elementary school"
    " < middle school|lower secondary|some high school < secondary|secondary school|high school|hs grad"
    " < some college < associate|associates|associate degree|associates degree"
    " < bachelor|bachelors|bachelor degree|bachelors degree|tertiary|university|college"
    " < master|masters|master degree|masters degree|graduate|postgraduate < doctorate|doctoral|phd",
    "preschool < 1st 4th < 5th 6th < 7th 8th < 9th < 10th < 11th < 12th < hs grad < some college"
    " < assoc voc < assoc acdm < bachelors < masters < prof school < doctorate",
    # yes and no, change, counting
    "no|n < maybe|unknown|unsure < yes|y",
    "false|f < true|t",
    "off < on",
    "absent < present",
    "decrease|decreased|decreasing < no change|unchanged|stable|same < increase|increased|increasing",
    "zero < one < two < three < four < five < six < seven < eight < nine < ten",
    "first < second < third < fourth < fifth < sixth < seventh < eighth < ninth < tenth",
)
"""Each from its lowest step to its highest, with the other names of a step; any of the steps may occur."""

RINGS = {
    "months of the year": "january|jan < february|feb < march|mar < april|apr < may < june|jun < july|jul"
    " < august|aug < september|sep|sept < october|oct < november|nov < december|dec",
    "days of the week": "monday|mon < tuesday|tue|tues < wednesday|wed < thursday|thu|thur|thurs"
    " < friday|fri < saturday|sat < sunday|sun",
    "compass directions": "n|north < nne < ne|north east < ene < e|east < ese < se|south east < sse"
    " < s|south < ssw < sw|south west < wsw < w|west < wnw < nw|north west < nnw",
    "seasons": "spring < summer < autumn|fall < winter",
}
"""Those whose last step is next to the first."""

ROMAN = ("i", "ii", "iii", "iv", "v", "vi", "vii", "viii", "ix", "x")

_NUMBER = r"(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?"
_SIGNED = rf"(?:(?<![^\s<>=≤≥])[-+])?{_NUMBER}"  # in "grade-1" it is no sign
NUMBERED = re.compile(
    rf"(?P<before>\D*?)(?P<low>{_SIGNED})(?:st|nd|rd|th)?"
    rf"(?:k?\s*(?:-|–|—|to|\.\.+|…)\s*(?P<high>-?{_NUMBER}))?(?P<after>\D*)"
)
BELOW = re.compile(
    r"<=?|≤|\b(under|below|less than|up to|at most)\b|\b(and|or) (under|below|less|fewer|younger)\b"
)
ABOVE = re.compile(
    r">=?|≥|\+|\b(over|above|more than|at least|plus)\b|\b(and|or) (over|above|more|up|older|higher)\b"
)

COUNTED_ONLY = {"cluster", "type", "id", "group", "species", "topic", "sensor", "model", "user", "zone"}
"""Words whose numbers tell things apart and do not put them in an order."""

LABELS = ("label", "class", "target", "outcome", "y", "quality", "rating", "severity", "grade")
"""Names of label columns, the surest first."""

PERHAPS = ("satisfaction", "stars", "score", "priority", "risk", "response", "stage", "level", "category")
"""Names that may as well be those of features, such as "education level"."""

BESIDE = {"name", "id", "idx", "index", "code", "num", "value", "text", "true", "label", "class"}
"""What a label's name may be followed by; "response time" is not a response."""


@dataclass(frozen=True)
class Order:
    """An order that label names seem to have."""

    names: tuple[str, ...]  # as they were given, lowest first
    cyclic: bool  # whether the last is next to the first
    reason: str  # such as "numbers"


def guess(names: Sequence[str]) -> Order | None:
    """Return the order of label names, or None where none is known or two contradict each other.

    Ignores case, blanks, `_` and `-`, and a word that all names begin or end with.

    >>> guess(["risk_high", "risk_low", "risk_mid"]).names
    ('risk_low', 'risk_mid', 'risk_high')
    >>> guess(["red", "green", "blue"]) is None
    True
    """
    distinct = tuple(dict.fromkeys(names))
    if len(distinct) < 2:
        return None
    found = list(_orders(distinct))
    agree = len({(order.names, order.cyclic) for order in found}) == 1
    return found[0] if agree else None


def label_column(columns: Sequence[str]) -> str | None:
    """Return the column that is the label by its name, or None where no name says so.

    A name that is one of the known words comes first, then one that ends in such a word ("wine_quality"),
    then one that begins with it ("class_name"); of equals, the last column. Words that features are
    called by too, such as "level", count at the end of a name only in the first and the last column.

    >>> label_column(["id", "class_size", "TargetClass", "age"])
    'TargetClass'
    """
    known = LABELS + PERHAPS
    fits = []
    for at, column in enumerate(columns):
        *others, last = _words(column) or [""]
        sure = last in LABELS or at in (0, len(columns) - 1)
        if last in known and not others:
            fits.append((0, known.index(last), -at))
        elif last in known and last != "y" and sure:
            fits.append((1, known.index(last), -at))
        elif len(others) == 1 and others[0] in known and last in BESIDE:
            fits.append((2, known.index(others[0]), -at))
    return columns[-min(fits)[2]] if fits else None


def _words(name: str) -> list[str]:
    """Return the words of a name in lower case, whether blanks, signs or capitals part them."""
    parted = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).casefold()
    return re.findall(r"[^\W_]+", re.sub("['’]", "", parted))


def _key(words: Sequence[str]) -> str:
    return re.sub("^very(?=.)", "v", "".join(words))


def _steps(scale: str) -> list[set[str]]:
    return [{_key(_words(name)) for name in step.split("|")} for step in scale.split("<")]


def _places(keys: Sequence[str], steps: list[set[str]]) -> list[int] | None:
    """Return the step of each name, or None where one has no step, or two have the same."""
    index = {key: place for place, step in enumerate(steps) for key in step}
    places = [index[key] for key in keys if key in index]
    return places if len(set(places)) == len(keys) else None


def _orders(names: tuple[str, ...]) -> Iterator[Order]:
    """Yield every order that fits."""
    yield from _numbers(names)
    letters = "".join(sorted(name.casefold() for name in names))
    if len(names) == len(letters) == 2 and letters not in ("ny", "ft"):
        return  # S and M may be sizes, but then where is L?
    words = [_words(name) for name in names]
    shared, own = _parted(words)
    if not COUNTED_ONLY & shared:
        yield from _roman(names, own)
    for spoken in (words, own):
        keys = [_key(each) for each in spoken]
        for scale in SCALES:
            if places := _places(keys, _steps(scale)):
                rising = _sorted(names, places)
                yield Order(rising, False, f"a known scale: {_shown(rising)}")
        for title, ring in RINGS.items():
            steps = _steps(ring)
            if places := _places(keys, steps):
                yield from _round(names, places, len(steps), title)


def _parted(words: list[list[str]]) -> tuple[set[str], list[list[str]]]:
    """Return the words that all names begin or end with, and what is left of each name."""
    shared = set()
    for end in (0, -1):
        while min(map(len, words)) > 1 and len({each[end] for each in words}) == 1:
            shared.add(words[0][end])
            words = [each[1:] if end == 0 else each[:-1] for each in words]
    return shared, words


def _round(names: tuple[str, ...], places: list[int], steps: int, title: str) -> Iterator[Order]:
    """Yield a ring where its names go all round, else the arc that begins after the widest gap."""
    rising = _sorted(names, places)
    taken = sorted(places)
    gaps = [(after - place) % steps for place, after in zip(taken, taken[1:] + taken[:1], strict=True)]
    widest = max(gaps)
    if len(names) > 2 and (min(gaps) == widest or 4 * widest <= steps):
        yield Order(rising, True, f"{title}, which go round")
    elif gaps.count(widest) == 1:
        first = gaps.index(widest) + 1
        yield Order(rising[first:] + rising[:first], False, f"{title}, which do not go all round here")


def _roman(names: tuple[str, ...], own: list[list[str]]) -> Iterator[Order]:
    keys = ["".join(words) for words in own]
    places = _places(keys, [{numeral} for numeral in ROMAN])
    if places and any(len(key) > 1 for key in keys):
        yield Order(_sorted(names, places), False, "Roman numerals")


def _numbers(names: tuple[str, ...]) -> Iterator[Order]:
    """Yield the order of numbers or ranges that do not overlap, with the same words around each."""
    found = [_range(name) for name in names]
    ranges = [each for each in found if each]
    around = {each[2:] for each in ranges}
    if len(ranges) < len(names) or len(around) != 1 or COUNTED_ONLY & {*around.pop()[0]}:
        return
    rising = sorted(ranges)
    if all(a[:2] != b[:2] and a[1] <= b[0] for a, b in pairwise(rising)):
        yield Order(_sorted(names, [rising.index(each) for each in ranges]), False, "numbers")


def _range(name: str) -> tuple[float, float, tuple[str, ...], tuple[str, ...]] | None:
    """Return the range that a name stands for, and the words before and after it."""
    text = re.sub(r"[$€£%]", "", name.casefold().replace("_", " ").replace("−", "-")).strip()
    text = re.sub(r"^[\[(](.+),\s*(.+)[\])]$", r"\1 to \2", text)  # as pandas writes (10, 20]
    match = NUMBERED.fullmatch(text)
    if not match:
        return None
    low = float(match["low"].replace(",", ""))
    high = float(match["high"].replace(",", "")) if match["high"] else low
    if low > high:
        return None
    before, after = match["before"], match["after"]
    if BELOW.search(before) or BELOW.search(after):
        low = -math.inf
    if ABOVE.search(before) or ABOVE.search(after):
        high = math.inf
    units = [word.removesuffix("s") for word in _words(ABOVE.sub(" ", BELOW.sub(" ", after)))]
    return low, high, tuple(_words(ABOVE.sub(" ", BELOW.sub(" ", before)))), tuple(units)


def _sorted(names: tuple[str, ...], places: list[int]) -> tuple[str, ...]:
    return tuple(name for _, name in sorted(zip(places, names, strict=True)))


def _shown(names: tuple[str, ...]) -> str:
    return " < ".join(names if len(names) <= 5 else (*names[:2], "…", names[-1]))
