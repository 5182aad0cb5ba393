"""How a picture was made, kept in its file: in PNG, MP4 and GIF files, read back without a decoder.

It is one JSON object; `recipe.record` says what is in it. Beside it stands an XMP packet that names the IPTC's digital
source type of generated media, which other programs look for. Pixels are not touched.
"""

import json
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_URL, UUID, uuid5

from stylegan import __version__
from stylegan.errors import InputError

PROGRAM = f"stylegan {__version__}"
KEY = "stylegan-made"  # of the JSON, in a PNG file's iTXt
XMP_KEY = "XML:com.adobe.xmp"  # of the packet, as its specification has it
XMP_BOX = UUID("be7acfcb-97a9-42e8-9c71-999491e3afac").bytes  # kind of the box that holds it in an MP4 file
OWN_BOX = uuid5(NAMESPACE_URL, KEY).bytes  # kind of ours
GENERATED = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
LONGEST = 16 * 2**20  # bytes of a record: with the w of a 1024 x 1024 image it has 50,000
PNG_START = b"\x89PNG\r\n\x1a\n"


def xmp() -> str:
    """The XMP packet: made by a trained model, with this program."""
    return (
        '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>'
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        '<rdf:Description rdf:about="" xmlns:xmp="http://ns.adobe.com/xap/1.0/"'
        ' xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/">'
        f"<Iptc4xmpExt:DigitalSourceType>{GENERATED}</Iptc4xmpExt:DigitalSourceType>"
        f"<xmp:CreatorTool>{PROGRAM}</xmp:CreatorTool>"
        '</rdf:Description></rdf:RDF></x:xmpmeta><?xpacket end="w"?>'
    )


def text_of(made: dict[str, Any]) -> str:
    """A record as it stands in files."""
    return json.dumps(made, ensure_ascii=True, separators=(",", ":"))


def read(path: Path | str) -> dict[str, Any]:
    """The record in a PNG, MP4 or GIF file. Raises InputError where there is none, or it is damaged."""
    path = Path(path)
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise InputError(f"there is no file {path}; give a picture that this program has made") from None
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror or error})") from error
    try:
        text = next(_texts(content), None)
        if text is None:
            raise InputError(
                f"{path} does not say how it was made; pictures of this program do, unless --no-metadata or another "
                "program took it out"
            )
        made = json.loads(text)
    except (ValueError, IndexError, struct.error, zlib.error, RecursionError) as error:
        raise InputError(f"what {path} says of its making is damaged ({str(error)[:100]})") from error
    if not isinstance(made, dict):
        raise InputError(f"what {path} says of its making is damaged (it is no object)")
    return made


def _texts(content: bytes) -> Iterator[bytes]:
    """The records in a file of any of the three kinds."""
    if content.startswith(PNG_START):
        yield from _texts_of_png(content)
    elif content.startswith(b"GIF8"):
        start = f"{KEY} ".encode()
        yield from (text.removeprefix(start) for text in _comments_of_gif(content) if text.startswith(start))
    elif content[4:8] == b"ftyp":
        yield from (body.removeprefix(OWN_BOX) for body in _boxes(content, b"uuid") if body.startswith(OWN_BOX))


def _texts_of_png(content: bytes) -> Iterator[bytes]:
    at, start = len(PNG_START), KEY.encode() + b"\0"
    while at + 12 <= len(content):
        (length,) = struct.unpack_from(">I", content, at)
        body = content[at + 8 : at + 8 + length]
        if content[at + 4 : at + 8] == b"iTXt" and body.startswith(start):
            packed, rest = body[len(start)], body[len(start) + 2 :]
            text = rest.split(b"\0", 2)[2]  # after the language, and the key in it
            yield _unpacked(text) if packed else text
        at += 12 + length


def _unpacked(text: bytes) -> bytes:
    unpacker = zlib.decompressobj()
    text = unpacker.decompress(text, LONGEST)
    if unpacker.unconsumed_tail:
        raise ValueError("it is too long")
    return text


def _comments_of_gif(content: bytes) -> Iterator[bytes]:
    at = 13 + _palette_of_gif(content[10])
    while content[at] != 0x3B:
        comment = content[at : at + 2] == b"!\xfe"
        if content[at] == 0x2C:  # an image: its head, its palette, the size of its codes
            at += 11 + _palette_of_gif(content[at + 9])
        elif content[at] == 0x21:
            at += 2
        else:
            raise ValueError(f"byte {at} begins nothing")
        parts = []
        while length := content[at]:
            parts.append(content[at + 1 : at + 1 + length])
            at += 1 + length
        at += 1
        if comment:
            yield b"".join(parts)


def _palette_of_gif(flags: int) -> int:
    """Bytes of the palette that a descriptor's flags speak of."""
    return 3 * 2 ** ((flags & 7) + 1) if flags & 0x80 else 0


def _boxes(content: bytes, wanted: bytes) -> Iterator[bytes]:
    """Contents of an MP4 file's outermost boxes of a kind."""
    at = 0
    while at + 8 <= len(content):
        length, kind, head = *struct.unpack_from(">I4s", content, at), 8
        if length == 1:
            length, head = struct.unpack_from(">Q", content, at + 8)[0], 16
        length = length or len(content) - at
        if length < head:
            raise ValueError(f"a box has length {length}")
        if kind == wanted:
            yield content[at + head : at + length]
        at += length


# --- films, which another program writes: what is added at their end


def add_to_film(path: Path | str, made: dict[str, Any]) -> None:
    """Add the record to an MP4 file, as two boxes of its own, or to a GIF file, as a comment."""
    with Path(path).open("r+b") as file:
        if file.read(4) == b"GIF8":
            text = f"{KEY} {text_of(made)}".encode()
            parts = [text[i : i + 255] for i in range(0, len(text), 255)]
            file.seek(-1, 2)  # the last byte ends the file
            file.write(b"!\xfe" + b"".join(bytes([len(part)]) + part for part in parts) + b"\0;")
            return
        file.seek(0, 2)
        for body in (XMP_BOX + xmp().encode(), OWN_BOX + text_of(made).encode()):
            file.write(struct.pack(">I4s", len(body) + 8, b"uuid") + body)
