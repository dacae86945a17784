"""Every number that the report prints, and what became of it: derived, consistent, set, an erratum, or not run.

What a number is compared with stands beside it in ``published/*.csv``: ``source`` is the name of one of the kit's
values, a setting's with a dot; without one, a cell of Tables 1, 5 and 6 is compared with the kit's own cell.
"""

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd
from torch import nn

from asc_kit import complexity
from asc_kit.blocks import FusedMBConv4, MBConv4
from asc_kit.config import SYSTEMS, Demo, Features
from asc_kit.data.check import CLIPS, DEVICES, OFFICIAL, TRAINING_A, WITHDRAWN
from asc_kit.network import TABLE_1, Baseline, Network
from asc_kit.report import evaluation, tables
from asc_kit.run.recipes import Recipe
from asc_kit.run.runs import flat

CLASSES = tuple(TRAINING_A)
RELEASES = {name: sides["evaluation"] for name, sides in OFFICIAL.items()}
STATUSES = {
    "derived": "recomputed here, and equal",
    "consistent": "follows from other scores that are printed, which are not run",
    "setting": "a choice of the authors', and the kit's default",
    "erratum": "shown to be wrong",
    "not run": "needs TAU 2020; Tables 2, 3, 4 and 7 of runs on it stand beside these",
}

# sources that are made of printed scores
PRINTED = {"accuracy", "log_loss", "device_accuracy", "device_log_loss", "baseline_accuracy", "baseline_log_loss",
           "bus", "street_pedestrian"}  # fmt: skip


def close(printed: str, value: float, decimals: str) -> bool:
    """Whether a value rounds to what is printed; a tie may go either way."""
    return abs(float(printed) - value) <= 0.5 * 10 ** -int(decimals) + 1e-9


def fold(release: str) -> pd.DataFrame:
    """Clips of the evaluation fold by class (rows) and device (columns), official."""
    counts = pd.DataFrame(33, index=list(CLASSES), columns=list(DEVICES))
    for clip, side in WITHDRAWN.items() if release == "re-release" else ():
        if side == "evaluation":
            parts = Path(clip).stem.split("-")
            counts.loc[parts[0], parts[-1]] -= 1
    return counts


def inversions(number: int) -> pd.DataFrame:
    """Table 3 or 4 turned back into whole clips, by trying every count of correct ones for both releases.

    Returns
    -------
    row, accuracy (per cent, as printed) and for each release its clips and every possible number of correct ones
    """
    table = tables.published(number).query("column == 'accuracy' and row != 'average'")
    out = pd.DataFrame({"row": table.row, "accuracy": table.value}).reset_index(drop=True)
    for release in RELEASES:
        clips = fold(release).sum(axis=1 if number == 3 else 0)
        out[f"{release}: clips"] = [int(clips[row]) for row in out.row]
        out[f"{release}: correct"] = [
            [k for k in range(clips[row] + 1) if close(printed, 100 * k / clips[row], "1")]
            for row, printed in zip(out.row, out.accuracy)
        ]
    return out


def scored_release() -> str:
    """The one release of whose clips every accuracy of Tables 3 and 4 is a whole number."""
    found = [inversions(number) for number in (3, 4)]
    (release,) = [name for name in RELEASES if all(table[f"{name}: correct"].map(bool).all() for table in found)]
    return release


def equations() -> pd.DataFrame:
    """Table 5's columns summed, less equations (2) and (3), for I and O from 4 to 32; the difference is the erratum."""
    text, formulas = tables.published("text").set_index("row").value, tables.published(5)
    pairs = [(i, o) for i in range(4, 33) for o in range(4, 33, 3)]
    rows = []
    for column, block, name in (("mbconv4", MBConv4, "equation_2"), ("fused_mbconv4", FusedMBConv4, "equation_3")):
        total = " + ".join(cell for cell in formulas[formulas.column == column].value if cell not in ("", "0"))
        sums = [complexity.evaluate(total, i, o) for i, o in pairs]
        less = [a - complexity.evaluate(text[name], i, o) for a, (i, o) in zip(sums, pairs)]
        of_i, of_o = np.linalg.lstsq(pairs, less)[0].round().astype(int)
        linear = all(of_i * i + of_o * o == d for (i, o), d in zip(pairs, less))
        built = sums == [complexity.count(block(i, o, (1, 1))) for i, o in pairs]
        rows.append((column, total, text[name], f"{of_o:+d}·O {of_i:+d}·I" if linear else str(less), built))
    columns = ["block", "sum of Table 5's column", "printed equation", "sum - equation", "built"]
    return pd.DataFrame(rows, columns=columns)


def sizes() -> pd.DataFrame:
    """Bytes in float16 of every submission by the three counts, and which limit each keeps."""
    rows = []
    for submission in evaluation.NETWORKS:
        mels = SYSTEMS[submission]["n_mels"]
        for name, count in complexity.sizes(Network(mels, len(CLASSES))).items():
            size = count * complexity.BYTES
            rows.append((submission, mels, name, count, size, size <= 128000, size <= 131072))
    columns = ["submission", "mel_bins", "count", "numbers", "bytes", "<= 128,000", "<= 131,072"]
    return pd.DataFrame(rows, columns=columns)


