"""The head of a bundle: this text, behind a docstring, is how train_gpt.py finds its modules inside itself.

It is read as text, and never imported by the package.
"""

import base64
import bz2
import hashlib
import importlib.abc
import importlib.util
import sys


class Inside(importlib.abc.MetaPathFinder, importlib.abc.InspectLoader):
    """Imports bytegolf from memory, and no other bytegolf."""

    def __init__(self, payload: str, digest: str) -> None:
        if hashlib.sha256(payload.encode()).hexdigest() != digest:
            sys.exit("error: this file was damaged or changed: what is packed in it has another sha256")
        parts = bz2.decompress(base64.b85decode(payload)).decode().split("\0")
        self.files = dict(part.split("\n", 1) for part in parts)

    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] != "bytegolf":
            return None
        if name not in self.files and not self.is_package(name):
            raise ModuleNotFoundError(f"{name} is not in this bundle", name=name)
        return importlib.util.spec_from_loader(name, self, origin=f"{__file__}/{name}")

    def is_package(self, name):
        return any(file.startswith(name + ".") for file in self.files)

    def get_source(self, name):
        return self.files.get(name, "")

    def get_code(self, name):
        return compile(self.get_source(name), f"{__file__}/{name}", "exec", dont_inherit=True)

    def exec_module(self, module):
        module.__file__ = f"{__file__}/{module.__name__}"
        exec(self.get_code(module.__name__), module.__dict__)
