"""What captioners of drawn scenes see in an update and are measured by."""

_test = dict(
    type='Scenes', split='test', size=64, num_images=300, style='full'
)
custom_imports = dict(imports=['sparc_vlm.captioning'])
seeds = 2
# Half of the recipes' 16: an arm takes minutes on two cores without bfloat16.
options = {'train_dataloader.batch_size': 8}
baseline = 'CLIP'
tasks = [
    dict(
        type='Captioning',
        dataset=_test,
        meteor=False,
        max_new_tokens=60,
    ),
    # Many questions a picture, so fewer pictures; the kinds are those that
    # names alone do not answer on scenes.
    dict(
        type='POPE',
        dataset=dict(_test, num_images=100),
        kinds=('random', 'similar'),
    ),
]
pictures = dict(dataset=_test)
