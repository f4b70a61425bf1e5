"""An archive: one bundle in one file, to be carried somewhere; nothing in it is taken on trust.

A tar in one form, without compression (weights hardly shrink, and nothing can unpack to more than
it is): `manifest.json`, the files that it lists in the order of their names, and the seal. Every
byte follows from the bundle and the key, so that the same bundle is always the same archive, and
an archive that differs from that form in one byte is refused.
"""

from edgefoundad.archive.archive import Archive, opening, unpack
from edgefoundad.archive.pack import SUFFIX, pack

__all__ = ["SUFFIX", "Archive", "opening", "pack", "unpack"]
