"""Files into frames and sound on one microsecond clock; cutting sources into clips.

What may enter: probing, hashing, decoding in a limited child process, shot detection, clip cutting. libav runs only in
the child (`mien.media.child`), so a damaged or hostile file ends as a code, never as a crash of the caller.
"""

from mien.media.clips import CUTTER, Cut, Cutter, Found, cut
from mien.media.decoder import Decoder, probe
from mien.media.files import hash_file
from mien.media.records import Limits, Probe, Scan, Status, Tally, judge
from mien.media.scanning import Scanning
from mien.media.shots import shot_detector
from mien.media.spool import Shelf, Spool, Spooled, SpoolLostError

__all__ = [
    "CUTTER", "Cut", "Cutter", "Decoder", "Found", "Limits", "Probe", "Scan", "Scanning", "Shelf", "Spool",
    "SpoolLostError", "Spooled", "Status", "Tally", "cut", "hash_file", "judge", "probe", "shot_detector",
]  # fmt: skip
