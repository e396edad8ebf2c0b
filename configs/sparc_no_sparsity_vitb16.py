# SPARC without sparsity (table 8): equation 3 is left out, otherwise as
# sparc_vitb16.py.
_base_ = 'sparc_vitb16.py'
model = dict(objective=dict(alignment='dense'))
