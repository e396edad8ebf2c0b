# GLoRIA, otherwise as sparc_vitb16.py, but 800k updates of 4096 pairs: as the
# paper ran it, which found larger batches too dear.
_base_ = 'sparc_vitb16.py'
model = dict(objective=dict(_delete_=True, type='GLoRIA'))
auto_batch = dict(global_batch_size=4096)
train_cfg = dict(max_iters=800000)
