"""Every number that the report prints, and what became of it: derived, set, measured, an erratum, or not run."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pandas as pd
import sympy
from torch import nn

from asc_kit import complexity
from asc_kit.blocks import FusedMBConv4, MBConv4
from asc_kit.config import MEL_BINS, ROOT, Augmentation, Features, Training
from asc_kit.data.check import CLIPS, DEVICES, TRAINING_A, WITHDRAWN
from asc_kit.data.demo import Demo
from asc_kit.network import TABLE_1, Baseline, Network
from asc_kit.report import evaluation, tables

CLASSES = tuple(TRAINING_A)
RELEASES = {"first release": 2970, "re-release": 2968}
REFERENCE = ROOT / "results" / "report"  # where runs on TAU 2020 lie; only they can agree with the report or not
STATUSES = {
    "derived": "recomputed here, and equal",
    "setting": "a choice of the authors', and the kit's default",
    "measured": "runs on TAU 2020 are here, with their interval",
    "erratum": "shown to be wrong",
    "not run": "no run on TAU 2020 is here",
}


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
    fits = [name for name in RELEASES if all(table[f"{name}: correct"].map(bool).all() for table in found)]
    if len(fits) != 1:
        raise ValueError(f"Tables 3 and 4 fit {fits}, not one release")
    return fits[0]


def averages() -> pd.DataFrame:
    """The averages of Tables 3 and 4 from their rows, and the log losses of both from each other."""
    rows = []
    for number, axis in ((3, 1), (4, 0)):
        table = tables.published(number)
        for column in ("accuracy", "log_loss"):
            part = table[table.column == column].set_index("row")
            values = part.value.drop("average").astype(float)
            weights = fold("re-release").sum(axis=axis)[values.index]
            rows.append((number, column, part.value["average"], values.mean(), np.average(values, weights=weights)))
    return pd.DataFrame(rows, columns=["table", "column", "printed", "mean of the rows", "mean over clips"])


def equations() -> pd.DataFrame:
    """Table 5's columns summed symbolically, less equations (2) and (3); the difference is the erratum."""
    i, o, q, h = sympy.symbols("I O q H")  # q: the integer part of 0.25 I; H: the shortcut's
    names = {"I": i, "O": o, "q": q, "H": h}

    def read(formula: str) -> sympy.Expr:
        text = formula.replace("·", "*").replace("²", "**2").replace("[0.25*I]", "q").replace("H(I, O)", "H")
        return sympy.sympify(text or "0", locals=names)

    text = tables.published("text").set_index("row").value
    rows = []
    for column, block, name in (("mbconv4", MBConv4, "equation_2"), ("fused_mbconv4", FusedMBConv4, "equation_3")):
        cells = tables.published(5).query("column == @column").value
        total = sympy.expand(sum(read(cell) for cell in cells))
        count = sympy.lambdify((i, o, q, h), total)
        built = all(complexity.count(block(a, b, (1, 1))) == count(a, b, a // 4, a * b if a != b else 0)
                    for a in range(4, 33) for b in range(4, 33, 3))  # fmt: skip
        rows.append((column, str(total), text[name], str(sympy.factor(total - read(text[name]))), built))
    return pd.DataFrame(
        rows, columns=["block", "sum of Table 5's column", "printed equation", "sum - equation", "built"]
    )


def sizes() -> pd.DataFrame:
    """Bytes in float16 of every submission by the three counts, and which limit each keeps."""
    rows = []
    for submission in evaluation.NETWORKS:
        for name, count in complexity.sizes(Network(MEL_BINS[submission], len(CLASSES))).items():
            size = count * complexity.BYTES
            rows.append((submission, MEL_BINS[submission], name, count, size, size <= 128000, size <= 131072))
    return pd.DataFrame(
        rows, columns=["submission", "mel_bins", "count", "numbers", "bytes", "<= 128,000", "<= 131,072"]
    )


def macs() -> pd.Series:
    """Multiply-accumulates of 10 s by mel bins."""
    return pd.Series({mels: complexity.multiply_accumulates(Network(mels, len(CLASSES)), Features(n_mels=mels))
                      for mels in (MEL_BINS[s] for s in evaluation.NETWORKS)})  # fmt: skip


def numbers(home: Path = REFERENCE) -> pd.DataFrame:
    """Every number of Tables 1 to 7 and of the text.

    Returns
    -------
    table, row, label, column, printed, status, here (the kit's value) and how
    """
    parts = [_structure(), _table_2_and_7(home, 2), _table_3_and_4(home, 3), _table_3_and_4(home, 4), _table_5(),
             _table_6(), _table_2_and_7(home, 7), _text()]  # fmt: skip
    found = pd.concat(parts, ignore_index=True)
    order = {str(number): place for place, number in enumerate([1, 2, 3, 4, 5, 6, 7, "text"])}
    return found.sort_values("table", key=lambda t: t.map(order), kind="stable", ignore_index=True)


def _rows(table: pd.DataFrame, judge) -> pd.DataFrame:
    found = [judge(row) for row in table.itertuples()]
    out = table[["table", "row", "label", "column"]].assign(printed=table.value)
    return out.assign(status=[f[0] for f in found], here=[str(f[1]) for f in found], how=[f[2] for f in found])


def _equal(row, value: float, how: str, status: str = "derived") -> tuple[str, str, str]:
    """The status where a value is what is printed; where it is not, report or kit is wrong, and that is an erratum."""
    same = close(row.value, value, row.decimals)
    shown = f"{value:.{row.decimals}f}"
    return (status, shown, how) if same else ("erratum", shown, f"{how}: not what is printed")


def _structure() -> pd.DataFrame:
    made = complexity.table_1()
    return _rows(tables.published(1), lambda row: (
        "derived" if made.loc[int(row.row) - 1, row.column] == row.value else "erratum",
        made.loc[int(row.row) - 1, row.column], "the built network"))  # fmt: skip


def _table_5() -> pd.DataFrame:
    made, built = complexity.table_5(), equations().built.all()

    def judge(row) -> tuple[str, str, str]:
        here = made.loc[int(row.row) - 1, row.column]
        how = "equals the built blocks' parameters for all I and O from 4 to 32"
        return ("derived" if built and here == row.value else "erratum", here, how)

    return _rows(tables.published(5), judge)


def _table_6() -> pd.DataFrame:
    made = complexity.table_6(Network(160, len(CLASSES)))

    def judge(row) -> tuple[str, str, str]:
        line = made.loc[int(row.row) - 1]
        value = line.parameters * 2 / 1024 if row.column == "size_kb" else line[row.column]
        return _equal(row, value, row.note or "counted in the built network")

    return _rows(tables.published(6), judge)


def _measured(home: Path, number: int, key: str, row, factor: float) -> tuple[str, str, str] | None:
    """A committed run on TAU 2020 beside a printed score, where there is one."""
    file = home / "tables" / f"table_{number}.csv"
    if not file.exists():
        return None
    made = pd.read_csv(file, dtype={key: str, "submission": str}).set_index(key, drop=False)
    clips = fold("re-release")
    own = pd.concat([clips.sum(axis=1), clips.sum(axis=0)]) if number in (3, 4) else pd.Series(dtype=int)
    if made.n.get(row.row) != own.get(row.row, clips.to_numpy().sum()):
        return None  # not run, not all of it, or not TAU 2020
    if number in (3, 4) and made.submission[row.row] != "4":
        return None  # the report's are submission 4's
    value, low, high = (factor * made[f"{row.column}{part}"].get(row.row, np.nan) for part in ("", "_low", "_high"))
    if not np.isfinite(value):
        return None
    verdict = "compatible" if low <= float(row.value) <= high else "not compatible" if high >= low else "no interval"
    return "measured", f"{value:.{row.decimals}f} [{low:.{row.decimals}f}, {high:.{row.decimals}f}]", verdict


def _table_2_and_7(home: Path, number: int) -> pd.DataFrame:
    key = {2: "mel_bins", 7: "submission"}[number]
    nets = {name: Network(MEL_BINS[name], len(CLASSES)) for name in evaluation.NETWORKS}
    nets["baseline"] = Baseline(MEL_BINS["baseline"], len(CLASSES))

    def judge(row) -> tuple[str, str, str]:
        if row.column == "mel_bins":
            return _equal(row, MEL_BINS[row.row], "config.MEL_BINS", "setting")
        if row.column == "model_size_kb":
            how = "two bytes a number, / 1024" + (", running statistics included" if row.row == "baseline" else "")
            return _equal(row, complexity.size_kb(nets[row.row]), how)
        found = _measured(home, number, key, row, 100 if row.column == "accuracy" else 1)
        if found:
            return found
        if row.row == "baseline":
            classes = pd.read_csv(tables.PUBLISHED / "baseline.csv").query("part == 'class'")
            return _equal(row, classes[row.column].mean(), "mean of the class-wise numbers that its authors publish")
        if row.row in ("160", "4"):
            return _average(row, row.column, 3, "Table 3's rows")
        return "not run", "", "needs TAU 2020"

    return _rows(tables.published(number), judge)


def _average(row, column: str, number: int, name: str) -> tuple[str, str, str]:
    table = tables.published(number)
    values = table[(table.row != "average") & (table.column == column)].value.astype(float)
    return _equal(row, values.mean(), f"mean of {name}; the rows themselves are not run")


def _table_3_and_4(home: Path, number: int) -> pd.DataFrame:
    key = {3: "scene_label", 4: "device"}[number]
    whole = inversions(number).set_index("row")

    def judge(row) -> tuple[str, str, str]:
        found = _measured(home, number, key, row, 100 if row.column == "accuracy" else 1)
        if found:
            return found
        if row.row == "average":
            return _average(row, row.column, number, "its rows")
        if row.column == "accuracy":
            right, clips = whole.loc[row.row, ["re-release: correct", "re-release: clips"]]
            return "not run", "", f"{right[0]} of {clips} clips"
        return "not run", "", "needs TAU 2020"

    return _rows(tables.published(number), judge)


def _text() -> pd.DataFrame:
    features, augmentation, training = Features(), Augmentation(), Training()
    best, ratio = Network(160, len(CLASSES)), macs()
    devices = fold("re-release").sum()
    settings = {
        "hop": features.hop, "window": features.window, "sample_rate": features.sample_rate, "f_min": features.f_min,
        "f_max": features.f_max, "crop": augmentation.crop_seconds, "alpha": augmentation.mixup_alpha,
        "batch_size": training.batch_size, "ema_decay": training.ema_decay, "max_lr": training.max_lr,
        "max_epochs": training.epochs, "duration": Demo().seconds,
    }  # fmt: skip
    derived = {
        "parameters": (complexity.count(best), "counted in the built network"),
        "size_kb": (complexity.size_kb(best), "62,346 x 2 / 1024"),
        "limit_kb": (65536 * 2 / 1024, "65,536 halves; 131,072 bytes, where the baseline's authors say 128,000"),
        "limit_float32": (128 * 1024 / 4, "128 x 1024 / 4"),
        "limit_float16": (128 * 1024 / 2, "128 x 1024 / 2"),
        "bits": (8 * complexity.BYTES, "float16"),
        "overlap": (100 * (1 - Fraction(features.hop, features.window)), "1 - 690 / 2760"),
        "frames": (features.frames(10 * features.sample_rate), "1 + 441000 // 690, frames centred"),
        "expansion": (MBConv4(6, 6, (1, 1)).expand.out_channels / 6, "the built block"),
        "fused_blocks": (sum(r.repeats for r in TABLE_1 if r.block.startswith("Fused")), "Table 1"),
        "classes": (len(CLASSES), "the official lists"),
        "devices": (len(DEVICES), "the official lists"),
        "real_devices": (len([d for d in DEVICES if len(d) == 1]), "a, b and c"),
        "simulated_devices": (len([d for d in DEVICES if len(d) > 1]), "s1 to s6"),
        "unseen_devices": (len(set(DEVICES) - set(DEVICES[:6])), "s4, s5, s6 are in no training list"),
        "faster": (ratio[160] / ratio[64], "multiply-accumulates of 10 s; the time is measured below"),
        "test_clips": (RELEASES[scored_release()], "Tables 3 and 4 are whole clips of this release alone; nor are 9 "
                       "devices of 329 or 330 clips 2,970"),
        "clips": (CLIPS[scored_release()], "of the release that was scored, and is served"),
    }  # fmt: skip
    accuracy = tables.published(3).query("column == 'accuracy'").set_index("row").value.astype(float)
    derived |= {name: (accuracy[name], "Table 3") for name in ("bus", "street_pedestrian")}
    blocks = {"equation_2": ("MBConv4(12, 18)", 12, 18), "equation_3": ("Fused-MBConv4(6, 12)", 6, 12)}
    counts = tables.published(6).query("column == 'parameters'").set_index("label").value
    mel_bins = iter([*[MEL_BINS[s] for s in evaluation.NETWORKS] * 2])

    def judge(row) -> tuple[str, str, str]:
        if row.row in blocks:
            name, inputs, outputs = blocks[row.row]
            value = complexity.evaluate(row.value, inputs, outputs)
            if str(value) == counts[name]:
                return "derived", value, name
            return "erratum", "+ 2·O for + 2·I", f"gives {value:,} for {name}; Table 6 has {int(counts[name]):,}"
        if row.row in settings:
            return _equal(row, settings[row.row], "the kit's default", "setting")
        if row.row in derived:
            return _equal(row, float(derived[row.row][0]), derived[row.row][1])
        if row.row in ("mel_bins", "submission_bins"):
            number = MEL_BINS[row.label[-1]] if row.row == "submission_bins" else next(mel_bins)
            return _equal(row, number, "config.MEL_BINS", "setting")
        if row.row in ("accuracy", "log_loss"):
            return _average(row, row.row, 3, "Table 3's rows")
        if row.row == "device_clips":
            value = devices.min() if "fewest" in row.label else devices.max()
            return _equal(row, value, "the re-release's list: b and c 329, every other 330")
        if row.row == "inner_stride":
            strides = {layer.stride for block in (MBConv4(6, 6, (2, 1)), FusedMBConv4(6, 6, (2, 1)))
                       for layer in block.modules() if isinstance(layer, nn.Conv2d)} - {(2, 1)}  # fmt: skip
            return "derived" if strides == {(1, 1)} else "erratum", "1x1", "the built blocks"
        if row.row == "equation_1":
            holds = all(complexity.block_parameters(MBConv4(i, o, (1, 1)))[-1] == (i * o if i != o else 0)
                        for i in range(4, 12) for o in range(4, 12))  # fmt: skip
            return "derived" if holds else "erratum", "", "the built blocks"
        what = {"epochs": "how long each model trained cannot be known", "pytorch": "another version runs here"}
        return "not run", "", what[row.row]

    return _rows(tables.published("text"), judge)
