"""A reader of training logs of Parameter Golf, written from a description of the published lines alone.

Logs may begin with the source of the script, which has the same words in it; what counts comes after the last line
of a hundred `=`.
"""

from __future__ import annotations

import re
from typing import Any

SEPARATOR = "=" * 100
KEYS = {
    "model_params": r"model_params:(\d+)",
    "world_size": r"world_size:(\d+) grad_accum_steps:\d+",
    "grad_accum_steps": r"world_size:\d+ grad_accum_steps:(\d+)",
    "train_batch_tokens": r"train_batch_tokens:(\d+)",
    "train_seq_len": r"train_batch_tokens:\d+ train_seq_len:(\d+)",
    "iterations": r"train_batch_tokens:\d+ train_seq_len:\d+ iterations:(\d+)",
    "max_wallclock_seconds": r".* max_wallclock_seconds:(\d+\.\d{3})$",
    "seed": r"seed:(\d+)$",
    "peak_mib": r"peak memory allocated: (\d+) MiB",
    "raw_bytes": r"Serialized model: (\d+) bytes$",
    "code_bytes": r"Code size: (\d+) bytes$",
    "model_bytes": r"Serialized model \w+\+\w+: (\d+) bytes",
    "total_bytes": r"Total submission size \w+\+\w+: (\d+) bytes$",
    "val_loss": r"final_\w+_exact (?:stride:\d+ )?val_loss:(\d+\.\d{8}) val_bpb:",
    "val_bpb": r"final_\w+_exact (?:stride:\d+ )?val_loss:\d+\.\d{8} val_bpb:(\d+\.\d{8})$",
    "eval_ms": r"final_\w+ (?:stride:\d+ )?val_loss:\d+\.\d{4} val_bpb:\d+\.\d{4} eval_time:(\d+)ms$",
}
STEP = re.compile(r"step:(\d+)/(\d+) train_loss:(\d+\.\d{4}) train_time:(\d+)ms step_avg:(\d+\.\d\d)ms$")
VALIDATION = re.compile(
    r"step:(\d+)/\d+ val_loss:(\d+\.\d{4}) val_bpb:(\d+\.\d{4}) train_time:(\d+)ms step_avg:(\d+\.\d\d)ms$"
)


def parse(text: str) -> dict[str, Any]:
    """Every figure by its key, the last one of each; `train`: step -> loss; `validation`: step -> bpb."""
    found: dict[str, Any] = {"train": {}, "validation": {}}
    for line in text.split(SEPARATOR)[-1].splitlines():
        if step := STEP.match(line):
            found["train"][int(step[1])] = float(step[3])
        elif scored := VALIDATION.match(line):
            found["validation"][int(scored[1])] = float(scored[3])
        for key, pattern in KEYS.items():
            if match := re.match(pattern, line):
                found[key] = float(match[1]) if "." in match[1] else int(match[1])
    return found
