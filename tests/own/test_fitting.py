"""Images of every odd kind, made upright RGB of one size, or refused with a reason."""

import io

import numpy as np
import pytest
from make_data import encoded, pixels
from PIL import Image

from accord.images import decode_image
from accord.own import fitting
from accord.own.fitting import fit, image_bytes, open_image

SEEN = pixels(0)


def saved(image: Image.Image, image_format: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, image_format, **options)
    return buffer.getvalue()


def with_alpha(values: np.ndarray, alpha: int) -> Image.Image:
    return Image.fromarray(np.dstack([values, np.full(values.shape[:2], alpha, np.uint8)]))


def palette() -> Image.Image:
    image = Image.new("P", (32, 32), 1)
    image.putpalette([0, 0, 0, 255, 0, 0, 0, 0, 255])
    image.paste(0, (0, 0, 16, 32))
    return image


GREY16 = (np.arange(32 * 32).reshape(32, 32) * 64).astype(np.uint16)
RED = np.zeros((32, 32, 3), np.uint8) + np.array([255, 0, 0], np.uint8)
KINDS = {
    "RGBA, opaque": (saved(with_alpha(SEEN, 255), "PNG"), SEEN),
    "RGBA, clear": (saved(with_alpha(SEEN, 0), "PNG"), np.full_like(SEEN, 255)),
    "grey": (saved(Image.fromarray(SEEN).convert("L"), "PNG"), np.asarray(Image.fromarray(SEEN).convert("L"))),
    "grey with alpha": (saved(Image.new("LA", (32, 32), (7, 0)), "PNG"), np.full((32, 32), 255)),
    "two colours": (saved(Image.new("1", (32, 32), 1), "PNG"), np.full((32, 32), 255)),
    "16 bits": (saved(Image.fromarray(GREY16), "PNG"), GREY16 >> 8),
    "32 bits": (saved(Image.fromarray(GREY16.astype(np.int32)), "TIFF"), GREY16 >> 8),
    "palette with a clear colour": (saved(palette(), "PNG", transparency=0), None),
    "GIF of one frame": (saved(palette(), "GIF"), None),
    "CMYK": (saved(Image.fromarray(RED).convert("CMYK"), "JPEG", quality=100), RED),
    "BMP": (saved(Image.fromarray(SEEN), "BMP"), SEEN),
    "lossless WebP": (saved(Image.fromarray(SEEN), "WEBP", lossless=True), SEEN),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_becomes_rgb_of_the_size(kind):
    content, expected = KINDS[kind]
    found = decode_image(fit(content, 32, 32).content)
    assert found.shape == (32, 32, 3)
    if expected is not None:
        expected = expected if expected.ndim == 3 else np.dstack([expected] * 3)
        assert np.abs(found.astype(int) - expected).max() <= (3 if kind == "CMYK" else 0)


def test_transparent_parts_are_white():
    found = decode_image(fit(KINDS["palette with a clear colour"][0], 32, 32).content)
    assert found[:, :16].min() == 255
    assert (found[:, 16:] == [255, 0, 0]).all()


def test_a_photo_is_turned_upright():
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees clockwise to see it right
    turned = saved(Image.fromarray(np.rot90(SEEN)), "PNG", exif=exif)
    found = fit(turned, 32, 32)
    assert not found.is_original  # others would read the bytes lying on their side
    assert (decode_image(found.content) == SEEN).all()


@pytest.mark.parametrize("image_format", ["PNG", "JPEG", "WEBP"])
def test_what_fits_already_keeps_its_bytes(image_format):
    content = encoded(1, 48, 32, image_format)
    found = fit(content, 48, 32)
    assert found.is_original
    assert found.content == content


@pytest.mark.parametrize("size", [(120, 60), (60, 120), (61, 45), (16, 16), (24, 60), (400, 30)])
def test_no_image_is_stretched(size):
    """A round spot in the middle stays round, in the middle, and grows or shrinks as the shorter side does."""
    width, height = size
    across, down = np.arange(width) - (width - 1) / 2, np.arange(height)[:, None] - (height - 1) / 2
    sigma = min(size) / 8
    spot = np.round(255 * np.exp(-(across**2 + down**2) / (2 * sigma**2))).astype(np.uint8)
    found = decode_image(fit(saved(Image.fromarray(spot), "PNG"), 32, 32).content)[:, :, 0].astype(float)
    place = np.arange(32) - 15.5
    for axis in (0, 1):
        weights = found.sum(axis=axis)
        assert np.average(place, weights=weights) == pytest.approx(0, abs=0.15)
        assert np.sqrt(np.average(place**2, weights=weights)) == pytest.approx(32 / 8, rel=0.03)


def test_other_shapes_of_the_run_are_filled_too():
    found = fit(encoded(3, 100, 100), 48, 16)
    assert decode_image(found.content).shape == (16, 48, 3)
    assert (found.width, found.height) == (100, 100)


def test_resized_images_are_stored_as_asked():
    assert fit(encoded(3, 40, 40), 32, 32).content[:4] == b"\x89PNG"
    assert fit(encoded(3, 40, 40), 32, 32, "jpeg").content[:2] == b"\xff\xd8"


def moving(image_format: str) -> bytes:
    frames = [Image.fromarray(pixels(i)) for i in range(3)]
    return saved(frames[0], image_format, save_all=True, append_images=frames[1:])


BROKEN = {
    "PNG cut short": (encoded(1)[:-40], fitting.DAMAGED),
    "PNG cut to its head": (encoded(1)[:40], fitting.NOT_AN_IMAGE),
    "JPEG cut short": (encoded(1, 64, 64, "JPEG")[:-200], fitting.DAMAGED),
    "GIF cut short": (saved(palette(), "GIF")[:-20], fitting.DAMAGED),
    "PNG with a wrong check sum": (encoded(1)[:50] + b"\0\0\0\0" + encoded(1)[54:], fitting.DAMAGED),
    "text": (b"<html>404 not found</html>", fitting.NOT_AN_IMAGE),
    "one byte": (b"\xff", fitting.NOT_AN_IMAGE),
    "moving GIF": (moving("GIF"), fitting.ANIMATED),
    "moving WebP": (moving("WEBP"), fitting.ANIMATED),
    "moving PNG": (moving("PNG"), fitting.ANIMATED),
    "TIFF of several pages": (moving("TIFF"), fitting.ANIMATED),
    "numbers": (saved(Image.fromarray(np.ones((8, 8), np.float32)), "TIFF"), fitting.FLOAT),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_what_cannot_be_used_is_refused_with_its_reason(kind):
    content, reason = BROKEN[kind]
    with pytest.raises(ValueError, match=f"^{reason}$"):
        open_image(content)


def test_a_photo_with_a_second_view_is_a_photo():
    assert open_image(moving("MPO")).size == (32, 32)


def test_an_image_that_would_fill_the_memory_is_refused(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(ValueError, match=fitting.TOO_LARGE):
        open_image(encoded(1))


def test_where_images_are_looked_for(tmp_path):
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "x.png").write_bytes(b"here")
    roots = (str(tmp_path / "a"), str(tmp_path / "b"))
    assert image_bytes("x.png", roots) == b"here"
    assert image_bytes(str(tmp_path / "b" / "x.png"), ()) == b"here"
    assert image_bytes({"bytes": b"there", "path": "y.png"}, roots) == b"there"
    assert image_bytes({"bytes": None, "path": "x.png"}, roots) == b"here"
    for value, reason in (
        ("y.png", fitting.MISSING),
        ("b", fitting.MISSING),
        ("a\0b", fitting.MISSING),
        ("https://example.org/x.png", fitting.ADDRESS),
        (None, fitting.NO_IMAGE),
        (b"", fitting.NO_IMAGE),
        ({"bytes": None, "path": None}, fitting.NO_IMAGE),
        (7, fitting.NO_IMAGE),
    ):
        with pytest.raises(ValueError, match=f"^{reason}$"):
            image_bytes(value, roots)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("image_format", ["PNG", "JPEG", "WEBP", "AVIF", "GIF", "TIFF"])
def test_damage_of_any_kind_is_a_reason_and_never_a_crash(image_format):
    """Bytes are changed at random, mostly in the head, where decoders trust them most."""
    exif = Image.Exif()
    exif[0x0112] = 6
    whole = saved(Image.fromarray(SEEN), image_format, **({} if image_format == "GIF" else {"exif": exif}))
    generator, refused = np.random.default_rng(0), 0
    for _ in range(150):
        damaged = bytearray(whole)
        for place in generator.integers(0, min(len(whole), 300), 4):
            damaged[place] = generator.integers(256)
        try:
            assert decode_image(fit(bytes(damaged), 8, 8).content).shape == (8, 8, 3)
        except ValueError as error:
            refused += str(error) in (fitting.DAMAGED, fitting.NOT_AN_IMAGE, fitting.TOO_LARGE, fitting.ANIMATED)
    assert refused > 10
