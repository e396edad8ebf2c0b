# Parameters, gradients and optimizer shared out over the processes, fetched a
# transformer layer at a time. Encoders of others name their layers' classes:
# auto_wrap_policy=dict(type='wrap_layers', layers=('BertLayer', ...)).
strategy = dict(
    type='FSDPStrategy',
    model_wrapper=dict(
        type='MMFullyShardedDataParallel',
        sharding_strategy='FULL_SHARD',
        auto_wrap_policy=dict(type='wrap_layers'),
    ),
)
