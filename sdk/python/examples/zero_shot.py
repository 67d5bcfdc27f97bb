"""Any vision-language model of Hugging Face as a labeler.

Options: ``model`` (a name or a folder), ``list`` (a file of concepts), ``template``. Needs torch
and transformers::

    linex explain ... --labeler.plugin=external --labeler.command="python3 zero_shot.py"
        --labeler.model=google/siglip-base-patch16-224 --labeler.list=concepts.txt
"""

from functools import lru_cache

from PIL import Image

import linex
import linex.external as lx


def concepts(request):
    if "list" not in request.options:
        raise lx.UsageError("name a file of concepts by --labeler.list=FILE")
    with open(request.options["list"], encoding="utf-8") as file:
        return [line.strip() for line in file if line.strip()]


@lru_cache
def load(name):
    import transformers

    return (
        transformers.AutoModel.from_pretrained(name),
        transformers.AutoProcessor.from_pretrained(name),
    )


@lx.labeler(concepts=concepts, texts=True)
def zero_shot(batch):
    model, processor = load(batch.options.get("model", "openai/clip-vit-base-patch32"))
    images = [Image.fromarray(pixels) for pixels in batch.images]
    template = batch.options.get("template", "a photo of {}")
    return linex.presence(
        model, images, batch.texts, processor=processor, template=template, device=batch.device
    )


if __name__ == "__main__":
    zero_shot.run()
