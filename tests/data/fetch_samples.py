"""How the tests of fetching fetch the toy export."""

from __future__ import annotations

from pathlib import Path

from bytegolf.data.fetch import Fetched, Wanted, fetch
from bytegolf.data.remote import Hub
from fakes.hub import FakeHub
from fakes.toy_fineweb import REPO

SHARDS = "datasets/datasets/fineweb10B_sp500/fineweb_"


def get(hub: FakeHub, folder: Path, shards: int = 2, **more: object) -> Fetched:
    options = {"docs": False, "workers": 2, "force": False} | more
    return fetch(Wanted(Hub(REPO, endpoint=hub.endpoint), "sp500", folder, shards, **options))


def visible(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}
