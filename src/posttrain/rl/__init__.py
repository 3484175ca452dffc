"""Reinforcement learning with verifiable rewards: rollouts, rewards, advantages, objectives, and the loop."""
