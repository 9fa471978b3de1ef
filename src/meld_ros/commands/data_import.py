"""`meld data import`: a bag becomes trials."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from meld_core.config import dump_config
from meld_core.storage.files import make_folder, write_atomic
from meld_ros.bags.reader import open_bag
from meld_ros.commands.data import run_of, shown
from meld_ros.commands.training import require_ros

if TYPE_CHECKING:
    from meld_core.exchange.importer import ImportReport
    from meld_ros.commands.data_arguments import Import


def run(command: Import) -> int:
    """0 where every trial that the bag announces is there now, else 1."""
    require_ros()
    from meld_core.exchange.importer import Importer
    from meld_core.exchange.recorded import Recording
    from meld_core.weights import load_weights
    from meld_ros.bags.hear import Hearing, config_of, namespace_of

    folder = run_of(command.run) if command.run else None
    weights = load_weights(Path(command.weights)) if command.weights else None
    with open_bag(Path(command.bag)) as bag:
        namespace = namespace_of(bag, command.namespace)
        config = config_of(bag, folder, namespace)
        hearing = Hearing(bag, config, namespace)
        out = make_folder(Path(command.out))
        importer = Importer(config, out, weights, from_steps=command.from_steps)
        with shown("importing", bag.count, hearing) as count:
            report = importer.run(Recording(hearing), count)
    if not (out / "config.yaml").exists():
        write_atomic(out / "config.yaml", dump_config(config).encode())
    _tell(report, hearing.unreadable)
    return 0 if report.whole else 1


def _tell(report: ImportReport, unreadable: dict[str, str]) -> None:
    for topic, reason in unreadable.items():
        print(f"some messages of {topic} could not be read: {reason}", file=sys.stderr)
    for sentence in (*report.refused, *report.contradicted):
        print(sentence, file=sys.stderr)
    print(report.summary())
