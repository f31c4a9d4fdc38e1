"""The closed vocabulary of claims: what quantities, events and movements are called in a sentence, and how exactly a
claim about them must agree with the ledger.

Tolerances belong to the vocabulary and not to the writer of a claim: nobody may widen the margin by which he is judged.
"""

from __future__ import annotations

from dataclasses import dataclass

from mien.core import Observation

TIME_US = 500_000
"""A claim's time may be off by this much: two and a half cells of the common grid of 200 ms."""

# What a claim may be off by, per slot of the grammar; value and amount: see `Quantity`.
TOLERANCES: dict[str, float] = {
    "start_us": TIME_US, "end_us": TIME_US, "longest_start_us": TIME_US, "longest_end_us": TIME_US,
    "lag_s": 0.5, "overlap_s": 0.5, "seconds": 0.5, "p": 0.05, "share": 0.05, "percent": 5.0, "degree": 0.05,
    "odds": 0.25, "count": 0.5, "sds": 0.5, "level": 2.0, "pitch": 10.0, "weight": 0.05,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Quantity:
    """A signal in words. `least`: the smallest change worth an event; a claim may be off by half of it.

    `affect`: it is an inference about feeling, so it is kept out of sentences about observables.
    """

    words: str
    unit: str
    least: float
    plural: bool = False
    affect: bool = False

    @property
    def tolerance(self) -> float:
        return self.least / 2


QUANTITIES: dict[str, Quantity] = {
    "valence": Quantity("valence of the expression", "", 0.2, affect=True),
    "arousal": Quantity("arousal of the expression", "", 0.2, affect=True),
    "loudness": Quantity("loudness", "dB", 6.0),
    "pitch": Quantity("pitch", "Hz", 40.0),
    "motion_energy": Quantity("movement in the picture", "per second", 0.02),
    "face.mouth_corner_raise": Quantity("mouth corners", "eye distances", 0.05, plural=True),
    "face.lip_gap": Quantity("gap between the lips", "eye distances", 0.05),
    "face.jaw_drop": Quantity("drop of the jaw", "eye distances", 0.05),
    "face.brow_raise_inner": Quantity("inner brows", "eye distances", 0.05, plural=True),
    "face.eye_opening": Quantity("opening of the eyes", "", 0.1),
    "head.yaw": Quantity("turn of the head", "degrees", 10.0),
    "head.pitch": Quantity("nod of the head", "degrees", 10.0),
    "body.motion_body": Quantity("movement of the body", "trunk lengths per second", 0.3),
    "body.arm_openness": Quantity("openness of the arms", "trunk lengths", 0.2),
    "body.trunk_lean": Quantity("lean of the trunk", "degrees", 10.0),
}

EVENT_KINDS = {"rise": "rise", "fall": "fall", "peak": "peak", "onset": "onset", "gap": "gap"}
AFFECT_TARGETS = (
    "expression", "valence", "arousal", "voice.state", "voice.arousal", "expression_disagreement", "blind_opinion",
)  # fmt: skip

# What a pose event is called in a sentence: movement and place, never a reason or a feeling.
_MOVEMENTS = {
    "rocking": "sways to and fro ({value:.1f} times a second, {detail})",
    "pacing": "walks to and fro ({value:.0f} turns)",
    "hand_at_ear": "has a hand at the ear ({detail})",
    "hand_at_head": "has a hand at the head ({detail})",
    "hand_near_face": "has a hand before the face ({detail})",
    "striking": "makes a fast arm movement that stops short ({detail}; {value:.1f} trunk lengths a second)",
    "reaching": "stretches an arm out ({detail})",
    "freezing": "stops moving after movement",
    "still": "does not move",
    "self_contact": "touches the own body ({detail})",
}
_WITH = {
    "near": "is near a {label}",
    "hand_at_object": "has a hand at a {label}",
    "carries": "moves a {label} along with the hand",
    "close": "is close to another person",
}
_NOUNS = {
    "vocal.kind": "vocal sound",
    "body.rocking": "swaying to and fro",
    "body.pacing": "walking to and fro",
    "body.hand_at_ear": "hand at the ear",
    "body.hand_at_head": "hand at the head",
    "body.hand_near_face": "hand before the face",
    "body.striking": "fast arm movement",
    "body.reaching": "stretching out of an arm",
    "body.freezing": "end of all movement",
    "body.still": "stillness",
    "body.self_contact": "touch of the own body",
    "interaction.near": "nearness to a thing",
    "interaction.hand_at_object": "hand at a thing",
    "interaction.carries": "carrying of a thing",
    "interaction.close": "closeness to another person",
}

# Behavioural intent is only ever a hypothesis, and only one of these: what a movement may serve, for people to judge.
INTENTS: dict[str, tuple[str, ...]] = {
    "body.hand_at_ear": ("shut out sound", "soothe a sore ear"),
    "body.hand_at_head": ("shut out sound", "soothe a sore head"),
    "body.hand_near_face": ("shut out light", "hide the face"),
    "body.rocking": ("settle down",),
    "body.pacing": ("settle down", "look for somebody"),
    "body.reaching": ("get a thing", "seek contact"),
    "body.striking": ("push something away", "reach a thing"),
    "body.freezing": ("attend to something",),
    "interaction.close": ("seek contact",),
}


def movement_words(target: str, value: float, detail: str) -> str:
    """Words after a name for a pose event or an interaction: "has a hand at the ear (left)"; "" for anything else."""
    room, _, kind = target.partition(".")
    words = {"body": _MOVEMENTS, "interaction": _WITH}.get(room, {}).get(kind)
    return "" if words is None else words.format(value=value, detail=detail, label=detail)


def movement(row: Observation) -> str:
    """What a pose event or an interaction says, as words after a name; "" where the row says nothing of that kind."""
    return "" if row.value is None else movement_words(row.target, row.value, leading(row))


def leading(row: Observation) -> str:
    """The label a row gives most to; "" without a distribution."""
    return max(row.dist, key=lambda pair: pair[1])[0] if row.dist else ""


def event_words(target: str) -> str:
    """A noun for whatever can come before, after or with something: `rise.loudness` → "rise of the loudness"."""
    kind, _, rest = target.partition(".")
    if kind in EVENT_KINDS and rest in QUANTITIES:
        return f"{EVENT_KINDS[kind]} of the {QUANTITIES[rest].words}"
    return _NOUNS.get(target, target)


def is_affect(target: str) -> bool:
    """Whether a row is an inference about feeling (also an event on such a signal): kept out of observables."""
    kind, _, rest = target.partition(".")
    name = rest if kind in EVENT_KINDS else target
    return any(name == a or name.startswith(a + ".") for a in AFFECT_TARGETS)
