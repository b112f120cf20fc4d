"""Serves an exported classifier over HTTP, by its own metadata. Needs fastapi, uvicorn, numpy, Pillow and onnxruntime, no hwnas.

MODEL=runs/search/models/ARCH.onnx uvicorn --app-dir scripts/examples serve:app
curl --data-binary @photo.jpg http://127.0.0.1:8000/classify
"""

import io
import json
import os

import numpy as np
import onnxruntime
from fastapi import FastAPI, HTTPException, Request
from fastapi.concurrency import run_in_threadpool
from PIL import Image
from prepare_image import as_it_is, prepare, read_metadata, shares_of

session = onnxruntime.InferenceSession(os.environ["MODEL"], providers=["CPUExecutionProvider"])
properties = session.get_modelmeta().custom_metadata_map
prepared = as_it_is if "hwnas.preprocessing" in properties else prepare
if "hwnas.classes" not in properties:
    raise SystemExit(
        f"{os.environ['MODEL']}: names no classes (no hwnas.classes); give a classifier trained on image files"
    )
classes = json.loads(properties["hwnas.classes"])
app = FastAPI(title="A model found by hwnas")


@app.get("/")
def facts():
    """Returns what the model is, and the latency that was measured when it was found."""
    names = ("arch", "measured_ms", "measured_by")
    return {"classes": classes} | {
        name: value if name == "measured_by" else json.loads(value)
        for name in names
        if (value := properties.get(f"hwnas.{name}")) is not None
    }


@app.post("/classify")
async def classify(request: Request):
    """Returns the probability of each class for the image file in the request's body, the likeliest first."""
    try:
        return await run_in_threadpool(classified, await request.body())
    except OSError:  # Pillow's errors of files that are no images, or damaged ones
        raise HTTPException(415, "the body is no whole image file; send one by curl --data-binary @photo.jpg") from None


def classified(content):
    """Returns the probability of each class by name, the likeliest first."""
    model_input = session.get_inputs()[0]
    x = prepared(Image.open(io.BytesIO(content)), read_metadata(properties))
    batch = model_input.shape[0] if isinstance(model_input.shape[0], int) else 1  # a name where any number will do
    shares = shares_of(session.run(None, {model_input.name: np.repeat(x, batch, axis=0)})[0][0])
    return {classes[label]: float(shares[label]) for label in np.argsort(-shares)}
