"""Makes certificates with openssl in the folder of a test."""

from tools import install

NEW_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")


def openssl(folder, *arguments):
    install("openssl", *arguments, cwd=folder)


def self_signed(folder, name, *options):
    """NAME.key and NAME.crt, which sign themselves: an authority, or a server that needs none."""
    files = ("-keyout", f"{name}.key", "-out", f"{name}.crt")
    openssl(
        folder, "req", "-x509", *NEW_KEY, "-days", "2", "-subj", f"/CN={name}", *options, *files
    )


def workload(folder, name, uri, authority):
    """NAME.key and NAME.crt, signed by an authority. Its only name is the URI."""
    (folder / f"{name}.ext").write_text(
        f"subjectAltName=URI:{uri}\nkeyUsage=critical,digitalSignature\n"
        "extendedKeyUsage=serverAuth,clientAuth\nbasicConstraints=critical,CA:FALSE\n"
    )
    openssl(
        *(folder, "req", "-new", *NEW_KEY, "-subj", "/"),
        *("-keyout", f"{name}.key", "-out", f"{name}.csr"),
    )
    openssl(
        *(folder, "x509", "-req", "-in", f"{name}.csr", "-CAcreateserial", "-days", "2"),
        *("-CA", f"{authority}.crt", "-CAkey", f"{authority}.key"),
        *("-extfile", f"{name}.ext", "-out", f"{name}.crt"),
    )
