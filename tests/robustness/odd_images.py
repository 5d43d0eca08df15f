"""About a hundred odd image files, made in code: as name of the file to its bytes, by group."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable
from typing import Any

import numpy as np
from PIL import Image, TiffImagePlugin

Files = dict[str, bytes]
COLOUR = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)
GREY = COLOUR[..., 0]


def encoded(kind: str, pixels: Any = COLOUR, mode: str | None = None, **options: Any) -> bytes:
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    stream = io.BytesIO()
    (image.convert(mode) if mode else image).save(stream, kind, **options)
    return stream.getvalue()


def by_opencv(suffix: str, pixels: np.ndarray) -> bytes:
    import cv2

    return cv2.imencode(suffix, pixels)[1].tobytes()


def tiff(pixels: np.ndarray, sample_format: int = 1) -> bytes:
    """An uncompressed TIFF of one strip with any number of channels and any sample type, which PIL does not write."""
    pixels = pixels[..., None] if pixels.ndim == 2 else pixels
    height, width, channels = pixels.shape
    bits = pixels.dtype.itemsize * 8
    body = np.ascontiguousarray(pixels, pixels.dtype.newbyteorder("<")).tobytes()
    extra = channels - (3 if channels >= 3 else 1)
    tags = [(256, 3, [width]), (257, 3, [height]), (258, 3, [bits] * channels), (259, 3, [1])]
    tags += [(262, 3, [2 if channels >= 3 else 1]), (273, 4, [8]), (277, 3, [channels]), (278, 3, [height])]
    tags += [(279, 4, [len(body)]), (284, 3, [1])]
    tags += [(338, 3, [0] * extra)] if extra else []
    tags += [(339, 3, [sample_format] * channels)]
    start = 8 + len(body)
    values, entries = b"", b""
    room = start + 2 + 12 * len(tags) + 4
    for tag, kind, numbers in tags:
        packed = struct.pack(f"<{len(numbers)}{'H' if kind == 3 else 'I'}", *numbers)
        if len(packed) > 4:
            place = struct.pack("<I", room + len(values))
            values += packed
        else:
            place = packed.ljust(4, b"\0")
        entries += struct.pack("<HHI", tag, kind, len(numbers)) + place
    return b"II*\0" + struct.pack("<I", start) + body + struct.pack("<H", len(tags)) + entries + bytes(4) + values


def pages(kind: str, count: int, sizes: bool = False, mode: str = "RGB") -> bytes:
    images = [Image.fromarray(np.roll(COLOUR, i)).convert(mode) for i in range(count)]
    if sizes:
        images = [image.resize((64 - 8 * i, 48 - 8 * i)) for i, image in enumerate(images)]
    return encoded(kind, images[0], save_all=True, append_images=images[1:])


def oriented(kind: str, orientation: int) -> bytes:
    exif = Image.Exif()
    exif[274] = orientation
    return encoded(kind, exif=exif)


def flipped(data: bytes, start: int, stop: int) -> bytes:
    return data[:start] + bytes(byte ^ 0x5A for byte in data[start:stop]) + data[stop:]


def empty_png() -> bytes:
    """A PNG whose header says 0 x 0 pixels."""
    import zlib

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 0, 0, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def large_png(side: int) -> bytes:
    return encoded("PNG", Image.new("1", (side, side)))


def _suffixes() -> Files:
    kinds = {"jpg": "JPEG", "jpeg": "JPEG", "JPG": "JPEG", "jpe": "JPEG", "jfif": "JPEG", "png": "PNG", "bmp": "BMP"}
    kinds |= {"dib": "BMP", "webp": "WEBP", "tif": "TIFF", "tiff": "TIFF", "TIFF": "TIFF", "jp2": "JPEG2000"}
    kinds |= {"mpo": "MPO", "gif": "GIF", "ppm": "PPM", "avif": "AVIF"}
    files = {f"plain_{suffix}.{suffix}": encoded(kind) for suffix, kind in kinds.items()}
    files |= {"plain.pgm": encoded("PPM", GREY), "plain.pbm": encoded("PPM", GREY, "1"), "plain.pnm": encoded("PPM")}
    return files | {f"plain{suffix}": by_opencv(suffix, COLOUR) for suffix in (".ras", ".sr")}


def _float_formats() -> Files:
    return {f"plain{suffix}": by_opencv(suffix, COLOUR.astype(np.float32) / 255) for suffix in (".hdr", ".pfm")}


def _wrong_suffixes() -> Files:
    kinds = ("PNG", "BMP", "WEBP", "GIF", "PPM", "TIFF", "JPEG2000", "AVIF")
    files = {f"{kind.lower()}_named.jpg": encoded(kind) for kind in kinds}
    return files | {
        "jpeg_named.png": encoded("JPEG"),
        "jpeg_named.tif": encoded("JPEG"),
        "png_named.avif": encoded("PNG"),
    }


def _modes() -> Files:
    files = {f"mode_{mode}.png": encoded("PNG", COLOUR, mode) for mode in ("1", "L", "LA", "P", "RGBA", "I;16")}
    files |= {f"mode_{mode}.tif": encoded("TIFF", COLOUR, mode) for mode in ("1", "L", "P", "RGBA", "CMYK", "I;16")}
    files |= {f"mode_{mode}.jpg": encoded("JPEG", COLOUR, mode) for mode in ("L", "CMYK")}
    files |= {"mode_RGBA.webp": encoded("WEBP", COLOUR, "RGBA"), "lossless.webp": encoded("WEBP", lossless=True)}
    files |= {"progressive.jpg": encoded("JPEG", progressive=True), "interlaced.gif": encoded("GIF", interlace=1)}
    sixteen = COLOUR.astype(np.uint16) * 257
    files |= {
        "colour16.png": by_opencv(".png", sixteen),
        "colour16.tif": tiff(sixteen),
        "grey16.tif": tiff(sixteen[..., 0]),
    }
    return files | {
        f"{name}.tif": encoded("TIFF", compression=name) for name in ("tiff_lzw", "tiff_adobe_deflate", "jpeg")
    }


def _channels() -> Files:
    files = {f"channels{count}.tif": tiff(np.dstack([GREY] * count)) for count in (2, 3, 4)}
    return files | {"int8.tif": tiff((GREY // 2).astype(np.int8), 2)}


def _pages() -> Files:
    files = {"pages.tif": pages("TIFF", 3), "grey_pages.tif": pages("TIFF", 3, mode="L")}
    files |= {
        "pyramid.tif": pages("TIFF", 3, sizes=True),
        "moving.gif": pages("GIF", 3),
        "moving.webp": pages("WEBP", 3),
    }
    return files | {"moving.png": pages("PNG", 3), "stereo.mpo": pages("MPO", 2)}


def pages_by_name() -> dict[str, tuple[bytes, int]]:
    """Files and the number of their pages or frames, without previews."""
    kinds = {"tif": "TIFF", "gif": "GIF", "webp": "WEBP", "png": "PNG", "avif": "AVIF"}
    files = {f"several.{suffix}": (pages(kind, 3), 3) for suffix, kind in kinds.items()}
    files |= {f"one.{suffix}": (encoded(kind), 1) for suffix, kind in kinds.items()}
    sizes = io.BytesIO()
    with TiffImagePlugin.AppendingTiffWriter(sizes, True) as writer:
        for step, kind in enumerate((0, 1, 1)):
            image = Image.fromarray(COLOUR).resize((64 >> step, 48 >> step))
            image.save(writer, "TIFF", tiffinfo={254: kind})
            writer.newFrame()
    return files | {"sizes.tif": (sizes.getvalue(), 1), "stereo.mpo": (pages("MPO", 2), 1)}


def _turned() -> Files:
    kinds = {"jpg": "JPEG", "png": "PNG", "webp": "WEBP", "tif": "TIFF", "avif": "AVIF"}
    return {f"turned{turn}.{suffix}": oriented(kind, turn) for suffix, kind in kinds.items() for turn in (3, 6, 8)}


def _tiny() -> Files:
    sizes = ((1, 1), (9, 9), (1, 300), (300, 2))
    return {f"tiny{w}x{h}.png": encoded("PNG", np.zeros((h, w, 3), np.uint8)) for w, h in sizes} | {
        "tiny4x5.jpg": encoded("JPEG", COLOUR[:5, :4])
    }


def large() -> Files:
    return {"large.png": large_png(9_600), "larger.png": large_png(13_500)}


def tails() -> Files:
    return {
        "tail.jpg": encoded("JPEG") + bytes(40),
        "tail.png": encoded("PNG") + b"more",
        "icc.png": encoded("PNG", icc_profile=b"broken" * 30),
        "extraneous.jpg": encoded("JPEG")[:-2] + bytes(40) + b"\xff\xd9",
        "dpi.jpg": encoded("JPEG", dpi=(0, 0)),
    }


def cut() -> Files:
    kinds = {"jpg": "JPEG", "png": "PNG", "bmp": "BMP", "webp": "WEBP", "tif": "TIFF", "jp2": "JPEG2000", "gif": "GIF"}
    kinds |= {"ppm": "PPM", "avif": "AVIF"}
    whole = {suffix: encoded(kind) for suffix, kind in kinds.items()}
    files = {f"half.{suffix}": data[: len(data) // 2] for suffix, data in whole.items()}
    files |= {f"head.{suffix}": data[:40] for suffix, data in whole.items()}
    return files | {"half_lzw.tif": encoded("TIFF", compression="tiff_lzw")[:3000]}


def damaged() -> Files:
    return {
        "sector.jpg": flipped(encoded("JPEG"), 700, 900),
        "header.jpg": flipped(encoded("JPEG"), 2, 60),
        "tables.jpg": flipped(encoded("JPEG"), 160, 320),
        "data.png": flipped(encoded("PNG"), 300, 310),
        "header.bmp": flipped(encoded("BMP"), 14, 40),
        "data.webp": flipped(encoded("WEBP"), 30, 60),
    }


def _no_images() -> Files:
    texts = {
        "html.jpg": b"<!DOCTYPE html><title>404</title>",
        "pointer.jpg": b"version https://git-lfs.github.com/spec/v1\n",
    }
    return texts | {
        "empty.jpg": b"",
        "empty.tif": b"",
        "zeros.jpg": bytes(4096),
        "svg.png": b"<svg xmlns='http://www.w3.org/2000/svg' width='9' height='9'/>",
        "pdf.png": b"%PDF-1.7\n",
        "icon.png": encoded("ICO"),
        "psd.jpg": b"8BPS\0\1" + bytes(60),
        "phone.jpg": b"\0\0\0\x18ftypheic\0\0\0\0heicmif1" + bytes(60),
        "phone.heic": b"\0\0\0\x18ftypheic\0\0\0\0heicmif1" + bytes(60),
        "none.png": empty_png(),
    }


def _unusable() -> Files:
    grey = GREY.astype(np.float32)
    return {
        "float.tif": tiff(grey / 255, 3),
        "float_colour.tif": tiff(COLOUR.astype(np.float32) / 255, 3),
        "double.tif": tiff(grey.astype(np.float64), 3),
        "int32.tif": tiff(GREY.astype(np.int32), 2),
        "uint32.tif": tiff(GREY.astype(np.uint32)),
        "int16.tif": tiff(COLOUR.astype(np.int16), 2),
        "channels5.tif": tiff(np.dstack([GREY] * 5)),
        "channels8.tif": tiff(np.dstack([GREY] * 8)),
    }


# By what people have; the files of the first are trained on.
USED: dict[str, Callable[[], Files]] = {
    "images of every format that training reads: JPEG, PNG, BMP, WebP, TIFF, JPEG 2000, AVIF, GIF, PPM, ...": _suffixes,
    "Radiance HDR and PFM images, which training reads as 8 bits": _float_formats,
    "an image whose suffix is that of another format": _wrong_suffixes,
    "1-bit, grey, palette, alpha, CMYK, 16-bit, progressive and compressed images": _modes,
    "a TIFF of 2 or 4 channels, or of signed bytes": _channels,
    "a TIFF of several pages, a moving GIF, WebP or PNG, a stereo photo": _pages,
    "a photo that EXIF turns, as JPEG, PNG, WebP, TIFF or AVIF": _turned,
    "an image of fewer than 10 pixels a side": _tiny,
    "an image of more than 89 or 179 megapixels": large,
    "bytes after the end of an image, a broken colour profile": tails,
}
DAMAGED = "an image file with a damaged header, table or sector"  # the reader decides on each
LEFT_OUT: dict[str, Callable[[], Files]] = {
    "an image file cut short, of every format": cut,
    "no image at all: a web page, an LFS pointer, zeros, an empty file, HEIC without its reader": _no_images,
    "an image that opens but that training cannot use: float or 32-bit pixels, 5 or 8 channels": _unusable,
}
