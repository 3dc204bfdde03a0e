"""What classical compressors make of the text that a model is scored on: the bars a model has to pass.

Every baseline is `f(text, train_text, budget) -> bytes of the compressed text`. It decompresses what it wrote and
compares before it reports a size. A model spends its artifact on what it learned from the training text; the
dictionary baseline gets the same number of bytes, filled with training text, and does not pay for them either.
The settings are the strongest of each tool, since a weak bar flatters the model.
"""

from __future__ import annotations

import bz2 as bz2_module
import importlib
import lzma
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from bytegolf import registry
from bytegolf.errors import ConfigError, DataError

Baseline = Callable[[bytes, bytes, int], int]

# 2^27 bytes of history: the largest window that every zstd decoder accepts, beyond any dictionary plus text here.
_ZSTD_WINDOW_LOG = 27
# Pieces for the dictionary builder and for even sampling. Tried on 1.5 MB of held-out library sources with 0.1 and
# 0.9 MB dictionaries: builder 1 to 64 KiB differ by 0.3 %, sampling 0.5 to 16 KiB by 0.5 %.
_BUILDER_PIECE, _SAMPLE_PIECE = 16384, 1024
# Variant H (7-zip's) at order 64, the highest there is: 1.354 bpb on that text, against 1.367 at order 16 and
# 1.380 at 12. Variant I ends at order 16, 1.363. Half a GiB is address space, touched only as the text needs it.
_PPMD_ORDER, _PPMD_MEMORY = 64, 512 << 20


class MissingLibraryError(ConfigError):
    """A baseline whose optional library is not installed."""


@dataclass(frozen=True)
class BaselineResult:
    """bytes: the compressed text. bpb: 8 bytes / bytes of the text. seconds: packing and checking.

    `skipped` says why there are no figures; it is None exactly when there are.
    """

    bytes: int | None = None
    bpb: float | None = None
    seconds: float | None = None
    skipped: str | None = None

    def to_json(self) -> dict[str, Any]:
        """The fields that have a value."""
        return {key: value for key, value in asdict(self).items() if value is not None}


def run_baselines(
    text: bytes, train_text: bytes, budget: int, names: Sequence[str] | None = None
) -> dict[str, BaselineResult]:
    """Every registered baseline, or those named, on `text`; `budget` is the bytes that a dictionary may have.

    A library that is missing is reported as `skipped`, except when its baseline was named: then it is raised as
    MissingLibraryError. Also raises ConfigError (unknown name) and DataError (no text). Cost: a few seconds a MB.
    """
    if not text:
        raise DataError("baselines need a text", got="0 bytes")
    results: dict[str, BaselineResult] = {}
    for name in registry.names("baseline") if names is None else names:
        baseline: Baseline = registry.lookup("baseline", name)
        began = time.perf_counter()
        try:
            size = baseline(text, train_text, budget)
        except MissingLibraryError as error:
            if names is not None:
                raise
            results[name] = BaselineResult(skipped=f"{error.rule}: {error.fix}")
            continue
        results[name] = BaselineResult(size, 8 * size / len(text), time.perf_counter() - began)
    return results


def run_plain_baselines(text: bytes) -> dict[str, BaselineResult]:
    """As `run_baselines`, for those that know nothing but the text itself."""
    results: dict[str, BaselineResult] = {}
    for name in registry.names("baseline"):
        if registry.lookup("baseline", name) is zstd_dictionary:
            continue
        try:
            results |= run_baselines(text, b"", 0, [name])
        except MissingLibraryError as error:
            results[name] = BaselineResult(skipped=f"{error.rule}: {error.fix}")
    return results


def xz(text: bytes, train_text: bytes, budget: int) -> int:
    """`xz -9e`: LZMA2 with a 64 MiB dictionary, one block, CRC64."""
    blob = lzma.compress(text, preset=9 | lzma.PRESET_EXTREME)
    return _proved(blob, lzma.decompress(blob), text)


