"""Seeds, dictionaries, and the loop over readers.

    drive.py run BINARY SECONDS [READER...]   libFuzzer for so long on each; what it finds is kept in
                                              build/fuzz/found, and the exit code is 1
    drive.py replay BINARY                    every seed and every file of tests/fuzz/found once
    drive.py coverage BINARY FUZZBUILD        lines of the readers that the corpus there executes (BINARY has clang's
                                              coverage mapping)

What was found and mended stays in tests/fuzz/found/READER, a file each.
"""
import gzip
import io
import json
import os
import re
import struct
import subprocess
import sys
import tarfile
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FIXTURES = ROOT / "tests/fixtures"
MOST = 1 << 16  # bytes of a seed, and of what is made of it

# Where bytes from outside are read.
READERS = ["core/plugin/plugin_note.cpp", "core/run/ini.cpp", "core/run/journal.cpp", "plugins/labelers/segmentation/broden.cpp",
           "plugins/labelers/segmentation/label_map_folder.cpp"] + [
    f"sdk/toolkit/{name}.cpp" for name in (
        "base/csv", "base/mojibake", "base/npy", "base/text_file", "checkpoint/arrays", "checkpoint/checkpoint", "checkpoint/config_file",
        "checkpoint/numpy_pickle", "checkpoint/pickle", "checkpoint/safetensors", "checkpoint/weight_reader", "checkpoint/weights",
        "checkpoint/zip", "concepts/concept_list", "data/cifar_records", "data/ground_truth", "data/image", "data/image_gif",
        "data/image_header", "data/image_png", "data/image_pnm", "data/image_tiff", "data/image_webp", "data/path_csv", "data/row_store", "data/tar",
        "explanations/explanation_csv", "external/answers", "external/command_words", "external/free_options", "text/clean_text",
        "text/clip_tokenizer", "text/gemma_tokenizer", "text/gzip", "text/html_unescape", "text/tokenizer", "text/unicode", "text/vocabulary", "units/basis_file", "units/sae_files")]