def macs() -> pd.Series:
    """Multiply-accumulates of 10 s by mel bins."""
    return pd.Series({mels: complexity.multiply_accumulates(Network(mels, len(CLASSES)), Features(n_mels=mels))
                      for mels in (SYSTEMS[name]["n_mels"] for name in evaluation.NETWORKS)})  # fmt: skip


def numbers() -> pd.DataFrame:
    """Every number of Tables 1 to 7 and of the text.

    Returns
    -------
    table, row, label, column, printed, status, here (the kit's value) and how
    """
    printed = pd.concat([tables.published(name) for name in (*range(1, 8), "text")], ignore_index=True)
    values = dict(_values())
    fates = [_fate(row, values) for row in printed.itertuples()]
    out = printed[["table", "row", "label", "column"]].assign(printed=printed.value)
    return out.join(pd.DataFrame(fates, columns=["status", "here", "how"]))


def _fate(row, values: dict) -> tuple[str, str, str]:
    """status, here and how of a printed number, a row of `tables.published`."""
    place = (row.table, row.row, row.column)
    value = values.get(row.source or place)
    if value is None:
        return "not run", "", row.how or values[*place, "clips"]
    if isinstance(value, str):
        here, same = value, value == row.value
    else:
        here, same = f"{value:.{row.decimals}f}", close(row.value, value, row.decimals)
    status = "setting" if "." in row.source else "consistent" if row.source in PRINTED else "derived"
    return (status, here, row.how) if same else ("erratum", here, f"{row.how}: not what is printed")


def _values() -> Iterator[tuple[str | tuple, object]]:
    """The kit's values, by the published ``source``, where there is none by (table, row, column)."""
    bins = {name: values["n_mels"] for name, values in SYSTEMS.items()}
    nets = {name: Network(bins[name], len(CLASSES)) for name in evaluation.NETWORKS}
    nets["baseline"] = Baseline(bins["baseline"], len(CLASSES))
    found = equations()
    for name, row in zip(("equation_2", "equation_3"), found.to_dict("records")):
        same = row["sum - equation"] == "+0·O +0·I"
        yield name, row["printed equation"] if same else f"the printed {row['sum - equation']}"
    formulas = complexity.table_5().map(lambda formula: formula if found.built.all() else "not as built")
    counts = complexity.table_6(nets["4"]).assign(size_kb=lambda table: table.size_bytes / 1024)
    for number, table in ((1, complexity.table_1()), (5, formulas), (6, counts)):
        for line, cells in enumerate(table.to_dict("records"), start=1):
            yield from (((str(number), str(line), column), value) for column, value in cells.items())
    for number, prefix in ((3, ""), (4, "device_")):
        rows = tables.published(number).query("row != 'average'").astype({"value": float})
        yield from rows.groupby("column").value.mean().add_prefix(prefix).items()
        for row in inversions(number).itertuples():
            *_, clips, correct = row  # of the re-release
            yield (str(number), row.row, "accuracy", "clips"), f"{', '.join(map(str, correct))} of {clips} clips"
    theirs = pd.read_csv(tables.PUBLISHED / "baseline.csv").query("part == 'class'")
    yield from theirs[["accuracy", "log_loss"]].mean().add_prefix("baseline_").items()
    yield from ((f"size_{name}", complexity.size_kb(net)) for name, net in nets.items())
    # the dot in a setting's name says that it is one
    yield from flat(Recipe("audit").config("4").as_dict() | {"demo": asdict(Demo()), "systems": bins}).items()
    yield from _counted(nets["4"]).items()


def _counted(best: Network) -> dict[str, float | str]:
    """What the text says of the network, the features and the data set, counted again."""
    features, work, clips, release = Features(), macs(), fold("re-release").sum(), scored_release()
    printed = tables.published(3).query("column == 'accuracy'").set_index("row").value
    blocks = [kind(6, 6, (2, 1)) for kind in (MBConv4, FusedMBConv4)]
    strides = {layer.stride for block in blocks for layer in block.modules() if isinstance(layer, nn.Conv2d)}
    shortcut = all(complexity.block_parameters(MBConv4(i, o, (1, 1)))[-1] == (i * o if i != o else 0)
                   for i in range(4, 12) for o in range(4, 12))  # fmt: skip
    return {
        "parameters": complexity.count(best), "bits": 8 * complexity.BYTES,
        "limit_kb": 65536 * 2 / 1024, "limit_float32": 128 * 1024 / 4, "limit_float16": 128 * 1024 / 2,
        "overlap": 100 - 100 * features.hop / features.window, "frames": features.frames(10 * features.sample_rate),
        "expansion": blocks[0].expand.out_channels / 6,
        "fused_blocks": sum(row.repeats for row in TABLE_1 if row.block.startswith("Fused")),
        "inner_stride": " ".join("x".join(map(str, stride)) for stride in strides - {(2, 1)}),
        "equation_1": "x·y where x ≠ y, 0 where x = y" if shortcut else "another",
        "classes": len(CLASSES), "devices": len(DEVICES), "unseen_devices": len(DEVICES[6:]),
        "real_devices": sum(len(name) == 1 for name in DEVICES),
        "simulated_devices": sum(len(name) > 1 for name in DEVICES),
        "fewest_clips": clips.min(), "most_clips": clips.max(), "test_clips": RELEASES[release],
        "clips": CLIPS[release], "faster": work[160] / work[64],
        "bus": float(printed["bus"]), "street_pedestrian": float(printed["street_pedestrian"]),
    }  # fmt: skip
