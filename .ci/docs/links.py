"""Follows every link of a built site, anchors too, and of README.md: LINKS.PY SITE. Addresses elsewhere are counted."""
import html.parser
import re
import sys
import urllib.parse
from pathlib import Path


class Page(html.parser.HTMLParser):
    def __init__(self, path):
        super().__init__(convert_charrefs=True)
        self.path, self.ids, self.links = path, set(), []
        self.feed(path.read_text(errors="replace"))

    def handle_starttag(self, tag, attributes):
        for name, value in attributes:
            if name in ("id", "name") and value:
                self.ids.add(value)
            if name in ("href", "src") and value is not None and tag != "base":
                self.links.append(value)


site = Path(sys.argv[1]).resolve()
pages = {path: Page(path) for path in site.rglob("*.html")}
followed = elsewhere = broken = 0
for path, page in pages.items():
    for link in page.links:
        parts = urllib.parse.urlsplit(link)
        if parts.scheme or parts.netloc or link.startswith("javascript:"):
            elsewhere += 1
            continue
        base = site if parts.path.startswith("/") else path.parent
        target = (base / urllib.parse.unquote(parts.path).lstrip("/")).resolve() if parts.path else path
        if target.is_dir():
            target /= "index.html"
        followed += 1
        # Doxygen 1.9 links to headings of lists that it then leaves out.
        anchor = "" if "api" in path.relative_to(site).parts else urllib.parse.unquote(parts.fragment)
        if not target.exists() or (anchor and target in pages and anchor not in pages[target].ids):
            print(f"{path.relative_to(site)}: {link} leads nowhere")
            broken += 1
root = Path(__file__).resolve().parents[2]
for link in re.findall(r"\]\((?!https?:)([^)#\s]+)", (root / "README.md").read_text()):
    followed += 1
    if not (root / link).exists():
        print(f"README.md: {link} leads nowhere")
        broken += 1
words = len((root / "README.md").read_text().split())
print(f"{len(pages)} pages, {followed} links followed, {elsewhere} to elsewhere, {broken} broken; README: {words} words")
sys.exit(1 if broken or not pages else 0)
