"""TensorBoard's event files, written by its own package, without torch. `tensorboard --logdir runs` shows them."""

# mypy: disable-error-code="import-untyped"

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.compat.proto.tensor_pb2 import TensorProto
from tensorboard.compat.proto.tensor_shape_pb2 import TensorShapeProto
from tensorboard.compat.proto.types_pb2 import DT_STRING
from tensorboard.plugins.text.metadata import create_summary_metadata
from tensorboard.summary.writer.event_file_writer import EventFileWriter

from bytegolf.config.load import flatten
from bytegolf.train.tracking import Point

FLUSH_SECONDS = 5  # how far behind the run a reader may be


class Tensorboard:
    """Scalars in float32, which is what an event holds; the config as a text."""

    def __init__(self, folder: Path, name: str, config: dict[str, Any]) -> None:
        self.writer = EventFileWriter(str(folder), flush_secs=FLUSH_SECONDS)
        rows = "".join(f"| {key} | {value} |\n" for key, value in flatten(config).items())
        text = f"| {name} | |\n|---|---|\n{rows}"
        tensor = TensorProto(
            dtype=DT_STRING,
            string_val=[text.encode()],
            tensor_shape=TensorShapeProto(dim=[TensorShapeProto.Dim(size=1)]),
        )
        value = Summary.Value(tag="config", tensor=tensor, metadata=create_summary_metadata("config", ""))
        self.write(0, [value])

    def log(self, points: Sequence[Point]) -> None:
        for point in points:
            values = [Summary.Value(tag=key, simple_value=value) for key, value in point.values.items()]
            self.write(point.step, values)

    def write(self, step: int, values: list[Any]) -> None:
        event = Event(wall_time=time.time(), step=step, summary=Summary(value=values))
        self.writer.add_event(event)

    def close(self) -> None:
        self.writer.close()
