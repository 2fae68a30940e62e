"""Tables as they will be stored, straight through: the forward pass sees what `apply` will, gradients pass unchanged.

Imports torch and the runtime's coding of tables.
"""

from __future__ import annotations

from typing import Any

import torch

from lutkit_runtime.table_coding import Storage, encode_table


def store_straight(table: torch.Tensor, storage: Storage) -> torch.Tensor:
    """Return a float32 table rounded to its storage and back; the gradient to it is that of the result.

    Parameters
    ----------
    table : float32, of any shape
        One offset and one step serve all of its entries.
    storage : Storage
    """
    return _StoreStraight.apply(table, storage)  # type: ignore[no-any-return]


class _StoreStraight(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, table: torch.Tensor, storage: Storage) -> torch.Tensor:
        if storage is Storage.FLOAT32:
            return table.view_as(table)
        coding, entries = encode_table(table.detach().cpu().numpy(), storage)
        return torch.from_numpy(coding.decode(entries)).to(table.device)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None]:
        return gradients[0], None
