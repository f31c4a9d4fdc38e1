"""What will be trained, as a page (and for films a contact sheet), before anything is written for a trainer.

What may enter: drawing frames of clips that may leave, as they will be (cut, cropped, covered), and the conversations
about them. In care there is no picture at all; what is quarantined, of a minor, or refused is not even planned.
"""

from mien.export.preview.page import write_preview

__all__ = ["write_preview"]
