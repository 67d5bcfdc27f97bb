#!/usr/bin/env python3
"""Writes a data set for data_start: small JPEGs of 100 classes, as class folders or in tar shards.

    make_data.py folder|shards FOLDER IMAGES [SHARDS]
"""
import io
import pathlib
import sys

import numpy as np
from PIL import Image

CLASSES = 100


def pictures():
    generator = np.random.default_rng(0)
    made = []
    for _ in range(CLASSES):
        noise = generator.integers(0, 256, (4, 4, 3), dtype=np.uint8)
        out = io.BytesIO()
        Image.fromarray(noise).resize((32, 32)).save(out, "JPEG")
        made.append(out.getvalue())
    return made


def entry(name, content):
    block = bytearray(512)
    block[:len(name)] = name.encode()
    block[100:107] = b"0000644"
    block[124:135] = b"%011o" % len(content)
    block[136:147] = b"0" * 11
    block[148:156] = b" " * 8
    block[156:157] = b"0"
    block[257:265] = b"ustar\x0000"
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block) + content + bytes(-len(content) % 512)


def main():
    kind, folder, images = sys.argv[1], pathlib.Path(sys.argv[2]), int(sys.argv[3])
    made = pictures()
    folder.mkdir(parents=True)
    if kind == "folder":
        for label in range(CLASSES):
            (folder / f"class{label:02d}").mkdir()
        for i in range(images):
            (folder / f"class{i % CLASSES:02d}/{i:07d}.jpg").write_bytes(made[i % CLASSES])
        return
    shards = int(sys.argv[4])
    for shard in range(shards):
        with open(folder / f"{shard:05d}.tar", "wb") as out:
            for i in range(shard * images // shards, (shard + 1) * images // shards):
                out.write(entry(f"{i:09d}.jpg", made[i % CLASSES]))
                out.write(entry(f"{i:09d}.cls", b"%d" % (i % CLASSES)))
            out.write(bytes(1024))


main()
