"""A data set in the DCASE layout: ``meta.csv``, ``audio/`` and, where it has them, lists of its folds.

A split that the data set does not bring is drawn so that no identifier (location) stands on both sides: clips of a
place are alike, and a network that knows the place would be scored on its memory.
"""

import re
import warnings
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import pandas as pd

from asc_kit import config
from asc_kit.common import InputError, say, tables, write_file
from asc_kit.data import own

COLUMNS = ["filename", "scene_label", "identifier", "source_label"]
# TAU 2020 Mobile: scene-city-location-segment-device; TAU 2022 Mobile has the second before the device
TAU_NAME = re.compile(r"^(?P<scene>[a-z_]+)-(?P<city>[a-z]+)-(?P<location>\d+)-(?P<segment>\d+)"
                      r"(?:-(?P<second>\d+))?-(?P<device>[a-c]|s\d+)$")  # fmt: skip

# TUT 2016 and 2017: the location, and the seconds of its recording between which the clip lies
TUT_NAME = re.compile(r"^([a-z]\d{3})_\d+_\d+$")
LISTS = ("meta.csv", "meta.txt")  # TUT 2016 and 2017 have the second, without a line of names
# Layouts that are known by a file and not read -> the columns from which a list for the kit can be made
FOREIGN = {
    "meta/esc50.csv": ("ESC-50", "filename, category as scene_label, src_file as identifier"),
    "metadata/UrbanSound8K.csv": ("UrbanSound8K", "fold and slice_file_name as filename, class as scene_label, fsID as "
                                  "identifier"),
}  # fmt: skip


@dataclass(frozen=True)
class Corpus:
    """The rows of a data set and its own folds.

    Attributes
    ----------
    root : the data set's folder
    table : filename, scene_label, identifier, source_label, city, segment, recording and start (what the clip was cut
        from, and at which second); a row a clip; "" where unknown. An evaluation set whose labels are not public has no
        scene_label at all
    lists : fold number -> (training, evaluation) file names, as the data set brings them
    """

    root: Path
    table: pd.DataFrame
    lists: dict[int, tuple[tuple[str, ...], tuple[str, ...]]]

    @property
    def classes(self) -> tuple[str, ...]:
        """Scene labels in alphabetical order: the order of every probability."""
        return tuple(sorted(set(self.table.scene_label) - {""}))

    @property
    def labelled(self) -> bool:
        """Whether the clips' scenes are known; without them there are predictions, and no scores."""
        return bool(self.classes)

    @property
    def synthetic(self) -> bool:
        """Whether the kit made it; its README says so."""
        readme = self.root / "README.md"
        return readme.is_file() and readme.read_text(errors="replace").startswith("SYNTHETIC")

    def used(self) -> list[str]:
        """File names that some fold uses: TAU 2020 lists 23,035 clips and uses 16,930."""
        if not self.lists:
            return list(self.table.filename)
        wanted = {name for lists in self.lists.values() for side in lists for name in side}
        return [name for name in self.table.filename if name in wanted]

    def split(self, fold: int, folds: int, seed: int = 0) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Training and evaluation rows of a fold, counted from 1; without labels there is nothing to train on.

        Parameters
        ----------
        fold : the data set's own, or one of those drawn
        folds, seed : how many are drawn, and from what, where the data set brings none

        Raises
        ------
        InputError : there is no such fold.
        """
        if not self.labelled:
            return self.table.iloc[:0], self.table
        if self.lists:
            if fold not in self.lists:
                raise InputError(f"fold: {self.root} has no fold {fold}; it has {', '.join(map(str, self.lists))}")
            return tuple(self._rows(names) for names in self.lists[fold])
        if not 1 <= fold <= folds:
            raise InputError(f"fold: {fold} is none of the {folds} folds drawn by location")
        inside = fold_numbers(self.table, folds, seed) == fold
        return self.table[~inside].reset_index(drop=True), self.table[inside].reset_index(drop=True)

    def check_folds(self, folds: int) -> None:
        """Raise `InputError` where so many folds cannot be drawn; nothing long has begun."""
        if self.labelled and not self.lists:
            _check_places(self.table, folds)

    def _rows(self, names: tuple[str, ...]) -> pd.DataFrame:
        return self.table.set_index("filename", drop=False).loc[list(names)].reset_index(drop=True)


def fold_numbers(table: pd.DataFrame, folds: int, seed: int) -> pd.Series:
    """Fold, from 1, of every row: classes spread evenly, each identifier in one fold."""
    from sklearn.model_selection import StratifiedGroupKFold  # here: its import takes a second

    _check_places(table, folds)
    draw = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    numbers = pd.Series(0, index=table.index)
    try:
        with warnings.catch_warnings():
            # Of a class with fewer clips than folds, which not every fold can have: the tables count them.
            warnings.filterwarnings("ignore", "The least populated class", UserWarning)
            for number, (_, rows) in enumerate(draw.split(table, table.scene_label, table.identifier), start=1):
                numbers.iloc[rows] = number
    except ValueError as error:
        raise InputError(f"folds: {folds} folds cannot be drawn ({error}); draw fewer") from None
    if numbers.nunique() < folds:
        raise InputError(f"folds: the locations cannot fill {folds} folds; draw fewer")
    return numbers


def _check_places(table: pd.DataFrame, folds: int) -> None:
    places = table.identifier.nunique()
    if places < folds:
        advice = f"write folds: {places} in the recipe" if places > 1 else "record at two places or more"
        raise InputError(f"folds: {places} locations are too few for {folds} folds with none on two sides; {advice}")


def hold_out(table: pd.DataFrame, fraction: float, seed: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Split off about ``fraction`` of the rows by location: (the rest, the part held out)."""
    share = Fraction(fraction).limit_denominator(10)  # 0.15: one of 7 folds; 0.3: three of 10
    inside = fold_numbers(table, share.denominator, seed) <= share.numerator
    return table[~inside].reset_index(drop=True), table[inside].reset_index(drop=True)


