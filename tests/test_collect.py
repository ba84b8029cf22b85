"""Collecting: each shape of labelled data, MediaWiki's messages, archives; small files in the same shapes."""

import shutil
import subprocess
import tarfile
from collections import Counter
from pathlib import Path

import pytest
from pydantic import ValidationError

from lingxi.collect import CollectSettings, archives, collect_pairs, labelled, mediawiki
from lingxi.errors import InputError
from lingxi.records import Pair, read_pairs

DATA = Path(__file__).parent / "data"


@pytest.fixture(scope="module")
def rows() -> list[Pair]:
    def origin(source: str, licence: str) -> labelled.Origin:
        return labelled.Origin(source, licence, seed=1, crosswise_share=1.0, topic_share=1.0)

    return list(labelled.read_folder(DATA / "labelled", origin))


def of(rows: list[Pair], source: str, task: str | None = None) -> list[Pair]:
    return [row for row in rows if row.source == source and task in (None, row.task)]


def test_every_row_says_where_it_is_from(rows: list[Pair]) -> None:
    for row in rows:
        assert row.source and row.licence and row.instruction and row.group.startswith(row.source)
        assert len(row.id) == 20
    assert {row.licence for row in of(rows, "bitext_en_sw_lafand")} == {"CC BY-NC 4.0"}


def test_entities_and_split_ideographs_are_mended(rows: list[Pair]) -> None:
    row = of(rows, "bitext_zh_en_msdocs")[0]
    assert row.query.startswith("打开文件之后")
    assert "#" not in row.query + row.positives[0].text
    assert row.positives[0].text == "After opening the file , click the save button ."
    assert of(rows, "med_medquad")[1].positives[0].text == "Antihistamines & nasal sprays help."


def test_flores_joins_on_the_sentence(rows: list[Pair]) -> None:
    found = of(rows, "sib200_flores_train")
    to_english = [row for row in found if row.document_language == "en" and row.query_language == "es"]
    assert "The ferry to the island leaves twice a day." in {row.positives[0].text for row in to_english}
    assert {row.group for row in found} == {f"sib200_flores_train:{number}" for number in "123"}
    topics = of(rows, "sib200_flores_train", "classification")
    assert len(topics) == 12
    assert all(row.query_language == row.document_language for row in topics)


def test_african_questions_know_their_pivot(rows: list[Pair]) -> None:
    found = of(rows, "qa_afriqa_traindev")
    assert [(row.task, row.query_language, row.document_language) for row in found] == [
        ("bitext", "sw", "en"),
        ("retrieval", "sw", "en"),
        ("bitext", "fon", "fr"),
        ("retrieval", "fon", "fr"),
    ]


def test_questions_share_a_group_with_their_page(rows: list[Pair]) -> None:
    assert len({row.group for row in of(rows, "med_medquad")}) == 1
    assert of(rows, "qa_ja_jsquad")[0].positives[0].text.startswith("富士山\n")


def test_commands_are_code_and_translations(rows: list[Pair]) -> None:
    found = of(rows, "code_tldr_17langs")
    parallel = {row.query: row.positives[0].text for row in found if row.task == "bitext"}
    assert parallel == {
        "Lista los archivos uno por línea": "List files one per line",
        "Kopiere eine Datei an einen anderen Ort": "Copy a file to another place",
    }
    assert {"cp path/to/file path/to/copy", "ls --all -1"} < {row.positives[0].text for row in found}


def test_code_with_two_wordings_and_a_wrong_answer(rows: list[Pair]) -> None:
    assert len(of(rows, "code_conala_train")) == 2
    right, wrong = of(rows, "code_cosqa_dev")
    assert right.positives and not right.negatives
    assert wrong.negatives and not wrong.positives
    both = of(rows, "code2code_java_cs")[0]
    assert (both.query_language, both.document_language) == ("java", "csharp")


def test_similarity_classes_and_candidates(rows: list[Pair]) -> None:
    assert [dict(row.scores) for row in of(rows, "sts_stsb_fr_train")] == [
        {"similarity": 3.8},
        {"similarity": 0.2},
    ]
    label, text = of(rows, "cls_banking77_train")[:2]
    assert label.positives[0].text == "card arrival" and label.negatives[0].text == "lost or stolen card"
    assert text.positives[0].text == "When does the card come?"
    graded = of(rows, "rerank_wikiqa_dev")[0]
    assert [len(graded.positives), len(graded.negatives)] == [1, 1]


def test_a_file_without_meta_states_no_licence() -> None:
    assert labelled.licence_of(DATA / "labelled" / "tables_unknown.jsonl") == "not stated"
    assert labelled.unknown_files(DATA / "labelled") == ["tables_unknown.jsonl"]


