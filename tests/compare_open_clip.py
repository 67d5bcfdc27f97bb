#!/usr/bin/env python3
"""Compares linex's CLIP and SigLIP with open_clip and transformers on random weights of real
configurations: token ids, image embeddings and text embeddings, each side with its own
preprocessing and tokenizer.

    python3 -m venv venv && venv/bin/pip install torch torchvision open_clip_torch transformers \\
        sentencepiece protobuf ftfy
    venv/bin/python tests/compare_open_clip.py build/release/tests/clip_embed DATA_FOLDER [CASE...]

DATA_FOLDER holds clip/bpe_simple_vocab_16e6.txt.gz, concept_sets/20k.txt and imagenet_samples/.
Pillow 13 resizes the heights of some tall images before their widths (python-pillow/Pillow#9549),
which moves pixels by up to 12 grey levels. linex resizes widths first, as every Pillow before did
and as the published models were run, and so does Pillow 13 in this script.

Exits 1 when any embedding is off by more than 1e-3 of its length, or any token id differs."""
import argparse
import json
import pathlib
import random
import subprocess
import sys
import tempfile
import unicodedata

import ftfy
import numpy as np
import open_clip
import open_clip.tokenizer
import sentencepiece
import tokenizers
import torch
import transformers
import PIL
from PIL import Image
from safetensors.torch import save_file

TOLERANCE = 1e-3
ENTITIES = ["&amp;", "&lt;b&gt;", "&eacute;", "&EACUTE;", "&notit;", "&#x41;", "&#128;", "&#0;",
            "&#xD800;", "&#1114112;", "&copy", "&amp;amp;", "&amp;lt;", "&NotEqualTilde;",
            "<start_of_text>", "<END_OF_TEXT>", "<|endoftext|>", "it's", "WE'LL", "'\u017f",
            "\x1b[31mred\x1b[0m", "3.14", "\u00bd", "\u216b", "&#39;s", "&nbsp;", "a_b", "\ufeff",
            "e\u0301", "\u1e9b\u0323", "\U0001F1E9\U0001F1EA", "\U0001F468\u200d\U0001F469"]
RANGES = [(0x1F300, 0x1FAFF), (0x300, 0x370), (1, 0xA0), (0x20, 0x7F), (0x100, 0x250),
          (0x370, 0x600), (0x2000, 0x2070), (0x4E00, 0x4F00), (0xFF00, 0xFFF0), (0xAC00, 0xAD00)]


def resize_widths_first():
    """The arithmetic of Pillow before 13, whichever Pillow there is."""
    if int(PIL.__version__.split(".")[0]) < 13:
        return
    resize = Image.Image.resize

    def one_axis_at_a_time(image, size, *args, **options):
        return resize(resize(image, (size[0], image.height), *args, **options), size, *args,
                      **options)

    Image.Image.resize = one_axis_at_a_time


def hostile_texts(words, count=1000):
    """Emoji, combining marks, controls, entities, very long; code points of Unicode 14 (later ones
    depend on each side's tables), and no mojibake that ftfy would guess back."""
    rng = random.Random(0)
    texts = []
    while len(texts) < count:
        text = ""
        for _ in range(rng.randint(1, 12)):
            draw = rng.random()
            if draw < 0.3:
                text += rng.choice(ENTITIES)
            elif draw < 0.4:
                text += rng.choice(words) + " "
            else:
                low, high = rng.choice(RANGES)
                text += "".join(chr(rng.randrange(low, high)) for _ in range(rng.randint(1, 8)))
        text = "".join(c for c in text if unicodedata.category(c) != "Cn")
        if len(texts) % 25 == 0:
            text *= 200
        if ftfy.fix_text(text) == ftfy.fix_text(text, fix_encoding=False):
            texts.append(text)
    return texts


