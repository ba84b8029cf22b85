"""The applications as tools: `ask`, `code_search` and `align` over stdio and HTTP, and what they refuse."""

import sys
from pathlib import Path

import pytest

pytest.importorskip("mcp.server", reason="the extra `mcp` is not installed")
pytest.importorskip("lancedb", reason="the extra `search` is not installed")
pytest.importorskip("sklearn", reason="aligning needs the extra: graphs")
from mcp import StdioServerParameters

from lingxi import Index
from lingxi.apps.served import read_apps
from lingxi.apps.served.tools import tools
from lingxi.cli import run
from lingxi.cli.faces import Faces
from lingxi.errors import InputError
from lingxi.serve.mcp import Shelf, make_server
from stand_in import WordEmbedder, WordReranker
from test_mcp import SOURCES, STAND_IN, ask, call, over_http, said
from test_served_apps import CODE, FILES, LEFT, QUESTION, RIGHT, SCALE, written

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("tools")
    written(made / "notes", FILES)
    written(made / "repo", CODE)
    Index.open(made / "i", WordEmbedder()).add([made / "notes"])
    (made / "scale.json").write_text(SCALE.model_dump_json())
    return made


def keys(folder: Path) -> list[str]:
    return [
        f"ask.calibration={folder / 'scale.json'}",
        f"code.repository={folder / 'repo'}",
        f"code.index={folder / 'code'}",
        "align",
    ]


@pytest.fixture(scope="module")
def server(folder: Path):
    embedder = WordEmbedder()
    shelf = Shelf(Index.open(folder / "i", embedder), embedder, WordReranker(), WordReranker)
    return make_server(shelf, more=[tools(read_apps(None, keys(folder)), shelf)])


def test_the_tools_say_that_they_read_and_what_they_give(server) -> None:
    listed = {one.name: one for one in ask(server, lambda client: client.list_tools()).tools}
    assert {"ask", "code_search", "align", "search"} <= set(listed)
    for name in ("ask", "code_search", "align"):
        tool = listed[name]
        assert tool.annotations.read_only_hint and not tool.annotations.open_world_hint
        assert tool.output_schema["properties"]["notice"] and tool.description


def test_an_answer_has_its_passages(server, folder: Path) -> None:
    result = call(server, "ask", question=QUESTION)
    found = result.structured_content
    assert "10:30" in found["answer"] and not found["refused"] and 0 <= found["saved"] <= 1
    (cited,) = [one for one in found["citations"] if one["number"] == 1]
    assert cited["source"] == "notes/museum.md" and cited["sentence"] in cited["passage"]
    assert str(folder) not in said(result) and "not instructions" in found["notice"]
    turn = {"question": "Which oil does the pump need?", "asked": "greenhouse pump oil grade"}
    assert "46" in call(server, "ask", question="And its grade?", turns=[turn]).structured_content["answer"]
    assert call(server, "ask", question="Who discovered radium?").structured_content["refused"]
    refused = call(server, "ask", question=QUESTION, below=["/etc"])
    assert refused.is_error and "holds nothing below" in said(refused)


def test_code_is_found(server, folder: Path) -> None:
    result = call(server, "code_search", query="put an item on a heap", top_k=1)
    (hit,) = result.structured_content["hits"]
    assert (hit["source"], hit["line"], hit["name"]) == ("queue.py", 1, "push")
    assert str(folder) not in said(result)
    assert call(server, "code_search", query="x", languages=["klingon"]).is_error


def test_tables_are_aligned(server) -> None:
    found = call(server, "align", left=LEFT, right=RIGHT).structured_content
    assert {(one["left"], one["right"]) for one in found["pairs"]} == {("Q1", "m"), ("Q2", "p")}
    wrong = call(server, "align", left="x", right=RIGHT)
    assert wrong.is_error and "left.tsv:1" in said(wrong) and "lingxi-align-" not in said(wrong)


def test_a_tool_that_asks_a_model_elsewhere_says_so(folder: Path) -> None:
    embedder = WordEmbedder()
    shelf = Shelf(Index.open(folder / "i", embedder), embedder, None, WordReranker)
    given = [*keys(folder)[:1], "ask.llm.url=http://127.0.0.1:9/v1", "ask.llm.model=m"]
    made = make_server(shelf, more=[tools(read_apps(None, given), shelf)])
    (tool,) = [one for one in ask(made, lambda client: client.list_tools()).tools if one.name == "ask"]
    assert tool.annotations.open_world_hint
    with pytest.raises(InputError, match=r"code\.model"):
        tools(read_apps(None, [*keys(folder), "code.model=nano"]), shelf)


def test_over_stdio_and_http(folder: Path) -> None:
    options = [part for key in keys(folder) for part in ("--app", key)]
    command = [STAND_IN, "mcp", "--index", str(folder / "i"), *options]
    server = StdioServerParameters(command=sys.executable, args=command, env={"PYTHONPATH": str(SOURCES)})
    assert "10:30" in call(server, "ask", question=QUESTION).structured_content["answer"]
    with over_http(folder, *options) as port:
        found = call(f"http://127.0.0.1:{port}/mcp", "code_search", query="put an item on a heap", top_k=1)
        assert found.structured_content["hits"][0]["name"] == "push"


def test_the_verbs_refuse_an_unknown_key(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    faces = Faces(lambda _: WordEmbedder(), lambda _: WordReranker())
    assert run(["mcp", "--index", str(folder / "i"), "--app", "asks"], faces) == 2
    assert run(["serve", "--app", "ask.lmm.url=x"], faces) == 2
    told = capsys.readouterr().err
    assert "unknown key 'asks'" in told and "unknown key 'ask.lmm'" in told
