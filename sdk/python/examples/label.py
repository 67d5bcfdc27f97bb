"""The classes of an image folder as concepts: the labeler ``label`` in Python."""

import numpy as np

import linex.external as lx


@lx.labeler(concepts=lambda request: request.classes)
def label(batch):
    of_image = [name.split("/")[0] for name in batch.names]
    return np.array([[float(text == own) for text in batch.texts] for own in of_image])


if __name__ == "__main__":
    label.run()
