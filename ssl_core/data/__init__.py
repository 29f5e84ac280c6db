"""Images from where they lie to batches of uint8 tensors."""
