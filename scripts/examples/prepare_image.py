"""Prepares a photo for an exported model from the model's own metadata. Needs numpy, Pillow and onnxruntime, no hwnas.

python scripts/examples/prepare_image.py runs/search/models/ARCH.onnx photo.jpg
"""

import json
import sys

import numpy as np
from PIL import Image, ImageOps


def read_metadata(properties):
    """Returns the facts about preparation and output by name; `properties` are those of an ONNX file, as text."""
    names = ("orientation", "grey_range", "background", "channels", "size", "resize", "antialias", "fit", "scale")
    return {name: json.loads(properties[f"hwnas.{name}"]) for name in (*names, "mean", "std")}


def converted(image, facts):
    """Returns an image upright, without transparency, of 8 bits, and in the model's channels."""
    if facts["orientation"] == "exif":
        image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I") or image.mode == "F":  # grey of 16 bits and more
        image = grey_of_8_bits(image, *facts["grey_range"])
    if image.mode == "LAB":  # which Pillow converts to RGB alone
        image = image.convert("RGB")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        if facts["background"] is not None:
            behind = Image.new("RGBA", image.size, (*facts["background"], 255))
            image = Image.alpha_composite(behind, image).convert("RGB")
    return image.convert(facts["channels"])  # L, RGB or RGBA


def prepare(image, facts):
    """Returns the model's input for one image: float32 of shape (1, channels, rows, columns)."""
    image = converted(image, facts)
    if (facts["resize"], facts["antialias"], facts["fit"]) != ("bilinear", True, "squash"):
        raise ValueError(f"this example knows no {facts['resize']} {facts['fit']}")
    rows, columns = facts["size"]
    if image.size != (columns, rows):
        # Squashed to the size, not cropped. Pillow's BILINEAR is antialiased where it shrinks.
        image = image.resize((columns, rows), Image.Resampling.BILINEAR)
    pixels = np.asarray(image, dtype=np.float32).reshape(rows, columns, -1).transpose(2, 0, 1)
    mean, std = (np.array(facts[name], dtype=np.float32).reshape(-1, 1, 1) for name in ("mean", "std"))
    return ((pixels / np.float32(facts["scale"]) - mean) / std)[None]


def as_it_is(image, facts):
    """Returns the input of a model that prepares images itself (`hwnas export --with-preprocessing`): uint8, channels last."""
    image = converted(image, facts)
    return np.asarray(image).reshape(1, image.height, image.width, -1)


def grey_of_8_bits(image, low, high):
    """Returns deep grey with `low` as 0 and `high` as 256, rounded down."""
    values = np.asarray(image).astype(np.float64)
    grey = Image.fromarray(np.floor((values - low) * 256 / (high - low)).clip(0, 255).astype(np.uint8))
    if "transparency" in image.info:
        opacity = np.where(values == image.info["transparency"], 0, 255).astype(np.uint8)
        grey = Image.merge("LA", (grey, Image.fromarray(opacity)))
    return grey


def main(model, photo):
    """Prints the classes of a photo (or the shares of its pixels), the likeliest first, or the numbers predicted for it."""
    import onnxruntime

    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    properties = session.get_modelmeta().custom_metadata_map
    given = session.get_inputs()[0]
    if "hwnas.orientation" not in properties:
        sys.exit(
            f"{model}: does not say how to prepare images (no hwnas.orientation); give a model trained on image files"
        )
    inside = "hwnas.preprocessing" in properties
    x = (as_it_is if inside else prepare)(Image.open(photo), read_metadata(properties))
    batch = given.shape[0] if isinstance(given.shape[0], int) else 1  # a name where any number will do
    outputs = session.run(None, {given.name: np.repeat(x, batch, axis=0)})[0][0]
    facts = {name: json.loads(properties.get(f"hwnas.{name}", "[]")) for name in ("classes", "targets")}
    if facts["targets"]:
        mean, std = (json.loads(properties[f"hwnas.target_{name}"]) for name in ("mean", "std"))
        for target, value in zip(facts["targets"], outputs * std + mean, strict=True):
            print(f"{value:g}  {target}")
        return
    shares = shares_of(outputs)
    for label in np.argsort(-shares):
        print(f"{shares[label]:6.1%}  {facts['classes'][label] if facts['classes'] else label}")


def shares_of(logits):
    """Returns the probability of each class, or the share of the pixels that a model with one output per pixel gives it."""
    if logits.ndim > 1:
        return np.bincount(logits.argmax(0).ravel(), minlength=len(logits)) / logits[0].size
    return np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()


if __name__ == "__main__":
    main(*sys.argv[1:])
