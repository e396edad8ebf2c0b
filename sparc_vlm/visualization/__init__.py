"""Figures: alignment heat maps, and pages that compare models."""
