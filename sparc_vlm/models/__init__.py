"""Encoders, alignment, losses and objectives, and the pretrainer."""
