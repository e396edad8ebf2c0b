# SPARC+, beyond the paper: every token must also prefer its own image to four
# others of the batch, so that the local maps come to lie on what the caption
# names; the local loss weighs 0.1 in place of 0.5, and sigma is 0.7; otherwise
# as sparc_vittiny_scenes.py. 10 minutes on two CPU cores.
_base_ = 'sparc_vittiny_scenes.py'
model = dict(
    objective=dict(local_weight=0.1, threshold=0.7, cross_image=4),
)