def of_devices(table: pd.DataFrame, names: str, root: Path) -> pd.DataFrame:
    """The rows of some devices, ``a,b``; `InputError` where one has none."""
    wanted = [name.strip() for name in names.split(",")]
    if missing := sorted(set(wanted) - set(table.source_label)):
        there = ", ".join(sorted(set(table.source_label) - {""})) or "none are named"
        raise InputError(f"training_devices: {root} has no training clip of {missing[0]!r}; it has: {there}")
    return table[table.source_label.isin(wanted)].reset_index(drop=True)


def read(root: str | Path, split: str = "given", skip_broken: bool = False) -> Corpus:
    """Read a data set's lists; no audio is opened.

    Parameters
    ----------
    root : a folder in the DCASE layout, or one that holds nothing else but such a folder; or your own recordings,
        which `asc_kit.data.own` makes a data set of: a folder of folders named by class, or a CSV file
    split : "drawn" leaves the data set's own lists aside, so that folds of all clips are drawn; "recording" draws them
        so that no recording stands on both sides, where a place may; "all" trains on all clips and scores none
    skip_broken : leave out, and name, recordings that cannot be read to their end; a data set with lists of its own
        then becomes recordings of one's own

    Raises
    ------
    InputError : the folder, ``meta.csv`` or one of its columns is missing, or a row is incomplete, listed twice or
        named by a fold and not by ``meta.csv``.
    """
    root = Path(root)
    if not root.exists():
        raise InputError(f"dataset_root: {root}: no such folder; give one that holds meta.csv and audio/")
    if not _listed(root):
        _refuse_foreign(root)
        root = _inner(root, skip_broken)
    table, file = _clips(root)
    labelled = "scene_label" in table
    if not labelled and (near := {"scene", "label", "class", "category"} & set(table)):
        raise InputError(f"{file}: has no column 'scene_label'; is {min(near)!r} meant? rename it")
    table = completed(table if labelled else table.assign(scene_label=""))
    for name in ("filename", "scene_label", "identifier") if labelled else ("filename",):
        if (absent := table[name] == "").any():
            raise InputError(f"{file}: line {absent.idxmax()} has no {name}; add it to the {name} column")
    own.check_classes(file, sorted(set(table.scene_label)) if labelled else [])
    table["identifier"] = _places(table.identifier)
    table = pd.DataFrame({"recording": table.filename, "start": ""}).assign(**table)  # what a clip was cut from
    if skip_broken and not root.is_relative_to(config.cache() / "own"):
        return read(own.build(_as_recordings(root, table), skip_broken=True), split)
    if split == "recording":
        table["identifier"] = table.recording
    table = table[[*COLUMNS, "city", "segment", "recording", "start"]].reset_index(drop=True)
    lists = {1: (tuple(table.filename), ())} if split == "all" else {}
    if labelled and split == "given":
        lists = _lists(root, dict(zip(table.filename, table.scene_label)))
    return Corpus(root, table, lists)


def _as_recordings(root: Path, table: pd.DataFrame) -> Path:
    """A data set's rows in a file such as `own.build` takes."""
    file = config.cache() / "own" / f"{root.resolve().name}-{config.digest(str(root.resolve()))}.csv"
    rows = table.assign(filename=[str(root.resolve() / name) for name in table.filename])
    write_file(file, rows[COLUMNS].to_csv(index=False))
    return file


def meta_file(root: Path) -> Path | None:
    """The list of all clips; None where there is none."""
    return next((root / name for name in LISTS if (root / name).exists()), None)


def _listed(root: Path) -> bool:
    return meta_file(root) is not None or any(_fold_lists(root))


