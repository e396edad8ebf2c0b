"""Comparisons of objectives: trained alike, measured alike, put on a page."""

from sparc_vlm.study.arm import Arm, set_aside, shortened

__all__ = ['Arm', 'set_aside', 'shortened']
