"""Options that change what a step costs and not what it does: gradient checkpointing and compilation."""

from dataclasses import replace

import pytest
import torch
from test_training_checkpoint import numbers
from tiny_data import Latents, Texts

from accord.errors import TrainingError
from accord.models import ModelSettings, open_model
from accord.testing.pipelines import save_tiny_pipeline
from accord.train.settings import TrainSettings

MODES = pytest.mark.parametrize("mode", ["lora", "full"])


def tiny(make_run, folder, family, mode, is_checkpointed=False, **settings):
    """Return a run of the small problem with the tiny denoiser of a family in its place."""
    if not folder.exists():
        save_tiny_pipeline(family, folder)
    run = make_run(mode, batch_size=2, beta=50.0, **settings)
    run.model = open_model(ModelSettings(family, str(folder)))
    run.adapter = replace(run.adapter, uses_gradient_checkpointing=is_checkpointed)
    run.data = replace(run.data, latents=Latents(run.model.latent_shape(32, 32)), conditioning=Texts(run.model))
    return run


def finished(run):
    """Return the logs, the gradients of the last step, and how many activations its forward passes kept, in bytes."""
    kept = []

    def keep(tensor):
        kept.append(tensor.numel() * tensor.element_size())
        return tensor

    state = run.begin()
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        logs = [numbers(log) for log in run.train(state)]
    return logs, {name: parameter.grad.clone() for name, parameter in state.parameters.items()}, sum(kept)


@MODES
@pytest.mark.parametrize("family", ["sd15", "sd3"])
def test_gradient_checkpointing_changes_memory_only(make_run, tmp_path, family, mode):
    logs, gradients, kept = finished(tiny(make_run, tmp_path / "base", family, mode, steps=2))
    other_logs, other_gradients, other_kept = finished(tiny(make_run, tmp_path / "base", family, mode, True, steps=2))
    assert other_logs == logs  # bit for bit: the same kernels run, some of them twice
    assert all(torch.equal(gradient, other_gradients[name]) for name, gradient in gradients.items())
    assert any(gradient.abs().max() > 0 for gradient in gradients.values())
    assert other_kept < kept


def require_equal_to_rounding(plain, compiled):
    for one, other in zip(plain[0], compiled[0], strict=True):
        assert other["loss"] == pytest.approx(one["loss"], rel=1e-4)
        assert other["gradient_norm"] == pytest.approx(one["gradient_norm"], rel=1e-2)
    scale = max(gradient.abs().max() for gradient in plain[1].values())
    for name, gradient in plain[1].items():
        torch.testing.assert_close(compiled[1][name], gradient, rtol=1e-2, atol=1e-3 * scale)


@pytest.fixture
def cold_compiler():
    """Forget graphs of other tests: torch stops compiling a function that it has compiled eight times."""
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


@MODES
def test_policy_and_reference_are_both_compiled(make_run, cold_compiler, monkeypatch, mode):
    """With a backend that only traces, in a second: what a compiler is given is the same training."""
    modules, compile_module = [], torch.nn.Module.compile

    def traced(module):
        modules.append(module)
        compile_module(module, backend="aot_eager")

    monkeypatch.setattr(torch.nn.Module, "compile", traced)
    compiled = finished(make_run(mode, steps=3, compile=True))
    assert [type(module).__name__ for module in modules] == ["SmallDenoiser"] * (1 if mode == "lora" else 2)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] > 0
    require_equal_to_rounding(finished(make_run(mode, steps=3)), compiled)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@MODES
@pytest.mark.parametrize("family", ["sd15", "sd3"])
def test_a_real_denoiser_compiles_and_trains_the_same(make_run, cold_compiler, tmp_path, family, mode):
    settings = {"steps": 3, "learning_rate": 1e-4}
    compiled = finished(tiny(make_run, tmp_path / "base", family, mode, compile=True, **settings))
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] > 0
    require_equal_to_rounding(finished(tiny(make_run, tmp_path / "base", family, mode, **settings)), compiled)


@pytest.mark.parametrize("other", [{"compile": True}, {"optimizer": "adamw8bit"}])
def test_what_does_not_go_together_is_refused(other):
    with pytest.raises(TrainingError, match="goes neither with"):
        TrainSettings(steps=1, batch_size=1, beta=1.0, learning_rate=1.0, shard_weights=True, **other)
