"""The transformers of SD3 and FLUX with their authors' names, and whole SD3 pipelines as one file.

A weight that is one part of theirs is renamed to `theirs#part`; one whose halves are swapped, to `theirs~`.
"""

import re

import torch
from original_layout import bare, vae_weights
from safetensors.torch import save_file

HALVES = [(r"norm_out\.linear\.", "final_layer.adaLN_modulation.1~."), (r"proj_out\.", "final_layer.linear.")]
BLOCK = r"transformer_blocks\.(\d+)\."

SD3 = [
    (r"pos_embed\.pos_embed", "pos_embed"),
    (r"pos_embed\.proj\.", "x_embedder.proj."),
    (r"time_text_embed\.timestep_embedder\.linear_1\.", "t_embedder.mlp.0."),
    (r"time_text_embed\.timestep_embedder\.linear_2\.", "t_embedder.mlp.2."),
    (r"time_text_embed\.text_embedder\.linear_1\.", "y_embedder.mlp.0."),
    (r"time_text_embed\.text_embedder\.linear_2\.", "y_embedder.mlp.2."),
    *((BLOCK + rf"(attn2?)\.to_{part}\.", rf"joint_blocks.\1.x_block.\2.qkv#{i}.") for i, part in enumerate("qkv")),
    *((BLOCK + rf"attn\.add_{p}_proj\.", rf"joint_blocks.\1.context_block.attn.qkv#{i}.") for i, p in enumerate("qkv")),
    (BLOCK + r"attn\.norm_added_([qk])\.", r"joint_blocks.\1.context_block.attn.ln_\2."),
    (BLOCK + r"(attn2?)\.norm_([qk])\.", r"joint_blocks.\1.x_block.\2.ln_\3."),
    (BLOCK + r"attn\.to_add_out\.", r"joint_blocks.\1.context_block.attn.proj."),
    (BLOCK + r"(attn2?)\.to_out\.0\.", r"joint_blocks.\1.x_block.\2.proj."),
    (BLOCK + r"norm1\.linear\.", r"joint_blocks.\1.x_block.adaLN_modulation.1."),
    (BLOCK + r"norm1_context\.linear\.", r"joint_blocks.\1.context_block.adaLN_modulation.1."),
    (BLOCK + r"ff\.net\.0\.proj\.", r"joint_blocks.\1.x_block.mlp.fc1."),
    (BLOCK + r"ff\.net\.2\.", r"joint_blocks.\1.x_block.mlp.fc2."),
    (BLOCK + r"ff_context\.net\.0\.proj\.", r"joint_blocks.\1.context_block.mlp.fc1."),
    (BLOCK + r"ff_context\.net\.2\.", r"joint_blocks.\1.context_block.mlp.fc2."),
    *HALVES,
]
SINGLE = r"single_transformer_blocks\.(\d+)\."
FLUX = [
    (r"time_text_embed\.timestep_embedder\.linear_1\.", "time_in.in_layer."),
    (r"time_text_embed\.timestep_embedder\.linear_2\.", "time_in.out_layer."),
    (r"time_text_embed\.text_embedder\.linear_1\.", "vector_in.in_layer."),
    (r"time_text_embed\.text_embedder\.linear_2\.", "vector_in.out_layer."),
    (r"time_text_embed\.guidance_embedder\.linear_1\.", "guidance_in.in_layer."),
    (r"time_text_embed\.guidance_embedder\.linear_2\.", "guidance_in.out_layer."),
    (r"context_embedder\.", "txt_in."),
    (r"x_embedder\.", "img_in."),
    *((SINGLE + rf"attn\.to_{part}\.", rf"single_blocks.\1.linear1#{i}.") for i, part in enumerate("qkv")),
    (SINGLE + r"proj_mlp\.", r"single_blocks.\1.linear1#3."),
    (SINGLE + r"proj_out\.", r"single_blocks.\1.linear2."),
    (SINGLE + r"attn\.norm_q\.weight", r"single_blocks.\1.norm.query_norm.scale"),
    (SINGLE + r"attn\.norm_k\.weight", r"single_blocks.\1.norm.key_norm.scale"),
    (SINGLE + r"norm\.linear\.", r"single_blocks.\1.modulation.lin."),
    *((BLOCK + rf"attn\.to_{part}\.", rf"double_blocks.\1.img_attn.qkv#{i}.") for i, part in enumerate("qkv")),
    *((BLOCK + rf"attn\.add_{p}_proj\.", rf"double_blocks.\1.txt_attn.qkv#{i}.") for i, p in enumerate("qkv")),
    (BLOCK + r"attn\.norm_q\.weight", r"double_blocks.\1.img_attn.norm.query_norm.scale"),
    (BLOCK + r"attn\.norm_k\.weight", r"double_blocks.\1.img_attn.norm.key_norm.scale"),
    (BLOCK + r"attn\.norm_added_q\.weight", r"double_blocks.\1.txt_attn.norm.query_norm.scale"),
    (BLOCK + r"attn\.norm_added_k\.weight", r"double_blocks.\1.txt_attn.norm.key_norm.scale"),
    (BLOCK + r"attn\.to_out\.0\.", r"double_blocks.\1.img_attn.proj."),
    (BLOCK + r"attn\.to_add_out\.", r"double_blocks.\1.txt_attn.proj."),
    (BLOCK + r"norm1\.linear\.", r"double_blocks.\1.img_mod.lin."),
    (BLOCK + r"norm1_context\.linear\.", r"double_blocks.\1.txt_mod.lin."),
    (BLOCK + r"ff\.net\.0\.proj\.", r"double_blocks.\1.img_mlp.0."),
    (BLOCK + r"ff\.net\.2\.", r"double_blocks.\1.img_mlp.2."),
    (BLOCK + r"ff_context\.net\.0\.proj\.", r"double_blocks.\1.txt_mlp.0."),
    (BLOCK + r"ff_context\.net\.2\.", r"double_blocks.\1.txt_mlp.2."),
    *HALVES,
]


