"""Zero-shot tasks, run on anything that encodes images and text."""
