"""Validation in a process beside the trainer's: weights through memory, jobs and results through queues."""