# Words that mean something to a reader; between "" as libFuzzer has them.
WORDS = {
    "pickle": [r"\x80\x02", "ctorch._utils\n_rebuild_tensor_v2\n", "ccollections\nOrderedDict\n", "q\\x00", "h\\x00",
               "(", "t", "R", "b", ".", "]", "}", "u", "s", "a", "e", "N", r"\x88", r"\x8c\x03", r"\x93", r"\x94", r"\x95",
               r"X\x03\x00\x00\x00", r"\x8a\x0a", "K\\x01", "M\\x00\\x01", "storage", "ctorch\nFloatStorage\n", "Q"],
    "checkpoint": [r"PK\x03\x04", r"PK\x01\x02", r"PK\x05\x06", r"PK\x06\x06", r"PK\x06\x07", "/data.pkl", "/data/0", "/byteorder",
                   "little", "/version", r"\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.", "state_dict", "storage", "cpu"],
    "safetensors": ['{"', '"dtype":"', "F32", "BF16", "I64", "BOOL", "F8_E4M3", '"shape":[', '"data_offsets":[', "]}", "__metadata__"],
    "npy": [r"\x93NUMPY", r"\x01\x00", r"\x03\x00", "'descr': '<f4'", "'>f8'", "'|u1'", "'<f2'", "'fortran_order': True", "'shape': (",
            "()", ",), }", "18446744073709551615"],
    "image": [r"\xff\xd8", r"\xff\xc0", r"\xff\xc2", r"\xff\xda", r"\x89PNG", "IHDR", "IDAT", "PLTE", "tRNS", "GIF89a", "RIFF", "WEBP", "VP8 ",
              "VP8L", "VP8X", "ANIM", r"II*\x00", r"MM\x00*", r"II+\x00", "BM", "P1", "P4", "P5\n", "P6\n", "255\n", "Exif"],
    "csv": ["layer,unit,", "weight0,concept0", "bias", "description", "sim correlation", "status", '"', '""', "\\x0d\\x0a", "nan", "-",
            "unit,category,label,score"],
    "ini": ["[", "]", "=", "#", ";", '"', "\\\\xHH", "\\\\n", "plugin", "[method a]"],
    "config": ["{", "}", "[", "]", ":", ",", '"vision_config"', '"hidden_size"', "1e999", "null", "-1", "\\\\ud800"],
    "gzip": [r"\x1f\x8b\x08", r"\x00\x00\x00\xff\xff"],
    "vocabulary": ["</w>", "#version", " ", "\n", r"\xc4\xa0"],
    "text": ["&amp;", "&#x1F600;", "&#0;", "'s", "</w>", r"\xc3\xa9", r"\xe2\x80\x99", r"\xef\xbf\xbd", r"\xf0\x9f\x98\x80"],
    "note": [r"\x7fELF", r"\x02\x01\x01", ".linex_plugin", ".shstrtab", r"LINEXPI\x00", "solver", "cxx11=1"],
    "journal": ['{"key":"key"}', '[{"unit":', '"terms":[["', '"status":"ok"', '"bias":', '"val":null', '"iterations":'],
    "answer": ['"type":"explanation"', '"unit":7', '"terms":[["red",1]]', '"text"', '"values":[', '"status":[', '"names":[',
               '"resize":"short_side"', '"mean":[', "null", "1e308"],
    "basis": ["\n---\n", '"d_in"', '"d_sae"', '"architecture"', "jumprelu", "topk", '"hook_name"', '"schema":', "AutoEncoderTopK"],
    "ids": ["\n---\n", "n01440764", ";", ",", "\t", "0", "-1"],
    "shard": ["LNXROWS1"],
    "index": ["\n---\n", '"weight_map":', '"a.safetensors"', "..", "/"],
    "masks": ["\n---\n", "\tobject", r"\x89PNG", "unlabelled"],
    "broden": ["\n---\n", "name", "number", "coverage", "image,split,ih,iw,sh,sw", "object", ";", "a.png", "a.jpg"],
    "paths": ["path,label\n", "filename", "a.png", "b.png", "../", "/", ";", "\t", '"'],
    "gemma": ['"model":', '"type":"BPE"', '"vocab":', '"merges":', '"added_tokens":', '"content":', "<eos>", "<pad>", "<unk>", "<0x61>"],
    "list": ['"id2label":', '"label2id":', '"0":', "concept", "name,", "\t", '"', "[", "{"],
    "tar": ["ustar", "path=", "size=", " ", "././@LongLink", ".jpg", ".cls", ".json", ".txt", r"\x80", "../"],
}
SAME_WORDS = {"npz": "npy", "cifar": "pickle", "merges": "config"}


def fixture(pattern):
    return [path.read_bytes() for path in sorted(FIXTURES.glob(pattern)) if path.stat().st_size <= MOST]


def zip_of(members):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return out.getvalue()


def files_in(archive):
    """Of an .npz that holds files as arrays of bytes."""
    with zipfile.ZipFile(FIXTURES / archive) as members:
        for name in members.namelist():
            content = members.read(name)
            if not name.endswith((".rgb.npy", ".values.npy")):
                yield content[10 + struct.unpack_from("<H", content, 8)[0]:]


