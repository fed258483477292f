"""What a trained run is used for: labels, rollouts, export, an environment for agents."""
