"""The classes of an image folder as concepts: the labeler ``label`` in Python."""

import numpy as np

import linex.external as lx


def classes(request):
    return [name.replace("_", " ") for name in request.classes]


@lx.labeler(concepts=classes)
def label(batch):
    of_image = [name.split("/")[0].replace("_", " ") for name in batch.names]
    return np.array([[float(text == own) for text in batch.texts] for own in of_image])


if __name__ == "__main__":
    label.run()
