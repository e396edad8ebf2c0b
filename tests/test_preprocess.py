"""Whatever PIL opens becomes upright RGB of the wanted size."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from sparc_vlm.preprocess import resize_picture, to_rgb, to_tensor

RED, WHITE = (255, 0, 0), (255, 255, 255)


def pixels(picture):
    converted = to_rgb(picture)
    assert converted.mode == 'RGB'
    return np.array(converted)


def reopened(picture, path, **options):
    picture.save(path, **options)
    return Image.open(path)


@pytest.mark.parametrize(
    ('picture', 'wanted'),
    [
        (Image.new('RGB', (2, 2), (1, 2, 3)), (1, 2, 3)),
        (Image.new('L', (2, 2), 77), (77, 77, 77)),
        (Image.new('1', (2, 2), 1), WHITE),
        (Image.new('LA', (2, 2), (40, 255)), (40, 40, 40)),
        (Image.new('LA', (2, 2), (0, 0)), WHITE),
        (Image.new('RGBA', (2, 2), (*RED, 255)), RED),
        (Image.new('RGBA', (2, 2), (*RED, 0)), WHITE),
        (Image.new('RGBA', (2, 2), (0, 0, 0, 51)), (204, 204, 204)),
        (Image.new('CMYK', (2, 2), (0, 255, 255, 0)), RED),
        (Image.new('I;16', (2, 2), 65535), WHITE),
        (Image.new('I;16', (2, 2), 257 * 77), (77, 77, 77)),
        (Image.new('I', (2, 2), 257 * 77), (77, 77, 77)),
        (Image.new('I', (2, 2), 10**6), WHITE),
        (Image.new('I', (2, 2), -5), (0, 0, 0)),
    ],
    ids=lambda value: getattr(value, 'mode', None),
)
def test_modes(picture, wanted):
    assert np.abs(pixels(picture).astype(int) - wanted).max() <= 1


def test_palette_with_a_transparent_colour(tmp_path):
    picture = Image.new('P', (2, 1))
    picture.putpalette([255, 0, 0, 0, 0, 255])
    picture.putpixel((1, 0), 1)
    plain = reopened(picture, tmp_path / 'a.png')
    assert pixels(plain).tolist() == [[[255, 0, 0], [0, 0, 255]]]
    clear = reopened(picture, tmp_path / 'b.png', transparency=1)
    assert clear.mode == 'P'
    assert pixels(clear).tolist() == [[[255, 0, 0], [255, 255, 255]]]


def test_sixteen_bit_files(tmp_path):
    ramp = (np.arange(256, dtype=np.uint16) * 257).reshape(16, 16)
    picture = reopened(Image.fromarray(ramp), tmp_path / 'x.png')
    assert picture.mode.startswith('I')
    assert (pixels(picture)[..., 1] == np.arange(256).reshape(16, 16)).all()


def test_cmyk_jpeg(tmp_path):
    picture = Image.new('CMYK', (16, 16), (0, 255, 255, 0))
    opened = reopened(picture, tmp_path / 'x.jpg', quality=95)
    assert opened.mode == 'CMYK'
    assert np.abs(pixels(opened).astype(int) - RED).max() < 12


@pytest.mark.parametrize('mode', ['RGB', 'L', 'RGBA'])
@pytest.mark.parametrize(
    ('orientation', 'corner'),
    [(1, (0, 0)), (2, (0, 3)), (3, (7, 3)), (6, (0, 3)), (8, (7, 0))],
)
def test_camera_orientation(tmp_path, mode, orientation, corner):
    """Where the first stored pixel stands once the picture is upright."""
    picture = Image.new('L', (4, 8) if orientation < 5 else (8, 4))
    picture.putpixel((0, 0), 255)
    exif = Image.Exif()
    exif[0x0112] = orientation
    opened = reopened(picture.convert(mode), tmp_path / 'x.png', exif=exif)
    upright = to_rgb(opened)
    assert upright.size == (4, 8)
    found = np.argwhere(np.array(upright)[..., 0] == 255)
    assert [tuple(place) for place in found] == [corner]
    # once upright, it is not turned again
    assert np.array_equal(np.array(to_rgb(upright)), np.array(upright))


def halves(width, height):
    """Left half black, right half white."""
    picture = Image.new('RGB', (width, height))
    picture.paste(WHITE, (width // 2, 0, width, height))
    return picture


def test_stretching_keeps_everything_in_view():
    picture = halves(60, 20)
    picture.paste(RED, (0, 0, 6, 20))
    output = np.array(resize_picture(picture, 20, 'stretch'))
    assert output.shape == (20, 20, 3)
    assert (output[:, 0] == RED).all()
    assert (output[:, 12:] == 255).all()


def test_cropping_keeps_proportions_and_the_middle():
    picture = halves(60, 20)
    picture.paste(RED, (0, 0, 6, 20))
    output = np.array(resize_picture(picture, 20, 'crop'))
    assert output.shape == (20, 20, 3)
    assert (output[:, :10] == 0).all()
    assert (output[:, 10:] == 255).all()


@pytest.mark.parametrize('resize', ['stretch', 'crop'])
def test_the_right_size_is_left_alone(resize):
    noise = np.random.default_rng(0).integers(0, 256, (9, 9, 3), np.uint8)
    output = resize_picture(Image.fromarray(noise), 9, resize)
    assert np.array_equal(np.array(output), noise)


def test_other_ways_of_resizing():
    with pytest.raises(ValueError, match="'stretch' or 'crop', got 'pad'"):
        resize_picture(halves(4, 4), 4, 'pad')


def test_tensors_have_channels_first():
    picture = Image.new('RGB', (3, 2), (1, 2, 3))
    picture.putpixel((2, 1), (7, 8, 9))
    tensor = to_tensor(picture)
    assert (tensor.shape, tensor.dtype) == ((3, 2, 3), torch.uint8)
    assert tensor.is_contiguous()
    assert tensor[:, 0, 0].tolist() == [1, 2, 3]
    assert tensor[:, 1, 2].tolist() == [7, 8, 9]
