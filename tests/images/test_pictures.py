"""Sample sheets: conversion, sizes, places of tiles, points of the plane."""

from __future__ import annotations

import pytest
import torch
from PIL import Image

from distillkit.images import pictures


def test_bytes_follow_x_times_127_5_plus_128():
    x = torch.tensor([-1.0, -0.5, 0.0, 1.0, 3.0, -3.0]).reshape(1, 1, 2, 3)
    grey = pictures.to_bytes(x)[0, ..., 0]
    assert grey.tolist() == [[0, 64, 128], [255, 255, 0]]


def test_grey_images_have_three_equal_channels():
    array = pictures.to_bytes(torch.rand(2, 1, 4, 4) * 2 - 1)
    assert array.shape == (2, 4, 4, 3)
    assert (array[..., 0] == array[..., 2]).all()


def test_a_pixel_that_is_not_finite_is_drawn_magenta():
    x = torch.zeros(1, 3, 2, 2)
    x[0, 1, 0, 1] = float("nan")
    x[0, 2, 1, 1] = float("inf")
    array = pictures.to_bytes(x)
    assert array[0, 0, 1].tolist() == array[0, 1, 1].tolist() == [255, 0, 255]
    assert array[0, 0, 0].tolist() == [128, 128, 128]


def test_tiles_of_a_grid_lie_in_reading_order_two_pixels_apart(tmp_path):
    shades = torch.tensor([-1.0, -0.5, 0.0, 0.5, 1.0])
    path = pictures.grid(shades[:, None, None, None].expand(5, 1, 4, 4), tmp_path / "g.png", columns=3, scale=2)
    sheet = Image.open(path)
    assert sheet.size == (2 + 3 * (8 + 2), 2 + 2 * (8 + 2))
    centres = [sheet.getpixel((2 + 10 * i + 4, 2 + 10 * j + 4))[0] for j in (0, 1) for i in (0, 1, 2)]
    assert centres == [0, 64, 128, 191, 255, 255]  # five shades, then paper
    assert {sheet.getpixel((10, y)) for y in range(sheet.height)} == {(255, 255, 255)}  # the gap is empty


def test_an_even_tile_keeps_its_shade_to_its_edges(tmp_path):
    sheet = Image.open(pictures.grid(torch.zeros(1, 3, 8, 8), tmp_path / "g.png"))
    assert sheet.size == (68, 68)
    assert sheet.getpixel((2, 2)) == sheet.getpixel((65, 65)) == (128, 128, 128)
    assert sheet.getpixel((1, 2)) == sheet.getpixel((66, 65)) == (255, 255, 255)


@pytest.mark.parametrize(("pixels", "tile"), [(8, 64), (28, 56), (32, 64), (64, 64), (96, 96), (128, 128), (512, 128)])
def test_small_images_are_enlarged_and_large_ones_shrunk(tmp_path, pixels, tile):
    sheet = Image.open(pictures.grid(torch.zeros(2, 1, pixels, pixels), tmp_path / "g.png"))
    assert sheet.size == (2 + 2 * (tile + 2), 2 + tile + 2)


def test_title_and_column_labels_take_one_line_each(tmp_path):
    x = torch.zeros(4, 1, 8, 8)
    plain = Image.open(pictures.grid(x, tmp_path / "a.png"))
    labelled = Image.open(pictures.grid(x, tmp_path / "b.png", labels=list("0123"), title="12 kimg"))
    assert labelled.width == plain.width
    assert labelled.height == plain.height + 2 * 19
    assert labelled.crop((0, 0, 60, 19)).convert("L").getextrema()[0] < 100  # there is text


def test_a_long_title_widens_the_sheet(tmp_path):
    sheet = Image.open(pictures.grid(torch.zeros(1, 1, 8, 8), tmp_path / "g.png", title="a long title " * 5))
    assert sheet.width > 200


def test_side_by_side_has_one_labelled_row_per_set(tmp_path):
    rows = {"real": torch.ones(3, 1, 8, 8), "student, NFE 1": -torch.ones(3, 1, 8, 8)}
    sheet = Image.open(pictures.side_by_side(rows, tmp_path / "s.png", ["a", "b", "airplane carrier"]))
    top = sheet.height - 2 * 66 - 8
    left = sheet.width - 3 * 66
    assert sheet.getpixel((left + 30, top + 30)) == (255, 255, 255)
    assert sheet.getpixel((left + 30, top + 104)) == (0, 0, 0)
    assert sheet.crop((0, top + 74, left, sheet.height)).convert("L").getextrema()[0] < 100


@pytest.mark.parametrize("channels", [2, 4])
def test_other_channel_counts_show_the_first_ones(tmp_path, channels):
    x = torch.zeros(1, channels, 8, 8)
    x[:, 0] = 1.0
    sheet = Image.open(pictures.grid(x, tmp_path / "g.png"))
    red, green, _ = sheet.getpixel((30, sheet.height - 30))
    assert (red, green) == ((255, 255) if channels == 2 else (255, 128))
    assert sheet.width > 68  # the title says which channels


def test_points_of_the_plane_become_a_scatter_plot_over_the_real_ones(tmp_path):
    real = torch.tensor([[1.0, 0.0], [-1.0, 0.0]])[:, :, None, None]
    x = torch.tensor([[0.0, 1.0], [0.0, 50.0], [float("nan"), 0.0]])[:, :, None, None]
    sheet = Image.open(pictures.grid(x, tmp_path / "p.png", real=real, title="12 kimg"))
    assert sheet.size == (320, 320)
    reach = round(132 / 1.15)
    for at, expected in (((160 + reach, 160), (186, 190, 198)), ((160, 160 - reach), (37, 99, 196))):
        assert all(abs(a - b) < 25 for a, b in zip(sheet.getpixel(at), expected, strict=True))


def test_sets_of_points_get_a_panel_each(tmp_path):
    points = torch.randn(5, 2, 1, 1)
    sheet = Image.open(
        pictures.side_by_side({"real": points, "teacher": points, "student": points}, tmp_path / "p.png")
    )
    assert sheet.size == (960, 320)


def test_a_comparison_of_many_images_wraps_into_blocks(tmp_path):
    x = torch.zeros(30, 1, 8, 8)
    sheet = Image.open(pictures.side_by_side({"real": x, "student": x}, tmp_path / "s.png", list("0123456789")))
    assert sheet.height == 2 + 19 + 6 * 66 + 8
    assert sheet.width < 800
