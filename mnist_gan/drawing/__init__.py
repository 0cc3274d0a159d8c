"""What a run shows: grids, the GIF, curves, diagrams of networks."""
