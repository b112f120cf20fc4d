"""Decoding the pictures of a collection into splits, in memory or streamed, and what people should know of them.

Shapes: N images, C channels, H rows, W columns.
"""

from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from math import prod
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from hwnas.core.arrays import IntArray
from hwnas.data.image_files import named
from hwnas.data.memory import memory_for, require_memory
from hwnas.data.pictures import ALL_16_BITS, ByteArray, Preparation, Range, channel_sums, is_deep
from hwnas.data.request import DataRequest
from hwnas.data.sources import Collection, Pictures, Prepared
from hwnas.data.splits import Examples, example_hash, split_rows
from hwnas.data.streamed import Streamed, mapped, parts_of, usual_workers
from hwnas.errors import DamagedImageError, DataError

LISTED: Final = 100  # damaged images that an error names
LEVELS: Final = 256  # parts of a range of deep grey, of which 8 bits hold the number
FEW_BEYOND: Final = 0.001  # share of pixels outside the range below which no note says so
CROWD: Final = 0.999  # share of the pixels that outliers are not among
SPLITS: Final = ("train", "validation", "test")
NOTHING: Final = np.empty(0, np.uint8)
NO_SUMS: Final = np.empty((2, 0), np.uint64)
FULL: Final = 2**15  # span of 16-bit values from which on they are taken to use all 16 bits


@dataclass(frozen=True, slots=True, eq=False)
class Decoded:
    """The splits of a collection with the labels as they were read; how images were prepared, and notes for people."""

    train: Examples
    validation: Examples
    test: Examples
    preparation: Prepared | None
    notes: tuple[str, ...]


def decoded(
    request: DataRequest,
    collection: Collection,
    groups: Callable[[Pictures], IntArray],
    fewest: int = 1,
    label_bytes: int = 0,
) -> Decoded:
    """Splits a collection, `groups` (N,) in proportion, and decodes its images to the request's shape.

    A split has at least `fewest` images. Each label takes `label_bytes`. Splits of files that do not fit into the memory for
    decoded images are streamed: all images are looked at once, and decoded again when they are asked for. Raises DataError for
    images in memory that do not fit there, damaged ones (all of them in one message), and deep grey whose range cannot be told.
    """
    parts = split_parts(request, collection, groups, fewest)
    counts = {split: len(rows) for split, (_, rows) in zip(SPLITS, parts, strict=True)}
    streamed = _streamed(request, counts) if collection.on_disk else ()
    advice = "a smaller --data-memory-gib" if collection.on_disk else "--limit-images, or a space of a lower resolution"
    _require_memory(request, [n for split, n in counts.items() if split not in streamed], label_bytes, advice)
    decoder = _Decoder(request, *parts[0])
    splits = [
        decoder.streamed(split, *part) if split in streamed else decoder.examples(split, *part)
        for split, part in zip(SPLITS, parts, strict=True)
    ]
    require_whole(request, decoder.damaged, splits)
    decoder.require_known_range()
    notes = [sizes_note(collection, splits, request.seed), *collection.notes, *decoder.notes()]
    if streamed:
        notes.append(
            f"memory: {', '.join(streamed)} {'is' if len(streamed) == 1 else 'are'} decoded anew in every epoch or "
            f"evaluation, by {_processes(decoder.workers)} (--data-workers); --data-memory-gib keeps more in memory"
        )
    return Decoded(splits[0], splits[1], splits[2], decoder.preparation, tuple(notes))


def _processes(workers: int) -> str:
    return "this process" if workers == 0 else f"{workers} process{'' if workers == 1 else 'es'}"


