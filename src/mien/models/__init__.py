"""Model adapters, one file each, and their weights. The only inference room that may import a runtime.

What may enter: adapters (`vision/`, `sound/`), and the machinery that fetches and checks weights (`weights/`).
`MODULES` is the explicit list of adapter modules; third parties add theirs by the entry-point group `mien.models`.
"""

MODULES: tuple[str, ...] = (
    "mien.models.vision.objects",
    "mien.models.vision.faces",
    "mien.models.vision.blazeface",
    "mien.models.vision.landmarks",
    "mien.models.vision.expression",
    "mien.models.vision.faceapi",
    "mien.models.vision.facex",
    "mien.models.vision.deepface",
    "mien.models.vision.hsemotion",
    "mien.models.vision.explicit",
    "mien.models.vision.age",
    "mien.models.vision.mivolo",
    "mien.models.vision.emonet",
    "mien.models.vision.scene",
    "mien.models.vision.identity",
    "mien.models.vision.facenet",
    "mien.models.vision.pose",
    "mien.models.vision.blazepose",
    "mien.models.vision.yolo",
    "mien.models.vision.detr",
    "mien.models.vision.nudenet",
    "mien.models.vision.actions",
    "mien.models.sound.silero",
    "mien.models.sound.swiftf0",
    "mien.models.sound.whisper",
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
