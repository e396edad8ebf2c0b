# SPARC with softmax in place of equations 2 to 4 (table 8), otherwise as
# sparc_vitb16.py.
_base_ = 'sparc_vitb16.py'
model = dict(objective=dict(alignment='softmax'))
