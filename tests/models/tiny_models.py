"""What the tests of models draw, and with which families."""

from accord.models import SamplerSettings

FAMILIES = ("world", "sd15", "sdxl", "sd3", "flux", "sana")  # sd21 differs from sd15 by its scheduler only
TEXTS = ("a red circle above a blue square", "two green triangles", "a square")
SAMPLER = SamplerSettings(num_inference_steps=3, guidance_scale=3.0, height=32, width=32)
PLAIN = {"sana": {"use_resolution_binning": False}}  # its pipeline would draw the nearest size of a list and resize
"""What a user without Accord has to tell a family's pipeline to draw the size asked for."""