def _streamed(request: DataRequest, counts: Mapping[str, int]) -> tuple[str, ...]:
    """Returns the splits that do not fit into the memory for decoded images, where small splits come first.

    Splits that networks are scored on take five times the bytes of their images: their batches are kept as float32, too.
    """
    left = memory_for(request.images.data_memory_gib)
    needed = {
        split: count * prod(request.input_shape) * (1 if split == "train" else 5) for split, count in counts.items()
    }
    streamed = list[str]()
    for split in sorted(needed, key=lambda name: needed[name]):
        left -= needed[split]
        if left < 0:
            streamed.append(split)
    return tuple(split for split in SPLITS if split in streamed)


def split_parts(
    request: DataRequest, collection: Collection, groups: Callable[[Pictures], IntArray], fewest: int
) -> list[tuple[Pictures, IntArray]]:
    """Returns the examples of train, validation and test, each as a part of the collection and rows of it."""
    train = collection.train
    given = {split: groups(pictures) for split, pictures in collection.parts.items()}
    rows = split_rows(
        given["train"],
        validation_groups=given.get("validation"),
        test_groups=given.get("test"),
        seed=request.seed,
        limit=request.limit,
        fewest=fewest,
        validation_share=request.images.validation_share,
    )
    return [
        (collection.parts.get(split, train), part)
        for split, part in zip(SPLITS, (rows.train, rows.validation, rows.test), strict=True)
    ]


def sizes_note(collection: Collection, splits: Sequence[Examples], seed: int) -> str:
    """Returns the note on where the splits come from."""
    drawn = f"drawn from the training {collection.things} (seed {seed})"
    validation, test = ("as given" if split in collection.parts else drawn for split in ("validation", "test"))
    return (
        f"splits: {len(splits[0]):,} {collection.things} train; {len(splits[1]):,} validate, {validation}; "
        f"{len(splits[2]):,} test, {test}"
    )


