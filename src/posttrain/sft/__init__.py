"""Supervised training: `pretrain` (plain language modelling from scratch) and `sft` (responses only)."""
