"""The model card that goes with whatever a run trained."""