def _require_memory(request: DataRequest, counts: Sequence[int], label_bytes: int, advice: str) -> None:
    needed = sum(counts) * (prod(request.input_shape) + label_bytes)
    shape = " x ".join(map(str, request.input_shape))
    what = f"{sum(counts):,} images of {shape}"
    require_memory(request.reference, what, needed, f"give {advice}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """One decoded image: its pixels (C, H, W), what people should know of it, or its damage.

    `halved` is the range of colours that pillow cut from 16 bits to 8; `deep_L` counts the pixels of deep grey by parts of its
    range, and `outside` is the share beyond it. `needs_range` is True for deep grey whose range is not known yet.
    """

    pixels: ByteArray = field(default_factory=lambda: NOTHING)
    hash: bytes = b""
    sums_2C: NDArray[np.uint64] = field(default_factory=lambda: NO_SUMS)
    damage: DamagedImageError | None = None
    needs_range: bool = False
    animated: bool = False
    turned: bool = False
    transparent: bool = False
    halved: tuple[int, int] | None = None
    deep_L: IntArray | None = None
    outside: float = 0.0


@dataclass(frozen=True, slots=True)
class Decode:
    """Decodes rows of a source of images (N, C, H, W). Runs in worker processes, too, and knows nothing but its fields."""

    image: Callable[[int], Image.Image]
    preparation: Preparation

    def __call__(self, rows: IntArray) -> ByteArray:
        """Raises DamagedImageError."""
        images = np.empty((len(rows), *self.preparation.shape), np.uint8)
        for number, row in enumerate(rows.tolist()):
            images[number] = self.preparation(self.image(row))
        return images


@dataclass(frozen=True, slots=True)
class LookAt:
    """Looks at rows of a source of images. Stops after one that needs the range of deep grey, where `range_is_known` is False.

    Without `keeps_pixels`, a look has the hash of its pixels and their sums per channel instead.
    """

    image: Callable[[int], Image.Image]
    preparation: Preparation
    range_is_known: bool
    keeps_pixels: bool

    def __call__(self, rows: IntArray) -> list[Look]:
        looks = list[Look]()
        for row in rows.tolist():
            looks.append(self._look(row))
            if looks[-1].needs_range:
                break
        return looks

    def _look(self, row: int) -> Look:
        try:
            image = self.image(row)
            grey = np.asarray(image) if is_deep(image) else None
            if grey is not None and not self.range_is_known:
                return Look(needs_range=True)
            pixels = self.preparation(image)
        except DamagedImageError as error:
            return Look(damage=error)
        low, high = self.preparation.grey_range
        return Look(
            pixels=pixels if self.keeps_pixels else NOTHING,
            hash=b"" if self.keeps_pixels else example_hash(pixels),
            sums_2C=NO_SUMS if self.keeps_pixels else channel_sums(pixels[None]),
            animated=bool(image.info.get("frames")),
            turned=bool(image.info.get("turned")),
            transparent=self.preparation.shape[0] != 4 and _is_transparent(image),
            halved=colour_range(image) if image.info.get("halved") else None,
            deep_L=None if grey is None else np.histogram(grey, LEVELS, (low, high))[0],
            outside=0.0 if grey is None else 1 - float(np.mean((grey >= low) & (grey <= high))),
        )


def _is_transparent(image: Image.Image) -> bool:
    return image.has_transparency_data and int(np.asarray(image.convert("RGBA").getchannel("A")).min()) < 255


@dataclass(slots=True, eq=False)
class _Decoder:
    """Decodes images one by one, and remembers those that people should know of."""

    request: DataRequest
    train: Pictures
    train_rows: IntArray
    preparation: Preparation = field(init=False)
    workers: int = field(init=False)
    grey_range: Range | None = None
    transparent: int = 0
    animated: int = 0
    deep: int = 0
    count: int = 0
    halved: int = 0
    turned: int = 0
    halved_range: tuple[int, int] = (255, 0)
    deep_pixels: IntArray = field(default_factory=lambda: np.zeros(LEVELS, np.int64))
    outside: dict[str, list[float]] = field(default_factory=dict)
    damaged: dict[str, DamagedImageError] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.preparation = Preparation(self.request.input_shape, self.request.images.background)
        asked = self.request.images.data_workers
        self.workers = usual_workers() if asked is None else asked

    def examples(self, split: str, pictures: Pictures, rows: IntArray) -> Examples:
        """Returns the images of those rows (N, C, H, W) and their labels, without damaged ones."""
        try:
            images: ByteArray = np.empty((len(rows), *self.request.input_shape), dtype=np.uint8)
        except MemoryError as error:
            raise DataError(f"{self.request.reference}: {error}; give --limit-images") from error
        kept = list[int]()
        for row, look in self._undamaged(split, pictures, rows, keeps_pixels=True):
            images[len(kept)] = look.pixels
            kept.append(row)
        return Examples(images[: len(kept)], pictures.labels[kept])

    def streamed(self, split: str, pictures: Pictures, rows: IntArray) -> Examples:
        """Returns the same as `examples`, with images that are decoded where they are indexed."""
        kept, hashes = array("q"), list[bytes]()
        sums_2C = np.zeros((2, self.request.input_shape[0]), np.uint64)
        for row, look in self._undamaged(split, pictures, rows, keeps_pixels=False):
            kept.append(row)
            hashes.append(look.hash)
            sums_2C += look.sums_2C
        kept_N = np.array(kept, dtype=np.int64)
        decode = Decode(pictures.image, self.preparation)
        raw = Streamed(decode, kept_N, self.request.input_shape, self.workers, hashes, sums_2C)
        return Examples(raw, pictures.labels[kept_N])

    def _undamaged(
        self, split: str, pictures: Pictures, rows: IntArray, *, keeps_pixels: bool
    ) -> Iterator[tuple[int, Look]]:
        """Yields rows of undamaged images, and what was seen of them."""
        done = 0
        while done < len(rows):
            look_at = LookAt(pictures.image, self.preparation, self.grey_range is not None, keeps_pixels)
            workers = 0 if keeps_pixels else self.workers
            for look in chain.from_iterable(mapped(look_at, parts_of(rows[done:]), workers)):
                if look.needs_range:
                    self._find_range()
                    break
                if look.damage is not None:
                    self.damaged[look.damage.where] = look.damage
                else:
                    self._add(split, look)
                    yield int(rows[done]), look
                done += 1

    def _find_range(self) -> None:
        self.grey_range = _grey_range(self.train, self.train_rows)
        self.preparation = Preparation(self.request.input_shape, self.request.images.background, self.grey_range)

    def _add(self, split: str, look: Look) -> None:
        self.count += 1
        self.animated += look.animated
        self.turned += look.turned
        self.transparent += look.transparent
        if look.halved is not None:
            self.halved += 1
            low, high = look.halved
            self.halved_range = (min(low, self.halved_range[0]), max(high, self.halved_range[1]))
        if look.deep_L is not None:
            self.deep += 1
            self.deep_pixels += look.deep_L
            self.outside.setdefault(split, []).append(look.outside)

    def require_known_range(self) -> None:
        """Raises DataError where values cannot be compared: of deep grey beside 8 bits, of deep grey of which most lies outside
        the range of the training images, and of colours of 16 bits, where most images have them, that use less than half of
        them, because pillow reads the upper 8 bits alone."""
        if 0 < self.deep < self.count and self.preparation.grey_range != ALL_16_BITS:
            low, high = self.preparation.grey_range
            raise DataError(
                f"{self.request.reference}: {self.deep} images hold grey of more than 8 bits (those to train on from {low:g} to "
                f"below {high:g}), {self.count - self.deep} hold 8 bits; which of their values are alike cannot be told: "
                f"store all as 8 bits"
            )
        low, high = self.preparation.grey_range
        for split, shares in self.outside.items():
            if np.mean(shares) > 0.5:
                raise DataError(
                    f"{self.request.reference}: {np.mean(shares):.0%} of the {split} pixels of deep grey lie outside the range "
                    f"of the training images, {low:g} to {high:g}; store all splits in one range"
                )
        if 2 * self.halved > self.count and self._flattened():
            raise DataError(
                f"{self.request.reference}: {self.halved} images hold 16 bits per colour and use {self._flattened()}, and "
                f"pillow reads the upper 8 bits; store them as 8 bits"
            )

    def _flattened(self) -> str:
        """Returns the values that colours of 16 bits use, in words, where these are less than half; else nothing."""
        darkest, brightest = self.halved_range
        if brightest - darkest >= FULL // 256:
            return ""
        return f"only values from {darkest * 256} to {brightest * 256 + 255} of 65,535"

    def notes(self) -> tuple[str, ...]:
        """Returns a line for each kind of image that is not simply copied."""
        lines = {
            f"orientation: {self.turned} of {self.count} images are turned as their EXIF says": self.turned,
            f"transparency: {self.transparent} of {self.count} images are laid over {self.preparation.background} "
            f"(--background)": self.transparent,
            f"frames: {self.animated} of {self.count} images have several; the first of each is read": self.animated,
            f"deep grey: {self.deep} of {self.count} images have more than 8 bits; {self.preparation.grey_range[0]:g} becomes "
            f"0, {self.preparation.grey_range[1]:g} white": self.deep,
            _crowded(self.deep_pixels, self.preparation.grey_range): self.deep,
            self._beyond(): self.deep,
            f"colours of 16 bits: {self.halved} of {self.count} images; their upper 8 bits are read"
            + (f", and they use {self._flattened()}" if self._flattened() else ""): self.halved,
            f"damaged: {len(self.damaged)} images are left out ({named(sorted(self.damaged))})": len(self.damaged),
        }
        return tuple(line for line, count in lines.items() if line and count)

    def _beyond(self) -> str:
        """Returns a note on pixels that lie outside the range of the training images, with their share of each split."""
        shares = {split: float(np.mean(values)) for split, values in self.outside.items()}
        told = [f"{share:.2%} of the {split} pixels" for split, share in shares.items() if share >= FEW_BEYOND]
        if not told:
            return ""
        return f"deep grey: {', '.join(told)} lie outside the range and become black or white"


def require_whole(
    request: DataRequest, damaged: Mapping[str, DamagedImageError], splits: Sequence[Examples], things: str = "images"
) -> None:
    """Raises DataError for damaged examples that are not to be skipped, or without which a split is empty."""
    if not damaged:
        return
    if not request.images.skip_damaged:
        errors = [damaged[where] for where in sorted(damaged)]
        if len(errors) == 1:
            raise errors[0]
        listed = named([f"{error.where} {error.wrong}" for error in errors], LISTED)
        raise DataError(
            f"{request.reference}: {len(errors)} {things} are damaged ({listed}); replace or remove them, or give "
            f"--skip-damaged"
        )
    for name, split in zip(SPLITS, splits, strict=True):
        if not len(split):
            raise DataError(f"{request.reference}: no undamaged {name} example is left; replace the damaged ones")


def colour_range(image: Image.Image) -> tuple[int, int]:
    """Returns the lowest and the highest value of an image's bands but opacity.

    >>> colour_range(Image.new("L", (3, 2), 7)), colour_range(Image.new("RGBA", (1, 1), (3, 5, 4, 255)))
    ((7, 7), (3, 5))
    """
    values = [np.asarray(image.getchannel(band)) for band in image.getbands() if band != "A"]
    return min(int(band.min()) for band in values), max(int(band.max()) for band in values)


def _crowded(count_L: IntArray, grey_range: Range) -> str:
    """Returns a note where nearly all pixels lie in a small part of the range; `count_L` are those of its equal parts."""
    width = LEVELS // 8 - 1
    sums = np.concatenate([[0], np.cumsum(count_L)])
    inside = sums[width:] - sums[:-width]
    start = int(inside.argmax())
    if inside[start] < CROWD * sums[-1]:
        return ""
    low, high = grey_range
    ends = (low + (high - low) * level / LEVELS for level in (start, start + width))
    return (
        f"deep grey: {CROWD:.1%} of the pixels lie in less than an eighth of the range {low:g} to {high:g} ("
        f"{' to '.join(f'{end:g}' for end in ends)}) and become few levels; remove outliers such as hot pixels"
    )


def _grey_range(pictures: Pictures, rows: IntArray) -> Range:
    """Returns the range of deep grey in the training images: from its lowest value to just above its highest.

    All 16 bits where half of them are used, as other software shows such images. Raises DataError where images of 8 bits
    are among them and the range is another: which values of the two kinds mean the same cannot be told.
    """
    lows, highs, others = list[float](), list[float](), 0
    is_float = False
    for row in rows.tolist():
        try:
            image = pictures.image(row)
        except DamagedImageError:
            continue
        if not is_deep(image):
            others += 1
            continue
        low, high = np.asarray(image).min(), np.asarray(image).max()
        lows.append(float(low))
        highs.append(float(high))
        is_float |= image.mode == "F"
    if not lows:
        raise DataError(
            f"{pictures.where}: holds 8 bits, but images of another split hold grey of 16 bits; which of their values are "
            f"alike cannot be told: store all as 8 bits"
        )
    low, high = min(lows), max(highs)
    if not np.isfinite([low, high]).all():
        raise DataError(f"{pictures.where}: has grey values that are not finite; store finite ones")
    if not is_float and low >= 0 and high < ALL_16_BITS[1] and (high - low >= FULL or (high == low and not others)):
        return ALL_16_BITS
    if others:
        raise DataError(
            f"{pictures.where}: {len(lows)} images hold grey from {low:g} to {high:g}, {others} hold 8 bits; which of their "
            f"values are alike cannot be told: store all as 8 bits"
        )
    return low, high if is_float and high > low else high + 1
