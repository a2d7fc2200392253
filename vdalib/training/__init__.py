"""The trainer: loop, optimiser, schedule, checkpoints, processes. It knows no method."""
