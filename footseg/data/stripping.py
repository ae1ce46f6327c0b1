"""Image files without their metadata: what is left of a file whose EXIF, XMP or text blocks are junk.

The pixels of such a file are whole, but a reader that trips over the junk never gets to them.
"""

import struct
from collections.abc import Iterator

PNG, TIFF = b"\x89PNG\r\n\x1a\n", {b"II*\0": "<", b"MM\0*": ">"}
PNG_PIXELS = {b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"}
WEBP_PIXELS = {b"VP8 ", b"VP8L", b"ALPH"}
JPEG_PIXELS = {0xE0, 0xEE}
"""Of the APPn markers: JFIF, and Adobe's, which says whether colours are YCbCr, RGB or CMYK."""
# Size, layout and place of the pixels (TIFF 6.0, its supplements 1 and 2); and the turn, 274.
TIFF_PIXELS = {
    *(256, 257, 258, 259, 262, 266, 273, 274, 277, 278, 279, 284, 292, 293, 317, 320, 322, 323, 324, 325),
    *(338, 339, 347, 530, 532),
}


def bare(data: bytes) -> bytes:
    """A JPEG, PNG, WebP or TIFF file of the same pixels without metadata; any other data as it is."""
    try:
        if data[:2] == b"\xff\xd8":
            return _jpeg(data)
        if data[:8] == PNG:
            chunks = (data[start:end] for start, end in _png_chunks(data))
            return PNG + b"".join(chunk for chunk in chunks if chunk[4:8] in PNG_PIXELS)
        if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
            return _webp(data)
        if data[:4] in TIFF:
            return _tiff(data, TIFF[data[:4]])
    except (struct.error, IndexError):  # cut off in the middle of what is looked at
        pass
    return data


def _jpeg(data: bytes) -> bytes:
    kept, at = [data[:2]], 2
    while data[at : at + 1] == b"\xff":
        marker = data[at + 1]
        if marker == 0xDA:  # from here on the pixels
            break
        if marker == 0xFF:  # filling
            at += 1
            continue
        (length,) = struct.unpack_from(">H", data, at + 2)
        application = 0xE0 <= marker <= 0xEF or marker == 0xFE
        if not application or marker in JPEG_PIXELS:
            kept.append(data[at : at + 2 + length])
        at += 2 + length
    return b"".join([*kept, data[at:]])


def _png_chunks(data: bytes) -> Iterator[tuple[int, int]]:
    at = len(PNG)
    while at + 8 <= len(data):
        (length,) = struct.unpack_from(">I", data, at)
        yield at, at + 12 + length
        at += 12 + length


def _webp(data: bytes) -> bytes:
    kept, at = [], 12
    while at + 8 <= len(data):
        (length,) = struct.unpack_from("<I", data, at + 4)
        end = at + 8 + length + length % 2
        if data[at : at + 4] == b"VP8X":  # of its flags only that of transparency stays true
            kept.append(data[at : at + 8] + bytes([data[at + 8] & 0x10]) + data[at + 9 : end])
        elif data[at : at + 4] in WEBP_PIXELS:
            kept.append(data[at:end])
        at = end
    body = b"WEBP" + b"".join(kept)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def _tiff(data: bytes, order: str) -> bytes:
    """The first image's entries that its pixels need, in the place of all; what they point to stays."""
    (at,) = struct.unpack_from(f"{order}I", data, 4)
    (count,) = struct.unpack_from(f"{order}H", data, at)
    entries = [data[at + 2 + 12 * n : at + 14 + 12 * n] for n in range(count)]
    kept = [e for e in entries if len(e) == 12 and struct.unpack_from(f"{order}H", e)[0] in TIFF_PIXELS]
    directory = struct.pack(f"{order}H", len(kept)) + b"".join(kept) + bytes(4)
    return data[:at] + directory + data[at + len(directory) :]
