"""Thresholds of body signals and events. Lengths in trunk lengths, so that one setting fits near and far."""

from __future__ import annotations

from typing import Annotated

from annotated_types import Ge, Gt, Le

from mien.core import Strict

Positive = Annotated[float, Gt(0)]
NotNegative = Annotated[float, Ge(0)]
Share = Annotated[float, Ge(0), Le(1)]
Degrees = Annotated[float, Ge(0), Le(180)]


class PointConfig(Strict):
    """Which points count as seen, and how the body's scale is found.

    min_visibility: points below it are NaN. scale_window_s: the trunk length is the median over this time. reach: a
    wrist further than this from its shoulder cannot be (an arm is 1.15 trunk lengths long). bridge_s: how long points
    may be missing inside an event. hand_scale_px: where the trunk is shorter, no rule looks at hands: mouth and ear are
    then 6 px apart, and errors of wrists of a tenth of the trunk look like blows.
    """

    min_visibility: Share = 0.3
    scale_window_s: Positive = 4.0
    reach: Positive = 1.6
    bridge_s: NotNegative = 0.6
    hand_scale_px: NotNegative = 40.0


class RockingConfig(Strict):
    """Periodic oscillation of the trunk in place.

    low_hz, high_hz: where periods are looked for, never above 0.45 × frame rate. cycles: least number. amplitude: half
    of peak to peak. periodic: least share of the movement that one sinusoid explains (adjusted R²). in_place: the hips
    stay within this range; the person's size stays within `size` (natural log).
    """

    low_hz: Positive = 0.3
    high_hz: Positive = 2.0
    cycles: Positive = 3.0
    amplitude: Positive = 0.06
    periodic: Share = 0.65
    in_place: Positive = 0.8
    size: Positive = 0.2


class PacingConfig(Strict):
    """Repeated walking to and fro across the picture.

    leg: least way between two turns, in body widths (0.9 trunk lengths each). reversals: least number of turns.
    leg_s, pause_s: longest leg and longest rest at a turn. speed, fastest: least and largest mean speed of a leg, trunk
    lengths per s (faster than anybody runs: the track jumped).
    """

    leg: Positive = 2.0
    reversals: Annotated[int, Ge(1)] = 3
    leg_s: Positive = 20.0
    pause_s: NotNegative = 5.0
    speed: Positive = 0.3
    fastest: Positive = 8.0


class HandConfig(Strict):
    """A hand held at the head, at the other arm or before the chest.

    near: distance of the hand's middle to the place; leave: factor of it at which the hand has left again. hold_s:
    least time at the head. touch: distance to the other arm. touch_s, still: least time of a held touch and largest
    distance of the hand from its own median meanwhile. touches, touch_gap_s: this many shorter touches with at most
    this between them count as repeated. frontal: least shoulder width seen (of the expected one): in profile all arms
    lie on each other.
    """

    near: Positive = 0.25
    leave: Annotated[float, Ge(1)] = 1.3
    hold_s: NotNegative = 0.4
    touch: Positive = 0.15
    touch_s: NotNegative = 1.0
    still: Positive = 0.2
    touches: Annotated[int, Ge(2)] = 3
    touch_gap_s: NotNegative = 2.0
    frontal: Share = 0.6


class StrikingConfig(Strict):
    """A fast movement of a hand against the trunk that stops abruptly.

    speed (trunk lengths/s) and stop (trunk lengths/s², loss of velocity along the movement) are differences over base_s
    or one frame, whichever is longer. left: at most this share of the speed is left after that time.
    own: a hand that ends this close to the own head or trunk struck towards it. bout_s: hits of one hand this close
    together are one event. min_rate_hz: below it striking is not looked for. hanging_deg: an arm that ends nearer than
    this to straight down was only let fall.
    """

    speed: Positive = 4.0
    stop: Positive = 25.0
    left: Share = 0.4
    base_s: Positive = 0.2
    own: Positive = 0.35
    bout_s: NotNegative = 1.5
    min_rate_hz: Positive = 4.5
    full_rate_hz: Positive = 15.0
    hanging_deg: Degrees = 35.0


class ReachingConfig(Strict):
    """An arm that becomes stretched in a direction other than down, and stays there.

    extension: distance shoulder-wrist in arm lengths; leave: below this it is bent again. hanging_deg: nearer than this
    to straight down is hanging. hold_s: least time; still: largest distance of the hand from its median meanwhile.
    """

    extension: Share = 0.82
    leave: Share = 0.75
    hanging_deg: Degrees = 45.0
    hold_s: Positive = 0.5
    still: Positive = 0.25


class StillnessConfig(Strict):
    """Stillness, from the start or after movement.

    floor: root mean square speed of the points (slopes and mean over window_s each, jitter taken out), trunk
    lengths/s, below which a body is still. least_s: for how long. moved: mean motion of some limb (slopes over 0.5 s)
    within before_s ahead of it that makes stillness freezing. visible: least share of the points seen. min_rate_hz:
    below it nothing is looked for: half a second apart, movement and jitter look the same. jitter: where a limb's
    points jump about by more (root mean square), it may as well be fast movement, and nobody is called still.
    """

    floor: Positive = 0.03
    window_s: Positive = 1.0
    least_s: Positive = 3.0
    moved: Positive = 0.25
    before_s: Positive = 3.0
    visible: Share = 0.6
    min_rate_hz: Positive = 2.8
    jitter: Positive = 0.07


class TensionConfig(Strict):
    """Ends of the ramps that turn three measures into parts of 0..1; at the first value a part is 0, at the second 1.

    All are our own guesses; nothing here was fitted to or validated on any rating of tension.
    """

    ear_height: tuple[float, float] = (0.42, 0.22)
    arm_openness: tuple[float, float] = (1.2, 0.4)
    fidget: tuple[float, float] = (0.02, 0.10)
    fidget_window_s: Positive = 1.0


class BodyConfig(Strict):
    """Everything body signals and events need to know."""

    points: PointConfig = PointConfig()
    rocking: RockingConfig = RockingConfig()
    pacing: PacingConfig = PacingConfig()
    hands: HandConfig = HandConfig()
    striking: StrikingConfig = StrikingConfig()
    reaching: ReachingConfig = ReachingConfig()
    stillness: StillnessConfig = StillnessConfig()
    tension: TensionConfig = TensionConfig()
