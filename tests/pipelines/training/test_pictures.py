"""Pictures of any size and mode become latents of one size; the unreadable ones are named."""

import numpy as np
import pytest
import torch
from PIL import Image

from lora_loom.pipelines.errors import TrainingError
from lora_loom.pipelines.training.items import TrainingItem
from lora_loom.pipelines.training.pictures import decode_latents, encode_pictures, load_pixels


def item(picture, name="it"):
    return TrainingItem(picture, ("a picture",), name)


def test_a_picture_of_the_right_size_keeps_its_pixels(noise_picture):
    assert np.array_equal(load_pixels(item(noise_picture), 16), noise_picture)


def test_a_wide_picture_is_scaled_to_cover_and_cut_at_the_centre():
    wide = Image.new("RGB", (64, 16), "white")
    wide.paste((255, 0, 0), (24, 0, 40, 16))
    assert np.array_equal(load_pixels(item(wide), 16), np.full((16, 16, 3), (255, 0, 0), np.uint8))


def test_mixed_sizes_come_out_alike(subtests):
    for size in [(5, 9), (31, 16), (200, 100), (1, 1)]:
        with subtests.test(size=size):
            assert load_pixels(item(Image.new("RGB", size, (9, 8, 7))), 16).tolist()[0][0] == [9, 8, 7]


def test_every_mode_becomes_rgb(subtests):
    for mode in ["L", "P", "CMYK", "I;16", "1"]:
        with subtests.test(mode=mode):
            assert load_pixels(item(Image.new(mode, (8, 8))), 8).shape == (8, 8, 3)


def test_transparency_is_put_on_white():
    assert load_pixels(item(Image.new("RGBA", (4, 4), (255, 0, 0, 0))), 4).min() == 255


def test_a_picture_is_turned_upright(tmp_path):
    picture = Image.new("RGB", (16, 16), "black")
    picture.paste((255, 255, 255), (0, 0, 16, 8))  # bright above
    exif = Image.Exif()
    exif[0x0112] = 3  # stored upside down
    picture.save(tmp_path / "turned.png", exif=exif)
    pixels = load_pixels(item(tmp_path / "turned.png"), 16)
    assert pixels[0].max() == 0
    assert pixels[-1].min() == 255


def test_all_unreadable_pictures_are_named(tmp_path, pipe, noise_picture):
    (tmp_path / "text.png").write_text("no picture")
    Image.fromarray(noise_picture).save(tmp_path / "whole.png")
    (tmp_path / "half.png").write_bytes((tmp_path / "whole.png").read_bytes()[:400])
    items = [item(tmp_path / name, name) for name in ("text.png", "whole.png", "half.png")]
    with pytest.raises(TrainingError, match=r"2 of 3 pictures.*text\.png.*half\.png"):
        encode_pictures(pipe, items, 16)


def test_an_array_of_the_wrong_kind_says_what_it_is():
    with pytest.raises(TrainingError, match=r"uint8 \[h w 3\], this one is float64 \[4, 4, 3\]"):
        load_pixels(item(np.zeros((4, 4, 3))), 16)


def test_latents_are_the_means_the_autoencoder_gives(pipe, noise_picture):
    latents, _ = encode_pictures(pipe, [item(noise_picture)] * 9, 16)
    values = torch.as_tensor(noise_picture.copy()).permute(2, 0, 1)[None] / 127.5 - 1
    with torch.no_grad():
        expected = pipe.vae.encode(values).latent_dist.mean * pipe.vae.config.scaling_factor
    torch.testing.assert_close(latents, expected.expand(9, -1, -1, -1), atol=1e-5, rtol=1e-5)  # batches sum otherwise


def test_latent_statistics_of_the_autoencoder_are_taken_out(pipe, noise_picture):
    plain, _ = encode_pictures(pipe, [item(noise_picture)], 16)
    pipe.vae.register_to_config(latents_mean=[1.0, 2.0, 3.0, 4.0], latents_std=[2.0] * 4)
    normed, _ = encode_pictures(pipe, [item(noise_picture)], 16)
    means = torch.tensor([1.0, 2.0, 3.0, 4.0]).view(1, 4, 1, 1)
    torch.testing.assert_close(normed, (plain - means) / 2, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_decoding_is_what_the_pipeline_does(pipe, noise_picture, dtype):
    pipe.vae.register_to_config(latents_mean=[1.0, 2.0, 3.0, 4.0], latents_std=[2.0] * 4, scaling_factor=0.5)
    latents, _ = encode_pictures(pipe, [item(noise_picture)], 16)
    raw = latents / 0.5 * 2.0 + torch.tensor([1.0, 2.0, 3.0, 4.0]).view(1, 4, 1, 1)
    with torch.no_grad():
        expected = pipe.image_processor.postprocess(pipe.vae.decode(raw).sample, output_type="pil")[0]
    pipe.vae.to(dtype)
    (picture,) = decode_latents(pipe, latents)
    assert pipe.vae.dtype == dtype
    difference = np.asarray(picture, int) - np.asarray(expected, int)
    assert abs(difference).max() <= (0 if dtype == torch.float32 else 8)  # weights were rounded to bfloat16


def test_the_fingerprint_follows_pixels_and_captions(pipe, noise_picture):
    changed = noise_picture.copy()
    changed[0, 0, 0] ^= 1
    named = TrainingItem(noise_picture, ("another caption",), "it")
    prints = [encode_pictures(pipe, [one], 16)[1] for one in (item(noise_picture), item(changed), named)]
    assert len(set(prints)) == 3
    assert encode_pictures(pipe, [item(noise_picture, "renamed")], 16)[1] == prints[0]