def _fold_lists(root: Path, side: str = "*") -> list[Path]:
    setup = root / "evaluation_setup" if (root / "evaluation_setup").is_dir() else root
    return [file for file in sorted(setup.glob(f"fold*_{side}.*")) if file.suffix in (".csv", ".txt")]


def _refuse_foreign(root: Path) -> None:
    for folder in (root, *root.glob("*/")):
        for name, (title, columns) in FOREIGN.items():
            if (folder / name).is_file():
                raise InputError(f"dataset_root: {folder} is laid out as {title}, which is not read; make a CSV file "
                                 f"of {name} ({columns}) and give that")  # fmt: skip


def _inner(root: Path, skip_broken: bool) -> Path:
    """The one data set below ``root``, as archives unpack; else what your own recordings there are made into."""
    inner = [folder for folder in sorted(root.glob("*/")) if _listed(folder)]
    if len(inner) > 1:
        raise InputError(f"dataset_root: {root} holds {len(inner)} data sets; give one: {', '.join(map(str, inner))}")
    return inner[0] if inner else own.build(root, skip_broken)


def _clips(root: Path) -> tuple[pd.DataFrame, Path]:
    """The rows of ``meta.csv`` or, as TAU's evaluation sets come without it, of the folds' lists; and that file."""
    if file := meta_file(root):
        return _table(file), file
    lists = _fold_lists(root)
    parts = [_table(list_) for list_ in lists]
    parts.sort(key=lambda table: "scene_label" not in table)  # fold1_test.csv names the clips of _evaluate again
    table = pd.concat(parts, ignore_index=True).fillna("").drop_duplicates("filename", ignore_index=True)
    say(f"{root}: has no meta.csv; its clips are taken from {', '.join(list_.name for list_ in lists)}")
    return table, lists[0]


def completed(table: pd.DataFrame) -> pd.DataFrame:
    """Add what TAU's and TUT's names tell: identifier and source_label where they are not columns, city and segment."""
    stems = table.filename.map(lambda name: Path(name).stem)
    parts = stems.str.extract(TAU_NAME).fillna("")
    places = (parts.city + "-" + parts.location).where(parts.city != "", stems.str.extract(TUT_NAME)[0].fillna(""))
    named = pd.DataFrame({"identifier": places, "source_label": parts.device, "city": parts.city})
    return named.assign(**{"segment": parts.segment} | dict(table))  # the set's own columns count first


def _table(file: Path) -> pd.DataFrame:
    """A list's rows by the numbers of their lines; a ``.txt`` without names has filename, scene_label, identifier."""
    table = tables.read(file, "\t", COLUMNS if file.suffix == ".txt" else (), ["filename"])
    if (twice := table.filename.duplicated() & (table.filename != "")).any():
        raise InputError(f"{file}: {table.filename[twice.idxmax()]} is listed twice; remove one of its lines")
    return table


def _places(names: pd.Series) -> pd.Series:
    """Identifiers; those that differ in case or blanks alone are one place, called as the first of them."""
    first = names.groupby(names.str.lower().str.split().str.join(" ")).transform("first")
    if (other := names[names != first]).size:
        say(f"{other.iloc[0]}: is taken for the place {first[other.index[0]]}, by a name of other case or blanks")
    return first


def _lists(root: Path, labels: dict[str, str]) -> dict[int, tuple[tuple[str, ...], tuple[str, ...]]]:
    """The folds that a data set brings; ``labels`` are its clips' by ``meta.csv``."""
    lists = {}
    for train in _fold_lists(root, "train"):
        number = train.stem.removeprefix("fold").removesuffix("_train")
        if not number.isdigit():
            raise InputError(f"{train}: is not named fold<number>_train.csv")
        evaluate = train.with_name(train.name.replace("_train", "_evaluate"))
        if not evaluate.exists():
            raise InputError(f"{train}: has no {evaluate.name} beside it; fetch it again, or remove this one")
        lists[int(number)] = (_names(train, labels), _names(evaluate, labels))
    return lists


def _names(file: Path, labels: dict[str, str]) -> tuple[str, ...]:
    table = _table(file)
    known = table.filename.isin(labels)
    if not known.all():
        name = table.filename[~known].iloc[0]
        advice = f"; it is audio/{name} there" if f"audio/{name}" in labels else ""
        raise InputError(f"{file}: {name} is not in meta.csv ({(~known).sum()} such lines){advice}")
    if "scene_label" in table:
        there = table.filename.map(labels)
        if (other := (table.scene_label != there) & (table.scene_label != "")).any():
            row = other.idxmax()
            raise InputError(f"{file}: {table.filename[row]} is {table.scene_label[row]!r} here and {there[row]!r} in "
                             f"meta.csv ({other.sum()} such lines); make them agree")  # fmt: skip
    return tuple(table.filename)