class Comparison:
    def __init__(self, program, data, work):
        self.program, self.data, self.work = program, data, work
        self.vocabulary = data / "clip/bpe_simple_vocab_16e6.txt.gz"
        self.images = data / "imagenet_samples"
        words = (data / "concept_sets/20k.txt").read_text(encoding="utf-8").splitlines()
        self.all_texts = words + hostile_texts(words)
        self.texts = words[::100][:200]
        self.spiece = work / "spiece.model"
        self.failed = False
        self.clip_tokens = open_clip.tokenizer.SimpleTokenizer(str(self.vocabulary))
        self.clean = open_clip.tokenizer.get_clean_fn("canonicalize")
        self.train_sentencepiece(words)
        self.siglip_tokens = transformers.SiglipTokenizer(vocab_file=str(self.spiece))
        self.train_gemma(words)

    def train_sentencepiece(self, words):
        """A unigram model of SigLIP's form: the real one is not on PyPI."""
        corpus = self.work / "corpus.txt"
        corpus.write_text("\n".join(self.clean(word) for word in words))
        sentencepiece.SentencePieceTrainer.train(
            input=str(corpus), model_prefix=str(self.work / "spiece"), vocab_size=4000,
            pad_id=0, eos_id=1, unk_id=2, bos_id=-1, minloglevel=2)

    def train_gemma(self, words):
        """Byte pairs of Gemma's form, as SentencePiece's file and as Hugging Face's."""
        corpus = self.work / "corpus.txt"
        corpus.write_text("\n".join(self.clean(word) for word in words))
        sentencepiece.SentencePieceTrainer.train(
            input=str(corpus), model_prefix=str(self.work / "tokenizer"), vocab_size=8000,
            model_type="bpe", byte_fallback=True, pad_id=0, eos_id=1, bos_id=2, unk_id=3,
            pad_piece="<pad>", eos_piece="<eos>", bos_piece="<bos>", unk_piece="<unk>",
            add_dummy_prefix=False, normalization_rule_name="identity", split_digits=True,
            remove_extra_whitespaces=False, allow_whitespace_only_pieces=True, minloglevel=2)
        pieces = sentencepiece.SentencePieceProcessor(str(self.work / "tokenizer.model"))
        ids = {pieces.id_to_piece(i): i for i in range(len(pieces))}
        merges = [(piece[:cut], piece[cut:]) for piece, i in ids.items()
                  if not (pieces.is_control(i) or pieces.is_byte(i) or pieces.is_unknown(i))
                  for cut in range(1, len(piece)) if piece[:cut] in ids and piece[cut:] in ids]
        self.gemma = tokenizers.Tokenizer(tokenizers.models.BPE(
            ids, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
        self.gemma.normalizer = tokenizers.normalizers.Replace(" ", "\u2581")
        self.gemma.post_processor = tokenizers.processors.TemplateProcessing(
            single="$A <eos>", special_tokens=[("<eos>", 1)])
        self.gemma.save(str(self.work / "tokenizer.json"))
        self.gemma.enable_padding(pad_id=0, pad_token="<pad>", length=64)
        self.gemma.enable_truncation(64)

    def gemma_ids(self, texts, rule):
        lower = tokenizers.normalizers.Lowercase()
        clean = self.clean if rule == "canonical" else lower.normalize_str
        return torch.tensor([row.ids for row in
                             self.gemma.encode_batch([clean(text) for text in texts])])

    def siglip_ids(self, texts):
        return torch.tensor(self.siglip_tokens([self.clean(text) for text in texts], max_length=64,
                                               padding="max_length", truncation=True).input_ids)

    def report(self, name, ok, text):
        self.failed |= not ok
        print(f"{'ok  ' if ok else 'FAIL'} {name}: {text}", flush=True)

    def run(self, *arguments):
        subprocess.run([self.program, *map(str, arguments)], check=True, stdout=subprocess.DEVNULL)

    def compare_tokens(self):
        texts = self.work / "texts.json"
        texts.write_text(json.dumps(self.all_texts))
        for name, vocabulary, context, reference in [
                ("CLIP tokens", self.vocabulary, 77, self.clip_tokens),
                ("SigLIP tokens", self.spiece, 64, self.siglip_ids)]:
            out = self.work / "ids.npy"
            self.run("tokens", vocabulary, context, texts, out)
            wrong = int((np.load(out) != reference(self.all_texts).numpy()).any(1).sum())
            self.report(name, wrong == 0, f"{wrong} of {len(self.all_texts)} texts differ")
        for file in ("tokenizer.model", "tokenizer.json"):
            for rule in ("canonical", "lower"):
                self.run("tokens", self.work / file, 64, texts, out, rule)
                wanted = self.gemma_ids(self.all_texts, rule).numpy()
                wrong = int((np.load(out) != wanted).any(1).sum())
                self.report(f"SigLIP 2 tokens, {file}, {rule}", wrong == 0,
                            f"{wrong} of {len(self.all_texts)} texts differ")

    def siglip2_case(self, name):
        torch.manual_seed(3)
        config = transformers.SiglipConfig(text_config={"vocab_size": 256000})
        model = transformers.SiglipModel(config).eval()
        folder = self.work / "siglip2"
        model.save_pretrained(folder)
        pixels = torch.stack([torch.from_numpy(np.asarray(
            p.resize((224, 224), Image.BICUBIC), np.float32)).permute(2, 0, 1) / 127.5 - 1
            for p in self.pictures()])
        with torch.no_grad():
            images = model.vision_model(pixels).pooler_output
            texts = model.text_model(self.gemma_ids(self.texts, "lower")).pooler_output
        self.compare(name, folder, self.work / "tokenizer.json", images, texts, "lower")

    def compare(self, name, weights, vocabulary, images, texts, *rule):
        """images, texts: the reference's embeddings."""
        listing, out = self.work / "concepts.json", self.work / "out"
        out.mkdir(exist_ok=True)
        listing.write_text(json.dumps(self.texts))
        self.run("embed", weights, vocabulary, listing, self.images, out, *rule)
        for kind, reference in [("images", images), ("texts", texts)]:
            found, wanted = np.load(out / f"{kind}.npy"), reference.detach().float().numpy()
            error = np.linalg.norm(found - wanted, axis=1)
            relative = (error / np.linalg.norm(wanted, axis=1)).max()
            # Random towers give nearly equal embeddings: what tells them apart must be right, too.
            spread = np.linalg.norm(wanted - wanted.mean(0), axis=1).mean()
            self.report(f"{name} {kind}", relative <= TOLERANCE,
                        f"relative error {relative:.1e} (of the spread {error.max() / spread:.1e})")

    def pictures(self):
        return [Image.open(path).convert("RGB") for path in sorted(self.images.iterdir())]

    def open_clip_case(self, name, model_name, siglip=False, script=False):
        torch.manual_seed(1)
        model = open_clip.create_model(model_name).eval()
        if script:  # OpenAI's form: a TorchScript archive with half-precision weights
            torch.jit.script(model.half()).save(str(self.work / "weights.pt"))
            weights = self.work / "weights.pt"
            model = model.float()
        else:
            weights = self.work / "weights.safetensors"
            save_file({k: v.contiguous() for k, v in model.state_dict().items()}, weights)
        size = model.visual.image_size
        transform = open_clip.transform.image_transform_v2(
            open_clip.transform.PreprocessCfg(**{
                "size": size, **(model.visual.preprocess_cfg if
                                 hasattr(model.visual, "preprocess_cfg") else {}),
                **({"mean": (0.5,) * 3, "std": (0.5,) * 3, "resize_mode": "squash"}
                   if siglip else {})}), is_train=False)
        with torch.no_grad():
            images = model.encode_image(torch.stack([transform(p) for p in self.pictures()]))
            ids = self.siglip_ids(self.texts) if siglip else self.clip_tokens(self.texts)
            texts = model.encode_text(ids)
        self.compare(name, weights, self.spiece if siglip else self.vocabulary, images, texts)
        weights.unlink()

    def hugging_face_case(self, name, siglip, sharded):
        torch.manual_seed(2)
        if siglip:
            model = transformers.SiglipModel(transformers.SiglipConfig()).eval()
            size = {"height": 224, "width": 224}
            processor = transformers.SiglipImageProcessorPil(size=size)
        else:
            model = transformers.CLIPModel(transformers.CLIPConfig()).eval()
            processor = transformers.CLIPImageProcessorPil()
        folder = self.work / "hugging_face"
        model.save_pretrained(folder, max_shard_size="300MB" if sharded else "10GB")
        pixels = torch.stack([torch.as_tensor(np.asarray(
            processor(p, return_tensors="np")["pixel_values"][0])) for p in self.pictures()])
        with torch.no_grad():
            images = model.vision_model(pixels).pooler_output
            ids = self.siglip_ids(self.texts) if siglip else self.clip_tokens(self.texts)
            texts = model.text_model(ids).pooler_output
            if not siglip:
                # The random configuration's end token is not the vocabulary's: pool by hand.
                hidden = model.text_model(ids).last_hidden_state
                texts = model.text_projection(hidden[torch.arange(len(ids)), ids.argmax(1)])
                images = model.visual_projection(images)
        weights = folder / ("model.safetensors.index.json" if sharded else "model.safetensors")
        self.compare(name, weights, self.spiece if siglip else self.vocabulary, images, texts)
        for path in folder.iterdir():
            path.unlink()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("program", help="clip_embed")
    parser.add_argument("data", type=pathlib.Path)
    parser.add_argument("cases", nargs="*")
    arguments = parser.parse_args()
    resize_widths_first()
    with tempfile.TemporaryDirectory() as work:
        check = Comparison(arguments.program, arguments.data, pathlib.Path(work))
        cases = {
            "tokens": check.compare_tokens,
            "vit_b_32": lambda: check.open_clip_case("open_clip ViT-B-32", "ViT-B-32"),
            "openai": lambda: check.open_clip_case(
                "TorchScript ViT-B-32-quickgelu", "ViT-B-32-quickgelu", script=True),
            "rn50": lambda: check.open_clip_case("open_clip RN50", "RN50"),
            "siglip": lambda: check.open_clip_case(
                "open_clip ViT-B-16-SigLIP", "ViT-B-16-SigLIP", siglip=True),
            "hf_siglip": lambda: check.hugging_face_case("transformers SigLIP B/16", True, True),
            "siglip2": lambda: check.siglip2_case("transformers SigLIP 2 B/16"),
            "hf_clip": lambda: check.hugging_face_case("transformers CLIP B/32", False, False),
        }
        for name in arguments.cases or cases:
            cases[name]()
    return 1 if check.failed else 0


if __name__ == "__main__":
    sys.exit(main())
