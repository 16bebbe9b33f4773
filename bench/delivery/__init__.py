"""What delivery costs and how fast it is: `scripts/bench --only delivery`."""
