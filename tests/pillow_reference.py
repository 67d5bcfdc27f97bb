#!/usr/bin/env python3
"""pillow_reference.py IMAGES OUT: torchvision's preprocessing of every picture in IMAGES, by Pillow.

Writes OUT/<stem>.<case>.npy (uint8, H x W x 3) and OUT/seconds.txt, the time the resizing took.
image_test runs it where python3-pil is installed and compares.
"""
import pathlib
import sys
import time

import numpy as np
from PIL import Image

BILINEAR, BICUBIC = Image.Resampling.BILINEAR, Image.Resampling.BICUBIC


def short_side(image, size):
    width, height = image.size
    long_side = int(size * max(width, height) / min(width, height))
    return image.resize((size, long_side) if width <= height else (long_side, size), BILINEAR)


def centre_crop(image, size):
    width, height = image.size
    left, top = int(round((width - size) / 2)), int(round((height - size) / 2))
    return image.crop((left, top, left + size, top + size))


CASES = {
    "256": lambda image: centre_crop(short_side(image, 256), 224),
    "242": lambda image: centre_crop(short_side(image, 242), 224),
    "384": lambda image: image.resize((384, 384), BICUBIC),
}


def main(images, out):
    seconds = 0.0
    for path in sorted(images.iterdir()):
        image = Image.open(path).convert("RGB")
        for case, work in CASES.items():
            begin = time.perf_counter()
            result = work(image)
            seconds += time.perf_counter() - begin
            np.save(out / f"{path.name}.{case}.npy", np.array(result))
    (out / "seconds.txt").write_text(f"{seconds}\n")


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]))
