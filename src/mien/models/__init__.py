"""Model adapters, one file each, and their weights. The only inference room that may import a runtime.

What may enter: adapters (`vision/`, `sound/`), and the machinery that fetches and checks weights (`weights/`).
`MODULES` is the explicit list of adapter modules; third parties add theirs by the entry-point group `mien.models`.
"""

MODULES: tuple[str, ...] = (
    "mien.models.vision.objects.nanodet",
    "mien.models.vision.faces.detection",
    "mien.models.vision.faces.blazeface",
    "mien.models.vision.faces.landmarks",
    "mien.models.vision.faces.expression",
    "mien.models.vision.faces.faceapi",
    "mien.models.vision.faces.facex",
    "mien.models.vision.faces.deepface",
    "mien.models.vision.faces.hsemotion",
    "mien.models.vision.objects.explicit",
    "mien.models.vision.people.age",
    "mien.models.vision.people.mivolo",
    "mien.models.vision.faces.emonet",
    "mien.models.vision.scene",
    "mien.models.vision.faces.identity",
    "mien.models.vision.faces.facenet",
    "mien.models.vision.people.pose",
    "mien.models.vision.people.blazepose",
    "mien.models.vision.objects.yolo",
    "mien.models.vision.objects.detr",
    "mien.models.vision.objects.nudenet",
    "mien.models.vision.people.actions",
    "mien.models.sound.silero",
    "mien.models.sound.swiftf0",
    "mien.models.sound.whisper",
    "mien.models.sound.cues",
    "mien.models.sound.affect",
    "mien.models.sound.words",
    "mien.models.language.openai",
    "mien.models.language.llamacpp",
    "mien.models.language.local",
    "mien.models.language.qwen3vl",
    "mien.models.sound.encoders",
    "mien.models.sound.audioset",
    "mien.models.sound.opensmile",
    "mien.models.sound.praat",
)

__all__ = ["MODULES"]
