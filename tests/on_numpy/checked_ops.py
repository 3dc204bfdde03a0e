"""An executor that proves every sum while it runs, and lets no value pass that is not finite."""

from __future__ import annotations

from typing import Any

import numpy as np

from bytegolf.on_numpy.exact.ops import NumpyOps

LIMIT = 2.0**53


class Proven(np.ndarray):
    """float64 whose products and sums are checked: whole numbers, and magnitudes that stay below 2^53 together."""

    sums = 0  # checked so far, in this process
    tightest = 0.0  # the largest sum of magnitudes

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **options: Any) -> Any:
        plain = [np.asarray(x) if isinstance(x, np.ndarray) else x for x in inputs]
        if ufunc in (np.matmul, np.vecdot) and method == "__call__":
            self._prove(plain, ufunc(*(np.abs(x) for x in plain)))
        elif ufunc is np.add and method == "reduce":
            self._prove(plain, np.add.reduce(np.abs(plain[0]), **options))
        else:
            assert method == "__call__" or ufunc is np.maximum, f"{ufunc} {method} is not on the list"
        if options.get("out"):
            options["out"] = tuple(np.asarray(x) for x in options["out"])
        result = getattr(ufunc, method)(*plain, **options)
        if ufunc is np.frexp:
            return result
        assert np.isfinite(result).all(), ufunc
        if result.dtype == np.int64:
            return result
        return result.view(Proven) if isinstance(result, np.ndarray) else proven(result)

    @staticmethod
    def _prove(operands: list[np.ndarray], magnitudes: np.ndarray) -> None:
        for x in operands:
            assert x.dtype == np.float64
            assert (x == np.rint(x)).all(), "a sum over what is not whole"
        most = float(magnitudes.max(initial=0.0))
        assert most < LIMIT, f"a sum of magnitudes of 2^{np.log2(most):.3f}"
        Proven.sums += 1
        Proven.tightest = max(Proven.tightest, most)

    def astype(self, dtype: Any, *rest: Any, **options: Any) -> Any:
        """Into integers: whole, and small enough on every machine."""
        plain = np.asarray(self)
        if np.dtype(dtype) == np.int64:
            assert (plain == np.rint(plain)).all()
            assert (np.abs(plain) <= 2.0**62).all()
        return plain.astype(dtype, *rest, **options)


def proven(x: Any) -> Any:
    """float64 as a checked array, everything else as it is."""
    x = np.asarray(x)
    return x.view(Proven) if x.dtype == np.float64 else x


class CheckedOps(NumpyOps):
    """numpy's executor on checked arrays. Whatever numpy does to an array beside its ufuncs is passed on."""

    def __getattribute__(self, name: str) -> Any:
        value = super().__getattribute__(name)
        if name.startswith("_") or not callable(value):
            return value
        if name == "numpy":
            return np.asarray

        def checked(*arguments: Any, **options: Any) -> Any:
            if name not in ("array", "zeros", "rows", "mask", "concat"):
                assert any(type(x) is Proven or x.dtype != np.float64 for x in arguments[:1]), name
            return proven(value(*arguments, **options))

        return checked
