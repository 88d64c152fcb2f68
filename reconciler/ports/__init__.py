"""The outside world as a short list of protocols, in domain values.

Addressed to whoever writes the next integration: an integration raises ``reconciler.errors.OutsideError`` (or its
children) and nothing else of its own; foreign exceptions are translated at the door. Every coroutine may be cancelled
at any await and must leave the world in a state the next call understands. One file a subject; all are imported from
here.
"""

from reconciler.ports.adapters import AdapterConverter, AdapterFiles, AdapterHub, AdapterStore, TellsDisk
from reconciler.ports.corpora import CorpusFile, CorpusFiles, ExportDrafts
from reconciler.ports.measuring import MeasurementStore, Meter
from reconciler.ports.record import RecordStore
from reconciler.ports.running import Clock, Reporter, Wakeups
from reconciler.ports.runtime import (
    HasDisk,
    HasFiles,
    Names,
    NamesAdapterFiles,
    Progress,
    Runtime,
    Serves,
    ServesAdapters,
    TriesAdapters,
)
from reconciler.ports.sources import Catalog, DesiredSource, HardwareProbe

__all__ = [
    "AdapterConverter",
    "AdapterFiles",
    "AdapterHub",
    "AdapterStore",
    "Catalog",
    "Clock",
    "CorpusFile",
    "CorpusFiles",
    "DesiredSource",
    "ExportDrafts",
    "HardwareProbe",
    "HasDisk",
    "HasFiles",
    "MeasurementStore",
    "Meter",
    "Names",
    "NamesAdapterFiles",
    "Progress",
    "RecordStore",
    "Reporter",
    "Runtime",
    "Serves",
    "ServesAdapters",
    "TellsDisk",
    "TriesAdapters",
    "Wakeups",
]
