"""deploy/nginx.conf with TLS, changed as its head says, with a self-signed certificate."""

import datetime
import re
import subprocess
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.e2e.nginx_front import Nginx
from tests.support.server import ROOT


class TlsNginx(Nginx):
    """An `Nginx` with HTTPS and HTTP/2 only."""

    def __init__(self, directory: Path, upstream_port: int) -> None:
        super().__init__(directory, upstream_port)
        command = re.search(
            r"^#   (sed .*) deploy/nginx.conf > ", (ROOT / "deploy/nginx.conf").read_text(), re.M
        )
        assert command
        plain = (directory / "nginx.conf").read_text()
        plain = plain.replace(f"listen 127.0.0.1:{self.port} ", "listen 80 ")
        done = subprocess.run(["sh", "-c", command[1]], input=plain, capture_output=True, text=True)
        text = done.stdout.replace("listen 443 ", f"listen 127.0.0.1:{self.port} ")
        assert "listen 80 " not in text
        certify(directory)
        (directory / "nginx.conf").write_text(text.replace("/etc/nginx/tls/", f"{directory}/"))


def certify(directory: Path) -> None:
    """Write self-signed fullchain.pem and key.pem."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "proxy")])
    now = datetime.datetime.now(datetime.UTC)
    made = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    made = made.not_valid_before(now).not_valid_after(now + datetime.timedelta(days=1))
    pem = made.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    (directory / "fullchain.pem").write_bytes(pem)
    (directory / "key.pem").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
