"""The mathematics of diffusion and flow models: schedules, noising, predictions, weights. Pure tensors."""
