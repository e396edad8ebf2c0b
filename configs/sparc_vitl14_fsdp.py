# SPARC, ViT-L/14, 250k updates, shared out over the processes by FSDP,
# otherwise the recipe of sparc_vitl14.py, on drawn scenes until --data names
# others.
_base_ = ['sparc_vitl14.py', '_base_/strategies/fsdp.py']
