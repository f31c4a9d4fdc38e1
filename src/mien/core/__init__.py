"""Words of the house: records, batches, adapter contract, errors, time.

What may enter: plain records and checks that two or more rooms need. No I/O, no model runtime.
"""

from mien.core.adapters import (
    Adapter,
    AdapterSpec,
    Asset,
    Device,
    Fingerprint,
    Licences,
    Measured,
    Strict,
    WeightFiles,
    Weights,
    adapter,
    filed,
    fingerprint,
)
from mien.core.batches import (
    SAMPLE_RATE_HZ,
    Boxes,
    Curve,
    Distribution,
    Embeddings,
    Faces,
    Frames,
    Landmarks,
    Scalars,
    Sound,
)
from mien.core.errors import MienError, missing_extra
from mien.core.records import (
    UNASSIGNED,
    Assessment,
    Attribute,
    Claim,
    Clip,
    Context,
    Contribution,
    Dist,
    Failure,
    Item,
    Observation,
    Run,
    Setting,
    Signal,
    Source,
    Subject,
    Trace,
    Track,
    Verdict,
    clip_id,
    label_key,
)
from mien.core.spans import US, Span, clock, content_id, digest
from mien.core.version import VERSION

__all__ = [
    "SAMPLE_RATE_HZ", "UNASSIGNED", "US", "VERSION", "Adapter", "AdapterSpec", "Assessment", "Asset", "Attribute",
    "Boxes", "Claim", "Clip", "Context", "Contribution", "Curve", "Device", "Dist", "Distribution", "Embeddings", "Faces",
    "Failure", "Fingerprint", "Frames", "Item", "Landmarks", "Licences", "Measured", "MienError", "Observation", "Run",
    "Scalars", "Setting", "Signal", "Sound", "Source", "Span", "Strict", "Subject", "Trace", "Track", "Verdict",
    "WeightFiles", "Weights", "adapter", "clip_id", "clock", "content_id", "digest", "filed", "fingerprint",
    "label_key", "missing_extra",
]  # fmt: skip
