"""The experiment's figures (seaborn), each saved as SVG and PNG with the data behind it as CSV."""

from pathlib import Path

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from torch import nn

from asc_kit.blocks import FusedMBConv4, MBConv4, SqueezeExcite
from asc_kit.common import replacing, write_file
from asc_kit.report.evaluation import Results

OURS, REPORT = "measured here", "report (TAU 2020)"
OWN = ("learning_curves", "mel_bins", "confusion_matrix", "by_class", "by_device")  # 13 and 14 draw the others
PERCENT = matplotlib.ticker.PercentFormatter(1, decimals=0)
COLOURS = {OURS: "#0173b2", REPORT: "#de8f05"}  # seaborn's colour-blind safe palette
LIGHT = 0.47  # of cividis: from here on black is read better than white; either contrast is 4.5 or more
matplotlib.rcParams["svg.hashsalt"] = "asc_kit"  # equal data, equal bytes
sns.set_theme(style="whitegrid", context="notebook")


def save(figure: plt.Figure, data: pd.DataFrame, home: Path, name: str) -> None:
    """Write ``figures/<name>.svg``, ``.png`` and ``.csv``; drawings of the very same data are left as they are.

    Another machine's differ in their last digits, and a page holds them.
    """
    folder, text = home / "figures", data.to_csv(index=False, float_format="%.10g")
    files = [folder / f"{name}.{ending}" for ending in ("csv", "svg", "png")]
    if all(file.exists() for file in files) and files[0].read_text() == text:
        return
    write_file(files[0], text)
    for ending, options in (("svg", {"metadata": {"Date": None}}), ("png", {"dpi": 120})):
        with replacing(folder / f"{name}.{ending}") as part:
            figure.savefig(part, format=ending, bbox_inches="tight", **options)


def learning_curves(histories: dict[str, pd.DataFrame]) -> tuple[plt.Figure, pd.DataFrame]:
    """Training loss and, where there is a validation part, its log loss, by epoch: a line a run, a colour a system."""
    data = pd.concat([frame.assign(run=name) for name, frame in histories.items()], ignore_index=True)
    columns = [c for c in ("loss", "validation_log_loss", "validation_accuracy") if data[c].notna().any()]
    figure, axes = plt.subplots(1, len(columns), figsize=(4.5 * len(columns) + 1, 3.6), squeeze=False)
    drawn = data.assign(submission=data.run.str.partition(",")[0])
    for axis, column in zip(axes[0], columns):
        sns.lineplot(drawn, x="epoch", y=column, hue="submission", style="submission", units="run", estimator=None,
                     palette="colorblind", legend=axis is axes[0][-1], ax=axis)  # fmt: skip
        title = "training loss (of mixed labels, where mixup is on)" if column == "loss" else column.replace("_", " ")
        axis.set(title=title, ylabel="")
        axis.xaxis.get_major_locator().set_params(integer=True)
    sns.move_legend(axes[0][-1], "center left", bbox_to_anchor=(1, 0.5))
    return figure, data


def _points(axis: plt.Axes, table: pd.DataFrame, name: str, at: np.ndarray, scale: float = 1, label: str = "") -> None:
    """A score's points with their intervals, ``at`` heights."""
    value, low, high = (scale * pd.to_numeric(table[name + part], errors="coerce") for part in ("", "_low", "_high"))
    bars = [length.fillna(0).clip(0) for length in (value - low, high - value)]
    axis.errorbar(value, at, xerr=bars, fmt="o", capsize=3, color=COLOURS[OURS], label=label)


def _rows(labels: pd.Series) -> tuple[plt.Figure, tuple[plt.Axes, plt.Axes], np.ndarray]:
    """A row a label, accuracy on the left and log loss on the right."""
    figure, axes = plt.subplots(1, 2, figsize=(11, 0.36 * len(labels) + 1.4), sharey=True)
    axes[0].set(yticks=range(len(labels)), yticklabels=labels)
    axes[0].invert_yaxis()
    return figure, axes, np.arange(len(labels))


