# SPARC with softmax in place of equations 2 to 4 (table 8), otherwise as
# sparc_vittiny_scenes.py.
_base_ = 'sparc_vittiny_scenes.py'
model = dict(objective=dict(alignment='softmax'))
