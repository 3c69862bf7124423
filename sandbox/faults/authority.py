"""A certificate authority for one fault proxy, so that TLS can be ended at the proxy where a client trusts it."""

from __future__ import annotations

import datetime as dt
import ipaddress
import ssl
import tempfile
from pathlib import Path

__all__ = ["Authority"]

DAYS = 2


class Authority:
    """Makes certificates for the hosts of proxied systems; hand `ca_file` to the client as its ca_file option.

    The key lives in `folder` (mode 0600) and as long as it: the authority is made anew for every proxy.
    """

    def __init__(self, folder: Path) -> None:
        from cryptography import x509
        from cryptography.hazmat.primitives.asymmetric import ec
        from cryptography.x509.oid import NameOID

        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Weighbridge practice authority")])
        builder = self._builder(self._name, self._key.public_key())
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        usage = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
        builder = builder.add_extension(usage, critical=True)
        builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(self._key.public_key()), False)
        self._certificate = builder.sign(self._key, self._algorithm())
        self.ca_file = folder / "weighbridge-ca.pem"
        self.ca_file.write_bytes(self._pem(self._certificate))

    def server_context(self, host: str) -> ssl.SSLContext:
        """What the proxy shows a client that believes it speaks to `host`; valid for loopback names, too."""
        from cryptography import x509
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric import ec
        from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host[:64])])
        names = [self._general(name) for name in dict.fromkeys((host, "localhost", "127.0.0.1"))]
        builder = self._builder(subject, key.public_key())
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        builder = builder.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        builder = builder.add_extension(issuer, critical=False)
        certificate = builder.sign(self._key, self._algorithm())
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.set_alpn_protocols(["http/1.1"])
        with tempfile.NamedTemporaryFile(dir=self._folder, suffix=".pem") as file:
            file.write(
                key.private_bytes(
                    serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
                )
            )
            file.write(self._pem(certificate))
            file.flush()
            context.load_cert_chain(file.name)
        return context

    def _builder(self, subject, public_key):  # type: ignore[no-untyped-def]  # cryptography is imported lazily
        from cryptography import x509

        now = dt.datetime.now(dt.UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(public_key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(hours=1))
            .not_valid_after(now + dt.timedelta(days=DAYS))
        )

    @staticmethod
    def _general(name: str):  # type: ignore[no-untyped-def]  # cryptography is imported lazily
        from cryptography import x509

        try:
            return x509.IPAddress(ipaddress.ip_address(name))
        except ValueError:
            return x509.DNSName(name)

    @staticmethod
    def _algorithm():  # type: ignore[no-untyped-def]  # cryptography is imported lazily
        from cryptography.hazmat.primitives import hashes

        return hashes.SHA256()

    @staticmethod
    def _pem(certificate) -> bytes:  # type: ignore[no-untyped-def]  # cryptography is imported lazily
        from cryptography.hazmat.primitives import serialization

        return certificate.public_bytes(serialization.Encoding.PEM)