def by_part(table: pd.DataFrame, key: str, ours: str = OURS) -> tuple[plt.Figure, pd.DataFrame]:
    """Accuracy and log loss by mel bins, class or device (Table 2, 3 or 4); real ones beside the report's."""
    comparable = not table.note.str.contains("synthetic").any()
    figure, axes, places = _rows(table[key].astype(str) + table.n.map(" ({} clips)".format))
    if not comparable:
        axes[0].set_ylim(len(table) - 0.5, -0.5)  # a row that was not run, too
    for axis, name in zip(axes, ("accuracy", "log_loss")):
        _points(axis, table, name, places - 0.1 * comparable, label=ours)
        if comparable:
            axis.plot(table[f"report_{name}"], places + 0.1, "s", color=COLOURS[REPORT], label=REPORT)
        axis.set_xlabel(name.replace("_", " "))
    axes[0].set_xlim(0, 1)
    axes[0].xaxis.set_major_formatter(PERCENT)
    axes[1].legend(loc="upper left", bbox_to_anchor=(1, 1))
    return figure, table


def differences(
    table: pd.DataFrame, home: Path, name: str = "ablation", rows: str = "variant"
) -> tuple[plt.Figure, pd.DataFrame]:
    """Differences in accuracy and log loss with their intervals, a row each, named by the column ``rows``; saved."""
    figure, axes, places = _rows(table[rows])
    labels = ("accuracy, points (right is better)", "log loss (left is better)")
    for axis, score, scale, label in zip(axes, ("accuracy", "log_loss"), (100, 1), labels):
        _points(axis, table, f"{score}_difference", places, scale)
        axis.axvline(0, color="0.4", linewidth=1)
        axis.set_xlabel(f"difference in {label}")
    figure.subplots_adjust(wspace=0.25)
    save(figure, table, home, name)
    return figure, table


def simulated(table: pd.DataFrame, home: Path) -> tuple[plt.Figure, pd.DataFrame]:
    """`differences` of every network through simulated devices from the clips as they are; saved."""
    named = table.assign(row="submission " + table.submission + ", " + table.device)
    return differences(named, home, "simulated_devices", "row")


def confusion_matrix(results: Results) -> tuple[plt.Figure, pd.DataFrame]:
    """Share of each true class that was given each label, largest network, all seeds."""
    scored, classes = results.scored[results.best], list(results.classes)
    share = scored.confusion / np.maximum(scored.confusion.sum(axis=1, keepdims=True), 1)
    data = pd.DataFrame(share, index=classes, columns=classes)
    figure, axis = plt.subplots(figsize=(0.55 * len(data) + 3, 0.5 * len(data) + 2))
    text = data.map(lambda value: f"{value:.2f}" if value else "")  # what never happened stays blank
    sns.heatmap(data, annot=text, fmt="", cmap="cividis", vmin=0, vmax=1, ax=axis, annot_kws={"size": 8},
                cbar_kws={"label": "share of the true class"})  # fmt: skip
    for text, value in zip(axis.texts, share.ravel()):
        text.set_color("black" if value >= LIGHT else "white")
    seeds, data_set = len(scored.seeds), "synthetic data" if results.synthetic else results.home.name
    title = f"submission {results.best}, {seeds} seed{'s' * (seeds > 1)}, {data_set}"
    axis.set(xlabel="predicted", ylabel="true", title=title)
    return figure, data.rename_axis("true").reset_index()


def size_budget(table: pd.DataFrame) -> tuple[plt.Figure, pd.DataFrame]:
    """Where the bytes are: Table 6's rows, one after the other, below the limit of 128 KB."""
    rows = table[(table.block != "Total") & (table.parameters > 0)].reset_index(drop=True)
    rows["start"] = rows.size_bytes.cumsum() - rows.size_bytes
    figure, axis = plt.subplots(figsize=(9, 0.3 * len(rows) + 1))
    bars = axis.barh(rows.index, rows.size_bytes / 1024, left=rows.start / 1024, color=COLOURS[OURS])
    axis.bar_label(bars, [f"{size / 1024:.1f}" for size in rows.size_bytes], padding=3, fontsize=8)
    axis.axvline(128, color="black", linestyle="--", linewidth=1)
    axis.text(127, 0, "128 KB", ha="right", va="center")
    axis.set(yticks=rows.index, yticklabels=rows.block, xlabel="KB in float16, added up",
             xlim=(0, max(136, rows.size_bytes.sum() / 960)))  # fmt: skip
    axis.invert_yaxis()
    axis.grid(axis="y", visible=False)
    return figure, rows


