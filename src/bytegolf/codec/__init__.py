"""Codecs: float32 tensors <-> bytes, with the exact size known before anything is written.

base.py        the interface, and the lookup by name
fp16.py        half precision, for the few values that must stay precise
int_rows.py    int8, int6, int5: whole numbers times one fp16 scale a row
ecsq.py        whole multiples of a step a row, which the caller may choose
row_scales.py  a tensor as rows, one fp16 factor a row
entropy.py     whole numbers -> bytes at their empirical entropy
gaussian.py    the size law: bytes of Gaussian tensors, from shapes alone
"""
