"""Long runs of the whole system as processes, with faults, and the proof that nothing got lost: `scripts/soak`."""