def label(results: Results) -> str:
    """What the legends call the experiment's own numbers."""
    clips = f", {len(results.scored[results.best].clips)} clips" if results.best else ""
    return f"{OURS} ({'synthetic data' if results.synthetic else results.home.name}{clips})"


def histories(home: Path) -> dict[str, pd.DataFrame]:
    """``history.csv`` of every run of an experiment, by the run's name."""
    files = sorted(home.glob("submission_*/seed_*/history.csv"))
    return {f"{f.parent.parent.name.removeprefix('submission_')}, {f.parent.name}": pd.read_csv(f) for f in files}


def write(results: Results, made: dict[int, pd.DataFrame]) -> list[plt.Figure]:
    """Make and save every figure that the experiment's runs allow; tables 2, 3 and 4 are taken as made."""
    curves, ours = histories(results.home), label(results)
    drawn = {"learning_curves": learning_curves(curves)} if curves else {}
    if results.best:
        drawn |= {"mel_bins": by_part(made[2], "mel_bins", ours), "confusion_matrix": confusion_matrix(results)}
        drawn |= {"by_class": by_part(made[3], "scene_label", ours)}
        drawn |= {"by_device": by_part(made[4], "device", ours)} if len(made[4]) > 1 else {}
    for name in set(OWN) - drawn.keys():  # of runs that are gone
        for old in (results.home / "figures").glob(f"{name}.*"):
            old.unlink()
    for name, (figure, data) in drawn.items():
        save(figure, data, results.home, name)
    return [figure for figure, _ in drawn.values()]


def diagram(steps: list[str], title: str) -> plt.Figure:
    """Steps under each other; an arrow beside them leads from the first to the last."""
    figure, axis = plt.subplots(figsize=(4.6, 0.8 * len(steps)))
    boxes = [axis.text(0.5, -place, text, ha="center", va="center", fontsize=9, color="black",
                       bbox={"boxstyle": "round,pad=0.5", "facecolor": "#e8f1f8", "edgecolor": COLOURS[OURS]})
             for place, text in enumerate(steps)]  # fmt: skip
    bar = f"bar,fraction={-3.5 / (len(steps) - 1):.4f}"  # of the arrow's length: as far out whatever that is
    arrows = [(above, below, {"color": "#444"}) for above, below in zip(boxes, boxes[1:])]
    arrows.append((boxes[0], boxes[-1], {"color": COLOURS[REPORT], "connectionstyle": bar}))
    for start, end, how in arrows:  # from the edge of one box to that of another
        cut = {"patchA": start.get_bbox_patch(), "patchB": end.get_bbox_patch(), "shrinkA": 0, "shrinkB": 1}
        axis.annotate("", end.get_position(), start.get_position(), arrowprops={"arrowstyle": "->"} | cut | how)
    axis.set(xlim=(0, 1.35), ylim=(0.5 - len(steps), 0.5))
    axis.set_title(title, x=0.5 / 1.35)
    axis.axis("off")
    return figure


def _conv(layer: nn.Conv2d) -> str:
    kind = "depthwise " if layer.groups > 1 else ""
    return f"{kind}conv {'×'.join(map(str, layer.kernel_size))}, {layer.in_channels} → {layer.out_channels}"


def block_diagram(block: MBConv4 | FusedMBConv4) -> plt.Figure:
    """A block of Figure 1 with its SE of Figure 2, drawn from the built layers."""
    inputs, outputs, gate = block.expand.in_channels, block.reduce.out_channels, block.squeeze_excite
    after = "BN, " + block.activation.__name__.replace("silu", "swish")
    steps = [f"input, {inputs} channels", f"{_conv(block.expand)}\n{after}"]
    steps += [f"{_conv(block.depthwise)}\n{after}"] if isinstance(block, MBConv4) else []
    if isinstance(gate, SqueezeExcite):
        steps.append(f"SE: pooling, {_conv(gate.reduce)}, swish,\n{_conv(gate.expand)}, sigmoid, ×")
    bare = "1×1 convolution" if inputs != outputs else "identity"
    steps += [f"{_conv(block.reduce)}\nBN", f"+ shortcut ({bare})\noutput, {outputs} channels"]
    return diagram(steps, f"{type(block).__name__}({inputs}, {outputs})")
