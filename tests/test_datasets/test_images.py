from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from sparc_vlm.datasets.images import BrokenImage, decode_image

RNG = np.random.default_rng(0)
PIXELS = np.kron(
    RNG.integers(0, 256, (3, 4, 3), dtype=np.uint8),
    np.ones((8, 8, 1), np.uint8),
)
RGB = Image.fromarray(PIXELS)


def decoded(image, kind, **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    result = decode_image(buffer.getvalue(), 'a.img')
    assert result.mode == 'RGB'
    return np.asarray(result).astype(int)


def off(found, expected=PIXELS):
    return np.abs(found - np.asarray(expected, int)).mean()


def test_usual_kinds():
    assert off(decoded(RGB, 'PNG')) == 0
    assert off(decoded(RGB, 'BMP')) == 0
    assert off(decoded(RGB, 'WEBP', lossless=True)) == 0
    assert off(decoded(RGB, 'JPEG', quality=95, subsampling=0)) < 4


def test_cmyk_palette_and_grey():
    grey = np.asarray(RGB.convert('L'), int)[..., None].repeat(3, 2)
    assert off(decoded(RGB.convert('CMYK'), 'JPEG', quality=95)) < 5
    assert off(decoded(RGB.quantize(64), 'PNG')) < 3
    assert off(decoded(RGB.quantize(64), 'GIF')) < 3
    assert off(decoded(RGB.convert('L'), 'PNG'), grey) == 0


def test_sixteen_bits():
    values = np.linspace(0, 65535, 64).reshape(8, 8).astype(np.uint16)
    found = decoded(Image.fromarray(values), 'PNG')
    assert np.abs(found - (values // 257)[..., None]).max() <= 1


def test_transparency_lies_on_white():
    alpha = np.full(PIXELS.shape[:2], 255, np.uint8)
    alpha[:8] = 0
    expected = PIXELS.copy()
    expected[:8] = 255
    both = Image.fromarray(np.dstack([PIXELS, alpha]))
    assert off(decoded(both, 'PNG'), expected) == 0
    grey = both.convert('LA')
    assert (decoded(grey, 'PNG')[:8] == 255).all()
    few = RGB.quantize(8)
    clear = np.asarray(few) == 0
    found = decoded(few, 'PNG', transparency=0)
    assert clear.any() and (found[clear] == 255).all()


def test_camera_orientation():
    exif = Image.Exif()
    exif[0x0112] = 6
    found = decoded(RGB, 'PNG', exif=exif)
    assert off(found, np.rot90(PIXELS, -1)) == 0


def test_large_jpegs_are_decoded_small():
    buffer = io.BytesIO()
    RGB.resize((640, 480)).save(buffer, 'JPEG')
    data = buffer.getvalue()
    assert decode_image(data, 'a').size == (640, 480)
    small = decode_image(data, 'a', at_least=100)
    assert min(small.size) >= 100 and max(small.size) < 300
    assert (
        off(np.asarray(small.resize((32, 24)), int), RGB.resize((32, 24))) < 20
    )


def test_broken_files_say_where_and_why():
    buffer = io.BytesIO()
    RGB.resize((300, 300)).save(buffer, 'JPEG')
    data = buffer.getvalue()
    for bad in (b'', b'<html>', data[: len(data) // 2], data[:3], data[20:]):
        with pytest.raises(BrokenImage) as error:
            decode_image(bad, 'there/a.jpg')
        assert str(error.value).startswith('there/a.jpg: ')
        assert len(error.value.reason) > 5
