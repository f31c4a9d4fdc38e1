"""Whether a sentence in other words still says what its predicate says. Strict: what it cannot tell, it refuses.

Both are taken apart alike: function words go, what means the same becomes one token, and "not", "no", "may", "could",
"would" and "without" hold fast to the word after them. A rewrite must then have the same times, numbers and people in
the same order, and every content word as often as its predicate; no other, so neither a hedge nor a "certainly", a
"not" or a second person. The words of one slot stay side by side, and two events, or who speaks against what, change
places only where the word between them does ("after" for "before", "against by" for "against"). A clause that only
says again what another says ("; that it falls by 0.72") is passed over.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache

from mien.reason.grammar import WHO, Names, render, slots_of, values
from mien.reason.predicates import Against, Cause, Decide, Look, Missing, Movement, Order, Predicate

FIXED = (Missing, Look, Decide)
"""What is not known and what a person should do are said in our words alone."""
FUNCTION = frozenset({
    "a", "an", "and", "are", "as", "at", "be", "been", "being", "by", "contain", "contained", "contains", "did", "do",
    "does", "during", "find", "for", "found", "from", "give", "given", "gives", "had", "has", "have", "heard", "hears",
    "held", "hold", "holds", "in", "is", "it", "its", "itself", "of", "on", "one", "recorded", "same", "that", "the",
    "their", "there", "these", "they", "this", "those", "till", "to", "until", "was", "were", "what", "which", "while",
    "who", "whose", "with", "where", "when", "between", "within", "interval", "period", "span",
})  # fmt: skip
HOLDING = frozenset({"not", "no", "may", "could", "would", "without"})
"""Words that hold fast to the content word after them: neither counts without the other."""
LINKS = frozenset({"before", "after", "against", "againstby", "reasonfor"})
"""Words between two roles: they tell which is which."""
SYNONYMS = (
    "rise rose risen increase climb grow grew grown", "fall fell fallen drop decrease decline sink sank",
    "view visible sight", "sway rock", "signal", "recording clip", "start begin began begun commence beginning",
    "loudness volume", "consistent compatible agree agreement", "analyse analyze", "mean average", "stand stood",
    "differ different difference deviate deviation", "reason cause", "overlap coincide", "disagree disagreement",
    "peak maximum highest", "p probability", "decide decision", "frame image", "show shown",
)  # fmt: skip
AMOUNTS = r"(?=[+-]?\d+(?:\.\d+)?(?![\d:]|\.\d))"
ALIKE: tuple[tuple[str, str], ...] = (
    # units and contractions
    (r"\(s\)|\(es\)|['’]s\b", ""), (r"\bseconds?\b|(?<=\d)s\b", " s"), (r"\bdecibels?\b", "db"), (r"\bhertz\b", "hz"),
    (r"\bstandard deviations?\b", "sd"), (r"\bper ?cent\b|%", " % "), (r"\bcan(?:['’]t|not)\b", "can not"),
    (r"n['’]t\b", " not"), (r"\bmight\b", "may"),
    *((rf"\b{word}\b", str(n)) for n, word in enumerate(("two", "three", "four", "five", "six", "seven", "eight"), 2)),
    # what could not be measured
    (r"\b(?:it )?(?:was|is|were|are|has been)?\s*(?:not possible|impossible) to (?=measure)", " could not be "),
    (r"\bno measurement (.*?)(?:was|is|were) possible", r"could not be measured \1"),
    (r"\b(?:was|is|were|are) (?:not able|unable) to be (?=measured)|\bcan not be (?=measured)", "could not be "),
    (r"\b(?:was|is|were|are) (?:not measurable|unmeasurable|immeasurable)", "could not be measured"),
    # up, down, to the top and no further
    (r"\b(?:go(?:es|ne|ing)?|went) up\b", "rises"), (r"\b(?:go(?:es|ne|ing)?|went) down\b", "falls"),
    (r"\bbec(?:o|a)mes?\b(.*?)\bhigher\b", r"rises \1"), (r"\bbec(?:o|a)mes?\b(.*?)\blower\b", r"falls \1"),
    (r"\breach\w* (?:a|its|the|their) (?=peak|maximum|highest)", ""), (r"\bhighest (?:point|value)\b", "highest"),
    (r"\b(?:up to|at most|as much as|no more than)\b", "upto"),
    (rf"\b(?:to|from|until|till|than|over|under|above|below|near|about)\s+{AMOUNTS}", " unto "),
    # at once, and one after the other
    (r"\b(?:happen|occur|are)\w* (?:both )?(?:at the same time|simultaneously)\b", "overlap"),
    (r"\b(?:comes?|came|occurs?|occurred|happens?|happened|is|are|was|were)\b"
     r"(?=\s+\S+\s+s (?:before|after|earlier|later))", "starts"),
    (r"\b(sound|speech) (?:begins?|begun|began|starts?|started) at (?=\d+:)", r"\1 at "), (r"\blater than\b", "after"),
    (r"\b(?:earlier than|prior to|ahead of)\b", "before"), (r"\bthat (?:follow(?:s|ed)|comes after) it\b", "after it"),
    (r"\bthat (?:precede[sd]?|comes before) it\b", "before it"), (r"\bfollow(?:s|ed)\b", "starts after"),
    (r"\bprecede[sd]?\b", "starts before"), (r"\b(before|after) the (?:start|beginning) of\b", r"\1"),
    # hypotheses and readings
    (r"\b(?:a )?(?:possible|potential) (?=reason|cause)|\bcould (?=be a (?:reason|cause))", "may "),
    (r"\bthe ([^,]*?) may have the ([^,]*?) before it as a reason\b", r"the \2 may be a reason for the \1 after it"),
    (r"\b(?:reason|cause) (?:for|of)\b", "reasonfor"), (r"\bmay be there to\b", "may serve to"),
    (r"\bto ([^,;]*) may be what ([^,;]*) serves\b", r"\2 may serve to \1"),
    (r"\b(?:speak(?:s|ing)?|spoken?|argu(?:es?|ed|ing)|counts?|evidence) against\b", "against"),
    (r"\bagainst by\b", "againstby"), (r"\bin (?:line|accordance|keeping) with\b", "consistent with"),
    (r"\bon average\b", "average"), (r"\b(?:a|the) reading is not (?=given)", "no reading is "),
    (r"\broom for ([\w ]+?) (?:is|was) left\b", r"room \1"),
    (r"\broom (?:is |was )?left\b|\b(?:leav(?:e|es|ing)|left) room\b|\ballow(?:s|ed|ing)? for\b", "room"),
    (r"\b(?:if|when) (?:the )?(\w+) (?:were|was|is) (?:left out|not there|missing|absent)", r"without the \1"),
    (r"\bwere it not for\b|\bif there (?:were|was) no\b|\bin the absence of\b|\bleaving out\b", "without"),
    # people and movements
    (r"\b(?:can|could) be seen\b|\bis seen\b", "in view"), (r"\bin view of\b", "viewof"),
    (rf"\b(signals?) from (?={WHO.pattern})", r"\1 of "),
    (rf"\b(?:from|between) (?={WHO.pattern})", "betweenwho "), (r"\bthe view\b", "theview"),
    (r"\bthose who know\b|\bwhoever knows\b", "people who know"),
    (r"\blike (?:this|that)\b|\bof (?:this|that) kind\b", "such"),
)  # fmt: skip
STATEMENT = re.compile(r"[\w\s.,;:()%+=→–'’-]+")
TOKEN = re.compile(
    rf"(?P<who>{WHO.pattern})(?!\d|\.\d)|(?P<time>\d+:\d\d(?:\.\d+)?)|(?P<number>[+-]?\d+(?:\.\d+)?)|(?P<word>[^\W\d_]+|%)"
)
CLAUSE = re.compile(r"[,;:]\s|\.(?:\s|$)|[()]")
PRONOUN = re.compile(r"\s*(?:and )?(?:that|it|they|which)\b")
AMOUNT = re.compile(r"#|upto$")
SAYS = re.compile(r"([\w.-]+) → ([\w -]+?) (\d+\.\d+) \(λ (\d+\.\d+)\)")  # what one source of an assessment says


def faithful(text: str, predicate: Predicate, names: Names) -> bool:
    """Whether `text` says the predicate, all of it and nothing else."""
    if isinstance(predicate, FIXED) or not STATEMENT.fullmatch(text):
        return False
    said, meant = _Parts.of(text), _Parts.of(render(predicate, names))
    if (said.who, said.says) != (meant.who, meant.says) or not _again(said.times, meant.times):
        return False
    words = _turned(predicate, said.words)
    if words is None or Counter(_held(words)) != Counter(_held(meant.words)):
        return False
    if not (
        _near(said.numbers, meant.numbers, "%" in meant.words)
        and all(_at(words, phrase) for phrase in _phrases(predicate, names))
    ):
        return False
    return not isinstance(predicate, Movement) or _set_off(predicate.doing) <= set(said.clauses)


@dataclass(frozen=True, slots=True)
class _Parts:
    """A sentence taken apart: times in order, people in order of first mention, the state that each source leads to,
    numbers in order, and the content words of clauses that say something new, together and clause by clause."""

    times: tuple[float, ...]
    who: tuple[str, ...]
    says: tuple[tuple[str, str], ...]
    numbers: tuple[str, ...]
    words: tuple[str, ...]
    clauses: tuple[tuple[str, ...], ...]

    @classmethod
    def of(cls, text: str) -> _Parts:
        says = tuple(dict.fromkeys(m.groups() for m in SAYS.finditer(text)))
        text = SAYS.sub(" ", text).casefold()
        for pattern, same in _alike():
            text = pattern.sub(same, text)
        found = [(m.lastgroup, m[0]) for m in TOKEN.finditer(text)]
        times = [t.split(":") for kind, t in found if kind == "time"]
        new = list(_new(CLAUSE.split(text)))
        clauses = tuple(tuple(t for t in clause if not t.startswith("#")) for clause in new)
        return cls(
            tuple(60 * int(minutes) + float(seconds) for minutes, seconds in times),
            tuple(dict.fromkeys(t for kind, t in found if kind == "who")),
            tuple((source.casefold(), state.casefold()) for source, state, _, _ in says),
            (*(t[1:] for clause in new for t in clause if t.startswith("#")), *(v for s in says for v in s[2:])),
            tuple(t for clause in clauses for t in clause),
            clauses,
        )


@cache
def _alike() -> tuple[tuple[re.Pattern[str], str], ...]:
    return tuple((re.compile(pattern), same) for pattern, same in ALIKE)


def _new(clauses: Sequence[str]) -> Iterator[tuple[str, ...]]:
    """Content words (stems) and numbers (after a #) of each clause that does not just say again what another says:
    a whole clause, the end of one after a pronoun, or an amount. A single word is never taken for a repetition."""
    taken = [tuple(_tokens(clause)) for clause in clauses]
    held = [tuple(_held(tokens)) for tokens in taken]
    for n, own in enumerate(held):
        others = held[:n] if PRONOUN.match(clauses[n]) else []
        if own and AMOUNT.match(own[0]):
            others = [b for m, b in enumerate(held) if m < n or len(b) > len(own)]
        within = any(own == b[i : i + len(own)] for b in others for i in range(len(b)))
        if len(taken[n]) < 2 or not (own in held[:n] or within):
            yield taken[n]


def _tokens(clause: str) -> Iterator[str]:
    for m in TOKEN.finditer(clause):
        if m["number"]:
            yield f"#{m['number']}"
        elif m["word"] and m["word"] not in FUNCTION:
            yield stem(m["word"])


def _held(words: Sequence[str]) -> Iterator[str]:
    """The words, those that hold fast together with what they hold."""
    holding = ""
    for word in words:
        if word in HOLDING:
            holding += f"{word} "
        else:
            yield holding + word
            holding = ""
    if holding:
        yield holding


def _again(said: Sequence[float], meant: Sequence[float]) -> bool:
    """Whether the times are said, and where they are said again, all of them in their order."""
    rounds = len(said) // len(meant) if meant else 1
    return bool(rounds) and list(said) == list(meant) * rounds


def _near(said: Sequence[str], meant: Sequence[str], share: bool) -> bool:
    """Whether numbers agree in their order, but for one step of the last decimal that we print: what is kept of a claim
    is rounded before it is said again. Whole numbers that are no share (%) must be those."""
    steps = [10.0 ** -len(m.partition(".")[2]) if share or "." in m else 0.0 for m in meant]
    pairs = zip(said, meant, steps, strict=False)
    return len(said) == len(meant) and all(abs(float(s) - float(m)) <= step * 1.001 for s, m, step in pairs)


def _phrases(predicate: Predicate, names: Names) -> list[tuple[str, ...]]:
    """The content words of each slot that is said in words."""
    held = values(predicate, slots_of(predicate.sentence), names)
    texts = [v for slot, v in held.items() if isinstance(v, str) and slot not in ("track", "more")]
    return [phrase for text in texts if (phrase := _Parts.of(text).words)]


def _set_off(doing: str) -> set[tuple[str, ...]]:
    """What stands in brackets is set off in a rewrite, too: "(right)" is not "to the right"."""
    return {clause for held in re.findall(r"\(([^()]*)\)", doing) for clause in _Parts.of(held).clauses}


def _at(words: Sequence[str], phrase: Sequence[str]) -> list[int]:
    """Where the words of a phrase stand side by side, in any order."""
    n, wanted = len(phrase), Counter(phrase)
    return [i for i in range(len(words) - n + 1) if Counter(words[i : i + n]) == wanted]


def _turned(predicate: Predicate, words: tuple[str, ...]) -> tuple[str, ...] | None:
    """The words with the link that the grammar has, where two roles changed places along with it ("B after A" for "A
    before B"); None where they changed places and the link did not."""
    match predicate:
        case Order():
            first, second, links = predicate.first_words, predicate.second_words, ("before", "after")
        case Against():
            first, second, links = predicate.source, predicate.state, ("against", "againstby")
        case Cause():
            first, second, links = predicate.first_words, predicate.second_words, ("after", "before")
        case _:
            return words
    for i in _at(words, _Parts.of(first).words):
        for j in _at(words, _Parts.of(second).words):
            link, last = links[j < i], max(i, j)
            if not isinstance(predicate, Cause):
                at = last - 1
            elif words[j - 1] == "reasonfor" and link in words[last:]:
                at = words.index(link, last)
            else:
                continue
            if words[at] == link:
                return (*words[:at], links[0], *words[at + 1 :])
    return None


@cache
def stem(word: str) -> str:
    """A word without its ending; of several that mean the same, the first."""
    bare = word if word in HOLDING | LINKS else _bare(word)
    return next((group[0] for group in _groups() if bare in group), bare)


@cache
def _groups() -> tuple[tuple[str, ...], ...]:
    return tuple(tuple(dict.fromkeys(_bare(w) for w in group.split())) for group in SYNONYMS)


def _bare(word: str) -> str:
    for end in ("ing", "ed", "es", "s"):
        if word.endswith(end) and len(word) - len(end) >= 3:
            word = word.removesuffix(end)
            if end in ("ing", "ed") and len(word) > 3 and word[-1] == word[-2] and word[-1] in "bgmnprt":
                word = word[:-1]
            break
    return word.removesuffix("e")
