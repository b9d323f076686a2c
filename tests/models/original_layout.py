"""Tiny pipelines as one file, weights named as the models' authors name them: the way users' checkpoints are."""

import re

import torch
from safetensors.torch import load_file, save_file

RESNET = {
    "norm1": "in_layers.0", "conv1": "in_layers.2", "norm2": "out_layers.0", "conv2": "out_layers.3",
    "time_emb_proj": "emb_layers.1", "conv_shortcut": "skip_connection",
}  # fmt: skip
OUTER = {
    "time_embedding.linear_1": "time_embed.0", "time_embedding.linear_2": "time_embed.2",
    "conv_in": "input_blocks.0.0", "conv_norm_out": "out.0", "conv_out": "out.2",
    "add_embedding.linear_1": "label_emb.0.0", "add_embedding.linear_2": "label_emb.0.2",
}  # fmt: skip
ATTENTION = {"to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out", "group_norm": "norm"}
CLIP = {
    "layer_norm1": "ln_1", "layer_norm2": "ln_2", "mlp.fc1": "mlp.c_fc", "mlp.fc2": "mlp.c_proj", "self_attn": "attn",
    "encoder.layers": "transformer.resblocks", "final_layer_norm": "ln_final",
    "embeddings.token_embedding": "token_embedding",
}  # fmt: skip


def replaced(name, table):
    for ours, theirs in table.items():
        name = re.sub(rf"(?<![\w]){re.escape(ours)}(?![\w])", theirs, name)
    return name


def unet_name(name, layers, blocks, has_attention):
    """Return the name of a UNet's weight: blocks are counted through, a resnet is .0, an attention .1."""
    if found := re.match(r"(down|up)_blocks\.(\d+)\.(\w+)\.(\d+)\.(.*)", name):
        side, block, kind, layer, rest = found[1], int(found[2]), found[3], int(found[4]), found[5]
        if kind == "downsamplers":
            return f"input_blocks.{(block + 1) * (layers + 1)}.0.{rest.replace('conv', 'op')}"
        if kind == "upsamplers":
            return f"output_blocks.{(block + 1) * (layers + 1) - 1}.{2 if has_attention(block) else 1}.{rest}"
        place = block * (layers + 1) + layer + (1 if side == "down" else 0)
        where = "input_blocks" if side == "down" else "output_blocks"
        return f"{where}.{place}.{int(kind == 'attentions')}.{replaced(rest, RESNET) if kind == 'resnets' else rest}"
    if found := re.match(r"mid_block\.(\w+)\.(\d+)\.(.*)", name):
        place = 1 if found[1] == "attentions" else 2 * int(found[2])
        return f"middle_block.{place}.{replaced(found[3], RESNET) if found[1] == 'resnets' else found[3]}"
    return replaced(name, OUTER)


def unet_weights(unet):
    blocks = unet.config.up_block_types
    for name, tensor in unet.state_dict().items():
        theirs = unet_name(name, unet.config.layers_per_block, len(blocks), lambda block: "CrossAttn" in blocks[block])
        yield f"model.diffusion_model.{theirs}", tensor


def vae_weights(vae):
    """Yield the autoencoder's weights: the decoder counts blocks from below, attention is a 1 x 1 convolution."""
    count = len(vae.config.block_out_channels)
    for name, tensor in vae.state_dict().items():
        theirs = re.sub(r"down_blocks\.(\d+)\.resnets\.(\d+)", r"down.\1.block.\2", name)
        theirs = re.sub(r"down_blocks\.(\d+)\.downsamplers\.0", r"down.\1.downsample", theirs)
        theirs = re.sub(
            r"up_blocks\.(\d+)\.resnets\.(\d+)", lambda m: f"up.{count - 1 - int(m[1])}.block.{m[2]}", theirs
        )
        theirs = re.sub(r"up_blocks\.(\d+)\.upsamplers\.0", lambda m: f"up.{count - 1 - int(m[1])}.upsample", theirs)
        theirs = re.sub(r"mid_block\.resnets\.(\d+)", lambda m: f"mid.block_{int(m[1]) + 1}", theirs)
        theirs = theirs.replace("conv_norm_out", "norm_out").replace("conv_shortcut", "nin_shortcut")
        if "mid_block.attentions.0." in theirs:
            theirs = replaced(theirs.replace("mid_block.attentions.0", "mid.attn_1"), ATTENTION)
            tensor = tensor[:, :, None, None] if tensor.ndim == 2 else tensor
        yield f"first_stage_model.{theirs}", tensor.contiguous()


def bare(text_encoder):
    """Return the weights of a text encoder, named as in today's `CLIPTextModel`, without the positions' numbers."""
    state = text_encoder.state_dict()
    return {name.removeprefix("text_model."): tensor for name, tensor in state.items() if "position_ids" not in name}


def clip_weights(text_encoder, prefix):
    for name, tensor in bare(text_encoder).items():
        yield f"{prefix}transformer.text_model.{name}", tensor


def open_clip_weights(text_encoder, prefix, more=None):
    """Yield the weights of a second text encoder, and more: queries, keys and values in one matrix."""
    state = bare(text_encoder) | (more or {})
    yield f"{prefix}text_projection", state.pop("text_projection.weight").T.contiguous()
    yield f"{prefix}positional_embedding", state.pop("embeddings.position_embedding.weight")
    for name in [name for name in state if ".q_proj." in name]:
        parts = [state.pop(name.replace("q_proj", f"{part}_proj")) for part in "qkv"]
        layer, kind = name.split(".q_proj.")
        yield f"{prefix}{replaced(layer, CLIP)}.in_proj_{kind}", torch.cat(parts)
    for name, tensor in state.items():
        yield f"{prefix}{replaced(name, CLIP)}", tensor


def write_original(pipe, path):
    """Write a Stable Diffusion or SDXL pipeline of diffusers as one file."""
    state = dict([*unet_weights(pipe.unet), *vae_weights(pipe.vae)])
    if hasattr(pipe, "text_encoder_2"):
        state |= dict(clip_weights(pipe.text_encoder, "conditioner.embedders.0."))
        state |= dict(open_clip_weights(pipe.text_encoder_2, "conditioner.embedders.1.model."))
    else:
        state |= dict(clip_weights(pipe.text_encoder, "cond_stage_model."))
    save_file(state, path)
    return path


def write_denoiser_only(folder, part, path):
    """Write a pipeline's denoiser alone, as fine-tunes of large models are given away."""
    save_file(load_file(folder / part / "diffusion_pytorch_model.safetensors"), path)
    return path
