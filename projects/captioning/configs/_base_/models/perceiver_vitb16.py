# The paper's bridge: a Perceiver resampler of 64 queries, between ViT-B/16
# and a language model of about 400M parameters. Both stay as they are.
model = dict(
    type='Captioner',
    eyes=dict(type='SparcEyes', checkpoint='work_dirs/sparc_vitb16/model'),
    projector=dict(type='PerceiverResampler', num_latents=64, depth=6),
    language=dict(type='Language', path='HuggingFaceTB/SmolLM2-360M-Instruct'),
)
