"""What training imports late, for a process that is going to be forked: each fork then starts in an instant.

Nothing of it is used here; a process that has used torch cannot be forked.
"""

import torch._dynamo  # the optimizers import it at their first step

import bytegolf.on_torch.backend

__all__ = ["bytegolf", "torch"]
