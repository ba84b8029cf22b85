"""Pictures of strangers: opened as they look, or refused in words; nothing is run and nothing followed."""

import base64
import io
import ipaddress
import struct
import zlib
from functools import partial
from http.server import BaseHTTPRequestHandler

import numpy as np
import pytest

Image = pytest.importorskip("PIL.Image", reason="pictures need Pillow (extra vision)")

from lingxi import drawings, pictures, web  # noqa: E402
from lingxi.errors import InputError  # noqa: E402
from listening import listening  # noqa: E402

RED, WHITE = (200, 30, 40), (255, 255, 255)


def saved(picture, form="PNG", **options):
    out = io.BytesIO()
    picture.save(out, form, **options)
    return out.getvalue()


def halves():
    """Red above, white below: 40 × 20."""
    picture = Image.new("RGB", (40, 20), WHITE)
    picture.paste(RED, (0, 0, 40, 10))
    return picture


def near(pixel, wanted, by=6):
    return all(abs(a - b) <= by for a, b in zip(pixel, wanted, strict=True))


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"])
def test_every_format_is_read_as_rgb(form):
    found = pictures.decoded(saved(halves(), form), form)
    assert (found.mode, found.size) == ("RGB", (40, 20))
    assert near(found.getpixel((5, 2)), RED, 12) and near(found.getpixel((5, 17)), WHITE, 12)


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "GIF"])
def test_a_truncated_file_is_refused_by_name(form):
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8))
    data = saved(noise, form)
    with pytest.raises(InputError, match=r"cat\.jpg: .*(damaged|not a picture)"):
        pictures.decoded(data[: len(data) // 2], "cat.jpg")


def test_a_bomb_is_refused_before_it_is_decoded():
    head = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    chunks = b"".join(
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        for name, body in ((b"IHDR", head), (b"IDAT", zlib.compress(bytes(1000))), (b"IEND", b""))
    )
    with pytest.raises(InputError, match="pixels"):
        pictures.decoded(b"\x89PNG\r\n\x1a\n" + chunks, "bomb.png")


def test_twenty_thousand_pixels_a_side_are_too_many_and_a_strip_is_not():
    with pytest.raises(InputError, match=r"pixels,? .*than 64,000,000|more pixels than 64,000,000"):
        pictures.decoded(saved(Image.new("1", (20_000, 20_000))), "huge.png")
    assert pictures.decoded(saved(Image.new("L", (20_000, 30))), "strip.png").size == (20_000, 30)


def test_limits_are_kept_in_bytes():
    data = saved(halves())
    with pytest.raises(InputError, match="more than 10 bytes"):
        pictures.decoded(data, "a", pictures.Limits(most_bytes=10))


def test_the_first_frame_of_an_animation_is_read():
    frames = [Image.new("RGB", (8, 8), colour) for colour in (RED, WHITE)]
    data = saved(frames[0], "GIF", save_all=True, append_images=frames[1:], duration=50)
    assert near(pictures.decoded(data, "moving.gif").getpixel((4, 4)), RED)


def test_cmyk_grey_and_palettes_become_rgb():
    cmyk = halves().convert("CMYK")
    assert near(pictures.decoded(saved(cmyk, "JPEG"), "print.jpg").getpixel((5, 2)), RED, 12)
    grey = Image.new("L", (4, 4), 77)
    assert pictures.decoded(saved(grey), "grey.png").getpixel((0, 0)) == (77, 77, 77)
    assert near(pictures.decoded(saved(halves().convert("P")), "p.png").getpixel((5, 2)), RED, 40)


def test_sixteen_bits_become_eight():
    deep = Image.fromarray(np.full((4, 4), 65535 // 2, np.uint16))
    assert pictures.decoded(saved(deep), "deep.png").getpixel((0, 0)) == (127, 127, 127)


def test_what_is_transparent_is_white():
    clear = Image.new("RGBA", (4, 4), (*RED, 0))
    clear.putpixel((0, 0), (*RED, 255))
    found = pictures.decoded(saved(clear), "clear.png")
    assert found.getpixel((3, 3)) == WHITE and found.getpixel((0, 0)) == RED
    palette = Image.new("P", (4, 4), 0)
    palette.putpalette([0, 0, 0, *RED])
    assert pictures.decoded(saved(palette, transparency=0), "clip.png").getpixel((2, 2)) == WHITE


def test_one_pixel_is_a_picture():
    assert pictures.decoded(saved(Image.new("RGB", (1, 1), RED)), "dot.png").size == (1, 1)


def test_a_photograph_is_turned_upright():
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: up is at the right
    found = pictures.decoded(saved(halves(), "JPEG", exif=exif), "photo.jpg")
    assert found.size == (20, 40)
    assert near(found.getpixel((17, 20)), RED, 12) and near(found.getpixel((2, 20)), WHITE, 12)


@pytest.mark.parametrize(
    "data",
    [
        b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>",
        b"\xef\xbb\xbf<?xml version='1.0'?><svg><image href='http://10.0.0.1/'/></svg>",
    ],
)
def test_svg_is_refused_by_name(data):
    with pytest.raises(InputError, match="SVG is not opened"):
        pictures.decoded(data, "drawing.svg")


@pytest.mark.parametrize(
    "data", [b"", b"no picture", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", b"%PDF-1.7"]
)
def test_other_files_are_refused(data):
    with pytest.raises(InputError, match=r"x\.bin: "):
        pictures.decoded(data, "x.bin")


def test_a_file_is_opened_and_a_missing_one_named(tmp_path):
    (tmp_path / "a.png").write_bytes(saved(halves()))
    assert pictures.opened(tmp_path / "a.png").size == (40, 20)
    with pytest.raises(InputError, match=r"b\.png: cannot be read"):
        pictures.opened(tmp_path / "b.png")


def test_data_urls_are_read_and_bounded():
    data = saved(halves())
    url = "data:image/png;base64," + base64.b64encode(data).decode()
    assert pictures.data_url_bytes(url) == data
    assert pictures.data_url_bytes("data:,a%20b") == b"a b"
    with pytest.raises(InputError, match="more than 20 bytes"):
        pictures.data_url_bytes(url, 20)
    for wrong in ("http://a/b.png", "data:image/png;base64,###", "data:image/png;base64"):
        with pytest.raises(InputError):
            pictures.data_url_bytes(wrong)


GOOD = b"<svg xmlns='http://www.w3.org/2000/svg'><style>a{fill:url(#g)}</style><use href='#a'/></svg>"


def test_a_harmless_drawing_passes():
    assert drawings.checked_drawing(GOOD, "a.svg") == GOOD


@pytest.mark.parametrize(
    "inside",
    [
        "<script>1</script>",
        "<g onload='x()'/>",
        "<image href='http://10.0.0.1/a.png'/>",
        "<image href='file:///etc/passwd'/>",
        "<use xmlns:xlink='http://www.w3.org/1999/xlink' xlink:href='https://a.example/b.svg#c'/>",
        "<style>@import 'http://a.example/x.css';</style>",
        "<rect fill='url(http://a.example/x)'/>",
        "<rect style='fill:url( \"//a.example\")'/>",
        "<foreignObject/>",
        "<a href='javascript:alert(1)'/>",
        "<animate attributeName='href' to='javascript:x'/>",
        "<image href='data:image/svg+xml;base64,AAAA'/>",
    ],
)
def test_a_drawing_that_does_more_is_refused(inside):
    with pytest.raises(InputError, match=r"a\.svg: the SVG holds"):
        drawings.checked_drawing(f"<svg xmlns='http://www.w3.org/2000/svg'>{inside}</svg>".encode(), "a.svg")


def test_entities_and_instructions_are_refused():
    laughs = b'<!DOCTYPE svg [<!ENTITY a "ha"><!ENTITY b "&a;&a;">]><svg>&b;</svg>'
    outer = b'<!DOCTYPE svg [<!ENTITY a SYSTEM "file:///etc/passwd">]><svg>&a;</svg>'
    sheet = b'<?xml-stylesheet href="http://a.example/x.css"?><svg/>'
    for data in (laughs, outer, sheet, b"<html/>", b"<svg"):
        with pytest.raises(InputError, match=r"a\.svg: "):
            drawings.checked_drawing(data, "a.svg")


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.0.1", "169.254.169.254", "100.64.0.1", "0.0.0.0",
        "224.0.0.1", "255.255.255.255", "::1", "fe80::1", "fc00::1", "::ffff:10.0.0.1", "64:ff9b::a00:1",
        "2002:a00:1::", "::",
    ],
)  # fmt: skip
def test_private_addresses_are_not_public(address):
    assert not web.is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize("address", ["93.184.216.34", "1.1.1.1", "2606:4700::1111", "::ffff:1.1.1.1"])
def test_public_addresses_are(address):
    assert web.is_public(ipaddress.ip_address(address))


class _Site(BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.asked.append((self.headers["Host"], self.path))
        if self.path.startswith("/to?"):
            self.send_response(302)
            self.send_header("Location", self.path[4:])
            self.end_headers()
            return
        self.send_response(404 if self.path == "/none" else 200)
        self.end_headers()
        self.wfile.write(b"x" * 5000)

    def log_message(self, *_):
        pass


@pytest.fixture
def site():
    with listening(_Site) as server:
        server.asked = []
        yield server


def to_site(site, **changed):
    """Rules under which the site stands for the internet: every name is at 127.0.0.1."""
    here = ipaddress.ip_address("127.0.0.1")
    rules = {"allowed": lambda a: a == here, "resolve": lambda host, port: [here], "ports": None}
    return web.Rules(**{**rules, **changed})


def test_a_private_address_is_refused_and_never_asked(site):
    for host in ("127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "2130706433"):
        with pytest.raises(InputError, match=r"not a public address|no such host"):
            web.fetched(f"http://{host}:{site.server_port}/a.png", 100, web.Rules(ports=None))
    assert site.asked == []


def test_one_private_address_among_several_is_enough_to_refuse(site):
    both = [ipaddress.ip_address("93.184.216.34"), ipaddress.ip_address("10.0.0.1")]
    with pytest.raises(InputError, match="not a public address"):
        web.fetched("http://mixed.example/", 100, web.Rules(resolve=lambda host, port: both))


def test_the_name_is_resolved_once_and_the_host_is_said(site):
    asked = []
    here = ipaddress.ip_address("127.0.0.1")
    rules = to_site(site, resolve=lambda host, port: asked.append(host) or [here])
    url = f"http://pictures.example:{site.server_port}/a.png?b=1"
    assert web.fetched(url, 10_000, rules) == b"x" * 5000
    assert asked == ["pictures.example"]
    assert site.asked == [(f"pictures.example:{site.server_port}", "/a.png?b=1")]


def test_a_redirect_to_a_private_address_is_not_followed(site):
    seen = iter([ipaddress.ip_address("127.0.0.1"), ipaddress.ip_address("169.254.169.254")])
    rules = to_site(site, resolve=lambda host, port: [next(seen)])
    with pytest.raises(InputError, match=r"169\.254\.169\.254: not a public address"):
        web.fetched(f"http://a.example:{site.server_port}/to?http://169.254.169.254/meta", 10_000, rules)
    assert len(site.asked) == 1


def test_redirects_are_followed_a_few_times(site):
    port = site.server_port
    assert web.fetched(f"http://a.example:{port}/to?/b", 10_000, to_site(site)) == b"x" * 5000
    with pytest.raises(InputError, match="redirects"):
        web.fetched(f"http://a.example:{port}/to?/to?/to?/to?/b", 10_000, to_site(site))


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("file:///etc/passwd", "only http and https"),
        ("ftp://a.example/x", "only http and https"),
        ("http://user:word@a.example/", "password"),
        ("http://a.example/a\r\nX: y", "space"),
        ("http://a.example:99999/", "no URL"),
        ("http://[::1", "no URL"),
        ("http://a.example:22/", "port 22"),
    ],
)
def test_other_urls_are_refused(url, said):
    with pytest.raises(InputError, match=said):
        web.fetched(url, 100)


def test_bytes_and_answers_are_bounded(site):
    fetch = partial(web.fetched, rules=to_site(site))
    with pytest.raises(InputError, match="more than 4,000 bytes"):
        fetch(f"http://a.example:{site.server_port}/a", 4000)
    with pytest.raises(InputError, match="answers 404"):
        fetch(f"http://a.example:{site.server_port}/none", 9000)
