"""`raysft merge`: the base model with an adapter added to its weights, as a folder of its own."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from raysft.engines.adapter import read_adapter
from raysft.engines.build import is_folder, resolve_model
from raysft.runtime.run import RESULT
from raysft.runtime.storage import Storage
from raysft.stores.addresses import is_uri
from raysft.train.export import merge_adapter
from raysft.train.export_check import check_export
from raysft.train.model_card import CARD, merged_card


def merge(source: str, out: str, model: str | None = None) -> str:
    """Merge an adapter and write the model below `out`; returns where it is.

    Args:
        source: the folder of a run that trained an adapter, or of an adapter; may be a URI.
        out: an empty or new folder, or a URI.
        model: the base model, where it is no longer what the adapter says.

    Raises:
        LookupError: there is no adapter, no base model, or `out` holds something.
        BrokenExport: the merged model is not whole.
    """
    target = Storage(out)
    if target.names(""):
        raise LookupError(f"{target.uri()} is not empty; give another --out")
    with tempfile.TemporaryDirectory() as temporary, _beside(target) as merged:
        adapter = _local(_adapter_of(source), Path(temporary) / "adapter")
        base = model or read_adapter(str(adapter)).config.get("base_model_name_or_path")
        if not base:
            raise LookupError(f"{adapter}/adapter_config.json names no base model; name it with --model")
        merge_adapter(_loadable(base), str(adapter), merged)
        card = adapter / CARD
        text = card.read_text(encoding="utf-8") if card.is_file() else f"# {adapter.name}\n"
        (merged / CARD).write_text(merged_card(text, base), encoding="utf-8")
        check_export(merged)
        if is_uri(target.root):
            target.upload(merged, "")
        else:
            for file in merged.iterdir():  # weights are written for their owner alone
                file.chmod((merged / CARD).stat().st_mode)
            merged.rename(target.root)
    return target.uri()


def _adapter_of(source: str) -> str:
    """The adapter's folder: the source itself, or what its run wrote."""
    storage = Storage(source)
    if storage.exists("adapter_config.json"):
        return storage.root
    if not storage.exists(RESULT):
        raise LookupError(
            f"{storage.uri()} holds neither adapter_config.json nor {RESULT}; "
            "name the folder of an adapter, or of a run that trained one"
        )
    folder = str(storage.read_json(RESULT)["folder"])
    if not Storage(folder).exists("adapter_config.json"):
        raise LookupError(f"the run wrote a whole model, {folder}; there is nothing to merge")
    return folder


def _local(folder: str, target: Path) -> Path:
    return Storage(folder).download("", target) if is_uri(folder) else Path(folder)


def _loadable(model: str) -> str:
    """What transformers can load."""
    found = resolve_model(model)
    if is_folder(model) and not Path(found, "config.json").is_file():
        raise LookupError(f"the base model {model} is not there; say where it is with --model")
    return found


@contextmanager
def _beside(target: Storage) -> Iterator[Path]:
    """A folder on the same disk as a local target, so that what is whole is renamed; else a temporary one."""
    is_local = not is_uri(target.root)
    parent = Path(target.root).parent if is_local else None
    if parent is not None:
        parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".merging-", dir=parent) as folder:
        yield Path(folder) / "model"
