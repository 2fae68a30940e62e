"""Train, transfer, finetune and apply lookup-table image models."""

from pathlib import Path

DEFAULT_RUN = Path("runs/default")
"""Run folder of commands that are not told another."""
