import hashlib
import subprocess
import sys

import pytest

from edge.digest import sha256_hex


@pytest.mark.parametrize("content", [b"", b"a", bytes(range(256)) * 1000])
def test_it_is_the_digest_that_everybody_computes(content):
    assert sha256_hex(content) == hashlib.sha256(content).hexdigest()


def test_a_daemon_does_without_openssl():
    program = (
        "import sys, edge.commands.run\n"
        "from edge.bundle import default_bundle_path, load_bundle\n"
        "from edge.pipeline import Pipeline\n"
        "Pipeline(load_bundle(default_bundle_path()))\n"
        "print([name for name in ('hashlib', '_hashlib', 'ssl') if name in sys.modules])\n"
    )
    said = subprocess.run([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, check=True).stdout
    assert said.strip() == "[]"
