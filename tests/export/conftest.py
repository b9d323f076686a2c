"""Tiny pipelines of every family, and runs that trained an adapter beside them."""

from collections.abc import Callable
from pathlib import Path

import peft
import pytest
import torch

from accord.engine.models import local_hash
from accord.manifest import Manifest
from accord.models import ModelSettings, open_model
from accord.testing.pipelines import FAMILY_OF


@pytest.fixture
def run_of(folder_of, tmp_path) -> Callable[..., Path]:
    """Return a run folder whose training has finished, with an adapter that changes the model visibly."""

    def run(family: str, targets: tuple[str, ...] = (), **options) -> Path:
        folder = tmp_path / f"run-{family}"
        name = FAMILY_OF.get(family, family)
        model = open_model(ModelSettings(name, str(folder_of(family))), ("denoiser",))
        options = {"r": 4, "lora_alpha": 11.0} | options
        config = peft.LoraConfig(target_modules=[*(targets or model.lora_targets)], **options)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(3)
            policy = peft.get_peft_model(model.denoiser, config)
            for key, parameter in policy.named_parameters():
                if ".lora_B." in key:
                    torch.nn.init.normal_(parameter, std=0.1)
        state = peft.get_peft_model_state_dict(policy)
        model.save_adapter(state, folder / "train" / "adapter", policy.peft_config["default"])
        base = {"family": name, "path": str(folder_of(family)), "weights": local_hash(folder_of(family))}
        Manifest("train", {"model": base}, {}, {}, {}).save(folder / "train")
        return folder

    return run