def safetensors_of(shapes):
    """Ones, float32."""
    header, size = {}, 0
    for name, shape in shapes.items():
        count = 4
        for extent in shape:
            count *= extent
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [size, size + count]}
        size += count
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + struct.pack("<f", 1) * (size // 4)


def npy_of(descr, shape, values, fortran=False):
    text = f"{{'descr': '{descr}', 'fortran_order': {fortran}, 'shape': {shape}, }}"
    text += " " * ((64 - (11 + len(text)) % 64) % 64) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode() + values


def arrays_of_every_type():
    for descr, size in (("<f4", 4), ("<f8", 8), ("<f2", 2), (">f4", 4), (">f8", 8), (">i2", 2), ("|u1", 1), ("|i1", 1), ("|b1", 1),
                        ("<u2", 2), ("<u4", 4), ("<u8", 8), ("<i4", 4), ("<i8", 8), (">u8", 8)):
        values = bytes(size - 1) + b"\1" if descr[0] == ">" else b"\1" + bytes(size - 1)
        yield npy_of(descr, "(2, 3)", values * 6)
    yield npy_of("<f4", "(2, 3)", struct.pack("<f", 1.5) * 6, fortran=True)
    yield npy_of("<f4", "(6,)", struct.pack("<6f", 1, 2, 3, float("nan"), 5, 6))
    yield npy_of("<f8", "(1, 2)", struct.pack("<2d", 1e300, 0))
    yield npy_of("<u8", "(1,)", b"\xff" * 8)
    yield npy_of("<f4", "()", struct.pack("<f", 1))


def networks():
    """State dicts as wrappers and reparametrisations leave them."""
    weight = [2, 3]
    yield safetensors_of({"conv1.weight": weight, "num_batches_tracked": [], "mean": [3], "other": [1]})
    yield safetensors_of({"module.conv1.weight": weight, "module.bn.num_batches_tracked": []})
    yield safetensors_of({"model.conv1.weight": weight, "model_ema.conv1.weight": weight, "teacher.conv1.weight": weight, "x": [1]})
    yield safetensors_of({"_orig_mod.conv1.weight": [3, 2], "optimizer.step": [1]})
    yield safetensors_of({"conv1.weight_orig": weight, "conv1.weight_mask": weight, "fc.weight_orig": weight, "fc.weight_u": [2]})
    yield safetensors_of({"conv1.weight_g": [2, 1], "conv1.weight_v": weight})
    yield safetensors_of({"conv1.parametrizations.weight.original0": [2], "conv1.base_layer.weight": weight, "conv1.lora_A": [1]})


def pickles_in(archives):
    for content in archives:
        try:
            with zipfile.ZipFile(io.BytesIO(content)) as archive:
                yield from (archive.read(name) for name in archive.namelist() if name.endswith(".pkl"))
        except zipfile.BadZipFile:
            yield content


def cifar_records():
    yield bytes([3]) + bytes(range(256)) * 12
    with zipfile.ZipFile(FIXTURES / "cifar_pickles.npz") as archive:
        for name in archive.namelist()[:8]:  # arrays of bytes, each a pickle
            yield archive.read(name)[128:]


def folders(name, *weights):
    for folder in sorted((FIXTURES / "units").glob("*/" + name)):
        for file in weights:
            if (folder.parent / file).exists():
                yield folder.read_bytes() + b"\n---\n" + (folder.parent / file).read_bytes()


def library_of(note):
    """Plugins are megabytes: a library of nothing but its note."""
    names = b"\0.shstrtab\0.linex_plugin\0"
    begin = 64 + 3 * 64
    head = b"\x7fELF\x02\x01\x01" + bytes(9) + struct.pack("<HHIQQQIHHHHHH", 3, 62, 1, 0, 0, 64, 0, 64, 56, 0, 64, 3, 1)
    tables = bytes(64) + struct.pack("<IIQQQQIIQQ", 1, 3, 0, 0, begin, len(names), 0, 0, 1, 0) \
        + struct.pack("<IIQQQQIIQQ", 11, 1, 0, 0, begin + len(names), len(note), 0, 0, 1, 0)
    return head + tables + names + note


def note_of(kind=b"solver", name=b"other", tag=b"cxx11=1 libtorch=1.13.1", api=2, revision=2, toolkit=0, magic=b"LINEXPI\0"):
    texts = struct.pack("16s48s16s96s32s256s", kind, name, b"1.0", b"Says nothing", b"MIT", tag)
    return magic + struct.pack("<6I", 8 + 6 * 4 + len(texts), api, 0, 0, revision, toolkit) + texts


def notes(binary):
    """Of plugins that were built beside it, and such as do not fit."""
    for path in sorted(Path(binary).resolve().parents[2].rglob("linex_solver_*.so"))[:1]:
        content = path.read_bytes()
        begin = content.find(b"LINEXPI\0" + struct.pack("<I", 496))
        yield library_of(content[begin:begin + 496])
    for note in (note_of(), note_of(kind=b"cook"), note_of(name=b"Not a name"), note_of(tag=b"x" * 256), note_of(magic=b"LINEXPIX"),
                 note_of(tag=b"a=\1"), note_of(api=9), note_of(toolkit=0x90009), note_of()[:-1]):
        yield library_of(note)


def seeds(binary):
    """{reader: contents}."""
    small = fixture("weights/*.pth") + fixture("units/*/*.pt") + fixture("torchscript/bad.*.pt")
    arrays = fixture("torchscript/*.npy")[:12] + fixture("pillow/resize/*1x1.npy") + fixture("models/*unit1.npy")[:4]
    arrays += list(arrays_of_every_type())
    tensors = fixture("weights/*.safetensors") + fixture("units/*/*.safetensors") + list(networks())
    explanations = (b"layer,unit,val correlation,weight0,concept0,weight1,concept1,bias,sim correlation,status\n"
                    b"layer3,0,0.9,1.5,frog,-0.5,\"a, b\",0.1,0.8,ok\nlayer3,1,,,,,,,,dead\n")
    shard = b"LNXROWS1" + struct.pack("<QQQQ", 0, 4, 3, 4) + b"0" * 64 + struct.pack("<12f", *range(12))
    block = (b'{"key":"key"}\n[{"unit":3,"terms":[["red",1.5]],"bias":0.1,"text":"","status":"ok","val":null,'
             b'"objective":null,"gap":0.1,"iterations":3}]\n')
    merges = b'{"a":0,"b</w>":1,"ab</w>":2,"<|startoftext|>":3,"<|endoftext|>":4}\n---\n#version: 0.2\na b</w>\n'
    answers = [b'{"type":"explanation","unit":7,"terms":[["red",1.25],[1,0.5]],"bias":0.1,"val_correlation":0.71}',
               b'{"type":"explanation","unit":7,"text":"red things","status":"ok"}',
               b'{"type":"score","name":"s","higher_is_better":true,"values":[0.71,null],"status":["ok","dead"],"low":[0,null]}',
               b'{"type":"concepts","names":["red","striped"],"texts":true}',
               b'{"resize":"short_side","size":256,"interpolation":"bilinear","crop":224,"mean":[0.4,0.4,0.4],"std":[0.2,0.2,0.2]}',
               b"python3 'my method.py' --a=\"b\\\"c\" d\\ e", b"alpha=0.1,name=x,flag=true"]
    tar = io.BytesIO()
    with tarfile.open(fileobj=tar, mode="w") as archive:
        for name, content in (("a.jpg", fixture("pillow/grey.jpg")[0]), ("a.cls", b"3"), ("b.png", b"x"), ("b.json", b'{"label": 1}'),
                              ("c" * 120 + ".jpg", b"y")):
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return {
        "pickle": list(pickles_in(small)) + fixture("weights/*.pkl"),
        "checkpoint": small + tensors[:2],
        "safetensors": tensors,
        "npy": arrays,
        "index": [b'{"weight_map":{"conv1.weight":"a.safetensors"}}\n---\n' + network for network in networks()]
        + [b'{"weight_map":{"conv1.weight":"../a.safetensors"}}', b'{"weight_map":[1]}'],
        "npz": [zip_of({"a.npy": array}) for array in arrays[-8:]] + [zip_of({"a.npy": array, "b.npy": arrays[0]}) for array in arrays[:6]] + [zip_of({"a.txt": b""})],
        "cifar": list(cifar_records()),
        "basis": fixture("units/*.pt") + tensors[:1] + list(folders("cfg.json", "sae_weights.safetensors"))
        + list(folders("config.json", "ae.pt", "weights.pt")),
        "image": [content for kind in ("png", "jpg", "gif", "bmp", "pgm", "ppm", "tif", "webp")
                  for content in fixture("pillow/*." + kind)] + [content for content in files_in("pillow/kinds.npz") if len(content) < MOST],
        "masks": [b"car\tobject\nunlabelled\nsky\n\nblue\tcolor\n---\n" + content for content in files_in("pillow/kinds.npz")
                  if b"PNG" in content[:4]] + [b"car\n---\n" + content for content in fixture("pillow/*bit.png")],
        "broden": [b"name,first,last,count,frequency\n" + categories + b"---\nnumber,name,category,frequency,coverage,syns\n"
                   b"0,-,,0,0,\n1,car,object(2),1,0.5,\n2,red-c,color(1),1,0.25,\n---\ncode,number,name,frequency,coverage\n"
                   b"1,1,car,1,0.5\n2,2,red-c,1,0.75\n---\nimage,split,ih,iw,sh,sw,object,scene\n" + image
                   for categories in (b"object,1,1,1,1\n", b"object,1,1,1,1\nscene,1,1,1,1\n", b"color,1,1,1,1\n")
                   for image in (b"a.jpg,train,1,1,1,1,1;2;,\n", b"a.jpg,train,1,1,1,1,a.png,\n", b"a.jpg,train,0,1,1,1,a.png,\n",
                                 b"a.jpg,train,1,1,2,1,a.png,\n", b"a.jpg,val,1,1,99999,99999,7,\n", b"a.jpg,train,1,1,1,1,999,\n")],
        "csv": [explanations, b"unit,description\n0,frogs\n1,\"a \xe2\x80\x99 b\"\n",
                b"unit,category,label,score\n1,object,car-c,0.04\n",
                b"unit,label,object-label,score\n1,street-s,car-c,0.04\n2,red-color,,0.1\n",
                b"layer,unit,weight0,concept0,weight1,concept1,link,bias,sim,sim low,sim high,status\n"
                b"a,1,2,red,,,relu,0,0.5,0.4,0.6,ok\na,2,1,red,0,0,softplus(2),0,-,,,ok\n",
                b"layer,unit,weight0,weight1\n", b"layer,neuron,description\n"],
        "ini": [b"[run]\nout = \"a # b\"  # comment\nseed=1\n[method A]\nsolver = linear\nsolver.x = \"\\x41\\n\"\n",
                b"\xef\xbb\xbf[data]\r\nroot = x ; y\r\n"],
        "list": [b'{"id2label":{"0":"cat","1":"dog"}}', b'{"label2id":{"cat":0,"dog":1}}', b'{"0":["n01","cat"],"1":["n02","dog"]}',
                 b'{"n01":"cat","n02":"dog"}', b'{"0":"a","2":"b"}', b'["cat",["n02","dog"]]', b'["cat",1]', b'{"cat":null}', b'{"0":"a","b":1}',
                 b"id;concept\n0;red\n1;\"a;b\"\n", b"Name\tx\nred\t1\n", b"concept\nred\n", b"a,b\nc,d\n", b"name,x\nred\n",
                 b"red\nstriped\nred\n\n", b"a\r\nb\r\n", b"\xef\xbb\xbfcaf\xc3\xa9\rhorse\r"],
        "config": [b'{"vision_config":{"hidden_size":4,"depths":[1,2],"mean":[0.1,0.2,0.3],"model_type":"swin",'
                   b'"layer_norm_eps":1e-6,"use_head":true},"scale":2}']
        + fixture("clip/*/*.json") + fixture("vits/*/config.json")[:4],
        "ids": [b"a.jpg 1\nb.jpg 0\nc.jpg 1\n---\nn01440764 tench\nn01443537 goldfish\n", b"1\n2\n0\n",
                b'1\n2\n1\n---\n{"0":["n01440764","tench"],"1":["n01443537","goldfish"]}',
                b"ImageId,PredictionString\na,n01440764 1 2 3\nb,n01440764\nc,n01443537\n---\nn01440764 1 tench\n"],
        "tar": [tar.getvalue()],
        "gzip": [gzip.compress(b"a b c\n" * 40, mtime=0), b"plain text\n", gzip.compress(b"", mtime=0)],
        "vocabulary": fixture("clip/vocabulary.txt.gz") + [gzip.decompress(FIXTURES.joinpath("clip/vocabulary.txt.gz").read_bytes())],
        "merges": [merges],
        "gemma": fixture("siglip2/tokenizer.json") + [
            b'{"model":{"type":"BPE","vocab":{"<pad>":0,"<eos>":1,"<unk>":2,"a":3,"b":4,"ab":5,"<0x70>":6},"merges":["a b",["a","b"]]},'
            b'"added_tokens":[{"id":1,"content":"<eos>"}]}',
            b'{"model":{"type":"WordPiece","vocab":{},"merges":[]}}', b'{"model":{"type":"BPE","vocab":{"a":-1},"merges":[]}}',
            b'{"model":{"type":"BPE","vocab":{"a":1},"merges":["a a"]}}', b'{"model":{"type":"BPE","vocab":{"a":1},"merges":["a c"]}}'],
        "paths": [b"path,label\na.png,cat\nb.png,dog\n", b"a.png,0\nb.png,1\n", b"filename\n./a.png\nb.png\n", b"x\\a.png;1\n",
                  b"path;class\n../images/a.png;x\n\n", b"a.png\nc.png\n", b"image,label\n/etc/passwd,1\n", b"1,2,3\n"],
        "text": ["a photo of a striped horse\u2019s leg, 12! &amp; caf\u00e9 &#x1F600;".encode(), b"caf\xc3\x83\xc2\xa9 \xff\xfe",
                 "\u212a\u0130\u1e9e \U0001f600\u200d".encode()],
        "note": list(notes(binary)),
        "shard": [shard, shard[:-4]],
        "journal": [block],
        "answer": answers,
    }


def readers(binary):
    return subprocess.run([binary, "--list"], text=True, capture_output=True, check=True).stdout.split()


def write_seeds(binary, folder):
    every = seeds(binary)
    missing = set(readers(binary)) ^ set(every)
    assert not missing, f"readers and seeds do not agree: {missing}"
    for reader, contents in every.items():
        assert contents, f"no seed for {reader}"
        place = folder / reader
        place.mkdir(parents=True, exist_ok=True)
        for number, content in enumerate(contents):
            (place / f"seed_{number:03}").write_bytes(content[:MOST])


def environment(reader):
    options = "detect_leaks=0:new_delete_type_mismatch=0:alloc_dealloc_mismatch=0:detect_container_overflow=0:" \
              "allocator_may_return_null=0:handle_abort=1"
    return dict(os.environ, LINEX_FUZZ_READER=reader, ASAN_OPTIONS=options,
                UBSAN_OPTIONS="print_stacktrace=1:halt_on_error=1")


def replay(binary):
    failed = 0
    work = Path(binary).resolve().parent / "fuzz_seeds"
    write_seeds(binary, work)
    count = 0
    for reader in readers(binary):
        files = sorted((work / reader).iterdir()) + sorted((ROOT / "tests/fuzz/found" / reader).glob("*"))
        done = subprocess.run([binary, *map(str, files)], env=environment(reader), text=True, capture_output=True, check=False)
        count += len(files)
        if done.returncode:
            failed += 1
            print(f"{reader}: exit {done.returncode}\n{done.stderr[-4000:]}")
    print(f"{count} files replayed, {failed} readers failed")
    return 1 if failed else 0


def dictionary(reader, folder):
    words = WORDS.get(SAME_WORDS.get(reader, reader), [])
    escaped = [word.replace("\n", "\\x0a").replace("\t", "\\x09").replace('"', '\\"') if "\\x" not in word or '"' in word
               else word.replace("\n", "\\x0a") for word in words]
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / reader
    path.write_text("".join(f'"{word}"\n' for word in escaped))
    return path


def corpus_of(reader, build):
    """What runs find is added to the first folder."""
    folders = [build / "corpus" / reader, build / "seeds" / reader]
    folders[0].mkdir(parents=True, exist_ok=True)
    kept = ROOT / "tests/fuzz/found" / reader
    return folders + [kept] if kept.is_dir() else folders


def fuzz(binary, seconds, reader, build):
    """libFuzzer on one reader: executions, its output, and whether it found something."""
    found = build / "found" / reader
    found.mkdir(parents=True, exist_ok=True)
    command = [binary, *map(str, corpus_of(reader, build)), f"-max_total_time={seconds}", f"-max_len={MOST}", "-timeout=10",
               "-rss_limit_mb=1500", "-malloc_limit_mb=700", "-print_final_stats=1", f"-dict={dictionary(reader, build / 'dictionaries')}",
               f"-artifact_prefix={found}/", "-use_value_profile=1"]
    done = subprocess.run(command, env=environment(reader), text=True, errors="replace", capture_output=True, check=False)
    executions = re.search(r"number_of_executed_units: (\d+)", done.stderr)
    coverage = re.findall(r" cov: (\d+)", done.stderr)
    count = int(executions[1]) if executions else 0
    print(f"{reader:12} {count:9} executions  cov {coverage[-1] if coverage else 0:>6}  "
          f"{'ok' if done.returncode == 0 else 'FOUND'}", flush=True)
    if done.returncode:
        (build / "found" / f"{reader}.log").write_text(done.stderr)
        print(done.stderr[-3000:])
    return reader, count, done.returncode != 0


def run(binary, seconds, chosen):
    build = Path(binary).resolve().parents[2]
    write_seeds(binary, build / "seeds")
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        results = list(pool.map(lambda reader: fuzz(binary, seconds, reader, build), chosen or readers(binary)))
    findings = [reader for reader, _, bad in results if bad]
    print(f"{sum(count for _, count, _ in results)} executions; found something in {', '.join(findings) or 'none'}")
    return 1 if findings else 0


def coverage(binary, build):
    """Lines of the readers that the corpus of a fuzz build and what it found execute, by llvm-cov."""
    work = Path(binary).resolve().parent / "profiles"
    work.mkdir(exist_ok=True)
    write_seeds(binary, build / "seeds")

    def replay_corpus(reader):
        done = subprocess.run([binary, "-runs=0", f"-max_len={MOST}", *map(str, corpus_of(reader, build))], text=True, errors="replace",
                              env=dict(environment(reader), LLVM_PROFILE_FILE=str(work / f"{reader}.profraw")), capture_output=True,
                              check=False)
        assert done.returncode == 0, f"{reader}: exit {done.returncode}\n{done.stderr[-3000:]}"
        return str(work / f"{reader}.profraw")

    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        profiles = list(pool.map(replay_corpus, readers(binary)))
    merged = str(work / "all.profdata")
    subprocess.run(["llvm-profdata", "merge", "-sparse", "-o", merged, *profiles], check=True)
    libraries = [f"-object={path}" for path in sorted(build_libraries(binary))]
    sources = [str(path) for pattern in READERS for path in sorted(ROOT.glob(pattern))]
    return subprocess.run(["llvm-cov", "report", binary, *libraries, f"-instr-profile={merged}", *sources],
                          check=False).returncode


def build_libraries(binary):
    return Path(binary).resolve().parents[2].rglob("liblinex_*.so")


if __name__ == "__main__":
    if sys.argv[1] == "replay":
        sys.exit(replay(sys.argv[2]))
    if sys.argv[1] == "coverage":
        sys.exit(coverage(sys.argv[2], Path(sys.argv[3])))
    sys.exit(run(sys.argv[2], int(sys.argv[3]), sys.argv[4:]))
