"""Who may come in: keys, Host and Origin, bodies too large or too slow, headers on answers."""

import asyncio
import hashlib
import json
from pathlib import Path

import pytest

pytest.importorskip("fastapi")
pytest.importorskip("prometheus_client")

from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse, JSONResponse
from hypothesis import given
from hypothesis import strategies as st

from lingxi.errors import InputError
from lingxi.serve.bodies import Limits, check_characters
from lingxi.serve.guard import POLICY, Rules, put_on
from lingxi.serve.keys import keys_of, owner, read_keys
from lingxi.serve.refusal import Refusal

SECRET = "correct-horse-battery"


def shape(path, refusal):
    return JSONResponse({"kind": refusal.kind, "at": path}, refusal.status)


def guarded(**given):
    values = {
        "keys": (), "hosts": ("127.0.0.1", "localhost", "::1"), "origins": (),
        "limits": Limits(1000, linger=0.05),
    }  # fmt: skip
    app = FastAPI()

    @app.post("/echo")
    async def echo(request: Request):
        return {"bytes": len(await request.body()), "client": request.scope["state"]["client"]}

    @app.get("/page", response_class=HTMLResponse)
    def page():
        return "<p>hello"

    @app.get("/health")
    def health():
        return {}

    put_on(app, Rules(**{**values, **given}), shape)
    return app


def ask(app, method="POST", path="/echo", parts=(b"x",), pause=0.0, **headers):
    """Status, headers and body of one request; its body comes in parts, a pause before each."""
    named = {"host": "127.0.0.1:8080", **{name.replace("_", "-"): value for name, value in headers.items()}}
    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": method, "path": path,
        "raw_path": path.encode(), "query_string": b"", "scheme": "http", "client": ("10.0.0.9", 5),
        "root_path": "",
        "headers": [(name.encode(), value.encode()) for name, value in named.items() if value is not None],
    }  # fmt: skip
    left, got = parts if isinstance(parts, list) else list(parts), []

    async def receive():
        await asyncio.sleep(pause)
        if not left:
            return {"type": "http.disconnect"}
        part = left.pop(0)
        return {"type": "http.request", "body": part, "more_body": bool(left)}

    async def send(message):
        got.append(message)

    asyncio.run(asyncio.wait_for(app(scope, receive, send), 10))
    if not got:
        return None, {}, b""
    head = {name.decode(): value.decode() for name, value in got[0]["headers"]}
    return got[0]["status"], head, b"".join(m.get("body", b"") for m in got[1:])


def test_without_keys_an_address_is_the_client():
    status, _, body = ask(guarded())
    assert status == 200 and b'"client":"10.0.0.9"' in body


@pytest.mark.parametrize("header", [{"authorization": f"Bearer {SECRET}"}, {"x_api_key": SECRET}])
def test_a_key_lets_in_by_either_custom_and_names_the_client(header):
    status, _, body = ask(guarded(keys=keys_of([f"shop {SECRET}"])), **header)
    assert status == 200 and b'"client":"shop"' in body


@pytest.mark.parametrize(
    "header",
    [{}, {"authorization": "Bearer wrong"}, {"authorization": f"Basic {SECRET}"}, {"x_api_key": SECRET + "x"},
     {"authorization": "Bearer é"}, {"authorization": "Bearer "}],
)  # fmt: skip
def test_without_a_key_nothing_is_done(header):
    status, head, body = ask(guarded(keys=keys_of([SECRET])), **header)
    assert (status, body) == (401, b'{"kind":"unauthorized","at":"/echo"}')
    assert head["www-authenticate"] == "Bearer"


def test_open_paths_need_no_key_and_no_known_host():
    keys = keys_of([SECRET])
    closed = guarded(keys=keys)
    opened = guarded(keys=keys, open_paths=frozenset({"/health"}))
    assert ask(closed, "GET", "/health")[0] == 401
    assert ask(opened, "GET", "/health", host="10.1.2.3:8080")[0] == 200
    assert ask(opened, host="10.1.2.3:8080", x_api_key=SECRET)[0] == 400


@pytest.mark.parametrize("host", ["127.0.0.1:8080", "LOCALHOST", "localhost:1", "[::1]:8080"])
def test_hosts_served_under(host):
    assert ask(guarded(), host=host)[0] == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example", "127.0.0.1@evil.example", "", "[", None]
)
def test_other_hosts_are_refused(host):
    status, _, body = ask(guarded(), host=host)
    assert (status, body) == (400, b'{"kind":"invalid_input","at":"/echo"}')


def test_any_host_where_told_so():
    assert ask(guarded(hosts=("*",)), host="evil.example")[0] == 200


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"origin": "http://127.0.0.1:8080"}, 200),
        ({"origin": "http://127.0.0.1:9"}, 403),
        ({"origin": "https://evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({"origin": "http://["}, 403),
        ({"sec_fetch_site": "cross-site", "sec_fetch_mode": "no-cors"}, 403),
        ({"sec_fetch_site": "cross-site", "sec_fetch_mode": "navigate"}, 200),
        ({"sec_fetch_site": "same-origin", "sec_fetch_mode": "cors"}, 200),
    ],
)
def test_pages_of_other_sites_may_not_ask(headers, status):
    assert ask(guarded(), **headers)[0] == status


