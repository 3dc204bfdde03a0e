"""Training progress: a live line on a terminal, a plain line now and then anywhere else."""

from __future__ import annotations

from collections.abc import Callable

from rich.progress import BarColumn, Progress, TextColumn

from bytegolf.cli.output import Output
from bytegolf.train.loop import StepRecord

PLAIN_LINES = 20  # over a whole run
SMOOTHING = 0.95


class TrainingProgress:
    """A hook of the training loop. Shows loss (smoothed), estimated training bpb, tokens per second, time left."""

    def __init__(self, output: Output, to_bpb: Callable[[float], float]) -> None:
        self.output, self.to_bpb = output, to_bpb
        self.smooth: float | None = None
        self.shown = 0
        self.last_line = ""
        self.bar: Progress | None = None
        if output.notes.is_terminal:
            self.bar = Progress(
                TextColumn("training"), BarColumn(), TextColumn("{task.description}"), console=output.notes
            )
            self.task = self.bar.add_task("", total=1.0)
            self.bar.start()

    def on_step(self, record: StepRecord) -> None:
        previous = record.loss if self.smooth is None else self.smooth
        self.smooth = SMOOTHING * previous + (1 - SMOOTHING) * record.loss
        self.last_line = describe(record, self.smooth, self.to_bpb(self.smooth))
        if self.bar is not None:
            self.bar.update(self.task, completed=min(record.progress, 1.0), description=self.last_line)
        elif record.progress * PLAIN_LINES >= self.shown:
            self.output.tell(self.last_line)
            self.shown = int(record.progress * PLAIN_LINES) + 1

    def close(self) -> None:
        if self.bar is not None:
            self.bar.stop()


def describe(record: StepRecord, loss: float, bpb: float) -> str:
    """`step 120  loss 3.214  ~1.701 bpb  31,002 tok/s  1:24 left`; bpb is that of the training text, estimated."""
    left = record.seconds * (1 / record.progress - 1) if record.progress > 0 else 0.0
    minutes, seconds = divmod(max(0, round(left)), 60)
    speed = record.tokens / max(record.seconds, 1e-9)
    return (
        f"step {record.step:,}  loss {loss:.3f}  ~{bpb:.3f} bpb  {speed:,.0f} tok/s  "
        f"{minutes}:{seconds:02d} left"
    )
