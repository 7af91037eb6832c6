"""The wheel works where people are: installed outside the clone, beside folders that have the names of ours."""

import os
import shutil
import socket
import subprocess
import sys
import tarfile
import time
import urllib.error
import urllib.request
import venv
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.long

ROOT = Path(__file__).parents[1]
BUILD = "import sys; from setuptools import build_meta as b; print(getattr(b, sys.argv[1])(sys.argv[2]))"
POLLS = 600  # of a tenth of a second


def build(kind, source, out):
    """Build what setuptools builds for pip: a wheel or a source archive."""
    done = subprocess.run(
        [sys.executable, "-c", BUILD, f"build_{kind}", str(out)],
        cwd=source,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return out / done.stdout.splitlines()[-1]


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    """The source archive, unpacked: what others build from."""
    copy, out = tmp_path_factory.mktemp("copy") / "loom", tmp_path_factory.mktemp("sdist")
    left_out = shutil.ignore_patterns(
        ".git", ".venv", "build", "dist", "outputs", "work", "*.egg-info", "__pycache__", ".*_cache"
    )
    shutil.copytree(ROOT, copy, ignore=left_out)
    with tarfile.open(build("sdist", copy, out)) as archive:
        archive.extractall(out, filter="data")
    shutil.rmtree(copy)
    (unpacked,) = (path for path in out.iterdir() if path.is_dir())
    return unpacked


@pytest.fixture(scope="module")
def wheel(sources, tmp_path_factory):
    return build("wheel", sources, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def place(wheel, tmp_path_factory):
    """A folder with code of its own in names like ours, and an environment in which the wheel is installed."""
    folder = tmp_path_factory.mktemp("research")
    for name in ("pipelines", "studio", "retrieval", "watermark"):
        (folder / name).mkdir()
        (folder / name / "__init__.py").write_text("raise RuntimeError('a stranger was imported')\n")
    (folder / "app.py").write_text("raise RuntimeError('a stranger was imported')\n")
    environment = folder / "env"
    venv.create(environment, with_pip=False)
    python = environment / "bin" / "python"
    site = next((environment / "lib").glob("python*/site-packages"))
    # Loom's dependencies from here; what is installed for editing is not, as links in such a folder are not followed
    (site / "dependencies.pth").write_text(f"{Path(pytest.__file__).parents[1]}\n")
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "-q", "--no-deps", "--no-index", str(wheel)]
    subprocess.run(pip, check=True, capture_output=True, timeout=200)
    return folder


def run(place, *command, **options):
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    bin_folder = place / "env" / "bin"
    command = [str(bin_folder / command[0]), *command[1:]]
    return subprocess.run(
        command, cwd=place, env=environment, capture_output=True, text=True, check=False, timeout=250, **options
    )


def test_nothing_but_lora_loom_is_installed(wheel):
    tops = {name.partition("/")[0] for name in zipfile.ZipFile(wheel).namelist()}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"lora_loom"}


def test_every_module_and_file_is_in_the_wheel(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    folders = ("pipelines", "retrieval", "studio", "watermark")
    files = [path for folder in folders for path in (ROOT / folder).rglob("*") if path.is_file()]
    wanted = {f"lora_loom/{path.relative_to(ROOT).as_posix()}" for path in files if "__pycache__" not in path.parts}
    assert wanted - names == set()
    assert {"lora_loom/__init__.py", "lora_loom/py.typed"} <= names


def test_it_is_the_wheel_that_is_imported(place):
    done = run(place, "python", "-c", "from lora_loom import FusionPipeline, Studio, studio; print(studio.__file__)")
    assert done.returncode == 0, done.stderr
    assert Path(done.stdout.strip()).is_relative_to(place / "env")


def test_a_picture_is_drawn(place):
    arguments = ["an owlet", "--lora", "owlet:1", "--lora", "crown:0.8", "--steps", "2", "--out", "owlet.png"]
    done = run(place, "loom", "generate", *arguments)
    assert done.returncode == 0, done.stderr
    again = run(place, "loom", "generate", "--from", "owlet.png", "--out", "again.png")
    assert again.returncode == 0, again.stderr
    assert (place / "owlet.png").stat().st_size > 1000
    assert (place / "again.png").exists()


def test_the_studio_answers(place):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [str(place / "env" / "bin" / "loom"), "studio", "--port", str(port)]
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    log = (place / "studio.log").open("w")
    studio = subprocess.Popen(command, cwd=place, env=environment, stdout=log, stderr=subprocess.STDOUT)
    try:
        for _ in range(POLLS):
            assert studio.poll() is None, (place / "studio.log").read_text()
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=10) as answer:
                    assert answer.status == 200
                    assert b"Loom" in answer.read()
                    return
            except (urllib.error.URLError, ConnectionError):
                time.sleep(0.1)
        pytest.fail((place / "studio.log").read_text())
    finally:
        studio.terminate()
        studio.wait(timeout=60)
        log.close()


def test_tests_of_the_source_archive_run(sources, place):
    done = run(
        place,
        "python",
        "-m",
        "pytest",
        "-q",
        "-n",
        "0",
        "-p",
        "no:cacheprovider",
        str(sources / "tests/pipelines/test_errors.py"),
    )
    assert done.returncode == 0, done.stdout[-2000:]
    assert " passed" in done.stdout
