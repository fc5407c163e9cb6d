"""A registry's HTTP API (OCI distribution specification 1.1), by requests.

A `Registry` is one repository at one place.  It finds out by itself how the
registry wants to be talked to: TLS or not, which kind of authentication, and
for which scope a token is needed.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urljoin

import requests

from coso.errors import CosoError, DownloadError, MissingError, VerificationError
from coso.images import auth, blobs, registries, store
from coso.images.reference import DOCKER_HUB
from coso.images.registries import HUB_HOST, Endpoint

ACCEPT = ", ".join((store.OCI_INDEX, store.OCI_MANIFEST, store.DOCKER_INDEX, store.DOCKER_MANIFEST))
CONNECT_SECONDS, READ_SECONDS = 10, 60
ATTEMPTS, BACK_OFF_SECONDS = 5, 0.2
CHUNK = 1 << 18
LARGEST_MANIFEST = 4 << 20

Progress = Callable[[int], None]


class Registry:
    """One repository at one registry."""

    def __init__(self, endpoint: Endpoint, actions: str = "pull") -> None:
        self.endpoint = endpoint
        self._name = DOCKER_HUB if endpoint.host == HUB_HOST else endpoint.host
        self._scope = f"repository:{endpoint.repository}:{actions}"
        self._session = requests.Session()
        authority, pair = registries.certificates(endpoint.host)
        # An argument of each request: a variable of the environment would win over the session's own.
        self._verify: bool | str = authority or not endpoint.insecure
        self._session.cert = pair
        if registries.is_loopback(endpoint.host):
            self._session.trust_env = False
        # Else ~/.netrc would put its own words in the place of the token, and send them to other hosts.
        self._session.auth = lambda request: request
        self._header: dict[str, str] = {}
        self._base = ""

    def close(self) -> None:
        """Close the connections."""
        self._session.close()

    def manifest(self, wanted: str) -> tuple[bytes, str, str]:
        """The manifest or index of a tag or digest: its bytes, media type and digest. Raises CosoError."""
        from hashlib import sha256

        answer = self._request("GET", f"manifests/{wanted}", headers={"Accept": ACCEPT}, stream=True)
        if answer.status_code == 404:
            raise MissingError(
                f"{self._name}/{self.endpoint.repository} has no {wanted}",
                hint="look at the name and the tag; a private image takes `coso login`",
            )
        self._check(answer, f"the manifest {wanted}")
        data = answer.raw.read(LARGEST_MANIFEST + 1, decode_content=True)
        if len(data) > LARGEST_MANIFEST:
            raise VerificationError(f"the manifest {wanted} is larger than {LARGEST_MANIFEST >> 20} MiB")
        digest = f"sha256:{sha256(data).hexdigest()}"
        if ":" in wanted and digest != wanted:
            raise VerificationError(
                f"the manifest {wanted} of {self._name} is {digest}", cause="a damaged or forged answer"
            )
        kind = answer.headers.get("Content-Type", "").partition(";")[0].strip()
        return data, kind or str(blobs.json_object(data, wanted).get("mediaType", "")), digest

    def blob(self, digest: str, start: int) -> tuple[bool, Iterator[bytes]]:
        """A blob from byte `start` on: whether the registry goes on from there, and the bytes. Raises DownloadError."""
        headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={start}-"} if start else {})
        answer = self._request("GET", f"blobs/{digest}", headers=headers, stream=True)
        if start and answer.status_code == 416:
            return True, iter(())
        self._check(answer, f"the blob {digest}")
        return answer.status_code == 206, self._chunks(answer)

    def _chunks(self, answer: requests.Response) -> Iterator[bytes]:
        expected = int(answer.headers.get("Content-Length") or -1)
        count = 0
        try:
            for chunk in answer.iter_content(CHUNK):
                count += len(chunk)
                yield chunk
        except requests.RequestException as error:
            raise DownloadError(f"{self._name} breaks off: {error}") from None
        if count < expected:
            raise DownloadError(f"{self._name} breaks off after {count} of {expected} bytes")

    def has_blob(self, digest: str) -> bool:
        """Whether the repository has a blob."""
        return self._request("HEAD", f"blobs/{digest}").status_code == 200

    def put_blob(self, digest: str, path: str, progress: Progress = lambda _: None) -> None:
        """Upload a blob. Raises CosoError."""
        answer = self._request("POST", "blobs/uploads/", headers={"Content-Length": "0"})
        self._check(answer, "an upload", (202,))
        place = urljoin(answer.url, answer.headers["Location"])
        place += f"{'&' if '?' in place else '?'}digest={digest}"
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            headers = {"Content-Type": "application/octet-stream", "Content-Length": str(size)}
            # The body of a request that is answered by "authenticate first" would be gone: the token is fresh by now.
            done = self._send("PUT", place, headers=headers, data=_Body(file, size, progress))
        self._check(done, f"the upload of {digest}", (201,))

    def put_manifest(self, wanted: str, media_type: str, data: bytes) -> None:
        """Upload a manifest under a tag or digest. Raises CosoError."""
        answer = self._request("PUT", f"manifests/{wanted}", headers={"Content-Type": media_type}, data=data)
        self._check(answer, f"the manifest {wanted}", (201,))

    def log_in(self, user: str, password: str) -> None:
        """Try credentials; raises CosoError when the registry refuses them."""
        self._find()
        answer = self._send("GET", f"{self._base}/v2/")
        if answer.status_code == 401:
            self._header = self._authorization(answer, (user, password), scoped=False)
            answer = self._send("GET", f"{self._base}/v2/")
        if answer.status_code in (401, 403):
            raise CosoError(f"{self._name} does not accept this user and password")
        self._check(answer, "the log-in")

    def _find(self) -> None:
        """Find out whether the registry speaks TLS; plain HTTP only where that was allowed."""
        if self._base:
            return
        tried = []
        for scheme in ("https", *(["http"] if self.endpoint.insecure else [])):
            base = f"{scheme}://{self.endpoint.host}"
            try:
                self._session.get(f"{base}/v2/", timeout=(CONNECT_SECONDS, READ_SECONDS), verify=self._verify).close()
                self._base = base
                return
            except requests.RequestException as error:
                tried.append(_reason(error))
        hint = "look at its name and port" if self.endpoint.insecure else _tls_hint(tried[0], self.endpoint.host)
        raise DownloadError(f"the registry {self.endpoint.host} cannot be reached: {tried[-1]}", hint=hint)

    def _request(self, method: str, path: str, **more: Any) -> requests.Response:
        """A request that authenticates itself when it is asked to."""
        self._find()
        url = f"{self._base}/v2/{self.endpoint.repository}/{path}"
        answer = self._send(method, url, **more)
        if answer.status_code == 401:
            answer.close()
            self._header = self._authorization(answer, auth.credentials(self._name))
            answer = self._send(method, url, **more)
        return answer

    def _send(self, method: str, url: str, headers: dict[str, str] | None = None, **more: Any) -> requests.Response:
        # Only to the registry itself: a blob may be kept at another host, which has no business with the token.
        own = self._header if url.startswith(f"{self._base}/") else {}
        try:
            return self._session.request(
                method,
                url,
                headers={**(headers or {}), **own},
                timeout=(CONNECT_SECONDS, READ_SECONDS),
                verify=self._verify,
                **more,
            )
        except requests.RequestException as error:
            raise DownloadError(f"{self._name} cannot be reached: {_reason(error)}") from None

    def _authorization(
        self, answer: requests.Response, known: auth.Credentials | None, *, scoped: bool = True
    ) -> dict[str, str]:
        """The header that a registry asks for (RFC 7235; distribution's token specification)."""
        scheme, _, rest = answer.headers.get("WWW-Authenticate", "").partition(" ")
        if scheme.lower() == "basic":
            if known is None:
                raise self._unknown()
            return {"Authorization": requests.auth._basic_auth_str(*known)}
        if scheme.lower() != "bearer":
            raise CosoError(f"{self._name} asks for a kind of authentication that coso does not know: {scheme!r}")
        asked = _challenge(rest)
        parameters = {"service": asked.get("service", ""), "scope": self._scope if scoped else asked.get("scope", "")}
        return {"Authorization": f"Bearer {self._token(asked.get('realm', ''), parameters, known)}"}

    def _token(self, realm: str, parameters: dict[str, str], known: auth.Credentials | None) -> str:
        wanted = {name: text for name, text in parameters.items() if text}
        timeout = (CONNECT_SECONDS, READ_SECONDS)
        try:
            if known and known[0] == auth.TOKEN_USER:
                body = {**wanted, "grant_type": "refresh_token", "refresh_token": known[1], "client_id": "coso"}
                answer = self._session.post(realm, data=body, timeout=timeout, verify=self._verify)
            else:
                answer = self._session.get(realm, params=wanted, auth=known, timeout=timeout, verify=self._verify)
        except requests.RequestException as error:
            raise DownloadError(f"{realm}, which gives {self._name}'s tokens: {_reason(error)}") from None
        if answer.status_code in (400, 401, 403):
            raise self._unknown()
        self._check(answer, "a token")
        found = answer.json()
        return str(found.get("token") or found.get("access_token") or "")

    def _unknown(self) -> CosoError:
        what = f"{self._name} refuses access to {self.endpoint.repository}"
        return CosoError(what, cause="no credentials, or wrong ones", hint=f"coso login {self._name}")

    def _check(self, answer: requests.Response, what: str, wanted: tuple[int, ...] = (200, 206)) -> None:
        if answer.status_code in wanted:
            return
        if answer.status_code in (401, 403):
            raise self._unknown()
        try:
            said = "; ".join(str(item.get("message") or item.get("code")) for item in answer.json()["errors"])
        except (ValueError, KeyError, TypeError, AttributeError):
            said = answer.reason
        kind = MissingError if answer.status_code == 404 else DownloadError
        raise kind(f"{self._name} answers {answer.status_code} for {what}: {said}")


class _Body:
    """A file as the body of a request, of a known length, that tells how far it is."""

    def __init__(self, file: Any, size: int, progress: Progress) -> None:
        self._file, self._size, self._progress = file, size, progress

    def __len__(self) -> int:
        return self._size

    def read(self, size: int = -1) -> bytes:
        """Read on."""
        data: bytes = self._file.read(CHUNK if size < 0 else size)
        self._progress(self._file.tell())
        return data


def _challenge(text: str) -> dict[str, str]:
    """The parameters of a WWW-Authenticate header."""
    from urllib.request import parse_http_list, parse_keqv_list

    return dict(parse_keqv_list(parse_http_list(text)))


def _reason(error: Exception) -> str:
    text = str(error)
    for known in ("Connection refused", "Name or service not known", "Network is unreachable", "No route to host"):
        if known in text:
            return known.lower()
    if isinstance(error, requests.Timeout):
        return "it does not answer in time"
    if "CERTIFICATE_VERIFY_FAILED" in text:
        return "its certificate is not trusted"
    if "WRONG_VERSION_NUMBER" in text or "record layer failure" in text:
        return "it does not speak TLS"
    return "its name cannot be resolved" if "esol" in text else text.rsplit(": ", 1)[-1].strip("')>")


def _tls_hint(reason: str, host: str) -> str:
    if "TLS" in reason:
        return "for plain HTTP: --tls-verify=false, or `insecure = true` in registries.conf"
    if "certificate" in reason:
        return f"put its authority's certificate at /etc/containers/certs.d/{host}/ca.crt"
    return "look at its name, and at this machine's network"


def attempts() -> Iterator[int]:
    """Numbers of attempts, with longer and longer breaks between them."""
    for number in range(1, ATTEMPTS + 1):
        yield number
        time.sleep(BACK_OFF_SECONDS * 2 ** (number - 1))