def bz2(text: bytes, train_text: bytes, budget: int) -> int:
    """`bzip2 -9`: blocks of 900 kB."""
    blob = bz2_module.compress(text, 9)
    return _proved(blob, bz2_module.decompress(blob), text)


def zstd(text: bytes, train_text: bytes, budget: int) -> int:
    """`zstd --ultra -22 --long=27`, without training text."""
    module, options = _zstd()
    blob = module.compress(text, options=options)
    return _proved(blob, module.decompress(blob), text)


def zstd_dictionary(text: bytes, train_text: bytes, budget: int) -> int:
    """zstd -22 that has already seen `budget` bytes of training text, chosen in the best of three ways.

    The ways: zstd's own dictionary builder (which keeps the segments that recur), pieces sampled evenly over the
    training text, its last bytes. Raises DataError when there is no training text.
    """
    if not train_text or budget < 1:
        raise DataError(
            "a dictionary needs training text and bytes to spend", got=f"{len(train_text)}, {budget}"
        )
    module, options = _zstd()
    sizes = []
    for content in dictionaries(train_text, budget):
        dictionary = module.ZstdDict(content, is_raw=True).as_prefix
        blob = module.compress(text, options=options, zstd_dict=dictionary)
        limits = {module.DecompressionParameter.window_log_max: _ZSTD_WINDOW_LOG}
        back = module.decompress(blob, zstd_dict=dictionary, options=limits)
        sizes.append(_proved(blob, back, text))
    return min(sizes)


def dictionaries(train_text: bytes, budget: int) -> list[bytes]:
    """The dictionaries to try, each at most `budget` bytes: all of the training text where it fits."""
    if len(train_text) <= budget:
        return [train_text]
    module, _ = _zstd()
    pieces = max(1, budget // _SAMPLE_PIECE)
    starts = (index * len(train_text) // pieces for index in range(pieces))
    found = [
        train_text[-budget:],
        b"".join(train_text[start : start + budget // pieces] for start in starts),
    ]
    samples = [train_text[at : at + _BUILDER_PIECE] for at in range(0, len(train_text), _BUILDER_PIECE)]
    try:
        found.append(bytes(module.train_dict(samples, budget).dict_content))
    except module.ZstdError:  # the builder declines corpora and budgets of a few kilobytes
        return found
    return found


def ppmd(text: bytes, train_text: bytes, budget: int) -> int:
    """PPMd variant H, order 64: prediction by partial matching, the strongest of the classical bars on code."""
    pyppmd = _optional("pyppmd", "ppmd")
    encoder = pyppmd.Ppmd7Encoder(_PPMD_ORDER, _PPMD_MEMORY)
    blob = encoder.encode(text) + encoder.flush()
    del encoder  # two models of half a GiB need not live together
    decoder = pyppmd.Ppmd7Decoder(_PPMD_ORDER, _PPMD_MEMORY)
    return _proved(blob, decoder.decode(blob, len(text)), text)


def brotli(text: bytes, train_text: bytes, budget: int) -> int:
    """`brotli -q 11 -w 24`: a 16 MiB window, and brotli's own dictionary of web text."""
    module = _optional("brotli", "brotli")
    blob = module.compress(text, quality=11, lgwin=24)
    return _proved(blob, module.decompress(blob), text)


def _proved(blob: bytes, back: bytes, text: bytes) -> int:
    if back != text:
        raise AssertionError("a baseline did not give its text back")
    return len(blob)


def _zstd() -> tuple[Any, dict[Any, int]]:
    """The zstd module of this Python, and the options of level 22 with the long window."""
    if sys.version_info >= (3, 14):
        from compression import zstd as module
    else:
        from backports import zstd as module
    parameter = module.CompressionParameter
    return module, {parameter.compression_level: 22, parameter.window_log: _ZSTD_WINDOW_LOG}


def _optional(library: str, baseline: str) -> Any:
    try:
        return importlib.import_module(library)
    except ImportError as error:
        raise MissingLibraryError(
            f"{baseline} is not installed", fix="pip install 'bytegolf[baselines]'"
        ) from error
