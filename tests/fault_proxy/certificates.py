"""Certificates that a client must not accept, made with the ``openssl`` program."""

import shlex
import ssl
import subprocess
import tempfile
from pathlib import Path

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
_KEY = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout key"


def make_certificate(path, flaw="self-signed"):
    """Write a certificate of 127.0.0.1 with a flaw; return the ``tls`` argument of a proxy.

    The flaw is "self-signed", "expired" or "for another host". A client that trusts the file finds
    only the flaw; then "self-signed" is not a flaw.

    Raises:
        FileNotFoundError: ``openssl`` is not on PATH.
        subprocess.CalledProcessError: ``openssl`` failed.

    """
    end = "20200102000000Z" if flaw == "expired" else "20991231000000Z"
    with tempfile.TemporaryDirectory() as folder:
        at = Path(folder)
        host = "DNS:other.example" if flaw == "for another host" else "IP:127.0.0.1"
        (at / "config").write_text(_CONFIG.format(host=host), encoding="utf-8")
        (at / "index").touch()
        for command in (
            f"req -new {_KEY} -config config -subj /CN=test -out request",
            "ca -batch -selfsign -notext -config config -keyfile key -extensions extensions "
            f"-startdate 20200101000000Z -enddate {end} -in request -out certificate",
        ):
            openssl = ["openssl", *shlex.split(command)]
            subprocess.run(openssl, cwd=folder, check=True, capture_output=True)
        Path(path).write_bytes((at / "certificate").read_bytes())
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(at / "certificate", at / "key")
    return context