def renamed(name, table):
    for pattern, theirs in table:
        if re.match(pattern, name):
            return re.sub(rf"^{pattern}", theirs, name)
    return name


def swapped(tensor):
    return torch.cat(tensor.chunk(2)[::-1])


def original(state, table):
    """Return a transformer's weights under their authors' names: parts joined, halves in their order."""
    parts = {}
    for name, tensor in state.items():
        theirs = renamed(name, table)
        place = re.search(r"#(\d)", theirs)
        tensor = swapped(tensor) if "~" in theirs else tensor
        parts.setdefault(re.sub(r"#\d|~", "", theirs), {})[int(place[1]) if place else 0] = tensor
    return {name: torch.cat([found[i] for i in sorted(found)]).contiguous() for name, found in parts.items()}


def original_sd3(state):
    """Return the weights of an SD3 transformer; the last block's text is only scaled and shifted, in this order."""
    found = original(state, SD3)
    last = max(int(name.split(".")[1]) for name in found if name.startswith("joint_blocks."))
    for kind in ("weight", "bias"):
        name = f"joint_blocks.{last}.context_block.adaLN_modulation.1.{kind}"
        found[name] = swapped(found[name])
    return found


def original_flux(state):
    return original(state, FLUX)


def text_weights(text_encoder, prefix):
    """Yield a text encoder's weights as the all-in-one files of SD3 and FLUX have them."""
    projection = "text_projection.weight"
    for name, tensor in bare(text_encoder).items():
        is_text_model = name != projection and "clip" in prefix
        yield f"text_encoders.{prefix}.transformer.{'text_model.' if is_text_model else ''}{name}", tensor.clone()


def write_sd3(pipe, path, with_text=True):
    """Write an SD3 pipeline as one file, with its text encoders or without."""
    state = {f"model.diffusion_model.{name}": w for name, w in original_sd3(pipe.transformer.state_dict()).items()}
    state |= dict(vae_weights(pipe.vae))
    if with_text:
        clip = dict(text_weights(pipe.text_encoder, "clip_l"))
        del clip["text_encoders.clip_l.transformer.text_projection.weight"]  # the identity, which no file holds
        state |= clip | dict(text_weights(pipe.text_encoder_2, "clip_g"))
        if pipe.text_encoder_3 is not None:
            state |= dict(text_weights(pipe.text_encoder_3, "t5xxl"))
    save_file(state, path)
    return path
