# SPARC without sparsity (table 8): equation 3 is left out, otherwise as
# sparc_vittiny_scenes.py.
_base_ = 'sparc_vittiny_scenes.py'
model = dict(objective=dict(alignment='dense'))
