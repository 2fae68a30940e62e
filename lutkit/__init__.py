"""Train, transfer, finetune and apply lookup-table image models."""