@pytest.mark.parametrize(
    ("message", "text"),
    [
        (
            "'''\"[[$1|the page]]\" was moved''' to {{PLURAL:$2|one place|$2 places}}",
            '"the page" was moved to places',
        ),
        ("{{PLURAL:$1|a {{GENDER:$2|man|woman}}|12=a dozen|people}}", "people"),
        ("See [https://example.org the manual] or [[Help:Contents]].", "See the manual or Help:Contents."),
        ("<b>Warning:</b> &quot;$1&quot; is {{SITENAME}}", "Warning: is"),
        ("* item with ''stress''<!-- note -->", "item with stress"),
        ("$1", ""),
    ],
)
def test_wiki_syntax_is_taken_off(message: str, text: str) -> None:
    assert mediawiki.clean(message) == text


def test_messages_join_on_their_key() -> None:
    found = list(mediawiki.read_pairs(DATA / "mediawiki"))
    assert Counter(row.query_language for row in found) == {"de": 4, "be": 1, "zh": 1, "nb": 1, "nn": 1}
    note = next(row for row in found if row.query_language == "zh")
    assert note.query == "请简单说明您的编辑。"
    assert note.positives[0].text == "Please write a short note about your edit. It helps them."
    assert note.group == "mediawiki:usr/share/mediawiki/languages/i18n#edit-note"
    assert (note.licence, note.document_language) == ("GPL-2+", "en")
    assert {row.group for row in found if row.query_language == "de"} >= {note.group}


def test_collect_writes_and_counts(tmp_path: Path) -> None:
    settings = CollectSettings(
        labelled=DATA / "labelled", mediawiki=str(DATA / "mediawiki"), cache=tmp_path / "c"
    )
    report = collect_pairs(settings, tmp_path / "out")
    found = list(read_pairs(tmp_path / "out" / "pairs.parquet"))
    assert report.rows == len(found) == sum(report.by_source.values()) == sum(report.by_language.values())
    assert report.by_source["mediawiki"] == 8
    assert report.skipped == ("tables_unknown.jsonl",)
    collect_pairs(settings, tmp_path / "again")
    assert list(read_pairs(tmp_path / "again" / "pairs.parquet")) == found


def test_an_archive_reads_like_its_folder(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "train.tar.gz", "w:gz") as archive:
        archive.add(DATA / "labelled", "train")
    settings = CollectSettings(labelled=tmp_path / "train.tar.gz", mediawiki="none", cache=tmp_path / "cache")
    assert collect_pairs(settings, tmp_path / "a").rows == collect_pairs(settings, tmp_path / "b").rows > 0
    assert len(list((tmp_path / "cache").iterdir())) == 1


@pytest.mark.skipif(
    not (shutil.which("zstd") and shutil.which("tar")), reason="needs the tar and zstd commands"
)
def test_a_zstd_archive(tmp_path: Path) -> None:
    packed = tmp_path / "train.tar.zst"
    subprocess.run(["tar", "--zstd", "-cf", packed, "-C", DATA / "labelled", "."], check=True)
    folder = archives.opened_tar(packed, tmp_path / "cache")
    assert (folder / "med_medquad.jsonl").is_file()


def test_a_debian_package(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "data.tar.gz", "w:gz") as archive:
        archive.add(DATA / "mediawiki" / "usr", "./usr")
    with tarfile.open(tmp_path / "control.tar.gz", "w:gz"):
        pass
    package = tmp_path / "mediawiki_1_all.deb"
    package.write_bytes(b"!<arch>\n")
    (tmp_path / "debian-binary").write_text("2.0\n")
    with package.open("ab") as file:
        for name in ("debian-binary", "control.tar.gz", "data.tar.gz"):
            body = (tmp_path / name).read_bytes()
            file.write(f"{name:<16}{0:<12}{0:<6}{0:<6}{100644:<8}{len(body):<10}`\n".encode())
            file.write(body + b"\n" * (len(body) % 2))
    assert len(list(mediawiki.read_pairs(archives.opened_deb(package, tmp_path / "cache")))) == 8


def test_bad_sources_are_named(tmp_path: Path) -> None:
    broken = tmp_path / "train.tar.gz"
    broken.write_text("no archive")
    for settings, said in (
        (CollectSettings(labelled=tmp_path / "gone", mediawiki="none"), "no file or folder"),
        (CollectSettings(labelled=broken, mediawiki="none", cache=tmp_path / "c"), "cannot be unpacked"),
        (CollectSettings(mediawiki=str(DATA / "labelled")), "i18n"),
    ):
        with pytest.raises(InputError, match=said):
            collect_pairs(settings, tmp_path / "out")
    (tmp_path / "qa_ja_x.jsonl").write_text('{"q": "a", "p": "b"}\n{oops\n')
    with pytest.raises(InputError, match=r"qa_ja_x\.jsonl:2"):
        collect_pairs(CollectSettings(labelled=tmp_path, mediawiki="none"), tmp_path / "out")
    with pytest.raises(ValidationError):
        CollectSettings(labeled=tmp_path)
