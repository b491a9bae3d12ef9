"""Our version, and our client id for peers."""

import platform

VERSION = "0.1.0"
CLIENT_ID = (
    f"wakumail/v{VERSION}/{platform.system().lower()}-{platform.machine()}"
    f"/python{platform.python_version()}"
)
"""The client id of our hello: name, version, platform, language (RLPx, "Hello")."""
