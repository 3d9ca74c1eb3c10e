"""Chromium as a reader of pages: what it lays out, fetches, shows and prints."""

from __future__ import annotations

import json
import re
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from html import escape, unescape
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from queue import Queue
from threading import Thread
from typing import Any

QUIET = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-quic"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    *("--disable-default-apps", "--disable-extensions", "--hide-scrollbars"),
    "--disable-features=OptimizationHints,MediaRouter,Translate",
)
_WEBGPU = ("--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader")
_TELL = """
const tell = (found) => fetch("/told", { method: "POST", body: JSON.stringify(found) });
addEventListener("error", (event) => tell({ error: event.message }));
addEventListener("unhandledrejection", (event) => tell({ error: String(event.reason) }));
"""
_DARK = "--blink-settings=preferredColorScheme=0"
_LIGHT = "--blink-settings=preferredColorScheme=1"

_FOUND = re.compile(r'<pre id="found-by-the-test">(.*?)</pre>', re.DOTALL)
_POLICY = re.compile(r"<meta http-equiv=\"Content-Security-Policy\"[^>]*>")


@dataclass(frozen=True)
class Browser:
    """A Chromium, started anew for every question."""

    program: str

    def screenshot(self, page: Path, image: Path, width: int, height: int, dark: bool) -> None:
        """Write a picture of the page."""
        scheme = _DARK if dark else _LIGHT
        size = f"--window-size={width},{height}"
        self._run(f"--screenshot={image}", size, scheme, page.as_uri())
        assert image.is_file()

    def print(self, page: Path, pdf: Path) -> int:
        """Print the page, as a reader whose system is dark does; return the number of sheets."""
        self._run(f"--print-to-pdf={pdf}", "--no-pdf-header-footer", _DARK, page.as_uri())
        return len(re.findall(rb"/Type\s*/Page\b", pdf.read_bytes()))

    def measure(self, page: Path, script: str, width: int, dark: bool = False) -> Any:
        """Return what the JavaScript expression ``script`` is worth on a copy of the page, on which
        scripts may run."""
        text, policies = _POLICY.subn("", page.read_text(encoding="utf-8"))
        assert policies == 1
        asking = (
            "<script>addEventListener('load', () => {"
            "const found = parent.document.createElement('pre'); found.id = 'found-by-the-test';"
            f"found.textContent = JSON.stringify({script});"
            "parent.document.body.append(found); });</script>"
        )
        # No window is narrower than 500 pixels: a frame can be.
        inside = escape(text.replace("</body>", f"{asking}</body>"))
        frame = (
            "<!DOCTYPE html><meta charset=utf-8><html style='color-scheme: light dark'><body>"
            f"<iframe style='width: {width}px; height: 900px; border: 0' "
            f'srcdoc="{inside}"></iframe>'
        )
        copy = page.with_name(f"measured-{page.name}")
        copy.write_text(frame, encoding="utf-8")
        scheme = _DARK if dark else _LIGHT
        dumped = self._run("--dump-dom", "--window-size=1400,1000", scheme, copy.as_uri())
        match = _FOUND.search(dumped)
        assert match is not None, dumped[-500:]
        return json.loads(unescape(match[1]))

    def told(self, folder: Path, script: str, seconds: float = 300) -> Any:
        """Return what the module ``script`` gives to ``tell``: on a page of a server of ``folder``,
        in a browser whose WebGPU computes on the CPU."""
        page = f"<!DOCTYPE html><meta charset=utf-8><body><script type=module>{_TELL}{script}"
        (folder / "telling.html").write_text(f"{page}</script>", encoding="utf-8")
        with _serving(folder) as (address, said), tempfile.TemporaryDirectory() as profile:
            options = (*QUIET, *_WEBGPU, f"--user-data-dir={profile}")
            command = [self.program, *options, f"{address}/telling.html"]
            with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
                try:
                    return json.loads(said.get(timeout=seconds))
                finally:
                    process.terminate()

    def fetched(self, page: Path) -> list[str]:
        """Return what was asked of any network while the page was open."""
        with _recording_proxy() as (address, requests):
            proxy = (f"--proxy-server={address}", "--proxy-bypass-list=<-loopback>")
            self._run("--dump-dom", *proxy, page.as_uri())
        return requests

    def _run(self, *arguments: str) -> str:
        with tempfile.TemporaryDirectory() as profile:
            done = subprocess.run(
                [self.program, *QUIET, f"--user-data-dir={profile}", *arguments],
                capture_output=True,
                text=True,
                timeout=120,
                check=True,
            )
        return done.stdout


@contextmanager
def _serving(folder: Path) -> Iterator[tuple[str, Queue[bytes]]]:
    """Yield the address of a server of ``folder``, and what pages of it send there."""
    said: Queue[bytes] = Queue()

    class Serve(SimpleHTTPRequestHandler):
        def do_POST(self) -> None:
            said.put(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(204)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            """Say nothing."""

    handler = partial(Serve, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", said
        server.shutdown()


@contextmanager
def _recording_proxy() -> Iterator[tuple[str, list[str]]]:
    """Yield the address of a proxy that refuses everything, and what it was asked for."""
    requests: list[str] = []

    class Refuse(BaseHTTPRequestHandler):
        def refuse(self) -> None:
            requests.append(self.path)
            self.send_error(403)

        do_GET = do_POST = do_CONNECT = do_HEAD = refuse  # noqa: N815 - http.server's names

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Refuse) as server:
        Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", requests
        server.shutdown()
