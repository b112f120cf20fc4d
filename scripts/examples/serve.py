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
from PIL import Image, UnidentifiedImageError
from prepare_image import as_it_is, prepare, read_metadata, shares_of

session = onnxruntime.InferenceSession(os.environ["MODEL"], providers=["CPUExecutionProvider"])
properties = session.get_modelmeta().custom_metadata_map
prepared = as_it_is if "hwnas.preprocessing" in properties else prepare
app = FastAPI(title="A model found by hwnas")


@app.get("/")
def facts():
    """Returns what the model is, and the latency that was measured when it was found."""
    known = {name.removeprefix("hwnas."): value for name, value in properties.items()}
    told = {name: json.loads(known[name]) for name in ("classes", "arch", "measured_ms") if name in known}
    return told | {name: known[name] for name in ("measured_by",) if name in known}


@app.post("/classify")
async def classify(request: Request):
    """Returns the probability of each class for the image file in the request's body, the likeliest first."""
    try:
        return await run_in_threadpool(classified, await request.body())
    except UnidentifiedImageError:
        raise HTTPException(415, "the body is no image file; send one by curl --data-binary @photo.jpg") from None


def classified(content):
    """Returns the probability of each class by name, the likeliest first."""
    given = session.get_inputs()[0]
    x = prepared(Image.open(io.BytesIO(content)), read_metadata(properties))
    batch = given.shape[0] if isinstance(given.shape[0], int) else 1  # a name where any number will do
    shares = shares_of(session.run(None, {given.name: np.repeat(x, batch, axis=0)})[0][0])
    classes = json.loads(properties["hwnas.classes"])
    return {classes[label]: float(shares[label]) for label in np.argsort(-shares)}