def test_cors_only_for_origins_allowed():
    ours = "https://app.example"
    plain = ask(guarded(), origin="http://127.0.0.1:8080")[1]
    assert not [name for name in plain if name.startswith("access-control")]
    app = guarded(origins=(ours,), keys=keys_of([SECRET]))
    asked = {
        "origin": ours,
        "access_control_request_method": "POST",
        "access_control_request_headers": "x-api-key",
    }
    status, head, _ = ask(app, "OPTIONS", **asked)
    assert status == 200 and head["access-control-allow-origin"] == ours
    assert ask(app, origin=ours, x_api_key=SECRET)[1]["access-control-allow-origin"] == ours
    assert (
        ask(app, origin=ours)[1]["access-control-allow-origin"] == ours
    )  # so that the page can read the 401
    assert ask(app, "OPTIONS", **{**asked, "origin": "https://evil.example"})[0] == 403


def test_a_body_at_the_limit_is_read_and_one_above_is_not():
    assert ask(guarded(), parts=[b"x" * 600, b"x" * 400])[2].startswith(b'{"bytes":1000')
    status, head, body = ask(guarded(), parts=[b"x" * 600, b"x" * 401])
    assert (status, head["connection"], body) == (413, "close", b'{"kind":"too_large","at":"/echo"}')


def test_a_stated_length_above_the_limit_is_refused_before_anything_is_read():
    class Unread(list):
        def pop(self, *_):
            raise AssertionError("read")

    status, _, _ = ask(guarded(), parts=Unread([b""]), content_length="1001", expect="100-continue")
    assert status == 413


def test_an_endless_body_is_cut_off():
    class Endless(list):
        given = 0

        def pop(self, *_):
            Endless.given += 1
            return b"x" * 100

        def __bool__(self):
            return True

    assert ask(guarded(), parts=Endless([b""]))[0] == 413
    assert Endless.given < 11 + 41  # the limit, and four times the limit thrown away


def test_a_slow_body_is_given_up():
    limits = Limits(1000, seconds=0.2, rate=1e9, linger=0.05)
    status, _, body = ask(guarded(limits=limits), parts=[b"x"] * 50, pause=0.02)
    assert (status, body) == (408, b'{"kind":"late","at":"/echo"}')
    # One that comes slowly but steadily, for its size, is waited for.
    assert (
        ask(guarded(limits=Limits(1000, seconds=0.2, rate=10)), parts=[b"x" * 10] * 20, pause=0.02)[0] == 200
    )


def test_a_client_that_left_is_not_answered():
    class Left(list):
        def __bool__(self):
            return False

    assert ask(guarded(), parts=Left())[0] is None


def test_pages_get_a_strict_policy_and_all_answers_their_headers():
    _, head, _ = ask(guarded(), "GET", "/page")
    assert head["content-security-policy"] == POLICY and "unsafe" not in POLICY and "*" not in POLICY
    assert head["x-frame-options"] == "DENY" and head["cache-control"] == "no-store"
    _, head, _ = ask(guarded(), x_api_key="no")
    assert head["x-content-type-options"] == "nosniff" and "content-security-policy" not in head
    assert "server" not in head


HALVES = ["a", "\\", '"', "ü", "\U0001f600", "\ud83d", "\ude00", "\ud800", "u", "/"]


@given(st.lists(st.sampled_from(HALVES), max_size=12).map("".join))
def test_half_characters_are_found_and_whole_ones_let_through(text):
    body = json.dumps([text]).encode()
    try:
        json.loads(body)[0].encode("utf-8")
    except UnicodeEncodeError:
        with pytest.raises(Refusal):
            check_characters(body)
    else:
        check_characters(body)


def test_websockets_are_closed():
    got = []

    async def send(message):
        got.append(message)

    asyncio.run(guarded()({"type": "websocket", "path": "/", "headers": []}, None, send))
    assert got == [{"type": "websocket.close", "code": 1008}]


def test_keys_are_read_named_and_kept_as_hashes(tmp_path: Path):
    path = tmp_path / "keys"
    path.write_text(f"# ours\n\nshop  {SECRET}   # of the shop\n{SECRET}2\n", "utf-8")
    keys = keys_of(read_keys(path))
    assert [key.name for key in keys] == [
        "shop",
        "key-" + hashlib.sha256(f"{SECRET}2".encode()).hexdigest()[:8],
    ]
    assert SECRET not in repr(keys)
    assert owner(keys, SECRET.encode()) == "shop" and owner(keys, b"") is None


@pytest.mark.parametrize(
    "text", ["", "# nothing\n", "short\n", "a b c-long-enough-key\n", "naïve-long-enough-key-ü\n"]
)
def test_unfit_keys_are_said_without_showing_them(tmp_path: Path, text: str):
    path = tmp_path / "keys"
    path.write_text(text, "utf-8")
    with pytest.raises(InputError) as raised:
        read_keys(path)
    assert not any(word in str(raised.value) for word in text.split() if word not in "a b # nothing")
