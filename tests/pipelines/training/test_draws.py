"""What a step draws at random is a function of seed and step, and splitting a batch changes none of it."""

import torch

from lora_loom.pipelines.training.draws import Draws, draw_step, items_of_step


def draw(step=0, *, seed=0, batch=8, dropout=0.0, count=5, first=0, captions=1):
    return draw_step(
        seed,
        "test",
        step,
        batch=batch,
        first_item=first,
        caption_rows=[tuple(range(1 + index * captions, 1 + (index + 1) * captions)) for index in range(count)],
        caption_dropout=dropout,
        num_timesteps=1000,
        latent_shape=(2, 3, 3),
        weight=1.0,
    )


def test_a_step_draws_the_same_again_and_steps_differ():
    one, again, other, seed = draw(3), draw(3), draw(4), draw(3, seed=1)
    assert torch.equal(one.noise, again.noise)
    assert torch.equal(one.timesteps, again.timesteps)
    assert not torch.equal(one.noise, other.noise)
    assert not torch.equal(one.noise, seed.noise)


def test_every_epoch_shows_every_picture_once_in_another_order():
    shown = [index for step in range(15) for index in items_of_step(0, "test", step, batch=2, count=10)]
    epochs = [shown[start : start + 10] for start in range(0, 30, 10)]
    assert all(sorted(epoch) == list(range(10)) for epoch in epochs)
    assert epochs[0] != epochs[1] != epochs[2]


def test_a_batch_may_be_larger_than_the_data_set():
    assert sorted(items_of_step(0, "test", 0, batch=6, count=2)) == [0, 0, 0, 1, 1, 1]


def test_captions_belong_to_their_pictures():
    drawn = draw(batch=64, captions=3)
    assert ((drawn.captions - 1) // 3 == drawn.items).all()
    assert set((drawn.captions - 1).remainder(3).tolist()) == {0, 1, 2}


def test_caption_dropout_counts():
    assert int((draw(batch=1000, dropout=0.0).captions == 0).sum()) == 0
    assert int((draw(batch=1000, dropout=1.0).captions == 0).sum()) == 1000
    dropped = int((draw(batch=10_000, dropout=0.1).captions == 0).sum())
    assert abs(dropped - 1000) < 4 * 30  # four standard deviations of a binomial


def test_dropout_changes_no_other_draw():
    with_all, with_none = draw(dropout=0.0), draw(dropout=1.0)
    assert torch.equal(with_all.noise, with_none.noise)
    assert torch.equal(with_all.items, with_none.items)


def test_rows_and_join_give_the_whole_again():
    whole = draw()
    joined = Draws.join(whole.rows(slice(0, 3)), whole.rows(slice(3, 8)))
    for name in ("items", "captions", "timesteps", "noise", "weights"):
        assert torch.equal(getattr(joined, name), getattr(whole, name))


def test_timesteps_cover_the_whole_schedule():
    timesteps = draw(batch=20_000).timesteps
    assert timesteps.min() == 0
    assert timesteps.max() == 999
