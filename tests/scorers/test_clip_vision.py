"""CLIP's image embeddings without unread work: the same numbers and gradients as transformers, in fewer operations."""

import pytest
import torch
from tiny_clip import SIZE, WIDTH, save_tiny

from accord.scorers.clip_vision import embed_images


@pytest.fixture(params=["quick_gelu", "gelu", "gelu_new"])
def model(request, tmp_path):
    return save_tiny(str(tmp_path), request.param, 3).eval()


def pixels():
    return torch.randn(3, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0))


def test_embeddings_are_those_of_transformers(model):
    with torch.inference_mode():
        expected = model.get_image_features(pixels()).pooler_output
        found = embed_images(model, pixels())
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    assert expected.std() > 0.1


def test_gradients_are_those_of_transformers(model):
    found = []
    for embed in (embed_images, lambda model, x: model.get_image_features(x).pooler_output):
        x = pixels().requires_grad_()
        embed(model, x).square().sum().backward()
        found.append(x.grad)
    torch.testing.assert_close(*found, rtol=1e-4, atol=1e-5)
    assert found[1].abs().max() > 1e-3


def test_the_last_layer_is_computed_for_one_token(model):
    seen = []
    for layer in model.vision_model.encoder.layers:
        layer.mlp.fc1.register_forward_hook(lambda module, given, made: seen.append(tuple(given[0].shape)))
    with torch.inference_mode():
        embed_images(model, pixels())
    assert seen == [(3, 5, WIDTH), (3, 1, WIDTH)]
