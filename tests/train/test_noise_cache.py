"""Noise that was computed before training: how its rows are found, and when there are any."""

import pytest
import torch

from accord import registry
from accord.config import Choice
from accord.errors import MissingArtifact
from accord.train.beforehand import is_noise_cacheable
from accord.train.cache import CacheWriter, TensorCache
from accord.train.noise_cache import NOISE, NoiseCache, row_id, rows_per_shard


@pytest.fixture
def cache(tmp_path):
    """Return a cache whose row for (prompt p, visit v, image k) is filled with 100 p + 10 v + k."""
    places = [(p, v, k) for p in range(3) for v in range(2) for k in range(3)]
    with CacheWriter(tmp_path, rows_per_shard=5) as writer:
        for p, v, k in places:
            row = torch.full((1, 4, 2, 2), 100.0 * p + 10 * v + k)
            writer.add([row_id(f"p{p}", v, f"p{p}-{k}")], {NOISE: row})
    return NoiseCache(TensorCache(tmp_path))


def test_rows_come_in_the_order_asked_for(cache):
    found = cache.get(("p2", "p0", "p2"), (1, 0, 0), ("p2-0", "p0-2", "p2-1"))
    assert found.dtype == torch.float32
    assert found.shape == (3, 4, 2, 2)
    assert found[:, 0, 0, 0].tolist() == [210, 2, 201]


def test_another_visit_of_the_same_image_is_another_row(cache):
    first, second = cache.get(("p1", "p1"), (0, 1), ("p1-0", "p1-0"))
    assert not torch.equal(first, second)


def test_a_visit_that_was_not_inverted_is_named(cache):
    with pytest.raises(MissingArtifact, match=r"no row for p1/2/p1-0 .*run the stage that fills it"):
        cache.get(("p1", "p1"), (0, 2), ("p1-0", "p1-0"))


def test_columns_of_another_length_are_refused(cache):
    with pytest.raises(ValueError, match="shorter"):
        cache.get(("p1", "p1"), (0,), ("p1-0", "p1-0"))


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ("gaussian_shared", False),
        ("gaussian_independent", False),
        ("prior", False),
        ("renoise", True),
        ("ddim_inversion", True),
        ({"name": "renoise", "model": "initial", "mode": "code"}, True),
        ({"name": "renoise", "model": "policy"}, False),
        ({"name": "ddim_inversion", "model": "policy"}, False),
    ],
)
def test_noise_is_computed_beforehand_where_training_cannot_change_it(choice, expected):
    assert is_noise_cacheable(Choice.model_validate(choice)) is expected


def test_every_choice_of_noise_is_one_or_the_other():
    """A rule that says it inverts must have the option that decides whether its noise is cached."""
    for name in registry.names("noises"):
        rule = registry.load("noises", name)
        assert getattr(rule, "inverts", False) == ("model" in registry.options_of(rule))


def test_a_shard_is_bounded_in_rows_and_in_bytes():
    assert rows_per_shard(4 * 8 * 8) == 1024
    assert rows_per_shard(4 * 128 * 128) == 64  # SDXL
    assert rows_per_shard(16 * 512 * 512) == 1
