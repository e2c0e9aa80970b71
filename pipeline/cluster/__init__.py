"""What sweeps and scoring share of a Ray cluster. Importing it imports nothing of Ray."""
