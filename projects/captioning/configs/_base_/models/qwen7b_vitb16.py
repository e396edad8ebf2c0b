# A language model of LLaVA's size behind ViT-B/16: 14 x 14 patches, a token
# each. The eyes are those of configs/sparc_vitb16.py.
model = dict(
    type='Captioner',
    eyes=dict(type='SparcEyes', checkpoint='work_dirs/sparc_vitb16/model'),
    projector=dict(type='MLPProjector'),
    language=dict(
        type='Language',
        path='Qwen/Qwen2.5-7B-Instruct',
        dtype='bfloat16',
        checkpointing=True,
    ),
)
