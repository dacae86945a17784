"""How large a model is, by every count that has been used for it, and which limits of the challenge it meets."""

from dataclasses import dataclass
from pathlib import Path

from asc_kit import complexity, network
from asc_kit.deploy import compact

BYTES = 128_000  # the limit of every year since 2021; the report counts 128 KB as 131,072 bytes
MACS = 30_000_000  # for one inference, of 1 s
RULES = {
    "2021": "128,000 bytes of parameters that are not zero [github.com/marmoi/dcase2021_task1a_baseline]",
    "2023 to 2025": "128,000 bytes of parameters; 30 million MACs a second [github.com/CPJKU/dcase2024_task1_baseline]",
}  # 2022 wanted int8, which no file of the kit is


@dataclass(frozen=True)
class Size:
    """A line of the table."""

    name: str
    value: str
    note: str = ""


def measure(file: Path, allow_code: bool = False) -> list[Size]:
    """Size, work and memory of a model file.

    Raises
    ------
    InputError : as `compact.load`.
    """
    model = compact.load(file, allow_code)
    features = model.config.features
    net = network.build(model.config, len(model.classes)).eval()
    counts = complexity.sizes(net)
    macs = {seconds: complexity.multiply_accumulates(net, features, seconds) for seconds in (1, 10)}
    peaks = {seconds: complexity.peak_activations(net, features, seconds) for seconds in (1, 10)}
    return [
        Size("system", model.config.submission, f"{features.n_mels} mel bins, {len(model.classes)} classes"),
        Size("file", f"{Path(file).stat().st_size:,} bytes", str(file)),
        _numbers("parameters", counts["parameters"], "the report's count, without running statistics"),
        _numbers("parameters with statistics", counts["with_statistics"], "the challenge's counter for Keras"),
        _numbers("parameters folded", counts["folded"], "batch norms inside the convolutions"),
        _numbers("parameters not zero", model.nonzero, f"of the {model.parameters:,} in this file"),
        *(Size(f"multiply-accumulates, {s} s", f"{n:,}", "without the log-mel") for s, n in macs.items()),
        *(Size(f"peak activations, {s} s", f"{4 * n:,} bytes", f"float32; float16 {2 * n:,}; input and output "
               "of the layer that needs most; a shortcut beside it comes on top") for s, n in peaks.items()),
        *_limits(counts["parameters"], model.nonzero, counts["with_statistics"], macs[1]),
    ]  # fmt: skip


def _numbers(name: str, count: int, note: str) -> Size:
    size = count * complexity.BYTES
    return Size(name, f"{count:,}", f"{size:,} bytes = {size / 1024:.2f} KB as float16; {note}")


def _limits(parameters: int, nonzero: int, keras: int, macs: int) -> list[Size]:
    """Met or not, and by what it fails."""
    every, stored, counted = (f"{n * complexity.BYTES:,} bytes" if n * complexity.BYTES > BYTES else ""
                              for n in (parameters, nonzero, keras))  # fmt: skip
    work = f"{macs / 1e6:.1f} million MACs" if macs > MACS else ""
    first = f"no: {stored}" if stored else f"met; not with statistics ({counted})" if counted else "met"
    later = f"no: {', '.join(filter(None, (every, work)))}" if every or work else "met"
    return [Size(f"DCASE {years}", value, rule) for (years, rule), value in zip(RULES.items(), (first, later))]


def table(lines: list[Size]) -> str:
    """Three aligned columns."""
    wide = [max(len(line.name) for line in lines), max(len(line.value) for line in lines)]
    return "\n".join(f"{line.name:{wide[0]}}  {line.value:{wide[1]}}  {line.note}".rstrip() for line in lines)
