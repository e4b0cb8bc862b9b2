"""Certificates that a client must not accept, made with the ``openssl`` program."""

import ssl
import subprocess
import tempfile
from pathlib import Path

_REQUEST = "req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=test -keyout key"
_SIGN = "x509 -req -in request -signkey key -extfile extensions -out certificate -days"


def make_certificate(path, flaw="self-signed"):
    """Write a certificate of 127.0.0.1 with a flaw; return the ``tls`` argument of a proxy.

    The flaw is "self-signed", "expired" or "for another host". A client that trusts the file finds
    only the flaw; then "self-signed" is not a flaw.

    Raises:
        FileNotFoundError: ``openssl`` is not on PATH.
        subprocess.CalledProcessError: ``openssl`` failed.

    """
    host = "DNS:other.example" if flaw == "for another host" else "IP:127.0.0.1"
    days = 0 if flaw == "expired" else 1  # after 0 days, a certificate expires at once
    with tempfile.TemporaryDirectory() as folder:
        at = Path(folder)
        (at / "extensions").write_text(f"subjectAltName={host}", encoding="utf-8")
        for command in (f"{_REQUEST} -out request", f"{_SIGN} {days}"):
            openssl = ["openssl", *command.split()]
            subprocess.run(openssl, cwd=folder, check=True, capture_output=True)
        Path(path).write_bytes((at / "certificate").read_bytes())
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(at / "certificate", at / "key")
    return context
