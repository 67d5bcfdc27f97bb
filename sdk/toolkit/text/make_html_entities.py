#!/usr/bin/env python3
"""Writes html_entities.inc: the named character references of HTML5 (WHATWG, "Named character
references"), sorted by name, as C++ initialisers {name, UTF-8}."""
import html.entities
import pathlib

with open(pathlib.Path(__file__).with_name("html_entities.inc"), "w", encoding="ascii") as out:
    out.write("// Made by make_html_entities.py.\n")
    for name, text in sorted(html.entities.html5.items()):
        escaped = "".join(f"\\{byte:03o}" for byte in text.encode())
        out.write(f'{{"{name}", "{escaped}"}},\n')
