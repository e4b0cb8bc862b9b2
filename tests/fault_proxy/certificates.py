"""Certificates that a client must not accept, made with the ``openssl`` program."""

import ssl
import subprocess
import tempfile
from pathlib import Path
from typing import Literal

Flaw = Literal["self-signed", "expired", "for another host"]

_CONFIG = """
[ca]
default_ca = authority
[authority]
new_certs_dir = .
database = index
rand_serial = yes
default_md = sha256
policy = any
[any]
commonName = supplied
[req]
distinguished_name = name
[name]
[extensions]
subjectAltName = {host}
"""
_VALID = {"expired": ("20200101000000Z", "20200102000000Z")}
_ALWAYS = ("20200101000000Z", "20991231000000Z")


def make_certificate(path, flaw="self-signed"):
    """Write a certificate of 127.0.0.1 with a flaw; return the ``tls`` argument of a proxy.

    A client that trusts the file finds only the flaw; then "self-signed" is not a flaw.

    Raises:
        FileNotFoundError: ``openssl`` is not on PATH.
        subprocess.CalledProcessError: ``openssl`` failed.

    """
    host = "DNS:other.example" if flaw == "for another host" else "IP:127.0.0.1"
    start, end = _VALID.get(flaw, _ALWAYS)
    with tempfile.TemporaryDirectory() as folder:
        at = Path(folder)
        (at / "config").write_text(_CONFIG.format(host=host), encoding="utf-8")
        (at / "index").touch()

        def openssl(*arguments):
            subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)

        openssl(
            *("req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"),
            *("-config", "config", "-subj", "/CN=test", "-keyout", "key", "-out", "request"),
        )
        openssl(
            *("ca", "-batch", "-selfsign", "-notext", "-config", "config", "-keyfile", "key"),
            *("-extensions", "extensions", "-startdate", start, "-enddate", end),
            *("-in", "request", "-out", "certificate"),
        )
        Path(path).write_bytes((at / "certificate").read_bytes())
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(at / "certificate", at / "key")
    return context
