"""How a run goes: loops, checkpoints, mixed precision, its log."""
