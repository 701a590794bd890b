"""Photograph the page for the README: `python examples/make_picture.py` (needs playwright and Chromium).

The real program plays the demo recording; the picture is taken while somebody speaks in it, after some stretches have
been heard. Nothing in it is drawn by hand.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

from playwright.sync_api import sync_playwright

PICTURE = Path(__file__).parents[1] / "docs" / "page.png"
N_HEARD = 4
PORT = 8731


def main() -> None:
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "config.toml"
        config.write_text(f'[leds]\nkind = "none"\n[web]\nenabled = true\nport = {PORT}\n')
        command = [sys.executable, "-m", "edge", "run", "--config", str(config), "--source", "edge/data/demo.flac"]
        program = subprocess.Popen(
            command, cwd=PICTURE.parents[1], env={**os.environ, "STATE_DIRECTORY": folder, "RUNTIME_DIRECTORY": folder}
        )
        try:
            with sync_playwright() as playwright:
                while program.poll() is None and not _answers():
                    time.sleep(0.2)
                browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
                tab = browser.new_page(viewport={"width": 1000, "height": 890}, color_scheme="dark", bypass_csp=True)
                tab.goto(f"http://127.0.0.1:{PORT}", wait_until="domcontentloaded")
                for _ in range(4):
                    tab.click("#zoom-in")
                tab.wait_for_function(f"parseInt(document.querySelector('#h-detections').textContent) >= {N_HEARD}")
                tab.wait_for_function("/% sure/.test(document.querySelector('#sure').textContent)")
                tab.wait_for_timeout(500)  # the colour fades in
                tab.screenshot(path=PICTURE)
                browser.close()
        finally:
            program.terminate()
            program.wait()
    print(PICTURE)


def _answers() -> bool:
    try:
        urllib.request.urlopen(f"http://127.0.0.1:{PORT}").close()
    except OSError:
        return False
    return True


if __name__ == "__main__":
    main()
