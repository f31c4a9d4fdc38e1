"""Careful wording: signals are consistent with states; nobody *is* anything. Observables-only: no emotion words."""

from __future__ import annotations

import re

_STATES = (
    "angry|sad|happy|afraid|fearful|scared|disgusted|surprised|distressed|pleased|calm|upset|anxious|agitated|depressed"
)
_FORBIDDEN = re.compile(
    rf"\b(?:is|are|was|were|feels?|felt|seems?|looks?|being)\s+(?:\w+ly\s+|very\s+|so\s+)?(?:{_STATES})\b"
    r"|\b(?:proves?|diagnos\w+|certainly|definitely|detects? emotions?)\b",
    re.IGNORECASE,
)
_HINTS = (*_STATES.split("|"), "prove", "diagnos", "certainly", "definitely", "emotion")

# Stems of words for feelings, moods and their dimensions, and of the labels that affect models give. A kind of sound
# (laugh, cry, scream, moan, sigh, groan) is an observable and stays; so does an arm movement or a place.
_EMOTION = re.compile(
    r"\b(?:emotion|feel(?:s|ing|ings)?\b|felt\b|mood|sentiment|tempera?ment|"
    r"valence|arousal|dominance\b|aroused|excite|exciting|"
    r"ang(?:er|ry|rily)|rage\b|fury|furious|irritat|annoy|frustrat|contempt|hostil|aggress|"
    r"sad(?:ness|ly|der)?\b|sorrow|grief|griev|depress|despair|miser|melanchol|gloom|lonel|"
    r"happ(?:y|i)|joy|delight|elat|ecsta|amus|pleas(?:ure|ed|ant|antness|antly)|unpleas|content(?:ed|ment)|cheer|"
    r"fear|afraid|scar(?:ed|y)\b|fright|terror|terrif|horror|panic|anxi|nervous|worr(?:y|ied)|stress|tense\b|"
    r"disgust|revuls|surpris|astonish|awe\b|amaz|"
    r"calm|relax|relief|reliev|seren|peaceful|neutral\b|bored|boredom|tired\b|"
    r"distress|upset|agitat|suffer|pain(?:ed|ful)?\b|hurt\b|discomfort|uncomfort|"
    r"desire|love|lov(?:ing|ed)\b|affection|lust|craving|tender|"
    r"asham|shame|guilt|embarrass|pride|proud|envy|envious|jealous|"
    r"sympath|empath|compassion|triumph|interest(?:ed)?\b|confus|doubtful|concentrat|determin|effort\b)\w*",
    re.IGNORECASE,
)


def forbidden_words(text: str) -> list[str]:
    """The phrases of a sentence that claim more than signals can carry ("is angry", "proves"); empty when fine."""
    low = text.lower()
    if not any(hint in low for hint in _HINTS):  # the pattern is slow, and most sentences hold none of its words
        return []
    return [match.group(0) for match in _FORBIDDEN.finditer(text)]


def emotion_words(text: str) -> list[str]:
    """Words for feelings in a sentence: what observables-only mode never says (EU AI Act Art. 5(1)(f)); empty when
    fine. Kinds of sound, movements and places are no such words."""
    return [match.group(0) for match in _EMOTION.finditer(text)]
