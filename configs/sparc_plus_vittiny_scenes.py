# SPARC+, otherwise as sparc_vittiny_scenes.py: every token must also prefer
# its own image to four others of the batch (beyond the paper), so that the
# local maps come to lie on what the words name. 15 minutes on two CPU cores.
_base_ = 'sparc_vittiny_scenes.py'
model = dict(
    objective=dict(local_weight=0.1, threshold=0.7, cross_image=4),
)
